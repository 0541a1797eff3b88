"""One server that is kept going: real processes that come up, do not, die, hang, or are something else."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from raylabel.errors import ServerError, StartError
from raylabel.servers.checking import models_of
from raylabel.servers.replica import Pace, Replica, State
from raylabel.settings import ServeSettings
from tests.servers.serving import QUICK, demo, is_running, stub
from tests.waiting import until


def python(code: str, **settings: object) -> ServeSettings:
    """Settings of a server that is a few lines of Python; ``sys.argv[1]`` is the port."""
    command = [sys.executable, "-c", code, "{port}"]
    return ServeSettings.model_validate({"model": "demo", "engine": "command", "command": command, **settings})


def replica(serve: ServeSettings, folder: Path, pace: Pace = QUICK, **more: object) -> Replica:
    return Replica(serve, "replica-1", folder, pace=pace, **more)  # type: ignore[arg-type]


def refusal(serve: ServeSettings, folder: Path) -> str:
    """The sentence that tells why a server does not come up; it leaves nothing behind."""

    async def scenario() -> str:
        server = replica(serve, folder)
        with pytest.raises(StartError) as caught:
            await server.start()
        assert server.pid is None
        await server.stop()
        return str(caught.value)

    text = asyncio.run(scenario())
    assert "\n" not in text
    return text


def with_ready(
    serve: ServeSettings, folder: Path, test: Callable[[Replica], Awaitable[None]], pace: Pace = QUICK
) -> Replica:
    """Have a server up and watched for the length of a test."""

    async def scenario() -> Replica:
        server = replica(serve, folder, pace)
        await server.start()
        watch = asyncio.ensure_future(server.watch())
        try:
            await test(server)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await server.stop()
        return server

    return asyncio.run(scenario())


def test_ready_means_that_it_serves_the_model_and_has_seen_a_picture(tmp_path: Path) -> None:
    states: list[tuple[State, str]] = []

    async def scenario() -> None:
        server = replica(demo(), tmp_path, on_change=lambda r: states.append((r.state, r.phase)))
        await server.start()
        assert await models_of(server.address) == ("demo",)
        pid = server.pid
        await server.stop()
        assert pid is not None
        assert not is_running(pid)

    asyncio.run(scenario())
    assert states[0] == (State.STARTING, "starting")
    assert [state for state, _ in states][-2:] == [State.READY, State.STOPPED]
    assert (tmp_path / "replica-1.log").read_text().startswith("--- raylabel, ")


def test_a_slow_start_is_waited_for_and_shown(tmp_path: Path) -> None:
    code = (
        "import runpy, sys, time; print('Fetching 14 files:   0%', end='\\r', flush=True); time.sleep(1);"
        "print('Loading safetensors checkpoint shards:   0%', flush=True); time.sleep(1);"
        "sys.argv = ['demo', '--port', sys.argv[1], '--model', 'demo'];"
        "runpy.run_module('raylabel.demo.server', run_name='__main__')"
    )
    phases: list[str] = []

    async def scenario() -> None:
        server = replica(python(code), tmp_path, on_change=lambda r: phases.append(r.phase))
        await server.start()
        await server.stop()

    asyncio.run(scenario())
    shown = [phase for phase in phases if phase]
    assert shown[:3] == ["starting", "downloading the model", "loading weights"]


def test_another_model_is_an_error(tmp_path: Path) -> None:
    text = refusal(demo("--reports-model", "other"), tmp_path)
    assert 'serves "other", not "demo"' in text
    assert str(tmp_path / "replica-1.log") in text


def test_an_end_at_once_is_noticed_at_once_with_its_last_words(tmp_path: Path) -> None:
    text = refusal(python("print('loading'); raise RuntimeError('the weights are corrupt')"), tmp_path)
    assert 'ended with code 1 before it was ready; its last words: "RuntimeError: the weights are corrupt"' in text


def test_a_known_cause_is_told_with_what_to_do(tmp_path: Path) -> None:
    text = refusal(python("import no_such_package"), tmp_path)
    assert "a package is missing in the Python that starts it; install it there, or set serve.python" in text
    assert "(\"ModuleNotFoundError: No module named 'no_such_package'\")" in text


def test_a_server_that_never_listens_fails_within_its_time(tmp_path: Path) -> None:
    text = refusal(python("import time; time.sleep(3600)", startup_timeout=0.5), tmp_path)
    assert "was not ready within 0.5 s (serve.startup_timeout), last starting; log: " in text


def test_a_server_that_answers_no_question_fails_within_its_time(tmp_path: Path) -> None:
    (tmp_path / "mood").write_text("mum")
    text = refusal(stub(tmp_path / "mood", startup_timeout=8), tmp_path)
    assert "was not ready within 8 s (serve.startup_timeout), last answering a first picture" in text


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        pytest.param("mute", "answers a question about a picture with nothing", id="empty"),
        pytest.param("blind", "turns a picture away: ", id="text-only-model"),
    ],
)
def test_a_server_that_cannot_see_is_an_error(tmp_path: Path, mood: str, said: str) -> None:
    (tmp_path / "mood").write_text(mood)
    assert said in refusal(stub(tmp_path / "mood"), tmp_path)


def test_a_fixed_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        async def scenario() -> None:
            server = replica(demo(), tmp_path, port=port)
            with pytest.raises(StartError, match=rf"serve.port: {port} is taken on 127.0.0.1"):
                await server.start()
            await server.stop()

        asyncio.run(scenario())


def test_a_port_that_is_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    """Between the choice of a port and the server's bind anybody may take it."""
    seen = tmp_path / "seen"
    code = (
        "import runpy, sys, pathlib; seen = pathlib.Path(sys.argv[2]);"
        "seen.open('a').write(sys.argv[1] + ' ');"
        "first = len(seen.read_text().split()) == 1;"
        "first and sys.exit('OSError: [Errno 98] Address already in use');"
        "sys.argv = ['demo', '--port', sys.argv[1], '--model', 'demo'];"
        "runpy.run_module('raylabel.demo.server', run_name='__main__')"
    )

    async def scenario() -> int:
        serve = python(code)
        server = replica(serve.model_copy(update={"command": [*serve.command, str(seen)]}), tmp_path)
        await server.start()
        port = server.address.port
        await server.stop()
        return port

    port = asyncio.run(scenario())
    first, second = map(int, seen.read_text().split())
    assert first != second == port


