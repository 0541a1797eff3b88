"""Verified, pixel-accurate grounding annotations from a vision-language model, at scale, on Ray.

What programs and notebooks use is in ``__all__``, described in ``raylabel.api``, and imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raylabel.api import (
        Outcome,
        RaylabelError,
        Record,
        RunResult,
        Settings,
        export,
        load_settings,
        read,
        run,
        to_dataset,
    )

__version__ = "0.1.0"

__all__ = [
    "Outcome",
    "RaylabelError",
    "Record",
    "RunResult",
    "Settings",
    "export",
    "load_settings",
    "read",
    "run",
    "to_dataset",
]


def __getattr__(name: str) -> Any:
    # The command line, and the processes of Ray, import this module too and need nothing of it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module("raylabel.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
