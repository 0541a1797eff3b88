"""Log lines as they may be shown and kept: without secrets and escape sequences, and never a flood of the same."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from raylabel.errors import without_controls
from raylabel.urls import mask_urls

LOGGER = "raylabel"
FLOOD_LINES, FLOOD_S = 10, 10.0
"""Of the lines that one place in the code logs, so many in so many seconds are let through."""
_MOST_WAITING = 500

_masks: list[Callable[[str], str]] = [mask_urls]


@contextmanager
def masking(mask: Callable[[str], str]) -> Iterator[None]:
    """Have every log line of this process pass a mask, for the length of a ``with`` block."""
    _masks.append(mask)
    try:
        yield
    finally:
        _masks.remove(mask)


class LogFormatter(logging.Formatter):
    """What inputs and servers say stands in log lines, as do addresses, settings and tracebacks: secrets are masked and
    nothing steers the terminal. Lines of workers elsewhere begin with where they come from."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for mask in _masks:
            text = mask(text)
        return "\n".join(without_controls(line) for line in text.splitlines())

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """As in ``run.json``, to the millisecond."""
        return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


class TerminalHandler(logging.Handler):
    """Writes to the standard error of the moment, as a live display replaces it.

    Args:
        verbose: also what is below a warning, and what workers elsewhere log.
    """

    def __init__(self, *, verbose: bool) -> None:
        super().__init__(logging.DEBUG if verbose else logging.WARNING)
        self._verbose = verbose
        self.setFormatter(LogFormatter("%(name)s: %(levelname)s: %(message)s"))

    def filter(self, record: logging.LogRecord) -> Any:
        """Not what a run says in other ways, too."""
        is_shown = not _is_said(record) and (self._verbose or not _is_from_elsewhere(record))
        return is_shown and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


class FloodFilter(logging.Filter):
    """Lets a few lines of one place in the code through in a while; the next one then tells how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, int], list[float]] = {}
        """By place: when its window began, lines let through in it, and lines left out."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_said(record) or _is_from_elsewhere(record):
            return True
        now = self._clock()
        window = self._windows.setdefault((record.pathname, record.lineno), [now, 0, 0])
        if now - window[0] > FLOOD_S:
            if window[2]:
                record.msg, record.args = f"{record.getMessage()} ({window[2]:.0f} more like this were left out)", ()
            window[:] = [now, 0, 0]
        is_let = window[1] < FLOOD_LINES
        window[1 if is_let else 2] += 1
        return is_let


@dataclass(frozen=True)
class LogLine:
    """A line of a process elsewhere, on its way to the run's own."""

    logger: str
    level: int
    text: str
    created: float


class LogBuffer(logging.Handler):
    """Keeps the latest lines of this process until somebody takes them along."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LogFormatter())
        self.addFilter(FloodFilter())
        self._lines: deque[LogLine] = deque(maxlen=_MOST_WAITING)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(LogLine(record.name, record.levelno, self.format(record), record.created))
        except Exception:
            self.handleError(record)

    def take(self) -> tuple[LogLine, ...]:
        """The lines since the last time; ``put_back`` them where nobody took them."""
        self.acquire()
        taken = tuple(self._lines)
        self._lines.clear()
        self.release()
        return taken

    def put_back(self, lines: Sequence[LogLine]) -> None:
        """Have them taken along with the next ones."""
        self.acquire()
        self._lines = deque([*lines, *self._lines], _MOST_WAITING)
        self.release()


def said(text: str, level: int = logging.INFO) -> None:
    """Log what a run tells its user anyway."""
    logging.getLogger(LOGGER).log(level, "%s", text, extra={"said": True})


def _is_said(record: logging.LogRecord) -> bool:
    return getattr(record, "said", False)


def _is_from_elsewhere(record: logging.LogRecord) -> bool:
    return bool(getattr(record, "node", ""))


def log_again(lines: Sequence[LogLine], node: str) -> None:
    """Log here what was logged by a worker elsewhere."""
    for line in lines:
        logger = logging.getLogger(line.logger)
        if logger.isEnabledFor(line.level):
            record = logger.makeRecord(line.logger, line.level, node, 0, f"[{node}] {line.text}", (), None)
            record.created, record.msecs = line.created, line.created % 1 * 1000
            record.node = node
            logger.handle(record)
