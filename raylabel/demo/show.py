"""``raylabel demo``: both pipelines on the drawn world, against the demo server, scored against the truth."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from raylabel.demo.launch import demo_server
from raylabel.demo.score import DEMO_TARGETS, missed_targets, score_image_grounding, score_referring
from raylabel.demo.world import World, build_world
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.runtime.executor import Executor
from raylabel.runtime.run import SETTLED, run
from raylabel.settings import (
    AnthropicSettings,
    DoubleCheckSettings,
    GeminiSettings,
    GroundingData,
    GroundingPipeline,
    GroundingWorkflow,
    OpenAISettings,
    ReferringData,
    ReferringPipeline,
    ReferringWorkflow,
    Settings,
    VlmSettings,
)

WORKERS = 8
_SCORES = {IMAGE_GROUNDING: score_image_grounding, IMAGE_REFERRING_EXPRESSION: score_referring}


def run_demo(
    out: Path, images: int, pipelines: Sequence[str], backend: str, as_json: bool, executor: Callable[[], Executor]
) -> int:
    """Draw the world, start the server, run the pipelines, score and print.

    Args:
        out: gets ``world/`` and the results, ``<backend>/<pipeline>/``.
        backend: ``openai``, ``gemini`` or ``anthropic``: the protocol, and with it the order of a box's numbers.
        as_json: one JSON object on standard output, everything else on standard error.
        executor: makes the one of a run.

    Returns:
        0 if every run settled and every target is met, else 1.
    """
    console = Console(stderr=as_json)
    program = _program()  # before Ray starts, which adds to PATH
    world = build_world(out / "world", images)
    console.print(f"{images} drawn images in {world.root}", markup=False, highlight=False, soft_wrap=True)
    scores: dict[str, dict[str, Any]] = {}
    settled = True
    with ExitStack() as stack:
        if as_json:
            stack.enter_context(redirect_stdout(sys.stderr))  # Ray prints warnings of its own there
        server = stack.enter_context(demo_server())
        for pipeline in pipelines:
            console.rule(pipeline)
            settings = demo_settings(world, out, pipeline, backend, server.url)
            settled &= run(settings, executor(), console=console) == SETTLED
            scores[pipeline] = _score(pipeline, world, Path(settings.results_dir))
    missed = {name: missed_targets(score) for name, score in scores.items()}
    if as_json:
        print(json.dumps(scores))
    else:
        console.print(_table(scores))
    for name, words in missed.items():
        for word in words:
            console.print(f"{name}: {word}", markup=False, highlight=False)
    console.print(
        f"Look at it: {program} review {out / backend / pipelines[0]}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0 if settled and not any(missed.values()) else 1


def demo_settings(world: World, out: Path, pipeline: str, backend: str, url: str) -> Settings:
    """The specification the demo runs: everything is asked anew each time, and boxes that a check moves are moved."""
    vlm = VlmSettings(
        backend=backend,
        openai=OpenAISettings(base_url=f"{url}/v1", model_name="raylabel-demo-vlm", temperature=0.0),
        gemini=GeminiSettings(base_url=url, model="raylabel-demo-vlm", temperature=0.0),
        anthropic=AnthropicSettings(base_url=url, model="raylabel-demo-vlm"),
    )
    return Settings(
        results_dir=str(out / backend / pipeline),
        autolabel_type=pipeline,
        image_grounding=GroundingPipeline(
            vlm=vlm,
            workflow=GroundingWorkflow(max_workers=WORKERS, force_reprocess=True),
            data=GroundingData(input_jsonl=str(world.captions_path), image_root=str(world.images_dir)),
        ),
        image_referring_expression=ReferringPipeline(
            vlm=vlm,
            workflow=ReferringWorkflow(max_workers=WORKERS, force_reprocess=True),
            data=ReferringData(image_dir=str(world.images_dir), kitti_label_dir=str(world.labels_dir)),
        ),
        double_check=DoubleCheckSettings(adjust="apply"),
    )


def _score(pipeline: str, world: World, results: Path) -> dict[str, Any]:
    annotations = results / "annotations.jsonl"
    lines = annotations.read_text(encoding="utf-8").splitlines() if annotations.exists() else []
    return _SCORES[pipeline](world.truth, [json.loads(line) for line in lines])


def _table(scores: dict[str, dict[str, Any]]) -> Table:
    table = Table("against the truth")
    for name in scores:
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("target", justify="right")
    for key in dict.fromkeys(k for score in scores.values() for k in score):
        cells = [_cell(score.get(key)) for score in scores.values()]
        table.add_row(key, *cells, f">= {DEMO_TARGETS[key]}" if key in DEMO_TARGETS else "")
    return table


def _program() -> str:
    """How to call raylabel from here: by name where the shell finds it, else by its path."""
    beside = Path(sys.executable).with_name("raylabel")
    if shutil.which("raylabel") or not beside.exists():
        return "raylabel"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
