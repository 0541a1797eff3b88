"""The actor of a level: blocks of records in, the same records with the level's steps settled out."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import socket
import threading
import traceback
import uuid
from concurrent.futures import Future
from typing import Any

import pyarrow as pa
import ray

from raylabel.clients.endpoints import build_client, trouble_in_words, with_owner
from raylabel.engine.asking import Asker, StepEnd
from raylabel.engine.coordinator import Directive, Fatal, Report, StepReport
from raylabel.engine.gallery import Gallery
from raylabel.engine.journal import Journal
from raylabel.engine.rows import blocked_by, build_row, is_brought, is_same, restore
from raylabel.engine.spec import BLOCK_SCHEMA, END_SCHEMA, RunSpec, StepPlan
from raylabel.engine.window import Stopped, Window
from raylabel.errors import ClientError, StoreError, Verdict
from raylabel.pipelines import PIPELINES
from raylabel.records import Outcome, Record, StepOutcome, record_from_json, record_to_json
from raylabel.store.tables import Table

BEAT_S = 0.25
SILENT_COORDINATOR_S = 2.0
"""A coordinator that does not answer for so long may be gone, and the run with it: nothing is asked until it does."""
FIRST_CHECKS = 3
"""Tries of the endpoint check before the first request; one second apart."""

logger = logging.getLogger(__name__)


class LevelActor:
    """Runs the steps of one level side by side on each record.

    Ray calls it from several threads at once, one block a call; all asking happens on one event loop of its own, so
    one window a step holds over all blocks. A block is returned whole and in order.

    Args:
        steps: numbers into ``spec.selected``.
        last: nothing follows; hand the driver shard states instead of records.
    """

    def __init__(self, spec: RunSpec, steps: tuple[int, ...], last: bool, coordinator: Any) -> None:
        spec.driver.enter_folder()
        self._spec = spec
        self._plans = [spec.selected[n] for n in steps]
        self._last = last
        self._coordinator = coordinator
        self._name = uuid.uuid4().hex
        self._fatal: Fatal | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="asking", daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def __call__(self, block: pa.Table) -> pa.Table:
        return asyncio.run_coroutine_threadsafe(self._block(block), self._loop).result()

    async def _open(self) -> None:
        spec = self._spec
        self._client = build_client(spec.vlm, os.environ)
        self._gallery = Gallery(spec.image)
        self._checked: asyncio.Task[None] | None = None
        self._askers: dict[str, Asker] = {}
        self._rows: dict[str, tuple[Table, Journal]] = {}
        self._answers: list[Table] = []
        pipeline = PIPELINES[spec.pipeline]
        selected = [plan.step for plan in spec.selected]
        last = max(pipeline.index(plan.step) for plan in self._plans)
        # What steps outside this run found is taken from the store; what comes after this level is not looked at.
        self._stored = [step for step in pipeline[:last] if step not in selected]
        self._stored_rows = {step.directory: spec.results.rows(step.directory) for step in self._stored}
        for plan in self._plans:
            answers, rows = (getattr(spec.results, t)(plan.step.directory) for t in ("answers", "rows"))
            self._answers.append(answers)
            self._rows[plan.step.name] = (rows, Journal(rows))
            self._askers[plan.step.name] = Asker(
                plan.step(plan.setup),
                plan.ask,
                self._client,
                answers,
                Window(),
                self._gallery.picture,
                self._check_endpoint,
                self._give_up,
            )
        self._beating = asyncio.create_task(self._beat())
        # Without beats there are no slots: should they break off, whoever waits for one is sent away.
        self._beating.add_done_callback(lambda _: self._stop(None))

    # --- one block -------------------------------------------------------------------------------------------------

    async def _block(self, block: pa.Table) -> pa.Table:
        await self._refresh()
        rows = await asyncio.gather(*(self._record(row) for row in block.to_pylist()))
        if self._beating.done():
            self._beating.result()  # raises what ended it, and with that ends the run
        await self._tell()  # Ray ends the actor with its last block: what it did is known before
        return pa.Table.from_pylist(rows, schema=END_SCHEMA if self._last else BLOCK_SCHEMA)

    async def _refresh(self) -> None:
        """See what others stored: a block may come back to us after the actor that had it died."""
        loop = asyncio.get_running_loop()
        tables = [*self._answers, *(table for table, _ in self._rows.values()), *self._stored_rows.values()]
        try:
            await asyncio.gather(*(loop.run_in_executor(None, table.refresh) for table in tables))
        except StoreError as error:
            self._fail(error)

    async def _record(self, row: dict[str, Any]) -> dict[str, Any]:
        record, pending = record_from_json(json.loads(row["record"])), row["pending"]
        if not pending:
            absent = [step for step in self._stored if not is_brought(step, record)]
            record, _ = restore(record, absent, self._stored_rows, self._spec.generations)
            try:
                ends = await asyncio.gather(*(self._step(plan, record, row["image_error"]) for plan in self._plans))
                for plan, end in zip(self._plans, ends, strict=True):
                    if end is not None:
                        record = record.apply(plan.step.label, end.outcome, end.changes)
            except Stopped:
                pending = True
        if not self._last:
            return {
                "record": json.dumps(record_to_json(record), ensure_ascii=False),
                "image_error": row["image_error"],
                "pending": pending,
            }
        ended = [record.outcomes.get(plan.step.label) for plan in self._spec.selected]
        settled = not pending and all(o is not None and not o.outcome.is_open for o in ended)
        return {"shard": record.shard, "settled": settled and not record.outcome.is_open}

    async def _step(self, plan: StepPlan, record: Record, image_error: str | None) -> StepEnd | None:
        """How a step ends for a record; None while an earlier step is open. Its row is durable on return."""
        blocked = blocked_by(plan.step, record, [p.step for p in self._spec.selected])
        if isinstance(blocked, str):
            return None
        if blocked is not None:
            end = StepEnd(blocked)
        elif image_error is not None:
            end = StepEnd(StepOutcome(Outcome.FAILED, image_error))
        else:
            end = await self._settle(plan, record)
        row = build_row(plan.step, record, end, plan.ask.generation, _versions(plan))
        table, journal = self._rows[plan.step.name]
        try:
            if not is_same(row, table.last(record.record_id)):
                await journal.add(row)
        except StoreError as error:
            self._fail(error)
            raise Stopped from error
        self._askers[plan.step.name].tally.outcomes[end.outcome.outcome.value] += 1
        return end

    async def _settle(self, plan: StepPlan, record: Record) -> StepEnd:
        """The border of a record: whatever goes wrong inside becomes its outcome, or stops the run."""
        try:
            end = await self._askers[plan.step.name].settle(record)
        except StoreError as error:
            self._fail(error)
            raise Stopped from error
        except Stopped:
            raise
        except Exception as error:  # a defect of raylabel costs one record, with its traceback, not the run
            logger.exception("step %s, record %s", plan.step.name, record.record_id)
            trace = "".join(traceback.format_exception(error)[-3:])
            return StepEnd(StepOutcome(Outcome.FAILED, f"internal error: {error!r}", raw=trace))
        return end

    # --- the endpoint ----------------------------------------------------------------------------------------------

    async def _check_endpoint(self) -> None:
        """Once before the first request of this actor: does anybody answer, and is the key accepted?"""
        if self._checked is None:
            self._checked = asyncio.create_task(self._check())
        await asyncio.shield(self._checked)

    async def _check(self) -> None:
        for left in reversed(range(FIRST_CHECKS)):
            try:
                await self._client.check()
            except ClientError as error:
                if error.verdict.ends_run or left == 0:
                    self._stop(Fatal(trouble_in_words(error, self._spec.vlm, self._spec.pipeline), 2))
                    raise Stopped from error
                await asyncio.sleep(1.0)
            else:
                return

    def _give_up(self, error: ClientError) -> None:
        fatal = fatal_for(error)
        self._stop(dataclasses.replace(fatal, message=with_owner(fatal.message, self._spec.pipeline)))

    def _fail(self, error: StoreError) -> None:
        self._stop(Fatal(str(error), 1))

    def _stop(self, fatal: Fatal | None) -> None:
        self._fatal = self._fatal or fatal
        for asker in self._askers.values():
            asker.window.stop()

    # --- the run ---------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Report and hear the slots, a few times a second, as long as the run lives."""
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while True:
            if self._spec.driver.is_dead():
                self._stop(None)
            if await self._tell():
                heard = loop.time()
            elif loop.time() - heard > SILENT_COORDINATOR_S:
                for asker in self._askers.values():
                    asker.window.resize(0)
            await asyncio.sleep(BEAT_S)

    async def _tell(self) -> bool:
        """Report once and do as told; False if the coordinator does not answer."""
        try:
            answer = asyncio.wrap_future(_future(self._coordinator.beat.remote(self._report())))
            directive: Directive = await asyncio.wait_for(answer, SILENT_COORDINATOR_S)
        except (ray.exceptions.RayError, TimeoutError, asyncio.TimeoutError):
            return False
        for step, slots in directive.slots.items():
            self._askers[step].window.resize(slots)
        if directive.stop:
            self._stop(None)
        return True

    def _report(self) -> Report:
        steps = {}
        for name, asker in self._askers.items():
            tally = asker.tally
            steps[name] = StepReport(
                in_flight=asker.window.in_flight,
                slots=asker.window.size,
                waiting=asker.window.waiting,
                requests=tally.requests,
                retries=tally.retries,
                replayed=tally.replayed,
                latency_s=tally.latency_s,
                outcomes=dict(tally.outcomes),
                tokens=dict(tally.tokens),
                models=tuple(sorted(tally.models)),
            )
        unwritten = sum(a.journal.unwritten for a in self._askers.values())
        unwritten += sum(journal.unwritten for _, journal in self._rows.values())
        node = f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"
        return Report(self._name, node, steps, unwritten, self._fatal)


def fatal_for(error: ClientError) -> Fatal:
    """Why a run ends for an error that no other request would fare better with."""
    if error.verdict is Verdict.QUOTA:
        # What is done is delivered. It goes on by itself later, or the user must do something first.
        return Fatal(error.message, 2 if error.retry_after_s is None else 3, deliver=True)
    return Fatal(error.message, 2 if error.verdict is Verdict.STOP_RUN else 1)


def _future(ref: Any) -> Future[Any]:
    found: Future[Any] = ref.future()
    return found


def _versions(plan: StepPlan) -> str:
    return f"prompt {plan.setup.prompt.version}, reader {plan.step.version}"
