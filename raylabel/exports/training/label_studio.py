"""``label-studio``: tasks with predictions to be corrected, and the labelling configuration that they are shown in.

Source: labelstud.io/guide/predictions; label-studio-sdk 2.1, ``LabelInterface``. Its text offsets are code points, as
ours are (HumanSignal/label-studio, selection-tools.js).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.samples import Phrase, Sample
from raylabel.exports.training.writers import Entry, Job, JsonList
from raylabel.geometry import px_to_rel1_xywh
from raylabel.records import Box, Instance, JsonObject, Size
from raylabel.storage.locations import absolute, is_uri, join, local_path

CONFIGURATION = "labeling_config.xml"
PART_TASKS = 5_000
"""Tasks a file: Label Studio imports in parts, and a project should stay below 100,000."""

OBJECT = "object"
"""Label of a box without a class."""
FOUND, NOTHING = "phrase", "nothing"
"""Labels of a phrase's place in the caption: it has boxes, or nothing in the image matches."""
REFERS_TO = "refers to"
_IMAGE, _BOX, _CAPTION, _PHRASE, _SAID, _DESCRIBED = "image", "box", "caption", "phrase", "expression", "description"
SERVED = "/data/local-files/?d="


def configuration(classes: Sequence[str]) -> str:
    """The labelling configuration: without it, an import of tasks is useless."""
    labels = "".join(f"\n    <Label value={quoteattr(name)}/>" for name in dict.fromkeys((*classes, OBJECT)))
    return f"""<View>
  <Text name="{_CAPTION}" value="$caption"/>
  <Labels name="{_PHRASE}" toName="{_CAPTION}">
    <Label value="{FOUND}"/>
    <Label value="{NOTHING}"/>
  </Labels>
  <Image name="{_IMAGE}" value="$image" zoom="true"/>
  <RectangleLabels name="{_BOX}" toName="{_IMAGE}">{labels}
  </RectangleLabels>
  <TextArea name="{_SAID}" toName="{_IMAGE}" perRegion="true" editable="true" placeholder="phrase"/>
  <TextArea name="{_DESCRIBED}" toName="{_IMAGE}" perRegion="true" editable="true" placeholder="description"/>
  <Relations>
    <Relation value="{REFERS_TO}"/>
  </Relations>
</View>
"""


@dataclass
class _Rectangle:
    """A box of a task with all that is said of it: drawn twice, only the upper one could be reached."""

    ident: str
    label: str
    score: float | None
    phrases: list[str] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)


def task(sample: Sample, image: str, labels: dict[str, str]) -> JsonObject:
    """A record as a task; without a prediction where nothing is known of it.

    Args:
        image: address of its image.
        labels: of boxes, by phrase; others are ``OBJECT``.
    """
    data: JsonObject = {
        "image": image,
        "caption": sample.caption,
        "record_id": sample.record_id,
        "image_id": sample.image_id,
        "absent": [phrase.text for phrase in sample.absent],
    }
    if sample.unlabelled:
        return {"data": data}
    rectangles: dict[Box, _Rectangle] = {}
    spans: list[JsonObject] = []
    relations: list[JsonObject] = []
    for phrase in sample.phrases:
        if phrase.span is not None:
            spans.append(_span(phrase))
        for instance in phrase.instances:
            label = labels.get(phrase.text, OBJECT)
            rectangle = _rectangle(rectangles, instance, label, instance.bbox_id)
            if phrase.text not in rectangle.phrases:
                rectangle.phrases.append(phrase.text)
            if phrase.span is not None:
                relations.append(_relation(phrase, rectangle))
    for number, region in enumerate(sample.regions):
        instance = Instance(f"region-{number}", region.box)
        rectangle = _rectangle(rectangles, instance, labels.get(region.type, OBJECT), instance.bbox_id)
        rectangle.descriptions.append(region.description)
    result = [*spans, *relations]
    for box, rectangle in rectangles.items():
        result += _items(box, rectangle, sample.picture.size)
    prediction: JsonObject = {"model_version": "raylabel", "result": result}
    scores = [rectangle.score for rectangle in rectangles.values() if rectangle.score is not None]
    if scores:
        prediction["score"] = min(scores)  # tasks are sorted by it: the least certain first
    return {"data": data, "predictions": [prediction]}


def _rectangle(known: dict[Box, _Rectangle], instance: Instance, label: str, ident: str) -> _Rectangle:
    found = known.setdefault(instance.box, _Rectangle(ident, label, instance.score))
    if found.label == OBJECT:
        found.label = label
    return found


