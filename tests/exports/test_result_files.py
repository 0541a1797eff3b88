"""Lines of result files: valid JSON, with what, why and how often."""

from __future__ import annotations

import json

import pytest

from raylabel.exports.failures import failure_line, unusable_line
from raylabel.exports.json_lines import to_json_line
from raylabel.records import Outcome, Record, StepOutcome, UnusableLine


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({"a": "é\u2028"}, '{"a": "é\u2028"}', id="non-ascii-kept"),
        pytest.param({"a": "\ud83d"}, '{"a": "\\ud83d"}', id="half-surrogate-escaped"),
        pytest.param(
            {"a": [float("nan"), {"b": float("inf")}, 1.5]}, '{"a": [null, {"b": null}, 1.5]}', id="nan-is-null"
        ),
        pytest.param({"a": "two\nlines"}, '{"a": "two\\nlines"}', id="one-line"),
    ],
)
def test_every_line_is_valid_json_in_utf8(value: dict[str, object], text: str) -> None:
    line = to_json_line(value)
    assert line == text.encode() + b"\n"
    json.loads(line.decode("utf-8"))


def test_failures_say_what_why_and_how_often() -> None:
    record = Record("r" * 32, 0, 0, "7", "i/7.jpg", "image_grounding", extra={"image_id": 7})
    line = failure_line(record, "step1_grounding", StepOutcome(Outcome.UNREADABLE, "cut off", 3, '[{"bbox'))
    assert line == {
        "record_id": "r" * 32,
        "image_id": 7,
        "image_path": "i/7.jpg",
        "step": "step1_grounding",
        "outcome": "unreadable",
        "reason": "cut off",
        "attempts": 3,
        "raw": '[{"bbox',
    }
    counted = StepOutcome(Outcome.UNREADABLE, "no", 3, violations={"unreadable": 2, "cut_off": 1})
    assert failure_line(record, "step1_grounding", counted)["violations"] == {"cut_off": 1, "unreadable": 2}
    assert "violations" not in line
    assert "raw" not in failure_line(record, "step1_grounding", StepOutcome(Outcome.FAILED, "no such file"))


def test_unusable_lines_keep_their_place_and_text() -> None:
    assert unusable_line(UnusableLine("c.jsonl", 7, "not JSON", "{oops")) == {
        "file": "c.jsonl",
        "line_number": 7,
        "outcome": "failed",
        "reason": "not JSON",
        "text": "{oops",
    }
