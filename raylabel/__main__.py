"""``python -m raylabel``: the same as the ``raylabel`` command."""

import sys

from raylabel.cli import main

if __name__ == "__main__":
    sys.exit(main())
