"""Phrases that are given: by the configuration, a file, or a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raylabel.errors import ConfigError, InputError
from raylabel.records import Record, UnusableLine
from raylabel.settings import Settings
from raylabel.sources import SourceSpec, read_shard, scan, source_for

BOTH = ["expression_extraction", "grounding"]


def source(tmp_path: Path, lines: list[dict[str, Any]], *phrases: str, kind: str = "captions") -> SourceSpec:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    setting = "image_grounding.data.input_jsonl"
    return SourceSpec(kind, "image_grounding", str(path), setting=setting, phrases=phrases)


def read(source: SourceSpec, tmp_path: Path) -> list[Record | UnusableLine]:
    return [item for shard in scan(source, 2, tmp_path) for item in read_shard(source, shard)]


def texts(record: Record | UnusableLine) -> list[str] | None:
    assert isinstance(record, Record), record
    return None if record.expressions is None else [e.text for e in record.expressions]


def test_a_line_has_its_own_phrases_those_of_all_or_a_caption(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"image_path": "a.jpg"},
        {"image_path": "b.jpg", "phrases": ["a red car", " dog ", "dog"], "caption": "A red car, a dogsled and a dog."},
        {"image_path": "c.jpg", "phrases": []},
        {"image_path": "d.jpg", "phrases": None, "caption": "Cars."},
    ]
    first, second, third, fourth = read(source(tmp_path, lines, "car", "traffic light"), tmp_path)
    assert [texts(r) for r in (first, second, third, fourth)] == [
        ["car", "traffic light"],
        ["a red car", "dog"],
        [],
        ["car", "traffic light"],
    ]
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert isinstance(fourth, Record)
    assert {e.noun_chunk for e in first.expressions or ()} == {None}
    assert [e.char_span for e in first.expressions or ()] == [None, None]
    assert first.cleaned_caption is first.caption is None
    caption = second.cleaned_caption
    assert caption == "A red car, a dogsled and a dog."
    spans = [e.char_span for e in second.expressions or ()]
    assert spans == [None, (27, 30)], "in the letters of the caption, and not within another word"
    assert len({e.expression_id for r in (first, second, fourth) for e in r.expressions or ()}) == 6
    assert fourth.cleaned_caption == "Cars."


def test_without_phrases_of_all_a_line_needs_its_own_or_a_caption(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"image_path": "a.jpg", "phrases": ["car"]},
        {"image_path": "b.jpg"},
        {"image_path": "c.jpg", "caption": "x"},
    ]
    own, neither, captioned = read(source(tmp_path, lines), tmp_path)
    assert texts(own) == ["car"]
    assert isinstance(neither, UnusableLine)
    assert '"caption" is missing' in neither.reason
    assert texts(captioned) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param("car", "expected a list of texts, found 'car'", id="a-text"),
        pytest.param(["car", 3], "3 is no text", id="a-number"),
        pytest.param(["car", {"text": "a"}], "is no text", id="an-object"),
        pytest.param([" - "], "' - ' holds neither a letter nor a digit", id="blank"),
        pytest.param(["a\nb"], "holds a line break", id="two-lines"),
        pytest.param(["x" * 501], "has more than 500 characters", id="long"),
    ],
)
def test_a_line_with_other_phrases_is_told_with_the_reason(tmp_path: Path, given: Any, reason: str) -> None:
    good = {"image_path": "a.jpg", "phrases": ["car"]}
    found = read(source(tmp_path, [good, {"image_path": "b.jpg", "caption": "b", "phrases": given}]), tmp_path)
    assert isinstance(found[1], UnusableLine)
    assert found[1].line_number == 2
    assert found[1].reason.startswith('"phrases": ')
    assert reason in found[1].reason


def test_lines_that_bring_expressions_keep_them(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"image_path": "a.jpg", "phrases": ["car"], "expressions": [{"text": "van"}]},
        {"image_path": "b.jpg", "phrases": ["car"]},
    ]
    first, second = read(source(tmp_path, lines, kind="annotations"), tmp_path)
    assert (texts(first), texts(second)) == (["van"], ["car"])


def test_other_phrases_make_another_shard_of_the_same_records(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"image_path": "a.jpg", "caption": "a cat"}]
    sources = [source(tmp_path, lines, *phrases) for phrases in ((), ("car",), ("car", "cat"))]
    shards = [next(iter(scan(one, 2, tmp_path))) for one in sources]
    assert len({shard.digest for shard in shards}) == 3
    records = [next(iter(read_shard(one, shard))) for one, shard in zip(sources, shards, strict=True)]
    assert len({r.record_id for r in records if isinstance(r, Record)}) == 1


def test_a_file_holds_one_phrase_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text("{}\n")
    Path("classes.txt").write_bytes("\ufeffcar\r\n\r\n  traffic light \r\nStraße\r\ncar\r\n".encode())
    settings = Settings(results_dir="results")
    settings.image_grounding.data.input_jsonl = "in.jsonl"
    settings.image_grounding.data.phrases_file = "classes.txt"
    assert source_for(settings, BOTH, "results").phrases == ("car", "traffic light", "Straße")
    assert source_for(settings, ["grounding"], "results").kind == "captions"
    for content, message in (
        (b"\n \n", "holds no phrase"),
        (b"car\n\t--\n", r"line 2: '--' holds neither"),
        (b"caf\xe9\n", r"no UTF-8 text \(byte 3\)"),
    ):
        Path("classes.txt").write_bytes(content)
        with pytest.raises(InputError, match=rf"image_grounding\.data\.phrases_file: classes\.txt.*{message}"):
            source_for(settings, BOTH, "results")


def test_a_setting_that_is_wrong_is_refused_wherever_it_is_made() -> None:
    with pytest.raises((ConfigError, ValueError)):
        Settings().image_grounding.data.phrases = [""]
