"""What whole runs show of themselves, in the ways of ``--progress``: on terminals, in logs, and to programs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raylabel.demo.world import World, build_world
from raylabel.settings import Settings
from tests.end_to_end.cli_runs import write_config
from tests.end_to_end.running import (
    REPOSITORY,
    Fault,
    Json,
    Ran,
    Seen,
    WireServer,
    command,
    error,
    grounding,
    label,
    referring,
    says,
)

pytestmark = pytest.mark.slow

KEYS = {
    *("time", "seconds", "state", "phase", "records", "settled_before", "slowest", "limit", "errors_last_minute"),
    *("steps", "endpoints", "exit_code"),
}
STEP_KEYS = {
    *("done", "open", "in_flight", "window", "requests", "requests_per_s", "replayed", "retries", "rate_limited"),
    *("tokens_in", "tokens_cached", "tokens_out", "cost_usd", "projected_usd", "eta_s"),
}
ENDPOINT_KEYS = {
    *("in_flight", "window", "requests", "requests_per_s", "refused", "latency_s", "tokens_in", "tokens_out"),
    *("state", "why"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 16, seed=9)


def read(out: str) -> list[Json]:
    """The objects of standard output, which holds nothing else; each has the documented keys, whatever happens."""
    lines: list[Json] = [json.loads(line) for line in out.splitlines()]
    for line in lines:
        assert set(line) == KEYS | STEP_KEYS
        assert all(set(step) == STEP_KEYS for step in line["steps"].values())
        assert all(set(each) == ENDPOINT_KEYS for each in line["endpoints"].values())
    assert [line["state"] for line in lines].count("ended") == 1
    assert lines[-1]["state"] == "ended"
    assert lines == sorted(lines, key=lambda line: (line["time"], line["seconds"]))
    return lines


def shown(settings: Settings, capsys: pytest.CaptureFixture[str], **how: Any) -> tuple[Ran, list[Json]]:
    ran = label(settings, progress="json", **how)
    return ran, read(capsys.readouterr().out)


def agree(last: Json, manifest: Json) -> None:
    """The last object and ``run.json`` say the same."""
    assert last["exit_code"] == manifest["exit_code"]
    assert set(last["steps"]) == set(manifest["requests"])
    for name, step in last["steps"].items():
        told = manifest["requests"][name]
        assert {key: step[key] for key in ("requests", "replayed", "retries", "cost_usd")} == {
            key: told[key] for key in ("requests", "replayed", "retries", "cost_usd")
        }
        tokens = told["tokens"]
        assert step["tokens_in"] == tokens.get("input", 0)
        assert step["tokens_cached"] == tokens.get("cached", 0)
        assert step["tokens_out"] == tokens.get("output", 0) + tokens.get("thought", 0)
        outcomes = manifest["counts"]["steps"][name]
        assert step["open"] == outcomes.get("failed", 0) + outcomes.get("unreadable", 0)
        assert step["done"] == sum(outcomes.values())
    assert last["requests"] == manifest["spent"]["requests"]
    assert last["cost_usd"] == manifest["spent"]["cost_usd"]
    assert {name: each["requests"] for name, each in last["endpoints"].items()} == {
        name: each["requests"] for name, each in manifest["endpoints"].items()
    }
    assert {name: each["refused"] for name, each in last["endpoints"].items()} == {
        name: each["refused"] for name, each in manifest["endpoints"].items()
    }


# --- for programs -----------------------------------------------------------------------------------------------------


def test_standard_output_is_json_lines_and_all_else_is_on_standard_error(world: World, tmp_path: Path) -> None:
    prices = {"raylabel-demo-vlm": {"input": 1.0, "output": 2.0}}
    with WireServer(latency_s=0.3) as wire:
        config = write_config(
            tmp_path / "c.yaml",
            tmp_path / "results",
            "image_grounding",
            world,
            wire.url,
            image_grounding__workflow__max_workers=4,
            prices=prices,
        )
        ran = command("run", str(config), "--progress", "json", cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        manifest = json.loads((tmp_path / "results" / "run.json").read_text())
        again = command("run", str(config), "--progress", "json", cwd=tmp_path)
    lines = read(ran.stdout)
    assert "results in" in ran.stderr
    assert "records" in ran.stderr
    assert lines[0]["state"] == "starting"
    at_work = [line for line in lines if line["state"] == "running" and line["requests"]]
    assert at_work
    assert max(line["in_flight"] for line in at_work) > 0
    assert all(line["in_flight"] <= line["window"] for line in at_work)
    assert all(step["window"] <= 4 for line in at_work for step in line["steps"].values())
    assert any(line["eta_s"] for line in at_work)
    assert lines[-1]["done"] == lines[-1]["records"] == manifest["counts"]["input_lines"]
    assert lines[-1]["cost_usd"] > 0
    assert lines[-1]["projected_usd"] == pytest.approx(lines[-1]["cost_usd"])
    agree(lines[-1], manifest)
    assert again.returncode == 0
    assert {line["state"] for line in read(again.stdout)} <= {"starting", "finishing", "ended"}, "nothing was to do"


@pytest.mark.parametrize("build", [grounding, referring])
def test_the_last_figures_are_those_of_the_manifest(
    build: Any, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer() as wire:
        ran, lines = shown(build(world, tmp_path / "r", wire.url), capsys)
    assert ran.code == 0
    agree(lines[-1], ran.manifest)
    assert lines[-1]["eta_s"] == 0
    assert lines[-1]["errors_last_minute"] == {}
    assert "results in" in ran.printed
    assert "{" not in ran.printed


def test_errors_are_counted_by_kind_and_so_is_what_was_turned_away(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        if seen.number in (3, 4):
            return error(429, "slow down \x1b[31m")
        if seen.number == 9:
            return error(500, "it fell over")
        if seen.number in (12, 13):
            return says("I would rather not say \x1b]0;x\x07")
        return None

    with WireServer(misbehave, latency_s=0.01) as wire:
        ran, lines = shown(grounding(world, tmp_path / "r", wire.url), capsys)
        assert len(wire.seen) >= 14
    agree(lines[-1], ran.manifest)
    errors = lines[-1]["errors_last_minute"]
    assert errors["HTTP 429"] == lines[-1]["rate_limited"] == 2
    assert errors["HTTP 500"] == 1
    assert errors["unreadable reply"] >= 1
    assert "\x1b" not in json.dumps(lines)
    assert lines[-1]["retries"] >= 3


def test_a_picture_that_is_missing_is_counted_and_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = build_world(tmp_path / "world", 4, seed=3)
    next(few.images_dir.iterdir()).unlink()
    with WireServer() as wire:
        ran, lines = shown(grounding(few, tmp_path / "r", wire.url), capsys)
    assert ran.code in (1, 3)
    assert lines[-1]["errors_last_minute"]["unusable record or image"] >= 1
    agree(lines[-1], ran.manifest)
    assert lines[-1]["eta_s"] == 0, "what stays open is not waited for"


def test_each_of_several_endpoints_has_its_figures(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer(latency_s=0.02) as one, WireServer(latency_s=0.02) as other:
        urls = json.dumps([f"{one.url}/v1", f"{other.url}/v1"])
        settings = referring(world, tmp_path / "r", one.url, f"image_referring_expression.vlm.openai.base_url={urls}")
        ran, lines = shown(settings, capsys)
        agree(lines[-1], ran.manifest)
        requests = {name: each["requests"] for name, each in lines[-1]["endpoints"].items()}
        assert requests == {server.url.removeprefix("http://"): len(server.seen) for server in (one, other)}
        assert sum(requests.values()) == lines[-1]["requests"]


def test_a_reread_shows_what_it_reads_as_replayed(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer() as wire:
        settings = grounding(world, tmp_path / "r", wire.url)
        first, lines = shown(settings, capsys)
        ran, again = shown(settings, capsys, reread=True)
    assert ran.code == 0
    agree(again[-1], ran.manifest)
    assert again[-1]["requests"] == 0
    assert again[-1]["replayed"] == lines[-1]["requests"]
    assert first.annotations == ran.annotations


def test_a_run_that_is_turned_away_ends_its_lines_too(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer(lambda seen: error(401, "no such key") if seen.number > 4 else None) as wire:
        ran, lines = shown(grounding(world, tmp_path / "r", wire.url), capsys)
    assert ran.code == 2
    assert lines[-1]["exit_code"] == 2


def test_what_ends_before_it_began_has_no_exit_code_of_its_own(world: World, tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "c.yaml", tmp_path / "r", "image_grounding", world, "http://127.0.0.1:9", limits__patience=1
    )
    (tmp_path / "empty.jsonl").write_text("")
    ran = command(
        *("run", str(config), f"image_grounding.data.input_jsonl={tmp_path / 'empty.jsonl'}", "--progress=json"),
        cwd=tmp_path,
    )
    assert ran.returncode == 2
    assert read(ran.stdout)[-1]["exit_code"] is None
    assert ran.stderr.startswith("raylabel: ")


@pytest.mark.parametrize(
    "words", [["estimate", "CONFIG", "--sample=3"], ["generate", "-e", "CONFIG"], ["retry", "CONFIG"]]
)
def test_every_command_that_labels_takes_it(words: list[str], world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        config = write_config(tmp_path / "c.yaml", tmp_path / "r", "image_grounding", world, wire.url)
        ran = command(*(word.replace("CONFIG", str(config)) for word in words), "--progress=json", "-q", cwd=tmp_path)
    assert ran.returncode in (0, 3), ran.stderr
    assert read(ran.stdout)[-1]["exit_code"] == ran.returncode


# --- for people -------------------------------------------------------------------------------------------------------


def test_none_shows_the_summary_alone(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with WireServer() as wire:
        ran = label(grounding(world, tmp_path / "r", wire.url), progress="none")
    assert "replayed from the store" in ran.printed
    assert "in flight" not in ran.printed
    assert capsys.readouterr().out == ""


@contextmanager
def terminal(columns: int) -> Iterator[tuple[int, int]]:
    """The two ends of a pseudo-terminal so wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def on_terminal(term: str, words: Sequence[str], cwd: Path, columns: int = 80) -> tuple[int, str]:
    """The exit code of a command on a terminal, and all that it sent there."""
    drop = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    env = {name: value for name, value in os.environ.items() if name not in drop}
    with terminal(columns) as (ours, theirs):
        process = subprocess.Popen(
            [sys.executable, "-m", "raylabel", *words],
            cwd=cwd,
            env={**env, "TERM": term, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        sent = b""
        while chunk := _read(ours):
            sent += chunk
        return process.wait(), sent.decode()


def _read(end: int) -> bytes:
    try:
        return os.read(end, 65536)
    except OSError:  # Linux says so once nobody has the other end
        return b""


@pytest.mark.parametrize("columns", [80, 160])
def test_a_terminal_has_a_table_that_fits_it_and_is_gone_at_the_end(columns: int, world: World, tmp_path: Path) -> None:
    with WireServer(latency_s=0.3) as wire:
        config = write_config(
            *(tmp_path / "c.yaml", tmp_path / "r", "image_grounding", world, wire.url),
            image_grounding__workflow__max_workers=4,
        )
        code, sent = on_terminal("xterm-256color", ["run", str(config)], tmp_path, columns)
    assert code == 0, sent
    lines = [line for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", sent).replace("\r", "\n").split("\n") if line]
    table = [line for line in lines if line.startswith(("step ", "expression_extraction ", "grounding "))]
    assert table
    assert max(map(len, table)) <= columns
    heads = {tuple(line.split()) for line in table if line.startswith("step ")}
    assert len(heads) == 1
    assert ("retries" in heads.pop()) == (columns > 110)
    assert any(re.match(r"grounding +\d+/\d+ +0 +[1-4]/4 ", line) for line in table)
    assert sent.index("\x1b[?25h") < sent.index("replayed from the store"), "the cursor is back before the summary"


def test_a_dumb_terminal_has_lines_without_a_code_that_it_does_not_know(world: World, tmp_path: Path) -> None:
    with WireServer(latency_s=0.5) as wire:
        config = write_config(
            *(tmp_path / "c.yaml", tmp_path / "r", "image_grounding", world, wire.url),
            image_grounding__workflow__max_workers=1,
        )
        code, sent = on_terminal("dumb", ["run", str(config)], tmp_path)
    assert code == 0, sent
    assert "\x1b" not in sent
    text = sent.replace("\r\n", "\n")
    assert "\r" not in text
    assert re.search(r"^\[\d+ s\] expression_extraction \d+/\d+ done, 0 open, \d/1 in flight, ", text, re.MULTILINE)
    progress = text.partition("┏")[0].splitlines()
    assert max(map(len, progress)) <= 80
