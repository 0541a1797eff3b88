"""The picture whose colors are asked for: whoever reads its boxes otherwise than they are written sees other colors."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from raylabel.geometry import ORDERS, PICTURE, Convention, Resize, View, iou
from raylabel.images import prepare
from raylabel.probing.box_reading import TELLING, colors_match, explain_misreading, possible_conventions
from raylabel.probing.color_probe import (
    ASKED,
    COLORS,
    NO_COLOR,
    SIZE,
    color_probe,
    colors_seen,
    misread,
    pointed_at,
    rectangles,
)
from raylabel.profiles import AS_IS, PROFILES, Profile
from raylabel.records import Box
from raylabel.settings import ImageSettings

LIMITS = (0, 600_000, 250_000)
"""``image.max_pixels``: the picture is sent as it is, or smaller."""


def profiles() -> Iterator[Profile]:
    """One of each convention and resize of the table, and every order on every scale that a user may write."""
    written = [Profile("user", Convention(order, scale)) for order in ORDERS for scale in (1000.0, 1.0, 100.0, None)]
    yield from {(p.convention, p.resize): p for p in (*written, *PROFILES) if p.localises}.values()


def views(profile: Profile) -> Iterator[View]:
    for limit in LIMITS:
        yield View(SIZE, profile.resize.within(limit).apply(SIZE))


def named(profile: Profile) -> str:
    convention = profile.convention
    top = "" if convention.top is None else f"-bins-{convention.top:g}"
    resize = "" if profile.resize == AS_IS else f"-{profile.name}"
    return f"{convention.order}-{convention.scale}-{convention.frame}{top}{resize}"


every_profile = pytest.mark.parametrize("profile", list(profiles()), ids=named)


def is_another_place(profile: Profile, read: Convention, view: View) -> bool:
    """Whether boxes that are read so lie elsewhere; 999 and 1000 are neighbours, and so are half a pixel's worth."""
    shared = [iou(color_probe().boxes_px[c], misread(c, profile.convention, read, view)) for c in ASKED]
    return sum(shared) / len(shared) < 0.5


# --- what the picture shows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", LIMITS)
def test_every_rectangle_has_its_color_wherever_it_is_sent(limit: int) -> None:
    facts, sent, _ = prepare(color_probe().data, ImageSettings(), Resize(max_pixels=limit))
    with Image.open(io.BytesIO(sent)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    scale_x, scale_y = pixels.shape[1] / SIZE.width, pixels.shape[0] / SIZE.height

    assert facts.size == SIZE
    for color, box in rectangles():
        inside = pixels[
            round((box.y1 + 6) * scale_y) : round((box.y2 - 6) * scale_y),
            round((box.x1 + 6) * scale_x) : round((box.x2 - 6) * scale_x),
        ]
        assert np.abs(inside - np.array(COLORS[color])).max() < 12, (color, box)


def test_no_rectangle_touches_another_and_all_are_large_enough_to_be_seen() -> None:
    boxes = [box for _, box in rectangles()]
    for at, a in enumerate(boxes):
        assert min(a.width, a.height) >= 60
        for b in boxes[:at]:
            assert max(b.x1 - a.x2, a.x1 - b.x2) >= 20 or max(b.y1 - a.y2, a.y1 - b.y2) >= 20


def test_every_color_that_is_asked_for_is_one_and_another() -> None:
    assert len(ASKED) == len(set(ASKED)) == 6
    assert set(ASKED) <= set(COLORS)
    assert [color for color, _ in rectangles()[: len(ASKED)]] == list(ASKED)


@pytest.mark.parametrize(
    ("box", "color"),
    [
        pytest.param(Box(-50, -50, 3, 3), rectangles()[len(ASKED)][0], id="the-corner"),
        pytest.param(Box(-90, -90, -10, -10), NO_COLOR, id="outside"),
        pytest.param(Box(5000, 5000, 9000, 9000), NO_COLOR, id="far-outside"),
        pytest.param(Box(3, 690, 9, 698), NO_COLOR, id="the-ground"),
        pytest.param(Box(5, 5, 5, 5), NO_COLOR, id="no-area"),
    ],
)
def test_a_box_points_at_what_it_holds(box: Box, color: str) -> None:
    assert pointed_at(box) == color


# --- the property -----------------------------------------------------------------------------------------------------


@every_profile
def test_who_reads_boxes_as_they_are_written_sees_every_color(profile: Profile) -> None:
    for view in views(profile):
        assert colors_seen(profile.convention, profile.convention, view) == ASKED


@every_profile
def test_who_reads_boxes_otherwise_sees_other_colors_and_does_not_pass(profile: Profile) -> None:
    tried = 0
    for view in views(profile):
        for read in possible_conventions(profile):
            if is_another_place(profile, read, view):
                seen = colors_seen(profile.convention, read, view)
                tried += 1
                assert not colors_match(seen), (view.sent, read, seen)
                assert sum(a == b for a, b in zip(seen, ASKED, strict=True)) <= 3, (view.sent, read, seen)
    assert tried > 60


@every_profile
def test_who_reads_boxes_otherwise_is_found_out_by_what_it_sees(profile: Profile) -> None:
    """The convention itself, or one that shows the very same colors; where it sees rectangles at all."""
    for view in views(profile):
        for read in possible_conventions(profile):
            seen = colors_seen(profile.convention, read, view)
            if not is_another_place(profile, read, view) or sum(c != NO_COLOR for c in seen) < TELLING:
                continue
            found = explain_misreading(seen, profile, view)
            assert found is not None, (view.sent, read, seen)
            assert colors_seen(profile.convention, found.convention, view) == seen


@pytest.mark.parametrize("order", ["xyxy", "yxyx"])
@pytest.mark.parametrize("scale", [1000.0, 1.0, 100.0, None])
def test_swapped_axes_show_at_least_three_other_colors(order: str, scale: float | None) -> None:
    written = Convention(order, scale)
    swapped = dataclasses.replace(written, order="yxyx" if order == "xyxy" else "xyxy")
    seen = colors_seen(written, swapped, View(SIZE, SIZE))

    found = explain_misreading(seen, Profile("x", written), View(SIZE, SIZE))

    assert found is not None
    assert (found.convention, found.is_sure) == (swapped, True)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param(Convention("xyxy", 1000.0), Convention("xyxy", None), id="thousandths-read-as-pixels"),
        pytest.param(Convention("xyxy", None), Convention("xyxy", 1000.0), id="pixels-read-as-thousandths"),
        pytest.param(Convention("yxyx", 1000.0), Convention("xyxy", None), id="y-first-read-as-pixels"),
        pytest.param(Convention("xyxy", 1000.0), Convention("xywh", 1000.0), id="corners-read-as-width-and-height"),
        pytest.param(Convention("xywh", None), Convention("xyxy", None), id="width-and-height-read-as-corners"),
    ],
)
def test_other_misreadings_that_are_likely_are_named(written: Convention, read: Convention) -> None:
    view = View(SIZE, SIZE)
    found = explain_misreading(colors_seen(written, read, view), Profile("x", written), view)

    assert found is not None
    assert found.convention == read
    assert read.frame == PICTURE
