"""From a results folder to the records that are shown.

The store is read together with the input, so that an unfinished run is shown as far as it came, with the questions, the
replies and what the double check changed. Where the input is not here any more, or there is no store,
``annotations.jsonl`` is what there is.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from raylabel.blocks import paths_in
from raylabel.errors import InputError, RaylabelError
from raylabel.exports.annotations import to_line
from raylabel.geometry import round_box
from raylabel.pipelines import PIPELINES, is_given
from raylabel.probing.facts import load_facts
from raylabel.records import Box, JsonObject, Record, expression_to_json
from raylabel.review.shown import MisshapenError, Shown, phrases_of, with_verdicts
from raylabel.runtime.assembling import Assembled, assemble
from raylabel.runtime.costs import Costs
from raylabel.runtime.exchanges import stored_exchanges
from raylabel.runtime.judging import digest_of_labels
from raylabel.runtime.plan import SHARD_RECORDS
from raylabel.runtime.preparing import build_spec
from raylabel.runtime.question_keys import QuestionKeys
from raylabel.runtime.spec import StepPlan
from raylabel.runtime.specification import Specification, know_plugins, recall_specification
from raylabel.sources import read_shard, scan, source_for
from raylabel.steps.double_check import DoubleCheck
from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute, is_uri
from raylabel.store.generations import current_generations
from raylabel.store.judgements import Judgements, RecordJudgements, load_judgements
from raylabel.store.reopened import load_reopenings
from raylabel.store.results import Results
from raylabel.store.tables import Row, Table

logger = logging.getLogger(__name__)

REPLY_CHARS = 100_000
"""Of one reply; what is longer is cut where it is shown."""
_PART = 256
"""Lines of ``annotations.jsonl`` whose rows are looked up together."""

Wish = Callable[[Shown], bool]
WISHES: Mapping[str, Wish] = {
    "failed": lambda shown: shown.is_failed,
    "flagged": lambda shown: bool(shown.flags),
    "rejected": lambda shown: shown.is_rejected,
}
"""Values of ``--only``."""


@dataclass(frozen=True)
class Reviewed:
    """The records of a results folder, in the order of the input; each pass reads them anew.

    Args:
        name: of the folder.
        origin: where they come from, in words.
        shown: begins a pass.
    """

    name: str
    results: Results
    annotations: Path
    origin: str
    shown: Callable[[], Iterator[Shown]]

    def only(self, wish: str | None, sample: int | None, seed: int = 0) -> Reviewed:
        """Those that are ``failed``, ``flagged`` or ``rejected``; of these a random sample, always the same one."""
        wanted, chosen = self, []
        if wish is not None:
            wanted = replace(self, shown=lambda: filter(WISHES[wish], self.shown()))
        if sample is None:
            return wanted
        rng = random.Random(seed)
        for number, shown in enumerate(wanted.shown()):  # a reservoir: only the sample is held
            if number < sample:
                chosen.append((number, shown))
            elif (place := rng.randint(0, number)) < sample:
                chosen[place] = (number, shown)
        chosen.sort(key=lambda one: one[0])
        return replace(wanted, shown=lambda: iter([shown for _, shown in chosen]))


def open_results(folder: Path) -> Reviewed:
    """What a results folder has to show.

    Raises:
        InputError: nothing, or an ``annotations.jsonl`` that cannot be read.
    """
    results = Results(Folder(absolute(str(folder))))
    annotations = folder / "annotations.jsonl"
    name = folder.resolve().name or str(folder)
    know_plugins(results)
    specification = recall_specification(results)
    why = ""
    if specification is not None:
        try:
            stored = _Stored(results, specification, annotations)
            first = next(stored.shown(), None)
        except (RaylabelError, OSError) as error:
            why = str(error)
        else:
            if first is not None or not annotations.is_file():
                return Reviewed(name, results, annotations, "the store and the input", stored.shown)
    if not annotations.is_file():
        hint = f" ({why})" if why else ""
        raise InputError(
            f"{folder}: no annotations.jsonl and no run to review{hint}; expected the results_dir of a run"
        )
    origin = f"annotations.jsonl (the input cannot be read: {why})" if why else "annotations.jsonl"
    directory = specification.directory if specification is not None else ""
    return Reviewed(name, results, annotations, origin, partial(_from_lines, annotations, results, directory))


# --- the store ------------------------------------------------------------------------------------------------------


class _Stored:
    """Records of the input with what the store knows of them.

    Raises:
        RaylabelError: the specification does not lead to records that could be read.
    """

    def __init__(self, results: Results, specification: Specification, annotations: Path) -> None:
        settings = specification.settings
        data = settings.pipeline.data
        for name, value in paths_in(data).items():
            if specification.directory and not is_uri(value):
                setattr(data, name, str(Path(specification.directory) / value))
        source = source_for(settings, settings.pipeline.workflow.steps, results.root.location)
        facts = load_facts(settings, results)
        self._spec = build_spec(settings, results, source, facts, None, replay_only=True)
        self._directory = specification.directory
        self._annotations = annotations
        self._costs = Costs(settings)
        self._pipeline = PIPELINES[self._spec.pipeline]
        self._selected = [plan.step for plan in self._spec.selected]
        reopened = load_reopenings(results)
        self._plans: dict[str, tuple[StepPlan, Any, QuestionKeys]] = {}
        for plan in self._spec.selected:
            step = plan.step(plan.setup)
            keys = QuestionKeys(step, plan.ask, reopened.get(plan.step.directory, {}))
            self._plans[plan.step.label] = (plan, step, keys)

    def shown(self) -> Iterator[Shown]:
        spec, judgements = self._spec, load_judgements(self._spec.results)
        rows = {step.directory: spec.results.rows(step.directory) for step in self._pipeline}
        answers = {plan.step.directory: spec.results.answers(plan.step.directory) for plan in spec.selected}
        for table in (*rows.values(), *answers.values()):
            table.refresh()
        numbers = _LineNumbers(self._annotations)
        with tempfile.TemporaryDirectory(prefix="raylabel-review-") as folder:
            for shard in scan(spec.source, SHARD_RECORDS, folder, note=logger.debug):
                lines = [line for line in read_shard(spec.source, shard) if isinstance(line, Record)]
                ids = [line.record_id for line in lines]
                stored = {directory: table.newest(ids) for directory, table in rows.items()}
                for line in lines:
                    item = assemble(line, stored, self._pipeline, self._selected, spec.generations)
                    if not item.record.outcomes:
                        continue  # nobody has come to it yet
                    own = {d: of_step[line.record_id] for d, of_step in stored.items() if line.record_id in of_step}
                    yield self._one(item, line, own, answers, judgements, numbers)

    def _one(
        self,
        item: Assembled,
        given: Record,
        rows: Mapping[str, Row],
        answers: Mapping[str, Table],
        judgements: Judgements,
        numbers: _LineNumbers,
    ) -> Shown:
        record = item.record
        line: JsonObject = json.loads(json.dumps(to_line(record, finished=item.finished), default=str))
        seen = _seen_by_steps(item, given, record)
        steps = [
            {
                "label": label,
                "outcome": ended.outcome.value,
                "reason": ended.reason,
                "attempts": ended.attempts,
                "violations": dict(ended.violations),
                "model": _maker(ended.provenance),
            }
            for label, ended in record.outcomes.items()
        ]
        own = judgements.get(record.record_id, RecordJudgements())
        return Shown(
            line=line,
            location=_located(record.image_path, self._directory),
            phrases=with_verdicts(phrases_of(line, _before_check(item, record)), own.boxes),
            steps=steps,
            labels=digest_of_labels(rows, record.source, self._spec.generations),
            judgements=own,
            line_number=numbers.of(record.record_id),
            exchanges=lambda: list(self._exchanges(seen, answers)),
        )

    def _exchanges(self, seen: Mapping[str, Record], answers: Mapping[str, Table]) -> Iterator[JsonObject]:
        for label, (plan, step, keys) in self._plans.items():
            if label not in seen:
                continue
            for one in stored_exchanges(step, plan.ask, keys, answers[plan.step.directory], seen[label]):
                question = one.question
                text = "\n\n".join(part for part in (question.preamble, question.text) if part)
                yield {"step": label, "question": text, "replies": [_reply(row, self._costs) for row in one.replies]}


def _maker(provenance: object) -> str:
    """The model, or the tool, that the labels of a step are from."""
    made = provenance if isinstance(provenance, Mapping) else {}
    return str(made.get("model") or made.get("imported") or "")


def _reply(row: Row, costs: Costs) -> JsonObject:
    tokens_out = [row[name] for name in ("tokens_output", "tokens_thought") if row[name] is not None]
    return {
        "text": (row["text"] or "")[:REPLY_CHARS],
        "finish": row["finish_detail"] or row["finish"] or "",
        "model": row["model"] or "",
        "seconds": round(row["latency_s"] or 0.0, 3),
        "tokens_in": row["tokens_input"],
        "tokens_cached": row["tokens_cached"],
        "tokens_out": sum(tokens_out) if tokens_out else None,
        "usd": costs.usd_of_reply(row),
    }


def _seen_by_steps(item: Assembled, given: Record, record: Record) -> dict[str, Record]:
    """The record as each step saw it, by label."""
    seen: dict[str, Record] = {}
    last = replace(given, image=record.image)
    for step, state in item.states:
        if not is_given(step, given):
            seen[step.label] = last
        last = state
    return seen


def _before_check(item: Assembled, record: Record) -> Sequence[JsonObject]:
    """The expressions as the double check found them, where it ended; boxes as in ``annotations.jsonl``."""
    before = None
    for step, state in item.states:
        if issubclass(step, DoubleCheck):
            break
        before = state
    else:
        return ()
    if before is None or not before.expressions:
        return ()
    size = None if record.image is None else record.image.size

    def write_box(box: Box) -> list[float]:
        return list(round_box(box, size).as_tuple())

    return [expression_to_json(e, write_box) for e in before.expressions]


# --- the file -------------------------------------------------------------------------------------------------------


def _from_lines(annotations: Path, results: Results, directory: str) -> Iterator[Shown]:
    judgements, generations = load_judgements(results), current_generations(results)
    lines = read_lines(annotations)
    tables: dict[str, Table] = {}
    while part := list(islice(lines, _PART)):
        stored: dict[str, dict[str, dict[str, Row]]] = {}
        ids = [r for _, line in part if isinstance(r := line.get("record_id"), str) and _is_key(r)]
        for pipeline in {str(line.get("source")) for _, line in part} & PIPELINES.keys():
            stored[pipeline] = {}
            for step in PIPELINES[pipeline]:
                if step.directory not in tables:
                    tables[step.directory] = results.rows(step.directory)
                    tables[step.directory].refresh()
                stored[pipeline][step.directory] = tables[step.directory].newest(ids)
        for number, line in part:
            record_id, source = line.get("record_id"), str(line.get("source"))
            rows = {d: of[record_id] for d, of in stored.get(source, {}).items() if record_id in of}
            yield _shown_line(
                annotations,
                number,
                line,
                digest_of_labels(rows, source, generations) if rows else "",
                judgements.get(str(record_id), RecordJudgements()),
                directory,
            )


def _shown_line(
    annotations: Path, number: int, line: JsonObject, labels: str, judgements: RecordJudgements, directory: str
) -> Shown:
    try:
        phrases = phrases_of(line)
    except MisshapenError as error:
        raise InputError(f"{annotations}: line {number}: {error}") from None
    outcomes, provenance = line.get("outcomes"), line.get("provenance")
    made = provenance if isinstance(provenance, dict) else {}
    steps: list[JsonObject] = []
    for label, outcome in (outcomes if isinstance(outcomes, dict) else {}).items():
        model = _maker(made.get(label))
        steps.append({"label": str(label), "outcome": str(outcome), "reason": "", "attempts": 0, "violations": {}})
        steps[-1]["model"] = model
    location = _located(str(line.get("image_path", "")), directory)
    return Shown(line, location, phrases, steps, labels, judgements, number)


def read_lines(annotations: Path) -> Iterator[tuple[int, JsonObject]]:
    """The objects of a file of JSON lines, each with its number from 1.

    Raises:
        InputError: a line is no JSON object.
    """
    with annotations.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{annotations}: line {number} is not JSON ({error})") from error
                if not isinstance(value, dict):
                    raise InputError(f"{annotations}: line {number} is not a JSON object")
                yield number, value


class _LineNumbers:
    """Where records stand in ``annotations.jsonl``, asked for in its own order: nothing of it is held."""

    def __init__(self, annotations: Path) -> None:
        self._annotations = annotations
        self._lines = self._ids()
        self._next = next(self._lines, None)

    def of(self, record_id: str) -> int | None:
        if self._next is None or self._next[0] != record_id:
            return None
        number = self._next[1]
        self._next = next(self._lines, None)
        return number

    def _ids(self) -> Iterator[tuple[str, int]]:
        start = '{"record_id": "'
        if not self._annotations.is_file():
            return
        with self._annotations.open(encoding="utf-8", errors="replace") as stream:
            for number, line in enumerate(stream, 1):
                if line.startswith(start):
                    yield line[len(start) : len(start) + 32], number


def _is_key(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def _located(path: str, directory: str) -> str:
    """A path as it can be opened from here: relative ones start from where the run was, unless they lead somewhere."""
    if not path or is_uri(path) or not directory or Path(path).is_absolute() or Path(path).exists():
        return path
    return str(Path(directory) / path)
