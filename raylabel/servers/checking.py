"""Whether a server answers, as which model, and whether it can see."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from raylabel.clients.base import Finish, Picture, Request, Sampling
from raylabel.clients.openai_compat import OpenAIClient
from raylabel.errors import ClientError, StartError, Verdict, printable
from raylabel.probing.probes import COLORS, drawn, png
from raylabel.records import Size
from raylabel.timeouts import within

_ANSWER_LIMIT_BYTES = 20_000_000
_API = "/v1"
_GET_S = 10.0
_PICTURE_S = 120.0
"""The first picture may have kernels compiled for it."""
_MAX_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Args:
        key: that it asks for, or nothing.
    """

    host: str
    port: int
    key: str = ""

    @property
    def url(self) -> str:
        """The base URL of its OpenAI API."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{_API}"

    @classmethod
    def of(cls, url: str, key: str = "") -> Address:
        """The address of a base URL.

        >>> Address.of("http://127.0.0.1:8000/v1")
        Address(host='127.0.0.1', port=8000, key='')
        """
        parts = urlsplit(url)
        return cls(parts.hostname or "", parts.port or 80, key)


class NotYet(Exception):
    """The server does not answer this, so far."""


async def get(address: Address, path: str, timeout_s: float = _GET_S) -> tuple[int, bytes]:
    """Status and body of a GET request, straight to the address: no proxy, no redirect.

    Raises:
        NotYet: nobody listens, or no whole answer came in time.
    """
    try:
        return await within(timeout_s, _get(address, path))
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, asyncio.TimeoutError) as error:
        raise NotYet(f"GET {path}: {type(error).__name__}") from error


async def _get(address: Address, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        key = f"Authorization: Bearer {address.key}\r\n" if address.key else ""
        # HTTP/1.0: the answer ends with the connection, and is not cut into chunks.
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {address.host}:{address.port}\r\n{key}\r\n".encode("latin-1"))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await (reader.readexactly(int(length[1])) if length else reader.read(_ANSWER_LIMIT_BYTES))
        return status, body
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@dataclass(frozen=True, slots=True)
class Health:
    """What a server says of itself.

    Args:
        well: it says that it is; None: it says nothing of the kind.
        status: its word, as HTTP has it.
    """

    well: bool | None
    status: int


async def health_of(address: Address, path: str, timeout_s: float = _GET_S) -> Health:
    """Whether a server says that it is well.

    Raises:
        NotYet: it does not answer.
    """
    status, _ = await get(address, path, timeout_s)
    if status in (404, 405, 501):  # it has no such page
        return Health(None, status)
    return Health(status < 400, status)


async def models_of(address: Address) -> tuple[str, ...]:
    """The names of the models that a server lists.

    Raises:
        NotYet: it gives no list that can be read.
    """
    status, body = await get(address, f"{_API}/models")
    with suppress(ValueError, TypeError, KeyError):
        if status == 200:
            return tuple(str(entry["id"]) for entry in json.loads(body)["data"])
    raise NotYet(f"GET {_API}/models: HTTP {status}, and no list of models")


def check_model(name: str, served: tuple[str, ...]) -> None:
    """See that a server serves what it was asked to.

    Raises:
        StartError: it is another model.
    """
    if name not in served:
        listed = ", ".join(f'"{printable(other)}"' for other in served) or "none"
        raise StartError(f'serves {listed}, not "{name}"')


async def check_picture(address: Address, model: str, timeout_s: float) -> None:
    """See that a server answers a question about a drawn picture; what it says does not matter.

    Raises:
        StartError: it never will.
        NotYet: it did not.
    """
    size = Size(280, 168)
    (red, blue) = COLORS["red"], COLORS["blue"]
    picture = Picture.of(png(drawn(size, [(red, (28, 28, 112, 112)), (blue, (140, 56, 252, 140))])), "image/png")
    sampling = Sampling(model, 0.0, _MAX_TOKENS, min(timeout_s, _PICTURE_S))
    client = OpenAIClient(address.key or None, address.url)
    try:
        reply = await client.ask(Request("", picture, "Which colors do the two rectangles have?", sampling))
    except ClientError as error:
        if error.verdict in (Verdict.RETRY, Verdict.SLOW_DOWN):
            raise NotYet(error.message) from error
        raise StartError(f"turns a picture away: {error.message}") from error
    finally:
        await client.close()
    if not reply.text and reply.finish is not Finish.LENGTH:
        raise StartError("answers a question about a picture with nothing")
