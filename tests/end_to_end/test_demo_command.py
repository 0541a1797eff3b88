"""``raylabel demo``: what it prints, and that a product gone wrong, or a model that copies, fails it.

The command with its Ray is started where a process is the subject; elsewhere the demo runs in one process.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from raylabel.demo.score import DEMO_TARGETS, missed_targets
from raylabel.demo.show import run_demo
from raylabel.demo.world import build_world
from raylabel.runtime.in_process import InProcess
from tests.end_to_end.cli_runs import write_config
from tests.end_to_end.running import command, python, read_lines
from tests.served_here import served_here

pytestmark = pytest.mark.slow

GROUNDING, REFERRING = "image_grounding", "image_referring_expression"


def assert_good(printed: str, out: Path, images: int) -> None:
    """One JSON object that meets the targets, and files without a failure."""
    scores = json.loads(printed)
    assert set(scores) == {GROUNDING, REFERRING}
    shared = {"images", "recall", "precision", "mean_iou", "phrase_exact"}
    assert set(scores[GROUNDING]) >= shared
    assert set(scores[REFERRING]) >= shared | {"description_correct", "planted_errors_caught"}
    for name, score in scores.items():
        assert score["images"] == images
        assert missed_targets(score) == []
        assert len(read_lines(out / name / "annotations.jsonl")) >= images
        assert read_lines(out / name / "failures.jsonl") == []


def test_the_demo_prints_one_json_object_that_meets_the_targets(tmp_path: Path) -> None:
    ended = command("demo", "--json", "--images", "12", "--out", "out", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert_good(ended.stdout, tmp_path / "out" / "openai", 12)


def test_it_does_so_over_the_other_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(tmp_path / "out", 12, [GROUNDING, REFERRING], "gemini", True, InProcess) == 0
    assert_good(capsys.readouterr().out, tmp_path / "out" / "gemini", 12)


# --- errors planted in the product, and models that do not look ------------------------------------------------------


def run_with(error: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command with one of the errors of ``planted.py``."""
    return python("-m", "tests.end_to_end.planted", error, *words, cwd=cwd)


def demo_with(error: str, images: int, pipeline: str, backend: str = "openai", *, cwd: Path) -> tuple[int, str, str]:
    """Exit code and output of the demo with one of those errors, in one process."""
    words = ["--json", "--images", str(images), "--pipeline", pipeline, "--backend", backend, "--out", "out"]
    ended = run_with(error, "demo", *words, cwd=cwd)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("backend", "error"), [("gemini", "never_hear_of_y_first"), ("openai", "swap_width_and_height")]
)
def test_an_error_in_the_conversion_of_boxes_is_found_before_anything_is_labeled(
    backend: str, error: str, tmp_path: Path
) -> None:
    code, printed, said = demo_with(error, 2, GROUNDING, backend, cwd=tmp_path)

    assert (code, printed) == (2, "")
    assert "mean IoU" in said
    assert not (tmp_path / "out" / backend / GROUNDING / "annotations.jsonl").exists()


def test_an_error_behind_the_calibration_fails_the_demo(tmp_path: Path) -> None:
    code, printed, _ = demo_with("move_boxes_as_they_are_written", 8, GROUNDING, cwd=tmp_path)
    scores = json.loads(printed)[GROUNDING]

    assert code == 1
    assert scores["recall"] < DEMO_TARGETS["recall"]
    assert scores["phrase_exact"] < DEMO_TARGETS["phrase_exact"]


def test_a_model_that_boxes_everything_is_turned_away(tmp_path: Path) -> None:
    code, printed, said = demo_with("box_everything", 2, GROUNDING, cwd=tmp_path)

    assert (code, printed) == (2, "")
    assert "does not localise" in said


@pytest.mark.parametrize(
    ("error", "missed"),
    [("keep_everything", "planted_errors_caught"), ("copy_the_seeds", "description_correct")],
)
def test_a_model_that_does_not_look_fails_the_demo(error: str, missed: str, tmp_path: Path) -> None:
    code, printed, _ = demo_with(error, 8, REFERRING, cwd=tmp_path)

    assert code == 1
    assert json.loads(printed)[REFERRING][missed] < DEMO_TARGETS[missed]
    assert read_lines(tmp_path / "out" / "openai" / REFERRING / "failures.jsonl") == []


# --- the processes of a run -----------------------------------------------------------------------------------------


def test_a_process_that_breaks_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    world = build_world(tmp_path / "world", 2)
    with served_here() as server:
        on_ray = {"ray__actors": 1}
        config = write_config(tmp_path / "a.yaml", tmp_path / "r", GROUNDING, world, server.url, **on_ray)
        ended = run_with("break_the_workers_on_ray", "run", str(config), cwd=tmp_path)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    (sentence,) = ended.stderr.splitlines()
    assert "RuntimeError: planted" in sentence


def test_stray_prints_stay_off_the_json(tmp_path: Path) -> None:
    code, printed, said = demo_with("print_in_the_worker", 2, GROUNDING, cwd=tmp_path)

    assert code == 0
    assert set(json.loads(printed)) == {GROUNDING}
    assert "stray" in said
