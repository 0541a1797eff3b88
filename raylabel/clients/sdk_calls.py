"""What OpenAI's and Anthropic's SDKs, which are made by one generator, make of a server's answer."""

from __future__ import annotations

from collections.abc import Awaitable
from types import ModuleType

import httpx2

from raylabel.clients.verdicts import Endpoint


async def answer_of(
    call: Awaitable[httpx2.Response], sdk: ModuleType, endpoint: Endpoint, timeout_s: float
) -> httpx2.Response:
    """The server's answer, whatever its status, to a call by the SDK or past it.

    Raises:
        ClientError: there is none.
    """
    try:
        return await call
    except sdk.APIStatusError as error:
        response: httpx2.Response = error.response
        return response
    except (sdk.APITimeoutError, httpx2.TimeoutException) as error:
        raise endpoint.timed_out(timeout_s) from error
    except Exception as error:  # whatever it is, the SDKs call it a connection error
        raise endpoint.connection_lost(error) from error
