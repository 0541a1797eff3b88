"""The formats that a truth may have. A new one is one file here and one line in this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raylabel.errors import InputError
from raylabel.evaluation.truth.annotations import is_annotations, read_annotations
from raylabel.evaluation.truth.coco import is_coco, read_coco
from raylabel.evaluation.truth.drawn import is_drawn, read_drawn
from raylabel.evaluation.truth.files import Glimpse, look_at
from raylabel.evaluation.truth.flickr import is_flickr, read_flickr
from raylabel.evaluation.truth.kitti import is_kitti, read_kitti
from raylabel.evaluation.truth.odvg import is_odvg, read_odvg
from raylabel.evaluation.truth.refcoco import is_referring_lines, is_refs, read_referring_lines, read_refs
from raylabel.evaluation.truth.values import Truth


@dataclass(frozen=True, slots=True)
class TruthFormat:
    """How a truth is written.

    Args:
        fits: whether a location seems to be of it.
        read: raises ``InputError`` where it is not.
    """

    name: str
    fits: Callable[[Glimpse], bool]
    read: Callable[[str], Truth]


TRUTH_FORMATS: dict[str, TruthFormat] = {
    one.name: one
    for one in (
        TruthFormat("raylabel", is_annotations, read_annotations),
        TruthFormat("coco", is_coco, read_coco),
        TruthFormat("odvg", is_odvg, read_odvg),
        TruthFormat("refcoco", is_refs, read_refs),
        TruthFormat("refcoco-jsonl", is_referring_lines, read_referring_lines),
        TruthFormat("flickr30k-entities", is_flickr, read_flickr),
        TruthFormat("kitti", is_kitti, read_kitti),
        TruthFormat("demo", is_drawn, read_drawn),
    )
}


def read_truth(location: str, name: str | None = None) -> tuple[Truth, str]:
    """A truth and the name of its format.

    Args:
        name: of the format; None: what it seems to be.

    Raises:
        InputError: it cannot be read, its format is not known, or it holds nothing.
    """
    seen = look_at(location)
    fitting = [one for one in TRUTH_FORMATS.values() if one.name == name or (name is None and one.fits(seen))]
    if not fitting:
        raise InputError(
            f"--truth: the format of {location} is none of {', '.join(TRUTH_FORMATS)}; --truth-format names it where "
            "it is not recognised"
        )
    truth = fitting[0].read(location)
    if not truth.entries:
        raise InputError(f"--truth: {location} says nothing of any image (read as {fitting[0].name})")
    return truth, fitting[0].name
