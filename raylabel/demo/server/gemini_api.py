"""The Gemini ``generateContent`` protocol (v1beta REST), as far as a vision model needs it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from raylabel.demo.server.model import Answer, Ask, BadRequest
from raylabel.demo.server.structured import SCHEMA_MODES, outside_openapi

Json = dict[str, Any]

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def read_request(body: Json, dialect: str, schemas: str = SCHEMA_MODES[0]) -> Ask:
    """What a body of ``POST /v1beta/models/{model}:generateContent`` asks; camelCase and snake_case are both legal.

    Args:
        schemas: one of ``SCHEMA_MODES``.

    Raises:
        BadRequest: not a legal body.
    """
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise BadRequest("contents is not specified")
    before: list[str] = []
    after: list[str] = []
    pictures: list[bytes] = []
    system = _get(body, "systemInstruction")
    for content in [*([system] if system else []), *contents]:
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise BadRequest("contents.parts must be a list of objects")
        for part in parts:
            blob = _get(part, "inlineData")
            if blob is not None:
                pictures.append(_decode(blob))
            elif "text" in part:
                (after if pictures else before).append(str(part["text"]))
            else:
                raise BadRequest("contents.parts must have one initialized field of text, inlineData")
    config = _get(body, "generationConfig") or {}
    schema, is_json = _held_form(config, schemas)
    limit = _get(config, "maxOutputTokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise BadRequest(f"maxOutputTokens must be an integer, found {limit!r}")
    return Ask(
        before="\n".join(before),
        pictures=pictures,
        after="\n".join(after),
        dialect=dialect,
        schema=schema,
        bare_json=is_json,
        max_tokens=limit,
        empties_boxes=schemas == "empties",
    )


def write_reply(answer: Answer, model: str) -> Json:
    """The body of a completed answer."""
    usage: Json = {
        "promptTokenCount": answer.prompt_tokens,
        "candidatesTokenCount": answer.output_tokens,
        "totalTokenCount": answer.prompt_tokens + answer.output_tokens,
    }
    if answer.cached_tokens:
        usage["cachedContentTokenCount"] = answer.cached_tokens
    return {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": answer.text}]},
                "finishReason": "MAX_TOKENS" if answer.cut else "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": usage,
        "modelVersion": model,
        "responseId": hashlib.sha256(answer.question_digest.encode()).hexdigest()[:22],
    }


def write_model(model: str) -> Json:
    """The body of ``GET /v1beta/models/{model}``."""
    return {
        "name": f"models/{model}",
        "version": "1",
        "displayName": "raylabel demo model",
        "inputTokenLimit": 1_000_000,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent"],
    }


def write_error(status: int, message: str) -> Json:
    """The body of an error, in Google's shape; a rejected key is a 400 with reason ``API_KEY_INVALID``."""
    error: Json = {"code": status, "message": message, "status": STATUS_NAMES.get(status, "UNKNOWN")}
    if message.startswith("API key not valid"):
        error["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        ]
    return {"error": error}


def _held_form(config: Json, schemas: str) -> tuple[Json | None, bool]:
    """The schema the answer is held to, and whether it is held to JSON at all."""
    json_schema, openapi_schema = _get(config, "responseJsonSchema"), _get(config, "responseSchema")
    schema = json_schema or openapi_schema
    is_json = _get(config, "responseMimeType") == "application/json"
    if schema is not None and not (is_json and isinstance(schema, dict)):
        raise BadRequest("a response schema must be an object and needs responseMimeType application/json")
    if schemas == "reject" and (is_json or schema is not None):
        raise BadRequest("JSON mode is not enabled for this model")
    if schemas == "response_schema":
        if json_schema is not None:
            raise BadRequest("Unknown name \"responseJsonSchema\" at 'generation_config': Cannot find field.")
        if (outside := outside_openapi(openapi_schema)) is not None:
            raise BadRequest(outside)
    return (None, False) if schemas == "ignore" else (schema, is_json)


def _get(body: Json, camel: str) -> Any:
    """A field by its camelCase or its snake_case name: Google's JSON mapping takes both."""
    snake = "".join("_" + c.lower() if c.isupper() else c for c in camel)
    return body.get(camel, body.get(snake))


def _decode(blob: Any) -> bytes:
    data = blob.get("data") if isinstance(blob, dict) else None
    if not isinstance(data, str):
        raise BadRequest("inlineData.data is not specified")
    try:
        # google-genai sends the URL-safe alphabet, other clients the standard one.
        return base64.b64decode(data.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise BadRequest("Base64 decoding failed") from error
