"""``refcoco``: referring expressions in the layout of RefCOCO, ``refs(unc).p`` and ``instances.json``.

Source: lichengunc/refer, refer.py; mmdetection 3.3, ``RefCocoDataset``; ashkamath/mdetr, scripts/fine-tuning.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from posixpath import splitext
from typing import IO

from raylabel.exports.training import report
from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.coco import INFO, annotation
from raylabel.exports.training.report import BOXES, PHRASES
from raylabel.exports.training.samples import Phrase, Sample, joined
from raylabel.exports.training.writers import CocoFile, Entry, Job, JsonList, Notes, Numbers
from raylabel.geometry import iou, px_to_xyxy
from raylabel.records import Box, Instance, JsonObject
from raylabel.validation import SAME_BOX_IOU

SPLIT_BY = "unc"
"""Part of the file's name: who divided the data set. Loaders know some names only."""
CATEGORY = 1
CATEGORIES = ({"supercategory": "object", "id": CATEGORY, "name": "object"},)
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_PROTOCOL = 2


class RefNumbers(Numbers):
    """The next id of a ref and of a sentence, too. gRefCOCO's loader takes a ref with the id 0 for none."""

    def __init__(self) -> None:
        super().__init__()
        self.ref, self.sentence = 1, 1


def cleaned(text: str) -> str:
    """A phrase as ``sent``: its words in lower case.

    >>> cleaned("The man's left-hand  Bag!")
    "the man's left-hand bag"
    """
    return " ".join(_WORD.findall(text.lower())) or text.lower().strip()


def sentences(sample: Sample, notes: Notes) -> list[Phrase]:
    """The phrases and descriptions of an image, those that read the same as one with all their boxes.

    Of boxes that several captions of the image gave for one phrase, those that nearly agree are one object.
    """
    merged: dict[str, Phrase] = {}
    for phrase in sample.referred:
        sent = cleaned(phrase.text)
        first = merged.get(sent)
        if first is None:
            merged[sent] = phrase
            continue
        notes.change(report.SAME_TEXT)
        new = [i for i in phrase.instances if all(iou(i.box, k.box) < SAME_BOX_IOU for k in first.instances)]
        notes.drop(BOXES, report.REPEATED, len(phrase.instances) - len(new))
        merged[sent] = replace(first, instances=(*first.instances, *new))
    return list(merged.values())


def ref(sample: Sample, split: str, phrases: Iterable[Phrase], target: JsonObject, numbers: RefNumbers) -> JsonObject:
    """Sentences about one target of the present image.

    Args:
        target: its ``ann_id`` and ``category_id``.
    """
    said = []
    for phrase in phrases:
        sent = cleaned(phrase.text)
        said.append({"sent_id": numbers.sentence, "raw": phrase.text, "sent": sent, "tokens": sent.split()})
        numbers.sentence += 1
    stem, suffix = splitext(sample.picture.name)
    entry = {
        "ref_id": numbers.ref,
        **target,
        "image_id": numbers.image,
        "file_name": f"{stem}_{numbers.ref}{suffix}",  # MDETR's converter cuts it at its last "_"
        "split": split,
        "sent_ids": [one["sent_id"] for one in said],
        "sentences": said,
    }
    numbers.ref += 1
    return entry


class Objects:
    """The annotations of the present image: one for each different box."""

    def __init__(self, numbers: RefNumbers) -> None:
        self._numbers = numbers
        self._ids: dict[Box, int] = {}
        self.annotations: list[JsonObject] = []

    def id_of(self, phrase: Phrase, instance: Instance) -> int:
        """The annotation of a box, made where there is none yet."""
        found = self._ids.get(instance.box)
        if found is None:
            entry = annotation(self._numbers, instance, phrase, CATEGORY)
            x1, y1, x2, y2 = px_to_xyxy(instance.box)
            entry["segmentation"] = [[x1, y1, x2, y1, x2, y2, x1, y2]]  # MMDetection fails without
            self.annotations.append(entry)
            found = self._ids[instance.box] = entry["id"]
        return found


