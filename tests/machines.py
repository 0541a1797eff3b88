"""Several machines on this one: each with its own network, processes, host name, home and mounts (Linux, as root)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import raylabel

SHARED = "/shared"
"""Where the machines' shared file system is mounted."""
COMMAND_S = 240.0


@dataclass(frozen=True)
class Machine:
    """A machine that is up.

    Args:
        process: the first one of it.
        address: in the network of the machines.
        home: of whoever works there, and folder of Ray's sessions; called the same on all machines.
    """

    name: str
    process: int
    address: str
    home: Path
    env: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, command: str, cwd: Path) -> tuple[int, str]:
        """A command of a shell: its exit code and everything that it printed."""
        with tempfile.TemporaryFile("w+") as out:  # not a pipe, which what it starts would keep open
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            code = subprocess.run(self._inside(command, cwd), env=self.env, timeout=COMMAND_S, **options).returncode
            out.seek(0)
            return code, out.read()

    def start(self, command: str, cwd: Path, log: Path) -> None:
        """A command that goes on until the machine is gone."""
        with log.open("w") as out:
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            self.started.append(subprocess.Popen(self._inside(command, cwd), env=self.env, **options))

    def _inside(self, command: str, cwd: Path) -> list[str]:
        where = ["nsenter", f"--target={self.process}", "--net", "--pid", "--mount", "--uts", f"--wd={cwd}"]
        return [*where, "bash", "-c", command]


def why_not() -> str:
    """Why there can be no machines here; empty where they can be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root of a Linux can make machines within this one"
    missing = [tool for tool in ("unshare", "nsenter", "ip", "mount") if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "true"], capture_output=True)
    return tried.stderr.decode(errors="replace").strip()


@contextmanager
def machines(shared: Path, names: Sequence[str], without_share: Sequence[str] = ()) -> Iterator[list[Machine]]:
    """Machines in one network, gone without a trace behind the block; the first one is called HEAD, too.

    Args:
        shared: mounted as ``SHARED`` on all of them.
        without_share: further machines, on which that folder is empty.
    """
    # Not in tmp_path: the sockets in it may not have long names.
    root = Path(tempfile.mkdtemp(prefix="rl-", dir="/tmp"))
    everybody = [*names, *without_share]
    addresses = {name: f"10.77.0.{number}" for number, name in enumerate(everybody, 1)}
    hosts = root / "hosts"
    hosts.write_text(
        "127.0.0.1 localhost\n"
        + "".join(f"{address} {name}\n" for name, address in addresses.items())
        + f"{addresses[everybody[0]]} HEAD\n"
    )
    # Without a name server, so that nobody waits for the answer of one that cannot be reached.
    resolver = root / "resolver"
    resolver.touch()
    Path(SHARED).mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        up: list[Machine] = []
        stack.callback(lambda: [started.wait() for machine in up for started in machine.started])
        home = root / "home"
        home.mkdir()
        for name in everybody:
            own, empty = root / name, root / f"{name}-empty"
            own.mkdir()
            empty.mkdir()
            places: dict[Path, Path | str] = {hosts: "/etc/hosts", resolver: "/etc/resolv.conf", own: home}
            places[empty if name in without_share else shared] = SHARED
            process = stack.enter_context(_first_process(name, places))
            env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and not k.endswith("_API_KEY")}
            env |= {"HOME": str(home), "RAY_TMPDIR": str(home), "COLUMNS": "300", "PYTHONPATH": str(_source())}
            env["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{env['PATH']}"
            up.append(Machine(name, process, addresses[name], home, env))
        _connect(up)
        yield up


def _source() -> Path:
    return Path(raylabel.__file__).parents[1]


@contextmanager
def _first_process(name: str, places: Mapping[Path, Path | str]) -> Iterator[int]:
    mounting = "".join(f"mount --bind {here} {there} && " for here, there in places.items())
    script = f"hostname {name} && {mounting} ip link set lo up && echo up && exec sleep infinity"
    isolated = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc"]
    said: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    outer = subprocess.Popen([*isolated, "sh", "-c", script], **said)
    try:
        assert outer.stdout is not None
        assert outer.stdout.readline() == "up\n"
        inner = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
        yield inner
        os.kill(inner, signal.SIGKILL)  # and with it, all that was started there
        outer.wait()
    finally:
        outer.kill()
        outer.wait()
        assert outer.stdout is not None
        outer.stdout.close()


def _connect(machines: Sequence[Machine]) -> None:
    """A bridge on the first machine, with a cable to each of the others."""
    first, *others = machines

    def ip(machine: Machine, *words: str) -> None:
        subprocess.run(["nsenter", f"--target={machine.process}", "--net", "ip", *words], check=True)

    ip(first, "link", "add", "br0", "type", "bridge")
    ip(first, "addr", "add", f"{first.address}/24", "dev", "br0")
    ip(first, "link", "set", "br0", "up")
    ip(first, "route", "add", "default", "dev", "br0")  # Ray takes the address that leads out
    for number, other in enumerate(others):
        cable = ["link", "add", f"cable{number}", "type", "veth", "peer", "name", "eth0", "netns", str(other.process)]
        ip(first, *cable)
        ip(first, "link", "set", f"cable{number}", "master", "br0", "up")
        ip(other, "addr", "add", f"{other.address}/24", "dev", "eth0")
        ip(other, "link", "set", "eth0", "up")
        ip(other, "route", "add", "default", "via", first.address)
