"""``raylabel demo`` as a command: what it prints, and that a product gone wrong, or a model that copies, fails it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import command, mutant, read_lines

from raylabel.demo.score import DEMO_TARGETS, missed_targets

pytestmark = pytest.mark.slow

GROUNDING, REFERRING = "image_grounding", "image_referring_expression"


@pytest.mark.parametrize("backend", ["openai", "gemini"])
def test_the_demo_prints_one_json_object_that_meets_the_targets(backend: str, tmp_path: Path) -> None:
    words = ["--json", "--images", "12", "--backend", backend, "--out", "out"]
    ended = command("demo", *words, cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    scores = json.loads(ended.stdout)
    assert set(scores) == {GROUNDING, REFERRING}
    shared = {"images", "recall", "precision", "mean_iou", "phrase_exact"}
    assert set(scores[GROUNDING]) >= shared
    assert set(scores[REFERRING]) >= shared | {"description_correct", "planted_errors_caught"}
    for name, score in scores.items():
        assert score["images"] == 12
        assert missed_targets(score) == []
        results = tmp_path / "out" / backend / name
        assert len(read_lines(results / "annotations.jsonl")) >= 12
        assert read_lines(results / "failures.jsonl") == []


def demo_of(package: Path, pipeline: str) -> tuple[int, dict[str, float]]:
    """Exit code and scores of the demo of a copy of the package."""
    ended = command(
        *("demo", "--json", "--images", "8", "--pipeline", pipeline, "--out", "out"), cwd=package, package=package
    )
    assert "Traceback" not in ended.stderr
    scores: dict[str, float] = json.loads(ended.stdout)[pipeline]
    return ended.returncode, scores


@pytest.mark.parametrize(
    ("backend", "change"),
    [
        pytest.param("gemini", ('    if order == "yxyx":\n', '    if order == "never":\n'), id="y-first-not-heard-of"),
        pytest.param(
            "openai",
            (
                "    xs = sorted(window.x1 + u * window.width for u, _ in points)\n"
                "    ys = sorted(window.y1 + v * window.height for _, v in points)\n",
                "    xs = sorted(window.x1 + u * window.height for u, _ in points)\n"
                "    ys = sorted(window.y1 + v * window.width for _, v in points)\n",
            ),
            id="width-and-height-swapped",
        ),
    ],
)
def test_an_error_in_the_conversion_of_boxes_is_found_before_anything_is_labeled(
    backend: str, change: tuple[str, str], tmp_path: Path
) -> None:
    package = mutant(tmp_path, "geometry.py", change)
    words = ["--images", "2", "--pipeline", GROUNDING, "--backend", backend, "--out", "out"]
    ended = command("demo", *words, cwd=tmp_path, package=package)

    assert ended.returncode == 2
    assert "mean IoU" in ended.stderr
    assert not (tmp_path / "out" / backend / GROUNDING / "annotations.jsonl").exists()


def test_an_error_behind_the_calibration_fails_the_demo(tmp_path: Path) -> None:
    change = ("    a, b = _nearest(low), _nearest(high)\n", "    a, b = _nearest(low) + 30, _nearest(high) + 30\n")
    code, scores = demo_of(mutant(tmp_path, "geometry.py", change), GROUNDING)

    assert code == 1
    assert scores["recall"] < DEMO_TARGETS["recall"]
    assert scores["phrase_exact"] < DEMO_TARGETS["phrase_exact"]


def test_a_model_that_boxes_everything_is_turned_away(tmp_path: Path) -> None:
    everything = ("found = read_phrase(phrase).all_of(scene)", "found = list(scene.objects)")
    package = mutant(tmp_path, "demo/server/answering.py", everything)
    words = ["--images", "2", "--pipeline", GROUNDING, "--out", "out"]
    ended = command("demo", *words, cwd=tmp_path, package=package)

    assert ended.returncode == 2
    assert "does not localise" in ended.stderr


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        pytest.param(
            (
                "    verdict: dict[str, Any] = {",
                '    kept = [{"id": box["id"], "verdict": "keep"} for box in boxes]\n'
                '    return {"id": item["id"], "verdict": "keep", "boxes": kept}\n'
                "    verdict: dict[str, Any] = {",
            ),
            "planted_errors_caught",
            id="says-keep-to-everything",
        ),
        pytest.param(
            ('{"type": seen.kind, "color": seen.color,', '{"type": item["type"], "color": "red",'),
            "description_correct",
            id="copies-the-seeds",
        ),
    ],
)
def test_a_model_that_does_not_look_fails_the_demo(change: tuple[str, str], missed: str, tmp_path: Path) -> None:
    code, scores = demo_of(mutant(tmp_path, "demo/server/answering.py", change), REFERRING)

    assert code == 1
    assert scores[missed] < DEMO_TARGETS[missed]
    assert read_lines(tmp_path / "out" / "openai" / REFERRING / "failures.jsonl") == []


def test_a_process_that_breaks_ends_the_run_with_its_reason_and_stray_prints_stay_off_the_json(tmp_path: Path) -> None:
    breaking = ("        steps = {}\n", '        print("stray")\n        raise RuntimeError("planted")\n')
    package = mutant(tmp_path, "engine/actors.py", breaking)
    words = ["--json", "--images", "2", "--pipeline", GROUNDING, "--out", "out"]
    ended = command("demo", *words, cwd=tmp_path, package=package)

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert "RuntimeError: planted" in ended.stderr.splitlines()[-1]
