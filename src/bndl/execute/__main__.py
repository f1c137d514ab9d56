"""``python -m bndl.execute``: a worker process."""

from bndl.execute.process import main

if __name__ == "__main__":
    main()
