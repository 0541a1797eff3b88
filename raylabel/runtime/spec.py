"""What is sent to the processes of a run: plain, picklable, built once by the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from raylabel.clients.endpoints import Member
from raylabel.clients.prices import Price
from raylabel.runtime.asking import AskSetup
from raylabel.runtime.driver import Driver
from raylabel.settings import ImageSettings, VlmSettings
from raylabel.sources import Shard, SourceSpec
from raylabel.steps.base import Step, StepSetup
from raylabel.store.results import Results


class Transport(Enum):
    """How pictures reach a server, where it can read files."""

    BYTES = "bytes"
    """In the request: it reads none."""
    COPIES = "copies"
    """As files that are laid into a folder that it may read, prepared or not."""
    FILES = "files"
    """As the images' own files, where nothing has to be prepared; the others in the request."""


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
        limit: records of the input to work on, the first ones, or None.
        sample: places of the records to work on, in the whole input, or None.
        members: the endpoints that are asked at first, where ``vlm`` does not say it; see ``MemberSet``.
        only: ids of the records to work on, or None.
        replay_only: stored replies are read and nothing is asked; records that lack one stay as they are.
        engine: of the model servers that are asked, where raylabel started them (``serve.engine``); else empty.
        transport: how pictures are to reach the servers; those that turn out to read no files get them in requests.
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
    engine: str = ""
    transport: Transport = Transport.BYTES
    prices: Mapping[str, Price] = field(default_factory=dict)
    sample: frozenset[int] | None = None
    members: tuple[Member, ...] = ()

    def takes(self, position: int) -> bool:
        """Whether the run works on the record at a place of the whole input, as far as a pilot decides about it."""
        return (self.limit is None or position < self.limit) and (self.sample is None or position in self.sample)

    def taken(self, shard: Shard) -> int:
        """How many records of a shard the pilot takes, unusable lines among them; all of them where there is none."""
        if self.sample is not None:
            return sum(map(self.takes, range(shard.first_position, shard.first_position + shard.count)))
        return shard.count if self.limit is None else max(0, min(shard.count, self.limit - shard.first_position))

    @property
    def is_pilot(self) -> bool:
        """Whether some of the input is left for another run."""
        return self.limit is not None or self.sample is not None

    @property
    def others(self) -> str:
        """Where the records are that a pilot leaves alone, in words."""
        return "beyond --limit" if self.sample is None else "outside the sample"
