"""The demo server asked for the colors in boxes, and a server that reads boxes otherwise than it writes them."""

from __future__ import annotations

import json

import pytest

from raylabel.demo.launch import demo_server
from raylabel.demo.server.dialects import BLIND
from raylabel.demo.server.questions import read_question
from raylabel.errors import ServerError
from tests.demo.http_calls import chat, unfenced
from tests.served_here import served_here

# The picture of those tests: 640x420, a blue bar at 256, 210, 352, 231.
FORM = '\n{"answers": [{"id": <id>, "color": "..."}]}'
BAR_1000, EMPTY_1000 = [400, 500, 550, 550], [0, 0, 100, 100]
BAR_OF = {
    "xyxy1000": [400, 500, 550, 550],
    "yxyx1000": [500, 400, 550, 550],
    "pixels": [256, 210, 352, 231],
    "xywh": [256, 210, 96, 21],
    "unit": [0.4, 0.5, 0.55, 0.55],
    "percent": [40, 50, 55, 55],
    "moondream": {"x_min": 0.4, "y_min": 0.5, "x_max": 0.55, "y_max": 0.55},
    "paligemma": "<loc0512><loc0409><loc0563><loc0563>",
    "florence-2": "<loc_400><loc_500><loc_549><loc_549>",
    "kosmos-2": "<patch_index_0524><patch_index_0561>",
    "qwen-vl": "(400,500),(550,550)",
}


def asked(*boxes, key="bbox_2d") -> str:
    return "\n".join(json.dumps({"id": n, key: box}) for n, box in enumerate(boxes, 1)) + FORM


def colors(text: str) -> list[str]:
    body = text if text.startswith("```") else text[text.index("```") :]
    return [entry["color"] for entry in unfenced(body)["answers"]]


@pytest.mark.parametrize(
    ("text", "task"),
    [
        pytest.param(asked(BAR_1000), "box_reading", id="boxes-and-the-form-of-the-reply"),
        pytest.param(asked(BAR_1000).replace(FORM, ""), "region_expr", id="boxes-alone"),
        pytest.param(
            '{"id": 1, "type": "car", "box": [1, 2, 3, 4]}\n{"regions": [{"id": 1, "color": "..."}]}',
            "region_expr",
            id="regions-with-a-color",
        ),
        pytest.param('{"id": 1, "phrase": "red bar"}' + FORM, "grounding", id="phrases"),
    ],
)
def test_the_question_is_told_by_its_boxes_and_the_form_of_the_reply(text: str, task: str) -> None:
    assert read_question(text).name == task


@pytest.mark.parametrize("dialect", BAR_OF)
def test_every_dialect_reads_boxes_as_it_writes_them(dialect: str) -> None:
    with served_here("--boxes", dialect) as server:
        status, text = chat(server.url, asked(BAR_OF[dialect]))

    assert (status, colors(text)) == (200, ["blue"])


def test_an_empty_box_has_no_color_and_no_box_none_either() -> None:
    with served_here("--boxes", "xyxy1000") as server:
        assert colors(chat(server.url, asked(BAR_1000, EMPTY_1000, [7000, 7000, 8000, 8000]))[1]) == [
            "blue",
            "none",
            "none",
        ]


@pytest.mark.parametrize("reads", ["yxyx1000", "pixels", "xywh", "unit", "paligemma"])
def test_boxes_of_a_question_are_read_in_the_dialect_told_and_answers_stay_as_they_are(reads: str) -> None:
    with served_here("--boxes", "xyxy1000", "--reads", reads) as server:
        assert colors(chat(server.url, asked(BAR_OF[reads]))[1]) == ["blue"]
        assert colors(chat(server.url, asked([400, 100, 550, 150]))[1]) == ["none"]
        assert unfenced(chat(server.url)[1])[0]["bbox_2d"] == BAR_1000
        described = chat(server.url, json.dumps({"id": 1, "type": "bar", "bbox_2d": BAR_OF[reads]}))[1]
        assert unfenced(described)["regions"][0]["color"] == "blue"


def test_a_blind_model_answers_what_has_nothing_to_do_with_the_box() -> None:
    places = {BLIND.read_value([n, n, n + 9, n + 9], 640, 420) for n in range(20)}

    assert len(places) == 20
    assert all(0 <= x1 < x2 <= 640 and 0 <= y1 < y2 <= 420 for x1, y1, x2, y2 in places)
    assert BLIND.read_value("<loc1>", 640, 420) == BLIND.read_value("<loc1>", 640, 420)
    with served_here("--boxes", "xyxy1000", "--blind") as server:
        boxes = [[n, n, n + 90, n + 90] for n in range(0, 900, 30)]
        told = colors(chat(server.url, asked(*boxes))[1])
        assert set(told) == {"blue", "none"}
        assert unfenced(chat(server.url)[1])[0]["bbox_2d"] == BAR_1000


def test_a_model_cannot_be_blind_and_read_otherwise(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ServerError), demo_server("--blind", "--reads", "pixels"):
        pass
    assert "not allowed with" in capfd.readouterr().err
