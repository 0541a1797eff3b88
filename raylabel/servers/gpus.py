"""The GPUs of this machine, and how servers share them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from raylabel.errors import StartError
from raylabel.settings import ServeSettings

_DRIVER = Path("/proc/driver/nvidia/gpus")
_DEVICES = Path("/dev")


def visible_gpus(env: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs this process may use, as ``CUDA_VISIBLE_DEVICES`` has them."""
    given = env.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(name.strip() for name in given.split(",") if name.strip() not in ("", "-1", "NoDevFiles"))
    # A container sees those devices that it was given; the driver tells of all.
    devices = sum(path.name.removeprefix("nvidia").isdecimal() for path in _DEVICES.glob("nvidia*"))
    return tuple(map(str, range(min(devices, sum(1 for _ in _DRIVER.glob("*"))))))


def gpus_for_replicas(serve: ServeSettings, gpus: Sequence[str]) -> list[tuple[str, ...]]:
    """Which GPUs each replica on one machine gets; one entry a replica.

    Args:
        gpus: those that are free.

    Raises:
        StartError: there are too few.

    >>> gpus_for_replicas(ServeSettings(model="m", gpus_per_replica=2), ["0", "1", "2", "3", "4"])
    [('0', '1'), ('2', '3')]
    >>> gpus_for_replicas(ServeSettings(model="m"), [])
    [()]
    """
    usual = 1 if gpus and serve.engine != "command" else 0
    each = serve.gpus_per_replica if isinstance(serve.gpus_per_replica, int) else usual
    fitting = max(1, len(gpus) // each) if each else 1
    count = serve.replicas if isinstance(serve.replicas, int) else fitting
    if each * count > len(gpus):
        raise StartError(
            f"serve.gpus_per_replica: {count} x {each} GPUs are needed, but this machine has {len(gpus)} to give."
        )
    return [tuple(gpus[number * each : (number + 1) * each]) for number in range(count)]


def gpus_on_nodes(serve: ServeSettings, nodes: Sequence[tuple[float, float]]) -> tuple[int, int]:
    """How many replicas there are on a cluster, and how many GPUs, of one node, each gets.

    Args:
        nodes: the GPUs of each, and those of them that are free.

    >>> gpus_on_nodes(ServeSettings(model="m", gpus_per_replica=2), [(8, 8), (8, 3), (0, 0)])
    (5, 2)
    >>> gpus_on_nodes(ServeSettings(model="m", replicas=4), [(0, 0), (0, 0)])
    (4, 0)
    """
    usual = 1 if serve.engine != "command" and any(gpus for gpus, _ in nodes) else 0
    each = serve.gpus_per_replica if isinstance(serve.gpus_per_replica, int) else usual
    if isinstance(serve.replicas, int):
        return serve.replicas, each
    # Where all are taken, or nodes are yet to come, one waits for them.
    return max(1, sum(int(free // each) for _, free in nodes)) if each else 1, each
