"""KITTI: a label file an image, a row an object; ``DontCare`` rows mark regions that were not labeled.

Source: KITTI's object development kit, readme.txt.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from raylabel.errors import InputError
from raylabel.evaluation.truth.files import Glimpse, bytes_of, files_in
from raylabel.evaluation.truth.values import TrueBox, TrueEntry, TruePhrase, Truth
from raylabel.records import Box
from raylabel.sources.kitti_rows import read_labels

_DONT_CARE = re.compile(rb"^\s*DontCare\s+(?:\S+\s+){3}(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", re.MULTILINE | re.IGNORECASE)


def is_kitti(seen: Glimpse) -> bool:
    return seen.is_folder and any(name.lower().endswith(".txt") for name in seen.names)


def read_kitti(location: str) -> Truth:
    """A folder of label files, each with the stem of its image."""
    entries: list[TrueEntry] = []
    classes: set[str] = set()
    left_out: Counter[str] = Counter()
    for stem, file in files_in(location, ".txt"):
        data = bytes_of(file)
        seeds, unused = read_labels(data, stem)
        if unused:
            left_out["rows that are none of KITTI's"] += len(unused)
        boxes: dict[str, list[TrueBox]] = defaultdict(list)
        for seed in seeds:
            boxes[seed.type].append(TrueBox(seed.box, seed.type))
        classes |= boxes.keys()
        phrases = tuple(TruePhrase(kind, tuple(found), kind) for kind, found in boxes.items())
        entries.append(TrueEntry(f"{stem}.txt", phrases, ignored=tuple(_ignored(data, file))))
    if entries and not classes:
        raise InputError(f"{location}: no label file in it has a row of KITTI's")
    return Truth(entries, frozenset(classes), left_out)


def _ignored(data: bytes, file: str) -> list[Box]:
    try:
        found = [Box(*map(float, numbers)) for numbers in _DONT_CARE.findall(data)]
    except ValueError as error:
        raise InputError(f"{file}: a DontCare row without numbers ({error})") from error
    return [box for box in found if box.width > 0 and box.height > 0]
