"""The tree of exceptions is the one that is printed."""

from __future__ import annotations

import re

from raylabel import errors


def branches(kind: type[Exception], depth: int = 0) -> list[tuple[str, int]]:
    own = [
        child
        for child in kind.__subclasses__()
        if child.__module__.startswith("raylabel.") and child.__name__[0] != "_"
    ]
    below = [line for child in own for line in branches(child, depth + 1)]
    return [(kind.__name__, depth), *below]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    printed = re.findall(r"^    ( *)(\w+Error) ", errors.__doc__ or "", re.MULTILINE)
    own = branches(errors.RaylabelError)
    assert sorted(own) == sorted((name, len(indent) // 2) for indent, name in printed)
