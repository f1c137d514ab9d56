"""bndl executes tasks on workers."""
