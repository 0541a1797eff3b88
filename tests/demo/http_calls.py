"""Requests to the demo server over real HTTP, without a vendor's SDK, and the picture they show."""

from __future__ import annotations

import base64
import http.client
import io
import json
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

CHAT, GENERATE = "/v1/chat/completions", "/v1beta/models/any:generateContent"
GROUND_QUESTION = 'Find these:\n{"id": 1, "phrase": "blue bar"}'
SIZE_WH = (640, 420)


def drawn() -> bytes:
    """A PNG of one blue bar at 256, 210, 352, 231."""
    image = Image.new("RGB", SIZE_WH, (150, 150, 146))
    image.paste((40, 70, 220), (256, 210, 352, 231))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


PICTURE = drawn()


def call(url: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and parsed body of one request; a POST if there is a body (bytes are sent as they are)."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def inline(picture: bytes = PICTURE) -> dict[str, Any]:
    """A picture as a part of a Gemini request."""
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(picture).decode()}}


def image_url(picture: bytes = PICTURE) -> dict[str, Any]:
    """A picture as a part of an OpenAI message."""
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}}


def chat(url: str, question: str = GROUND_QUESTION, *, model: str = "any", **fields: Any) -> tuple[int, str]:
    """Status, and the text or the error's message."""
    messages = [{"role": "user", "content": [image_url(), {"type": "text", "text": question}]}]
    status, told = call(url, CHAT, {"model": model, "messages": messages, **fields})
    return status, told["choices"][0]["message"]["content"] if status == 200 else told["error"]["message"]


def generate(url: str, question: str = GROUND_QUESTION, **config: Any) -> tuple[int, str]:
    """Status, and the text or the error's message."""
    parts = [inline(), {"text": question}]
    status, told = call(url, GENERATE, {"contents": [{"parts": parts}], "generationConfig": config})
    return status, told["candidates"][0]["content"]["parts"][0]["text"] if status == 200 else told["error"]["message"]


def unfenced(text: str) -> Any:
    """What the JSON in a code fence says."""
    assert text.startswith("```json\n")
    return json.loads(text.removeprefix("```json\n").removesuffix("\n```"))
