"""A reply that crashes the process that reads it, for real: its record fails with this reason, and no others notice."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from raylabel.demo.world import World, build_world
from tests.end_to_end.cli_runs import write_config
from tests.end_to_end.running import Seen, WireServer, python, read_lines, says

pytestmark = pytest.mark.slow

MARK = "this-crashes-the-parser"
RECORDS = 40
_SITE = f"""
import ctypes, json

real = json.loads

def loads(text, **options):
    if isinstance(text, bytes) and b"{MARK}" in text:
        ctypes.string_at(0)
    return real(text, **options)

json.loads = loads
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 40, seed=4)


class Poisoned:
    """Answers with what crashes the parser when asked about one caption."""

    def __init__(self, caption: str) -> None:
        self._caption = caption

    def __call__(self, seen: Seen):
        if seen.task == "expression_extraction" and self._caption in seen.text:
            return says(MARK)
        return None


def run(config: Path, hook: Path, *words: str) -> CompletedProcess[str]:
    paths = ":".join([str(hook), *filter(None, sys.path)])
    return python("-m", "raylabel", "run", str(config), *words, cwd=config.parent, PYTHONPATH=paths)


def prepare(world: World, tmp_path: Path, url: str, **changes: object) -> tuple[Path, Path, str]:
    """The configuration, the folder with the hook, and the poisoned caption."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_SITE)
    lines = read_lines(world.captions_path)[:RECORDS]
    caption = "In this photo we can see a red circle and two blue squares."
    lines.insert(20, {**lines[20], "caption": caption})
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = {"image_grounding__data__input_jsonl": str(tmp_path / "captions.jsonl"), **changes}
    return write_config(tmp_path / "a.yaml", tmp_path / "r", "image_grounding", world, url, **data), hook, caption


def asked(wire: WireServer) -> tuple[Counter[str], int]:
    """Questions since the last look: all by their text and picture, and those about the poisoned caption."""
    seen, poisoned = list(wire.seen), wire.misbehave._caption  # type: ignore[attr-defined]
    wire.seen.clear()
    everything = Counter(json.dumps(one.body["messages"], sort_keys=True) for one in seen)
    return everything, sum(one.task == "expression_extraction" and poisoned in one.text for one in seen)


def check_outcomes(results: Path) -> None:
    failed = [line for line in read_lines(results / "failures.jsonl") if line["outcome"] == "failed"]
    (one,) = {line["record_id"]: line for line in failed}.values()
    assert "crashed the worker" in one["reason"]
    assert "SIGSEGV" in one["reason"]
    outcomes: Counter[str] = Counter(str(line["outcome"]) for line in read_lines(results / "annotations.jsonl"))
    assert (outcomes["failed"], sum(outcomes.values())) == (1, RECORDS + 1)


def test_the_command_dies_once_and_then_tries_the_record_apart(world: World, tmp_path: Path) -> None:
    with WireServer(latency_s=0.02) as wire:
        config, hook, caption = prepare(world, tmp_path, wire.url)
        wire.misbehave = Poisoned(caption)
        first = run(config, hook)
        assert first.returncode == -signal.SIGSEGV, first.stderr
        before, poisoned = asked(wire)
        assert poisoned == 1
        second = run(config, hook)
        assert second.returncode == 3, second.stdout + second.stderr
        after, poisoned = asked(wire)
        assert poisoned == 1
        in_flight = 8 + 8  # of both steps, and as many that were answered a moment ago
        assert sum((before + after).values()) - len(before + after) <= in_flight + 1
        check_outcomes(tmp_path / "r")

        third = run(config, hook)
        assert third.returncode == 3, third.stderr
        again, poisoned = asked(wire)
        assert (sum(again.values()), poisoned) == (1, 1), "nobody else is asked about"

        wire.misbehave = lambda seen: None
        assert run(config, hook).returncode == 0
    assert list((tmp_path / "r" / "checkpoints" / "in_hand").iterdir()) == []


def test_on_ray_it_is_found_in_one_run(world: World, tmp_path: Path) -> None:
    with WireServer(latency_s=0.02) as wire:
        config, hook, caption = prepare(world, tmp_path, wire.url, ray__actors=1)
        wire.misbehave = Poisoned(caption)
        ended = run(config, hook)
        assert ended.returncode == 3, ended.stdout + ended.stderr
        _, poisoned = asked(wire)
        assert poisoned == 2, "the worker died once, and a process beside it"
        check_outcomes(tmp_path / "r")
