"""Boxes in questions: how the model at hand writes one, shown in words and by example."""

from __future__ import annotations

import dataclasses

from raylabel.geometry import PATCHES, SQUARE, View, from_displayed, rel1_to_patch_cells
from raylabel.profiles import LIST, LOC, LOC1024, NAMED, PAIRS, PATCH, Profile
from raylabel.records import Box

_NAMES = {
    "xyxy": ("x1", "y1", "x2", "y2"),
    "yxyx": ("ymin", "xmin", "ymax", "xmax"),
    "xywh": ("x", "y", "width", "height"),
    "cxcywh": ("center_x", "center_y", "width", "height"),
}
_CORNERS = ("x_min", "y_min", "x_max", "y_max")


def format_box(box_px: Box, profile: Profile, view: View) -> list[float] | dict[str, float] | str:
    """A box as the model writes it, to stand in a question's JSON.

    Args:
        box_px: displayed pixels, inside the image.

    >>> from raylabel.geometry import Convention
    >>> from raylabel.records import Size
    >>> view, florence = View(Size(640, 480), Size(640, 480)), Convention("xyxy", 1000, 0.5, 999)
    >>> format_box(Box(64, 120, 192, 480), Profile("x", florence, spelling=LOC), view)
    '<loc_100><loc_250><loc_300><loc_999>'
    """
    numbers = from_displayed(box_px, profile.convention, view)
    if profile.spelling == LIST:
        return numbers
    if profile.spelling == NAMED:
        return dict(zip(_CORNERS, numbers, strict=True))
    a, b, c, d = numbers
    if profile.spelling == PAIRS:
        return f"({a},{b}),({c},{d})"
    if profile.spelling == PATCH:
        return "".join(f"<patch_index_{cell:04d}>" for cell in rel1_to_patch_cells(numbers))
    token = "<loc{:04d}>" if profile.spelling == LOC1024 else "<loc_{}>"
    return "".join(token.format(int(n)) for n in numbers)


def box_values(profile: Profile, view: View) -> dict[str, str]:
    """The placeholders that speak of boxes: ``box_key``, ``box_format``, ``label``, ``score``."""
    if profile.stated is not None:
        profile = dataclasses.replace(profile, convention=profile.stated, spelling=LIST)
    return {
        "box_key": profile.key,
        "box_format": f"{_form(profile)} {_scale(profile, view)}",
        "label": ', "label": "<the phrase>"' if profile.labels else "",
        "score": ', "score": <how sure you are, 0 to 1>' if profile.scores else "",
    }


def _form(profile: Profile) -> str:
    names = _NAMES[profile.convention.order]
    if profile.spelling == NAMED:
        return "{" + ", ".join(f'"{name}": ..' for name in _CORNERS) + "}"
    if profile.spelling == PAIRS:
        return "({},{}),({},{})".format(*names)
    if profile.spelling in (LOC1024, LOC):
        token = "<loc{}>" if profile.spelling == LOC1024 else "<loc_{}>"
        return "".join(token.format(name) for name in names)
    if profile.spelling == PATCH:
        return "<patch_index_NNNN><patch_index_NNNN>, the cells of the upper left and the lower right corner,"
    return f"[{', '.join(names)}]"


def _scale(profile: Profile, view: View) -> str:
    convention = profile.convention
    if profile.spelling == PATCH:
        return f"on a grid of {PATCHES} by {PATCHES}, row times {PATCHES} plus column"
    if convention.scale is None:
        return f"in pixels of the image, which is {view.sent.width} pixels wide and {view.sent.height} pixels high"
    side = f"{convention.scale:g}" if convention.top is None else f"{convention.top:g}"
    whole = "the image padded to a square" if convention.frame == SQUARE else "the image's width and height"
    return f"normalized to 0-{side} of {whole}"
