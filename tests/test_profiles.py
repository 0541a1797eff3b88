"""The table of model families: names, and boxes calculated by hand from what the owners say of their formats."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.answers.reading import ReplyKind, read_boxes
from raylabel.geometry import View, iou, place
from raylabel.profiles import PROFILES, SPELLINGS, Profile, profile_for, profile_named
from raylabel.prompts.boxes import box_values, format_box
from raylabel.prompts.grounding import QUESTION_STYLES
from raylabel.records import Box, Size


def view_of(profile: Profile, size: Size) -> View:
    return View(size, profile.resize.apply(size))


VGA, HD, PHOTO = Size(640, 480), Size(1280, 720), Size(4000, 3000)
BOX = Box(64, 120, 192, 240)
"""In VGA: x 0.1 to 0.3 of the width, y 0.25 to 0.5 of the height."""


@pytest.mark.tao_row("the prompt asks for pixels, whatever convention the model was trained on")
@pytest.mark.parametrize(
    ("name", "size", "box_px", "written", "answer"),
    [
        # y first, of 1000: 120/480 = 0.25, 64/640 = 0.1, 240/480 = 0.5, 192/640 = 0.3.
        pytest.param("gemini", VGA, BOX, [250, 100, 500, 300], '[{"box_2d": [250, 100, 500, 300], "label": "a"}]'),
        pytest.param("qwen3-vl", VGA, BOX, [100, 250, 300, 500], '[{"bbox_2d": [100, 250, 300, 500], "label": "a"}]'),
        pytest.param("internvl", VGA, BOX, [100, 250, 300, 500], "<ref>a</ref><box>[[100, 250, 300, 500]]</box>"),
        pytest.param("glm-v", VGA, BOX, [100, 250, 300, 500], "<|begin_of_box|>[[100,250,300,500]]<|end_of_box|>"),
        pytest.param("minicpm-v", VGA, BOX, [100, 250, 300, 500], "<ref>a</ref><box>100 250 300 500</box>"),
        pytest.param("cogvlm", VGA, BOX, [100, 250, 300, 500], "a [[100,250,300,500]]"),
        pytest.param("qwen-vl", VGA, BOX, "(100,250),(300,500)", "<ref>a</ref><box>(100,250),(300,500)</box>"),
        # Of 999: 99.9, 249.75, 299.7, 499.5 (halves up).
        pytest.param(
            "deepseek-vl2", VGA, BOX, [100, 250, 300, 500], "<|ref|>a<|/ref|><|det|>[[100, 250, 300, 500]]<|/det|>"
        ),
        # Bins of 1024, y first: 256, 102.4, 512, 307.2.
        pytest.param(
            "paligemma",
            VGA,
            BOX,
            "<loc0256><loc0102><loc0512><loc0307>",
            "<loc0256><loc0102><loc0512><loc0307> a",
        ),
        # Bins 0 to 999, x first, the label before.
        pytest.param(
            "florence-2", VGA, BOX, "<loc_100><loc_250><loc_300><loc_500>", "a<loc_100><loc_250><loc_300><loc_500>"
        ),
        # 32 cells a side: upper left row 8 (0.25 * 32), column 3 (3.2): 8 * 32 + 3 = 259; lower right row
        # ceil(16 - 1) = 15, column ceil(9.6 - 1) = 9: 15 * 32 + 9 = 489.
        pytest.param(
            "kosmos-2",
            VGA,
            BOX,
            "<patch_index_0259><patch_index_0489>",
            "<phrase>a</phrase><object><patch_index_0259><patch_index_0489></object>",
        ),
        # smart_resize: 1280/28 = 45.7 and 720/28 = 25.7 become 46 and 26, 1288x728. 322 = 320/1280 * 1288.
        pytest.param(
            "qwen2.5-vl",
            HD,
            Box(320, 180, 960, 540),
            [322, 182, 966, 546],
            '```json\n[{"bbox_2d": [322, 182, 966, 546], "label": "a"}]\n```',
        ),
        # 12 megapixels over 1280*28*28 = 1003520: both sides through 3.458 and down to multiples of 28, 1148x840.
        pytest.param(
            "qwen2.5-vl",
            PHOTO,
            Box(1000, 750, 3000, 2250),
            [287, 210, 861, 630],
            '[{"bbox_2d": [287, 210, 861, 630], "label": "a"}]',
        ),
        # Long edge 1568, then 1.15 megapixels: 1238x928. 309.5 and 928.5 go up.
        pytest.param(
            "claude",
            PHOTO,
            Box(1000, 750, 3000, 2250),
            [310, 232, 929, 696],
            '{"boxes": [{"box": [310, 232, 929, 696], "label": "a"}]}',
        ),
        # Long edge 2048: 2048x1536.
        pytest.param(
            "gpt", PHOTO, Box(1000, 750, 3000, 2250), [512, 384, 1536, 1152], '[{"box_2d": [512, 384, 1536, 1152]}]'
        ),
        pytest.param("grok", VGA, BOX, [10.0, 25.0, 30.0, 50.0], '[{"box_2d": [10.0, 25.0, 30.0, 50.0]}]'),
        pytest.param("kimi-vl", VGA, BOX, [0.1, 0.25, 0.3, 0.5], '{"bbox_2d": [0.1, 0.25, 0.3, 0.5], "label": "a"}'),
        pytest.param(
            "moondream",
            VGA,
            BOX,
            {"x_min": 0.1, "y_min": 0.25, "x_max": 0.3, "y_max": 0.5},
            '{"objects": [{"x_min": 0.1, "y_min": 0.25, "x_max": 0.3, "y_max": 0.5}]}',
        ),
        # Padded by 80 above and below to 640x640: (80 + 128)/640 = 0.325, (80 + 240)/640 = 0.5.
        pytest.param("shikra", VGA, Box(64, 128, 192, 240), [0.1, 0.325, 0.3, 0.5], "a [0.100,0.325,0.300,0.500]"),
    ],
)
def test_boxes_are_written_and_read_as_the_owner_of_the_family_says(name, size, box_px, written, answer):
    profile = profile_named(name)
    assert profile is not None
    view = view_of(profile, size)
    assert format_box(box_px, profile, view) == written
    reading = read_boxes(answer, profile.convention.order, profile.convention.sides(view), ["a"])
    assert reading.kind is ReplyKind.BOXES
    (found,) = reading.boxes
    back = place(found.corners, profile.convention, view)
    # Kosmos-2 means the middles of its cells: 0.109375, 0.265625, 0.296875, 0.484375.
    expected = Box(70, 127.5, 190, 232.5) if name == "kosmos-2" else box_px
    assert iou(back, expected) > 0.985


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2.5-vl"),
        ("/models/qwen2.5-vl-7b-awq", "qwen2.5-vl"),
        ("qwen2.5vl:7b", "qwen2.5-vl"),
        ("Qwen/Qwen3-VL-235B-A22B-Thinking", "qwen3-vl"),
        ("qwen3.6-plus", "qwen3-vl"),
        ("Qwen/Qwen2-VL-2B", "qwen2-vl"),
        ("Qwen/Qwen-VL-Chat", "qwen-vl"),
        ("qwen-vl-max", None),
        ("models/gemini-2.5-flash", "gemini"),
        ("gemini-3.1-flash-lite-preview", "gemini"),
        ("gemini-1.5-pro-002", "gemini-1.5"),
        ("nvidia/cosmos-reason2-8b", "cosmos-reason2"),
        ("nvidia/Cosmos-Reason1-7B", "cosmos-reason1"),
        ("OpenGVLab/InternVL2_5-8B", "internvl"),
        ("OpenGVLab/InternVL3-78B", "internvl"),
        ("OpenGVLab/InternVL3_5-8B", None),
        ("zai-org/GLM-4.5V", "glm-v"),
        ("glm-4v-9b", None),
        ("gpt-5", "gpt-5.0"),
        ("gpt-5-mini", "gpt-5.0"),
        ("gpt-5.2-2026-01-01", "gpt"),
        ("gpt-4o-2024-08-06", "gpt"),
        ("claude-sonnet-4-5-20250929", "claude"),
        ("claude-opus-4-7", "claude-4.7"),
        ("google/paligemma2-10b-mix-448", "paligemma"),
        ("google/gemma-3-27b-it", None),
        ("microsoft/Florence-2-large", "florence-2"),
        ("allenai/Molmo-7B-D-0924", "molmo"),
        ("my-own-finetune", None),
    ],
)
def test_a_family_is_told_by_the_models_name(model, name):
    profile = profile_for([model])
    assert (profile and profile.name) == name


def test_the_first_name_that_has_a_row_counts():
    found = profile_for(["alias", "/data/OpenGVLab/InternVL2-8B", "gemini-2.5-flash"])
    assert found is not None
    assert found.name == "internvl"


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_a_row_is_complete(profile: Profile):
    assert re.match(r"[PSU][ :]", profile.source), "a row says where it is written, led by its grade"
    assert profile.spelling in SPELLINGS
    assert profile.question_style in QUESTION_STYLES
    prompt = QUESTION_STYLES[profile.question_style]
    assert (prompt.schema() is not None) == profile.schema
    for pattern in profile.models:
        re.compile(pattern)
    assert profile_named(profile.name) is profile
    # What is resized once by the family's rule is left alone by servers with the same rule.
    for size in (Size(40, 30), Size(4000, 300), Size(600, 1400), PHOTO, Size(641, 479)):
        sent = profile.resize.apply(size)
        assert profile.resize.apply(sent) == sent


def test_names_of_rows_are_unique():
    assert len({profile.name for profile in PROFILES}) == len(PROFILES)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_a_question_says_how_boxes_are_written_and_states_the_size_where_they_are_pixels(profile):
    view = view_of(profile, PHOTO)
    values = box_values(profile, view)
    text = QUESTION_STYLES[profile.question_style].render(
        {"phrases": '{"id": 1, "phrase": "cup"}', "phrase": "cup", **values}
    )
    assert "cup" in text
    assert "$" not in text
    if profile.question_style in ("list", "object") and profile.convention.scale is None:
        assert f"{view.sent.width} pixels wide and {view.sent.height} pixels high" in text


@pytest.mark.parametrize("profile", [p for p in PROFILES if p.reasoning], ids=lambda p: p.name)
def test_the_reasoning_of_a_family_is_not_its_answer(profile):
    opened, closed = profile.reasoning
    draft, answer = '[{"bbox_2d": [1, 2, 30, 40]}]', '[{"bbox_2d": [100, 200, 300, 400], "label": "a"}]'
    reading = read_boxes(f"{opened}maybe {draft}, no{closed}\n{answer}", "xyxy", None, ["a"])
    assert [box.corners for box in reading.boxes] == [(100, 200, 300, 400)]
    assert read_boxes(f"{opened}maybe {draft}, no", "xyxy", None, ["a"]).boxes == ()


sizes = st.builds(Size, st.integers(40, 4000), st.integers(40, 4000)).filter(lambda s: s.width != s.height)


@st.composite
def pictures_with_a_box(draw):
    """A size, and a box of at least a twentieth of each side."""
    size = draw(sizes)
    x, y = draw(st.floats(0, 0.95)), draw(st.floats(0, 0.95))
    w, h = draw(st.floats(0.05, 1 - x)), draw(st.floats(0.05, 1 - y))
    return size, Box(x * size.width, y * size.height, (x + w) * size.width, (y + h) * size.height)


def resolution_px(profile: Profile, view: View) -> tuple[float, float]:
    """How far a side may stray on the way into the family's numbers and back, in displayed pixels."""
    if profile.spelling == "patch":
        steps = (32.0, 32.0)
    elif profile.convention.scale is not None and profile.convention.scale < 100:
        steps = (1000.0 * profile.convention.scale, 1000.0 * profile.convention.scale)
    else:
        steps = profile.convention.sides(view)
    longest = max(view.displayed.width, view.displayed.height)
    square = profile.convention.frame == "square"
    return tuple(
        1.01 * (longest if square else side) / step
        for side, step in zip((view.displayed.width, view.displayed.height), steps, strict=True)
    )  # type: ignore[return-value]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=pictures_with_a_box(), in_json=st.booleans())
