"""``raylabel demo``: both pipelines on drawn images."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from raylabel.commands import Command, positive
from raylabel.commands.run import executor_of

_PIPELINES = ("image_grounding", "image_referring_expression")

_PROTOCOLS = ("openai", "gemini", "anthropic")
"""Spoken by the demo's server."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo_out"), metavar="DIR", help="default: demo_out")
    parser.add_argument("--images", type=positive, default=24, metavar="N", help="default: 24")
    parser.add_argument("--pipeline", choices=("both", *_PIPELINES), default="both", help="default: both")
    parser.add_argument("--backend", choices=_PROTOCOLS, default="openai", help="default: openai")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def _demo(options: argparse.Namespace) -> int:
    from raylabel.demo.show import run_demo
    from raylabel.settings import Settings

    made = partial(executor_of, Settings())
    pipelines = list(_PIPELINES) if options.pipeline == "both" else [options.pipeline]
    return run_demo(options.out, options.images, pipelines, options.backend, options.json, made)


DEMO = Command(
    "demo",
    "run both pipelines on drawn images against a small local server, and score the result",
    "raylabel demo --images 50 --out demo_out",
    _add_arguments,
    _demo,
)
