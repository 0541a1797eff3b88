"""The demo model's boxes, pinned to values calculated by hand from the model owners' documents.

Qwen3-VL (QwenLM/Qwen3-VL, 2D grounding cookbook): "bbox_2d": [x1, y1, x2, y2], each relative to the side, times 1000.
Gemini (google-gemini/cookbook, Spatial_understanding): "box_2d": [ymin, xmin, ymax, xmax], normalised to 0-1000.
The other families' sources stand beside their rows in the table of dialects.
"""

from __future__ import annotations

import pytest

from raylabel.demo.server.dialects import DIALECTS, MAX_PIXELS, NATIVE
from raylabel.demo.server.dialects.speech import Told
from raylabel.demo.server.dialects.views import UnusableSize, long_edge, smart_resize

# A box (100, 120, 220, 210) in a picture of 1242 x 375, as shares of the sides:
# x: 100/1242 = 0.0805153, 220/1242 = 0.1771337;  y: 120/375 = 0.32, 210/375 = 0.56
WIDE = ((1242, 375), (100, 120, 220, 210))


@pytest.mark.parametrize(
    ("dialect", "size_wh", "box_px", "numbers"),
    [
        # times 1000: 80.5 -> 81, 320, 177.1 -> 177, 560
        pytest.param("xyxy1000", *WIDE, [81, 320, 177, 560], id="plain-wide"),
        pytest.param("yxyx1000", *WIDE, [320, 81, 560, 177], id="plain-y-first-wide"),
        pytest.param("qwen3-vl", *WIDE, [81, 320, 177, 560], id="qwen3-wide"),
        pytest.param("gemini", *WIDE, [320, 81, 560, 177], id="gemini-wide"),
        pytest.param("internvl", *WIDE, [81, 320, 177, 560], id="internvl-wide"),
        pytest.param("glm-4.5v", *WIDE, [81, 320, 177, 560], id="glm-wide"),
        pytest.param("minicpm", *WIDE, [81, 320, 177, 560], id="minicpm-wide"),
        pytest.param("qwen-vl", *WIDE, [81, 320, 177, 560], id="qwen-vl-wide"),
        # times 999: 80.43 -> 80, 319.68 -> 320, 176.96 -> 177, 559.44 -> 559
        pytest.param("deepseek-vl2", *WIDE, [80, 320, 177, 559], id="deepseek-wide"),
        # times 1024, rounded down, y first: 327.68 -> 327, 82.45 -> 82, 573.44 -> 573, 181.38 -> 181
        pytest.param("paligemma", *WIDE, [327, 82, 573, 181], id="paligemma-wide"),
        # times 1000, rounded down: 80.5 -> 80, 320, 177.1 -> 177, 560
        pytest.param("florence-2", *WIDE, [80, 320, 177, 560], id="florence-wide"),
        # times 32: left 2.58 -> column 2, top 10.24 -> row 10: 10 * 32 + 2 = 322;
        # right ceil(5.67 - 1) = 5, bottom ceil(17.92 - 1) = 17: 17 * 32 + 5 = 549
        pytest.param("kosmos-2", *WIDE, [322, 549], id="kosmos-wide"),
        # the middle (160, 165): 160/1242 = 12.88 % -> 12.9, 165/375 = 44 %
        pytest.param("molmo", *WIDE, [12.9, 44.0], id="molmo-wide"),
        # times 100, one decimal: 8.05 -> 8.1, 32, 17.71 -> 17.7, 56
        pytest.param("percent", *WIDE, [8.1, 32.0, 17.7, 56.0], id="percent-wide"),
        # three decimals: 0.0805 -> 0.081, 0.32, 0.1771 -> 0.177, 0.56
        pytest.param("unit", *WIDE, [0.081, 0.32, 0.177, 0.56], id="unit-wide"),
        pytest.param("moondream", *WIDE, [0.081, 0.32, 0.177, 0.56], id="moondream-wide"),
        pytest.param("pixels", *WIDE, [100, 120, 220, 210], id="pixels-wide"),
        # 220 - 100 = 120 wide, 210 - 120 = 90 high
        pytest.param("xywh", *WIDE, [100, 120, 120, 90], id="xywh-wide"),
        # A square of 1242, (1242 - 375) // 2 = 433 above the picture:
        # y: (120 + 433)/1242 = 0.44525, (210 + 433)/1242 = 0.51771; x as it was
        pytest.param("shikra", *WIDE, [0.081, 0.445, 0.177, 0.518], id="shikra-wide"),
        # Claude and Qwen2.5-VL: pixels of the picture they see, whose size is told apart below.
        pytest.param("claude", *WIDE, [100, 120, 220, 210], id="claude-wide"),
        pytest.param("qwen2.5-vl", *WIDE, [100, 120, 220, 210], id="qwen2.5-wide"),
        # x: 61/427 = 0.142857 -> 143, 200/427 = 0.468384 -> 468;  y: 333/640 = 0.520313 -> 520, 640/640 -> 1000
        pytest.param("xyxy1000", (427, 640), (61, 333, 200, 640), [143, 520, 468, 1000], id="qwen-portrait"),
        pytest.param("yxyx1000", (427, 640), (61, 333, 200, 640), [520, 143, 1000, 468], id="gemini-portrait"),
        # A square of 640, (640 - 427) // 2 = 106 left of the picture:
        # x: (61 + 106)/640 = 0.26094, (200 + 106)/640 = 0.47813;  y: 333/640 = 0.52031, 1
        pytest.param("shikra", (427, 640), (61, 333, 200, 640), [0.261, 0.52, 0.478, 1.0], id="shikra-portrait"),
        # times 32: left 4.57 -> 4, top 16.65 -> 16: 516; right ceil(14.99 - 1) = 14, bottom ceil(32 - 1) = 31: 1006
        pytest.param("kosmos-2", (427, 640), (61, 333, 200, 640), [516, 1006], id="kosmos-portrait"),
        # On the grid lines of 20 x 15 px: left 40/20 = 2, top 30/15 = 2: 66; right 80/20 - 1 = 3, bottom 45/15 - 1 = 2
        pytest.param("kosmos-2", (640, 480), (40, 30, 80, 45), [66, 67], id="kosmos-on-its-grid"),
        # The whole picture: both 0 and 1000 occur, bins and [0, 1000) end one before, 32 x 32 cells end at 1023.
        pytest.param("gemini", (640, 480), (0, 0, 640, 480), [0, 0, 1000, 1000], id="gemini-whole"),
        pytest.param("deepseek-vl2", (640, 480), (0, 0, 640, 480), [0, 0, 999, 999], id="deepseek-whole"),
        pytest.param("qwen-vl", (640, 480), (0, 0, 640, 480), [0, 0, 999, 999], id="qwen-vl-whole"),
        pytest.param("paligemma", (640, 480), (0, 0, 640, 480), [0, 0, 1023, 1023], id="paligemma-whole"),
        pytest.param("florence-2", (640, 480), (0, 0, 640, 480), [0, 0, 999, 999], id="florence-whole"),
        pytest.param("kosmos-2", (640, 480), (0, 0, 640, 480), [0, 1023], id="kosmos-whole"),
        # 192/640 = 0.3 and 144/480 = 0.3: bin 300 and not 299, whatever floating point makes of 0.3 * 1000
        pytest.param("florence-2", (640, 480), (0, 144, 192, 480), [0, 300, 300, 999], id="florence-bin-edge"),
        # x: 1/2000 = 0.5 units -> 1 (halves up), 3/2000 = 1.5 -> 2;  y: 1/500 = 2 units, 2/500 = 4 units
        pytest.param("xyxy1000", (2000, 500), (1, 1, 3, 2), [1, 2, 2, 4], id="qwen-halves"),
    ],
)
def test_a_box_is_written_as_the_owners_document(dialect, size_wh, box_px, numbers):
    assert DIALECTS[dialect].write(box_px, *size_wh) == numbers