def test_any_box_comes_back_from_any_familys_dialect(profile, case, in_json):
    size, box_px = case
    view = view_of(profile, size)
    written = format_box(box_px, profile, view)
    if in_json:
        text = json.dumps([{profile.key: written, "label": "cup"}])
    elif profile.spelling == "loc":
        text = f"cup{written}"
    elif profile.spelling == "patch":
        text = f"<phrase>cup</phrase><object>{written}</object>"
    elif isinstance(written, str):
        text = f"{written} cup"
    else:
        text = f"The cup is at {json.dumps(written)}."
    reading = read_boxes(text, profile.convention.order, profile.convention.sides(view), ["cup"])
    assert reading.kind is ReplyKind.BOXES, text
    (found,) = reading.boxes
    back = place(found.corners, profile.convention, view)
    far_x, far_y = resolution_px(profile, view)
    for got, wanted, far in zip(back.as_tuple(), box_px.as_tuple(), (far_x, far_y) * 2, strict=True):
        assert abs(got - wanted) <= far, (text, back)


@pytest.mark.parametrize("name", ["qwen2.5-vl", "gemini", "claude"])
def test_a_label_is_asked_for_only_of_families_that_were_trained_to_say_one(name):
    profile = profile_named(name)
    assert profile is not None
    values = box_values(profile, view_of(profile, PHOTO))
    text = QUESTION_STYLES[profile.question_style].render(
        {"phrases": '{"id": 1, "phrase": "cup"}', "phrase": "cup", **values}
    )
    assert ('"label"' in text) is (name == "qwen2.5-vl")
