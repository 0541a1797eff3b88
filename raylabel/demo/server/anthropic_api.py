"""Anthropic's Messages protocol, as far as a vision model needs it: JSON bodies in, JSON bodies out."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from raylabel.demo.server.model import Answer, Ask, BadRequest
from raylabel.demo.server.structured import SCHEMA_MODES

Json = dict[str, Any]

ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def read_request(body: Json, dialect: str, schemas: str = SCHEMA_MODES[0]) -> Ask:
    """What a body of ``POST /v1/messages`` asks.

    Args:
        schemas: one of ``SCHEMA_MODES``; a mode that names a field of another protocol takes none of this one.

    Raises:
        BadRequest: not a legal body, or one that asks for something this server does not do.
    """
    if body.get("stream"):
        raise BadRequest("streaming is not supported")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: at least one message is required")
    before: list[str] = []
    after: list[str] = []
    pictures: list[bytes] = []
    for block in [*_blocks(body.get("system") or []), *(b for message in messages for b in _blocks_of(message))]:
        kind = block.get("type")
        if kind == "text":
            text = str(block.get("text", ""))
            if not text:
                raise BadRequest("messages: text content blocks must be non-empty")
            (after if pictures else before).append(text)
        elif kind == "image":
            pictures.append(_decode(block.get("source")))
        else:
            raise BadRequest(f"messages: unknown content block type {kind!r}")
    limit = body.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise BadRequest("max_tokens: field required")
    schema = _held_form(body.get("output_config"), schemas)
    return Ask(
        before="\n".join(before),
        pictures=pictures,
        after="\n".join(after),
        dialect=dialect,
        schema=schema,
        bare_json=schema is not None,
        max_tokens=limit,
        empties_boxes=schemas == "empties",
    )


def write_reply(answer: Answer, model: str) -> Json:
    """The body of a completed answer."""
    return {
        "id": "msg_" + hashlib.sha256(answer.question_digest.encode()).hexdigest()[:24],
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": "max_tokens" if answer.cut else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.prompt_tokens - answer.cached_tokens,
            "cache_read_input_tokens": answer.cached_tokens,
            "output_tokens": answer.output_tokens,
        },
    }


def write_error(status: int, message: str) -> Json:
    """The body of an error."""
    kind = ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def _blocks_of(message: Any) -> list[Json]:
    return _blocks(message.get("content") if isinstance(message, dict) else None)


def _blocks(content: Any) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list) and all(isinstance(block, dict) for block in content):
        return content
    raise BadRequest("messages: content must be text or a list of content blocks")


def _decode(source: Any) -> bytes:
    data = source.get("data") if isinstance(source, dict) and source.get("type") == "base64" else None
    if not isinstance(data, str):
        raise BadRequest("image.source: expected a base64 source")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise BadRequest("image.source.base64: invalid base64 data") from error


def _held_form(config: Any, schemas: str) -> Json | None:
    """The schema the answer is held to."""
    form = config.get("format") if isinstance(config, dict) else None
    if form is None or schemas == "ignore":
        return None
    schema = form.get("schema") if isinstance(form, dict) and form.get("type") == "json_schema" else None
    if not isinstance(schema, dict):
        raise BadRequest("output_config.format: expected a schema of type json_schema")
    if schemas not in ("json_schema", "empties"):
        raise BadRequest("output_config.format: not supported by this model")
    return schema
