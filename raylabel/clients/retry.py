"""The one retry loop: who waits how long before the same request is sent again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from raylabel.clients.base import Client, Reply, Request
from raylabel.clients.waiting import describe_return
from raylabel.errors import ClientError, Verdict

REPEATED = frozenset({Verdict.RETRY, Verdict.SLOW_DOWN})
LONGEST_TRYING = 2.5
"""Time-outs: tries that took so long together are followed by no other, so a server that lets a question hang gets
three of them."""
STOP_POLL_S = 0.25
"""While waiting, ``stopping`` is looked at this often."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again.

    Args:
        attempts: tries of one request, the first included; at least 1.
        backoff_s: upper bound of the wait before the second try; doubled for each further one.
        max_backoff_s: upper bound of any such wait. A ``Retry-After`` of the server may be longer and is honoured.
        longest_wait_s: a server that wants to be left alone for longer is out of quota, and nobody waits for it.
    """

    attempts: int = 6
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    longest_wait_s: float = 600.0

    def check_wait(self, error: ClientError) -> None:
        """Let a wait pass that is short enough.

        Raises:
            ClientError: QUOTA, with when to come back.
        """
        if error.retry_after_s is not None and error.retry_after_s > self.longest_wait_s:
            raise ClientError(
                Verdict.QUOTA,
                f"{error.message}; the server takes no more requests for now: come back "
                f"{describe_return(error.retry_after_s)} with the same command (longer than limits.longest_wait, "
                f"{self.longest_wait_s:g} s)",
                retry_after_s=error.retry_after_s,
                status=error.status,
            ) from error

    def wait_s(self, failures: int, retry_after_s: float | None, jitter: float) -> float:
        """Seconds to wait after ``failures`` failed tries.

        What the server asked for is a lower bound; the jitter comes on top, so that requests that were turned away
        together do not come back together.

        Args:
            jitter: evenly drawn from 0 to 1 ("full jitter").

        >>> RetryPolicy(6, 1.0, 60.0).wait_s(3, None, jitter=0.5), RetryPolicy(6, 1.0, 60.0).wait_s(1, 90.0, jitter=0.5)
        (2.0, 90.5)
        """
        # Doubling more than 60 times overflows long after max_backoff_s has taken over.
        bound_s = min(self.max_backoff_s, self.backoff_s * 2.0 ** min(failures - 1, 60))
        return (retry_after_s or 0.0) + bound_s * jitter


async def ask_with_retries(
    client: Client,
    request: Request,
    policy: RetryPolicy,
    *,
    tried: int = 0,
    stopping: Callable[[], bool],
    judge: Callable[[ClientError], Awaitable[None]] | None = None,
    on_retry: Callable[[ClientError, float], None] | None = None,
    on_error: Callable[[ClientError], None] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> tuple[Reply, int]:
    """Ask until there is a reply, for as many tries as the policy gives.

    Args:
        tried: tries that were made before.
        judge: awaited with each error that another try might follow; what it raises ends the trying.
        stopping: once true, no further try is made and waiting ends within ``STOP_POLL_S``.
        on_retry: called with each error that another try is to follow, and the seconds until then.
        on_error: called with each error, whatever follows.
        sleep, jitter: replaced in tests.

    Returns:
        The reply and the number of tries it took.

    Raises:
        ClientError: the last one, with its ``tries``: its verdict allows no other, they are used up, or the run is
            stopping; QUOTA where the server asks for a longer wait than is borne.
    """
    tries, asking_s = tried, 0.0
    while True:
        tries += 1
        began = time.monotonic()
        try:
            return await client.ask(request), tries
        except ClientError as error:
            error.tries = tries
            if on_error is not None:
                on_error(error)
            if error.verdict is Verdict.SLOW_DOWN:
                logger.info("the endpoint turns a request away: %s", error)
            asking_s += time.monotonic() - began
            used_up = tries >= policy.attempts or asking_s >= LONGEST_TRYING * request.sampling.timeout_s
            if error.verdict in REPEATED:
                policy.check_wait(error)
                if judge is not None and not stopping():
                    await judge(error)
            if error.verdict not in REPEATED or used_up or stopping():
                logger.info("a request failed, try %s of %s was its last: %s", tries, policy.attempts, error)
                raise
            left_s = policy.wait_s(tries, error.retry_after_s, jitter())
            logger.info("try %s of %s failed, next in %.1f s: %s", tries, policy.attempts, left_s, error)
            if on_retry is not None:
                on_retry(error, left_s)
            while left_s > 0:
                await sleep(min(left_s, STOP_POLL_S))
                left_s -= STOP_POLL_S
                if stopping():
                    raise
