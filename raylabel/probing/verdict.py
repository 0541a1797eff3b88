"""What is known of an endpoint's model once it was looked into: kept, shown, and written to ``run.json``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter, with_config

from raylabel.errors import GeometryError, InputError
from raylabel.probing.box_reading import BoxReading
from raylabel.probing.hypotheses import describe_convention
from raylabel.profiles import Profile
from raylabel.records import JsonObject

MEASURED, VERIFIED, TRUSTED = "measured", "verified", "trusted"
"""All probes were asked about; one was; none was."""


@with_config(ConfigDict(extra="forbid"))  # and with it all that is inside: fields of another version of raylabel
@dataclass(frozen=True, slots=True)
class Verdict:
    """How an endpoint's model writes boxes, and how that is known.

    Args:
        endpoint: host.
        model: as configured.
        served: the names that the server gives it, best first.
        profile: whole, so that it needs no table to be used again.
        how: ``measured``, ``verified`` or ``trusted``.
        mean_iou: of the answers to the probes; None where none were asked for, ``runner_up_iou`` likewise.
        runner_up: the next best way to read the answers, in words; empty where there is none.
        requests: replies that were paid for.
        note: what else a user should know.
        reading: how the model reads boxes that a question hands to it; None where nobody has asked.
    """

    endpoint: str
    model: str
    served: tuple[str, ...]
    profile: Profile
    how: str
    mean_iou: float | None = None
    runner_up: str = ""
    runner_up_iou: float | None = None
    requests: int = 0
    note: str = ""
    reading: BoxReading | None = None

    @property
    def asked_as(self) -> Profile:
        """The profile, with the convention in which boxes are handed to the model where that is another one."""
        if self.reading is None or self.reading.convention is None:
            return self.profile
        return dataclasses.replace(self.profile, reads=self.reading.convention)

    def describe(self) -> str:
        """One line for a person.

        >>> from raylabel.profiles import UNKNOWN
        >>> Verdict("host", "my-vlm", ("my-vlm",), UNKNOWN, MEASURED, 0.981, "yxyx, 0-1000", 0.213).describe()
        'my-vlm: xyxy, 0-1000 (measured, mean IoU 0.98; next: yxyx, 0-1000 with 0.21)'
        """
        known = [self.how]
        if self.how == TRUSTED:
            known = [f"profile {self.profile.name}, taken on trust"]
        elif self.how == VERIFIED:
            known = [f"profile {self.profile.name}, verified"]
        if self.mean_iou is not None:
            known[0] += f", mean IoU {self.mean_iou:.2f}"
        if self.runner_up and self.runner_up_iou is not None:
            known.append(f"next: {self.runner_up} with {self.runner_up_iou:.2f}")
        if self.note:
            known.append(self.note)
        if self.reading is not None:
            known.append(self.reading.describe())
        return f"{self.model}: {describe_profile(self.profile)} ({'; '.join(known)})"


def describe_profile(profile: Profile) -> str:
    """How a profile's boxes are written."""
    return describe_convention(profile.convention, profile.resize)


@functools.cache
def _adapter() -> TypeAdapter[Verdict]:
    return TypeAdapter(Verdict)


def verdict_to_json(verdict: Verdict) -> JsonObject:
    """Plain JSON; ``verdict_from_json`` reads it back unchanged."""
    stored = dataclasses.asdict(verdict)
    return {**stored, "profile": _renamed(stored["profile"], _STORED_AS)}


def verdict_from_json(value: JsonObject) -> Verdict:
    """The inverse of ``verdict_to_json``.

    Raises:
        InputError: not a verdict, or one of another version of raylabel.
    """
    try:
        value = {**value, "profile": _renamed(value["profile"], _FIELDS)}
        return _adapter().validate_python(value)
    except (GeometryError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"this is no verdict on a model's boxes: {error}") from error


_STORED_AS = {"question_style": "wording"}
"""Fields of a profile that go by another name where verdicts are kept."""
_FIELDS = {stored: field for field, stored in _STORED_AS.items()}


def _renamed(profile: JsonObject, names: Mapping[str, str]) -> JsonObject:
    return {names.get(name, name): value for name, value in dict(profile).items()}
