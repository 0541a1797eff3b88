"""Over real HTTP: a model that looks at the pixels, handed boxes that it reads as it writes them, otherwise, or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from raylabel.clients.base import Sampling
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.clients.retry import RetryPolicy
from raylabel.demo.server.http_server import DemoServer
from raylabel.geometry import XYXY_1000, XYXY_PIXELS, YXYX_1000, Convention
from raylabel.probing.asking import ProbeSession
from raylabel.probing.box_reading import AS_WRITTEN, NOT_AT_ALL, OTHERWISE, BoxReading
from raylabel.probing.calibration import calibrate_model, with_box_reading
from raylabel.probing.verdict import Verdict
from raylabel.profiles import AS_IS
from raylabel.settings import ImageSettings
from tests.served_here import served_here

POLICY = RetryPolicy(attempts=2, backoff_s=0.01, max_backoff_s=0.02)

ClientOf = Callable[[DemoServer], OpenAIClient]


def told(client: OpenAIClient, limits: ImageSettings | None = None) -> tuple[Verdict, BoxReading]:
    """The verdict on a server's model, and how it reads boxes."""
    session = ProbeSession(client, Sampling("some-vlm", 0.0, 2048, 60.0), POLICY, limits or ImageSettings())

    async def once() -> Verdict:
        try:
            found = await calibrate_model(session, endpoint="host", model="some-vlm", configured=None, known=None)
            return await with_box_reading(session, found, ["region_expr"])
        finally:
            await client.close()

    verdict = asyncio.run(once())
    assert verdict.reading is not None
    return verdict, verdict.reading


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        pytest.param("xyxy1000", "", id="thousandths"),
        pytest.param("gemini", "models/gemini-2.5-flash", id="y-first"),
        pytest.param("qwen2.5-vl", "Qwen/Qwen2.5-VL-7B-Instruct", id="pixels-of-a-resized-picture"),
        pytest.param("claude", "claude-sonnet-4-5", id="named-pixels"),
        pytest.param("paligemma", "google/paligemma2-3b-mix-448", id="loc1024-tokens"),
        pytest.param("florence-2", "microsoft/Florence-2-large", id="loc-tokens"),
        pytest.param("kosmos-2", "microsoft/kosmos-2-patch14-224", id="patch-tokens"),
        pytest.param("moondream", "vikhyatk/moondream2", id="named-corners"),
        pytest.param("shikra", "shikras/shikra-7b", id="a-padded-square"),
        pytest.param("qwen-vl", "Qwen/Qwen-VL-Chat", id="pairs"),
        pytest.param("percent", "grok-4.5", id="percent"),
        pytest.param("glm-4.5v", "zai-org/GLM-4.5V", id="with-thoughts"),
        pytest.param("xywh", "", id="width-and-height"),
    ],
)
def test_every_family_reads_boxes_as_it_writes_them(client_of: ClientOf, dialect: str, name: str) -> None:
    with served_here("--boxes", dialect, "--model-root", name) as server:
        verdict, reading = told(client_of(server))

    assert (reading.kind, reading.right, reading.requests) == (AS_WRITTEN, 6, 1)
    assert verdict.asked_as == verdict.profile


@pytest.mark.parametrize("max_pixels", [700_000, 200_000])
def test_a_users_limit_of_pixels_changes_nothing(client_of: ClientOf, max_pixels: int) -> None:
    with served_here("--boxes", "pixels") as server:
        verdict, reading = told(client_of(server), ImageSettings(max_pixels=max_pixels))

    assert verdict.profile.resize != AS_IS
    assert (reading.kind, reading.right) == (AS_WRITTEN, 6)


@pytest.mark.parametrize(
    ("writes", "reads", "convention"),
    [
        pytest.param("xyxy1000", "yxyx1000", YXYX_1000, id="y-first"),
        pytest.param("gemini", "xyxy1000", XYXY_1000, id="x-first"),
        pytest.param("xyxy1000", "pixels", XYXY_PIXELS, id="pixels"),
        pytest.param("pixels", "xyxy1000", XYXY_1000, id="thousandths"),
        pytest.param("qwen2.5-vl", "xyxy1000", XYXY_1000, id="thousandths-of-a-resized-picture"),
        pytest.param("yxyx1000", "xywh", Convention("xywh", None), id="pixels-with-width-and-height"),
        pytest.param("unit", "xyxy1000", XYXY_1000, id="everything-in-the-corner"),
        pytest.param("paligemma", "xyxy1000", XYXY_1000, id="tokens-x-first"),
    ],
)
def test_a_model_that_reads_boxes_otherwise_is_handed_them_so(
    client_of: ClientOf, writes: str, reads: str, convention: Convention
) -> None:
    with served_here("--boxes", writes, "--reads", reads) as server:
        verdict, reading = told(client_of(server))

    assert (reading.kind, reading.convention, reading.requests) == (OTHERWISE, convention, 2)
    assert reading.right >= 5
    assert (verdict.profile.reads, verdict.asked_as.reads) == (None, convention)


def test_a_model_that_cannot_read_boxes_is_warned_of_and_writes_them_all_the_same(client_of: ClientOf) -> None:
    with served_here("--boxes", "xyxy1000", "--blind") as server:
        verdict, reading = told(client_of(server))

    assert verdict.mean_iou == pytest.approx(1.0, abs=0.02)
    assert (reading.kind, reading.convention, reading.requests) == (NOT_AT_ALL, None, 1)
    assert "does not read the boxes of a question" in reading.warning("some-vlm", ["region_expr"])


def test_a_scale_that_shows_no_rectangle_at_all_is_warned_of(client_of: ClientOf) -> None:
    """What reads thousandths as shares of the side looks far outside; which scale it is, no color tells."""
    with served_here("--boxes", "xyxy1000", "--reads", "shikra") as server:
        _, reading = told(client_of(server))

    assert reading.kind == NOT_AT_ALL
    assert set(reading.said) == {"none"}
