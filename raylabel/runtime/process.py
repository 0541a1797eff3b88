"""How a process that does nothing but label records is set up."""

from __future__ import annotations

import gc

import pyarrow as pa

_ALLOCATIONS = 50_000


def rare_garbage_collection() -> None:
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
