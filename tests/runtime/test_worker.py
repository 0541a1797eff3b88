"""A worker alone: what it takes up, in which order, how far ahead, and what it leaves when it is stopped."""

from __future__ import annotations

import asyncio
import json

import pytest

from raylabel.clients.base import Finish, Reply, Usage
from raylabel.errors import ClientError, InputError, Verdict
from raylabel.records import Record
from raylabel.runtime import worker as worker_module
from raylabel.runtime.coordinator import ShardEnd
from raylabel.runtime.image_loader import ImageLoader
from raylabel.runtime.worker import Worker
from raylabel.sources import read_shard, scan
from tests.runtime.worker_bench import EXTRACTION, GROUNDING, answer
from tests.waiting import until


async def slowly(request):
    await asyncio.sleep(0.02)
    return answer(request)


def test_every_shard_ends_once_with_all_its_records_settled(make):
    bench = make(10)
    status = asyncio.run(bench.work())
    assert sorted(status.ended, key=lambda end: end.number) == [ShardEnd(0, 4), ShardEnd(1, 4), ShardEnd(2, 2)]
    assert status.steps[GROUNDING].outcomes == {"labeled": 10}
    assert status.steps[EXTRACTION].requests == status.steps[GROUNDING].requests == 10


def test_what_came_of_a_record_is_durable_when_its_shard_ends(make):
    bench = make(4)

    async def look(worker):
        await until(lambda: bool(bench.coordinator.driver_beat().ended))
        assert len(bench.rows(GROUNDING).newest(ids)) == 4, "the rows are there before the end is told"

    lines = [line for shard in bench.shards for line in read_shard(bench.spec.source, shard)]
    ids = [line.record_id for line in lines if isinstance(line, Record)]
    asyncio.run(bench.work(look))


def test_a_record_goes_on_to_its_next_step_while_its_neighbours_are_in_the_one_before(make):
    order = []

    async def script(request):
        step = EXTRACTION if "extract the referring" in request.question else GROUNDING
        order.append(step)
        if order.count(EXTRACTION) == 1:
            await until(lambda: GROUNDING in order or len(order) > 40)
        return answer(request)

    asyncio.run(make(60, script, shard=32, max_workers=2).work())
    assert order.index(GROUNDING) < 32, "not even those of its shard come first"
    assert order.count(GROUNDING) == 60


def test_requests_in_flight_fill_the_window_and_never_exceed_it(make):
    flying, most = 0, 0

    async def script(request):
        nonlocal flying, most
        if "extract the referring" in request.question:
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.02)
            flying -= 1
        return answer(request)

    asyncio.run(make(40, script, max_workers=6).work())
    assert most == 6


def test_images_are_opened_only_a_little_ahead_of_the_requests(make, monkeypatch):
    bench = make(200, slowly, shard=32, max_workers=1)
    opened = 0
    real = ImageLoader.open

    async def counted(self, record):
        nonlocal opened
        opened += 1
        return await real(self, record)

    monkeypatch.setattr(ImageLoader, "open", counted)

    async def look(worker):
        while (asked := len(bench.client.requests)) < 15:
            assert opened <= asked + 20
            await asyncio.sleep(0.005)
        bench.coordinator.stop()

    asyncio.run(bench.work(look))


def test_a_stopped_worker_stores_what_was_in_flight_and_takes_up_nothing_more(make):
    bench = make(50, slowly, max_workers=3)

    async def look(worker):
        await until(lambda: len(bench.client.requests) >= 8)
        bench.coordinator.stop()

    status = asyncio.run(bench.work(look))
    assert status.stopping
    assert sum(end.settled for end in status.ended) < 50
    answers = [bench.results.answers(plan.step.directory) for plan in bench.spec.selected]
    for table in answers:
        table.refresh()
    stored = sum(len(table.newest(table_keys(table))) for table in answers)
    assert stored == len(bench.client.requests), "every reply that was paid for is stored"


def table_keys(table):
    names = [name for name in table._folder.sizes() if name.endswith(".parquet")]
    return [key for name in names for key in table._load(name, table._all_in).column("key").to_pylist()]


def test_a_second_worker_replays_what_the_first_one_stored(make):
    bench = make(12)
    asyncio.run(bench.work())
    asked = len(bench.client.requests)
    status = asyncio.run(bench.work())
    assert len(bench.client.requests) == asked
    assert sum(end.settled for end in status.ended) == 12


