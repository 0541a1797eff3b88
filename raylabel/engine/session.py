"""Ray, started and stopped quietly: a private one on a laptop, the running one on a cluster."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._raylet import GcsClient  # type: ignore[attr-defined]

from raylabel.engine.lean_ray import without_helpers
from raylabel.engine.ray_processes import RayProcesses
from raylabel.engine.remains import end_own, marked
from raylabel.errors import ConfigError, ServerError
from raylabel.settings import HOST_AND_PORT, RaySettings

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""What a cluster's head may take to accept a connection, and again to say its first word."""

_LOG_LINE = re.compile(r"\[[-\d]+ [:,\d]+ [A-Z] .*\.cc:\d+:")
"""Of Ray's C++: ``[2026-11-25 21:31:07,810 I 19730 19730] logging.cc:303: ...``."""
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
"""What a gRPC client says first: HTTP/2's preface and empty settings; the server answers with settings of its own.

Source: RFC 9113, sections 3.4, 4.1 and 6.5."""
_SETTINGS_FRAME = 4
_NO_SUCH_METHOD = 12
"""gRPC's status of a server that is none of the kind asked for (UNIMPLEMENTED)."""


@contextmanager
def ray_session(settings: RaySettings) -> Iterator[RayProcesses]:
    """Ray for the length of a ``with`` block; one that is there already is used and left running.

    Raises:
        ConfigError: no cluster at the configured address, or it cannot be joined.
        ServerError: a private Ray does not start.
    """
    started = not ray.is_initialized()
    if started:
        _start(settings)
    processes = RayProcesses(ray._private.worker._global_node)
    try:
        yield processes
    finally:
        if started and not (processes.is_given_up or processes.death()):
            ray.shutdown()
        elif started:  # Ray's shutdown waits for what is dead; this process can use no other Ray any more
            end_own()


def cluster_address(settings: RaySettings) -> str:
    """Where the cluster is that a run joins; empty for a Ray of its own."""
    return _cluster(settings)[0]


def _cluster(settings: RaySettings) -> tuple[str, str]:
    """The address of the cluster to join, empty for a Ray of its own; and what says so."""
    address, named_by = settings.address, "ray.address"
    if address in ("", "auto") and (surrounding := os.environ.get("RAY_ADDRESS")):
        address, named_by = surrounding, "RAY_ADDRESS"
    return "" if address == "local" else address, named_by


def check_cluster(settings: RaySettings) -> None:
    """See, within seconds, that a cluster answers where one is to be joined; Ray would wait for it for 14 minutes.

    Raises:
        ConfigError: none does; names the setting, the address and what was found there.
    """
    address, named_by = _cluster(settings)
    if not address or ray.is_initialized():
        return
    if address != "auto" and not HOST_AND_PORT.fullmatch(address):
        # Ray Client (ray://) is not enough for Ray Data, seen with 2.60; http:// is where jobs are submitted.
        raise ConfigError(
            f'{named_by}: found "{address}", expected auto or HOST:PORT of a Ray cluster with this machine in it '
            "(the port is 6379 if nobody chose another); from elsewhere use `ray job submit`"
        )
    place = address
    try:
        found = services.canonicalize_bootstrap_address(address)
        place = address if found == address else f"{address} ({found})"
        trouble = _trouble_at(found)
    except (OSError, OverflowError, UnicodeError) as error:
        trouble = str(error)
    if trouble:
        raise ConfigError(
            f"{named_by}: no Ray cluster answers at {place}: {trouble.rstrip('.')}; start it, name one that runs, or "
            "set ray.address=local for a Ray of this machine's own"
        )


def _trouble_at(address: str) -> str:
    """What is wrong with a Ray cluster's address; empty where one answers.

    Raises:
        OSError, OverflowError, UnicodeError: nobody answers, or the host or the port cannot be.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S) as link:
        if ray_constants.env_bool("RAY_USE_TLS", False):
            return ""
        link.sendall(_HELLO)
        first = link.makefile("rb").read(9)
    if len(first) < 9 or first[3] != _SETTINGS_FRAME:
        return "what listens there is something else"
    with _hushed_stderr():
        try:
            GcsClient(address=address)
        except ray.exceptions.RpcError as error:
            if error.rpc_code == _NO_SUCH_METHOD:
                return "what listens there is not the cluster's head (its port is 6379 if nobody chose another)"
        except ray.exceptions.RayError:
            pass  # a cluster that wants to know who asks; joining it does what is needed, or says what is missing
    return ""


def _start(settings: RaySettings) -> None:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray._private.worker.print_to_stdstream = _log_what_ray_prints
    address, named_by = _cluster(settings)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        check_cluster(settings)
        with _hushed_stderr():
            try:
                ray.init(address=address, **quiet)
            except ray.exceptions.RuntimeEnvSetupError as error:
                reason = in_one_line(error.__cause__ or error).split(". ")[0]
                raise ConfigError(
                    f"{named_by}: {Path.cwd()} cannot be copied to the cluster's nodes, as Ray does for `uv run`: "
                    f"{reason}; name large files in .rayignore, or set RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 if raylabel is "
                    "installed on the nodes"
                ) from error
            except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                told = str(error.__cause__ or error).strip().splitlines()[-1]  # Ray puts a whole traceback into it
                raise ConfigError(f"{named_by}: the Ray cluster at {address} cannot be joined: {told[:400]}") from error
        return
    with _hushed_stderr() as said, _without_uv(), without_helpers(), marked():
        try:
            ray.init(
                address="local",
                num_cpus=settings.num_cpus or None,
                object_store_memory=max(settings.object_store_mb, 100) << 20,
                include_dashboard=False,
                **quiet,
            )
        except Exception as error:  # where its processes do not come up in time, Ray raises just that
            end_own()
            raise ServerError(f"Ray does not start on this machine: {in_one_line(error, said())}") from error


def _log_what_ray_prints(data: Any, ignore_prefix: bool) -> None:
    """Ray prints to standard output what its processes report of errors, some of it about what a run gets over; what
    ends a run is told by the run."""
    logger.info("Ray: %s", in_one_line(*data["lines"]))


def in_one_line(*told: object) -> str:
    """What Ray says of an error, which may be pages, as the beginning of a line."""
    return " ".join(" ".join(map(str, told)).split())[:400]


@contextmanager
def _without_uv() -> Iterator[None]:
    """Start Ray under ``uv run`` as under anything else.

    Its hook for uv copies the working folder, whatever lies there, for worker processes on other machines, and stops at
    512 MiB (ray#53060). Those of a private Ray run here, with this very interpreter. A cluster's do need it.
    """
    # Ray reads the variable of this name when it is imported, which is long past.
    before = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    try:
        yield
    finally:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = before


@contextmanager
def _hushed_stderr() -> Iterator[Any]:
    """Keep what Ray's C++ writes to file descriptor 2 off the terminal; yields a function that tells what it was.

    What others write meanwhile comes out at the end.
    """
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
            for line in text().splitlines():
                if not _LOG_LINE.match(line):
                    sys.stderr.write(f"{line}\n")