@pytest.mark.parametrize(
    ("dialect", "size_wh", "value", "box_px"),
    [
        # x: 0.1 * 640 = 64, 0.5 * 640 = 320;  y: 0.2 * 480 = 96, 0.6 * 480 = 288
        pytest.param("qwen3-vl", (640, 480), [100, 200, 500, 600], (64, 96, 320, 288), id="qwen3"),
        pytest.param("gemini", (640, 480), [200, 100, 600, 500], (64, 96, 320, 288), id="gemini"),
        pytest.param("internvl", (640, 480), [[100, 200, 500, 600]], (64, 96, 320, 288), id="internvl-list-in-list"),
        pytest.param("glm-4.5v", (640, 480), [[100, 200], [500, 600]], (64, 96, 320, 288), id="glm-two-corners"),
        pytest.param("qwen-vl", (640, 480), "(100,200),(500,600)", (64, 96, 320, 288), id="qwen-vl"),
        pytest.param("minicpm", (640, 480), "<box>100 200 500 600</box>", (64, 96, 320, 288), id="minicpm"),
        pytest.param("percent", (640, 480), [10.0, 20.0, 50.0, 60.0], (64, 96, 320, 288), id="percent"),
        pytest.param("unit", (640, 480), [0.1, 0.2, 0.5, 0.6], (64, 96, 320, 288), id="unit"),
        pytest.param("pixels", (640, 480), [64, 96, 320, 288], (64, 96, 320, 288), id="pixels"),
        pytest.param("qwen2.5-vl", (640, 480), [64, 96, 320, 288], (64, 96, 320, 288), id="qwen2.5"),
        # 64 + 256 = 320, 96 + 192 = 288
        pytest.param("xywh", (640, 480), [64, 96, 256, 192], (64, 96, 320, 288), id="xywh"),
        pytest.param("claude", (640, 480), {"x1": 64, "y1": 96, "x2": 320, "y2": 288}, (64, 96, 320, 288), id="claude"),
        pytest.param(
            "moondream",
            (640, 480),
            {"x_min": 0.1, "y_min": 0.2, "x_max": 0.5, "y_max": 0.6},
            (64, 96, 320, 288),
            id="moondream",
        ),
        # x: 0.25 * 300 = 75, 0.75 * 300 = 225;  y: 0.1 * 900 = 90, 0.9 * 900 = 810; corners given in the wrong order
        pytest.param("gemini", (300, 900), [900, 750, 100, 250], (75, 90, 225, 810), id="gemini-swapped-corners"),
        # x: 111/999 * 1998 = 222, 555/999 * 1998 = 1110;  y: 333/999 * 666 = 222, 999/999 * 666 = 666
        pytest.param("deepseek-vl2", (1998, 666), [[111, 333, 555, 999]], (222, 222, 1110, 666), id="deepseek"),
        # y first: 256/1024 * 512 = 128, 128/1024 * 2048 = 256, 768/1024 * 512 = 384, 512/1024 * 2048 = 1024
        pytest.param(
            "paligemma",
            (2048, 512),
            "<loc0256><loc0128><loc0768><loc0512>",
            (256, 128, 1024, 384),
            id="paligemma",
        ),
        # the middle of each bin: x 0.1005 * 2000 = 201, 0.4995 * 2000 = 999;  y 0.2005 * 500 = 100.25, 0.5995 * 500
        pytest.param(
            "florence-2", (2000, 500), "<loc_100><loc_200><loc_499><loc_599>", (201, 100.25, 999, 299.75), id="florence"
        ),
        # Cells of 20 x 15 px. 44 = 1 * 32 + 12, 863 = 26 * 32 + 31; from centre to centre:
        # x 12.5 * 20 = 250, 31.5 * 20 = 630;  y 1.5 * 15 = 22.5, 26.5 * 15 = 397.5
        pytest.param(
            "kosmos-2", (640, 480), "<patch_index_0044><patch_index_0863>", (250, 22.5, 630, 397.5), id="kosmos"
        ),
        # 44 and 108 = 3 * 32 + 12 share a column; from edge to edge: x 12 * 20, 13 * 20;  y 1 * 15, 4 * 15
        pytest.param(
            "kosmos-2", (640, 480), "<patch_index_0044><patch_index_0108>", (240, 15, 260, 60), id="kosmos-one-column"
        ),
        # A square of 600 with (600 - 200) / 2 = 200 above the picture:
        # x: 0.25 * 600 = 150, 0.5 * 600 = 300;  y: 0.5 * 600 - 200 = 100, 0.6 * 600 - 200 = 160
        pytest.param("shikra", (600, 200), "[0.250,0.500,0.500,0.600]", (150, 100, 300, 160), id="shikra"),
    ],
)
def test_a_box_in_a_question_is_read_as_the_owners_document(dialect, size_wh, value, box_px):
    assert DIALECTS[dialect].read_value(value, *size_wh) == pytest.approx(box_px)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([1, 2, 3], id="three-numbers"),
        pytest.param([True, 2, 3, 4], id="no-number"),
        pytest.param("none", id="words"),
        pytest.param({"x1": 1, "y1": 2}, id="half-the-corners"),
        pytest.param("<patch_index_0044><patch_index_0863>", id="another-familys-tokens"),
        pytest.param(None, id="null"),
    ],
)
def test_what_is_no_box_is_not_read_as_one(value):
    assert DIALECTS["qwen3-vl"].read_value(value, 640, 480) is None


