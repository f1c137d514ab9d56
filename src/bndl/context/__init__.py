"""What users hold: a context, with which they run work on a cluster. Synchronous and thread-safe."""
