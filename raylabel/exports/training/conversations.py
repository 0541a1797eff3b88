"""Questions and answers to fine-tune a vision-language model with, each in the words and numbers of its family.

A family's row in ``raylabel.profiles`` says how boxes are written, so that raylabel reads from the trained model what
it wrote for its training.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from string import Template

from raylabel.errors import ConfigError
from raylabel.exports.training import report
from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.report import PHRASES
from raylabel.exports.training.samples import Sample, merged_by_text
from raylabel.exports.training.writers import Job, JsonLinesWriter, Notes, Options, Writer
from raylabel.geometry import Convention, Resize, View, from_displayed, with_area
from raylabel.profiles import Profile, profile_named
from raylabel.prompts.grounding import QUESTION_STYLES
from raylabel.records import Box, JsonObject

Boxes = Sequence[Sequence[float]]

MEDIA = r"<(?:image|video|audio|bbox|ref-object|img|box|ref|quad)>|<\|"
"""Marks of templates and vocabularies; a phrase with one would become something else in training."""


@dataclass(frozen=True)
class Turn:
    """A question about one phrase and its answer."""

    phrase: str
    question: str
    answer: str


@dataclass(frozen=True)
class Dialect:
    """How one family is asked and how it answers.

    Args:
        profile: name of its row.
        question: with ``$phrase``.
        answer: of a phrase and its boxes in the family's numbers.
        says_nothing: there is an answer for a phrase that matches nothing.
        reserved: expression for marks that no phrase may contain.
        line: a turn of a sample as an object, by its number in the sample.
        names: of the coordinates in the file's name.
    """

    profile: str
    question: str
    answer: Callable[[str, Boxes], str]
    line: Callable[[Sample, Turn, int], JsonObject]
    names: str
    says_nothing: bool = True
    reserved: str = MEDIA

    def row(self) -> Profile:
        """Its profile."""
        found = profile_named(self.profile)
        assert found is not None, self.profile
        return found


def turns(sample: Sample, dialect: Dialect, resize: Resize, notes: Notes) -> Iterator[Turn]:
    """A question for each different phrase of a sample."""
    phrases, merged = merged_by_text(sample.phrases)
    notes.change(report.SAME_TEXT, merged)
    convention, reserved = dialect.row().convention, re.compile(dialect.reserved)
    view = View(sample.picture.size, sample.picture.size, resize.apply(sample.picture.size))
    question = Template(dialect.question)
    for phrase in phrases:
        if reserved.search(phrase.text):
            notes.drop(PHRASES, report.RESERVED)
            continue
        if not phrase.instances and not dialect.says_nothing:
            notes.drop(PHRASES, report.NEGATIVE)
            continue
        text = " ".join(phrase.text.split())
        boxes = [written_box(box, convention, view, notes) for box in phrase.boxes]
        yield Turn(phrase.text, question.substitute(phrase=text), dialect.answer(text, boxes))


def written_box(box_px: Box, convention: Convention, view: View, notes: Notes) -> list[float]:
    """A box in the numbers of a family, of the picture as its trainer resizes it."""
    limits = convention.sides(view) if convention.top is None else (convention.top, convention.top)
    numbers, moved = with_area(from_displayed(box_px, convention, view), convention.order, limits)
    notes.change(report.WIDENED, int(moved))
    return numbers


def resize_of(dialect: Dialect, options: Options) -> Resize:
    """What the trainer does to pictures.

    Raises:
        ConfigError: limits were given for a family whose numbers do not depend on them.
    """
    resize = dialect.row().resize
    given = {name: value for name in ("min_pixels", "max_pixels") if (value := getattr(options, name)) is not None}
    if given and resize == Resize():
        raise ConfigError(
            f"--{next(iter(given)).replace('_', '-')}: the numbers of {dialect.profile} do not depend on the size of "
            "pictures; leave it out."
        )
    return dataclasses.replace(resize, **given)


def conversation_writer(dialect: Dialect, job: Job, name: str) -> JsonLinesWriter:
    """A file of turns for each split, with its coordinates in its name."""
    resize = resize_of(dialect, job.options)
    names = dialect.names.format(max_pixels=resize.max_pixels)

    def convert(sample: Sample, notes: Notes) -> Iterator[JsonObject]:
        for number, turn in enumerate(turns(sample, dialect, resize, notes)):
            yield dialect.line(sample, turn, number)

    return JsonLinesWriter(job, lambda split: f"{split}.{name}.{names}.jsonl", convert)


# --- how answers are written ----------------------------------------------------------------------------------------


def json_answer(phrase: str, boxes: Boxes) -> str:
    """Qwen2.5-VL and Qwen3-VL: a list of objects, empty where nothing is there.

    >>> json_answer("cup", [[1, 2, 3, 4]])
    '[\\n\\t{"bbox_2d": [1, 2, 3, 4], "label": "cup"}\\n]'
    """
    label = json.dumps(phrase, ensure_ascii=False)
    entries = [f'\t{{"bbox_2d": {json.dumps(list(box))}, "label": {label}}}' for box in boxes]
    return "[\n" + ",\n".join(entries) + "\n]" if entries else "[]"


def tag_answer(phrase: str, boxes: Boxes) -> str:
    """InternVL.

    >>> tag_answer("cup", [[1, 2, 3, 4], [5, 6, 7, 8]])
    '<ref>cup</ref><box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>'
    """
    return f"<ref>{phrase}</ref><box>{json.dumps([list(box) for box in boxes])}</box>"


def paligemma_answer(phrase: str, boxes: Boxes) -> str:
    """PaliGemma.

    >>> paligemma_answer("cup", [[1, 2, 3, 1023]])
    '<loc0001><loc0002><loc0003><loc1023> cup'
    """
    return " ; ".join("".join(f"<loc{int(v):04d}>" for v in box) + f" {phrase}" for box in boxes)


def florence_answer(phrase: str, boxes: Boxes) -> str:
    """Florence-2.

    >>> florence_answer("cup", [[1, 2, 3, 999]])
    'cup<loc_1><loc_2><loc_3><loc_999>'
    """
    return phrase + "".join(f"<loc_{int(v)}>" for box in boxes for v in box)


# --- lines ----------------------------------------------------------------------------------------------------------


def _qwen_line(sample: Sample, turn: Turn, number: int) -> JsonObject:
    return {
        "image": sample.picture.name,
        "conversations": [
            {"from": "human", "value": f"<image>\n{turn.question}"},
            {"from": "gpt", "value": turn.answer},
        ],
    }


def _internvl_line(sample: Sample, turn: Turn, number: int) -> JsonObject:
    size = sample.picture.size
    return {"id": f"{sample.record_id}-{number}", "width": size.width, "height": size.height} | _qwen_line(
        sample, turn, number
    )


def _prefix_line(sample: Sample, turn: Turn, number: int) -> JsonObject:
    return {"image": sample.picture.name, "prefix": turn.question, "suffix": turn.answer}


QWEN_QUESTION = 'Locate every "$phrase" in the image and output the bbox coordinates in JSON format.'
"""In the manner of QwenLM/Qwen3-VL, cookbooks/2d_grounding.ipynb."""

QWEN2_5 = Dialect("qwen2.5-vl", QWEN_QUESTION, json_answer, _qwen_line, "xyxy-pixels-resized-to-{max_pixels}")
QWEN3 = Dialect("qwen3-vl", QWEN_QUESTION, json_answer, _qwen_line, "xyxy-0-1000")
INTERN = Dialect("internvl", QUESTION_STYLES["ref"].text, tag_answer, _internvl_line, "xyxy-0-1000")
PALI = Dialect(
    "paligemma",
    QUESTION_STYLES["detect"].text,
    paligemma_answer,
    _prefix_line,
    "yxyx-loc-0-1023",
    says_nothing=False,
    reserved=r"<loc|<seg|;|<image>",
)
FLORENCE = Dialect(
    "florence-2",
    QUESTION_STYLES["open_vocabulary"].text,
    florence_answer,
    _prefix_line,
    "xyxy-loc-0-999",
    says_nothing=False,
    reserved=r"[<>]",
)
DIALECTS = {"qwen2.5-vl": QWEN2_5, "qwen3-vl": QWEN3, "internvl": INTERN, "paligemma": PALI, "florence-2": FLORENCE}

_LOST = ("score", "verified", "bbox_id", "flags", "char_span", "caption", "regions")


def _opening(dialect: Dialect, name: str) -> Callable[[Job], Writer]:
    return lambda job: conversation_writer(dialect, job, name)


class _InternVL:
    """The lines, and the file that tells the trainer where they and the images are."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lines = conversation_writer(INTERN, job, "internvl")
        self.add = self._lines.add

    def close(self) -> list[str]:
        names = self._lines.close()
        meta = {
            f"raylabel_{split}": {
                "root": self._job.image_root,
                "annotation": name,
                "data_augment": False,
                "max_dynamic_patch": 12,
                "repeat_time": 1,
                "length": self._lines.lines[split],
            }
            for split, name in zip(self._job.splits.names, names, strict=True)
        }
        self._job.out.put("meta.json", json.dumps(meta, ensure_ascii=False, indent=1).encode() + b"\n")
        return [*names, "meta.json"]


