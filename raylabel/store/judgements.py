"""Judgements: what a person said of a record or of one of its boxes.

They stand beside the steps' rows and change none of them: labels are judged where they are delivered, and by nobody who
asks. Each names what was judged (the labels of a record by a digest, a box by its pixels), so that it ends with them:
what is labeled anew is not judged yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raylabel.errors import InputError
from raylabel.records import PERSON, JsonObject, digest_of
from raylabel.store.results import Results

ACCEPT, REJECT, FLAG, NONE = WORDS = ("accept", "reject", "flag", "none")
"""``flag`` is for looking at it again, ``none`` takes a verdict back; a note may stand beside each."""

NOTE_LIMIT = 10_000
"""Characters."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict on a record, or on one box of it.

    Args:
        labels: digest of the record's labels as they were judged; of a verdict on a record.
        bbox_id, bbox: of a verdict on a box, with its pixels as they stand in ``annotations.jsonl``.
    """

    record_id: str
    verdict: str
    note: str = ""
    labels: str = ""
    bbox_id: str = ""
    bbox: tuple[float, ...] = ()
    by: str = PERSON

    def is_about(self, box: Iterable[float]) -> bool:
        """Whether it was given on a box with these pixels, as they stand in ``annotations.jsonl``."""
        return tuple(map(float, self.bbox)) == tuple(map(float, box))

    def to_json(self) -> JsonObject:
        """A line of ``judgements.jsonl``."""
        line: JsonObject = {"record_id": self.record_id}
        if self.bbox_id:
            line |= {"bbox_id": self.bbox_id, "bbox": list(self.bbox)}
        else:
            line["labels"] = self.labels
        return line | {"verdict": self.verdict, "note": self.note, "by": self.by}


@dataclass(slots=True)
class RecordJudgements:
    """The last verdict on a record, and those on its boxes by ``bbox_id``."""

    record: Judgement | None = None
    boxes: dict[str, Judgement] = field(default_factory=dict)


Judgements = Mapping[str, RecordJudgements]
"""By record id."""


def load_judgements(results: Results) -> Judgements:
    """The last verdict on each record and box; those that were taken back are left out."""
    columns = ("bbox_id", "bbox", "labels", "verdict", "note", "by")
    last: dict[tuple[str, str], Judgement] = {}
    for row in results.judgements().scan(columns).to_pylist():  # oldest first
        bbox = tuple(json.loads(row["bbox"])) if row["bbox"] else ()
        last[row["key"], row["bbox_id"]] = Judgement(
            row["key"], row["verdict"], row["note"], row["labels"], row["bbox_id"], bbox, row["by"]
        )
    found: dict[str, RecordJudgements] = {}
    for (record_id, bbox_id), judgement in last.items():
        if judgement.verdict == NONE and not judgement.note:
            continue
        of_record = found.setdefault(record_id, RecordJudgements())
        if bbox_id:
            of_record.boxes[bbox_id] = judgement
        else:
            of_record.record = judgement
    return found


def store_judgements(results: Results, judgements: Iterable[Judgement]) -> None:
    """Add verdicts: all of them are in the store when this returns, or none."""
    now = time.time()
    results.judgements().append(
        [
            {
                "key": one.record_id,
                "bbox_id": one.bbox_id,
                "bbox": json.dumps(list(one.bbox)) if one.bbox_id else "",
                "labels": one.labels,
                "verdict": one.verdict,
                "note": one.note,
                "by": one.by,
                "at": now,
            }
            for one in judgements
        ]
    )


def digest_of_judgements(judgements: Judgements) -> str:
    """The same for the same verdicts."""
    every = [
        one.to_json()
        for _, of_record in sorted(judgements.items())
        for one in (of_record.record, *(box for _, box in sorted(of_record.boxes.items())))
        if one is not None
    ]
    return digest_of(*every)


def read_judgements(lines: Iterable[bytes], name: str) -> list[Judgement]:
    """The verdicts of a ``judgements.jsonl``; blank lines are passed over.

    Raises:
        InputError: a line is none; the message names the file and the line.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_read(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}, line {number}: {str(error)[:200]}") from None
    return found


def _read(value: object) -> Judgement:
    """Raises ``ValueError``."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")

    def text(name: str, most: int) -> str:
        found = value.get(name, "")
        if not isinstance(found, str) or len(found) > most:
            raise ValueError(f'"{name}": expected a text of at most {most} characters')
        found.encode()  # half of a surrogate pair is no text; UnicodeError is a ValueError
        return found

    record_id, bbox_id, labels = (text(key, 64) for key in ("record_id", "bbox_id", "labels"))
    if len(record_id) != 32 or not set(record_id) <= set("0123456789abcdef"):
        raise ValueError('"record_id": expected the 32 hexadecimal digits of a record')
    if (verdict := value.get("verdict")) not in WORDS:
        raise ValueError(f'"verdict": expected one of {", ".join(WORDS)}')
    bbox = value.get("bbox", []) if bbox_id else []
    if (
        not isinstance(bbox, list)
        or len(bbox) != (4 if bbox_id else 0)
        or not all(type(n) in (int, float) for n in bbox)
    ):
        raise ValueError('"bbox": expected four numbers beside a bbox_id')
    if not bbox_id and not labels:
        raise ValueError('expected "labels", or "bbox_id" with "bbox": what was judged')
    return Judgement(record_id, verdict, text("note", NOTE_LIMIT), labels, bbox_id, tuple(bbox))
