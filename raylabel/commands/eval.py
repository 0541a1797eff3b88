"""``raylabel eval``: how good results are, against a truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from raylabel.commands import Command, positive, whole
from raylabel.errors import ConfigError, InputError, printable

if TYPE_CHECKING:
    from raylabel.evaluation.evaluating import Evaluation

_FORMATS = ("raylabel", "coco", "odvg", "refcoco", "refcoco-jsonl", "flickr30k-entities", "kitti", "demo")
_WORST = 100


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", metavar="RESULTS", help="results_dir of a run, a path or URI")
    parser.add_argument("--truth", required=True, metavar="FILE|DIR", help="what is true of its images")
    parser.add_argument(
        "--truth-format", choices=_FORMATS, metavar="F", help=f"{', '.join(_FORMATS)}; default: what it seems to be"
    )
    parser.add_argument(
        "--match",
        choices=("auto", "text", "region"),
        default="auto",
        help="what is laid beside what: phrases of equal words, or all boxes of an image, whatever their words "
        "(default: by text where either side has at least half of the other's phrases)",
    )
    parser.add_argument(
        "--unanswered",
        choices=("wrong", "left-out"),
        default="wrong",
        help="phrases of records that failed count as missed (default), or are not judged",
    )
    parser.add_argument(
        "--review", type=Path, metavar="DIR", help="make a gallery of the worst records, with the truth"
    )
    parser.add_argument("--worst", type=positive, metavar="N", help=f"so many in it (default: {_WORST})")
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="of the draws behind the intervals")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _eval(options: argparse.Namespace) -> int:
    if options.worst and not options.review:
        raise ConfigError("--worst says how many records go into the gallery; name its folder with --review.")
    if options.review and not Path(options.results).is_dir():
        raise ConfigError(f'--review: no folder "{options.results}"; a gallery needs results on a disk.')
    from raylabel.evaluation.evaluating import evaluate
    from raylabel.evaluation.lines import describe

    evaluation = evaluate(
        options.results,
        options.truth,
        truth_format=options.truth_format,
        match=options.match,
        unanswered=options.unanswered,
        seed=options.seed,
    )
    page = None
    if options.review:
        page = _review(evaluation, Path(options.results), options.review, options.worst or _WORST)
    if options.json:
        print(json.dumps({**evaluation.to_json(), "review": page}, ensure_ascii=False, indent=2))
        return 0
    for line in describe(evaluation):
        print(line)
    if options.review:
        print(printable(page) if page else "no record has a mistake, so there is nothing to review")
    return 0


def _review(evaluation: Evaluation, results: Path, out: Path, most: int) -> str | None:
    """The page of the gallery; None where no record has a mistake."""
    from raylabel.evaluation.worst import worst_records
    from raylabel.review.gallery import write_gallery
    from raylabel.review.reading import open_results

    worst = worst_records(evaluation.images, open_results(results), most)
    if worst is None:
        return None
    try:
        return str(write_gallery(worst, out))
    except OSError as error:
        raise InputError(f"--review: {out} cannot be written ({error.strerror or error})") from error


EVAL = Command(
    "eval",
    "judge results by a truth: recall, precision, and what else the field reports, with intervals",
    "raylabel eval results --truth instances.json",
    _add_arguments,
    _eval,
)
