"""Results of a run whose truth is known, made without a run: 500 records and more about drawn images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raylabel.demo.scenes import USUAL
from raylabel.demo.world import build_world
from raylabel.exports.annotations import to_line
from raylabel.exports.json_lines import to_json_line
from raylabel.pipelines import PIPELINES
from raylabel.records import (
    IMAGE_GROUNDING,
    IMAGE_REFERRING_EXPRESSION,
    Box,
    Expression,
    ImageFacts,
    Instance,
    Outcome,
    Record,
    Region,
    Seed,
    Size,
    StepOutcome,
)

STEPS = [step.label for step in PIPELINES[IMAGE_GROUNDING]]
DESCRIBING, _, GROUPING, _ = (step.label for step in PIPELINES[IMAGE_REFERRING_EXPRESSION])
PREFIX = "\u3000 🚗 In İzmir: "
"""Blanks, a letter of two UTF-16 units, and one that is two letters in lower case: each moves spans in some reader."""
IMAGES = 60
"""Of each of two worlds; in the second, files are turned and say so in EXIF."""


@dataclass(frozen=True)
class Made:
    """Results and the records they were made of."""

    folder: Path
    image_root: Path
    records: list[Record]

    def settled(self) -> list[Record]:
        return [r for r in self.records if outcome(r) in (Outcome.LABELED, Outcome.NOTHING)]

    def name(self, record: Record) -> str:
        """Of a record's image, as an export without copies calls it."""
        return Path(record.image_path).relative_to(self.image_root).as_posix()


def outcome(record: Record) -> Outcome:
    return Outcome(to_line(record)["outcome"])


