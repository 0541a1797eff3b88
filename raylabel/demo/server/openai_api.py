"""The OpenAI chat-completions protocol, as far as a vision model needs it: JSON bodies in, JSON bodies out."""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from raylabel.demo.server.model import Answer, Ask, BadRequest, UnreadFile
from raylabel.demo.server.structured import SCHEMA_MODES

Json = dict[str, Any]


def read_request(body: Json, dialect: str, schemas: str = SCHEMA_MODES[0], folder: Path | None = None) -> Ask:
    """What a body of ``POST /v1/chat/completions`` asks.

    Args:
        schemas: one of ``SCHEMA_MODES``.
        folder: in which files of pictures are read, by ``file://`` addresses; None: nowhere.

    Raises:
        BadRequest: not a legal body, or one that asks for something this server does not do.
    """
    if body.get("stream"):
        raise BadRequest("streaming is not supported")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a non-empty list")
    before: list[str] = []
    after: list[str] = []
    pictures: list[bytes] = []
    for part in (part for message in messages for part in _parts(message)):
        kind = part.get("type")
        if kind == "text":
            (after if pictures else before).append(str(part.get("text", "")))
        elif kind == "image_url":
            pictures.append(_picture_at(part.get("image_url"), folder))
        else:
            raise BadRequest(f"unknown content part type {kind!r}")
    schema, bare_json = _held_form(body, schemas)
    return Ask(
        before="\n".join(before),
        pictures=pictures,
        after="\n".join(after),
        dialect=dialect,
        schema=schema,
        bare_json=bare_json,
        max_tokens=_limit(body),
        empties_boxes=schemas == "empties",
    )


def write_reply(answer: Answer, model: str, created_s: int) -> Json:
    """The body of a completed answer."""
    return {
        "id": "chatcmpl-" + hashlib.sha256(answer.question_digest.encode()).hexdigest()[:24],
        "object": "chat.completion",
        "created": created_s,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": None,
                "finish_reason": "length" if answer.cut else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.output_tokens,
            "total_tokens": answer.prompt_tokens + answer.output_tokens,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        },
    }


def write_models(model: str, root: str = "") -> Json:
    """The body of ``GET /v1/models``."""
    return {"object": "list", "data": [write_model(model, root)]}


def write_model(model: str, root: str = "") -> Json:
    """The body of ``GET /v1/models/{model}``; ``root`` is where vLLM says the weights came from."""
    entry = {"id": model, "object": "model", "created": 0, "owned_by": "raylabel-demo"}
    return {**entry, "root": root, "parent": None} if root else entry


def write_error(status: int, message: str) -> Json:
    """The body of an error."""
    kinds = {
        401: ("invalid_request_error", "invalid_api_key"),
        404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
    }
    kind, code = kinds.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _parts(message: Any) -> list[Json]:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return content
    raise BadRequest("a message's 'content' must be text or a list of parts")


def _picture_at(value: Any, folder: Path | None) -> bytes:
    url = value.get("url") if isinstance(value, dict) else value
    if isinstance(url, str) and url.startswith("file:"):
        return _file_at(url, folder)
    return _data_url(url)


def _file_at(url: str, folder: Path | None) -> bytes:
    """The bytes of a file, with the rules and the words of vLLM 0.32 (``MediaConnector._load_file_url``)."""
    if folder is None:
        raise UnreadFile("Cannot load local files without `--allowed-local-media-path`.")
    parts = urlsplit(url)
    path = Path(unquote(parts.netloc + parts.path))
    if folder.resolve() not in path.resolve().parents:
        raise BadRequest(f"The file path {path} must be a subpath of `--allowed-local-media-path {folder}`.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadFile(str(error)) from error


def _data_url(url: Any) -> bytes:
    if not isinstance(url, str) or not url.startswith("data:") or ";base64," not in url:
        raise BadRequest("'image_url' must hold a base64 data URL")
    try:
        return base64.b64decode(url.split(";base64,", 1)[1], validate=True)
    except binascii.Error as error:
        raise BadRequest("the data URL is not valid base64") from error


def _held_form(body: Json, schemas: str) -> tuple[Json | None, bool]:
    """The schema the answer is held to, and whether it is held to JSON at all."""
    wanted = body.get("structured_outputs")
    schema, bare_json = _response_format(body.get("response_format"))
    if schemas == "reject" and (bare_json or wanted is not None):
        raise BadRequest("structured output is not supported by this server")
    if schemas == "ignore":
        return None, False
    if schemas != "structured_outputs":
        return schema, bare_json
    if schema is not None:
        raise BadRequest("response_format of type 'json_schema' is not supported")
    if wanted is None:
        return None, bare_json
    inner = wanted.get("json") if isinstance(wanted, dict) else None
    if not isinstance(inner, dict):
        raise BadRequest("'structured_outputs.json' must be an object")
    return inner, True


def _response_format(value: Any) -> tuple[Json | None, bool]:
    if value is None:
        return None, False
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "json_schema":
        schema = (value.get("json_schema") or {}).get("schema")
        if not isinstance(schema, dict):
            raise BadRequest("'response_format.json_schema.schema' must be an object")
        return schema, True
    if kind in ("json_object", "text"):
        return None, kind == "json_object"
    raise BadRequest(f"unknown response_format type {kind!r}")


def _limit(body: Json) -> int | None:
    value = body.get("max_completion_tokens", body.get("max_tokens"))
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise BadRequest(f"'max_tokens' must be an integer, found {value!r}")
    return value
