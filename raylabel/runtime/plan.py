"""How a run's work is laid out and shared, decided by numbers alone; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHARD_RECORDS = 32
"""Records of a shard. Nothing else decides about it: shards are recognised by their lines when a run continues."""

IN_FLIGHT_PER_WORKER = 128
"""Requests that one worker, which is one core, keeps going (measured: 500 requests a second and more)."""

MOST_IN_FLIGHT = 256
"""At one endpoint, over all steps together, where the number is found out: as many as a vLLM server works on at a time
by default, and no more than two workers keep going."""

_MOST_BLOCKS = 4000
"""Ray Data moves 10 to 14 blocks a second, whatever their size."""


def worker_count(in_flight: int, nodes: int, cores: int, wanted: int) -> int:
    """Workers of a run: what the user wants, or as many as the requests in flight take, at least one a node.

    Args:
        in_flight: requests that all steps together may have in flight.
        cores: of all nodes.
        wanted: by the user, or 0.

    >>> worker_count(64, 1, 16, 0), worker_count(1024, 1, 16, 0), worker_count(64, 3, 48, 0), worker_count(64, 1, 16, 2)
    (1, 8, 3, 2)
    """
    needed = max(nodes, min(cores, math.ceil(in_flight / IN_FLIGHT_PER_WORKER)))
    return max(1, min(wanted or needed, in_flight))


def blocks_of(shards: int, workers: int, in_flight: int) -> list[range]:
    """Shards in blocks, by their places: large ones first, smaller ones towards the end, so that workers end together.

    Each block is a quarter of a worker's even share of what is left ("guided self-scheduling", Polychronopoulos and
    Kuck 1987), but holds as many records as a worker has requests in flight.

    >>> [len(block) for block in blocks_of(100, 2, 64)]
    [13, 11, 10, 9, 8, 7, 6, 5, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    smallest = max(1, round(in_flight / workers / SHARD_RECORDS), shards // _MOST_BLOCKS)
    blocks, first = [], 0
    while first < shards:
        size = max(smallest, math.ceil((shards - first) / (4 * workers)))
        blocks.append(range(first, min(first + size, shards)))
        first += size
    return blocks


@dataclass(frozen=True, slots=True)
class Demand:
    """What one worker does in one step: requests in flight, and how many more could go out at once."""

    in_flight: int
    waiting: int


def fair_shares(limit: int, demands: Mapping[str, Demand]) -> dict[str, int]:
    """Slots of a step that each worker should have: max-min fair over the demands, what is left over spread evenly.

    >>> fair_shares(10, {"a": Demand(0, 50), "b": Demand(0, 2)})
    {'a': 8, 'b': 2}
    >>> fair_shares(10, {"a": Demand(0, 50), "b": Demand(5, 50)})
    {'a': 5, 'b': 5}
    """
    wants = {worker: d.in_flight + d.waiting for worker, d in demands.items()}
    share = dict.fromkeys(wants, 0)
    left = limit
    unmet = sorted(wants, key=lambda worker: (wants[worker], worker))
    for place, worker in enumerate(unmet):
        share[worker] = min(wants[worker], math.ceil(left / (len(unmet) - place)))
        left -= share[worker]
    spare, extra = divmod(left, len(share)) if share else (0, 0)
    return {worker: share[worker] + spare + (place < extra) for place, worker in enumerate(sorted(share))}


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


def merge_usage(usages: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """The sum of several counts by model and kind of tokens.

    >>> merge_usage([{"qwen": {"input": 2}}, {"qwen": {"input": 1}, "gemma": {"output": 3}}])
    {'qwen': {'input': 3}, 'gemma': {'output': 3}}
    """
    models = dict.fromkeys(model for usage in usages for model in usage)
    return {model: merge_counts([usage[model] for usage in usages if model in usage]) for model in models}
