"""A Ray of several nodes on this machine, each of which can be killed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import raylabel
from tests.waiting import wait_until

START_S, STOP_S = 120.0, 20.0
MARK = "RAYLABEL_TEST_NODES"


@dataclass(frozen=True)
class Node:
    """One node.

    Args:
        ip: a loopback address; ``ray start`` replaces 127.0.0.1 by the machine's outward one.
        session: folder of its logs and sockets.
    """

    ip: str
    session: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def kill_raylet(self) -> None:
        """``kill -9`` of the raylet, which takes its workers with it."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"/raylet") and any(str(self.session).encode() in word for word in words):
                    os.kill(int(entry.name), signal.SIGKILL)


@dataclass(frozen=True)
class Nodes:
    """Nodes of one CPU each; the first one is the head.

    Args:
        address: to join them at.
        env: environment of every process that speaks to them.
    """

    address: str
    nodes: tuple[Node, ...]
    env: Mapping[str, str] = field(repr=False)

    def processes(self, *titles: str) -> dict[int, str]:
        """The processes of all nodes whose command line holds one of these, with it."""
        wanted, found = f"{MARK}={self.env[MARK]}".encode(), {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (entry / "cmdline").read_text()
                if any(title in line for title in titles) and wanted in (entry / "environ").read_bytes():
                    found[int(entry.name)] = line
        return found


@contextmanager
def ray_nodes(count: int, **variables: str) -> Iterator[Nodes]:
    """A head and further nodes, gone without a trace behind the block.

    Args:
        variables: further environment variables of all of them.
    """
    mark = secrets.token_hex(16)
    env = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        **variables,
        MARK: mark,
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(raylabel.__file__).parents[1]),
        # Some of Ray's ports listen on all interfaces.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    ports = _free_ports(1 + count)
    # Not in tmp_path: the sockets in it may not have long names.
    root = Path(tempfile.mkdtemp(prefix="rl-", dir="/tmp"))
    started: list[Node] = []
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        stack.callback(lambda: [node.process.wait() for node in started])
        stack.callback(_kill_marked, mark)
        address = f"127.0.0.2:{ports[0]}"
        for number in range(count):
            ip, session = f"127.0.0.{number + 2}", root / str(number)
            where = ["--head", f"--port={ports[0]}", "--include-dashboard=false"]
            words = where if number == 0 else [f"--address={address}"]
            words += [f"--node-ip-address={ip}", f"--dashboard-agent-listen-port={ports[1 + number]}"]
            started.append(_start(words, ip, session, env, is_up=number == 0))
        for node in started:
            _wait_up(node)
        yield Nodes(address, tuple(started), env)


def _start(words: list[str], ip: str, session: Path, env: Mapping[str, str], *, is_up: bool) -> Node:
    """Start a node; the others need that the head is up."""
    usual = ["ray", "start", "--block", "--disable-usage-stats", "--num-cpus=1", "--object-store-memory=80000000"]
    usual += ["--min-worker-port=0", "--max-worker-port=0", f"--temp-dir={session}"]
    with session.with_suffix(".log").open("wb") as out:
        node = Node(ip, session, subprocess.Popen([*usual, *words], env=dict(env), stdout=out, stderr=out))
    if is_up:
        _wait_up(node)
    return node


def _wait_up(node: Node) -> None:
    log = node.session.with_suffix(".log")
    wait_until(lambda: node.process.poll() is not None or "Ray runtime started" in log.read_text(), START_S)
    assert node.process.poll() is None, log.read_text()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.2", 0))
        return [one.getsockname()[1] for one in sockets]


def _kill_marked(mark: str) -> None:
    """Kill what is left of a cluster, until nothing is."""
    wanted = f"{MARK}={mark}".encode()

    def none_left() -> bool:
        left = 0
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes():
                    left += 1
                    os.kill(int(entry.name), signal.SIGKILL)
        return not left

    wait_until(none_left, STOP_S)
