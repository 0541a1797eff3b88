"""Models to calibrate: the demo server over HTTP, and scripted ones that ground badly in known ways."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from raylabel.clients.base import Client, Request, Sampling
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.clients.retry import RetryPolicy
from raylabel.demo.server.http_server import DemoServer
from raylabel.probing.asking import ProbeSession
from raylabel.probing.calibration import calibrate_model
from raylabel.probing.verdict import Verdict
from raylabel.settings import ImageSettings
from tests.clients.asking import and_close

POLICY = RetryPolicy(attempts=2, backoff_s=0.01, max_backoff_s=0.02)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def calibrated() -> Callable[..., Verdict]:
    """The verdict on a client's model."""

    def run(client: Client, model: str = "some-vlm", **wishes: Any) -> Verdict:
        asked = {"endpoint": "host", "model": model, "configured": None, "known": None, "mode": "auto", **wishes}
        session = ProbeSession(client, Sampling(model, 0.0, 2048, 60.0), POLICY, ImageSettings())
        return and_close(client, lambda: calibrate_model(session, **asked))

    return run


@pytest.fixture
def client_of() -> Callable[[DemoServer], OpenAIClient]:
    """A client of a demo server."""
    return lambda server: OpenAIClient(None, server.url + "/v1")


@pytest.fixture
def asked_for() -> Callable[[Request], tuple[tuple[int, int], list[str]]]:
    """What a request shows and asks for: the picture's width and height, and the colours in their order."""

    def read(request: Request) -> tuple[tuple[int, int], list[str]]:
        with Image.open(io.BytesIO(request.picture.data)) as picture:
            size = picture.size
        return size, re.findall(r"the (red|yellow|green|blue) rectangle", request.question)

    return read