@pytest.mark.parametrize(
    ("size_wh", "seen_wh"),
    [
        # 640/28 = 22.86 -> 23 * 28, 480/28 = 17.14 -> 17 * 28
        pytest.param((640, 480), (644, 476), id="rounded"),
        # 600/28 = 21.43 -> 21 * 28, 1400/28 = 50
        pytest.param((600, 1400), (588, 1400), id="portrait"),
        # 70/28 = 2.5 -> 2 * 28 (halves to even), 98/28 = 3.5 -> 4 * 28
        pytest.param((70, 98), (56, 112), id="halves"),
        # 2996 * 1008 is too much: sqrt(3000000/1003520) = 1.72901;
        # 3000/1.72901/28 = 61.97 -> 61 * 28, 1000/1.72901/28 = 20.66 -> 20 * 28
        pytest.param((3000, 1000), (1708, 560), id="too-large"),
        # 4004 * 308 is too much: sqrt(1200000/1003520) = 1.09352; 4000/1.09352/28 = 130.6 -> 130 * 28, 9.8 -> 9 * 28
        pytest.param((4000, 300), (3640, 252), id="panorama"),
        # 28 * 28 is too little: sqrt(3136/1200) = 1.61658; 40 * 1.61658/28 = 2.31 -> 3 * 28, 1.73 -> 2 * 28
        pytest.param((40, 30), (84, 56), id="too-small"),
    ],
)
def test_qwens_server_resizes_as_its_tools_do(size_wh, seen_wh):
    assert smart_resize(size_wh, MAX_PIXELS) == seen_wh


