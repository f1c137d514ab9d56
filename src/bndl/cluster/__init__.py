"""Worker processes of this machine, started, watched and restarted; and when a cluster is stable."""
