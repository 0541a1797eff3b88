"""``raylabel serve`` as a process: its servers stand, are found, and end with it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raylabel.servers.checking import Address
from raylabel.servers.standing import cache_folder, find_standing, log_folder, standing
from raylabel.settings import ServeSettings
from tests.served_here import served_here
from tests.servers.serving import DEMO, FIRST_ONLY, ROOT, child_environment, demo, is_running
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


OPENAI = "image_grounding.vlm.openai"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def specification(folder: Path, serve: ServeSettings) -> Path:
    """A specification with this block."""
    (folder / "captions.jsonl").touch()
    path = folder / "spec.yaml"
    given = {name: getattr(serve, name) for name in serve.model_fields_set}
    grounding = {"vlm": {"backend": "openai"}, "data": {"input_jsonl": str(folder / "captions.jsonl")}}
    content = {"results_dir": str(folder / "results"), "image_grounding": grounding, "serve": given}
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return path


@contextmanager
def serving(folder: Path, serve: ServeSettings) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command, up, with the lines it wrote until then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "raylabel", "serve", str(specification(folder, serve))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=child_environment(),
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while not (lines and "Ctrl-C ends" in lines[-1]):
            line = process.stdout.readline()
            assert line, lines
            lines.append(line)
        yield process, lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def servers_of(serve: ServeSettings) -> list[Address]:
    return asyncio.run(find_standing(serve))


def pids_of(folder: Path) -> list[int]:
    """The processes that the demo servers wrote into their logs."""
    logs = [path.read_text() for path in (folder / "results" / "servers").glob("*.log")]
    return [int(pid) for log in logs for pid in re.findall(r'"pid": (\d+)', log)]


def test_servers_stand_are_found_and_end_with_ctrl_c(tmp_path: Path) -> None:
    serve = demo(replicas=2)
    with serving(tmp_path, serve) as (process, lines):
        found = servers_of(serve)
        assert len(found) == 2
        for address in found:
            assert any(f"ready at {address.url}, as demo; log: {tmp_path}/results/servers/" in line for line in lines)
        pids = pids_of(tmp_path)
        assert len(pids) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert not any(map(is_running, pids))
    assert servers_of(serve) == []
    assert list((cache_folder() / "servers").iterdir()) == []


def test_kill_9_leaves_no_server_and_the_note_is_seen_to_be_stale(tmp_path: Path) -> None:
    serve = demo()
    with serving(tmp_path, serve) as (process, _):
        pids = pids_of(tmp_path)
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(is_running, pids)))
        assert len(list((cache_folder() / "servers").iterdir())) == 1
        assert servers_of(serve) == []
        assert list((cache_folder() / "servers").iterdir()) == []


def test_a_server_that_dies_is_started_again_and_that_is_said(tmp_path: Path) -> None:
    with serving(tmp_path, demo()) as (process, _):
        os.kill(pids_of(tmp_path)[0], signal.SIGKILL)
        assert process.stdout is not None
        assert process.stdout.readline() == "replica-1: was killed by SIGKILL; it is started again\n"
        while "ready at" not in (line := process.stdout.readline()):
            assert line
        assert len(servers_of(demo())) == 1


def test_those_that_are_left_go_on_when_one_is_given_up_and_the_last_one_ends_the_command(tmp_path: Path) -> None:
    with serving(tmp_path, demo(replicas=2, restarts=0)) as (process, _):
        assert process.stdout is not None
        one, other = pids_of(tmp_path)
        os.kill(one, signal.SIGKILL)
        assert process.stdout.readline().endswith(": was killed by SIGKILL; it is given up (serve.restarts)\n")
        assert len(servers_of(demo())) == 1
        os.kill(other, signal.SIGKILL)
        said = process.stdout.read()
        assert "was killed by SIGKILL, and was started again 0 times within an hour (serve.restarts); log: " in said
        assert process.wait() == 1
    assert servers_of(demo()) == []


def test_one_that_does_not_come_up_takes_the_others_down(tmp_path: Path) -> None:
    command = ["{python}", "-c", FIRST_ONLY, *DEMO[3:], str(tmp_path / "taken")]
    done = subprocess.run(
        [sys.executable, "-m", "raylabel", "serve", str(specification(tmp_path, demo(command=command, replicas=2)))],
        capture_output=True,
        text=True,
        env=child_environment(),
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert re.match(
        r"raylabel: serve: the command server replica-[12] ended with code 1 .*FileExistsError", done.stderr
    )
    assert not any(map(is_running, pids_of(tmp_path)))


@pytest.mark.parametrize(
    ("serve", "code", "said"),
    [
        pytest.param(
            demo(command=[sys.executable, "-c", "raise SystemExit('no weights')", "{port}"]),
            2,
            "raylabel: serve: the command server replica-1 ended with code 1 before it was ready; its last words: "
            '"no weights"; log: ',
            id="does-not-come-up",
        ),
        pytest.param(
            ServeSettings(),
            2,
            "raylabel: serve.model: required; give the name on the hub, or the folder, of the model to serve.",
            id="nothing-to-serve",
        ),
    ],
)
def test_what_cannot_be_served_is_one_sentence(tmp_path: Path, serve: ServeSettings, code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raylabel", "serve", str(specification(tmp_path, serve)), f"{OPENAI}.model_name=demo"],
        capture_output=True,
        text=True,
        env=child_environment(),
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


# --- notes ------------------------------------------------------------------------------------------------------------


def test_only_servers_that_are_what_is_asked_for_are_found(tmp_path: Path) -> None:
    async def scenario(address: Address) -> None:
        with standing(demo(), [address.url]):
            assert await find_standing(demo()) == [address]
            assert await find_standing(demo(replicas=3, restarts=0)) == [address]
            assert await find_standing(demo("--think")) == []
            assert await find_standing(demo(served_model_name="other")) == []
        assert await find_standing(demo()) == []

    with served_here("--model", "demo") as server:
        asyncio.run(scenario(Address("127.0.0.1", server.server_address[1])))


def test_a_note_whose_server_does_not_answer_is_passed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        with standing(demo(), ["http://127.0.0.1:9/v1"]):
            assert await find_standing(demo()) == []

    asyncio.run(scenario())


def test_a_damaged_note_is_passed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        with standing(demo(), ["http://127.0.0.1:9/v1"]):
            (note,) = (cache_folder() / "servers").iterdir()
            note.write_text("{")
            assert await find_standing(demo()) == []

    asyncio.run(scenario())


def test_logs_of_a_run_in_a_bucket_are_on_this_machine(tmp_path: Path) -> None:
    assert log_folder(str(tmp_path / "results")) == tmp_path / "results" / "servers"
    assert log_folder("s3://bucket/results").is_relative_to(tmp_path / "cache")
