"""How an OpenAI server answers, for the tests of the client."""

from __future__ import annotations

from typing import Any

SCHEMA = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
KEY = "sk-very-secret-0123"


def completion(**message: Any) -> dict[str, Any]:
    """A whole answer with these fields of its message; ``finish_reason`` goes where it belongs."""
    finish = message.pop("finish_reason", "stop")
    return {
        "id": "c1",
        "object": "chat.completion",
        "model": "tiny-vlm-2026",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}],
        "usage": {
            "prompt_tokens": 99,
            "completion_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
    }
