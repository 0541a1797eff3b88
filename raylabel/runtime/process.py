"""How a process that does nothing but label records is set up."""

from __future__ import annotations

import gc

import pyarrow as pa

_ALLOCATIONS = 50_000


def set_up() -> None:
    """Have dead objects looked for rarely, and Arrow's memory taken from the C library."""
    _take_arrow_memory_from_c_library()
    _collect_garbage_rarely()


def _take_arrow_memory_from_c_library() -> None:
    """mimalloc, which pyarrow takes by itself, keeps 30 MB and more for each thread that ever read or merged fragments:
    the driver of a run of 60,000 records held 312 to 328 MB with it, and 211 to 226 without."""
    pa.set_memory_pool(pa.system_memory_pool())


def _collect_garbage_rarely() -> None:
    """Look for cycles of dead objects once in 50,000 allocations instead of 700, and not among what was imported.

    The looks took a tenth of a worker's time, and found little: memory grew by 2 %.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 20)


def import_deferred_modules() -> None:
    """pyarrow imports pandas, for which it needs 0.2 s, with the first array that is made of Python objects: amid the
    first replies of a run it would take three times as long, and they would wait for it."""
    pa.array([""])
