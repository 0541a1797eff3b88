"""A run from settings to exit code: the driver's part."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import ray
from rich.console import Console

from raylabel import __version__
from raylabel.calibration.verdict import verdict_to_json
from raylabel.clients.endpoints import trouble_in_words, with_key
from raylabel.engine.coordinator import Coordinator, Fatal, Status
from raylabel.engine.delivery import Counts, deliver
from raylabel.engine.first_look import look_at_input
from raylabel.engine.merging import Merger
from raylabel.engine.plan import shard_size
from raylabel.engine.preparing import build_spec, shard_digests
from raylabel.engine.progress import Progress
from raylabel.engine.session import cluster_address, ray_session
from raylabel.engine.shutdown import StopSignals
from raylabel.engine.spec import RunSpec
from raylabel.engine.stream import Stream
from raylabel.engine.summary import print_summary, summary_json
from raylabel.engine.surveying import Survey, is_complete, recall, remember, survey, survey_on_a_node, warnings
from raylabel.errors import ClientError, InputError, ServerError, StoreError, printable
from raylabel.pipelines import steps_of
from raylabel.records import JsonObject, Outcome
from raylabel.settings import ReferringPipeline, Settings, redacted
from raylabel.sources import Shard, SourceSpec, count_records, scan, source_for
from raylabel.sources.spec import KITTI
from raylabel.store.folders import Folder, absolute
from raylabel.store.generations import finish_generations
from raylabel.store.lease import Lease
from raylabel.store.results import Results

POLL_S = 0.25

SETTLED, BROKE, USER_CAN_FIX, OPEN, INTERRUPTED = 0, 1, 2, 3, 130


def run(settings: Settings, limit: int | None = None, console: Console | None = None) -> int:
    """Label the input of a specification, continuing whatever earlier runs stored in ``results_dir``.

    Args:
        settings: checked.
        limit: work on the first records of the input only (a pilot).
        console: where progress and summary go; standard output by default.

    Returns:
        The exit code: 0 all settled; 3 finished with open records, or out of quota until later; 1 broke, or too many
        open records; 2 the endpoint turned the run away; 130 interrupted.

    Raises:
        ConfigError, InputError: the user can mend it; nothing was asked.
        ServerError, StoreError: the run cannot go on.
    """
    return _Run(settings, limit, console or Console()).go()


@dataclass(frozen=True)
class _Plan:
    """What is left to do, given what is known of the endpoint."""

    spec: RunSpec
    digests: list[str]
    todo: list[Shard]
    settled: set[int]
    known: Survey


class _Run:
    def __init__(self, settings: Settings, limit: int | None, console: Console) -> None:
        self._settings = settings
        self._limit = limit
        self._console = console
        self._started = time.time()
        self._results = Results(Folder(absolute(settings.results_dir)))
        self._steps = steps_of(settings.autolabel_type, settings.pipeline.workflow.steps)
        self._lost = threading.Event()

    def go(self) -> int:
        lease = Lease(self._results, on_lost=self._lost.set)
        lease.acquire(self._say)
        try:
            return self._go()
        finally:
            lease.release()

    def _go(self) -> int:
        source = source_for(self._settings, self._settings.pipeline.workflow.steps, self._results.root.location)
        shards = self._scan(source)
        known = recall(self._settings, self._results)
        plan = self._plan(source, shards, known) if is_complete(self._settings, known) else None
        if plan is None or plan.todo:
            try:
                found = self._survey(known)
            except ClientError as error:
                self._complain(trouble_in_words(error, self._settings.pipeline.vlm, self._settings.autolabel_type))
                return USER_CAN_FIX
            if plan is None or found != known:
                plan = self._plan(source, shards, found)
        spec, digests, todo, settled = plan.spec, plan.digests, plan.todo, plan.settled
        status, fatal, stopped = None, None, False
        if todo:
            before = sum(s.count for s in shards if s.number in settled)
            status, fatal, stopped = self._stream(spec, todo, dict(enumerate(digests)), before)
        if stopped and fatal is None:
            self._say("stopped; what was answered is stored. The same command continues.")
            return INTERRUPTED
        if fatal is not None and not fatal.deliver:
            self._complain(fatal.message)
            return fatal.exit_code
        try:
            counts = deliver(spec, shards, self._output_format())
        except OSError as error:
            raise StoreError(f"results_dir: cannot write the result files: {error}") from error
        self._check_sum(shards, counts)
        if fatal is None and self._limit is None:
            finish_generations(self._results, [s.directory for s in self._steps])
        code = self._exit_code(counts, fatal)
        self._write_manifest(spec, plan.known, counts, status, code)
        print_summary(self._console, self._steps, counts, status, self._results.root.location, self._started)
        if fatal is not None:
            self._complain(fatal.message)
        elif code == BROKE:
            rate = self._settings.limits.max_failure_rate
            self._complain(
                f"limits.max_failure_rate: {counts.open} of {counts.lines} input lines are open, over {rate:.0%}"
            )
        return code

    # --- before ----------------------------------------------------------------------------------------------------

    def _plan(self, source: SourceSpec, shards: Sequence[Shard], known: Survey) -> _Plan:
        spec = build_spec(self._settings, self._results, source, known, self._limit)
        digests = shard_digests(spec, shards)
        table = self._results.shards()
        table.refresh()
        settled = {shard.number for shard, key in zip(shards, digests, strict=True) if table.has(key)}
        todo = [s for s in shards if s.number not in settled and self._in_limit(s)]
        return _Plan(spec, digests, todo, settled, known)

    def _survey(self, known: Survey) -> Survey:
        """Find out what is not known of the endpoint, and show it."""
        vlm = with_key(self._settings.pipeline.vlm, os.environ)
        try:
            found = survey(self._settings, vlm, known)
        except ClientError as error:
            if error.verdict.ends_run or not cluster_address(self._settings.ray):
                raise
            found = survey_on_a_node(self._settings, known)  # the endpoint may be one that only the cluster's nodes see
        remember(self._settings, self._results, found)
        for verdict in found.verdicts.values():
            self._say(verdict.in_words())
        for sentence in warnings(self._settings, found):
            self._say(sentence)
        return found

    def _scan(self, source: SourceSpec) -> list[Shard]:
        work_dir = self._results.checkpoints / "input"
        if source.kind == KITTI and not work_dir.is_local:
            raise InputError(
                f"results_dir: the list of a KITTI folder's images needs a local or mounted results_dir, found "
                f"{self._results.root.location}; or give input_annotations_jsonl instead of image_dir"
            )
        own = [getattr(self._settings.steps, step.name).workers for step in self._steps]
        workers = max(n or self._settings.pipeline.workflow.max_workers for n in own)
        shards: list[Shard] = []
        for shard in scan(source, shard_size(count_records(source), workers), work_dir.location, note=self._say):
            if not shards:  # before all the others are looked up
                look_at_input(self._settings, self._results, source, shard.path, self._limit)
            shards.append(shard)
        return shards

    def _in_limit(self, shard: Shard) -> bool:
        return self._limit is None or shard.first_position < self._limit

    # --- during ----------------------------------------------------------------------------------------------------

    def _stream(
        self, spec: RunSpec, todo: Sequence[Shard], digests: dict[int, str], settled_before: int
    ) -> tuple[Status, Fatal | None, bool]:
        """Run the plan over the shards; returns the last status, why it had to stop, and whether it was stopped."""
        settings = self._settings
        table = self._results.shards()
        records = sum(self._taken(s) for s in todo) + settled_before
        whole = {s.number: s for s in todo if self._taken(s) == s.count}
        came: dict[int, int] = {}

        def on_shard(number: int, count: int, settled: int) -> None:
            came[number] = settled

        with ExitStack() as stack:
            nodes = stack.enter_context(ray_session(settings.ray))
            # The coordinator stays with the driver's node and dies with it.
            coordinator = (
                ray.remote(Coordinator)
                .options(num_cpus=0)
                .remote(
                    {plan.step.name: plan.max_workers for plan in spec.selected},
                    settings.limits.max_in_flight,
                    settings.limits.max_failure_rate,
                    settled_before,
                )
            )
            signals = stack.enter_context(StopSignals(self._console))
            stack.enter_context(Merger(self._tables(spec)))
            progress = stack.enter_context(
                Progress(self._console, [s.name for s in self._steps], records, settled_before)
            )
            stream = Stream(spec, todo, coordinator, nodes, settings.ray.actors, on_shard)
            stream.start()
            stopped = told = False
            while True:
                ended = stream.is_done()
                try:
                    status: Status = ray.get(coordinator.driver_beat.remote())
                except ray.exceptions.RayError as error:
                    raise ServerError(f"the run's coordinator died ({error}); the same command continues") from error
                progress.show(status)
                self._note_settled(table, whole, came, digests)
                if self._lost.is_set():
                    raise StoreError(f"another run took over {self._results.root.location}; this one ends")
                if status.fatal is not None and status.fatal.deliver and not told:
                    self._say(f"stopping: {status.fatal.message}; finishing and storing what is in flight")
                    told = True
                if ended:
                    break
                if signals.asked and not status.stopping:
                    ray.get(coordinator.stop.remote())
                if status.stopping and status.in_flight == 0 and status.unwritten == 0 and stopped:
                    break
                # One more round after the first quiet one: a report may be a beat old.
                stopped = status.stopping and status.in_flight == 0 and status.unwritten == 0
                signals.wait(POLL_S)
            stream.stop()
            stopped = status.stopping
        self._note_settled(table, whole, came, digests)
        return status, status.fatal, stopped

    def _taken(self, shard: Shard) -> int:
        """Records of a shard that the limit lets through (unusable lines among them)."""
        if self._limit is None:
            return shard.count
        return max(0, min(shard.count, self._limit - shard.first_position))

    def _note_settled(self, table: Any, whole: dict[int, Shard], came: dict[int, int], digests: dict[int, str]) -> None:
        done = []
        for number in list(came):
            settled = came.pop(number)
            if number in whole and settled == whole[number].count:
                done.append({"key": digests[number], "counts": str(settled)})
        table.append(done)

    def _tables(self, spec: RunSpec) -> list[tuple[Any, bool]]:
        directories = [plan.step.directory for plan in spec.selected]
        return [
            *((self._results.answers(d), False) for d in directories),
            *((self._results.rows(d), True) for d in directories),
            (self._results.images(), True),
            (self._results.shards(), True),
        ]

    # --- after -----------------------------------------------------------------------------------------------------

    def _check_sum(self, shards: Sequence[Shard], counts: Counts) -> None:
        lines = sum(s.count for s in shards)
        if counts.lines + counts.not_reached != lines:
            raise StoreError(
                f"{lines} input lines, but {counts.lines + counts.not_reached} are accounted for: this is a defect of "
                "raylabel; the stored answers are intact"
            )

    def _exit_code(self, counts: Counts, fatal: Fatal | None) -> int:
        if fatal is not None:
            # Where nothing at all was settled there is nothing to go on with later: the user is turned away.
            ended = (outcome for step in counts.steps.values() for outcome, count in step.items() if count)
            some = any(not Outcome(outcome).is_open for outcome in ended)
            return USER_CAN_FIX if fatal.exit_code == OPEN and not some else fatal.exit_code
        if counts.open > self._settings.limits.max_failure_rate * counts.lines:
            return BROKE
        return OPEN if counts.open else SETTLED

    def _output_format(self) -> str:
        block = self._settings.pipeline
        return block.workflow.output_format if isinstance(block, ReferringPipeline) else "jsonl"

    def _write_manifest(self, spec: RunSpec, known: Survey, counts: Counts, status: Status | None, code: int) -> None:
        manifest: JsonObject = {
            "run": spec.run,
            "started": datetime.fromtimestamp(self._started, timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self._started, 1),
            "exit_code": code,
            "limit": self._limit,
            "counts": counts.to_json(),
            "requests": summary_json(status),
            "nodes": dict(status.nodes) if status else {},
            "generations": spec.generations,
            "prompts": {p.step.name: p.setup.prompt.version for p in spec.selected},
            "models": {model: verdict_to_json(v) for model, v in known.verdicts.items()},
            "schema_form": known.schema_form.value,
            "versions": {
                "raylabel": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in ("ray", "pyarrow", "pillow", "openai", "google-genai")},
            },
            "configuration": redacted(self._settings),
        }
        self._results.write_json(self._results.root, "run.json", manifest)

    def _say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def _complain(self, text: str) -> None:
        Console(stderr=True).print(f"raylabel: {printable(text)}", markup=False, highlight=False, soft_wrap=True)
