"""What a model said of one rectangle, in its own numbers, beside where the rectangle is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raylabel.answers.entry import AnswerBox
from raylabel.answers.reading import Reading, ReplyKind, read_boxes
from raylabel.geometry import ORDERS, Corners, View
from raylabel.probing.probes import Probe, phrase_for
from raylabel.records import Box


@dataclass(frozen=True, slots=True)
class Observation:
    """One rectangle that was asked for.

    Args:
        color: which.
        truth_px: where it is, in displayed pixels.
        view: of the picture that was sent.
        together: asked for in one question with the others.
        found: by order, the boxes said to be it, as corners in the model's numbers; empty: none was given.
    """

    color: str
    truth_px: Box
    view: View
    together: bool
    found: Mapping[str, tuple[Corners, ...]]

    @property
    def is_answered(self) -> bool:
        return any(self.found.values())


@dataclass(frozen=True, slots=True)
class Response:
    """A reply to one question about a probe.

    Args:
        colors: what was asked for, in the order of the question's numbers.
        text: empty where no usable reply came, twice.
        trouble: why none came.
        requests: replies that were paid for.
    """

    probe: Probe
    view: View
    colors: tuple[str, ...]
    text: str
    trouble: str = ""
    requests: int = 1

    @property
    def reading(self) -> Reading:
        return self._read(ORDERS[0])

    def observations(self) -> list[Observation]:
        """One for each rectangle asked for; what came of the text, in each order."""
        read = {order: self._read(order) for order in ORDERS} if self.text else {}
        return [
            Observation(
                color,
                self.probe.boxes_px[color],
                self.view,
                len(self.colors) > 1,
                {order: self._boxes_of(color, reading) for order, reading in read.items()},
            )
            for color in self.colors
        ]

    def _read(self, order: str) -> Reading:
        return read_boxes(self.text, order, None, [phrase_for(color) for color in self.colors])

    def _boxes_of(self, color: str, reading: Reading) -> tuple[Corners, ...]:
        if reading.kind is not ReplyKind.BOXES:
            return ()
        boxes = (box.corners for box in reading.boxes if color == self._meant(box))
        return tuple(dict.fromkeys(boxes))

    def _meant(self, box: AnswerBox) -> str | None:
        """The colour a box belongs to; a single one asked for needs no telling. The number counts before the label."""
        if len(self.colors) == 1:
            return self.colors[0]
        if box.number is not None:
            return self.colors[box.number - 1] if 1 <= box.number <= len(self.colors) else None
        return next((color for color in self.colors if phrase_for(color) == box.phrase), None)


def observe(responses: Sequence[Response]) -> list[Observation]:
    """All observations of several replies."""
    return [observation for response in responses for observation in response.observations()]
