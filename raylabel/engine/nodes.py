"""The nodes of a cluster, looked at before they work: whether each of them sees the data of a run as its driver does.

Workers on a machine without the folder of the results would make one of that name on their own disk, and what they
store there would be found by nobody.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ray
import ray.util
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raylabel.errors import ConfigError, InputError, RaylabelError, printable
from raylabel.runtime.shared_data import SharedData, Unseen, unseen_here
from raylabel.settings import Settings
from raylabel.storage.locations import absolute, is_remote
from raylabel.urls import mask_urls

logger = logging.getLogger(__name__)

ANSWER_S = 120.0
"""For which a node is waited for; some have to unpack, or even to install, what a process of the job needs."""
_NAMED = 3
"""Of the nodes that something is wrong with."""
_PACKAGES = ("runtime_resources", "working_dir_files")
"""Folders of Ray's session in which the uploaded working folders of jobs are unpacked."""


def check_results_dir(settings: Settings) -> None:
    """See that the results will outlive the job that makes them.

    Raises:
        ConfigError: they would be written into the copy of the working folder that Ray deletes with its job.
    """
    location = absolute(settings.results_dir)
    if is_remote(location):
        return
    parts = Path(location).resolve().parts
    if any(parts[n : n + len(_PACKAGES)] == _PACKAGES for n in range(len(parts))):
        raise ConfigError(
            f'results_dir: found "{settings.results_dir}", which is in the copy of the working folder that Ray deletes '
            "when the job is over; give an absolute path on a file system that all nodes share, or a bucket (S3, "
            "Google Cloud Storage)."
        )


def check_this_node(data: SharedData) -> None:
    """The same as ``check_nodes`` for a process that works: its node may have joined after that.

    Raises:
        ConfigError, InputError: as there.
    """
    if unseen := unseen_here(data):
        node = f"node {socket.gethostname()} ({ray.util.get_node_ip_address()})"
        if (wrong := complaint(data, {node: unseen})) is not None:
            raise wrong


def check_nodes(data: SharedData) -> None:
    """See that every node sees the data as this process does.

    Raises:
        ConfigError: one of them does not see the folder of the results, or cannot run raylabel.
        InputError: one of them does not see the input or the images.
    """
    looking = ray.remote(unseen_here)
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    asked = {
        looking.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=ident, soft=False)
        ).remote(data): ident
        for ident in nodes
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
    found: dict[str, Unseen] = {}
    for answer in answered:
        node = nodes[asked[answer]]
        try:
            found[_name(node)] = ray.get(answer)
        except ray.exceptions.RayError as error:
            if _is_alive(asked[answer]):
                raise ConfigError(f"{_name(node)} of the Ray cluster cannot run raylabel: {_cause(error)}") from error
    for answer in silent:
        ray.cancel(answer, force=True)
        logger.warning(
            "%s of the Ray cluster has not answered for %.0f s, and may not see results_dir or the images",
            _name(nodes[asked[answer]]),
            ANSWER_S,
        )
    if (wrong := complaint(data, found)) is not None:
        raise wrong


def complaint(data: SharedData, found: Mapping[str, Unseen]) -> RaylabelError | None:
    """What is wrong, in one sentence; None where nothing is.

    Args:
        found: by node.
    """
    source = data.source
    if blind := [node for node, unseen in found.items() if unseen.results]:
        trouble = found[blind[0]].results
        return ConfigError(
            f"results_dir: {data.results.root.location} has to be one folder for all nodes, and {_named(blind)} "
            f"{trouble}; {_REMEDY}."
        )
    looks: tuple[_Look, ...] = (
        _Look(source.setting, "input", data.input, lambda unseen: unseen.input),
        _Look(source.label_setting, "label files", data.labels, lambda unseen: unseen.labels),
        _Look(source.root_setting if source.root else source.setting, "images", data.images, lambda u: u.images),
    )
    for look in looks:
        if blind := [node for node, unseen in found.items() if look.unseen(unseen)]:
            missing = look.unseen(found[blind[0]])
            how_many = f"{len(missing)} of {len(look.seen)} {look.what} looked at ({missing[0]}, for one)"
            which = f"the {look.what} ({missing[0]})" if len(look.seen) == 1 else how_many
            return InputError(printable(f"{look.setting}: {_named(blind)} does not see {which} as here; {_REMEDY}."))
    return None


_REMEDY = (
    "put it where every node reaches it under the same name: on a shared file system, mounted at the same path, or in "
    "a bucket (S3, Google Cloud Storage)"
)


class _Look(NamedTuple):
    """One kind of files that nodes were asked about."""

    setting: str
    what: str
    seen: Mapping[str, str]
    unseen: Callable[[Unseen], tuple[str, ...]]


def _name(node: Mapping[str, Any]) -> str:
    return f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _named(nodes: list[str]) -> str:
    """The first nodes; the verb behind them is that of one."""
    if len(nodes) == 1:
        return nodes[0]
    others = ", ".join([*nodes[1:_NAMED], *(["..."] if len(nodes) > _NAMED else [])])
    return f"{nodes[0]}, as {len(nodes) - 1} more ({others}),"


def _is_alive(ident: str) -> bool:
    return any(node["NodeID"] == ident and node["Alive"] for node in ray.nodes())


def _cause(error: BaseException) -> str:
    """The last line of what Ray says, where the error of the process on the node stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return mask_urls(lines[-1] if lines else type(error).__name__)[:400].rstrip(".")
