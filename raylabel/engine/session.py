"""Ray, started and stopped quietly: a private one on a laptop, the running one on a cluster."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.data

from raylabel.errors import ConfigError, ServerError
from raylabel.settings import RaySettings


@contextmanager
def ray_session(settings: RaySettings) -> Iterator[int]:
    """Ray for the length of a ``with`` block; one that is there already is used and left running.

    Yields:
        The number of nodes.

    Raises:
        ConfigError: no cluster at the configured address.
        ServerError: a private Ray does not start.
    """
    started = not ray.is_initialized()
    if started:
        _start(settings)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data gives a plan up after 30 min without a block; a long backoff or a slow model is no reason to.
    context.execution_no_progress_timeout_s = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors reach the user as ours
    try:
        yield sum(1 for node in ray.nodes() if node["Alive"])
    finally:
        if started:
            ray.shutdown()


def cluster_address(settings: RaySettings) -> str:
    """Where the cluster is that a run joins; empty for a Ray of its own."""
    address = settings.address or os.environ.get("RAY_ADDRESS", "")
    return "" if address == "local" else address


def _start(settings: RaySettings) -> None:
    address = cluster_address(settings)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"ray.address: no Ray cluster answers at {address}: {error}") from error
        return
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with _hushed_stderr() as said:
        try:
            ray.init(
                address="local",
                num_cpus=settings.num_cpus or None,
                object_store_memory=max(settings.object_store_mb, 100) << 20,
                include_dashboard=False,
                **quiet,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            told = " ".join(f"{error} {said()}".split())
            raise ServerError(f"Ray does not start on this machine: {told[:400]}") from error


@contextmanager
def _hushed_stderr() -> Iterator[Any]:
    """Keep what Ray's C++ writes to file descriptor 2 off the terminal; yields a function that tells what it was."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)

        def text() -> str:
            said.seek(0)
            return said.read().decode(errors="replace").strip()

        try:
            yield text
        finally:
            os.dup2(kept, 2)
            os.close(kept)
