"""A server's process ends with the one that started it, with everything that came of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raylabel.errors import StartError
from raylabel.servers.process import ServerProcess, start_process
from tests.servers.serving import child_environment, is_running
from tests.waiting import until, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux only")

SLEEPER = "import time; time.sleep(3600)"
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
print(child.pid, flush=True)
if os.fork() == 0:
    os.setsid()
    if (orphan := os.fork()) == 0:
        time.sleep(3600)
    print(orphan, flush=True)
    os._exit(0)
os.wait()
print("all", flush=True)
time.sleep(3600)
"""
"""A server with a child in a session of its own, and an orphan in another."""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
OWNER = """
import asyncio, sys
from pathlib import Path
from raylabel.servers.process import start_process

async def main():
    server = await start_process([sys.executable, "-c", sys.argv[1]], {}, Path(sys.argv[2]))
    print(server.pid, server.watchdog_pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""
FORKING_OWNER = OWNER.replace(
    "    print(server.pid, server.watchdog_pid, flush=True)",
    "    fork = os.fork()\n    if fork:\n        print(server.pid, server.watchdog_pid, fork, flush=True)\n"
    "    time.sleep(3600)",
).replace("import asyncio, sys", "import asyncio, os, sys, time")


async def start(code: str, log: Path) -> ServerProcess:
    return await start_process([sys.executable, "-c", code], dict(os.environ), log)


def family_of(log: Path) -> list[int]:
    """The processes that FAMILY wrote into its log."""
    wait_until(lambda: log.exists() and "\nall\n" in log.read_text())
    return [int(line) for line in log.read_text().splitlines() if line.isdecimal()]


def test_an_end_is_noticed_with_its_code(tmp_path: Path) -> None:
    async def scenario() -> str:
        server = await start("import sys; sys.exit(3)", tmp_path / "a.log")
        await until(lambda: server.poll() is not None)
        await server.stop()
        return server.describe_end()

    assert asyncio.run(scenario()) == "ended with code 3"


def test_an_end_before_anybody_looked_is_told_as_what_it_was(tmp_path: Path) -> None:
    """What the watchdog says of start and end may come in one piece."""

    async def scenario() -> set[str]:
        servers = [await start("raise SystemExit(3)", tmp_path / f"{n}.log") for n in range(8)]
        for server in servers:
            await until(lambda: server.poll() is not None)  # noqa: B023
            await server.stop()
        return {server.describe_end() for server in servers}

    assert asyncio.run(scenario()) == {"ended with code 3"}


def test_a_kill_is_told_by_its_name(tmp_path: Path) -> None:
    async def scenario() -> str:
        server = await start(SLEEPER, tmp_path / "a.log")
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: server.poll() is not None)
        await server.stop()
        return server.describe_end()

    assert asyncio.run(scenario()) == "was killed by SIGKILL"


def test_stopping_leaves_nothing_even_of_those_that_ignore_it(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        server = await start(STUBBORN + FAMILY, tmp_path / "a.log")
        pids = [server.pid, *await asyncio.to_thread(family_of, tmp_path / "a.log")]
        await server.stop()
        return [pid for pid in (*pids, server.watchdog_pid) if is_running(pid)]

    assert asyncio.run(scenario()) == []


def test_what_a_killed_server_leaves_behind_is_ended(tmp_path: Path) -> None:
    """As vLLM's engine, which goes on without its API server and holds the GPU's memory."""

    async def scenario() -> list[int]:
        server = await start(FAMILY, tmp_path / "a.log")
        pids = await asyncio.to_thread(family_of, tmp_path / "a.log")
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: not any(map(is_running, pids)))
        assert server.poll() == -signal.SIGKILL
        await server.stop()
        return pids

    assert len(asyncio.run(scenario())) == 2


def test_kill_9_of_the_owner_leaves_no_orphan(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, FAMILY, str(log)], stdout=subprocess.PIPE, text=True, env=child_environment()
    )
    assert owner.stdout is not None
    pids = [int(word) for word in owner.stdout.readline().split()]
    pids += family_of(log)
    assert all(map(is_running, pids))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not any(map(is_running, pids)))


def test_an_owner_whose_pipe_another_process_holds_is_missed_all_the_same(tmp_path: Path) -> None:
    """A process that was forked without exec, as by multiprocessing, inherits the pipe that tells of its end."""
    owner = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKING_OWNER, SLEEPER, str(tmp_path / "a.log")],
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )
    assert owner.stdout is not None
    server, watchdog, fork = (int(word) for word in owner.stdout.readline().split())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not is_running(server) and not is_running(watchdog))
    assert is_running(fork)
    os.kill(fork, signal.SIGKILL)


def test_the_server_does_not_outlive_its_watchdog(tmp_path: Path) -> None:
    async def scenario() -> int:
        server = await start(SLEEPER, tmp_path / "a.log")
        os.kill(server.watchdog_pid, signal.SIGKILL)
        await until(lambda: server.poll() is not None and not is_running(server.pid))
        await server.stop()
        return server.pid

    assert not is_running(asyncio.run(scenario()))


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no-such-engine cannot be started: .*No such file"):
        asyncio.run(start_process(["no-such-engine"], dict(os.environ), tmp_path / "a.log"))


def test_the_log_holds_no_key(tmp_path: Path) -> None:
    async def scenario() -> str:
        command = [sys.executable, "-c", "print('hello')", "--api-key", "sk-secret", "--hf-token=hf-secret"]
        server = await start_process(command, {**os.environ, "HF_TOKEN": "env-secret"}, tmp_path / "a.log")
        await until(lambda: server.poll() is not None)
        await server.stop()
        return (tmp_path / "a.log").read_text()

    log = asyncio.run(scenario())
    assert "hello" in log
    assert "--api-key ***" in log
    assert "secret" not in log
