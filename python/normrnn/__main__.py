"""``python -m normrnn`` is the command ``normrnn``."""

from normrnn.cli import main

if __name__ == "__main__":
    main()
