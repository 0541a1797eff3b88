"""The client of a run that asks nothing: stored replies are read again, and no request leaves the machine."""

from __future__ import annotations

from typing import NoReturn

from raylabel.clients.base import Request, ServedModel
from raylabel.errors import ClientError, Verdict


class SilentClient:
    """Refuses to send whatever it is given; see ``Client``."""

    async def ask(self, request: Request) -> NoReturn:
        raise _refusal()

    async def check(self) -> NoReturn:
        raise _refusal()

    async def served_names(self, model: str) -> tuple[str, ...]:
        return (model,)

    async def served_model(self, model: str) -> ServedModel:
        return ServedModel()

    async def close(self) -> None:
        """There is nothing to close."""


def _refusal() -> ClientError:
    return ClientError(Verdict.STOP_RUN, "nothing is asked while stored replies are read again")
