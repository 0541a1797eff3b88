"""Records that may kill whoever works on them, worked on in a process of their own."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from raylabel.runtime.coordinator import Directive, Report
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.traffic import EndpointDirective
from raylabel.runtime.window import Stopped
from raylabel.settings import Carried
from raylabel.sources import Shard

_WORK = "import sys; sys.path[:] = sys.argv[1:]; from raylabel.runtime.apart import work; work()"
_DONE = b"done"
_POLL_S = 0.05

logger = logging.getLogger(__name__)


async def find_killers(
    spec: RunSpec, shard: Shard, record_ids: Sequence[str], is_stopping: Callable[[], bool]
) -> dict[str, str]:
    """Those of some records of a shard that kill a process that works on nothing else, and how it died.

    Of the others everything that came is in the store; who takes them up has nothing left to ask.

    Raises:
        Stopped: the run stops.
        OSError, pickle.PicklingError, AttributeError: no such process can be started, or be told what to do.
    """
    died = await _work_apart(spec, shard, record_ids, is_stopping)
    if not died:
        return {}
    if len(record_ids) == 1:
        return {record_ids[0]: died}
    middle = len(record_ids) // 2
    first = await find_killers(spec, shard, record_ids[:middle], is_stopping)
    return first | await find_killers(spec, shard, record_ids[middle:], is_stopping)


async def _work_apart(spec: RunSpec, shard: Shard, record_ids: Sequence[str], is_stopping: Callable[[], bool]) -> str:
    """How a process died that worked on some records; empty where it lived, whatever came of them."""
    only = frozenset(record_ids)
    work = (dataclasses.replace(spec, only=only if spec.only is None else only & spec.only), shard)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-c", _WORK, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for the run
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # It stays open: its end is the end of this process.
            await asyncio.get_running_loop().run_in_executor(None, _tell, process.stdin, pickle.dumps(Carried(work)))
            while (code := process.poll()) is None:
                if is_stopping():
                    raise Stopped
                await asyncio.sleep(_POLL_S)
            is_done = process.stdout.read() == _DONE
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
        said.seek(0)
        words = said.read().decode(errors="replace").strip().splitlines()[-1:]
    if is_done or code >= 0:
        if code:  # what broke it breaks the run, which says so
            logger.info("a process for %s records ended with exit code %s: %s", len(only), code, " ".join(words))
        return ""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name} ({words[0][:200]})" if words else name


def _tell(pipe: IO[bytes], data: bytes) -> None:
    with suppress(BrokenPipeError):  # how it ended is seen
        pipe.write(data)
        pipe.flush()


def work() -> None:
    """Work on the records that standard input names, until it ends."""
    from raylabel.runtime.worker import Worker

    spec, shard = pickle.load(sys.stdin.buffer).value
    threading.Thread(target=_end_with_parent, daemon=True).start()

    async def run() -> None:
        worker = Worker(spec, _one_at_a_time, socket.gethostname(), is_apart=True)
        await worker.open()
        try:
            await worker.process([shard])
        finally:
            await worker.close()

    told = os.dup(1)
    os.dup2(2, 1)  # whatever C code prints is no message
    asyncio.run(run())
    os.write(told, _DONE)


async def _one_at_a_time(report: Report) -> Directive:
    """What a worker is told that has no coordinator: one request in flight of each step, wherever it likes."""
    endpoints = dict.fromkeys(report.endpoints, EndpointDirective(len(report.steps)))
    return Directive(dict.fromkeys(report.steps, 1), stop=report.fatal is not None, endpoints=endpoints)


def _end_with_parent() -> None:
    while os.read(0, 1):  # not of sys.stdin: Python aborts if it ends while a thread holds that
        pass
    os.kill(os.getpid(), signal.SIGKILL)
