"""Takes shards of the input through all steps of a run, record by record, on one event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import pickle
import traceback
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from raylabel.clients.base import Client
from raylabel.clients.endpoints import Member, build_client, describe_trouble, members_of, with_full_paths
from raylabel.clients.silent import SilentClient
from raylabel.errors import ClientError, GeometryError, RaylabelError, StoreError
from raylabel.geometry import Resize
from raylabel.pipelines import PIPELINES, levels, outcome_of
from raylabel.records import ImageFacts, Outcome, Record, StepOutcome
from raylabel.runtime.apart import find_killers
from raylabel.runtime.asking import Asker, StepEnd
from raylabel.runtime.coordinator import BEAT_S, Directive, Fatal, Report, ShardEnd, StepReport, fatal_for
from raylabel.runtime.endpoint_pool import EndpointPool
from raylabel.runtime.image_loader import ImageLoader
from raylabel.runtime.in_hand import Deaths, Note, follow_tasks, note_folder
from raylabel.runtime.journal import BATCH_DELAY_S, LAZY_BATCH_DELAY_S, Journal
from raylabel.runtime.rows import (
    StoredRows,
    blocked_by,
    build_row,
    drop_recomputed_fields,
    imported_end,
    is_same,
    provenance_text,
    provided_by_input,
    restore,
)
from raylabel.runtime.spec import RunSpec, StepPlan, Transport
from raylabel.runtime.spending import NOTHING, Expenses, Spending, cost_of, tokens_of
from raylabel.runtime.tally import Tally
from raylabel.runtime.traffic import EndpointReport
from raylabel.runtime.window import Stopped, Window
from raylabel.servers.metrics import Load
from raylabel.sources import Shard, read_shard, resolve_units
from raylabel.steps.base import Step
from raylabel.store.reopened import Reopening, load_reopenings
from raylabel.store.tables import Table
from raylabel.timeouts import end_tasks, within

QUICK_BEAT_S = 0.1
"""Between reports while slots are missing or lie idle: another worker may have, or want, some."""
SILENT_COORDINATOR_S = 5.0
"""A coordinator that does not answer for so long may be gone, and the run with it: nothing is asked until it does."""
UNUSABLE, INTERNAL = "unusable record or image", "internal error"
"""Kinds of errors, beside those of ``ClientError``."""
_LAST_REPORTS = 4
_LEAST_AHEAD, _MOST_AHEAD = 16, 128

logger = logging.getLogger(__name__)

SendReport = Callable[[Report], Awaitable[Directive | None]]
"""Reports to the coordinator and brings back what it says; None where it does not answer."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One selected step at work: the plan, who asks, where its rows are stored, and the records it asks anew."""

    plan: StepPlan
    asker: Asker
    rows: Table
    journal: Journal
    reopened: Mapping[str, Reopening]

    @property
    def step(self) -> type[Step]:
        return self.plan.step


@dataclass(frozen=True, slots=True)
class _Level:
    """Steps that run side by side.

    Args:
        stored: steps outside this run that stand before them, whose results are taken from the store.
    """

    parts: tuple[_Part, ...]
    stored: tuple[type[Step], ...]