def _span(phrase: Phrase) -> JsonObject:
    assert phrase.span is not None
    start, end = phrase.span
    label = FOUND if phrase.instances else NOTHING
    value = {"start": start, "end": end, "text": phrase.text, "labels": [label]}
    return {"id": phrase.expression_id, "from_name": _PHRASE, "to_name": _CAPTION, "type": "labels", "value": value}


def _relation(phrase: Phrase, rectangle: _Rectangle) -> JsonObject:
    return {
        "type": "relation",
        "from_id": phrase.expression_id,
        "to_id": rectangle.ident,
        "direction": "right",
        "labels": [REFERS_TO],
    }


def _items(box: Box, rectangle: _Rectangle, size: Size) -> list[JsonObject]:
    """The box in percent of the image, and what is said of it: texts that belong to a box carry its id and place."""
    x, y, width, height = (100 * share for share in px_to_rel1_xywh(box, size))
    place = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    shared = {
        "id": rectangle.ident,
        "to_name": _IMAGE,
        "original_width": size.width,
        "original_height": size.height,
        "image_rotation": 0,
    }
    item = shared | {
        "from_name": _BOX,
        "type": "rectanglelabels",
        "value": place | {"rectanglelabels": [rectangle.label]},
    }
    if rectangle.score is not None:
        item["score"] = rectangle.score
    items = [item]
    for name, texts in ((_SAID, rectangle.phrases), (_DESCRIBED, rectangle.descriptions)):
        if texts:
            items.append(shared | {"from_name": name, "type": "textarea", "value": place | {"text": texts}})
    return items


def image_address(name: str, job: Job) -> str:
    """Where Label Studio finds an image: local ones below the folder that holds the folder of images, as it serves no
    image that lies in the document root itself; those in a bucket by their URI.

    >>> image_address("a b/1.jpg", Job(None, None, None, image_root="/data/images"))
    '/data/local-files/?d=images/a%20b/1.jpg'
    """
    location = join(job.image_root, name)
    path = local_path(location)
    if path is None:
        return location
    if not job.copies and job.image_root and not is_uri(name) and not name.startswith("/"):
        folder = local_path(absolute(job.image_root)) or ""
        path = f"{folder.rstrip('/').rpartition('/')[2]}/{name}"
    return SERVED + quote(path.lstrip("/"))


class _Writer:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._classes = set(job.classes)
        self._tasks = dict.fromkeys(job.splits.names, 0)
        self._lists: dict[str, JsonList] = {}
        self._names: list[str] = []

    def add(self, entry: Entry) -> None:
        for sample in entry.samples:
            number = self._tasks[entry.split]
            self._tasks[entry.split] += 1
            if number % PART_TASKS == 0:
                self._begin(entry.split, number // PART_TASKS)
            address = image_address(sample.picture.name, self._job)
            self._lists[entry.split].add(task(sample, address, self._labels(sample)))

    def _begin(self, split: str, number: int) -> None:
        if split in self._lists:
            self._lists[split].close()
        self._names.append(f"{split}.tasks-{number:05d}.json")
        self._lists[split] = JsonList(self._job.out.open(self._names[-1]))

    def _labels(self, sample: Sample) -> dict[str, str]:
        if not self._classes:
            return {}
        nouns = {phrase.text: phrase.noun for phrase in sample.phrases}
        nouns |= {region.type: region.type for region in sample.regions}
        found = {text: self._job.class_map.class_of(text, noun) for text, noun in nouns.items()}
        return {text: name for text, name in found.items() if name in self._classes}

    def close(self) -> list[str]:
        for tasks in self._lists.values():
            tasks.close()
        self._job.out.put(CONFIGURATION, configuration(self._job.classes).encode())
        return [CONFIGURATION, *self._names]


LABEL_STUDIO = TrainingFormat(
    name="label-studio",
    read_by="Label Studio: labeling_config.xml first, then the tasks with their predictions",
    coordinates="x, y, width, height in percent (0 to 100) of the width and height of the image as displayed; start, "
    "end: a half-open range of the caption's characters (Unicode code points)",
    open=_Writer,
    lost=("verified", "flags"),
    classes=True,
    unlabelled=True,
    note="Label Studio serves local images where LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED is true, "
    "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT is the folder that holds the folder of images (with --copy-images: this "
    "folder), and the folder of images is added to the project as local storage. Of images in a bucket, the bucket is.",
)
