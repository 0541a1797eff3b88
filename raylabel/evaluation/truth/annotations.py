"""An earlier ``annotations.jsonl`` of raylabel's, or a ``results_dir`` that holds one."""

from __future__ import annotations

from collections import Counter

from raylabel.evaluation.given import GivenRecord, read_given
from raylabel.evaluation.truth.files import Glimpse, json_lines, look_at
from raylabel.evaluation.truth.values import TrueBox, TrueEntry, TruePhrase, Truth
from raylabel.storage.locations import join_name

FILE = "annotations.jsonl"


def is_annotations(seen: Glimpse) -> bool:
    if seen.is_folder:
        return FILE in seen.names
    return seen.first is not None and {"record_id", "image_path"} <= seen.first.keys()


def read_annotations(location: str) -> Truth:
    """The records that ended well, with the phrases that were answered; whatever else is in the file is no truth."""
    if look_at(location).is_folder:
        location = join_name(location, FILE)
    entries = []
    left_out: Counter[str] = Counter()
    for where, line in json_lines(location):
        record = read_given(line, where)
        if record.state:
            left_out[f"records that are {record.state}"] += 1
        else:
            entries.append(_entry(record, left_out))
    return Truth(entries, left_out=left_out)


def _entry(record: GivenRecord, left_out: Counter[str]) -> TrueEntry:
    phrases = []
    for phrase in record.phrases:
        if phrase.answered:
            phrases.append(TruePhrase(phrase.text, tuple(TrueBox(box) for box in phrase.boxes)))
        else:
            left_out["phrases that were not answered"] += 1
    caption = record.captions[0] if record.captions else ""
    return TrueEntry(record.image, tuple(phrases), caption, record.size)
