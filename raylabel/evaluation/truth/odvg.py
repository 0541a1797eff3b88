"""ODVG: a JSON line an image, with phrases of a caption (``grounding``) or objects of classes (``detection``).

Source: NVIDIA TAO, Grounding DINO; MMDetection, ``ODVGDataset``; Open-GroundingDino.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from raylabel.errors import InputError
from raylabel.evaluation.truth.files import Glimpse, json_lines
from raylabel.evaluation.truth.values import TrueBox, TrueEntry, TruePhrase, Truth, as_size, as_true_box
from raylabel.records import JsonObject


def is_odvg(seen: Glimpse) -> bool:
    return seen.first is not None and ("grounding" in seen.first or "detection" in seen.first)


def read_odvg(location: str) -> Truth:
    """A file of either kind of lines, or of both."""
    entries: list[TrueEntry] = []
    classes: set[str] = set()
    left_out: Counter[str] = Counter()
    for where, line in json_lines(location):
        name = line.get("file_name") or line.get("filename")  # TAO; MMDetection
        if not isinstance(name, str):
            raise InputError(f'{where}: expected "file_name" or "filename"')
        size = as_size(line.get("width"), line.get("height"))
        if (part := line.get("detection")) is not None:
            phrases = _objects(part, where, left_out)
            classes |= {phrase.text for phrase in phrases}
            entries.append(TrueEntry(name, tuple(phrases), "", size))
        if (part := line.get("grounding")) is not None:
            phrases, caption = _phrases(part, where, left_out)
            entries.append(TrueEntry(name, tuple(phrases), caption, size))
    return Truth(entries, frozenset(classes), left_out)


def _objects(part: Any, where: str, left_out: Counter[str]) -> list[TruePhrase]:
    boxes: dict[str, list[TrueBox]] = defaultdict(list)
    for instance in _list(part, "instances", where):
        kind = str(instance.get("category"))
        if (found := as_true_box(instance.get("bbox"), "xyxy", where, left_out, kind)) is not None:
            boxes[kind].append(found)
    return [TruePhrase(kind, tuple(found), kind) for kind, found in boxes.items()]


def _phrases(part: Any, where: str, left_out: Counter[str]) -> tuple[list[TruePhrase], str]:
    """Regions of equal words at equal places are one phrase with several boxes."""
    caption = part.get("caption") or part.get("captions") if isinstance(part, dict) else None
    caption = caption if isinstance(caption, str) else ""
    boxes: dict[tuple[str, str], list[TrueBox]] = defaultdict(list)
    for region in _list(part, "regions", where):
        phrase = region.get("phrase")
        text = " ".join(map(str, phrase)) if isinstance(phrase, list) else str(phrase or "")
        given = region.get("bbox")
        several = given if isinstance(given, list) and given and isinstance(given[0], list) else [given]
        for one in several:
            if (found := as_true_box(one, "xyxy", where, left_out)) is not None:
                boxes[text, str(region.get("tokens_positive"))].append(found)
    return [TruePhrase(text, tuple(found)) for (text, _), found in boxes.items()], caption


def _list(part: Any, name: str, where: str) -> list[JsonObject]:
    found = part.get(name) if isinstance(part, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f'{where}: expected "{name}", a list of objects')
    return found
