"""The demo model's boxes, pinned to values calculated by hand from the model owners' documents.

Qwen3-VL (QwenLM/Qwen3-VL, 2D grounding cookbook): "bbox_2d": [x1, y1, x2, y2], each relative to the side, times 1000.
Gemini (google-gemini/cookbook, Spatial_understanding): "box_2d": [ymin, xmin, ymax, xmax], normalised to 0-1000.
"""

from __future__ import annotations

import pytest

from raylabel.demo.server.dialects import DIALECTS, NATIVE


@pytest.mark.parametrize(
    ("dialect", "size_wh", "box_px", "numbers"),
    [
        # x: 100/1242 = 0.080515 -> 81, 220/1242 = 0.177134 -> 177;  y: 120/375 = 0.32 -> 320, 210/375 = 0.56 -> 560
        pytest.param("xyxy1000", (1242, 375), (100, 120, 220, 210), [81, 320, 177, 560], id="qwen-wide"),
        pytest.param("yxyx1000", (1242, 375), (100, 120, 220, 210), [320, 81, 560, 177], id="gemini-wide"),
        # x: 61/427 = 0.142857 -> 143, 200/427 = 0.468384 -> 468;  y: 333/640 = 0.520313 -> 520, 640/640 -> 1000
        pytest.param("xyxy1000", (427, 640), (61, 333, 200, 640), [143, 520, 468, 1000], id="qwen-portrait"),
        pytest.param("yxyx1000", (427, 640), (61, 333, 200, 640), [520, 143, 1000, 468], id="gemini-portrait"),
        # The whole picture: both 0 and 1000 occur.
        pytest.param("yxyx1000", (640, 480), (0, 0, 640, 480), [0, 0, 1000, 1000], id="gemini-whole"),
        # x: 1/2000 = 0.5 units -> 1 (halves up), 3/2000 = 1.5 -> 2;  y: 1/500 = 2 units, 2/500 = 4 units
        pytest.param("xyxy1000", (2000, 500), (1, 1, 3, 2), [1, 2, 2, 4], id="qwen-halves"),
    ],
)
def test_a_box_is_written_as_the_owners_document(dialect, size_wh, box_px, numbers):
    assert DIALECTS[dialect].write(box_px, *size_wh) == numbers


@pytest.mark.parametrize(
    ("dialect", "size_wh", "numbers", "box_px"),
    [
        # x: 0.1 * 640 = 64, 0.5 * 640 = 320;  y: 0.2 * 480 = 96, 0.6 * 480 = 288
        pytest.param("xyxy1000", (640, 480), [100, 200, 500, 600], (64, 96, 320, 288), id="qwen"),
        pytest.param("yxyx1000", (640, 480), [200, 100, 600, 500], (64, 96, 320, 288), id="gemini"),
        # x: 0.25 * 300 = 75, 0.75 * 300 = 225;  y: 0.1 * 900 = 90, 0.9 * 900 = 810; corners given in the wrong order
        pytest.param("yxyx1000", (300, 900), [900, 750, 100, 250], (75, 90, 225, 810), id="gemini-swapped-corners"),
    ],
)
def test_a_box_in_a_question_is_read_as_the_owners_document(dialect, size_wh, numbers, box_px):
    assert DIALECTS[dialect].read(numbers, *size_wh) == pytest.approx(box_px)


def test_each_protocol_speaks_the_dialect_and_key_of_its_family():
    assert {protocol: DIALECTS[name].key for protocol, name in NATIVE.items()} == {
        "openai": "bbox_2d",
        "gemini": "box_2d",
    }
