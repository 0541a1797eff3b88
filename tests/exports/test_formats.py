"""Which records an export takes, and files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.exports.base import ExportFormat, FilePerImage, OneFile
from raylabel.exports.files import ExportFiles
from raylabel.exports.formats import EXPORT_FORMATS, JSONL
from raylabel.pipelines import PIPELINES
from raylabel.records import IMAGE_GROUNDING, Outcome, Record, StepOutcome
from raylabel.steps.base import Step
from raylabel.storage.folders import Folder

_, EXTRACTION, GROUNDING = PIPELINES[IMAGE_GROUNDING]


def record(name: str, *outcomes: Outcome) -> Record:
    ended = {step.label: StepOutcome(o) for step, o in zip((EXTRACTION, GROUNDING), outcomes, strict=False)}
    return Record("r" * 32, 0, 0, name, f"{name}.png", IMAGE_GROUNDING, caption=f"a {name}", outcomes=ended)


def caption_file(record: Record, step: type[Step]) -> tuple[str, bytes] | None:
    return (f"sub/{record.image_id}.txt", str(record.caption).encode()) if step is GROUNDING else None


EXPORT = ExportFormat(
    (OneFile("ids.txt", lambda record: f"{record.image_id}\n".encode(), b"ids\n"), FilePerImage("texts", caption_file))
)


@pytest.mark.parametrize(
    ("outcomes", "whole", "after_the_first"),
    [
        pytest.param((Outcome.LABELED, Outcome.LABELED), True, True, id="labeled"),
        pytest.param((Outcome.LABELED, Outcome.NOTHING), True, True, id="nothing-is-there"),
        pytest.param((Outcome.SKIPPED,), True, True, id="skipped"),
        pytest.param((Outcome.LABELED, Outcome.FAILED), False, True, id="later-step-open"),
        pytest.param((Outcome.UNREADABLE,), False, False, id="unreadable"),
        pytest.param((Outcome.REFUSED,), False, False, id="refused"),
        pytest.param((), False, False, id="no-step-ran"),
    ],
)
def test_settled_records_alone_are_converted(outcomes: tuple[Outcome, ...], whole: bool, after_the_first: bool) -> None:
    assert EXPORT.includes(record("a", *outcomes)) is whole
    assert EXPORT.includes_step(record("a", *outcomes), EXTRACTION) is after_the_first


def test_a_record_without_what_the_export_needs_is_left_out() -> None:
    labeled = record("a", Outcome.LABELED, Outcome.LABELED)
    assert ExportFormat(needs=("caption",)).includes(labeled)
    assert not ExportFormat(needs=("caption", "expressions")).includes(labeled)
    assert not ExportFormat(needs=("expressions",)).includes_step(labeled, GROUNDING)


def test_a_file_for_all_appears_when_all_went_well_and_one_for_each_image_at_once(tmp_path: Path) -> None:
    with ExportFiles(EXPORT, Folder(str(tmp_path))) as files:
        for name in "ab":
            done = record(name, Outcome.LABELED, Outcome.LABELED)
            files.add_step(done, EXTRACTION)
            files.add_step(done, GROUNDING)
            files.add(done)
        texts = tmp_path / GROUNDING.directory / "texts" / "sub"
        assert {path.name: path.read_text() for path in texts.iterdir()} == {"a.txt": "a a", "b.txt": "a b"}
        assert not (tmp_path / "ids.txt").exists()
    assert files.paths == [str(tmp_path / "ids.txt")]
    assert (tmp_path / "ids.txt").read_text() == "ids\na\nb\n"
    assert not (tmp_path / EXTRACTION.directory).exists()


def test_files_that_begin_with_what_others_hold_so_far_go_on_alone(tmp_path: Path) -> None:
    def done(name: str) -> Record:
        return record(name, Outcome.LABELED, Outcome.LABELED)

    with ExportFiles(EXPORT, Folder(str(tmp_path))) as files:
        files.add(done("a"))
        with ExportFiles(EXPORT, Folder(str(tmp_path)), files) as others:
            others.add(done("b"))
        assert (tmp_path / "ids.txt").read_text() == "ids\na\nb\n"
        files.add(done("c"))
    assert (tmp_path / "ids.txt").read_text() == "ids\na\nc\n"


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    def fail(record: Record) -> bytes:
        raise ValueError(record.image_id)

    (tmp_path / "ids.txt").write_text("old")
    export = ExportFormat((OneFile("ids.txt", fail),))
    with pytest.raises(ValueError, match="a"), ExportFiles(export, Folder(str(tmp_path))) as files:
        files.add(record("a", Outcome.LABELED))
    assert [path.name for path in tmp_path.iterdir()] == ["ids.txt"]
    assert (tmp_path / "ids.txt").read_text() == "old"


def test_the_json_lines_are_the_first_choice_and_have_nothing_beside_them() -> None:
    assert next(iter(EXPORT_FORMATS)) == JSONL
    assert EXPORT_FORMATS[JSONL].files == ()
