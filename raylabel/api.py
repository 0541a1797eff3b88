"""raylabel from Python: the names that ``import raylabel`` offers. ``docs/python.md`` shows each at work."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raylabel.errors import InputError, RaylabelError
from raylabel.records import PERSON, ImageFacts, JsonObject, Outcome, Record, Size
from raylabel.settings import Settings, use_loaded
from raylabel.settings import load_settings as _load_settings

if TYPE_CHECKING:
    from raylabel.engine.dataset import Dataset

__all__ = [
    "Outcome",
    "RaylabelError",
    "Record",
    "RunResult",
    "Settings",
    "export",
    "load_settings",
    "read",
    "run",
    "to_dataset",
]

_ANNOTATIONS, _FAILURES, _MANIFEST = "annotations.jsonl", "failures.jsonl", "run.json"


def load_settings(
    config: str | PathLike[str] | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    needs_input: bool = True,
    plugins: Sequence[str | PathLike[str]] = (),
) -> Settings:
    """Read, merge and check a configuration, as the command line does.

    Single values can be set afterwards, too: ``settings.pipeline.workflow.max_workers = 8`` is checked at once.

    Args:
        config: a YAML file; None: defaults and overrides only.
        overrides: ``{"limits.max_requests": 100}``, or ``["limits.max_requests=100"]`` as on the command line; None (or
            nothing behind the ``=``) means "not set".
        needs_input: whether the input has to be named.
        plugins: beside those that the configuration names (``docs/plugins.md``).

    Raises:
        RaylabelError: one sentence that names the key, what was found and what is allowed.
    """
    words = [_word(*each) for each in overrides.items()] if isinstance(overrides, Mapping) else list(overrides)
    path = None if config is None else Path(config)
    return _load_settings(path, words, needs_input=needs_input, plugins=[fspath(plugin) for plugin in plugins])


def _word(key: str, value: Any) -> str:
    if value is None or isinstance(value, str | PathLike):
        return f"{key}={'' if value is None else fspath(value)}"
    return f"{key}={json.dumps(value)}"


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Args:
        exit_code: 0 all settled; 3 finished with open records, or a budget is used up; 2 something to mend, 1 it broke
            (both said on standard error); 130 interrupted.
        records: of the input lines taken up, by outcome.
        unfinished: records that a run that was stopped left on their way.
        unusable_lines: input lines that no record could be made of.
        results_dir: where everything is, as a path or URI.
        manifest: ``run.json``: counts of labels and rules, requests, tokens, money, models, settings. Empty, and
            nothing is counted, where the run ended before it could write one.
    """

    exit_code: int
    records: Mapping[Outcome, int]
    unfinished: int
    unusable_lines: int
    results_dir: str
    manifest: Mapping[str, Any]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to ask."""
        return self.exit_code == 0

    @property
    def annotations(self) -> str:
        """The file of all records."""
        return self._location(_ANNOTATIONS)

    @property
    def failures(self) -> str:
        """The file of what has no labels, with reasons."""
        return self._location(_FAILURES)

    def _location(self, name: str) -> str:
        from raylabel.storage.locations import join

        return join(self.results_dir, name)


def run(
    settings: Settings,
    *,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    confirmed: bool = False,
    replace: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Label what the settings name, going on from whatever is stored in ``results_dir``: ``raylabel run``.

    It may be called where an event loop runs, as in a notebook; it returns when the run has ended. An interrupt
    (Ctrl-C, the stop button) has what is in flight finished and stored; a second one leaves at once.

    Args:
        limit: the first records of the input only.
        sample: so many at random only; ``seed`` says which.
        confirmed: ask again about settled records, however many (``limits.confirm_requests``).
        replace: write over results of other data or another pipeline, and over edited files (which are kept).
        quiet: print neither progress nor summary.

    Raises:
        RaylabelError: something has to be mended first, or the run cannot go on.
        KeyboardInterrupt: interrupted before anything was asked.
    """
    from rich.console import Console

    from raylabel.commands.run import run_settings
    from raylabel.runtime.sampled import Sample
    from raylabel.settings.needs import check_needs
    from raylabel.storage.folders import Folder
    from raylabel.storage.locations import absolute

    use_loaded(settings.loaded_plugins)
    check_needs(settings)
    root = Folder(absolute(settings.results_dir))
    before = _manifest_in(root.read(_MANIFEST))
    code = run_settings(
        settings,
        limit,
        sample=None if sample is None else Sample(sample, seed),
        confirmed=confirmed,
        replace=replace,
        quiet=quiet,
        console=Console(quiet=quiet),
        own_process=False,
    )
    manifest = _manifest_in(root.read(_MANIFEST))
    if manifest.get("run") == before.get("run"):
        manifest = {}
    counts = manifest.get("counts", {})
    return RunResult(
        exit_code=code,
        records={Outcome(outcome): count for outcome, count in counts.get("records", {}).items()},
        unfinished=counts.get("unfinished", 0),
        unusable_lines=counts.get("unusable_lines", 0),
        results_dir=root.location,
        manifest=manifest,
    )


def _manifest_in(text: bytes | None) -> JsonObject:
    value = json.loads(text or b"{}")
    return value if isinstance(value, dict) else {}


