"""What do votes bring? One answer a question against several, from a model that is unsure and claims 0.9 for all boxes.

Draws a world, runs image_grounding against the demo server with ``--noise``, and prints for each number of votes
recall, share of right boxes, calibration error of the scores, how well they tell right from wrong, and requests. Run:
``.venv/bin/python scripts/benchmarks/votes.py [--images 60] [--noise 0.7] [--votes 1 5 9]``
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from pathlib import Path

from rich.console import Console

from raylabel.demo.launch import demo_server
from raylabel.demo.score import calibration_error, claims, score_image_grounding, separation
from raylabel.demo.world import World, build_world
from raylabel.engine.session import ray_session
from raylabel.runtime.run import run
from raylabel.settings import RaySettings, Settings, load_settings


def settings_for(world: World, out: Path, url: str, votes: int) -> Settings:
    pipeline = "image_grounding"
    return load_settings(
        None,
        [
            f"results_dir={out}",
            f"autolabel_type={pipeline}",
            f"{pipeline}.vlm.backend=openai",
            f"{pipeline}.vlm.openai.base_url={url}/v1",
            f"{pipeline}.vlm.openai.model_name=unsure",
            f"{pipeline}.vlm.openai.temperature=0.7",
            f"{pipeline}.vlm.boxes.order=xyxy",
            f"{pipeline}.vlm.boxes.scale=1000",
            f"{pipeline}.vlm.calibrate=never",
            f"{pipeline}.workflow.votes={votes}",
            f"{pipeline}.workflow.min_agreement=0",
            f"{pipeline}.workflow.max_workers=16",
            f"{pipeline}.data.input_jsonl={world.captions_path}",
            f"{pipeline}.data.image_root={world.images_dir}",
        ],
    )


def measure(world: World, url: str, votes: int) -> dict[str, float]:
    """Scores of one run."""
    with tempfile.TemporaryDirectory() as out:
        run(settings_for(world, Path(out), url, votes), console=Console(file=io.StringIO()))
        text = (Path(out) / "annotations.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        requests = json.loads((Path(out) / "run.json").read_text(encoding="utf-8"))["requests"]["grounding"]["requests"]
    scored = claims(world.truth, lines)
    kept = [right for score, right in scored if score > 0.5]
    known = score_image_grounding(world.truth, lines)
    return {
        "boxes": len(scored),
        "right": sum(right for _, right in scored) / len(scored),
        "recall": known["recall"],
        "right of score > 0.5": sum(kept) / len(kept),
        "calibration error": calibration_error(scored),
        "separation": separation(scored),
        "requests": requests,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--noise", type=float, default=0.7)
    parser.add_argument("--votes", type=int, nargs="+", default=[1, 5, 9])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = build_world(Path(folder), args.images)
        with demo_server("--boxes", "xyxy1000", "--noise", str(args.noise)) as server, ray_session(RaySettings()):
            for votes in args.votes:
                scores = measure(world, server.url, votes)
                print(
                    f"votes {votes}: " + ", ".join(f"{name} {value:.3g}" for name, value in scores.items()), flush=True
                )


if __name__ == "__main__":
    main()
