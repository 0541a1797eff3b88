"""What a run's answers cost: the prices of its models, looked up once, and no earlier than they are of use."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

from raylabel.clients.base import TOKEN_KINDS
from raylabel.clients.endpoints import endpoint_of, listed_price_of, members_of
from raylabel.clients.prices import Price
from raylabel.errors import ConfigError
from raylabel.probing.models import models_of
from raylabel.records import JsonObject
from raylabel.runtime.coordinator import Status, StepReport
from raylabel.runtime.spending import cost_of
from raylabel.settings import Settings
from raylabel.store.results import Results, stored_usage
from raylabel.store.tables import Row


class Costs:
    """Prices of the models that a run asks. The packaged list is large (0.1 s of CPU), so a run that needs no price to
    begin with looks it up beside its work, once there is something to tell the cost of."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoints = {member.name for member in members_of(settings.pipeline.vlm)}
        self._prices: dict[str, Price | None] = {}
        self._thread: threading.Thread | None = None

    def required(self) -> Mapping[str, Price]:
        """The price of every model, for a run whose budget is one of money.

        Raises:
            ConfigError: one is not known.
        """
        self._look_up()
        known = {model: price for model, price in self._prices.items() if price is not None}
        if missing := [model for model in self._prices if model not in known]:
            names, where = ", ".join(f'"{model}"' for model in missing), endpoint_of(self._settings.pipeline.vlm)
            raise ConfigError(
                f"limits.max_cost_usd: no price is known for {names} at {where}; set "
                f'prices: {{"{missing[0]}": {{input: ..., output: ...}}}} in US dollars per million tokens, or limit '
                "max_tokens or max_requests instead"
            )
        return known

    def describe(self, status: Status) -> str:
        """What was spent so far, in words; empty where there is no price, or it is still being looked up."""
        if self._thread is None:
            if any(step.usage for step in status.steps.values()):
                self._thread = threading.Thread(target=self._look_up, name="prices", daemon=True)
                self._thread.start()
            return ""
        if self._thread.is_alive():
            return ""
        usd = self.total_usd(status)
        return "" if usd is None else in_dollars(usd)

    def total_usd(self, status: Status) -> float | None:
        """Of all steps together; None where one of them asked a model without a known price."""
        costs = [self.usd(step) for step in status.steps.values()]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    def usd(self, step: StepReport) -> float | None:
        """What a step's answers cost; None where that is not known."""
        if self._thread is not None:
            self._thread.join()
        elif step.usage:
            self._look_up()
        cost = None if step.unmetered else cost_of(step.usage, self._prices)
        return None if cost is None else cost / 1e9

    def stored_json(self, results: Results, directories: Sequence[str]) -> JsonObject:
        """For ``run.json``: what all stored replies of some steps took, of this run and those before; ``cost_usd`` is
        null where one of them has no price."""
        replies, tokens, cost = 0, Counter[str](), 0.0
        for row in [row for directory in directories for row in stored_usage(results, directory)]:
            usage = {kind: row[f"tokens_{kind}"] for kind in TOKEN_KINDS}
            replies += row["replies"]
            tokens.update(usage)
            usd = self.usd_of(row)
            cost += math.nan if usd is None else usd
        return {"replies": replies, "tokens": dict(tokens), "cost_usd": None if math.isnan(cost) else cost}

    def usd_of(self, usage: Row) -> float | None:
        """What stored replies cost: a row of ``stored_usage``; None where that is not known."""
        price = self.price_of(usage["model"], usage["endpoint"])
        if price is None or usage["counted"] < usage["replies"]:
            return None
        return price.nano_usd({kind: usage[f"tokens_{kind}"] for kind in TOKEN_KINDS}) / 1e9

    def usd_of_reply(self, reply: Row) -> float | None:
        """What one stored reply cost: a row of ``Results.answers``; None where that is not known."""
        tokens = {f"tokens_{kind}": reply[f"tokens_{kind}"] or 0 for kind in TOKEN_KINDS}
        counted = int(reply["tokens_output"] is not None)
        asked = {"model": reply["model"], "endpoint": reply["endpoint"]}
        return self.usd_of({**asked, **tokens, "replies": 1, "counted": counted})

    def price_of(self, model: str, endpoint: str) -> Price | None:
        """The price of a model that answered, as its server named it; None where it is not known: also of one that was
        asked at another endpoint than the settings name."""
        return self._price(model) if endpoint in self._endpoints else None

    def _price(self, model: str) -> Price | None:
        if model not in self._prices:
            own = self._settings.price_of(model)
            self._prices[model] = listed_price_of(self._settings.pipeline.vlm, model) if own is None else Price(*own)
        return self._prices[model]

    def _look_up(self) -> None:
        settings = self._settings
        for model in {sampling.model for step in settings.selected_steps for sampling in models_of(settings, step)}:
            self._price(model)


def in_dollars(usd: float) -> str:
    """An amount of money as people read it: cents, and more of it where there is little.

    >>> in_dollars(12.345), in_dollars(0.012345), in_dollars(0)
    ('12.35 USD', '0.0123 USD', '0.00 USD')
    """
    return f"{usd:.2f} USD" if usd >= 1 or not usd else f"{usd:.3g} USD"
