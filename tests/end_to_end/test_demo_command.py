"""``raylabel demo``: what it prints, and that a product gone wrong, or a model that copies, fails it.

The command with its Ray is started where a process is the subject; elsewhere the demo runs in one process.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import write_config
from running import command, mutant, python, read_lines
from served_here import served_here

from raylabel.demo.score import DEMO_TARGETS, missed_targets
from raylabel.demo.show import run_demo
from raylabel.demo.world import build_world
from raylabel.runtime.in_process import InProcess

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

DEMO = """
import sys
from pathlib import Path
from raylabel.demo.show import run_demo
from raylabel.demo.world import build_world
from raylabel.errors import CalibrationError
from raylabel.runtime.in_process import InProcess

images, pipeline, backend = sys.argv[1:]
try:
    code = run_demo(Path("out"), int(images), [pipeline], backend, True, InProcess)
except CalibrationError as error:
    sys.exit(f"before the run: {error}")
sys.exit(code)
"""


def demo_of(package: Path, images: int, pipeline: str, backend: str = "openai") -> tuple[int, str, str]:
    """Exit code and output of the demo of a copy of the package, in one process."""
    ended = python("-c", DEMO, str(images), pipeline, backend, cwd=package, package=package)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("backend", "change"),
    [
        pytest.param("gemini", ('    if order == "yxyx":\n', '    if order == "never":\n'), id="y-first-not-heard-of"),
        pytest.param(
            "openai",
            (
                "    width, height = view.displayed.width, view.displayed.height\n",
                "    width, height = view.displayed.height, view.displayed.width\n",
            ),
            id="width-and-height-swapped",
        ),
    ],
)
def test_an_error_in_the_conversion_of_boxes_is_found_before_anything_is_labeled(
    backend: str, change: tuple[str, str], tmp_path: Path
) -> None:
    _, _, said = demo_of(mutant(tmp_path, "geometry.py", change), 2, GROUNDING, backend)

    assert "before the run: " in said
    assert "mean IoU" in said
    assert not (tmp_path / "out" / backend / GROUNDING / "annotations.jsonl").exists()


def test_an_error_behind_the_calibration_fails_the_demo(tmp_path: Path) -> None:
    right = "    a, b = math.floor(low + 0.5), math.floor(high + 0.5)\n"
    change = (right, right.replace("0.5", "30.5"))
    code, printed, _ = demo_of(mutant(tmp_path, "geometry.py", change), 8, GROUNDING)
    scores = json.loads(printed)[GROUNDING]

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
    code, printed, _ = demo_of(mutant(tmp_path, "demo/server/answering.py", change), 8, REFERRING)

    assert code == 1
    assert json.loads(printed)[REFERRING][missed] < DEMO_TARGETS[missed]
    assert read_lines(tmp_path / "out" / "openai" / REFERRING / "failures.jsonl") == []


# --- the processes of a run -----------------------------------------------------------------------------------------

OPEN = "    async def open(self) -> None:\n"


def test_a_process_that_breaks_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    package = mutant(tmp_path, "runtime/worker.py", (OPEN, f'{OPEN}        raise RuntimeError("planted")\n'))
    world = build_world(tmp_path / "world", 2)
    with served_here() as server:
        on_ray = {"ray__actors": 1}
        config = write_config(tmp_path / "a.yaml", tmp_path / "r", GROUNDING, world, server.url, **on_ray)
        ended = command("run", str(config), cwd=tmp_path, package=package)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    (sentence,) = ended.stderr.splitlines()
    assert "RuntimeError: planted" in sentence


def test_stray_prints_stay_off_the_json(tmp_path: Path) -> None:
    package = mutant(tmp_path, "runtime/worker.py", (OPEN, f'{OPEN}        print("stray")\n'))
    code, printed, said = demo_of(package, 2, GROUNDING)

    assert code == 0
    assert set(json.loads(printed)) == {GROUNDING}
    assert "stray" in said