class Worker:
    """One worker of a run. All methods belong to one event loop; ``open`` it first.

    A record is taken up when there is room: its image is opened while others are asked about, no more than a few dozen
    records ahead, and it goes through its steps without waiting for its neighbours. What comes of it is durable before
    its shard counts as ended.

    Args:
        send_report: ``SendReport``; called a few times a second as long as the worker lives.
        node: where this is, for the record.
        workers: of the run, between which the requests in flight are divided.
        is_apart: may die of its records; nobody is told which.
    """

    def __init__(
        self, spec: RunSpec, send_report: SendReport, node: str, workers: int = 1, *, is_apart: bool = False
    ) -> None:
        self._spec = spec
        self._send_report = send_report
        self._node = node
        self._name = uuid.uuid4().hex
        self._fatal: Fatal | None = None
        self._ended: list[ShardEnd] = []
        self._selected = [plan.step for plan in spec.selected]
        # What is in flight, and as much again between two requests: waiting for its replies to be stored, and read.
        share = [max(1, -(-plan.max_workers // workers)) for plan in spec.selected]
        self._records_room = asyncio.Semaphore(2 * sum(share) + _LEAST_AHEAD)
        self._images_room = asyncio.Semaphore(min(_MOST_AHEAD, max(_LEAST_AHEAD, share[0] // 2)))
        self._unasked: set[str] = set()
        self._starting = asyncio.Lock()
        self._calls_to_start = 0
        self._reporting = asyncio.Lock()
        self._may_spend: Spending | None = None
        self._member_set = 0
        self._reader = ThreadPoolExecutor(2, thread_name_prefix="input")
        self._is_apart = is_apart
        self._note: Note | None = None
        self._deaths: Deaths | None = None
        self._trying = asyncio.Lock()

    async def open(self) -> None:
        """Get ready: client, tables, and the first directive.

        Raises:
            ConfigError: no client can be made of the settings.
            StoreError: the tables cannot be read.
        """
        spec = self._spec
        first, tally = spec.selected[0], Tally()
        read_load = self._read_load if spec.engine else None
        self.pool = EndpointPool(
            self._build_client,
            first.ask.samplings[0],
            tally,
            self._give_up,
            read_load,
            takes_files=spec.transport is not Transport.BYTES,
            needs_files=spec.image.transport == "file",
        )
        self.pool.set(self._first_members())
        results, pipeline = spec.results, PIPELINES[spec.pipeline]
        facts = results.images()
        self._images = Journal(facts, LAZY_BATCH_DELAY_S)
        resizes = dict.fromkeys(target.resize for plan in spec.selected for target in plan.setup.targets)
        self._image_loader = ImageLoader(spec.image, facts, list(resizes), spec.transport)
        reopened = load_reopenings(results)
        parts = {
            plan.step: self._build_part(
                plan, reopened.get(plan.step.directory, {}), tally if plan is first else Tally()
            )
            for plan in spec.selected
        }
        self._parts = list(parts.values())
        self._levels = []
        for level in levels(self._selected, spec.pipeline):
            before = pipeline[: max(step.place for step in level)]
            stored = tuple(step for step in before if step not in self._selected)
            self._levels.append(_Level(tuple(parts[step] for step in level), stored))
            self.pool.attach(*(parts[step].asker.window for step in level))
        # What comes after the last level is not looked at.
        self._stored_rows = {s.directory: results.rows(s.directory) for level in self._levels for s in level.stored}
        self._stored_rows |= {part.step.directory: part.rows for part in self._parts}
        self._tables = [facts, *(part.asker.answers for part in self._parts), *self._stored_rows.values()]
        if not self._is_apart:
            self._open_note()
        self._beating = asyncio.create_task(self._beat())
        # Without beats there are no slots: should they break off, whoever waits for one is sent away.
        self._beating.add_done_callback(lambda _: self._stop(None))

    def _open_note(self) -> None:
        """Note from now on what is in hand; without a note, work goes on as well until something dies of it."""
        try:
            folder = note_folder(self._spec.results)
            self._note, self._deaths = Note(folder), Deaths(folder)
        except OSError as error:
            logger.info("no note of what is in hand: %s", error)
        else:
            follow_tasks(asyncio.get_running_loop())

    def _build_client(self, member: Member) -> Client:
        if self._spec.replay_only:
            return SilentClient()
        # Keys are in the block by now, and no proxy stands before servers of our own.
        return build_client(member.vlm, {} if self._spec.members else os.environ)

    def _first_members(self) -> Sequence[Member]:
        """The endpoints to ask at first."""
        members = self._spec.members or members_of(self._spec.vlm)
        if (
            self._is_apart
        ):  # nobody tells it of others: it goes where nobody answers any more, and its records come back
            return [dataclasses.replace(member, is_kept=False) for member in members]
        return members

    async def _read_load(self, member: Member) -> Load | None:
        # Imported where it is of use: a worker that asks others' servers does without what starts some.
        from raylabel.servers.loads import load_of

        openai = member.vlm.openai
        return await load_of(openai.first_url, openai.api_key, self._spec.engine)

    def _build_part(self, plan: StepPlan, reopened: Mapping[str, Reopening], tally: Tally) -> _Part:
        rows = self._spec.results.rows(plan.step.directory)
        window = Window(self.pool, plan.step.place)
        asker = Asker(
            plan.step(plan.setup),
            plan.ask,
            self.pool,
            self._spec.results.answers(plan.step.directory),
            window,
            self._picture,
            tally,
            self._miss,
            self._give_up,
            reopened,
        )
        return _Part(plan, asker, rows, Journal(rows, LAZY_BATCH_DELAY_S), reopened)

    async def close(self) -> None:
        """Give back slots, connections and threads. What is under way is given up."""
        await end_tasks(self._beating)
        self._stop(None)
        await self.report(leaving=True)
        await self.pool.close()
        self._image_loader.close()
        for journal in self._journals():
            journal.close()
        self._reader.shutdown()
        if self._note is not None:
            self._note.close()

    # --- shards ----------------------------------------------------------------------------------------------------

    async def process(self, shards: Iterable[Shard]) -> None:
        """Take shards through all steps, in order; each is reported when it ended. May be called while it runs.

        Raises:
            RaylabelError: the run cannot go on.
        """
        loop = asyncio.get_running_loop()
        ends: list[asyncio.Task[None]] = []
        self._calls_to_start += 1
        self._set_write_delays()
        async with self._starting:  # earlier blocks first
            try:
                await self._refresh()
                for shard in shards:
                    if self._is_stopping:
                        break
                    records, stored = await loop.run_in_executor(self._reader, self._read, shard)
                    ends.append(await self._start_shard(shard, records, stored))
            except StoreError as error:
                self._fail(error)
        self._calls_to_start -= 1
        self._set_write_delays()
        await asyncio.gather(*ends)
        if self._beating.done():
            self._beating.result()  # raises what ended it, and with that ends the run
        for _ in range(_LAST_REPORTS):  # the process may be ended with its last block: what it did is known before
            if await self.report() is not None:
                break

    def _set_write_delays(self) -> None:
        """While there is more to take up, nobody waits for the last rows of a shard."""
        for journal in (self._images, *(part.journal for part in self._parts)):
            journal.batch_delay_s = LAZY_BATCH_DELAY_S if self._calls_to_start else BATCH_DELAY_S

    async def _refresh(self) -> None:
        """See what others stored: a block may come to us after the worker that had it died."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, table.refresh) for table in self._tables))

    async def _start_shard(self, shard: Shard, records: Sequence[Record], stored: StoredRows) -> asyncio.Task[None]:
        """Begin with the records of a shard as there is room for them; the task ends when all of them have."""
        tasks = []
        suspects = [] if self._deaths is None else self._deaths.suspects(record.record_id for record in records)
        trial = asyncio.create_task(self._try_apart(shard, suspects)) if suspects else None
        for record in records:
            if trial is not None and record.record_id in suspects:
                tasks.append(asyncio.create_task(self._record_after(trial, record)))
                continue
            await self._make_room(record)
            tasks.append(asyncio.create_task(self._followed(record, stored)))
        return asyncio.create_task(self._end(shard, tasks))

    async def _make_room(self, record: Record) -> None:
        await self._records_room.acquire()
        await self._images_room.acquire()
        self._unasked.add(record.record_id)

    async def _try_apart(self, shard: Shard, suspects: Sequence[str]) -> dict[str, str]:
        """Those of the suspects that kill their worker, and how; one process at a time. It takes one of the slots, and
        where steps run side by side, may have one request in flight more than that.

        Raises:
            Stopped: the run is stopping.
        """
        window = self._parts[0].asker.window
        async with self._trying:
            seat = await window.enter()
            try:
                return await find_killers(self._spec, shard, list(dict.fromkeys(suspects)), lambda: self._is_stopping)
            except (OSError, pickle.PicklingError, AttributeError) as error:
                logger.warning("records that may have killed a worker cannot be tried apart: %s", error)
                return {}
            finally:
                window.leave(seat)

    async def _record_after(self, trial: asyncio.Task[dict[str, str]], record: Record) -> bool | None:
        """``_record``, once it is known whether that can be survived."""
        try:
            died = (await trial).get(record.record_id)
            await self._refresh()
        except Stopped:
            return None
        except StoreError as error:
            self._fail(error)
            return None
        await self._make_room(record)
        stored = {directory: rows.newest([record.record_id]) for directory, rows in self._stored_rows.items()}
        problem = f"crashed the worker: a process that worked on nothing else died of it: {died}" if died else ""
        return await self._followed(record, stored, problem)

    async def _followed(self, record: Record, stored: StoredRows, problem: str = "") -> bool | None:
        work = self._record(record, stored, problem)
        return await (work if self._note is None else self._note.follow(record.record_id, work))

    def _read(self, shard: Shard) -> tuple[list[Record], StoredRows]:
        """The records of a shard that are to be worked on, and what the store has of them; unusable lines are left to
        the export."""
        only = self._spec.only
        records = [
            line
            for line in read_shard(self._spec.source, shard)
            if isinstance(line, Record) and self._spec.takes(line.position) and (only is None or line.record_id in only)
        ]
        ids = [record.record_id for record in records]
        return records, {directory: rows.newest(ids) for directory, rows in self._stored_rows.items()}

    async def _end(self, shard: Shard, tasks: Sequence[asyncio.Task[bool | None]]) -> None:
        ends = await asyncio.gather(*tasks)
        if None not in ends:
            self._ended.append(ShardEnd(shard.number, sum(map(bool, ends))))

    # --- one record ------------------------------------------------------------------------------------------------

    async def _record(self, record: Record, stored: StoredRows, problem: str) -> bool | None:
        """Whether the record is settled; None if the run stops before it went through.

        Args:
            problem: why nothing can be asked about it, if that is known.
        """
        writing: list[Awaitable[str]] = []
        try:
            return await self._run_levels(record, stored, writing, problem)
        except Stopped:
            return None
        finally:
            written = await asyncio.gather(*writing, return_exceptions=True)
            for error in written:
                if isinstance(error, StoreError):
                    self._fail(error)
            self._let_next_open(record.record_id)
            self._records_room.release()

    async def _run_levels(
        self, record: Record, stored: StoredRows, writing: list[Awaitable[str]], known_problem: str
    ) -> bool:
        if self._is_stopping:
            raise Stopped
        record, problem = await self._with_image(record, writing)
        problem = known_problem or problem
        if problem:
            self._parts[0].asker.tally.errors[UNUSABLE] += 1
        for level in self._levels:
            absent = [step for step in level.stored if not provided_by_input(step, record)]
            record, _ = restore(record, absent, stored, self._spec.generations)
            if len(level.parts) == 1:
                ends = [await self._step(level.parts[0], record, problem, stored, writing)]
            else:
                ended_or_not = await asyncio.gather(
                    *(self._step(part, record, problem, stored, writing) for part in level.parts),
                    return_exceptions=True,  # the rows of those that end are among what is waited for
                )
                if broken_off := [error for error in ended_or_not if isinstance(error, BaseException)]:
                    raise broken_off[0]
                ends = [end for end in ended_or_not if not isinstance(end, BaseException)]
            for part, end in zip(level.parts, ends, strict=True):
                if end is not None:
                    record = record.apply(part.step.label, end.outcome, end.changes)
        self._let_next_open(record.record_id)  # it is opened, or never will be: its rows need not be written for that
        if any(isinstance(error, StoreError) for error in await asyncio.gather(*writing, return_exceptions=True)):
            raise Stopped
        ended = [record.outcomes.get(step.label) for step in self._selected]
        return all(o is not None and not o.outcome.is_open for o in ended) and not outcome_of(record).is_open

    async def _with_image(self, record: Record, writing: list[Awaitable[str]]) -> tuple[Record, str]:
        """The record with the facts of its image, ready for the selected steps; and why nothing can be asked, or
        nothing."""
        facts, row = await self._image_loader.open(record)
        if row is not None:
            writing.append(self._images.add(row))
        problem = record.unusable
        if isinstance(facts, ImageFacts):
            record = dataclasses.replace(record, image=facts)
            try:
                record = resolve_units(record)
            except GeometryError as error:
                problem = problem or str(error)
        else:
            problem = problem or facts
        return drop_recomputed_fields(record, self._selected), problem

    async def _step(
        self, part: _Part, record: Record, problem: str, stored: StoredRows, writing: list[Awaitable[str]]
    ) -> StepEnd | None:
        """How a step ends for a record; None while an earlier step is open."""
        blocked = blocked_by(part.step, record, self._selected)
        if isinstance(blocked, str):
            return None
        generation = part.plan.ask.generation
        before, reopening = stored[part.step.directory].get(record.record_id), part.reopened.get(record.record_id)
        is_reopened = reopening is not None and reopening.is_pending(before)
        imported = None if is_reopened else imported_end(part.step, record, before, generation)
        if blocked is not None:
            end = StepEnd(blocked)
        elif problem:
            end = StepEnd(StepOutcome(Outcome.FAILED, problem))
        elif imported is not None:
            end = imported
        else:
            end = await self._run_step(part, record)
        if end is not imported:
            row = build_row(part.step, record, end, generation, provenance_text(part.plan))
            if is_reopened or not is_same(row, before):
                writing.append(part.journal.add(row))
        part.asker.tally.outcomes[end.outcome.outcome.value] += 1
        part.asker.tally.endpoint_failures += end.outcome.by_endpoint
        return end

    async def _run_step(self, part: _Part, record: Record) -> StepEnd:
        """The border of a record: whatever goes wrong inside becomes its outcome, or stops the run."""
        try:
            return await part.asker.run_step(record)
        except StoreError as error:
            self._fail(error)
            raise Stopped from error
        except Stopped:
            raise
        except Exception as error:  # a defect of raylabel costs one record, with its traceback, not the run
            logger.exception("step %s, record %s", part.step.name, record.record_id)
            part.asker.tally.errors[INTERNAL] += 1
            trace = "".join(traceback.format_exception(error)[-3:])
            return StepEnd(StepOutcome(Outcome.FAILED, f"internal error: {error!r}", raw=trace))

    async def _picture(self, record: Record, resize: Resize, by_file: bool) -> Any:
        self._let_next_open(record.record_id)
        return await self._image_loader.picture(record, resize, by_file=by_file)

    def _let_next_open(self, record_id: str) -> None:
        """A record's first request has its slot, or it needs none: the next image may be opened."""
        if record_id in self._unasked:
            self._unasked.remove(record_id)
            self._images_room.release()

    # --- the run ---------------------------------------------------------------------------------------------------

    @property
    def _is_stopping(self) -> bool:
        return self._parts[0].asker.window.stopped

    def _miss(self, error: ClientError) -> None:
        self._stop(Fatal(describe_trouble(error, self._spec.vlm, self._spec.pipeline), 2))

    def _give_up(self, error: ClientError) -> None:
        fatal = fatal_for(error)
        self._stop(dataclasses.replace(fatal, message=with_full_paths(fatal.message, self._spec.pipeline)))

    def _fail(self, error: RaylabelError) -> None:
        self._stop(Fatal(str(error), 1))

    def _stop(self, fatal: Fatal | None) -> None:
        self._fatal = self._fatal or fatal
        for part in self._parts:
            part.asker.window.stop()

    async def _beat(self) -> None:
        """Report and hear the slots, a few times a second, as long as the run lives."""
        loop = asyncio.get_running_loop()
        last_directive_s, wait_s = loop.time(), BEAT_S
        while True:
            if self._spec.driver.is_dead():
                self._stop(None)
            directive = await self.report()
            if directive is not None:
                last_directive_s, wait_s = loop.time(), directive.beat_s
            elif loop.time() - last_directive_s > SILENT_COORDINATOR_S:
                for part in self._parts:
                    part.asker.window.resize(0)
            windows = [part.asker.window for part in self._parts]
            is_quick = any(window.waiting > 0 or window.in_flight < window.size for window in windows)
            with suppress(asyncio.TimeoutError):  # a refusal is told at once
                await within(QUICK_BEAT_S if is_quick and wait_s <= BEAT_S else wait_s, self.pool.news.wait())

    async def report(self, *, leaving: bool = False) -> Directive | None:
        """Report to the coordinator, and do as told; None where it does not answer."""
        async with self._reporting:  # a shard's end is reported once
            ended = tuple(self._ended)
            endpoints = self.pool.take_reports()
            directive = await self._send_report(self._build_report(ended, endpoints, leaving))
            if directive is None:
                self.pool.put_back(endpoints)
                return None
            del self._ended[: len(ended)]
        if directive.may_spend is not None:
            self._may_spend = directive.may_spend
            self.pool.may_spend = lambda: self._expenses().may_ask
        if directive.members is not None:
            self._member_set = directive.members.number
            # Processes that try records apart ask the same ones.
            self._spec = dataclasses.replace(self._spec, members=directive.members.members)
            self.pool.set(directive.members.members)
        self.pool.heed(directive.endpoints)
        for part in self._parts:
            part.asker.window.resize(directive.slots[part.step.name])
        if directive.stop:
            self._stop(None)
        return directive

    def _build_report(
        self, ended: tuple[ShardEnd, ...], endpoints: Mapping[str, EndpointReport], leaving: bool
    ) -> Report:
        steps = {}
        for part in self._parts:
            asker, tally = part.asker, part.asker.tally
            steps[part.step.name] = StepReport(
                in_flight=asker.window.in_flight,
                slots=asker.window.size,
                waiting=asker.window.waiting,
                requests=tally.requests,
                retries=tally.retries,
                replayed=tally.replayed,
                latency_s=tally.latency_s,
                outcomes=dict(tally.outcomes),
                usage={model: dict(counts) for model, counts in tally.usage.items()},
                unmetered=tally.unmetered,
                endpoint_failures=tally.endpoint_failures,
                errors=dict(tally.errors),
                models=tuple(sorted(tally.models)),
            )
        unwritten = sum(journal.unwritten for journal in self._journals())
        expenses = None if self._may_spend is None else self._expenses()
        return Report(
            self._name,
            self._node,
            steps,
            unwritten,
            self._fatal,
            ended,
            endpoints,
            leaving,
            expenses,
            member_set=self._member_set,
        )

    def _expenses(self) -> Expenses:
        """What this worker spent of the run's budget."""
        assert self._may_spend is not None
        spent, in_flight, unmetered = NOTHING, 0, 0
        for part in self._parts:
            tally = part.asker.tally
            cost = cost_of(tally.usage, self._spec.prices) or 0
            spent = spent.plus(Spending(tally.sent, tokens_of(tally.usage), cost))
            in_flight += part.asker.window.in_flight
            unmetered += tally.unmetered
        return Expenses(spent, in_flight, self._may_spend, unmetered)

    def _journals(self) -> list[Journal]:
        return [self._images, *(j for part in self._parts for j in (part.journal, part.asker.journal))]
