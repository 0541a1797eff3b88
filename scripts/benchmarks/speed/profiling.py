"""Where a worker's time goes: one run in this process, no Ray, under cProfile."""

from __future__ import annotations

import cProfile
import io
import pstats
import tempfile
from pathlib import Path

from rich.console import Console

from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.runtime.spec import RunSpec
from raylabel.settings import load_settings
from speed.cases import Case, raylabel_command, server_of, vlm_at
from speed.table import Sheet
from speed.workload import build_captioned, cached_pictures

_CASE = Case("profile", 1000, 64, 0.0)
_SHOWN = 10


class _Profiled(InProcess):
    """Watches the loop's thread; those that open images and store replies are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.profile = cProfile.Profile()

    async def _run(self, spec: RunSpec) -> None:
        self.profile.enable()
        try:
            await super()._run(spec)
        finally:
            self.profile.disable()


def dearest_functions() -> Sheet:
    """The ten functions that a worker spends most time in, themselves and not what they call."""
    executor = _Profiled()
    with tempfile.TemporaryDirectory() as made, server_of(_CASE) as url:
        workload = build_captioned(Path(made), _CASE.records, cached_pictures())
        *_, config = raylabel_command(Path(made), workload, _CASE.workers, vlm_at(url))
        settings = load_settings(Path(config), [])
        run(settings, executor, None, Console(file=io.StringIO()))
    found = pstats.Stats(executor.profile).stats  # type: ignore[attr-defined]
    total_s = sum(own_s for _, _, own_s, _, _ in found.values())
    rows = []
    for (file, line, name), (_, calls, own_s, all_s, _) in sorted(found.items(), key=lambda f: -f[1][2])[:_SHOWN]:
        place = name if file == "~" else f"{Path(*Path(file).parts[-2:])}:{line} {name}"
        rows.append([place, f"{calls:,}", f"{100 * own_s / total_s:.1f}", f"{100 * all_s / total_s:.1f}"])
    title = f"A worker's ten dearest functions, {_CASE}"
    return Sheet(title, ["function", "calls", "own time, %", "with what it calls, %"], rows)