def test_qwens_server_refuses_slivers():
    with pytest.raises(UnusableSize):
        smart_resize((2010, 10), MAX_PIXELS)


@pytest.mark.parametrize(
    ("size_wh", "seen_wh"),
    [
        pytest.param((1242, 375), (1242, 375), id="small-enough"),
        # 1568/4000 = 0.392: 300 * 0.392 = 117.6 -> 118
        pytest.param((4000, 300), (1568, 118), id="wide"),
        # 1568/2000 = 0.784: 900 * 0.784 = 705.6 -> 706
        pytest.param((900, 2000), (706, 1568), id="portrait"),
    ],
)
def test_claude_sees_at_most_its_long_edge(size_wh, seen_wh):
    assert long_edge(size_wh, MAX_PIXELS) == seen_wh


# Two boxes for one phrase, one for another, none for the third, in a picture of 640 x 480:
# (64, 96, 320, 288) is 0.1, 0.2, 0.5, 0.6 of the sides; (128, 48, 192, 240) is 0.2, 0.1, 0.3, 0.5;
# (0, 24, 96, 480) is 0, 0.05, 0.15, 1.
FOUND = [
    ("red squares", [(64, 96, 320, 288), (128, 48, 192, 240)]),
    ("blue bar", [(0, 24, 96, 480)]),
    ("green star", []),
]
# Kosmos-2, times 32: 3.2, 6.4, 16, 19.2 -> 6 * 32 + 3 = 195 and ceil(18.2) * 32 + 15 = 623;
# 6.4, 3.2, 9.6, 16 -> 3 * 32 + 6 = 102 and 15 * 32 + ceil(8.6) = 489; 0, 1.6, 4.8, 32 -> 32 and 31 * 32 + 4 = 996.
# Times 1024, down: 0.1 -> 102, 0.2 -> 204, 0.3 -> 307, 0.5 -> 512, 0.6 -> 614; 0.05 -> 51, 0.15 -> 153.
# Shikra, 80 px above the picture in a square of 640: y (96 + 80)/640 = 0.275, (288 + 80)/640 = 0.575;
# (48 + 80)/640 = 0.2, (240 + 80)/640 = 0.5;  (24 + 80)/640 = 0.1625 -> 0.163 (halves up), (480 + 80)/640 = 0.875.
# Molmo: middles (192, 192) = 30 %, 40 %; (160, 144) = 25 %, 30 %; (48, 252) = 7.5 %, 52.5 %.
WORDED = {
    "internvl": "<ref>red squares</ref><box>[[100, 200, 500, 600], [200, 100, 300, 500]]</box>\n"
    "<ref>blue bar</ref><box>[[0, 50, 150, 1000]]</box>\n<ref>green star</ref><box>none</box>",
    # times 999: 99.9 -> 100, 199.8 -> 200, 499.5 -> 500, 599.4 -> 599; 299.7 -> 300; 49.95 -> 50, 149.85 -> 150
    "deepseek-vl2": "<|ref|>red squares<|/ref|><|det|>[[100, 200, 500, 599], [200, 100, 300, 500]]<|/det|>\n"
    "<|ref|>blue bar<|/ref|><|det|>[[0, 50, 150, 999]]<|/det|><｜end▁of▁sentence｜>",
    "paligemma": "<loc0204><loc0102><loc0614><loc0512> red squares ; <loc0102><loc0204><loc0512><loc0307> red squares"
    " ; <loc0051><loc0000><loc1023><loc0153> blue bar",
    "florence-2": "</s><s>red squares<loc_100><loc_200><loc_500><loc_600><loc_200><loc_100><loc_300><loc_500>"
    "blue bar<loc_0><loc_50><loc_150><loc_999></s>",
    "kosmos-2": "<grounding><phrase>red squares</phrase><object><patch_index_0195><patch_index_0623>"
    "</delimiter_of_multi_objects/><patch_index_0102><patch_index_0489></object> and "
    "<phrase>blue bar</phrase><object><patch_index_0032><patch_index_0996></object> and <phrase>green star</phrase>",
    "molmo": '<points x1="30.0" y1="40.0" x2="25.0" y2="30.0" alt="red squares">red squares</points>\n'
    '<point x="7.5" y="52.5" alt="blue bar">blue bar</point>',
    "shikra": "red squares [0.100,0.275,0.500,0.575;0.200,0.200,0.300,0.500], blue bar [0.000,0.163,0.150,0.875]. "
    "There is no green star in the image.",
    "minicpm": "<ref>red squares</ref><box>100 200 500 600</box><box>200 100 300 500</box>\n"
    "<ref>blue bar</ref><box>0 50 150 1000</box>\n<ref>green star</ref><box>none</box>",
    "qwen-vl": "<ref>red squares</ref><box>(100,200),(500,600)</box><box>(200,100),(300,500)</box>"
    "<ref>blue bar</ref><box>(0,50),(150,999)</box>",
    "moondream": '{"objects": [{"x_min": 0.1, "y_min": 0.2, "x_max": 0.5, "y_max": 0.6}, '
    '{"x_min": 0.2, "y_min": 0.1, "x_max": 0.3, "y_max": 0.5}, '
    '{"x_min": 0.0, "y_min": 0.05, "x_max": 0.15, "y_max": 1.0}]}',
    "gemini": '```json\n[{"box_2d": [200, 100, 600, 500], "label": "red squares"}, '
    '{"box_2d": [100, 200, 500, 300], "label": "red squares"}, '
    '{"box_2d": [50, 0, 1000, 150], "label": "blue bar"}]\n```',
    "glm-4.5v": '\n<|begin_of_box|>[{"bbox_2d": [100, 200, 500, 600], "label": "red squares"}, '
    '{"bbox_2d": [200, 100, 300, 500], "label": "red squares"}, {"bbox_2d": [0, 50, 150, 1000], "label": "blue bar"}]'
    "<|end_of_box|>",
    "percent": '[{"box_2d": [10.0, 20.0, 50.0, 60.0], "label": "red squares"}, '
    '{"box_2d": [20.0, 10.0, 30.0, 50.0], "label": "red squares"}, '
    '{"box_2d": [0.0, 5.0, 15.0, 100.0], "label": "blue bar"}]',
    "claude": "I looked at the image closely. Coordinates are in pixels of the image as I received it:\n\n"
    '```json\n[{"x1": 64, "y1": 96, "x2": 320, "y2": 288, "label": "red squares"}, '
    '{"x1": 128, "y1": 48, "x2": 192, "y2": 240, "label": "red squares"}, '
    '{"x1": 0, "y1": 24, "x2": 96, "y2": 480, "label": "blue bar"}]\n```',
}


