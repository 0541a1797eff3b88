"""What a run does, decided before anything runs; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """How a level's actor pool is laid out.

    Args:
        actors: in the pool.
        calls: blocks one actor works on at the same time.
    """

    actors: int
    calls: int


def shard_size(records: int, max_workers: int) -> int:
    """Records in a shard (and block): few enough that a record does not wait long for its neighbours, many enough that
    the driver, good for 50-100 blocks a second, is not the limit.

    >>> [shard_size(n, 4) for n in (20, 500, 100_000)], shard_size(500, 64)
    ([2, 16, 64], 7)
    """
    if records > 20_000:
        return 64
    return max(2, min(16, records // max(8, max_workers)))


def pool_shape(in_flight: int, size: int, nodes: int, wanted: int) -> Shape:
    """The pool that keeps ``in_flight`` requests going over blocks of ``size`` records.

    Blocks under way hold about eight times as many records as there are requests in flight, so that a slow answer
    does not starve the rest (measured: steady use of 0.99 at eight, 0.5 at three).

    Args:
        nodes: of the cluster; one actor a node unless ``wanted`` says otherwise.
        wanted: actors the user asked for, or 0.
    """
    actors = max(1, min(wanted or nodes, in_flight))
    calls = max(4, math.ceil(8 * in_flight / size / actors))
    return Shape(actors, min(calls, 256))


@dataclass(frozen=True, slots=True)
class Demand:
    """What one actor does in one step: requests in flight, and how many more could go out at once."""

    in_flight: int
    waiting: int


def fair_share(limit: int, demands: Mapping[str, Demand], who: str) -> int:
    """Slots of a step that one actor should have: max-min fair over the demands, what is left over spread evenly.

    >>> fair_share(10, {"a": Demand(0, 50), "b": Demand(0, 2)}, "a")
    8
    >>> fair_share(10, {"a": Demand(0, 50), "b": Demand(5, 50)}, "a")
    5
    """
    wants = {actor: d.in_flight + d.waiting for actor, d in demands.items()}
    share = dict.fromkeys(wants, 0)
    left = limit
    unmet = sorted(wants, key=lambda actor: (wants[actor], actor))
    while unmet and left > 0:
        actor = unmet.pop(0)
        share[actor] = min(wants[actor], math.ceil(left / (len(unmet) + 1)))
        left -= share[actor]
    spare, extra = divmod(left, len(share))
    place = sorted(share).index(who)
    return share[who] + spare + (1 if place < extra else 0)


def total_limits(limits: Mapping[str, int], demands: Mapping[str, int], total: int) -> dict[str, int]:
    """Each step's limit when all steps together may have ``total`` in flight: later steps take what they want first.

    Args:
        limits: per step, in pipeline order.
        demands: in flight plus waiting, per step.
        total: 0 means no common limit.

    >>> total_limits({"a": 8, "b": 8}, {"a": 20, "b": 3}, 10)
    {'a': 7, 'b': 3}
    """
    if total <= 0:
        return dict(limits)
    left = total
    out = {}
    for step in reversed(list(limits)):
        out[step] = min(limits[step], demands.get(step, 0), left)
        left -= out[step]
    return {step: out[step] for step in limits}


def merge_counts(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several counts, key by key.

    >>> merge_counts([{"labeled": 2}, {"labeled": 1, "failed": 1}])
    {'labeled': 3, 'failed': 1}
    """
    out: dict[str, int] = {}
    for count in counts:
        for key, value in count.items():
            out[key] = out.get(key, 0) + value
    return out