def read(results_dir: str | PathLike[str]) -> Iterator[Record]:
    """The records of a run, in input order, one at a time.

    Boxes are in pixels of the image as displayed, rounded as in ``annotations.jsonl``, which is what is read. Of
    ``image`` the size and the orientation are known, where the image could be opened. Fields of the input that raylabel
    does not know are in ``extra``.

    Raises:
        RaylabelError: there are no results, or the file is none of raylabel's.
    """
    from raylabel.runtime.specification import know_plugins
    from raylabel.sources.lines import parse_object, read_lines
    from raylabel.sources.reading import LineReader
    from raylabel.sources.spec import ANNOTATIONS, SourceSpec
    from raylabel.storage.folders import Folder
    from raylabel.storage.locations import absolute, join
    from raylabel.storage.reading import open_input
    from raylabel.store.results import Results

    root = absolute(fspath(results_dir))
    know_plugins(Results(Folder(root)))
    location = join(root, _ANNOTATIONS)
    try:
        stream = open_input(location)
    except FileNotFoundError:
        raise InputError(f"no {location}; give the results_dir of a run.") from None
    with stream:
        reader = None
        for line in read_lines(stream):
            reader = reader or LineReader(SourceSpec(ANNOTATIONS, str(parse_object(line).get("source")), location))
            record = reader.read(line)
            if not isinstance(record, Record):
                raise InputError(f"{location}: line {line.number}: {record.reason}.")
            yield _as_delivered(record, parse_object(line))


def _as_delivered(record: Record, line: JsonObject) -> Record:
    """With what a file of results says beyond what an input may say."""
    extra, changes = dict(record.extra), dict[str, Any]()
    if {"width", "height"} <= line.keys():
        size = Size(line["width"], line["height"])
        changes["image"] = ImageFacts("", size, line.get("exif_orientation", 1), "", plain=False)
    if line.get("by") == PERSON and "verified" in line:
        del extra["by"]
        changes |= {"verified": extra.pop("verified"), "note": extra.pop("note", "")}
    return dataclasses.replace(record, extra=extra, **changes)


def to_dataset(results_dir: str | PathLike[str]) -> Dataset:
    """The records of a run as a Ray dataset, a row for each line of ``annotations.jsonl``, read in parallel when used.

    Columns have the names of the fields and the same types in every run: ``kitti_bboxes`` is a list of
    ``{bbox, type}``, ``outcomes`` one of ``{step, outcome}``, and ``more`` holds all other fields as JSON text.

    Ray is the one that is there, or else one that Ray starts by itself.

    Raises:
        RaylabelError: there are no results.
    """
    from raylabel.engine.dataset import dataset_of
    from raylabel.storage.locations import absolute, join

    return dataset_of(join(absolute(fspath(results_dir)), _ANNOTATIONS))


def export(
    results_dir: str | PathLike[str],
    format: str,
    out: str | PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    copy_images: bool = False,
    image_root: str | None = None,
    splits: Mapping[str, float] | None = None,
    outcome: Sequence[str] = (),
    judged: Sequence[str] = (),
    verified: bool = False,
    min_score: float | None = None,
    without: Sequence[str] = (),
    only: Sequence[str] = (),
    keep_partial: bool = False,
    classes: Mapping[str, str] | None = None,
    max_classes: int = 100,
    max_unmapped: float = 0.1,
    first_category_id: int = 1,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> Mapping[str, Any]:
    """Write the results of a run as a data set for trainers and evaluators: ``raylabel export``, with its options.

    Args:
        format: such as ``coco-grounding``.
        out: the folder to make; ``exports/FORMAT`` in ``results_dir`` by default.
        splits: ``{"train": 0.9, "val": 0.1}``.
        classes: of phrases or nouns; each noun is one by default.

    Returns:
        What ``export.json`` says: counts of what was written, changed and left out, and why.

    Raises:
        RaylabelError: what is wanted does not go together, there are no results, or it cannot be written.
    """
    from raylabel.commands.export import filters_of, format_named, reader
    from raylabel.exports.training.run import Export, run_export
    from raylabel.exports.training.splits import read_splits
    from raylabel.exports.training.writers import Options
    from raylabel.runtime.specification import know_plugins
    from raylabel.storage.folders import Folder
    from raylabel.storage.locations import absolute, join
    from raylabel.store.results import Results

    results, made = fspath(results_dir), format_named(format)
    wanted = Export(
        results=results,
        format=made,
        out=join(results, f"exports/{made.name}") if out is None else fspath(out),
        filters=filters_of(
            outcomes=outcome,
            judged=judged,
            verified=verified,
            min_score=min_score,
            without=without,
            only=only,
            keep_partial=keep_partial,
        ),
        splits=read_splits(",".join(f"{name}={share}" for name, share in splits.items())) if splits else None,
        classes=classes,
        max_classes=max_classes,
        max_unmapped=max_unmapped,
        copy_images=copy_images,
        image_root=image_root,
        options=Options(first_category_id, min_pixels, max_pixels),
        replace=overwrite,
    )
    know_plugins(Results(Folder(absolute(results))))
    return run_export(wanted, reader())