def told_in(dialect: str, found=FOUND) -> list[Told]:
    write = DIALECTS[dialect].write
    return [Told(phrase, None, tuple(write(box, 640, 480) for box in boxes)) for phrase, boxes in found]


@pytest.mark.parametrize(("dialect", "text"), WORDED.items(), ids=list(WORDED))
def test_an_answer_is_worded_as_the_family_words_it(dialect, text):
    assert DIALECTS[dialect].say(told_in(dialect), wants_json=True) == text


def test_glm_answers_one_phrase_asked_in_prose_with_bare_boxes():
    said = DIALECTS["glm-4.5v"].say(told_in("glm-4.5v", FOUND[:1]), wants_json=False)
    assert said == "\n<|begin_of_box|>[[100, 200, 500, 600], [200, 100, 300, 500]]<|end_of_box|>"


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        pytest.param("internvl", "<ref>green star</ref><box>none</box>", id="internvl"),
        pytest.param("deepseek-vl2", "No Objects<｜end▁of▁sentence｜>", id="deepseek"),
        pytest.param("paligemma", "No Objects", id="paligemma"),
        pytest.param("florence-2", "No Objects", id="florence"),
        pytest.param("kosmos-2", "<grounding><phrase>green star</phrase>", id="kosmos"),
        pytest.param("molmo", "There are none.", id="molmo"),
        pytest.param("shikra", "There is no green star in the image.", id="shikra"),
        pytest.param("qwen-vl", "No Objects", id="qwen-vl"),
        pytest.param("moondream", '{"objects": []}', id="moondream"),
        pytest.param("gemini", "```json\n[]\n```", id="gemini"),
        pytest.param("glm-4.5v", "\n<|begin_of_box|>[]<|end_of_box|>", id="glm"),
        pytest.param("unit", "[]", id="unit"),
    ],
)
def test_every_family_says_in_its_way_that_nothing_is_there(dialect, text):
    assert DIALECTS[dialect].say(told_in(dialect, FOUND[2:]), wants_json=False) == text


def test_each_protocol_speaks_the_dialect_and_key_of_its_family():
    assert {protocol: DIALECTS[name].key for protocol, name in NATIVE.items()} == {
        "openai": "bbox_2d",
        "gemini": "box_2d",
        "anthropic": "bbox_2d",
    }


@pytest.mark.parametrize("size_wh", [(1242, 375), (427, 640), (4000, 300), (40, 30)])
@pytest.mark.parametrize("dialect", sorted(set(DIALECTS) - {"molmo", "kosmos-2"}))
def test_what_a_dialect_writes_it_reads_again(dialect, size_wh):
    width, height = size_wh
    box_px = (0.21 * width, 0.34 * height, 0.83 * width, 0.56 * height)
    spoken = DIALECTS[dialect]
    again = spoken.read_value(spoken.spell(spoken.write(box_px, width, height)), width, height)
    # The coarsest: a step of 1/1000 of the longer side (Shikra's square), of a pixel, or of xywh's two numbers.
    assert again == pytest.approx(box_px, abs=max(1.0, max(size_wh) / 1000 * 1.01))
