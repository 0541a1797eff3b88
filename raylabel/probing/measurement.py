"""What came of asking a model about the probes."""

from __future__ import annotations

from dataclasses import dataclass

from raylabel.probing.box_reading import BoxReading
from raylabel.probing.probes import Probe
from raylabel.profiles import Profile
from raylabel.records import Box


@dataclass(frozen=True, slots=True)
class Shown:
    """One rectangle of a probe with what was answered for it.

    Args:
        placed_px: the answered boxes as the measured profile reads them, in displayed pixels; may leave the picture.
        together: asked for in one question with the others.
    """

    probe: Probe
    color: str
    placed_px: tuple[Box, ...]
    overlap: float
    together: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """How a model's boxes come out.

    Args:
        profile: that reads them best, also where that is not good enough.
        mean_iou: over every rectangle asked for.
        runner_up: the next best way to read them, in words; empty where there is none.
        requests: replies that were paid for.
        note: what a user should know of the profile.
        problem: why the boxes cannot be relied upon; empty: they can.
        shown: for the sheet.
        reading: how the model reads boxes that are handed to it; None where that was not asked.
    """

    profile: Profile
    mean_iou: float
    runner_up: str
    runner_up_iou: float
    requests: int
    note: str = ""
    problem: str = ""
    shown: tuple[Shown, ...] = ()
    reading: BoxReading | None = None
