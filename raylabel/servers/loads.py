"""What a server of our own has to do, asked of it from anywhere."""

from __future__ import annotations

from raylabel.servers.checking import Address, NotYet, get
from raylabel.servers.engines import ENGINES
from raylabel.servers.metrics import Load

_ANSWER_S = 5.0


async def load_of(url: str, key: str, engine: str) -> Load | None:
    """The load of a server; None where it does not answer, or tells nothing of it.

    Args:
        url: the base URL of its OpenAI API.
        key: that it asks for, or nothing.
        engine: its kind, a name of ``ENGINES``.
    """
    kind = ENGINES[engine]
    try:
        status, text = await get(Address.of(url, key), kind.metrics_path, _ANSWER_S)
    except NotYet:
        return None
    return kind.metrics.read(text.decode("utf-8", "replace")) if status == 200 else None
