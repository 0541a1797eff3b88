"""URLs as messages may show them: without user, password and key-like parameters."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

MASK = "***"
SECRET_NAME = re.compile(
    r"key|secret|password|passwd|credential|authorization|cookie|bearer|signature|token(?!s)", re.I
)
_SECRET_PARAMETER = re.compile(SECRET_NAME.pattern + r"|^sig$|^auth$", re.I)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'<>]+")
_SLASHED_USER = re.compile(r"([^:/]+://)[^/@:?#]+:(?!\d+/)[^@/?#]*[/?#][^@]*@")
"""A user whose password holds a slash, as AWS's do: a mistake, but no less a secret."""


def mask_urls(text: str) -> str:
    """The text with the user info and the key-like query parameters of every URL in it masked.

    >>> mask_urls("http://me:pw@host:8000/v1?key=abc&n=1")
    'http://***@host:8000/v1?key=***&n=1'
    >>> mask_urls("s3://AKIA:ab/c+d@bucket/a.jpg"), mask_urls("http://host:8000/a@b")
    ('s3://***@bucket/a.jpg', 'http://host:8000/a@b')
    """
    return _URL.sub(lambda match: _mask_url(match.group()), text) if "://" in text else text


def mask_unfinished_url(text: str) -> str:
    """The same for what should be a URL, but may lack its scheme.

    >>> mask_unfinished_url("me:pw@host/v1"), mask_unfinished_url("localhost:8000")
    ('***@host/v1', 'localhost:8000')
    """
    if "://" in text:
        return mask_urls(text)
    user, at, rest = text.rpartition("@")
    return f"{MASK if user else ''}{at}" + mask_urls(f"x://{rest}").removeprefix("x://")


def _mask_url(url: str) -> str:
    if (slashed := _SLASHED_USER.match(url)) is not None:
        url = f"{slashed[1]}{MASK}@{url[slashed.end() :]}"
    try:
        parts = urlsplit(url)
    except ValueError:  # an unfinished IPv6 address, for example
        return url.split("://", 1)[0] + "://" + MASK
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{MASK}@{host}" if "@" in parts.netloc else parts.netloc
    query = [(k, MASK if _SECRET_PARAMETER.search(k) else v) for k, v in parse_qsl(parts.query, keep_blank_values=True)]
    changed = any(v == MASK for _, v in query)
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query, safe="*/:") if changed else parts.query))
