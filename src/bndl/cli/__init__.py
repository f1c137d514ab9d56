"""The ``bndl`` command: one module for each of its commands, which is imported when the command runs."""
