"""What a server's log tells: what it is doing, and why it died."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from raylabel.errors import printable
from raylabel.servers.engines import Cause, Phase

HEADLINE = "--- raylabel, "
"""How the line begins that raylabel writes above each start."""
_READ_LIMIT_BYTES = 4_000_000
"""Looked at for a cause: the end of the log of one start."""
_QUOTED_CHARS = 240
_PREFIX = re.compile(
    r"\x1b\[[\d;]*m"  # colours
    r"|^(?:\((?:\w+)[^)]*pid=\d+\)\s*)+"  # (EngineCore pid=12)
    r"|^(?:ERROR|WARNING|INFO|DEBUG) [\d-]+ [\d:.]+ \[[\w./]+:\d+\] ?"  # ERROR 11-26 03:47:09 [core.py:718]
    r"|^\[[\d-]+ [\d:.]+[^\]]*\] ?"  # [2026-11-26 03:47:09 TP0]
)
_TELLS = re.compile(r"(?:[\w.]*(?:Error|Exception)\b|[Ee]rror|ERROR|[Ff]atal)(?:\b|:)")
_FRAME = re.compile(r"\s+File \"|\s+\^+$|Traceback \(most recent call last\)")


class ServerLog:
    """The log of a server, read from where its present start begins.

    Args:
        path: every start is written behind the one before.
        phases: of the engine.
    """

    def __init__(self, path: Path, phases: Sequence[Phase]) -> None:
        self.path = path
        self.phase = "starting"
        """What the server is doing, as far as the log says."""
        self._phases = phases
        self._begin = self._seen = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def follow(self) -> str:
        """Read what is new; returns the phase."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._seen)
                new = file.read()
        except OSError:  # the folder of the results may be a mount that hiccups
            return self.phase
        self._seen += len(new)
        # Progress bars write over their line.
        *lines, self._rest = re.split(rb"[\r\n]", self._rest + new)
        for line in lines:
            text = line.decode("utf-8", "replace")
            self.phase = next((phase.name for phase in self._phases if phase.pattern.search(text)), self.phase)
        return self.phase

    def cause(self, causes: Sequence[Cause]) -> tuple[Cause, str] | None:
        """The first of the causes that a line of this start tells, with that line."""
        lines = list(self._lines())
        for each in causes:
            for line in lines:
                if each.pattern.search(line):
                    return each, _quoted(line)
        return None

    def last_words(self) -> str:
        """The line that says most of an end nobody knows: the last that speaks of an error, or simply the last."""
        lines = [line for line in self._lines() if line.strip() and not _FRAME.match(line)]
        lines = [line for line in lines if not line.startswith(HEADLINE)]
        telling = [line for line in lines if _TELLS.search(line)]
        return _quoted((telling or lines or [""])[-1])

    def _lines(self) -> Iterator[str]:
        try:
            with self.path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(self._begin, file.tell() - _READ_LIMIT_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return
        for line in re.split(r"[\r\n]+", text):
            bare = line
            while (cut := _PREFIX.sub("", bare)) != bare:
                bare = cut
            yield bare


def _quoted(line: str) -> str:
    text = printable(line)
    return text if len(text) <= _QUOTED_CHARS else f"{text[: _QUOTED_CHARS - 3]}..."
