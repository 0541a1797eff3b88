"""Whether an answer was cut off: the one place where that is decided."""

from __future__ import annotations

from raylabel.answers.entry import Found
from raylabel.answers.strip import AnswerPart
from raylabel.answers.tree import Group, Tree


def ends_early(part: AnswerPart, tree: Tree, found: Found) -> bool:
    """Whether the end of an answer is missing.

    An object that lacks nothing but its own brace, behind a list of entries, counts as whole: models forget it. Where
    the entries stand in tags, brackets between them are words.
    """
    text = part.flat
    if part.cut or tree.exhausted or found.unfinished:
        return True
    if part.whole:
        return False
    if _in_tag(text) or text[-20:].rstrip().endswith(("[", "(", "{", "<")):
        return True
    return not found.in_tags and (tree.ends_in_text or _in_brackets(tree))


def _in_brackets(tree: Tree) -> bool:
    end = tree.text[-40:].rstrip().rstrip("`").rstrip()
    if not tree.open:
        return end.endswith(("},", "],"))
    root = tree.open[0]
    if len(tree.open) > 1 or root.bracket != "{" or not root.values:
        return True
    value = root.values[-1]
    holds_entries = isinstance(value, Group) and value.end is not None and any(g.bracket == "{" for g in value.groups)
    return not (holds_entries and end.endswith("]"))


def _in_tag(text: str) -> bool:
    at = text.rfind("<", max(0, len(text) - 60))
    rest = text[at + 1 :]
    return at >= 0 and ">" not in rest and "\n" not in rest and rest[:1] not in (" ", "=")
