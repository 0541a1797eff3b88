"""``python -m raylabel``: the same as the ``raylabel`` command."""

from raylabel.cli import entry

if __name__ == "__main__":
    entry()
