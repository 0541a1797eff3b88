"""HTML and XML elements: a box in attributes (``<p data-bbox="1 2 3 4">cup</p>``) or in elements of corners."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from raylabel.answers.tokens import number_of
from raylabel.answers.tree import Tag, Value
from raylabel.answers.values import Boxes, box_of_roles, boxes_in_span, is_turned, left_out
from raylabel.answers.vocabulary import bare, corner_role, is_box_key
from raylabel.validation import ROTATED

HTML = "html"

_ATTRIBUTE = re.compile(r"""([A-Za-z_][\w:.-]{0,40})\s?=\s?(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_LEAF = re.compile(r"<([A-Za-z_]\w{0,20})>\s*([-+]?\d{1,7}(?:\.\d{1,8})?)\s*</")
_NAMES = ("label", "name", "class", "category", "phrase", "datalabel", "alt")


def attributes_of(tag: Tag) -> dict[str, str]:
    """The attributes of a tag, by name."""
    return {k: a or b or c for k, a, b, c in _ATTRIBUTE.findall(tag.inside)} if "=" in tag.inside else {}


def name_in(attributes: Mapping[str, str]) -> str | None:
    """The attribute that names an element; beside ``data-bbox`` a class is one of style."""
    names = {bare(key): value for key, value in attributes.items()}
    kinds = _NAMES if "databbox" not in names else [key for key in _NAMES if key != "class"]
    label = next((names[key] for key in kinds if names.get(key)), None)
    return html.unescape(label) if label else None


def holds_corners(attributes: Mapping[str, str]) -> bool:
    return any(corner_role(key) for key in attributes)


def is_name(name: str) -> bool:
    """Whether the content of an element of this name is a label."""
    return name in ("name", "label", "class", "category", "phrase")


def text_of(content: str) -> str:
    """What an element says; nothing where it is too long for a label or a number."""
    return html.unescape(content).strip() if len(content) < 2000 else ""


def box_of_attributes(attributes: Mapping[str, str]) -> Boxes | None:
    """The box that attributes hold, whole or by its corners; None where they hold none."""
    read = next((boxes_in_span(html.unescape(v)) for k, v in attributes.items() if _is_box(k)), None)
    if read is None:
        read = box_of_roles({role: v for k, v in attributes.items() if (role := corner_role(k)) is not None})
        if read is None or not read.found:
            return None
    return left_out(ROTATED) if any(is_turned(k, v) for k, v in attributes.items()) else read


def _is_box(name: str) -> bool:
    return is_box_key(name.removeprefix("data-"))


def box_of_corner(name: str, content: str, corners: dict[str, Value]) -> Boxes | None:
    """The box that an element of one corner completes: ``<xmin>1</xmin><ymin>2</ymin>...``.

    Args:
        corners: those beside it so far; emptied by any other element, and by a whole box.
    """
    role = corner_role(name)
    if role is None:
        corners.clear()  # a corner belongs to the corners beside it
        return None
    number = number_of(content)
    if number is not None:
        corners.setdefault(role, number)
    read = box_of_roles(corners)
    if read is None or not read.found:
        return None
    corners.clear()
    return read


def box_of_leaves(content: str) -> Boxes | None:
    """The box of a content that is nothing but such elements; None for anything else."""
    roles = {role: float(v) for name, v in _LEAF.findall(content) if (role := corner_role(name)) is not None}
    return box_of_roles(roles) if roles else None