def test_those_that_start_at_the_same_time_get_ports_of_their_own(tmp_path: Path) -> None:
    async def scenario() -> set[int]:
        servers = [Replica(demo(), f"replica-{number}", tmp_path, pace=QUICK) for number in range(3)]
        await asyncio.gather(*(server.start() for server in servers))
        ports = {server.address.port for server in servers}
        await asyncio.gather(*(server.stop() for server in servers))
        return ports

    assert len(asyncio.run(scenario())) == 3


def test_a_killed_server_is_started_again_where_it_was(tmp_path: Path) -> None:
    async def kill(server: Replica) -> None:
        before, pid = server.address, server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: server.restarts == 1 and server.state is State.READY)
        assert server.address == before
        assert server.pid != pid
        assert await models_of(server.address) == ("demo",)

    server = with_ready(demo(), tmp_path, kill)
    assert server.trouble == "was killed by SIGKILL"
    assert len(re.findall("^--- raylabel", server.log.read_text(), re.MULTILINE)) == 2


@pytest.mark.parametrize(
    ("mood", "state", "trouble"),
    [
        pytest.param("ill", State.GONE, r"not well \(HTTP 503\): its engine died behind it", id="engine-dead"),
        pytest.param("busy", State.STUCK, r"did nothing for 0.5 s with 0 requests running and 2 waiting", id="idle"),
        pytest.param("deaf", State.STUCK, r"does not answer any more", id="silent"),
    ],
)
def test_a_server_that_lives_and_is_of_no_use_is_started_again(
    tmp_path: Path, mood: str, state: State, trouble: str
) -> None:
    file, seen = tmp_path / "mood", []

    async def worsen(server: Replica) -> None:
        def note(changed: Replica) -> None:
            seen.append(changed.state)
            file.unlink(missing_ok=True)  # the next one is well

        server._on_change = note
        file.write_text(mood)
        await until(lambda: server.restarts > 0 and server.state is State.READY)

    impatient = replace(QUICK, answer=1.0) if mood == "deaf" else QUICK
    server = with_ready(stub(file, restarts=100), tmp_path, worsen, impatient)
    assert seen[0] is state
    assert re.search(trouble, server.trouble)


def test_a_server_that_dies_too_often_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> str:
        server = replica(demo(restarts=1), tmp_path)
        await server.start()
        watch = asyncio.ensure_future(server.watch())
        for times in range(2):
            await until(lambda: server.state is State.READY and server.restarts == times)  # noqa: B023
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerError) as caught:
            await watch
        assert server.state is State.FAILED
        await server.stop()
        return str(caught.value)

    text = asyncio.run(scenario())
    assert "was killed by SIGKILL, and was started again once within an hour (serve.restarts); log: " in text


def test_a_server_that_does_not_come_up_again_is_given_up_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    code = (
        "import pathlib, runpy, sys; port, broken = sys.argv[1:3];"
        "pathlib.Path(broken).exists() and sys.exit('RuntimeError: the disk is gone');"
        "sys.argv = ['demo', '--port', port, '--model', 'demo'];"
        "runpy.run_module('raylabel.demo.server', run_name='__main__')"
    )
    serve = python(code)
    serve = serve.model_copy(update={"command": [*serve.command, str(broken)]})

    async def scenario() -> str:
        server = replica(serve, tmp_path)
        await server.start()
        watch = asyncio.ensure_future(server.watch())
        broken.touch()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerError) as caught:
            await watch
        await server.stop()
        return str(caught.value)

    text = asyncio.run(scenario())
    assert "did not come up again" in text
    assert 'its last words: "RuntimeError: the disk is gone"' in text
