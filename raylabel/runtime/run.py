"""A run from settings to exit code: the driver's part."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from raylabel import __version__
from raylabel.clients.endpoints import describe_trouble, members_of
from raylabel.errors import ClientError, ConfigError, RaylabelError, ServerError, StoreError, printable
from raylabel.exports.formats import EXPORT_FORMATS
from raylabel.logs import log_again, said
from raylabel.pipelines import levels
from raylabel.records import JsonObject, Outcome, digest_of
from raylabel.runtime.confirming import note_questions
from raylabel.runtime.coordinator import Budget, Fatal, Status, limit_met
from raylabel.runtime.costs import Costs
from raylabel.runtime.delivered import forget_delivery, note_delivery, recall_delivery
from raylabel.runtime.delivery import Counts, Delivery
from raylabel.runtime.driver import Driver
from raylabel.runtime.earlier_results import check_results
from raylabel.runtime.edited_files import AnnotationFiles
from raylabel.runtime.estimating import Estimate, estimate_rest
from raylabel.runtime.executor import Executor, Work
from raylabel.runtime.exporting import Exporter, Publishing
from raylabel.runtime.figures import Extent
from raylabel.runtime.in_hand import forget_deaths
from raylabel.runtime.manifest import write_manifest
from raylabel.runtime.merging import Merger
from raylabel.runtime.planning import How, Plan, Planner
from raylabel.runtime.preparing import total_in_flight
from raylabel.runtime.progress import Progress, display_for
from raylabel.runtime.rereading import Comparison
from raylabel.runtime.run_log import RunLog
from raylabel.runtime.sampled import Sample
from raylabel.runtime.settled_shards import SettledShards
from raylabel.runtime.shutdown import StopSignals, TermInterrupts
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.specification import note_specification
from raylabel.runtime.spending import NOTHING, Spending
from raylabel.runtime.summary import in_words, print_result, print_summary
from raylabel.runtime.work_list import Wanted
from raylabel.settings import LimitSettings, Settings
from raylabel.sources import Shard, source_for
from raylabel.storage.folders import Folder, store_error
from raylabel.storage.locations import absolute
from raylabel.store.damage import DamagedFragments
from raylabel.store.generations import finish_generations
from raylabel.store.judgements import digest_of_judgements, load_judgements
from raylabel.store.lease import Lease
from raylabel.store.reopened import reopen
from raylabel.store.results import Results, unsettle_shards
from raylabel.store.tables import Table

POLL_S = 0.25
LOG_PROGRESS_S = 60.0
_RAYIGNORE = ".rayignore"

logger = logging.getLogger(__name__)

SETTLED, BROKE, USER_CAN_FIX, OPEN, INTERRUPTED = 0, 1, 2, 3, 130


def run(
    settings: Settings,
    executor: Executor,
    limit: int | None = None,
    console: Console | None = None,
    *,
    wanted: Wanted | None = None,
    sample: Sample | None = None,
    reread: bool = False,
    confirmed: bool = False,
    replace: bool = False,
    quiet: bool = False,
    progress: str | None = None,
) -> int:
    """Label the input of a specification, continuing whatever earlier runs stored in ``results_dir``.

    Args:
        settings: checked.
        executor: where workers run; entered while there is something to ask.
        limit: work on the first records of the input only (a pilot).
        console: where progress and summary go; standard output by default, where JSON lines go in any case.
        wanted: work on these records of the work list only; settled ones are asked anew.
        sample: work on a random sample of the records only (a pilot), and estimate what the rest will take.
        reread: ask nothing; read all stored replies again, and say what changed.
        confirmed: ask again about however many settled records whose questions changed.
        replace: write over results of something else, and over files that were edited (these are kept).
        quiet: print the result only.
        progress: ``rich``, ``plain``, ``json`` or ``none`` (``raylabel.runtime.progress``); by default, what the
            console can show, and nothing for a quiet run.

    Returns:
        The exit code: 0 all settled; 3 finished with open records, or out of quota until later; 1 broke, or too many
        open records; 2 the endpoint turned the run away; 130 interrupted.

    Raises:
        ConfigError, InputError: the user can mend it; nothing was asked.
        ServerError, StoreError: the run cannot go on.
    """
    how = How(limit, wanted, sample, reread, confirmed, replace, quiet, "none" if quiet and not progress else progress)
    return _Run(settings, executor, how, console or Console()).go()


@dataclass(frozen=True)
class _Worked:
    """How the work ended.

    Args:
        stopped: before it was done.
        settled: numbers of the shards that it settled.
        delivers: whether the files may be published: they hold what the run came to, whole.
    """

    status: Status
    stopped: bool
    settled: frozenset[int]
    delivers: bool

    @property
    def fatal(self) -> Fatal | None:
        return self.status.fatal


class _Run:
    def __init__(self, settings: Settings, executor: Executor, how: How, console: Console) -> None:
        self._limit, self._wanted, self._reread = how.limit, how.wanted, how.reread
        self._how = how
        self._settings = settings
        self._executor = executor
        self._started, self._began = time.time(), time.monotonic()
        self._costs = Costs(settings)
        self._spent = NOTHING
        """Of the budget, by what this command did before it took up what the store had lost."""
        # On a terminal a display would take over standard error, and swallow what is written there.
        self._console = Console(quiet=True, force_terminal=False) if how.quiet else console
        self._result_console = console
        self._progress = Progress(
            display_for(how.progress, console), self._costs, executor.publish, lambda: executor.starting
        )
        self._results = Results(Folder(absolute(settings.results_dir)))
        self._steps = settings.selected_steps
        self._files = AnnotationFiles(self._results, [step.directory for step in self._steps])
        self._log = RunLog(settings, self._results)
        self._status: Status | None = None
        self._logged_at = self._started
        self._lost = threading.Event()
        self._terms = TermInterrupts()
        self._complaints: list[str] = []
        self._estimate: Estimate | None = None
        self._unsettled: frozenset[int] = frozenset()
        """Shards that count as settled, and have lost rows."""
        self._planner = Planner(
            settings, self._results, executor, how, self._costs, self._progress, self._terms, self._say
        )

    def go(self) -> int:
        with self._terms:
            process = "" if self._executor.is_elsewhere else Driver.here().to_text()
            lease = Lease(self._results, self._lost.set, process, _is_gone)
            try:
                lease.acquire(self._say)
            except StoreError as error:
                raise ConfigError(f"results_dir: {error}; choose a folder that can be written to") from error
            try:
                self._keep_out_of_uploads()
                lease.remove_leftovers(self._results.folders([step.directory for step in self._steps]))
                replaced = check_results(self._settings, self._results, self._files, replace=self._how.replace)
                with self._log, self._progress:
                    return self._go_and_log(replaced)
            finally:
                with suppress(StoreError):  # it ends by silence
                    lease.release()
                for complaint in self._complaints:
                    Console(stderr=True).print(f"raylabel: {complaint}", markup=False, highlight=False, soft_wrap=True)

    def _keep_out_of_uploads(self) -> None:
        """``ray job submit --working-dir .`` sends all below a folder to the cluster, results among it, and takes 100
        MiB at most."""
        root = self._results.root
        if root.is_local and root.read(_RAYIGNORE) is None:
            root.publish(_RAYIGNORE, b"*\n")

    def _go_and_log(self, replaced: Sequence[str]) -> int:
        """Go, and log how that begins and ends.

        Args:
            replaced: sentences on what this run writes over.
        """
        logger.info("raylabel %s, %s, process %s", __version__, self._settings.autolabel_type, os.getpid())
        for sentence in replaced:
            self._say(sentence)
        try:
            code = self._go_and_watch()
        except RaylabelError as error:
            said(f"the run ends: {error}", logging.ERROR)
            raise
        except Exception:
            logger.exception("a defect of raylabel ends the run", extra={"said": True})
            raise
        self._progress.note_exit(code)
        logger.info("exit code %s after %.1f s", code, time.time() - self._started)
        return code

    def _go_and_watch(self) -> int:
        """Go, once more where that showed that the store has lost rows, and say what was found damaged."""
        damaged = DamagedFragments(self._results, [step.directory for step in self._steps])
        try:
            code = self._go()
            if code is None:
                code = self._go()
            assert code is not None
            return code
        finally:
            with suppress(StoreError):  # where nothing can be listed there are worse things to say
                for warning in damaged.describe_new():
                    self._complain(warning)

    def _go(self) -> int | None:
        """Once through everything; None where that showed that settled records have lost their rows, and those are to
        be done again."""
        self._progress.enter_phase("reading the input")
        source = source_for(self._settings, self._settings.pipeline.workflow.steps, self._results.root.location)
        with ExitStack() as stack:
            try:
                plan = self._planner.prepare(source, self._unsettled, stack)
            except ClientError as error:
                self._complain(describe_trouble(error, self._settings.pipeline.vlm, self._settings.autolabel_type))
                return USER_CAN_FIX
            if plan.chosen is not None:
                self._say(plan.chosen.describe())
                if not plan.todo:
                    return SETTLED
            judgements = digest_of_judgements(load_judgements(self._results))
            key = digest_of(
                "delivery 3",
                __version__,
                plan.digests,
                self._limit,
                self._settings.output_format,
                judgements,
                *filter(None, [self._how.sample and [self._how.sample.size, self._how.sample.seed]]),
            )
            if not plan.todo and (counts := recall_delivery(plan.spec, key)) is not None:
                return self._finish(plan, counts, None)
            try:
                return self._deliver(plan, key, stack)
            except OSError as error:
                raise store_error("write the result files in", self._results.root.location, error) from error

    def _deliver(self, plan: Plan, key: str, stack: ExitStack) -> int | None:
        """Have the work done and the result files written; see ``_go``."""
        comparison = Comparison(plan.spec) if self._reread else None
        with Delivery(plan.spec, self._settings.output_format, self._files, self._say) as delivery:
            worked = self._work(plan, delivery) if plan.todo else None
            stack.close()  # nothing more is asked
            self._progress.finish("writing the result files")
            if worked is None:
                delivery.add_all(plan.shards)
            elif worked.stopped and (worked.fatal is None or not worked.fatal.deliver):
                return self._stop(plan, delivery, worked)
            lost = self._lost_records(plan, delivery, worked)
            if lost and not self._unsettled and (worked is None or not worked.stopped):
                self._say(
                    f"warning: {sum(lost.values())} records that were settled have no whole result in "
                    f"{self._results.root.location} any more; they are taken up again"
                )
                self._unsettled = frozenset(lost)
                delivery.abandon()
                return None
        if comparison is not None:
            for sentence in comparison.describe(plan.spec):
                self._say(sentence)
        if not EXPORT_FORMATS[self._settings.output_format].has_file_per_image:  # too many to look at each
            note_delivery(plan.spec, key, delivery.counts, delivery.paths)
        return self._finish(plan, delivery.counts, worked)

    def _lost_records(self, plan: Plan, delivery: Delivery, worked: _Worked | None) -> dict[int, int]:
        """By shard, how many of its records are open although it is settled."""
        if plan.chosen is not None:  # the others are left as they are
            return {}
        settled = plan.settled if worked is None else plan.settled | worked.settled
        return {number: count for number, count in delivery.open_records.items() if number in settled}

    def _stop(self, plan: Plan, delivery: Delivery, worked: _Worked) -> int:
        """End a run that was stopped; returns the exit code."""
        fatal = worked.fatal
        code = INTERRUPTED if fatal is None else fatal.exit_code
        if worked.delivers:
            self._publish_stopped(plan, delivery, worked.status, code)
        else:
            delivery.abandon()
        if fatal is None:
            self._say("stopped; what was answered is stored. The same command continues.", result=True)
        else:
            self._complain(fatal.message)
        return code

    def _publish_stopped(self, plan: Plan, delivery: Delivery, status: Status | None, code: int) -> None:
        try:
            delivery.publish()
            self._write_manifest(plan, delivery.counts, status, code)
        except (StoreError, OSError) as error:  # what stopped the run may be the disk; that is said
            logger.info("not all result files were written: %s", error)
            return
        lines = delivery.counts.lines
        self._say(f"{delivery.paths[0]} holds what is settled: {lines - delivery.counts.open} of {lines} records")

    # --- during ----------------------------------------------------------------------------------------------------

    def _work(self, plan: Plan, delivery: Delivery) -> _Worked:
        """Have the work done and the result files written as far as it goes."""
        settled_before = sum(s.count for s in plan.shards if s.number in plan.settled)
        records = sum(map(plan.spec.taken, plan.todo)) + settled_before
        forget_delivery(self._results)
        note_specification(self._settings, self._results)
        if plan.chosen is None and not self._reread and not plan.spec.is_pilot:
            note_questions(plan.spec, plan.shards)
        if plan.chosen is not None or self._reread:  # what was settled may be open from now on
            unsettle_shards(self._results, [plan.digests[shard.number] for shard in plan.todo])
        if plan.chosen is not None:
            settled_before = records - len(plan.chosen.ids)
            reopen(self._results, plan.chosen.reopened, plan.chosen.asked_for)
        limits, finds = self._settings.limits, self._settings.max_workers is None
        endpoints = len(members_of(self._settings.pipeline.vlm))
        spec = plan.spec
        if limits.max_cost_usd is not None:
            spec = dataclasses.replace(spec, prices=self._costs.required())
        budget = Budget(
            {step.step.name: step.max_workers for step in plan.spec.selected},
            total_in_flight(self._settings, endpoints),
            1.0 if self._reread else limits.max_failure_rate,
            settled_before,
            find_in_flight=finds,
            per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            patience_s=limits.patience,
            spending=_spending(limits).plus(self._spent, -1),
            endpoints=endpoints,
            timeout_s=min(sampling.timeout_s for step in spec.selected for sampling in step.ask.samplings),
        )
        beyond = (s.number for s in plan.shards if not spec.taken(s))
        with ExitStack() as stack:
            signals = stack.enter_context(StopSignals(self._console))
            stack.enter_context(Merger(self._tables(plan.spec)))
            every_s = self._settings.limits.write_every
            publishing = Publishing(every_s, partial(self._note_published, plan)) if every_s else None
            exporter = Exporter(delivery, plan.shards, plan.settled, beyond, publishing)
            stack.callback(exporter.close)
            by_level = levels(self._steps, self._settings.autolabel_type)
            self._progress.begin(Extent(records, settled_before, [[step.name for step in each] for each in by_level]))
            self._executor.begin(Work(spec, plan.todo, budget), signals.wake)
            whole = {s.number: s.count for s in plan.todo if spec.taken(s) == s.count}
            noted = SettledShards(self._results.shards(), plan.digests, whole)
            stack.enter_context(self._delivering_what_is_there(plan, delivery, exporter))
            quiet = told = False
            while True:
                ended = self._executor.has_ended()
                status = self._executor.status()
                self._log_status(status)
                self._progress.show(status)
                noted.add(status.ended)
                exporter.note_ended(end.number for end in status.ended)
                exporter.note_progress(sum(sum(s.outcomes.values()) for s in status.steps.values()) - status.unwritten)
                if self._lost.is_set():
                    raise StoreError(f"another run took over {self._results.root.location}; this one ends")
                if status.fatal is not None and status.fatal.deliver and not told:
                    self._say(f"stopping: {status.fatal.message}; finishing and storing what is in flight")
                    told = True
                if ended:
                    break
                if signals.asked and not status.stopping:
                    self._executor.stop()
                elif self._is_out_of_time and not status.stopping:
                    self._executor.stop(
                        limit_met(f"limits.max_hours is met: this command ran for {limits.max_hours:g} h")
                    )
                idle = status.stopping and status.in_flight == 0 and status.unwritten == 0
                if idle and quiet:  # one more round after the first quiet one: a report may be a beat old
                    break
                quiet = idle
                signals.wait(POLL_S)
            self._progress.finish("writing the result files")
            self._executor.wind_up()
            self._spent = self._spent.plus(status.spent)
            delivers = True
            if not status.stopping or (status.fatal is not None and status.fatal.deliver):
                exporter.finish()
            else:
                # Where nothing ended the files of the run before say as much.
                delivers = any(step.outcomes for step in status.steps.values()) and self._finish_soon(exporter)
        return _Worked(status, status.stopping, frozenset(noted.settled), delivers)

    @contextmanager
    def _delivering_what_is_there(self, plan: Plan, delivery: Delivery, exporter: Exporter) -> Iterator[None]:
        """Publishes the result files also where the workers are lost: what they stored is not."""
        try:
            yield
        except ServerError:
            if self._finish_soon(exporter):
                self._publish_stopped(plan, delivery, None, BROKE)
            raise

    def _finish_soon(self, exporter: Exporter) -> bool:
        """Whether the files of a run that was stopped are whole."""
        try:
            return exporter.finish_soon()
        except (StoreError, OSError) as error:  # what stopped the run may be the disk; that is said
            logger.info("the result files are left as they were: %s", error)
            return False

    @property
    def _is_out_of_time(self) -> bool:
        hours = self._settings.limits.max_hours
        return hours is not None and time.monotonic() - self._began >= 3600 * hours

    def _tables(self, spec: RunSpec) -> list[tuple[Table, bool]]:
        directories = [plan.step.directory for plan in spec.selected]
        return [
            *((self._results.answers(d), False) for d in directories),
            *((self._results.rows(d), True) for d in directories),
            (self._results.images(), True),
            (self._results.shards(), True),
        ]

    # --- after -----------------------------------------------------------------------------------------------------

    def _finish(self, plan: Plan, counts: Counts, worked: _Worked | None) -> int:
        """Say what the files hold and how the run went; returns the exit code."""
        status, fatal = (None, None) if worked is None else (worked.status, worked.fatal)
        self._check_sum(plan.shards, counts)
        if fatal is None and not plan.spec.is_pilot and plan.chosen is None and not self._reread:
            finish_generations(self._results, [s.directory for s in self._steps])
        code = self._exit_code(counts, fatal)
        if code == SETTLED and worked is not None and not plan.spec.is_pilot:
            forget_deaths(self._results)
        self._estimate = self._estimated(plan, counts)
        self._write_manifest(plan, counts, status, code)
        place = self._results.root.location
        self._progress.make_way()
        if self._how.quiet:
            print_result(self._result_console, counts, place, self._started, self._estimate)
        else:
            others, estimate = plan.spec.others, self._estimate
            print_summary(
                self._console, self._steps, counts, status, place, self._started, self._costs, others, estimate
            )
        logger.info("%s", in_words(counts.figures, counts.unusable))
        if fatal is not None:
            self._complain(fatal.message)
        elif code == BROKE:
            self._complain(self._too_many_open(counts))
        return code

    def _estimated(self, plan: Plan, counts: Counts) -> Estimate | None:
        """What the records outside a random sample will take; None where there is none, or none of it was answered."""
        if plan.spec.sample is None or not counts.not_reached:
            return None
        return estimate_rest(plan.spec, plan.shards, counts.not_reached, self._costs, self._settings.limits)

    def _too_many_open(self, counts: Counts) -> str:
        rate = self._settings.limits.max_failure_rate
        reasons, _ = max((counts.open_reasons, counts.unusable_reasons), key=lambda r: r.total).most_frequent(1)
        why = f"; most often: {reasons[0].example}" if reasons else ""
        share = f"{counts.own_failures} of {counts.judged}"
        return f"limits.max_failure_rate: {share} input lines are open, over {rate:.0%}{why}"

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
            turned_away = fatal.exit_code == OPEN and not fatal.as_wished and not some
            return USER_CAN_FIX if turned_away else fatal.exit_code
        if counts.own_failures > self._settings.limits.max_failure_rate * counts.judged:
            return BROKE
        return OPEN if counts.open or counts.unfinished else SETTLED

    def _note_published(self, plan: Plan, counts: Counts) -> None:
        """The result files were written while the run goes on."""
        self._write_manifest(plan, counts, self._status, None)
        logger.info("result files written: %s of %s records are settled", counts.lines - counts.open, counts.lines)
        self._log.publish()

    def _log_status(self, status: Status) -> None:
        """Log what changed since the last look, what workers elsewhere logged, and now and then how far it is."""
        before, self._status = self._status, status
        for node, lines in status.logs:
            log_again(lines, node)
        if status.limit != (before.limit if before else ""):
            where = "the endpoint" if len(status.endpoints) < 2 else "the endpoints"
            logger.info("%s: %s", where, status.limit or "requests are taken again")
        if (now := time.time()) - self._logged_at >= LOG_PROGRESS_S:
            self._logged_at = now
            parts = (f"{name} {dict(s.outcomes)}, {s.in_flight} in flight" for name, s in status.steps.items())
            logger.info("ended in this run: %s", "; ".join(parts))

    def _write_manifest(self, plan: Plan, counts: Counts, status: Status | None, code: int | None) -> None:
        extent: JsonObject = {
            "limit": self._limit,
            "sample": None if self._how.sample is None else dataclasses.asdict(self._how.sample),
            "estimate": None if self._estimate is None else self._estimate.to_json(),
        }
        results, settings, costs, began = self._results, self._settings, self._costs, self._started
        write_manifest(results, settings, plan.spec, plan.known, counts, status, costs, extent, began, code)

    def _say(self, text: str, *, result: bool = False) -> None:
        """Tell the user; what is no result goes without saying where they want it quiet."""
        said(text)
        console = self._result_console if result else self._console
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def _complain(self, text: str) -> None:
        """Say what is wrong, as the run's last words."""
        said(text, logging.ERROR)
        self._complaints.append(printable(text))


def _is_gone(process: str) -> bool:
    driver = Driver.of_text(process)
    return driver is not None and driver.is_dead()


def _spending(limits: LimitSettings) -> Spending:
    """What a run may spend, of what its workers count; time is the driver's."""
    most = (limits.max_requests, limits.max_tokens, limits.max_cost_usd)
    requests, tokens, usd = (math.inf if limit is None else limit for limit in most)
    return Spending(requests, tokens, 1e9 * usd)
