"""What stands between a specification and its run: all that can be found at once, before anything is paid for.

One finding after the other, each good or bad; what a bad one bars is left out, everything else is looked at.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from raylabel.clients.endpoints import build_client, describe_trouble, with_key
from raylabel.errors import ClientError, ImageError, InputError, RaylabelError
from raylabel.exports.failures import Reasons
from raylabel.images import Decoders, read_image
from raylabel.probing.endpoint import probe_endpoint
from raylabel.probing.facts import EndpointFacts, load_facts, save_facts, warnings
from raylabel.probing.models import models_of
from raylabel.profiles import AS_IS
from raylabel.records import ImageFacts, Outcome, Record
from raylabel.runtime.earlier_results import check_results
from raylabel.runtime.edited_files import AnnotationFiles
from raylabel.runtime.first_look import input_problems
from raylabel.runtime.plan import SHARD_RECORDS
from raylabel.runtime.preparing import build_spec
from raylabel.runtime.trial import Tried, try_record
from raylabel.settings import Settings, VlmSettings, at_addresses, mask_of
from raylabel.sources import Shard, SourceSpec, read_shard, scan, source_for
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute
from raylabel.storage.stamps import is_missing, stamps
from raylabel.store.results import Results
from raylabel.validation import consequence_of

IMAGES_OPENED = 200
"""Of each other image only is seen that it is there."""
_BATCH = 1024
_THREADS = 4
_KINDS = 5
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at.

    Args:
        part: what it belongs to, in a word.
        good: None where it was not looked at, since something else bars it.
        text: what was found.
        remedy: of what is bad.
    """

    part: str
    good: bool | None
    text: str
    remedy: str = ""


@dataclass
class _Input:
    """What a pass over the whole input found.

    Args:
        first: a record whose image is there, with its shard.
    """

    shards: list[Shard] = field(default_factory=list)
    records: int = 0
    unusable: Reasons = field(default_factory=Reasons)
    unlabeled: Reasons = field(default_factory=Reasons)
    rows: Reasons = field(default_factory=Reasons)
    missing: list[str] = field(default_factory=list)
    missing_count: int = 0
    first: tuple[Record, Shard] | None = None
    seen: int = 0
    drawn: list[str] = field(default_factory=list)


