"""``ms-swift``: boxes in real pixels, which the trainer turns into the numbers of the model that it trains.

Source: modelscope/ms-swift, docs/source_en/Customization/Custom-dataset.md, "Grounding".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from raylabel.exports.training import report
from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.conversations import MEDIA
from raylabel.exports.training.report import PHRASES
from raylabel.exports.training.samples import Phrase, Sample, merged_by_text
from raylabel.exports.training.writers import Job, JsonLinesWriter, Notes
from raylabel.geometry import px_to_xyxy
from raylabel.records import JsonObject

QUESTION = "<image>Find every <ref-object> in the image."
NOTHING, NO_ENTRY = "None", "[]"
_RESERVED = re.compile(MEDIA)


def swift_lines(sample: Sample, notes: Notes, *, as_json: bool = False) -> Iterator[JsonObject]:
    """A line for each different phrase: as many ``<bbox>`` as boxes, and one ``<ref-object>``.

    Args:
        as_json: the answer is the list of objects that Qwen's own examples show; for QWENVL_BBOX_FORMAT=new.
    """
    phrases, merged = merged_by_text(sample.phrases)
    notes.change(report.SAME_TEXT, merged)
    for phrase in phrases:
        if _RESERVED.search(phrase.text):
            notes.drop(PHRASES, report.RESERVED)
            continue
        yield {
            "messages": [
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": _answer_json(phrase) if as_json else _answer(phrase)},
            ],
            "images": [sample.picture.name],
            "objects": {"ref": [phrase.text], "bbox": [px_to_xyxy(box) for box in phrase.boxes], "bbox_type": "real"},
        }


def _answer(phrase: Phrase) -> str:
    return "<bbox>" * len(phrase.instances) or NOTHING


def _answer_json(phrase: Phrase) -> str:
    # The label is written out: the trainer would not escape quotation marks in what it puts for <ref-object>.
    entry = f'\t{{"bbox_2d": <bbox>, "label": {json.dumps(phrase.text, ensure_ascii=False)}}}'
    return "[\n" + ",\n".join([entry] * len(phrase.instances)) + "\n]" if phrase.instances else NO_ENTRY


def _open(job: Job) -> JsonLinesWriter:
    return JsonLinesWriter(job, lambda split: f"{split}.ms-swift.xyxy-pixels.jsonl", swift_lines)


def _open_json(job: Job) -> JsonLinesWriter:
    def convert(sample: Sample, notes: Notes) -> Iterator[JsonObject]:
        return swift_lines(sample, notes, as_json=True)

    return JsonLinesWriter(job, lambda split: f"{split}.ms-swift-json.xyxy-pixels.jsonl", convert)


_COORDINATES = (
    "objects.bbox: x1, y1, x2, y2 in pixels of the image as displayed (bbox_type real); ms-swift turns them into the "
    "numbers of the model"
)
_LOST = ("score", "verified", "bbox_id", "flags", "char_span", "caption", "regions")
_ROOT = "ms-swift looks for images below the folder in ROOT_IMAGE_DIR."

MS_SWIFT = TrainingFormat(
    name="ms-swift",
    read_by="ms-swift, for every model that it trains",
    coordinates=_COORDINATES,
    open=_open,
    lost=_LOST,
    note=_ROOT,
)
MS_SWIFT_JSON = TrainingFormat(
    name="ms-swift-json",
    read_by="ms-swift with QWENVL_BBOX_FORMAT=new, for Qwen2.5-VL and Qwen3-VL",
    coordinates=_COORDINATES,
    open=_open_json,
    lost=_LOST,
    note=_ROOT,
)
