"""The benchmark's model server: raylabel's client asks it the questions of every step, and each step is content."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raylabel.clients.base import Picture, Request, Sampling
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.geometry import XYXY_PIXELS, YXYX_1000
from raylabel.records import Box, Region
from raylabel.steps.base import Question
from raylabel.steps.double_check import DoubleCheck
from raylabel.steps.expression_extraction import ExpressionExtraction
from raylabel.steps.grounding import Grounding
from raylabel.steps.grounding_expr import GroundingExpr
from raylabel.steps.image_caption import ImageCaption
from raylabel.steps.region_expr import RegionExpr
from speed.answers import TASKS
from speed.questions import LEVELS
from speed.server import MODEL, Latency

PICTURE = Picture(os.urandom(160_000), "image/jpeg")
CAPTION = "Photo of two red chairs near a tall lamp under a blue umbrella and a door with number 7."
PHRASES = ["two red chairs", "a tall lamp", "a blue umbrella", "a door with number 7"]


@pytest.fixture(scope="module")
def server() -> Iterator[SimpleNamespace]:
    """The server in a process of its own; ``url``, ``port``, and what its ``log`` holds."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'scripts/benchmarks'}:{root}"}
    with subprocess.Popen(
        [sys.executable, "-m", "speed.server"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())

            def log() -> dict[str, Any]:
                log: dict[str, Any] = json.loads(exchange(port, "GET", "/log")[1])
                return log

            yield SimpleNamespace(url=f"http://127.0.0.1:{port}/v1", port=port, log=log)
        finally:
            process.terminate()


def exchange(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@pytest.fixture
def ask(server: SimpleNamespace) -> Callable[[Question], str]:
    """The reply to a question, put by raylabel's own client."""

    async def put(question: Question) -> str:
        client = OpenAIClient(None, server.url)
        try:
            sampling = Sampling(MODEL, 0.0, 4096, 20.0)
            reply = await client.ask(
                Request(question.preamble, PICTURE, question.text, sampling, schema=question.schema)
            )
        finally:
            await client.close()
        assert reply.usage.input
        assert reply.usage.output
        return reply.text

    return lambda question: asyncio.run(put(question))


def test_the_phrases_of_a_caption_are_extracted(make_step, make_record, go, ask):
    course = go(make_step(ExpressionExtraction), make_record(caption=CAPTION), ask)
    assert course.outcome == "labeled"
    assert course.changes.cleaned_caption == CAPTION.removeprefix("Photo of ")
    assert [e.text for e in course.changes.expressions] == PHRASES
    assert course.result.violations == {}


@pytest.mark.parametrize("convention", [None, YXYX_1000, XYXY_PIXELS], ids=["xyxy-1000", "yxyx-1000", "pixels"])
def test_every_phrase_gets_one_box_in_the_scale_that_is_asked_for(
    make_step, make_record, go, ask, expressions, convention
):
    step = make_step(Grounding) if convention is None else make_step(Grounding, convention)
    record = make_record(expressions=expressions(**{phrase.replace(" ", "_"): None for phrase in PHRASES}))
    course = go(step, record, ask)
    assert course.outcome == "labeled"
    assert [len(e.instances) for e in course.changes.expressions] == [1] * len(PHRASES)
    first = course.changes.expressions[0].instances[0].box  # of 640x480, from 15 % and 17 % on
    assert (first.x1, first.y1) == (pytest.approx(96, abs=1), pytest.approx(82, abs=1))
    assert len(course.questions) == 1


def test_a_referring_record_goes_through_all_four_steps(make_step, make_record, go, ask, seeds):
    described = go(make_step(RegionExpr), make_record(seeds=seeds), ask)
    captioned = go(make_step(ImageCaption), make_record(), ask)
    regions = described.changes.regions
    assert len({region.description for region in regions}) == len(seeds)
    assert not any(region.flags for region in regions)
    grouped = go(make_step(GroundingExpr), make_record(regions=regions, caption=captioned.changes.caption), ask)
    checked = go(make_step(DoubleCheck), make_record(expressions=grouped.changes.expressions), ask)
    for course in (described, captioned, grouped, checked):
        assert (course.outcome, len(course.questions), course.result.violations) == ("labeled", 1, {})
    assert all(i.verified for e in checked.changes.expressions for i in e.instances)


def test_a_picture_beside_its_question_does_not_hide_it(make_step, make_record, go, ask):
    """A list that fills a question to the brim is still found."""
    told = "x" * 80
    regions = tuple(Region(Box(n, 0, n + 9, 9), "car", "red", f"the car with {told} {n}") for n in range(30))
    course = go(make_step(GroundingExpr), make_record(regions=regions), ask)
    assert course.outcome == "labeled"


def test_the_log_tells_tasks_times_and_bodies(server, make_step, make_record, ask):
    before = len(server.log()["tasks"])
    (question,) = make_step(ImageCaption).questions(make_record())
    for _ in range(2):
        ask(question)
    log = server.log()
    assert [list(TASKS)[n] for n in log["tasks"][before:]] == ["Task: describe the whole image"] * 2
    assert len(set(log["bodies"][before:])) == 1
    assert all(a <= b for a, b in zip(log["arrived_ns"], log["left_ns"], strict=True))


def test_what_no_step_asks_is_an_error(server):
    status, body = exchange(server.port, "POST", "/v1/chat/completions", b'{"messages": "Task: dance"}')
    assert status == 400
    assert b"no step asks this" in body
    assert json.loads(exchange(server.port, "GET", "/v1/models")[1])["data"][0]["id"] == MODEL


def test_the_latency_of_a_question_is_always_the_same():
    drawn = sorted(Latency(0.3, 0.6).of(f"question {n}") for n in range(2001))
    assert drawn == sorted(Latency(0.3, 0.6).of(f"question {n}") for n in range(2001))
    assert drawn[1000] == pytest.approx(0.3, rel=0.05)
    assert drawn[1683] / drawn[1000] == pytest.approx(1.82, rel=0.1)  # one standard deviation
    assert {Latency(0.2, 0.0).of(text) for text in "ab"} == {0.2}


def test_the_reference_clients_ask_what_the_steps_ask(make_step, make_record, expressions):
    """Word for word, so that the server makes no difference between the clients."""
    extract, ground = (level[0] for level in LEVELS["image_grounding"])
    (extraction,) = make_step(ExpressionExtraction).questions(make_record(caption=CAPTION))
    assert extract.question({"caption": CAPTION}) == extraction.text
    record = make_record(expressions=expressions(**{phrase.replace(" ", "_"): None for phrase in PHRASES}))
    (grounding,) = make_step(Grounding).questions(record)
    item = {"extraction": {"expressions": PHRASES}}
    assert ground.question(item).splitlines()[:8] == grounding.text.splitlines()[:8]