def test_equal_lines_are_asked_about_once(make, tmp_path):
    bench = make(1)
    line = (tmp_path / "in.jsonl").read_text()
    (tmp_path / "in.jsonl").write_text(line * 5)
    bench.shards = list(scan(bench.spec.source, 2, tmp_path / "results" / "checkpoints" / "input"))
    status = asyncio.run(bench.work())
    assert sum(end.settled for end in status.ended) == 5
    assert len(bench.client.requests) == 2


def test_an_image_that_cannot_be_used_fails_its_records_and_no_others(make, tmp_path):
    bench = make(3)
    lines = (tmp_path / "in.jsonl").read_text().splitlines()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    lines[1] = json.dumps({"image_path": "broken.png", "caption": "a red car"})
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    bench.shards = list(scan(bench.spec.source, 3, tmp_path / "results" / "checkpoints" / "input"))
    status = asyncio.run(bench.work())
    assert status.ended == (ShardEnd(0, 2),)
    assert status.steps[EXTRACTION].outcomes == {"labeled": 2, "failed": 1}


def test_an_error_that_no_request_would_escape_stops_the_run_with_its_sentence(make):
    bench = make(30, lambda request: ClientError(Verdict.STOP_RUN, "wrong key", status=401))
    status = asyncio.run(bench.work())
    assert status.stopping
    assert status.fatal.message == "wrong key"
    assert status.ended == ()


def test_an_input_that_changed_since_it_was_scanned_breaks_the_run(make, tmp_path):
    bench = make(4)
    (tmp_path / "in.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="changed while it was being read"):
        asyncio.run(bench.work())


def test_the_record_of_a_defect_fails_with_its_traceback_and_the_others_go_on(make):
    def script(request):
        if "number 1" in request.question:
            raise ZeroDivisionError("a defect")
        return answer(request)

    bench = make(3, script)
    status = asyncio.run(bench.work())
    assert status.steps[EXTRACTION].outcomes == {"labeled": 2, "failed": 1}
    (failed,) = [r for r in rows_of(bench, EXTRACTION) if r["outcome"] == "failed"]
    assert "ZeroDivisionError" in failed["reason"]
    assert "a defect" in failed["raw"]


def rows_of(bench, step):
    table = bench.rows(step)
    return list(table.newest(table_keys(table)).values())


def test_without_a_coordinator_nothing_is_asked(make, monkeypatch):
    monkeypatch.setattr(worker_module, "SILENT_COORDINATOR_S", 0.2)
    bench = make(100, slowly, max_workers=2)
    bench_tell = {"answers": True}

    async def tell(report):
        return bench.coordinator.beat(report) if bench_tell["answers"] else None

    async def main():
        worker = Worker(bench.spec, tell, "here")
        await worker.open()
        settling = asyncio.ensure_future(worker.process(bench.shards))
        await until(lambda: len(bench.client.requests) > 4)
        bench_tell["answers"] = False
        asked = 0
        while len(bench.client.requests) > asked:  # until the slots are gone
            asked = len(bench.client.requests)
            await asyncio.sleep(0.3)
        assert asked < 200, "they never went"
        bench_tell["answers"] = True
        await until(lambda: len(bench.client.requests) > asked)
        bench.coordinator.stop()
        await settling
        await worker.close()

    asyncio.run(main())


def test_a_reply_that_cannot_be_read_leaves_its_record_open(make):
    silent = Reply("", Finish.STOP, Usage(), "m", 0.0, "stop")
    status = asyncio.run(make(1, lambda request: silent).work())
    assert status.ended == (ShardEnd(0, 0),)
    assert status.steps[EXTRACTION].outcomes == {"unreadable": 1}


def test_the_last_shards_are_reported_until_the_coordinator_has_heard_of_them(make):
    bench = make(4)
    silent = 3
    told = []

    async def tell(report):
        nonlocal silent
        told.append(report.ended)
        if report.ended and silent:
            silent -= 1
            return None
        return bench.coordinator.beat(report)

    async def main():
        worker = Worker(bench.spec, tell, "here")
        await worker.open()
        await worker.process(bench.shards)
        await worker.close()

    asyncio.run(main())
    assert bench.coordinator.driver_beat().ended == (ShardEnd(0, 4),)
    assert sum(bool(ended) for ended in told) == 4


@pytest.mark.parametrize("later", range(6))
def test_a_worker_ends_though_there_is_news_in_that_moment(make, later):
    bench = make(1, slowly)

    async def tell(report):
        return bench.coordinator.beat(report)

    async def main():
        worker = Worker(bench.spec, tell, "here")
        await worker.open()
        for _ in range(5):
            await asyncio.sleep(0)
        worker.pool.news.set()
        for _ in range(later):
            await asyncio.sleep(0)
        await asyncio.wait_for(worker.close(), 30)

    asyncio.run(main())
