"""``coco-grounding``: a COCO object whose images have captions, and whose boxes say which letters of it they are.

Source: ashkamath/mdetr, datasets/coco.py and scripts/pre-training; Ultralytics, ``GroundingDataset``; TAO's
``annotations convert``, which knows the form by the caption of the first image: none here is without.
"""

from __future__ import annotations

from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.captions import caption_with_spans
from raylabel.exports.training.coco import INFO, annotation
from raylabel.exports.training.samples import Sample
from raylabel.exports.training.writers import CocoEntries, CocoWriter, Job, Notes, Numbers
from raylabel.records import JsonObject

_OBJECT = 1


def grounding_entries(sample: Sample, numbers: Numbers, notes: Notes) -> CocoEntries:
    """The image of a record, and an annotation for each box of each of its phrases.

    ``tokens_negative`` are the letters that no box may match: those of phrases that match nothing, and all of them
    where no phrase matches.
    """
    caption, spans = caption_with_spans(sample, notes)
    missing = {phrase.text for phrase in sample.absent}
    absent = sorted({span for span, phrase in zip(spans, sample.phrases, strict=True) if phrase.text in missing})
    image: JsonObject = {
        "id": numbers.image,
        "file_name": sample.picture.name,
        "width": sample.picture.size.width,
        "height": sample.picture.size.height,
        "caption": caption,
        "dataset_name": "raylabel",
        "tokens_negative": [[0, len(caption)]] if sample.negative else [list(span) for span in absent],
        "tokens_positive_eval": [],
        "original_id": sample.record_id,
        "original_img_id": sample.image_id,
    }
    annotations: list[JsonObject] = []
    for span, phrase in zip(spans, sample.phrases, strict=True):
        if not phrase.instances:
            continue
        for instance in phrase.instances:
            entry = annotation(numbers, instance, phrase, _OBJECT)
            entry["tokens_positive"] = [list(span)]
            entry["phrase_ids"] = [len(image["tokens_positive_eval"])]
            annotations.append(entry)
        image["tokens_positive_eval"].append([list(span)])
    numbers.image += 1
    return [image], annotations


def _open(job: Job) -> CocoWriter:
    categories = [{"supercategory": "object", "id": _OBJECT, "name": "object"}]
    return CocoWriter(job, lambda split: f"{split}_grounding.json", grounding_entries, categories, INFO)


COCO_GROUNDING = TrainingFormat(
    name="coco-grounding",
    read_by="MDETR, Ultralytics YOLOE and YOLO-World, TAO annotations convert, MMDetection",
    coordinates="bbox: left, top, width, height in pixels of the image as displayed; tokens_positive: half-open ranges "
    "of the caption's characters (Unicode code points)",
    open=_open,
    lost=("flags", "regions"),
    background=True,
    note="An image entry for each caption. Entries without annotations are negatives for MDETR; Ultralytics and TAO do "
    "not use them.",
)
