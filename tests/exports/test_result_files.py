"""Result files: whole or not there, every line valid JSON."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from pyarrow import fs

from raylabel.exports.failures import failure_line, unusable_line
from raylabel.exports.files import LinesFile, to_json_line, write_whole
from raylabel.records import Outcome, Record, StepOutcome, UnusableLine


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / ("x" * 250 + ".json")
    with LinesFile(path) as out:
        out.write_line({"n": 1})
        assert not path.exists()
        out.write_line({"text": "Grüße"})
    assert path.read_bytes() == '{"n": 1}\n{"text": "Grüße"}\n'.encode()
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_whole(path, b"old")
    with pytest.raises(TypeError), LinesFile(path) as out:
        out.write_line({"not JSON": object()})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_uri_is_written_through_its_file_system(tmp_path: Path) -> None:
    write_whole(f"file://{tmp_path}/a b.txt", b"data")
    assert (tmp_path / "a b.txt").read_bytes() == b"data"
    assert fs.FileSystem.from_uri(f"file://{tmp_path}")[0].get_file_info(f"{tmp_path}/a b.txt").size == 4


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
