"""``raylabel read-answers``: answers in, outcomes out."""

from __future__ import annotations

import io
import json
import sys

import pytest

from raylabel.cli import main

GEMINI = {
    "id": "a",
    "raw": '```json\n[{"box_2d": [100, 200, 300, 400], "label": "красный куб"}]\n```',
    "convention": {"order": "yxyx", "scale": "rel1000"},
    "image_width": 640,
    "image_height": 427,
}


def written(tmp_path, *lines):
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return str(file)


def shown(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("line", "result"),
    [
        pytest.param(
            GEMINI,
            {
                "id": "a",
                "outcome": "boxes",
                "boxes": [{"label": "красный куб", "box": [200, 100, 400, 300]}],
                "reason": "",
            },
            id="boxes-in-corner-order",
        ),
        pytest.param(
            {"raw": "There are no cats in this image."},
            {"id": 1, "outcome": "nothing", "boxes": [], "reason": "the answer says so"},
            id="nothing-and-the-line-for-an-id",
        ),
        pytest.param(
            {"id": 7, "raw": "", "convention": {"order": "xyxy", "scale": "px"}},
            {"id": 7, "outcome": "unreadable", "boxes": [], "reason": "the answer is empty"},
            id="unreadable-with-a-reason",
        ),
        pytest.param(
            {"id": 8, "raw": '[{"bbox": [1, 2, 3, 4], "label": "cup"}, {"bbox": [5, 6'},
            {
                "id": 8,
                "outcome": "boxes",
                "boxes": [{"label": "cup", "box": [1, 2, 3, 4]}],
                "reason": "left out: 1 cut off",
                "partial": True,
            },
            id="cut-off-is-partial",
        ),
        pytest.param(
            {
                "id": 9,
                "raw_repeat": {"prefix": "<loc0010>", "unit": "<loc0020>", "times": 3, "suffix": " a cup"},
                "convention": {"order": "yxyx", "scale": "bin1024"},
            },
            {"id": 9, "outcome": "unreadable", "boxes": [], "reason": "no box in it: left out: 1 no area"},
            id="repeated-text",
        ),
        pytest.param(
            {
                "id": 10,
                "raw": "[1300, 20, 1500, 40]",
                "convention": {"order": "xyxy", "scale": "px_resized"},
                "model_width": 644,
                "model_height": 420,
            },
            {
                "id": 10,
                "outcome": "unreadable",
                "boxes": [],
                "reason": "no box in it: left out: 1 out of scale",
            },
            id="held-against-the-size-the-model-saw",
        ),
    ],
)
def test_a_line_of_an_answer_gives_a_line_of_its_outcome(line, result, tmp_path, capsys):
    assert main(["read-answers", written(tmp_path, line)]) == 0
    assert shown(capsys) == [result]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        pytest.param("{", "line 2: no JSON", id="no-json"),
        pytest.param([1], "line 2: found list", id="a-list"),
        pytest.param({"id": 1}, 'line 2: expected "raw"', id="no-text"),
        pytest.param({"raw": "", "convention": {"order": "yx"}}, "line 2: convention.order: found 'yx'", id="order"),
        pytest.param({"raw": "", "convention": {"scale": "rel"}}, "line 2: convention.scale: found 'rel'", id="scale"),
        pytest.param({"raw": "", "convention": "gemini"}, "line 2: convention: found 'gemini'", id="convention"),
        pytest.param({"raw": "", "asked": "cup"}, "line 2: asked: found 'cup'", id="asked"),
        pytest.param({"raw_repeat": {"unit": "x", "times": 10**12}}, "line 2: raw_repeat", id="too-long"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_the_others_are_read(line, complaint, tmp_path, capsys):
    assert main(["read-answers", written(tmp_path, GEMINI, line, "", GEMINI)]) == 2
    told = capsys.readouterr()
    assert [json.loads(out)["outcome"] for out in told.out.splitlines()] == ["boxes", "boxes"]
    assert complaint in told.err
    assert len(told.err.splitlines()) == 1


def test_a_dash_reads_standard_input(monkeypatch, capsys):
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(GEMINI).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["read-answers", "-"]) == 0
    assert shown(capsys)[0]["outcome"] == "boxes"


def test_a_file_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert main(["read-answers", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err
