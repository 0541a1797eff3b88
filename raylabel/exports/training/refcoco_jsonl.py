"""``refcoco-jsonl``: a line for each phrase or description and its box, as the evaluations of Qwen-VL and InternVL read
RefCOCO.

Source: QwenLM/Qwen-VL, eval_mm/evaluate_grounding.py; OpenGVLab/InternVL, eval/refcoco.
"""

from __future__ import annotations

from collections.abc import Iterator

from raylabel.exports.training import report
from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.report import PHRASES
from raylabel.exports.training.samples import Sample, merged_by_text
from raylabel.exports.training.writers import Job, JsonLinesWriter, Notes
from raylabel.geometry import px_to_xyxy
from raylabel.records import JsonObject


def referring_lines(sample: Sample, notes: Notes) -> Iterator[JsonObject]:
    """A line for each different phrase or description that exactly one object of the image matches."""
    phrases, merged = merged_by_text(sample.referred)
    notes.change(report.SAME_TEXT, merged)
    for phrase in phrases:
        if not phrase.instances:
            notes.drop(PHRASES, report.NEGATIVE)
        elif len(phrase.instances) > 1:
            notes.drop(PHRASES, report.SEVERAL_BOXES)
        else:
            yield {
                "image": sample.picture.name,
                "sent": phrase.text,
                "bbox": px_to_xyxy(phrase.instances[0].box),
                "height": sample.picture.size.height,
                "width": sample.picture.size.width,
            }


def _open(job: Job) -> JsonLinesWriter:
    return JsonLinesWriter(job, lambda split: f"{split}.refcoco.xyxy-pixels.jsonl", referring_lines)


REFCOCO_JSONL = TrainingFormat(
    name="refcoco-jsonl",
    read_by="the RefCOCO evaluations of Qwen-VL and InternVL",
    coordinates="bbox: x1, y1, x2, y2 in pixels of the image as displayed",
    open=_open,
    lost=("score", "verified", "bbox_id", "flags", "char_span", "caption"),
    note="Phrases with exactly one box: a line has one target.",
)
