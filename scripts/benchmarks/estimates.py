"""Do estimates hold? Random pilots of a drawn world, each beside what all of it takes in the end.

Draws a world, serves it with the demo's model over HTTP, labels all of it once and a sample of it for each of ten seeds
(no Ray), and prints by seed whether the intervals hold what the rest took. Run:
``.venv/bin/python scripts/benchmarks/estimates.py [--images 500] [--sample 20] [--seeds 10] [--pipeline P]``
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from raylabel.demo.server.__main__ import build_server, read_arguments
from raylabel.demo.world import World, build_world
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.runtime.sampled import Sample
from raylabel.settings import Settings, load_settings

AMOUNTS = ("requests", "tokens_input", "tokens_output")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--noise", type=float, default=0.3, help="as the demo server's")
    parser.add_argument("--pipeline", choices=(IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION), default=IMAGE_GROUNDING)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raylabel-bench-") as name, _served(args.noise) as url:
        folder = Path(name)
        world = build_world(folder / "world", args.images)
        whole = _stored(_labeled(_settings(args.pipeline, world, folder / "whole", url)))
        print(f"all: {json.dumps(whole)}")
        held = dict.fromkeys(AMOUNTS, 0)
        for seed in range(args.seeds):
            settings = _settings(args.pipeline, world, folder / f"pilot{seed}", url)
            manifest = _labeled(settings, Sample(args.sample, seed))
            pilot, estimate = _stored(manifest), manifest["estimate"]
            words = []
            for amount in AMOUNTS:
                real, found = whole[amount] - pilot[amount], estimate[amount]
                holds = found["low"] <= real <= found["high"]
                held[amount] += holds
                words.append(
                    f"{amount} {real:,} {'in' if holds else 'NOT in'} {found['low']:,.0f} to {found['high']:,.0f}"
                )
            print(f"seed {seed}: {'; '.join(words)}", flush=True)
        print(f"held, of {args.seeds}: {json.dumps(held)}")


@contextmanager
def _served(noise: float) -> Iterator[str]:
    server = build_server(read_arguments(["--noise", str(noise)]))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _settings(pipeline: str, world: World, results: Path, url: str) -> Settings:
    vlm = f"{pipeline}.vlm"
    data = (
        [f"{pipeline}.data.input_jsonl={world.captions_path}", f"{pipeline}.data.image_root={world.images_dir}"]
        if pipeline == IMAGE_GROUNDING
        else [f"{pipeline}.data.image_dir={world.images_dir}", f"{pipeline}.data.kitti_label_dir={world.labels_dir}"]
    )
    return load_settings(
        None,
        [
            *(f"results_dir={results}", f"autolabel_type={pipeline}", f"{vlm}.backend=openai"),
            *(f"{vlm}.openai.base_url={url}/v1", f"{vlm}.openai.model_name=raylabel-demo-vlm"),
            *(f"{vlm}.openai.temperature=0", f"{vlm}.calibrate=never", "limits.max_failure_rate=1"),
            *(f"{vlm}.boxes.order=xyxy", f"{vlm}.boxes.scale=1000", *data),
        ],
    )


def _labeled(settings: Settings, sample: Sample | None = None) -> dict[str, Any]:
    """The ``run.json`` of a run."""
    run(settings, InProcess(), console=Console(file=io.StringIO()), sample=sample)
    manifest: dict[str, Any] = json.loads((Path(settings.results_dir) / "run.json").read_text(encoding="utf-8"))
    return manifest


def _stored(manifest: dict[str, Any]) -> dict[str, int]:
    stored = manifest["stored"]
    tokens = stored["tokens"]
    return {
        "requests": stored["replies"],
        "tokens_input": tokens["input"],
        "tokens_output": tokens["output"] + tokens["thought"],
    }


if __name__ == "__main__":
    main()
