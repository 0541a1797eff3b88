"""Over real HTTP: a model that really looks at the pixels, in every dialect it speaks, under a name nobody knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raylabel.clients.openai_compat import OpenAIClient
from raylabel.demo.server.http_server import DemoServer
from raylabel.errors import CalibrationError
from raylabel.geometry import Convention
from raylabel.probing.verdict import Verdict
from raylabel.profiles import UNKNOWN, Profile
from raylabel.records import Size
from tests.served_here import served_here

Calibrate = Callable[..., Verdict]
ClientOf = Callable[[DemoServer], OpenAIClient]

UNIT_SQUARE = Convention("xyxy", 1.0, frame="square")
BINS = {"paligemma": Convention("yxyx", 1024.0, top=1023.0), "florence-2": Convention("xyxy", 1000.0, 0.5, 999.0)}

EXPECTED = {
    "xyxy1000": Convention("xyxy", 1000.0),
    "yxyx1000": Convention("yxyx", 1000.0),
    "gemini": Convention("yxyx", 1000.0),
    "qwen3-vl": Convention("xyxy", 1000.0),
    "qwen2.5-vl": Convention("xyxy", None),
    "internvl": Convention("xyxy", 1000.0),
    "deepseek-vl2": Convention("xyxy", 1000.0),
    "glm-4.5v": Convention("xyxy", 1000.0),
    "paligemma": BINS["paligemma"],
    "florence-2": BINS["florence-2"],
    "kosmos-2": Convention("xyxy", 1.0),
    "percent": Convention("xyxy", 100.0),
    "unit": Convention("xyxy", 1.0),
    "pixels": Convention("xyxy", None),
    "xywh": Convention("xywh", None),
    "moondream": Convention("xyxy", 1.0),
    "shikra": UNIT_SQUARE,
    "minicpm": Convention("xyxy", 1000.0),
    "qwen-vl": Convention("xyxy", 1000.0),
    "claude": Convention("xyxy", None),
}
SPELLINGS = {"paligemma": "loc1024", "florence-2": "loc", "kosmos-2": "patch"}
COARSE = {"kosmos-2": 0.85}
"""Lowest mean IoU of dialects that cannot say where a box ends."""


@pytest.mark.parametrize("dialect", EXPECTED)
def test_an_unknown_model_is_calibrated(calibrated: Calibrate, client_of: ClientOf, dialect: str) -> None:
    with served_here("--boxes", dialect) as server:
        verdict = calibrated(client_of(server), server.options.model)

    assert verdict.profile.convention == EXPECTED[dialect]
    assert verdict.profile.spelling == SPELLINGS.get(dialect, "list")
    assert verdict.mean_iou is not None
    assert verdict.mean_iou > COARSE.get(dialect, 0.97)
    assert verdict.profile.question_style == ("one" if dialect == "moondream" else "list")


def wrong_way(dialect: str) -> Profile:
    """As the model does not write: the axes swapped, or where they have names or come in cells, another scale."""
    right = EXPECTED[dialect]
    if dialect in ("moondream", "kosmos-2"):
        return UNKNOWN.with_convention(Convention(right.order, 1000.0), "configured")
    order = "yxyx" if right.order != "yxyx" else "xyxy"
    return UNKNOWN.with_convention(Convention(order, right.scale), "configured")


@pytest.mark.parametrize("dialect", EXPECTED)
def test_no_model_is_believed_to_write_otherwise_than_it_does(
    calibrated: Calibrate, client_of: ClientOf, dialect: str
) -> None:
    with served_here("--boxes", dialect) as server, pytest.raises(CalibrationError, match=r"says .*; the answers fit"):
        calibrated(client_of(server), server.options.model, configured=wrong_way(dialect))


@pytest.mark.parametrize(
    ("options", "size", "seen"),
    [
        pytest.param(("qwen2.5-vl",), Size(4000, 3000), Size(1148, 840), id="qwen2.5-vl"),
        pytest.param(
            ("qwen2.5-vl", "--max-pixels", "500000"), Size(3000, 1000), Size(1204, 392), id="a-limit-of-its-own"
        ),
        pytest.param(("claude",), Size(3136, 1000), Size(1568, 500), id="claude"),
    ],
)
def test_pictures_are_resized_as_the_server_would(
    calibrated: Calibrate, client_of: ClientOf, options: tuple[str, ...], size: Size, seen: Size
) -> None:
    with served_here("--boxes", *options) as server:
        resize = calibrated(client_of(server), server.options.model).profile.resize

    assert resize.apply(size) == seen


def test_a_model_of_points_is_refused(calibrated: Calibrate, client_of: ClientOf) -> None:
    with served_here("--boxes", "molmo") as server, pytest.raises(CalibrationError, match="answers points, not boxes"):
        calibrated(client_of(server), server.options.model)


@pytest.mark.parametrize(
    ("dialect", "name", "requests"),
    [
        pytest.param("gemini", "models/gemini-2.5-flash", 1, id="gemini"),
        pytest.param("qwen2.5-vl", "Qwen/Qwen2.5-VL-7B-Instruct", 1, id="qwen2.5-vl"),
        pytest.param("qwen3-vl", "Qwen/Qwen3-VL-8B-Thinking", 1, id="qwen3-vl"),
        pytest.param("internvl", "OpenGVLab/InternVL3-8B", 2, id="internvl"),
        pytest.param("deepseek-vl2", "deepseek-ai/deepseek-vl2-small", 2, id="deepseek-vl2"),
        pytest.param("glm-4.5v", "zai-org/GLM-4.5V", 1, id="glm-4.5v"),
        pytest.param("paligemma", "google/paligemma2-3b-mix-448", 2, id="paligemma"),
        pytest.param("florence-2", "microsoft/Florence-2-large", 2, id="florence-2"),
        pytest.param("kosmos-2", "microsoft/kosmos-2-patch14-224", 2, id="kosmos-2"),
        pytest.param("moondream", "vikhyatk/moondream2", 2, id="moondream"),
        pytest.param("shikra", "shikras/shikra-7b", 2, id="shikra"),
        pytest.param("claude", "claude-sonnet-4-5", 1, id="claude"),
        pytest.param("percent", "grok-4.5", 1, id="percent"),
        pytest.param("qwen-vl", "Qwen/Qwen-VL-Chat", 2, id="qwen-vl"),
    ],
)
def test_a_known_model_is_verified_by_the_name_its_server_gives(
    calibrated: Calibrate, client_of: ClientOf, dialect: str, name: str, requests: int
) -> None:
    with served_here("--boxes", dialect, "--model-root", name) as server:
        verdict = calibrated(client_of(server), server.options.model)

    assert (verdict.how, verdict.requests) == ("verified", requests), verdict.describe()


def test_a_server_that_shrinks_more_than_its_family_is_measured(calibrated: Calibrate, client_of: ClientOf) -> None:
    with served_here("--boxes", "qwen2.5-vl", "--max-pixels", "401408", "--model-root", "Qwen/Qwen2.5-VL-7B") as server:
        verdict = calibrated(client_of(server), server.options.model)

    assert verdict.how == "measured"
    assert verdict.profile.resize.max_pixels <= 401408
    assert "profile qwen2.5-vl says" in verdict.note
