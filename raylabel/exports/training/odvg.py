"""``odvg``: the two JSON lines files and the label map of Grounding DINO's trainers.

Source: NVIDIA tao_pytorch_backend, tao-data-services; mmdetection 3.3, ``ODVGDataset``; Open-GroundingDino,
datasets/odvg.py. They differ, and one file has to suit all three.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from raylabel.exports.json_lines import to_json_line
from raylabel.exports.training import report
from raylabel.exports.training.base import ONLY_NAMED, TrainingFormat
from raylabel.exports.training.captions import built_caption, caption_with_spans
from raylabel.exports.training.coco import boxes_by_class
from raylabel.exports.training.report import PHRASES, RECORDS
from raylabel.exports.training.samples import Phrase, Sample, joined
from raylabel.exports.training.writers import Entry, Job, Notes
from raylabel.geometry import px_to_xyxy
from raylabel.records import JsonObject

TEXT_TOKENS = 200
"""Of the 256 that BERT takes; the number is an estimate."""
_WORD = re.compile(r"\w+|[^\w\s]")


def grounding_lines(sample: Sample, notes: Notes) -> list[JsonObject]:
    """A record's lines with regions: mostly one.

    * None for a record without boxes: empty regions crash TAO and Open-GroundingDino.
    * A region for each box: several boxes in one region are for MMDetection alone.
    * TAO and Open-GroundingDino look for a phrase in all phrases joined and take the first place where it occurs:
      phrases that contain one another stand on lines of their own, and none holds a full stop.
    """
    found: list[Phrase] = []
    for phrase in sample.phrases:
        if not phrase.instances:
            continue
        text = " ".join(phrase.text.replace(".", " ").split())
        if not text:
            notes.drop(PHRASES, report.EMPTY)
            continue
        notes.change(report.DOT_REPLACED, int("." in phrase.text))
        found.append(replace(phrase, text=text))
    if not found:
        notes.drop(f"{RECORDS} with phrases", report.NEGATIVE)
        return []
    groups = _apart(found)
    if len(groups) == 1:
        caption, spans = caption_with_spans(sample, notes)
        if _tokens(caption) <= TEXT_TOKENS:
            by_phrase = [
                (phrase, span)
                for phrase, span in zip(sample.phrases, spans, strict=True)
                if phrase.instances and phrase.text.replace(".", " ").strip()
            ]
            spans = [span for _, span in by_phrase]
            return [_grounding_line(sample, caption, found, spans)]
        notes.change(report.MANY_WORDS)
    else:
        notes.change(report.SPLIT_RECORD)
    lines = []
    for group in groups:
        caption, spans = built_caption([phrase.text for phrase in group], notes)
        lines.append(_grounding_line(sample, caption, group, spans))
    return lines


def _grounding_line(
    sample: Sample, caption: str, phrases: Sequence[Phrase], spans: Sequence[tuple[int, int]]
) -> JsonObject:
    regions = [
        {"bbox": px_to_xyxy(instance.box), "phrase": phrase.text, "tokens_positive": [list(span)]}
        for phrase, span in zip(phrases, spans, strict=True)
        for instance in phrase.instances
    ]
    return _image(sample) | {"grounding": {"caption": caption, "regions": regions}}


def _image(sample: Sample) -> JsonObject:
    """TAO reads ``file_name``; MMDetection and Open-GroundingDino read ``filename``."""
    size = sample.picture.size
    name = sample.picture.name
    return {"file_name": name, "filename": name, "height": size.height, "width": size.width}


def _apart(phrases: Sequence[Phrase]) -> list[list[Phrase]]:
    """Groups in which no phrase contains another one, and which the text encoder takes whole."""
    groups: list[list[Phrase]] = []
    texts: list[set[str]] = []
    sizes: list[int] = []
    for phrase in phrases:
        text = phrase.text.casefold()
        tokens = _tokens(text) + 1
        for group, known, at in zip(groups, texts, range(len(sizes)), strict=True):
            fits = text in known or sizes[at] + tokens <= TEXT_TOKENS
            if fits and not any(other != text and (text in other or other in text) for other in known):
                group.append(phrase)
                sizes[at] += 0 if text in known else tokens
                known.add(text)
                break
        else:
            groups.append([phrase])
            texts.append({text})
            sizes.append(tokens)
    return groups


def _tokens(text: str) -> int:
    """About how many tokens BERT makes of a text, rather too many: a piece of three letters, or one other sign."""
    return sum(math.ceil(len(word) / 3) if word.isascii() else len(word) for word in _WORD.findall(text))


def detection_line(sample: Sample, ids: dict[str, int], notes: Notes) -> JsonObject:
    """The line of an image; without instances where nothing that was asked about is there: a negative."""
    instances = [
        {"bbox": px_to_xyxy(instance.box), "label": ids[phrase.category], "category": phrase.category}
        for phrase, instance in boxes_by_class(sample, notes)
    ]
    return _image(sample) | {"detection": {"instances": instances}}


def label_map(classes: Iterable[str]) -> bytes:
    """Names by index; indices are texts, contiguous from "0"."""
    return json.dumps({str(n): name for n, name in enumerate(classes)}, ensure_ascii=False, indent=1).encode() + b"\n"


class _Writer:
    """Two files a split: TAO takes a line with ``detection`` for nothing else, and wants a label map for it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._ids = {name: number for number, name in enumerate(job.classes)}
        splits = job.splits.names
        self._grounding = {split: job.out.open(f"{split}_grounding.jsonl") for split in splits}
        self._detection = {split: job.out.open(f"{split}_detection.jsonl") for split in splits if self._ids}

    def add(self, entry: Entry) -> None:
        notes = Notes()
        for sample in entry.samples:
            for line in grounding_lines(sample, notes):
                self._grounding[entry.split].write(to_json_line(line))
        if self._ids:
            self._add_detection(entry, notes)
        notes.count_in(self._job.tally)

    def _add_detection(self, entry: Entry, notes: Notes) -> None:
        if not entry.complete or not all(sample.complete for sample in entry.samples):
            notes.drop("images with classes", report.SAME_IMAGE)
            return
        whole = joined(entry.samples)
        known = []
        for phrase in whole.phrases:
            category = self._job.class_map.class_of(phrase.text, phrase.noun)
            if category in self._ids:
                known.append(replace(phrase, category=category))
            else:
                notes.drop(f"{PHRASES} with classes", report.IGNORED if category == "" else report.NO_CLASS)
        if known:
            line = detection_line(replace(whole, phrases=tuple(known)), self._ids, notes)
            self._detection[entry.split].write(to_json_line(line))

    def close(self) -> list[str]:
        names = [f"{split}_grounding.jsonl" for split in self._grounding]
        if self._ids:
            self._job.out.put("labelmap.json", label_map(self._ids))
            names += [*(f"{split}_detection.jsonl" for split in self._detection), "labelmap.json"]
        return names


ODVG = TrainingFormat(
    name="odvg",
    read_by="TAO Grounding DINO, MM-Grounding-DINO, Open-GroundingDino",
    coordinates="bbox: x1, y1, x2, y2 in pixels of the image as displayed; tokens_positive: half-open ranges of the "
    "caption's characters (Unicode code points)",
    open=_Writer,
    lost=("score", "verified", "bbox_id", "flags", "regions"),
    background=True,
    by_image=True,
    classes=True,
    note=f"Images without boxes are in the detection files only. {ONLY_NAMED}",
)
