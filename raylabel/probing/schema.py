"""Which form of reply schema an endpoint obeys: asked once, with a question whose plain answer looks nothing like it.

What an endpoint says it supports is no evidence: ``transformers serve`` takes ``response_format`` and ignores it, old
servers of vLLM ignore ``structured_outputs``, and gateways drop fields on the way.
"""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Sequence
from typing import Any

from PIL import Image

from raylabel.answers.json_text import read_json
from raylabel.clients.base import Client, Picture, Request, Sampling, SchemaForm
from raylabel.clients.retry import RetryPolicy, ask_with_retries
from raylabel.errors import AnswerError, ClientError, Verdict
from raylabel.records import JsonObject

PROBE_SIZE_WH = (56, 84)
"""Pixels; the least that Qwen's servers take is 56 on the short side, after rounding to multiples of 28."""

PROBE_QUESTION = (
    "What colour is this picture, and which three numbers come next: 2, 4, 6? Answer in one short sentence."
)

_KIND = "schema_probe"
PROBE_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        # Nobody who has not seen the schema can say this word.
        "kind": {"type": "string", "enum": [_KIND]},
        "colour": {"type": "string"},
        "numbers": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["kind", "colour", "numbers"],
    "additionalProperties": False,
}

logger = logging.getLogger(__name__)


async def probe_schema_form(
    client: Client, sampling: Sampling, forms: Sequence[SchemaForm], policy: RetryPolicy
) -> SchemaForm:
    """The first form that the endpoint obeys, one question each; ``NONE`` if none is.

    Args:
        sampling: as the run's own questions are sampled: schemas and thinking, say, may not go together.

    Raises:
        ClientError: STOP_RUN, or RETRY or SLOW_DOWN after all tries: trouble that is not about schemas.
    """
    picture = probe_picture()
    for form in forms:
        if form is SchemaForm.NONE:
            break
        request = Request("", picture, PROBE_QUESTION, sampling, PROBE_SCHEMA, form)
        try:
            reply, _ = await ask_with_retries(client, request, policy, stopping=lambda: False)
        except ClientError as error:
            if error.verdict is not Verdict.FAIL_RECORD:
                raise
            logger.debug("schema form %s is turned away: %s", form.value, error)
            continue
        if obeys(reply.text):
            return form
        logger.debug("schema form %s is not obeyed: %.200r", form.value, reply.text)
    return SchemaForm.NONE


def obeys(text: str) -> bool:
    """Whether a reply to the probe has the shape that ``PROBE_SCHEMA`` enforces; thoughts before it are no matter.

    >>> obeys('{"kind": "schema_probe", "colour": "green", "numbers": [8, 10, 12]}')
    True
    >>> obeys("The picture is green; 8, 10 and 12 come next."), obeys('{"colour": "green", "numbers": [8, 10, 12]}')
    (False, False)
    """
    try:
        value = read_json(text)
    except AnswerError:
        return False
    if not isinstance(value, dict) or set(value) != set(PROBE_SCHEMA["required"]):
        return False
    numbers = value["numbers"]
    return (
        value["kind"] == _KIND
        and isinstance(value["colour"], str)
        and isinstance(numbers, list)
        and all(_is_whole(number) for number in numbers)
    )


@functools.cache
def probe_picture() -> Picture:
    """A small picture that every server takes."""
    data = io.BytesIO()
    Image.new("RGB", PROBE_SIZE_WH, (0, 128, 0)).save(data, "PNG")
    return Picture.of(data.getvalue(), "image/png")


def _is_whole(value: Any) -> bool:
    """JSON Schema's integer: 8.0 is one."""
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
