"""The tests; a package, so that `tests` is this folder whatever is installed under that name."""
