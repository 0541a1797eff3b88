"""What a server of this machine says in JSON."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def read_json(url: str, timeout_s: float = 30.0) -> Any:
    """The body of a GET request, past every proxy.

    Raises:
        OSError: nobody answers.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout_s) as reply:
        return json.load(reply)
