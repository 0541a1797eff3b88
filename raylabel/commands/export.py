"""``raylabel export``: the results of a run in the form that trainers, annotators and evaluators read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from raylabel.commands import Command
from raylabel.errors import ConfigError, InputError

if TYPE_CHECKING:
    from raylabel.exports.training.base import TrainingFormat
    from raylabel.exports.training.pictures import ReadUpright
    from raylabel.exports.training.selection import Filters
    from raylabel.records import JsonObject


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", metavar="RESULTS", help="results_dir of a run, a path or URI")
    parser.add_argument("--format", metavar="F", help="what to write; without it, the formats are listed")
    parser.add_argument("--out", metavar="DIR", help="folder or URI to make (default: RESULTS/exports/F)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in DIR")
    images = parser.add_argument_group("images")
    images.add_argument(
        "--copy-images", action="store_true", help="put the images into DIR, upright and without an EXIF orientation"
    )
    images.add_argument(
        "--image-root", metavar="DIR", help="what names of images are relative to (default: that of the run)"
    )
    images.add_argument(
        "--splits", metavar="NAME=SHARE,...", help="train=0.8,val=0.2: by image, so that no image is in two of them"
    )
    chosen = parser.add_argument_group("what is taken")
    chosen.add_argument("--outcome", metavar="O,...", help="outcomes of records (default: labeled,nothing)")
    chosen.add_argument(
        "--judged",
        metavar="V,...",
        help="what a person accepted, rejected or left unjudged (default: accepted,unjudged); rejected records: "
        "label-studio and fiftyone only",
    )
    chosen.add_argument("--verified", action="store_true", help="boxes that the double check confirmed, only")
    chosen.add_argument("--min-score", type=float, metavar="S", help="boxes with at least this score, only")
    chosen.add_argument(
        "--without", metavar="NAME,...", help="leave out what has one of these flags, or broke one of these rules"
    )
    chosen.add_argument("--only", metavar="TEXT,...", help="these phrases, nouns or classes only")
    chosen.add_argument(
        "--keep-partial",
        action="store_true",
        help="keep phrases and images of which a filter took some boxes, which then count as background",
    )
    classes = parser.add_argument_group("classes (coco, yolo, kitti, odvg, label-studio)")
    classes.add_argument(
        "--classes",
        action="append",
        default=[],
        metavar="FILE|KEY=CLASS",
        help="classes of phrases or nouns: lines of KEY=CLASS, or JSON; may be repeated (default: each noun is one)",
    )
    classes.add_argument(
        "--max-classes", type=int, default=100, metavar="N", help="of nouns, without --classes (default: 100)"
    )
    classes.add_argument(
        "--max-unmapped", type=float, default=0.1, metavar="X", help="share of phrases without a class (default: 0.1)"
    )
    classes.add_argument(
        "--first-category-id", type=int, default=1, metavar="N", help="of COCO (default: 1; TAO wants 0)"
    )
    model = parser.add_argument_group("models that count in resized pixels (qwen2.5-vl)")
    model.add_argument("--min-pixels", type=int, metavar="N", help="of the trainer")
    model.add_argument("--max-pixels", type=int, metavar="N", help="of the trainer")


def _export(options: argparse.Namespace) -> int:
    from raylabel.exports.training.run import Export, run_export
    from raylabel.exports.training.splits import read_splits
    from raylabel.exports.training.writers import Options
    from raylabel.runtime.specification import know_plugins
    from raylabel.storage.folders import Folder
    from raylabel.storage.locations import absolute, join
    from raylabel.store.results import Results

    made = format_named(options.format)
    wanted = Export(
        results=options.results,
        format=made,
        out=options.out or join(options.results, f"exports/{made.name}"),
        filters=filters_of(
            outcomes=_list(options.outcome),
            judged=_list(options.judged),
            verified=options.verified,
            min_score=options.min_score,
            without=_list(options.without),
            only=_list(options.only),
            keep_partial=options.keep_partial,
        ),
        splits=None if options.splits is None else read_splits(options.splits),
        classes=_classes(options.classes) if options.classes else None,
        max_classes=options.max_classes,
        max_unmapped=options.max_unmapped,
        copy_images=options.copy_images,
        image_root=options.image_root,
        options=Options(options.first_category_id, options.min_pixels, options.max_pixels),
        replace=options.overwrite,
    )
    know_plugins(Results(Folder(absolute(wanted.results))))
    said = run_export(wanted, reader())
    _show(said, wanted.out)
    if _judged_since(said["made_from"].get("started"), wanted.results):
        print(
            "WARNING: a person judged records or boxes since the last run began, and these results do not know of it: "
            '"raylabel run CONFIG" delivers judgements, without a request.'
        )
    return 0


def format_named(name: str | None) -> TrainingFormat:
    """The format of a name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    from raylabel.exports.training.formats import TRAINING_FORMATS
    from raylabel.settings import did_you_mean

    if name is None:
        listed = "".join(f"\n  {made.name:<15}{made.read_by}" for made in TRAINING_FORMATS.values())
        print(f"formats:{listed}")
        raise ConfigError('no format given: write "raylabel export RESULTS --format F".')
    if name not in TRAINING_FORMATS:
        known = ", ".join(TRAINING_FORMATS)
        raise ConfigError(f'--format: no format "{name}"; known: {known}.{did_you_mean(name, list(TRAINING_FORMATS))}')
    return TRAINING_FORMATS[name]


