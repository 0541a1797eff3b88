"""The lease on a results folder: one run at a time; a new run waits until the workers of a dead one have stopped."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

from raylabel.errors import InputError, StoreError
from raylabel.records import JsonObject
from raylabel.store.results import Results

HEARTBEAT_S = 1.0
EXPIRY_S = 8.0
"""A lease without a heartbeat for this long has expired. Workers stop asking within a second of their driver's death,
and within 7.5 s of the death of its machine."""
ACQUIRE_TIMEOUT_S = 12.0
"""How long a run waits for a lease with heartbeats before it gives up."""

_FILE = "lease.json"


class Lease:
    """Held by the driver of a run and renewed by a thread of its own. The clocks of two machines are never compared.

    Args:
        on_lost: called once, from that thread, if another run took over the lease because this one was frozen too long.
    """

    def __init__(self, results: Results, on_lost: Callable[[], None]) -> None:
        self._results = results
        self._on_lost = on_lost
        self._run = uuid.uuid4().hex
        self._heartbeats = 0
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
        while seen is not None and time.monotonic() - renewed_at < EXPIRY_S:
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
        self._thread.start()

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

    def _read(self) -> JsonObject | None:
        try:
            return self._results.read_json(self._results.root, _FILE)
        except ValueError:
            return {}  # damaged by another program; it expires like any other

    def _write(self) -> None:
        self._heartbeats += 1
        value = {"run": self._run, "host": socket.gethostname(), "pid": os.getpid(), "beat": self._heartbeats}
        self._results.write_json(self._results.root, _FILE, value)


def _holder(lease: JsonObject) -> str:
    return f"process {lease.get('pid', '?')} on {lease.get('host', '?')}"
