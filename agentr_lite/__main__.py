"""``python -m agentr_lite``."""

from agentr_lite.cli import main

if __name__ == "__main__":
    main()
