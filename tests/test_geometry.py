"""Every change of coordinates, against numbers calculated by hand and against its own inverse."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from raylabel.errors import GeometryError
from raylabel.geometry import (
    PATCHES,
    SQUARE,
    XYXY_1000,
    XYXY_PIXELS,
    YXYX_1000,
    Convention,
    Resize,
    View,
    clip_to,
    corners,
    decide_region_units,
    from_displayed,
    iou,
    patch_cells_to_rel1,
    place,
    px_to_legacy1000,
    rel1_to_patch_cells,
    rel1000_to_px,
    round_box,
    to_displayed,
)
from raylabel.records import Box, Size

VGA = Size(640, 480)
KITTI = Size(1242, 375)


def whole(size):
    return View(size, size)


@pytest.mark.parametrize(
    ("numbers", "convention", "size", "box_px"),
    [
        # Gemini's cookbook: [ymin, xmin, ymax, xmax], each of 1000. 1242 * 0.25 = 310.5, 375 * 0.4 = 150.
        pytest.param([400, 250, 800, 500], YXYX_1000, KITTI, Box(310.5, 150, 621, 300), id="gemini-wide"),
        pytest.param([0, 0, 1000, 1000], YXYX_1000, KITTI, Box(0, 0, 1242, 375), id="gemini-all"),
        # Qwen's cookbook: [x1, y1, x2, y2], each of 1000.
        pytest.param([250, 400, 500, 800], XYXY_1000, KITTI, Box(310.5, 150, 621, 300), id="qwen-wide"),
        pytest.param([250, 400, 500, 800], XYXY_1000, Size(375, 1242), Box(93.75, 496.8, 187.5, 993.6), id="qwen-tall"),
        pytest.param([0.25, 0.4, 0.5, 0.8], Convention("xyxy", 1.0), KITTI, Box(310.5, 150, 621, 300), id="scale-1"),
        pytest.param([256, 0, 512, 1024], Convention("yxyx", 1024), VGA, Box(0, 120, 640, 240), id="scale-1024"),
        pytest.param([500, 800, 250, 400], XYXY_1000, KITTI, Box(310.5, 150, 621, 300), id="corners-swapped"),
    ],
)
def test_a_models_numbers_become_pixels(numbers, convention, size, box_px):
    found = to_displayed(numbers, convention, whole(size))
    assert found.as_tuple() == pytest.approx(box_px.as_tuple())


@pytest.mark.parametrize("numbers", [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, float("nan")], [1, 2, 3, float("inf")]])
def test_anything_but_four_finite_numbers_is_refused(numbers):
    with pytest.raises(GeometryError):
        to_displayed(numbers, XYXY_1000, whole(VGA))


sizes = st.builds(Size, st.integers(2, 5000), st.integers(2, 5000))


@settings(deadline=None)
@given(
    st.builds(View, sizes, sizes),
    st.sampled_from((XYXY_1000, YXYX_1000)),
    st.lists(st.integers(0, 1000), min_size=4, max_size=4),
)
def test_writing_a_box_for_a_model_and_reading_it_back_gives_its_numbers(view, convention, numbers):
    a, b, c, d = numbers
    wanted = [min(a, c), min(b, d), max(a, c), max(b, d)]
    assert from_displayed(to_displayed(numbers, convention, view), convention, view) == wanted


@pytest.mark.parametrize(("order", "scale"), [("xyhw", 1000), ("xyxy", 0), ("xyxy", -1), ("xyxy", float("nan"))])
def test_an_unknown_convention_is_refused(order, scale):
    with pytest.raises(GeometryError):
        Convention(order, scale)


# 1 % of 640 is 6.4, of 480 is 4.8.
@pytest.mark.parametrize(
    ("box_px", "inside", "flags"),
    [
        pytest.param(Box(0, 0, 640, 480), Box(0, 0, 640, 480), (), id="exactly-the-image"),
        pytest.param(Box(-6.4, -4.8, 646.4, 484.8), Box(0, 0, 640, 480), ("clipped",), id="one-percent-all-around"),
        pytest.param(Box(-0.001, 0, 5, 5), Box(0, 0, 5, 5), ("clipped",), id="a-hair"),
    ],
)
def test_a_small_overshoot_is_clipped_and_flagged(box_px, inside, flags):
    assert clip_to(box_px, VGA) == (inside, flags)


@pytest.mark.parametrize(
    "box_px",
    [
        pytest.param(Box(-6.5, 0, 5, 5), id="left"),
        pytest.param(Box(0, -4.9, 5, 5), id="top"),
        pytest.param(Box(0, 0, 646.5, 5), id="right"),
        pytest.param(Box(0, 0, 5, 484.9), id="bottom"),
        pytest.param(Box(5, 0, 5, 5), id="no-width"),
        pytest.param(Box(-5, 0, 0, 5), id="nothing-inside"),
        pytest.param(Box(640, 0, 645, 5), id="just-outside"),
    ],
)
def test_a_violation_is_never_repaired(box_px):
    with pytest.raises(GeometryError):
        clip_to(box_px, VGA)


@pytest.mark.parametrize(
    ("box_px", "rounded"),
    [
        (Box(10.5, 3.2, 20.49, 8.5), Box(11, 3, 20, 9)),
        (Box(0.2, 0.2, 0.4, 0.4), Box(0, 0, 1, 1)),
        (Box(639.6, 479.6, 639.9, 479.9), Box(639, 479, 640, 480)),
        (Box(0, 0, 640, 480), Box(0, 0, 640, 480)),
    ],
)
def test_rounding_is_to_the_nearest_and_never_leaves_nothing(box_px, rounded):
    assert round_box(box_px, VGA) == rounded


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.lists(st.floats(0, 1), min_size=4, max_size=4, unique=True))
def test_a_rounded_box_lies_inside_the_image_with_an_area_and_near(width, height, parts):
    size = Size(width, height)
    x, y = sorted(p * width for p in parts[:2]), sorted(p * height for p in parts[2:])
    box = Box(x[0], y[0], x[1], y[1])
    rounded = round_box(box, size)
    assert 0 <= rounded.x1 < rounded.x2 <= width
    assert 0 <= rounded.y1 < rounded.y2 <= height
    assert all(abs(a - b) <= 1 for a, b in zip(box.as_tuple(), rounded.as_tuple(), strict=True))


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        (Box(0, 0, 10, 10), Box(0, 0, 10, 10), 1.0),
        (Box(0, 0, 10, 10), Box(10, 0, 20, 10), 0.0),
        (Box(0, 0, 10, 10), Box(5, 5, 15, 15), 25 / 175),
        (Box(0, 0, 0, 0), Box(0, 0, 0, 0), 0.0),
    ],
)
def test_iou(a, b, value):
    assert iou(a, b) == pytest.approx(value)


# int(v / side * 1000): 100/1242 = 80.5, 120/375 = 320, 220/1242 = 177.1, 210/375 = 560.
@pytest.mark.tao_row("boxes on the 0-1000 grid, rounded down")
def test_the_legacy_grid_rounds_down():
    assert px_to_legacy1000(Box(100, 120, 220, 210), KITTI) == (80, 320, 177, 560)


def test_the_grid_of_foreign_files_becomes_pixels():
    assert rel1000_to_px(Box(250, 400, 500, 800), KITTI) == Box(310.5, 150, 621, 300)


SEED = Box(310.5, 150, 621, 300)


@pytest.mark.parametrize(
    ("regions", "seeds", "unit"),
    [
        pytest.param([SEED], [SEED], "pixels", id="pixels"),
        pytest.param([Box(250, 400, 500, 800)], [SEED], "rel1000", id="grid"),
        pytest.param([Box(310, 150, 620, 300)], None, "pixels", id="no-seeds-and-possible"),
        pytest.param([], [SEED], "pixels", id="no-regions"),
    ],
)
def test_the_units_of_foreign_regions_are_told_by_the_seeds(regions, seeds, unit):
    assert decide_region_units(regions, seeds, KITTI) == unit


@pytest.mark.parametrize(
    ("regions", "seeds"),
    [
        pytest.param([Box(250, 400, 500, 800)], None, id="impossible-as-pixels-and-no-seeds"),
        pytest.param([Box(1, 1, 9, 9)], [SEED], id="neither-fits"),
    ],
)
def test_units_that_cannot_be_told_are_refused_with_a_sentence(regions, seeds):
    with pytest.raises(GeometryError, match="kitti_bboxes"):
        decide_region_units(regions, seeds, KITTI)


@settings(deadline=None)
@given(sizes, st.integers(0, 2_000_000))
def test_a_picture_fits_its_limit_and_keeps_its_shape(size, max_pixels):
    fitted = Resize(max_pixels=max_pixels).apply(size)
    if max_pixels == 0 or size.width * size.height <= max_pixels:
        assert fitted == size
    elif max_pixels >= 10_000:
        assert fitted.width * fitted.height <= max_pixels
        assert min(fitted.width, fitted.height) >= 1


# --- other orders, pixels, squares, bins -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "order", "found", "swapped"),
    [
        ([10, 20, 30, 60], "xyxy", (10, 20, 30, 60), False),
        ([30, 20, 10, 60], "xyxy", (10, 20, 30, 60), True),
        ([20, 10, 60, 30], "yxyx", (10, 20, 30, 60), False),
        ([10, 20, 20, 40], "xywh", (10, 20, 30, 60), False),
        ([20, 40, 20, 40], "cxcywh", (10, 20, 30, 60), False),
    ],
)
def test_four_numbers_become_corners(numbers, order, found, swapped):
    assert corners(numbers, order) == (found, swapped)


@pytest.mark.parametrize("numbers", [[1, 2, 3], [1, 2, 3, float("nan")], [1, 2, 3, float("inf")]])
def test_only_four_finite_numbers_are_a_box(numbers):
    with pytest.raises(GeometryError):
        corners(numbers, "xyxy")


def test_pixels_refer_to_the_picture_as_the_model_sees_it_each_side_by_itself():
    # smart_resize makes 644x420 of 640x427: x by 640/644, y by 427/420.
    view = View(Size(640, 427), sent=Size(644, 420))
    box_px = to_displayed([322, 210, 483, 420], XYXY_PIXELS, view)
    assert box_px == Box(320, 213.5, 480, 427)
    shrunk = View(Size(640, 427), sent=Size(640, 427), received=Size(322, 210))
    assert to_displayed([161, 105, 322, 210], XYXY_PIXELS, shrunk) == Box(320, 213.5, 640, 427)


def test_a_padded_square_has_the_picture_in_its_middle():
    # 1242x375 in a square of 1242: (1242 - 375) / 2 = 433.5 above and below.
    wide = to_displayed([0.25, 433.5 / 1242, 0.5, 808.5 / 1242], Convention("xyxy", 1.0, frame=SQUARE), whole(KITTI))
    assert wide.as_tuple() == pytest.approx((310.5, 0, 621, 375))
    pixels = to_displayed([100, 533.5, 200, 633.5], Convention("xyxy", None, frame=SQUARE), whole(KITTI))
    assert pixels.as_tuple() == pytest.approx((100, 100, 200, 200))


def test_a_bin_stands_for_its_middle():
    # Florence-2: (53 + 0.5) / 1000 * 640 = 34.24.
    florence = Convention("xyxy", 1000.0, offset=0.5, top=999.0)
    assert place((53, 333, 933, 774), florence, whole(VGA)).as_tuple() == pytest.approx((34.24, 160.08, 597.44, 371.76))
    assert from_displayed(Box(0, 0, 640, 480), florence, whole(VGA)) == [0, 0, 999, 999]


@pytest.mark.parametrize(
    ("cells", "box_rel1"),
    [
        # transformers, tests of Kosmos-2: <patch_index_0044><patch_index_0863>.
        ((44, 863), (0.390625, 0.046875, 0.984375, 0.828125)),
        # One cell, one row, one column: edges instead of middles.
        ((0, 0), (0.0, 0.0, 1 / 32, 1 / 32)),
        ((33, 40), (1 / 32, 1 / 32, 9 / 32, 2 / 32)),
        ((33, 33 + 5 * 32), (1 / 32, 1 / 32, 2 / 32, 7 / 32)),
    ],
)
def test_cells_name_a_box(cells, box_rel1):
    assert patch_cells_to_rel1(*cells) == box_rel1


@given(st.integers(0, PATCHES**2 - 1), st.integers(0, PATCHES**2 - 1))
def test_a_box_of_cells_is_written_with_the_same_cells(one, other):
    (top, left), (bottom, right) = divmod(one, PATCHES), divmod(other, PATCHES)
    first = min(top, bottom) * PATCHES + min(left, right)
    last = max(top, bottom) * PATCHES + max(left, right)
    assert rel1_to_patch_cells(patch_cells_to_rel1(first, last)) == (first, last)


@pytest.mark.parametrize(
    ("rule", "size", "seen"),
    [
        (Resize(), Size(4000, 3000), Size(4000, 3000)),
        (Resize(long_edge=1568), Size(3000, 1000), Size(1568, 523)),
        (Resize(long_edge=1568), Size(1500, 1000), Size(1500, 1000)),
        # vision_process.py: 40x30 is below 56*56 pixels and grows to 84x56.
        (Resize(28, 56 * 56, 1280 * 28 * 28), Size(40, 30), Size(84, 56)),
        (Resize(28, 56 * 56, 1280 * 28 * 28), Size(4000, 300), Size(3640, 252)),
        (Resize(32, 0, 0), Size(1000, 500), Size(992, 512)),
        (Resize(max_pixels=1_150_000, long_edge=1568), Size(4000, 3000), Size(1238, 928)),
    ],
)
def test_pictures_are_resized_as_servers_do_it(rule, size, seen):
    assert rule.apply(size) == seen


@example(Size(55, 2668), Resize(28, 0, 88_503, 2048))
@example(Size(473, 2193), Resize(1, 0, 127_277, 768))
@given(
    sizes,
    st.builds(
        Resize,
        st.sampled_from([1, 14, 28, 32]),
        st.just(0),
        st.integers(50_000, 3_000_000),
        st.sampled_from([0, 768, 2048]),
    ),
)
def test_what_was_resized_once_stays_as_it_is(size, rule):
    assume(max(size.width, size.height) <= 50 * min(size.width, size.height))  # smart_resize refuses 200 and more
    seen = rule.apply(size)
    assert rule.apply(seen) == seen
