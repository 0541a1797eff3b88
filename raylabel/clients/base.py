"""What every VLM client takes and gives; nothing here knows a vendor."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol

from raylabel.records import JsonObject


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file as requests carry it: base64, made once however many requests show it, or the address of a file.

    Args:
        encoded: base64 by the standard alphabet, with padding; empty where the server reads it from a file. The file
            itself is not kept beside it: hundreds of pictures are in flight at a time.
        url: ``file://`` address at which the server reads it; empty: it is in the request. Only clients of the OpenAI
            protocol are given such pictures.
        file: what keeps the file there; it is for whoever made it.
    """

    encoded: bytes
    media_type: str
    url: str = ""
    file: object = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Picture:
        """The picture of an image file's bytes."""
        return cls(base64.b64encode(data), media_type)

    @property
    def data(self) -> bytes:
        """The image file's bytes, decoded anew each time."""
        return base64.b64decode(self.encoded)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample an answer; part of what the question *is* except where noted.

    Args:
        model: as configured.
        temperature: None sends none.
        max_tokens: limit of the answer, thoughts included where the vendor counts them; not part of the question.
        timeout_s: for one request; not part of the question.
        thinking_budget: tokens the model may think; None leaves the vendor's default.
        media_resolution: Gemini's image detail (``MEDIA_RESOLUTION_LOW|MEDIUM|HIGH``); None elsewhere.
        extra_body: further fields for the request body, verbatim.
    """

    model: str
    temperature: float | None
    max_tokens: int
    timeout_s: float
    thinking_budget: int | None = None
    media_resolution: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def warmer(self, by: float, up_to: float) -> Sampling:
        """The same with a higher temperature, where one is sent and it is below the limit.

        >>> Sampling("m", 0.75, 10, 1.0).warmer(0.5, up_to=1.0).temperature
        1.0
        """
        if self.temperature is None or self.temperature >= up_to:
            return self
        return replace(self, temperature=min(up_to, self.temperature + by))


class SchemaForm(str, Enum):
    """How an endpoint is told the schema of a reply."""

    NATIVE = "native"
    """OpenAI's ``response_format`` of type ``json_schema``; Gemini's ``responseJsonSchema``; Anthropic's
    ``output_config.format``."""
    STRUCTURED_OUTPUTS = "structured_outputs"
    """vLLM's own body field, for servers that turn ``response_format`` away."""
    RESPONSE_SCHEMA = "response_schema"
    """Gemini's older ``responseSchema``, an OpenAPI subset."""
    NONE = "none"
    """No schema has any effect."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question as it is sent: preamble, then the picture, then the question (prefix caches keep the first two).

    Args:
        preamble: may be empty.
        schema: JSON schema of the reply to be enforced by the server, or None to ask plainly.
        schema_form: how the server is told. A client that does not speak the form sends no schema.
    """

    preamble: str
    picture: Picture
    question: str
    sampling: Sampling
    schema: JsonObject | None = None
    schema_form: SchemaForm = SchemaForm.NATIVE


class Finish(str, Enum):
    """Why the answer ended, by the table of ``raylabel.clients.finish``."""

    STOP = "stop"
    LENGTH = "length"
    """Cut by the token limit: what is there may be salvaged, never taken as complete."""
    REFUSED = "refused"
    """A safety filter, a block reason or an explicit refusal field."""
    BROKEN = "broken"
    """The server broke off; clients raise a ``ClientError`` for it."""
    OTHER = "other"
    """No word, or one that vouches for nothing: whether the answer is whole is not known."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request; None where the server does not say. ``input`` includes ``cached``, ``output`` does not
    include ``thought``."""

    input: int | None = None
    cached: int | None = None
    thought: int | None = None
    output: int | None = None


TOKEN_KINDS = ("input", "cached", "thought", "output")
"""The fields of ``Usage``."""


class Unit(str, Enum):
    """What a server counts against a limit."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT = "input tokens"
    OUTPUT = "output tokens"
    """Thoughts included."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a limit, as a server's headers say it.

    Args:
        reset_s: until it has all of it again.
    """

    remaining: float
    reset_s: float
    unit: Unit = Unit.REQUESTS


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Args:
        text: the answer without separately reported thoughts; empty when the server sent none.
        finish: see ``Finish``. An empty text with ``STOP`` is an empty reply, not a refusal.
        finish_detail: the vendor's own word for ``finish``, and what else is to be said of the end.
        model: as the server states it.
        latency_s: of this request alone, retries not included.
        with_schema: a reply schema was sent; whether it was obeyed is another matter (see ``raylabel.probing.schema``).
        quotas: what its headers say is left, at most one a unit.
    """

    text: str
    finish: Finish
    usage: Usage
    model: str
    latency_s: float
    finish_detail: str = ""
    with_schema: bool = False
    quotas: tuple[Quota, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server says of a model that it was asked for by a name.

    Args:
        name: by which it lists the model; empty where it says nothing.
        weights: where they come from (vLLM: their path or hub name); empty where it does not say.
    """

    name: str = ""
    weights: str = ""


class Client(Protocol):
    """One endpoint. Used from one asyncio event loop; safe for many requests at a time."""

    async def ask(self, request: Request) -> Reply:
        """Send one request once (no retries here).

        Raises:
            ClientError: with the verdict on what to do.
        """

    async def check(self) -> None:
        """See whether the endpoint can be used at all, without asking a paid question.

        Raises:
            ClientError: STOP_RUN for a rejected key; RETRY where nobody listens. An endpoint that does not
                implement the check passes.
        """

    async def served_names(self, model: str) -> tuple[str, ...]:
        """The names by which the server itself knows a model, best first, without asking a paid question.

        An alias says nothing of the weights behind it; the server often does (vLLM: their path or hub name).

        Args:
            model: as configured.

        Returns:
            At least one name; the configured one alone where the server says nothing.

        Raises:
            ClientError: as ``check``.
        """

    async def served_model(self, model: str) -> ServedModel:
        """What the server serves under a name, as far as it says so, without asking a paid question.

        Args:
            model: as configured.

        Raises:
            ClientError: as ``check``.
        """

    async def close(self) -> None:
        """Give back connections."""