class Check:
    """Looks at what a specification names.

    Args:
        own_url: has the server of the specification's own start, and says where it is; None where it has none.
    """

    def __init__(self, settings: Settings, own_url: Callable[[], str] | None = None) -> None:
        self._settings, self._own_url = settings, own_url
        self._results = Results(Folder(absolute(settings.results_dir)))
        self._mask = mask_of(settings.pipeline.vlm)
        self._random = random.Random(0)

    def findings(self, *, offline: bool = False, has_input: bool = True) -> Iterator[Finding]:
        """Everything, in the order of a run.

        Args:
            offline: the endpoint is left alone.
            has_input: whether the settings name one; if not, that was told already.
        """
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="raylabel-check-"))
            yield from self._check_results()
            source, seen = None, _Input()
            if has_input:
                try:
                    source = source_for(
                        self._settings, self._settings.pipeline.workflow.steps, self._results.root.location
                    )
                    yield from self._check_input(source, folder, seen)
                    yield from self._check_images(source, seen)
                except RaylabelError as error:
                    yield Finding("input", False, str(error), "mend the input, or the setting that names it")
            if offline:
                yield Finding("endpoint", None, "left out (--offline)")
                return
            yield from self._check_endpoint(source, seen, folder)

    # --- results -----------------------------------------------------------------------------------------------------

    def _check_results(self) -> Iterator[Finding]:
        place = self._results.root.location
        try:
            files = AnnotationFiles(self._results, [step.directory for step in self._settings.selected_steps])
            check_results(self._settings, self._results, files, replace=False)
        except RaylabelError as error:
            yield Finding("results", False, str(error), "name another results_dir, or give the run --replace")
        else:
            yield Finding("results", True, place)

    # --- input -------------------------------------------------------------------------------------------------------

    def _check_input(self, source: SourceSpec, folder: str, seen: _Input) -> Iterator[Finding]:
        notes: list[str] = []
        bad: InputError | None = None
        problems: list[InputError] = []
        try:
            for shard in scan(source, SHARD_RECORDS, folder, note=notes.append):
                if not seen.shards:
                    problems = list(input_problems(self._settings, self._results, source, shard.path, None))
                seen.shards.append(shard)
        except InputError as error:
            bad = error
        for batch in range(0, len(seen.shards), _BATCH // SHARD_RECORDS):
            self._read(source, seen.shards[batch : batch + _BATCH // SHARD_RECORDS], seen)
        problems += [bad] if bad is not None and not problems else []
        for problem in problems:
            yield Finding("input", False, str(problem), "mend the input, or the setting that names it")
        if seen.records:
            yield Finding("input", True, f"{source.path}: {_number(seen.records, 'record')}")
        for note in notes:
            yield Finding("input", True, note)
        listed = "or leave them: a run goes on without them, and lists them in failures.jsonl"
        for text in _told(seen.unusable):
            yield Finding("lines", False, text, f"mend these lines, {listed}")
        for text in _told(seen.unlabeled):
            yield Finding("labels", False, text, f"mend these label files, {listed}")
        for text in _told(seen.rows):
            yield Finding(
                "labels", False, text, "mend these rows, or leave them: the other rows of their files are used"
            )

    def _read(self, source: SourceSpec, shards: Sequence[Shard], seen: _Input) -> None:
        records: list[tuple[Record, Shard]] = []
        for shard in shards:
            for line in read_shard(source, shard):
                if not isinstance(line, Record):
                    seen.unusable.add(self._mask(line.reason), line_number=line.line_number)
                    continue
                seen.records += 1
                if line.unusable:
                    seen.unlabeled.add(self._mask(line.unusable), line.image_path)
                else:
                    for row in line.unused:
                        seen.rows.add(self._mask(f"{row.where}: {row.reason}"), row.where, row.line_number)
                records.append((line, shard))
        for (record, shard), stamp in zip(records, stamps(r.image_path for r, _ in records), strict=True):
            if stamp is None and is_missing(record.image_path):
                seen.missing_count += 1
                if len(seen.missing) < _NAMED:
                    seen.missing.append(record.image_path)
            elif stamp is not None:
                if seen.first is None and not record.unusable:
                    seen.first = record, shard
                self._draw(record.image_path, seen)

    def _draw(self, path: str, seen: _Input) -> None:
        """Give each image the same chance to be among those that are opened (a reservoir)."""
        seen.seen += 1
        if len(seen.drawn) < IMAGES_OPENED:
            seen.drawn.append(path)
        elif (place := self._random.randrange(seen.seen)) < IMAGES_OPENED:
            seen.drawn[place] = path

    # --- images ------------------------------------------------------------------------------------------------------

    def _check_images(self, source: SourceSpec, seen: _Input) -> Iterator[Finding]:
        if seen.missing_count and seen.seen:  # that there is none at all was said, and where they may be
            named = ", ".join(seen.missing) + (", ..." if seen.missing_count > len(seen.missing) else "")
            yield Finding(
                "images",
                False,
                f"{_number(seen.missing_count, 'record has', 'records have')} no image: {named}",
                "put the files there, or take their lines out; a run lists them in failures.jsonl",
            )
        if not seen.drawn:
            return
        paths = list(dict.fromkeys(seen.drawn))
        decoders = Decoders(self._settings.image, _THREADS)
        try:
            with ThreadPoolExecutor(_THREADS) as threads:
                opened = list(threads.map(partial(_open, decoders), paths))
        finally:
            decoders.close()
        broken = Reasons()
        for path, facts in zip(paths, opened, strict=True):
            if isinstance(facts, str):
                broken.add(self._mask(facts if path in facts else f"{facts} ({path})"), path)
        for text in _told(broken):
            yield Finding(
                "images", False, text, "replace the files, or leave them: a run lists their records in failures.jsonl"
            )
        if whole := [facts for facts in opened if isinstance(facts, ImageFacts)]:
            of = "" if len(seen.drawn) == seen.seen else f", drawn at random from {seen.seen:,}"
            yield Finding("images", True, f"{_number(len(whole), 'image')} opened{of}: {_described(whole)}")

    # --- endpoint and one record -------------------------------------------------------------------------------------

    def _check_endpoint(self, source: SourceSpec | None, seen: _Input, folder: str) -> Iterator[Finding]:
        settings = self._settings
        where = f"{settings.autolabel_type}.vlm"
        try:
            if self._own_url is not None:
                settings = at_addresses(settings, [self._own_url()])
            vlm = with_key(settings.pipeline.vlm, os.environ)
            known = load_facts(self._settings, self._results)
            found = probe_endpoint(settings, vlm, known)
            names = asyncio.run(_served_names(settings, vlm))
            save_facts(self._settings, self._results, found)
        except ClientError as error:
            text = describe_trouble(error, settings.pipeline.vlm, settings.autolabel_type)
            yield Finding("endpoint", False, self._mask(text), f"mend {where}, its key, or start the server")
        except RaylabelError as error:
            yield Finding(
                "endpoint", False, self._mask(str(error)), f"mend {where}; raylabel calibrate draws the boxes"
            )
        else:
            for model, served in names.items():
                yield Finding("endpoint", True, f"{model} is served{_as(model, served)}")
            for verdict in found.verdicts.values():
                yield Finding("boxes", True, verdict.describe())
            for sentence in warnings(settings, found):
                yield Finding("boxes", True, sentence)
            yield from self._check_record(settings, found, source, seen, folder)
            return
        yield Finding("record", None, "not tried: the endpoint cannot be used")

    def _check_record(
        self, settings: Settings, facts: EndpointFacts, source: SourceSpec | None, seen: _Input, folder: str
    ) -> Iterator[Finding]:
        if source is None or seen.first is None:
            yield Finding("record", None, "not tried: there is no record with an image")
            return
        record, shard = seen.first
        results = Results(Folder(absolute(folder)) / "results")
        spec = build_spec(settings, results, source, facts, None, sample=frozenset((record.position,)))
        yield Finding("record", True, record.image_path)
        for tried in try_record(spec, shard, record.record_id):
            yield _step_finding(tried, self._mask)


def _told(reasons: Reasons) -> Iterator[str]:
    """The most frequent kinds of reasons, with how often and where."""
    kinds, others = reasons.most_frequent(_KINDS)
    for kind in kinds:
        more = kind.count - len(kind.line_numbers)
        lines = f"line {', '.join(map(str, kind.line_numbers))}" + (f" and {more:,} more" if more else "")
        alike = "" if kind.equal else " (and the like)"
        yield f"{lines if kind.line_numbers else f'{kind.count:,} x'}: {kind.example}{alike}"
    if others:
        yield f"{others:,} for other reasons"


def _open(decoders: Decoders, path: str) -> ImageFacts | str:
    """What an image is, or why it cannot be used."""
    try:
        return decoders.prepare(read_image(path), AS_IS)[0]
    except ImageError as error:
        return str(error)


def _described(images: Sequence[ImageFacts]) -> str:
    """Sizes, and what is odd about some."""
    sizes = sorted((facts.size.width * facts.size.height, facts.size.width, facts.size.height) for facts in images)
    (_, *smallest), (_, *largest) = sizes[0], sizes[-1]
    between = "{} x {}".format(*smallest)
    parts = [between if smallest == largest else f"{between} to {'{} x {}'.format(*largest)} pixels"]
    if turned := sum(facts.orientation != 1 for facts in images):
        parts.append(f"{turned} turned upright by EXIF")
    odd = Counter(flag for facts in images for flag in facts.flags)
    parts += [f"{count} {flag} ({consequence_of(flag) or 'noted'})" for flag, count in sorted(odd.items())]
    return "; ".join(parts)


async def _served_names(settings: Settings, vlm: VlmSettings) -> dict[str, tuple[str, ...]]:
    """What the server, the first of several, calls each of the models that the steps ask."""
    client = build_client(vlm, os.environ)
    try:
        models = [sampling.model for step in settings.selected_steps for sampling in models_of(settings, step)]
        return {model: await client.served_names(model) for model in dict.fromkeys(models)}
    finally:
        await client.close()


def _as(model: str, served: Sequence[str]) -> str:
    others = [name for name in served if name != model]
    return f" as {', '.join(others)}" if others else ""


def _step_finding(tried: Tried, mask: Callable[[str], str]) -> Finding:
    """How a step ended for the record, and what to do where it is open."""
    name = tried.step.name
    if tried.trouble:
        return Finding(name, False, mask(tried.reason), "mend the endpoint, its key or its address")
    if tried.outcome is None:
        return Finding(name, None, "not come to: a step before it is open")
    parts = [tried.outcome.value + (f": {mask(tried.reason)}" if tried.reason else "")]
    changes = tried.changes
    if changes.regions:
        parts.append(_number(len(changes.regions), "region"))
    if changes.expressions:
        boxes = sum(len(expression.instances or ()) for expression in changes.expressions)
        parts.append(f"{_number(len(changes.expressions), 'expression')}, {_number(boxes, 'box', 'boxes')}")
    if tried.replies:
        tokens = ""
        if tried.tokens_input is not None and tried.tokens_output is not None:
            tokens = f", {tried.tokens_input:,} tokens in, {tried.tokens_output:,} out"
        parts.append(f"{_number(tried.replies, 'reply', 'replies')} in {tried.seconds:.1f} s{tokens}")
    good = not tried.outcome.is_open and tried.outcome is not Outcome.REFUSED
    remedies = {
        Outcome.REFUSED: "the model declines this picture; where it declines many, another model is needed",
        Outcome.UNREADABLE: f"try another model, or other words (raylabel prompts {name} shows the question)",
        Outcome.FAILED: "see the reason; with a larger --sample, raylabel estimate shows how often it comes",
    }
    return Finding(name, good, "; ".join(parts), "" if good else remedies.get(tried.outcome, ""))


def _number(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
