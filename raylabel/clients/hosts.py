"""Which host a base URL speaks to: keys go by host."""

from __future__ import annotations

from urllib.parse import urlsplit

OPENAI_URL = "https://api.openai.com/v1"
GEMINI_URL = "https://generativelanguage.googleapis.com"


def shown_host(base_url: str) -> str:
    """Host and port of a URL, without a user or password written in it.

    >>> shown_host("http://me:secret@localhost:8000/v1")
    'localhost:8000'
    """
    return urlsplit(base_url).netloc.rpartition("@")[2]


def is_openai_host(base_url: str) -> bool:
    """Whether a base URL (empty: the default) is OpenAI's own, regional ones included.

    >>> is_openai_host(""), is_openai_host("https://eu.api.openai.com/v1"), is_openai_host("http://localhost:8000/v1")
    (True, True, False)
    >>> is_openai_host("https://api.openai.com@evil.example/v1")
    False
    """
    host = urlsplit(base_url or OPENAI_URL).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")
