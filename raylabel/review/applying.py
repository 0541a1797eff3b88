"""``judgements.jsonl`` back into the store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from raylabel.errors import InputError
from raylabel.review.reading import Reviewed
from raylabel.review.shown import Shown
from raylabel.store.judgements import Judgement, read_judgements, store_judgements


@dataclass(frozen=True)
class Applied:
    """What became of a file of judgements.

    Args:
        records, boxes: verdicts that were stored, by their word.
        outdated: about labels that are others by now, or not there; they are left out.
    """

    records: Counter[str]
    boxes: Counter[str]
    outdated: int


def apply_judgements(reviewed: Reviewed, file: Path) -> Applied:
    """Store the judgements of a file that are about labels as they are now; later ones replace earlier ones.

    Raises:
        InputError: the file cannot be read, or a line is no judgement; nothing is stored then.
    """
    try:
        with file.open("rb") as stream:
            judgements = read_judgements(stream, str(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    by_record: dict[str, list[Judgement]] = {}
    for one in judgements:
        by_record.setdefault(one.record_id, []).append(one)
    stored: list[Judgement] = []
    for shown in reviewed.shown():
        own = by_record.get(str(shown.line.get("record_id")))
        if own and shown.labels:
            stored += [one for one in own if _is_up_to_date(one, shown)]
    if stored:
        store_judgements(reviewed.results, stored)
    return Applied(
        Counter(one.verdict for one in stored if not one.bbox_id),
        Counter(one.verdict for one in stored if one.bbox_id),
        len(judgements) - len(stored),
    )


def _is_up_to_date(one: Judgement, shown: Shown) -> bool:
    if not one.bbox_id:
        return one.labels == shown.labels
    boxes = (box for phrase in shown.phrases for box in phrase.boxes if box.bbox_id == one.bbox_id)
    return any(map(one.is_about, (box.box for box in boxes)))