def filters_of(
    *,
    outcomes: Sequence[str],
    judged: Sequence[str],
    verified: bool,
    min_score: float | None,
    without: Sequence[str],
    only: Sequence[str],
    keep_partial: bool,
) -> Filters:
    """What of the records is taken.

    Raises:
        ConfigError: no such outcome, verdict, flag or rule.
    """
    from raylabel.exports.training.selection import SETTLED_WITH_LABELS, VERDICTS, Filters
    from raylabel.records import Outcome
    from raylabel.settings import did_you_mean
    from raylabel.steps.double_check import ADJUST_PROPOSED, ADJUSTED, REWRITTEN
    from raylabel.validation import RULES

    known = [outcome.value for outcome in Outcome]
    for name in outcomes:
        if name not in known:
            raise ConfigError(f'--outcome: found "{name}", allowed: {", ".join(known)}.')
    for name in judged:
        if name not in VERDICTS:
            raise ConfigError(
                f'--judged: found "{name}", allowed: {", ".join(VERDICTS)}.{did_you_mean(name, list(VERDICTS))}'
            )
    names = [*RULES, ADJUSTED, ADJUST_PROPOSED, REWRITTEN]
    for name in without:
        if name not in names:
            raise ConfigError(f'--without: no flag or rule "{name}"; see docs/output.md.{did_you_mean(name, names)}')
    return Filters(
        outcomes=tuple(outcomes) or SETTLED_WITH_LABELS,
        judged=tuple(judged) or Filters().judged,
        verified=verified,
        min_score=min_score,
        without=tuple(without),
        only=tuple(only),
        keep_partial=keep_partial,
    )


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _classes(given: list[str]) -> dict[str, str]:
    from raylabel.exports.training.classes import read_class_map
    from raylabel.storage.reading import read_bytes

    parts = []
    for entry in given:
        try:
            parts.append((read_bytes(entry).decode("utf-8-sig"), entry))
        except OSError as error:
            if "=" not in entry:
                raise InputError(f"--classes: {error}.") from None
            parts.append((entry, "--classes"))
        except UnicodeDecodeError:
            raise InputError(f"--classes: {entry}: no text in UTF-8.") from None
    return read_class_map(parts)


def reader() -> ReadUpright:
    """Reads images, upright, within the default limits."""
    from raylabel.images import UprightFile, read_image, upright_file
    from raylabel.settings import ImageSettings

    limits = ImageSettings()

    def read(location: str) -> UprightFile:
        return upright_file(read_image(location), limits)

    return read


def _judged_since(started: str | None, results: str) -> bool:
    """Whether there are judgements that ``annotations.jsonl`` cannot hold: a run delivers those of before its start."""
    from datetime import datetime

    from raylabel.storage.folders import Folder
    from raylabel.storage.locations import absolute
    from raylabel.store.results import Results

    try:
        began = datetime.fromisoformat(str(started)).timestamp()
    except ValueError:
        return False
    given = Results(Folder(absolute(results))).judgements().scan(("at",))["at"].to_pylist()
    return bool(max(given, default=0.0) > began)


def _show(said: JsonObject, out: str) -> None:
    from raylabel.errors import printable

    found, written = said["in"], said["out"]
    records, taken, phrases = (
        f"{n:,}" for n in (found.get("records", 0), written.get("records", 0), written.get("phrases", 0))
    )
    absent, boxes = (f"{written.get(name, 0):,}" for name in ("phrases_matching_nothing", "boxes"))
    print(f"{records} records: {taken} written with {phrases} phrases ({absent} match nothing) and {boxes} boxes")
    for what, reasons in said["left_out"].items():
        for why, entry in reasons.items():
            print(f"  left out: {entry['count']:,} {what}, {why}: {entry['meaning']}")
    for why, entry in said["changed"].items():
        print(f"  changed: {entry['count']:,} x {why}: {entry['meaning']}")
    if unmapped := said.get("unmapped"):
        shown = ", ".join(f"{printable(text)} ({count})" for text, count in list(unmapped.items())[:10])
        print(f"  without a class: {shown}")
    turned = said["images"]["records_with_exif_orientation"]
    if turned and not said["images"]["copied"]:
        print(
            f"WARNING: {turned:,} images carry an EXIF orientation that some trainers ignore (TAO mask_grounding_dino, "
            "Open-GroundingDino, MDETR, ms-swift, LLaMA-Factory, Qwen): use --copy-images."
        )
    print(f"{said['coordinates']}\n{printable(out)}")


EXPORT = Command(
    "export",
    "write the results of a run as a data set that trainers and evaluators read",
    "raylabel export results --format coco-grounding --copy-images",
    _add_arguments,
    _export,
)