QWEN2_5_VL = TrainingFormat(
    name="qwen2.5-vl",
    read_by="Qwen's qwen-vl-finetune, LLaMA-Factory (sharegpt)",
    coordinates="bbox_2d: x1, y1, x2, y2 in whole pixels of the picture as smart_resize leaves it: sides of multiples "
    "of 28, within --min-pixels and --max-pixels, which must be the trainer's",
    open=_opening(QWEN2_5, "qwen2.5-vl"),
    lost=_LOST,
)
QWEN3_VL = TrainingFormat(
    name="qwen3-vl",
    read_by="Qwen's qwen-vl-finetune, LLaMA-Factory (sharegpt)",
    coordinates="bbox_2d: x1, y1, x2, y2 in thousandths of the image's width and height",
    open=_opening(QWEN3, "qwen3-vl"),
    lost=_LOST,
)
INTERNVL = TrainingFormat(
    name="internvl",
    read_by="InternVL's own trainer (meta.json)",
    coordinates="box: x1, y1, x2, y2 in thousandths of the image's width and height",
    open=_InternVL,
    lost=_LOST,
    note="In meta.json, root and annotation are relative to this folder.",
)
PALIGEMMA = TrainingFormat(
    name="paligemma",
    read_by="big_vision, transformers and other trainers of prefix and suffix",
    coordinates="loc: y1, x1, y2, x2 in bins of 1/1024 of the image's height and width, 0 to 1023",
    open=_opening(PALI, "paligemma"),
    lost=_LOST,
)
FLORENCE_2 = TrainingFormat(
    name="florence-2",
    read_by="trainers of Florence-2 that take prefix and suffix",
    coordinates="loc: x1, y1, x2, y2 in bins of 1/1000 of the image's width and height, 0 to 999",
    open=_opening(FLORENCE, "florence-2"),
    lost=_LOST,
)
