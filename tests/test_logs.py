"""Log lines: what is masked, what is left out, and how they come from one process to another."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from raylabel.logs import (
    FLOOD_LINES,
    FLOOD_S,
    LOGGER,
    FloodFilter,
    LogBuffer,
    LogFormatter,
    LogLine,
    TerminalHandler,
    log_again,
    masking,
    said,
)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """raylabel's, which everything is logged to and nobody hears by default."""
    logger = logging.getLogger(LOGGER)
    before = logger.level, logger.propagate, list(logger.handlers)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], before[2]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param("asks http://me:pw@host/v1?key=abc123", "asks http://***@host/v1?key=***", id="url"),
        pytest.param("Bearer sk-0123456789", "Bearer ***", id="a-runs-own-secret"),
        pytest.param("\x1b]0;gone\x07\x1b[31mred\x1b[0m", "red", id="escapes"),
        pytest.param("one\r\ntwo", "one\ntwo", id="lines-stay-lines"),
    ],
)
def test_what_is_logged_is_masked_and_steers_no_terminal(message: str, shown: str) -> None:
    record = logging.LogRecord("raylabel.x", logging.INFO, "x.py", 1, "%s", (message,), None)
    with masking(lambda text: text.replace("sk-0123456789", "***")):
        assert LogFormatter("%(message)s").format(record) == shown


def test_a_traceback_is_masked_too() -> None:
    try:
        raise ValueError("http://me:pw@host/")
    except ValueError:
        record = logging.LogRecord("raylabel.x", logging.ERROR, "x.py", 1, "broken", (), sys.exc_info())
    shown = LogFormatter("%(message)s").format(record)
    assert "pw" not in shown
    assert "ValueError: http://***@host/" in shown


@pytest.mark.parametrize(
    ("verbose", "shown"), [pytest.param(False, ["W here"], id="usual"), pytest.param(True, list("DIW"), id="verbose")]
)
def test_the_terminal_shows_warnings_or_everything_and_nothing_twice(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], verbose: bool, shown: list[str]
) -> None:
    logger.addHandler(TerminalHandler(verbose=verbose))
    logger.debug("D")
    logger.info("I")
    logger.warning("W here")
    said("printed by the run anyway", logging.ERROR)
    log_again([LogLine("raylabel.there", logging.WARNING, "W there", 0.0)], "node-1")
    lines = capsys.readouterr().err.splitlines()
    heads = [line.rpartition(": ")[2] for line in lines]
    if verbose:
        assert heads == ["D", "I", "W here", "[node-1] W there"]
        assert lines[-1].startswith("raylabel.there: WARNING")
    else:
        assert heads == shown


def test_a_flood_of_one_kind_is_cut_and_counted_and_others_pass(logger: logging.Logger) -> None:
    now = [0.0]
    buffer = LogBuffer()
    buffer.filters[:] = [FloodFilter(lambda: now[0])]
    logger.addHandler(buffer)
    for second in (0.0, FLOOD_S + 1):
        now[0] = second
        for number in range(FLOOD_LINES + 90):
            logger.info("try %s failed", number)
        logger.info("the endpoint is back")
    texts = [line.text for line in buffer.take()]
    assert texts[:2] == ["try 0 failed", "try 1 failed"]
    assert len(texts) == 2 * (FLOOD_LINES + 1)
    assert texts[FLOOD_LINES] == "the endpoint is back"
    assert texts[FLOOD_LINES + 1] == "try 0 failed (90 more like this were left out)"
    said("a sentence")
    for _ in range(50):
        said("a sentence")
    assert len(buffer.take()) == 51, "what a run says is never left out"


def test_lines_that_nobody_took_go_with_the_next_ones_and_the_oldest_are_lost(logger: logging.Logger) -> None:
    buffer = LogBuffer()
    buffer.filters.clear()
    logger.addHandler(buffer)
    for number in range(400):
        logger.info("%s", number)
    taken = buffer.take()
    assert [line.text for line in taken] == [str(n) for n in range(400)]
    assert buffer.take() == ()
    for number in range(400, 600):
        logger.info("%s", number)
    buffer.put_back(taken)
    assert [line.text for line in buffer.take()] == [str(n) for n in range(100, 600)]