def refs_of(sample: Sample, split: str, numbers: RefNumbers, notes: Notes) -> tuple[list[JsonObject], list[JsonObject]]:
    """Refs and annotations of an image: a ref for each object that a sentence refers to alone, with all such sentences,
    as MMDetection keeps one ref an object."""
    objects = Objects(numbers)
    said: dict[int, list[Phrase]] = {}
    for phrase in sentences(sample, notes):
        if not phrase.instances:
            notes.drop(PHRASES, report.NEGATIVE)
        elif len(phrase.instances) > 1:
            notes.drop(PHRASES, report.SEVERAL_BOXES)
        else:
            said.setdefault(objects.id_of(phrase, phrase.instances[0]), []).append(phrase)
    refs = [
        ref(sample, split, phrases, {"ann_id": ident, "category_id": CATEGORY}, numbers)
        for ident, phrases in said.items()
    ]
    return refs, objects.annotations


class PickledList:
    """A pickled list, entry by entry: a pickle is a program, and each entry's own ends in "append it"."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        out.write(pickle.PROTO + bytes([_PROTOCOL]) + pickle.EMPTY_LIST)

    def add(self, value: JsonObject) -> None:
        """Write an entry."""
        self._out.write(pickle.dumps(value, _PROTOCOL)[2:-1] + pickle.APPEND)

    def close(self) -> None:
        """End the list."""
        self._out.write(pickle.STOP)


RefsOf = Callable[[Sample, str, RefNumbers, Notes], tuple[list[JsonObject], list[JsonObject]]]


class RefsWriter:
    """The files of all splits together: a ref names its own.

    Args:
        folder: the name of the data set.
        refs: of the file, without its suffix.
        convert: an image's refs and annotations, none where there is nothing to refer to.
        pickled: as a pickle, too; many loaders read that alone.
    """

    def __init__(self, job: Job, folder: str, refs: str, convert: RefsOf, *, pickled: bool) -> None:
        self._job = job
        self._convert = convert
        self._numbers = RefNumbers()
        self._names = [f"{folder}/instances.json", f"{folder}/{refs}.json"]
        self._instances = CocoFile(job, self._names[0], INFO)
        self._refs: list[JsonList | PickledList] = [JsonList(job.out.open(self._names[1]))]
        if pickled:
            self._names.append(f"{folder}/{refs}.p")
            self._refs.append(PickledList(job.out.open(self._names[-1])))

    def add(self, entry: Entry) -> None:
        """See ``Writer``."""
        sample, notes, numbers = joined(entry.samples), Notes(), self._numbers
        refs, annotations = self._convert(sample, entry.split, numbers, notes)
        if refs:
            size = sample.picture.size
            image = {"id": numbers.image, "file_name": sample.picture.name, "width": size.width, "height": size.height}
            self._instances.add([image], annotations)
            for out in self._refs:
                for one in refs:
                    out.add(one)
            numbers.image += 1
        notes.count_in(self._job.tally)

    def close(self) -> list[str]:
        """See ``Writer``."""
        self._instances.close(CATEGORIES)
        for out in self._refs:
            out.close()
        return self._names


def _open(job: Job) -> RefsWriter:
    return RefsWriter(job, "refcoco", f"refs({SPLIT_BY})", refs_of, pickled=True)


COORDINATES = "bbox: left, top, width, height in pixels of the image as displayed; segmentation: the corners of the box"

REFCOCO = TrainingFormat(
    name="refcoco",
    read_by="refer.py and what is built on it, MMDetection, MDETR",
    coordinates=COORDINATES,
    open=_open,
    lost=("flags", "char_span", "caption"),
    by_image=True,
    note="Phrases and descriptions with exactly one box: a ref has one target. The JSON file holds what the pickle "
    "holds, for those who unpickle nothing.",
)
