"""One question in each protocol, sent by hand, and what comes back, whatever it is."""

from __future__ import annotations

import base64
import http.client
import io
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from tests.demo.http_calls import CHAT, GENERATE, PICTURE, call, image_url, inline

PROTOCOLS = ("openai", "gemini", "anthropic")


@dataclass(frozen=True)
class Told:
    """A whole answer; ``headers`` with lower-case names."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.data)

    def text(self, protocol: str) -> str:
        """What the model said."""
        if protocol == "openai":
            return str(self.body["choices"][0]["message"]["content"])
        if protocol == "gemini":
            return str(self.body["candidates"][0]["content"]["parts"][0]["text"])
        return str(self.body["content"][0]["text"])

    def error(self) -> dict[str, Any]:
        """The error object, which all protocols put in the same place."""
        error: dict[str, Any] = self.body["error"]
        return error


def request_of(protocol: str, question: str, picture: bytes = PICTURE) -> tuple[str, Any]:
    """Path and body of a question."""
    if protocol == "gemini":
        return GENERATE, {"contents": [{"parts": [inline(picture), {"text": question}]}]}
    if protocol == "openai":
        content: list[Any] = [image_url(picture), {"type": "text", "text": question}]
        return CHAT, {"model": "any", "messages": [{"role": "user", "content": content}]}
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(picture).decode()}
    content = [{"type": "image", "source": source}, {"type": "text", "text": question}]
    return "/v1/messages", {"model": "any", "max_tokens": 500, "messages": [{"role": "user", "content": content}]}


def ask(
    url: str, protocol: str, question: str = "What is there?", picture: bytes = PICTURE, timeout_s: float = 30
) -> Told:
    """The answer to a question.

    Raises:
        OSError: the connection was refused or reset, or nothing came in time.
        http.client.HTTPException: it ended too early.
    """
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout_s)
    try:
        path, body = request_of(protocol, question, picture)
        connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Told(response.status, headers, response.read())
    finally:
        connection.close()


def picture_of(number: int) -> bytes:
    """A picture of its own for each number from 0 to 99."""
    image = Image.new("RGB", (64 + number, 42), (150, 150, 146))
    image.paste((40, 70, 220), (20, 10, 40, 20))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def stats(url: str) -> dict[str, Any]:
    """The body of ``GET /stats``."""
    status, body = call(url, "/stats")
    assert status == 200
    told: dict[str, Any] = body
    return told
