"""The lease on a results folder: one run at a time; a new run waits until the workers of a dead one have stopped."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from raylabel.errors import InputError, StoreError
from raylabel.records import JsonObject
from raylabel.storage.folders import Folder
from raylabel.storage.locations import local_path
from raylabel.storage.writing import remove_unfinished
from raylabel.store.results import Results

HEARTBEAT_S = 1.0
EXPIRY_S = 8.0
"""A lease without a heartbeat for this long has expired. Workers stop asking within a second of their driver's death,
and within 7.5 s of the death of its machine."""
GONE_S = 3.0
"""The same where the driver is seen to be dead and its workers were on this machine."""
ACQUIRE_TIMEOUT_S = 12.0
"""How long a run waits for a lease with heartbeats before it gives up."""

_FILE = "lease.json"


def holder_of(results: Results) -> str:
    """The name of the run that holds the lease; empty where there is none.

    Nobody else can know it, so whoever reads it sees the folder that the run writes to.

    Raises:
        StoreError: the folder cannot be read.
    """
    run = (_read(results) or {}).get("run")
    return run if isinstance(run, str) else ""


class Lease:
    """Held by the driver of a run and renewed by a thread of its own. The clocks of two machines are never compared.

    Args:
        on_lost: called once, from that thread, if another run took over the lease because this one was frozen too long.
        process: names this one for ``is_gone`` of other runs; empty where workers may outlive it by more than a moment.
        is_gone: whether the process with such a name is seen to be dead.
    """

    def __init__(
        self,
        results: Results,
        on_lost: Callable[[], None],
        process: str = "",
        is_gone: Callable[[str], bool] = lambda process: False,
    ) -> None:
        self._results = results
        self._on_lost = on_lost
        self._process = process
        self._is_gone = is_gone
        self._run = uuid.uuid4().hex
        self._heartbeats = 0
        self._taken_ns = 0
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="lease", daemon=True)

    def acquire(self, on_wait: Callable[[str], None]) -> None:
        """Wait for an earlier lease to end, then take it.

        Args:
            on_wait: called once, with a sentence that says which run is being waited for.

        Raises:
            InputError: another run is alive and does not end in time.
        """
        started = time.monotonic()
        seen, renewed_at = self._read(), time.monotonic()
        if seen is not None:
            on_wait(f"waiting for the earlier run in {self._results.root.location} to end ({_holder(seen)})")
        while seen is not None and time.monotonic() - renewed_at < self._expiry_s(seen):
            time.sleep(0.2)
            now = self._read()
            if now != seen:
                seen, renewed_at = now, time.monotonic()
            if seen is not None and time.monotonic() - started > ACQUIRE_TIMEOUT_S and renewed_at > started:
                raise InputError(
                    f"results_dir: {self._results.root.location} is in use by another run ({_holder(seen)}); wait for "
                    "it, stop it, or choose another results_dir"
                )
        self._write()
        time.sleep(0.05)
        if (self._read() or {}).get("run") != self._run:
            raise InputError(f"results_dir: another run took {self._results.root.location} at the same moment")
        self._taken_ns = self._modified_ns()
        self._thread.start()

    def _expiry_s(self, lease: JsonObject) -> float:
        process = lease.get("process")
        return GONE_S if isinstance(process, str) and process and self._is_gone(process) else EXPIRY_S

    def remove_leftovers(self, folders: Iterable[Folder]) -> None:
        """Remove the temporary files that runs before this one left in these folders."""
        for folder in folders:
            remove_unfinished(folder.location, self._taken_ns)

    def release(self) -> None:
        """Give up the lease; the next run need not wait."""
        self._released.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * HEARTBEAT_S)
        if (self._read() or {}).get("run") == self._run:
            self._results.root.delete(_FILE)

    def _keep_alive(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            try:
                holder = self._read()
                if holder is not None and holder.get("run") != self._run:
                    self._on_lost()
                    return
                self._write()
            except StoreError:
                continue  # a hiccup of the disk; if it lasts, the appends of the run report it

    def _modified_ns(self) -> int:
        """When the lease was last written, by the clock of the file system; 0 where it has no such time."""
        path = local_path(self._results.root.location_of(_FILE))
        try:
            return 0 if path is None else Path(path).stat().st_mtime_ns
        except OSError:
            return 0

    def _read(self) -> JsonObject | None:
        return _read(self._results)

    def _write(self) -> None:
        self._heartbeats += 1
        value = {
            "run": self._run,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": self._process,
            "beat": self._heartbeats,
        }
        self._results.write_json(self._results.root, _FILE, value)


def _read(results: Results) -> JsonObject | None:
    data = results.root.read(_FILE)
    if data is None:
        return None
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    # Damaged, or written by another program: it expires like any other.
    return value if isinstance(value, dict) else {}


def _holder(lease: JsonObject) -> str:
    return f"process {lease.get('pid', '?')} on {lease.get('host', '?')}"
