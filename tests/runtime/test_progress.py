"""What is shown while a run goes on: on terminals of every kind, in logs, and to programs."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from raylabel.commands import add_progress
from raylabel.pipelines import all_steps
from raylabel.runtime.costs import Costs
from raylabel.runtime.figures import EndpointFigures, RunFigures, State, StepFigures
from raylabel.runtime.progress import (
    PHASE_AFTER_S,
    PHASE_EVERY_S,
    PLAIN_EVERY_S,
    JsonDisplay,
    NoDisplay,
    PlainDisplay,
    Progress,
    RichDisplay,
    display_for,
)
from raylabel.settings import Settings, load_settings
from tests.waiting import wait_until

STEP = StepFigures(10, 1, 3, 8, 10, 1.0, 0, 2, 1, 70, 40, 30, None, None, 30.0)
ENDPOINT = EndpointFigures(3, 8, 25, 2.5, 0, 0.4, 0, 0, "", "")
FIGURES = RunFigures(PLAIN_EVERY_S, State.RUNNING, records=40, total=STEP, steps={"step": STEP})
TWO = {"a:8000": ENDPOINT, "b:8000": replace(ENDPOINT, in_flight=0, state="set aside", why="busy")}
LARGE = StepFigures(
    done=99_999,
    open=12_345,
    in_flight=128,
    window=256,
    requests=1_234_567,
    requests_per_s=1234.5,
    retries=23_456,
    rate_limited=12_345,
    tokens_in=987_654_321,
    tokens_cached=887_654_321,
    tokens_out=87_654_321,
    cost_usd=123.45,
    projected_usd=456.78,
    eta_s=35_999,
)


def console(width: int = 80, **more: object) -> Console:
    return Console(file=io.StringIO(), width=width, **more)  # type: ignore[arg-type]


def said(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def plain(*drawn: RunFigures, on: Console | None = None) -> list[str]:
    """The lines that are written for these figures, one after the other."""
    where = on or console(200)
    display = PlainDisplay(where)
    for figures in drawn:
        display.draw(figures)
    return said(where).splitlines()


def drawn(figures: RunFigures, width: int = 80) -> list[str]:
    """The lines on a terminal, without what places and colors them."""
    on = console(width, force_terminal=True)
    display = RichDisplay(on)
    display.open()
    display.draw(figures)
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said(on)).replace("\r", "").splitlines()
    display.close(figures)
    return lines


# --- in logs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "end"),
    [
        pytest.param({}, "2 retries (1 x HTTP 429)", id="neither"),
        pytest.param({"cost_usd": 0.12}, "0.12 USD; 2 retries (1 x HTTP 429)", id="money-where-it-is-known"),
        pytest.param(
            {"cost_usd": 0.12, "projected_usd": 1.5, "retries": 0}, "0.12 USD, about 1.50 USD in all", id="and-ahead"
        ),
    ],
)
def test_a_line_tells_of_each_step_and_ends_with_the_totals(change: dict[str, float], end: str) -> None:
    (line,) = plain(replace(FIGURES, total=replace(STEP, **change)))  # type: ignore[arg-type]
    assert line == (
        "[10 s] step 10/40 done, 1 open, 3/8 in flight, 1.0 requests/s, tokens 70 in (40 cached) 30 out, ETA 0:30; "
        + end
    )


def test_a_line_tells_of_errors_and_of_what_holds_requests_back() -> None:
    (line,) = plain(replace(FIGURES, errors={"HTTP 429": 3, "time-out": 1}, limit="it takes 4 at a time"))
    assert line.endswith("; errors of the last minute: 3 x HTTP 429, 1 x time-out; it takes 4 at a time")


def test_a_line_tells_of_each_of_several_endpoints() -> None:
    (line,) = plain(replace(FIGURES, endpoints=TWO))
    assert "; a:8000 3/8 in flight, 2.5 requests/s; b:8000 0/8 in flight, 2.5 requests/s (set aside); " in line
    (line,) = plain(replace(FIGURES, endpoints={"a:8000": ENDPOINT}))
    assert "a:8000" not in line


def test_a_line_is_written_every_ten_seconds() -> None:
    seconds = [0.0, 5.0, 10.0, 11.0, 19.0, 20.0, 21.0]
    lines = plain(*(replace(FIGURES, seconds=second) for second in seconds))
    assert [line.partition("]")[0] for line in lines] == ["[10 s", "[20 s"]


def test_what_takes_long_before_the_work_is_told_once_and_again_after_a_while() -> None:
    def at(seconds: float, phase: str, since: float) -> RunFigures:
        return RunFigures(seconds, State.STARTING, phase, seconds - since)

    ray = "starting Ray: waiting for its workers, 0 of 2 are up"
    lines = plain(
        at(0.0, "reading the input", 0.0),
        at(1.0, ray, 1.0),
        at(1.0 + PHASE_AFTER_S, ray, 1.0),
        at(15.0, ray, 1.0),
        at(3.0 + PHASE_EVERY_S, ray, 1.0),
        at(36.0, "", 36.0),
    )
    assert lines == [f"[3 s] {ray}", f"[33 s] {ray}"]


# --- on terminals -----------------------------------------------------------------------------------------------------


def busy() -> RunFigures:
    """Everything there is to tell, with large numbers, of the step with the longest name among others."""
    longest = sorted(all_steps(), key=len)[-4:]
    return RunFigures(
        100_000.0,
        State.STOPPING,
        "starting Ray: waiting for its workers, 1 of 2 are up",
        7.0,
        records=99_999,
        total=LARGE,
        steps=dict.fromkeys(longest, LARGE),
        slowest=longest[-1],
        endpoints={f"node-{number}.cluster.internal:8000": ENDPOINT for number in range(3)},
        errors={"HTTP 429": 12_345, "time-out": 321, "unreadable reply": 22, "lost connection": 7, "HTTP 500": 2},
        limit="waiting: the endpoint takes no requests for now (it said: slow down, there are too many of you)",
    )


def test_eighty_columns_hold_every_figure_of_each_step() -> None:
    figures = replace(
        FIGURES,
        records=50_000,
        steps=dict.fromkeys(all_steps(), replace(LARGE, done=12_345, open=12, requests_per_s=123.4, eta_s=3723.0)),
    )
    lines = drawn(figures)
    assert max(map(len, lines)) <= 80
    for name in all_steps():
        (line,) = (line for line in lines if line.startswith(f"{name} "))
        assert line.split() == [name, "12345/50000", "12", "128/256", "123.4", "988M", "888M", "87.7M", "1:02:03"]


@pytest.mark.parametrize("width", [40, 80, 110, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(busy(), width)
    assert max(map(len, lines)) <= width
    assert len([line for line in lines if line.startswith("errors of the last minute: 12345 x ")]) == 1
    if width >= 80:
        text = "\n".join(lines)
        for part in (
            "123.45 USD, about 456.78 USD in all",
            "ETA 9:59:59",
            "23456 retries",
            "stopping: ",
            "starting Ray",
        ):
            assert part in " ".join(text.split()), part
        for number in range(3):
            assert len([line for line in lines if line.startswith(f"node-{number}.cluster.internal:8000")]) == 1


def test_a_wide_terminal_shows_retries_and_money_of_each_step() -> None:
    head, first, *_ = drawn(busy(), 140)
    assert head.split()[-4:] == ["retries", "429s", "cost", "ETA"]
    assert first.split()[-5:] == ["23456", "12345", "123.45", "USD", "9:59:59"]


def test_before_the_work_a_terminal_shows_what_is_waited_for_and_for_how_long() -> None:
    figures = RunFigures(12.0, State.STARTING, "starting Ray: waiting for its GCS and its raylet to come up", 9.0)
    assert drawn(figures) == ["starting Ray: waiting for its GCS and its raylet to come up (0:09)"]


def test_what_others_named_or_said_is_shown_as_text_and_steers_nothing() -> None:
    figures = replace(
        FIGURES,
        endpoints={"[red]a": ENDPOINT, "[/]b": ENDPOINT},
        limit="[bold]x[/bold]",
        errors={"[link=file:///]kind": 1},
        phase="[blink]now",
    )
    lines = drawn(figures)
    for text in ("[red]a", "[/]b", "[bold]x[/bold]", "1 x [link=file:///]kind", "[blink]now (0:00)"):
        assert any(text in line for line in lines), text
    (line,) = plain(replace(figures, phase=""))
    assert "[red]a 3/8 in flight" in line


@pytest.mark.parametrize("wanted", [None, "plain", "rich"])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines_that_fit_it(
    wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    on = console(80, force_terminal=True)
    display = display_for(wanted, on)
    display.open()
    display.draw(replace(busy(), seconds=PLAIN_EVERY_S))
    display.close(busy())
    text = said(on)
    assert "\x1b" not in text
    assert "\r" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "errors of the last minute" in " ".join(text.split())


@pytest.mark.parametrize(
    ("wanted", "is_terminal", "kind"),
    [
        pytest.param(None, True, RichDisplay, id="a-terminal"),
        pytest.param(None, False, PlainDisplay, id="no-terminal"),
        pytest.param("rich", False, PlainDisplay, id="a-table-needs-a-terminal"),
        pytest.param("plain", True, PlainDisplay, id="lines"),
        pytest.param("json", True, JsonDisplay, id="for-programs"),
        pytest.param("none", True, NoDisplay, id="nothing"),
    ],
)
def test_the_display_is_the_one_that_is_wanted_as_far_as_it_can_be(
    wanted: str | None, is_terminal: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(display_for(wanted, console(force_terminal=is_terminal))) is kind


# --- from the beginning to the end ------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "captions.jsonl").write_text('{"image_path": "a.png", "caption": "a ball"}')
    return load_settings(
        None,
        [
            "autolabel_type=image_grounding",
            f"results_dir={tmp_path}",
            f"image_grounding.data.input_jsonl={tmp_path}/captions.jsonl",
            "image_grounding.vlm.backend=openai",
            "image_grounding.vlm.openai.base_url=http://127.0.0.1:9/v1",
            "image_grounding.vlm.openai.model_name=m",
        ],
    )


def test_what_is_started_is_told_while_the_run_itself_is_held_up_by_it(settings: Settings) -> None:
    stream, starting = io.StringIO(), ["starting Ray: waiting for its GCS and its raylet to come up"]
    display = JsonDisplay(stream)
    display.every_s = 0.01
    with Progress(display, Costs(settings), starting=lambda: starting[0]) as progress:
        wait_until(lambda: stream.getvalue().count("raylet to come up") >= 3)
        starting[0] = ""
        progress.enter_phase("reading the input")
        wait_until(lambda: "reading the input" in stream.getvalue())
        progress.note_exit(0)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["state"] for line in lines[:-1]} == {"starting"}
    assert (lines[-1]["state"], lines[-1]["phase"], lines[-1]["exit_code"]) == ("ended", "", 0)


def test_names_and_words_of_others_are_inert_in_what_is_started(settings: Settings) -> None:
    stream = io.StringIO()
    display = JsonDisplay(stream)
    with Progress(display, Costs(settings), starting=lambda: "starting the model server \x1b[2Jmo\ndel\u202e"):
        wait_until(lambda: "starting the model" in stream.getvalue())
    assert json.loads(stream.getvalue().splitlines()[0])["phase"] == "starting the model server mo del"


def test_a_reader_that_goes_away_ends_no_run(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    read, write = os.pipe()
    stream = os.fdopen(write, "w")
    display = JsonDisplay(stream)
    display.every_s = 0.01
    with Progress(display, Costs(settings)):
        os.read(read, 1)
        os.close(read)
        wait_until(lambda: "without a display" in caplog.text)
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_the_words_of_the_command_line_are_those_of_the_displays() -> None:
    parser = argparse.ArgumentParser()
    add_progress(parser)
    (action,) = (action for action in parser._actions if action.dest == "progress")
    assert action.choices is not None
    kinds = {word: type(display_for(str(word), console(force_terminal=True))) for word in action.choices}
    assert set(kinds.values()) == {RichDisplay, PlainDisplay, JsonDisplay, NoDisplay}