def write_results(folder: Path, records: Iterable[Record], image_root: Path | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = b"".join(to_json_line(to_line(record)) for record in records)
    (folder / "annotations.jsonl").write_bytes(lines)
    data = {} if image_root is None else {"image_root": str(image_root)}
    configuration = {"autolabel_type": IMAGE_GROUNDING, IMAGE_GROUNDING: {"data": data}}
    run = {"run": 1, "started": "2026-11-26T03:00:00+00:00", "configuration": configuration}
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def record(
    number: int,
    path: str,
    size: Size,
    caption: str,
    expressions: tuple[Expression, ...] | None,
    ended: Outcome | None = None,
    orientation: int = 1,
) -> Record:
    """A record of image_grounding whose last step ended so; by default as its expressions say."""
    if ended is None:
        ended = Outcome.LABELED if any(e.kept for e in expressions or ()) else Outcome.NOTHING
    return Record(
        record_id=f"{number:032x}",
        shard=0,
        position=number,
        image_id=Path(path).stem,
        image_path=path,
        source=IMAGE_GROUNDING,
        image=ImageFacts("0" * 32, size, orientation, "image/jpeg", orientation == 1),
        caption=caption,
        cleaned_caption=caption,
        expressions=expressions,
        outcomes={STEPS[0]: StepOutcome(Outcome.LABELED), STEPS[1]: StepOutcome(ended)},
    )


def described(
    number: int,
    path: str,
    size: Size,
    regions: tuple[Region, ...],
    expressions: tuple[Expression, ...] | None,
    orientation: int = 1,
    **more: Any,
) -> Record:
    """A record of image_referring_expression; without expressions, only its first step was run."""
    outcomes = {DESCRIBING: StepOutcome(Outcome.LABELED)}
    if expressions is not None:
        outcomes[GROUPING] = StepOutcome(more.pop("ended", Outcome.LABELED))
    return Record(
        record_id=f"{number:032x}",
        shard=0,
        position=number,
        image_id=Path(path).stem,
        image_path=path,
        source=IMAGE_REFERRING_EXPRESSION,
        image=ImageFacts("0" * 32, size, orientation, "image/jpeg", orientation == 1),
        seeds=tuple(Seed(region.box, region.type) for region in regions),
        regions=regions,
        expressions=expressions,
        outcomes=outcomes,
        **more,
    )


def expression(
    owner: int,
    text: str,
    span: tuple[int, int] | None,
    boxes: Iterable[Box] | None,
    noun: str | None = None,
    **more: Any,
) -> Expression:
    ident = f"e{owner:x}-{text}-{span}"
    scored = {"score": more.pop("score", None), "verified": more.get("verified")}
    instances = None if boxes is None else tuple(Instance(f"b{ident}{n}", box, **scored) for n, box in enumerate(boxes))
    return Expression(ident, text, span, noun, instances, **more)


def demo_results(root: Path) -> Made:
    """Two worlds, each image with four records or more:

    the caption as drawn; the same behind ``PREFIX``; with phrases in phrases, equal phrases and one without a span; and
    one that failed, was refused, is not grounded, rejected, or in order, by turns.
    """
    records: list[Record] = []
    for name, style in (("a", USUAL), ("b", dataclasses.replace(USUAL, turned=True))):
        world = build_world(root / name, IMAGES, seed=7, style=style)
        for index, entry in enumerate(world.truth["images"]):
            for caption in entry["captions"]:
                records += _records_of(len(records), index, str(world.images_dir / entry["file"]), entry, caption)
    folder = write_results(root / "results", records, root)
    return Made(folder, root, records)


def _records_of(first: int, index: int, path: str, entry: dict[str, Any], caption: dict[str, Any]) -> Iterator[Record]:
    orientation = orientation_of(path)
    size, text = Size(entry["width"], entry["height"]), caption["cleaned_caption"]
    boxes = [Box(*drawn["box"]) for drawn in entry["objects"]]

    def grounded(owner: int, shift: int = 0) -> tuple[Expression, ...]:
        return tuple(
            expression(
                owner,
                phrase["text"],
                (phrase["char_span"][0] + shift, phrase["char_span"][1] + shift),
                [boxes[n] for n in phrase["objects"]],
                phrase["text"].split()[-1],
                score=0.25 + 0.5 * (n % 2),
            )
            for n, phrase in enumerate(caption["phrases"])
        )

    yield record(first, path, size, text, grounded(first), orientation=orientation)
    yield record(first + 1, path, size, PREFIX + text, grounded(first + 1, len(PREFIX)), orientation=orientation)
    plain = grounded(first + 2)
    inner = [
        expression(
            first + 2, e.text.split()[-1], (e.char_span[1] - len(e.text.split()[-1]), e.char_span[1]), e_boxes[:1]
        )
        for e in plain
        if e.char_span and (e_boxes := [i.box for i in e.instances or ()])
    ]
    loose = expression(first + 2, "st. grün—red ¥ thing", None, boxes[:1], "thing")
    yield record(first + 2, path, size, text, (*plain, *inner, loose), orientation=orientation)
    found = grounded(first + 3)
    match index % 6:
        case 0:
            yield record(first + 3, path, size, text, None, Outcome.FAILED, orientation)
        case 1:
            yield record(first + 3, path, size, text, found, Outcome.REFUSED, orientation)
        case 2:
            open_one = expression(first + 3, found[0].text, found[0].char_span, None)
            yield record(first + 3, path, size, text, (open_one, *found[1:]), Outcome.LABELED, orientation)
        case 3:
            bad = expression(first + 3, "no such thing", None, boxes[:1], "thing", verified=False)
            yield record(first + 3, path, size, text, (*found, bad), None, orientation)
        case _:
            yield record(first + 3, path, size, text, found, None, orientation)


def described_results(root: Path) -> Made:
    """A world whose objects were described one by one and then grouped under phrases, which have no caption; of every
    fourth image, the descriptions alone."""
    world = build_world(root / "c", 24, seed=11, style=dataclasses.replace(USUAL, turned=True))
    records = []
    for number, entry in enumerate(world.truth["images"], 1000):
        path, size = str(world.images_dir / entry["file"]), Size(entry["width"], entry["height"])
        boxes = [Box(*drawn["box"]) for drawn in entry["objects"]]
        phrases = [(p["text"], p["objects"]) for caption in entry["captions"] for p in caption["phrases"]]
        named = dict(reversed([(n, text) for text, objects in phrases for n in objects]))
        regions = tuple(
            Region(box, named.get(n, "thing").split()[-1], "rot", f"{named.get(n, 'thing')}, Nr. {n} – hier")
            for n, box in enumerate(boxes)
        )
        found = tuple(expression(number, text, None, [boxes[n] for n in objects]) for text, objects in phrases)
        records.append(described(number, path, size, regions, found if number % 4 else None, orientation_of(path)))
    return Made(write_results(root / "described", records, root), root, records)


def orientation_of(path: str) -> int:
    from PIL import Image

    with Image.open(path) as image:
        return int(image.getexif().get(274, 1))


def boxes_of(phrases: Iterable[Expression]) -> list[tuple[str, tuple[float, ...]]]:
    """All boxes that count, with their phrases, sorted."""
    return sorted((e.text, i.box.as_tuple()) for e in phrases for i in e.kept)
