"""Middleware of vLLM's API server, which gives each question vLLM's cost and the demo server's words.

A model with random weights settles hardly any record, so that the steps behind the first would not be reached. vLLM
does all its work here, and its status, its usage and its errors are told unchanged; only the choices of a good reply
come from the demo server at ``RAYLABEL_DEMO_URL``, which is asked the same question.

    python -m vllm.entrypoints.openai.api_server --middleware demo_answers.DemoAnswers ...

Runs in vLLM's environment, so that it needs the standard library only.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PATH = "/v1/chat/completions"
_TIMEOUT_S = 60.0


class DemoAnswers:
    """An ASGI application around vLLM's; see the module."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._url = os.environ["RAYLABEL_DEMO_URL"] + _PATH

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._app(scope, receive, send)
            return
        question = await _body_of(receive)
        is_read = False

        async def receive_again() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()  # that the client hung up
            is_read = True
            return {"type": "http.request", "body": question, "more_body": False}

        start: Message = {}
        parts: list[bytes] = []

        async def keep(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                reply = b"".join(parts)
                if start["status"] == 200:
                    reply = await asyncio.to_thread(self._in_words_of_the_demo, question, reply)
                headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                await send({**start, "headers": [*headers, (b"content-length", str(len(reply)).encode())]})
                await send({"type": "http.response.body", "body": reply, "more_body": False})

        await self._app(scope, receive_again, keep)

    def _in_words_of_the_demo(self, question: bytes, reply: bytes) -> bytes:
        request = urllib.request.Request(self._url, question, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            said = json.load(answer)
        return json.dumps({**json.loads(reply), "choices": said["choices"]}).encode()


async def _body_of(receive: Receive) -> bytes:
    parts: list[bytes] = []
    is_more = True
    while is_more:
        message = await receive()
        parts.append(message.get("body", b""))
        is_more = message.get("more_body", False)
    return b"".join(parts)
