"""What tokens cost: the user's own prices first, then those of the list that comes with ``genai-prices``.

A price belongs to a model at a provider, and the address says who that is: the same name served by somebody else, or on
one's own machine, has no price there. What is not known is no price, and never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from raylabel.clients.hosts import is_loopback

_SAMPLE_TOKENS = 1000
"""Prices are read off so many tokens: below any tier of long contexts, as questions about one picture are."""


@dataclass(frozen=True, slots=True)
class Price:
    """Of a model's tokens, in US dollars per million.

    Args:
        input: tokens of questions that no cache held.
        cached: tokens of questions that the provider's cache held.
        output: tokens of answers and of thoughts.
    """

    input: float
    cached: float
    output: float

    def nano_usd(self, tokens: Mapping[str, int]) -> int:
        """What tokens cost, in billionths of a US dollar: whole numbers add up exactly, in any order.

        Args:
            tokens: counts by kind, as ``raylabel.clients.base.Usage`` names them.

        >>> Price(2.0, 0.5, 8.0).nano_usd({"input": 1000, "cached": 400, "thought": 50, "output": 100})
        2600000
        """
        cached = tokens.get("cached", 0)
        asked = (tokens.get("input", 0) - cached) * self.input + cached * self.cached
        per_million = asked + (tokens.get("output", 0) + tokens.get("thought", 0)) * self.output
        return round(1000 * per_million)


def listed_price(model: str, base_url: str) -> Price | None:
    """The price of a model at an address by the packaged list; None where the list does not have both.

    Args:
        base_url: who is asked; a list's prices are not those of this machine.
    """
    parts = urlsplit(base_url)
    if not parts.hostname or is_loopback(parts.hostname):
        return None
    from genai_prices import Usage, calc_price  # 0.1 s of CPU; it reads no network unless it is told to

    def price(usage: Usage, of: str) -> float:
        found = calc_price(usage, model, provider_api_url=f"{parts.scheme}://{parts.hostname}{parts.path}")
        if getattr(found.model_price, of) is None:
            raise LookupError(of)
        return float(found.total_price) * 1e6 / _SAMPLE_TOKENS

    try:
        asked = price(Usage(input_tokens=_SAMPLE_TOKENS), "input_mtok")
        answered = price(Usage(output_tokens=_SAMPLE_TOKENS), "output_mtok")
    except LookupError:
        return None
    try:
        cached = price(Usage(input_tokens=_SAMPLE_TOKENS, cache_read_tokens=_SAMPLE_TOKENS), "cache_read_mtok")
    except LookupError:
        cached = asked
    return Price(asked, cached, answered)
