"""What is sent to the processes of a run: plain, picklable, built once by the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raylabel.clients.prices import Price
from raylabel.runtime.asking import AskSetup
from raylabel.runtime.driver import Driver
from raylabel.settings import ImageSettings, VlmSettings
from raylabel.sources import SourceSpec
from raylabel.steps.base import Step, StepSetup
from raylabel.store.results import Results


@dataclass(frozen=True)
class StepPlan:
    """One selected step: the class, and everything the run decided about it."""

    step: type[Step]
    setup: StepSetup
    ask: AskSetup
    max_workers: int


@dataclass(frozen=True)
class RunSpec:
    """One run, as its processes need it.

    Args:
        run: unique name of the run.
        vlm: with the key filled in; never written anywhere.
        selected: the steps of this run, in pipeline order.
        generations: of all steps of the pipeline, by step directory.
        limit: records of the input to work on, or None.
        only: ids of the records to work on, or None.
        replay_only: stored replies are read and nothing is asked; records that lack one stay as they are.
        prices: by model, where the run's budget is one of money.
    """

    run: str
    pipeline: str
    results: Results
    source: SourceSpec
    vlm: VlmSettings
    image: ImageSettings
    selected: tuple[StepPlan, ...]
    generations: dict[str, int]
    driver: Driver
    limit: int | None
    only: frozenset[str] | None = None
    replay_only: bool = False
    prices: Mapping[str, Price] = field(default_factory=dict)
