"""Servers for the tests of ``raylabel.servers``: the demo's, and one that does as a file says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from raylabel.servers.replica import Pace
from raylabel.settings import ServeSettings

DEMO = ["{python}", "-m", "raylabel.demo.server", "--port", "{port}", "--model", "{model}"]
FIRST_ONLY = (
    "import os, runpy, sys; os.mkdir(sys.argv.pop());"
    "runpy.run_module('raylabel.demo.server', run_name='__main__', alter_sys=True)"
)
"""A server of which only the first that starts comes up."""
STUB = Path(__file__).with_name("stub_server.py")
QUICK = Pace(check=0.1, answer=60.0, silent=3, idle=0.5, back_off=0.05)
"""A server is looked at more often than anybody would want to."""
ROOT = Path(__file__).parents[2]


def demo(*options: str, **settings: object) -> ServeSettings:
    """Settings that serve the demo's model under the name ``demo``."""
    return ServeSettings.model_validate(
        {"model": "demo", "engine": "command", "command": [*DEMO, *options], **settings}
    )


def stub(mood: Path, **settings: object) -> ServeSettings:
    """Settings of a server that does as a file says; see ``stub_server.py``."""
    command = [sys.executable, str(STUB), "{port}", "{model}", str(mood)]
    return ServeSettings.model_validate({"model": "demo", "engine": "command", "command": command, **settings})


def is_running(pid: int) -> bool:
    """Whether a process is there, and is not only waiting to be buried."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def child_environment() -> dict[str, str]:
    """For Pythons that tests start: they find this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
