"""The window of requests in flight, and rows that are durable together; on one event loop."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest

from raylabel.errors import StoreError
from raylabel.runtime.journal import Journal
from raylabel.runtime.window import Stopped, Window
from raylabel.storage.folders import Folder
from raylabel.store.tables import Table


class OpenDoor:
    """Lets in whoever has a slot."""

    is_locked = False

    def wait_s(self):
        return 0.0

    def place_of(self, about):
        return None

    def turn_of(self, about, number):
        return number

    def take(self, about, *, anywhere=False):
        return "seat"

    def give_back(self, seat):
        assert seat == "seat"


class Crowd:
    """Tasks that want into a window and leave when told."""

    def __init__(self, window, count):
        self.window = window
        self.inside = 0
        self.most = 0
        self.doors = [asyncio.Event() for _ in range(count)]
        self.tasks = [asyncio.ensure_future(self._visit(door)) for door in self.doors]

    async def _visit(self, door):
        seat = await self.window.enter()
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await door.wait()
        finally:
            self.inside -= 1
            self.window.leave(seat)

    async def leave(self, *numbers):
        for number in numbers:
            self.doors[number].set()
        await let_tasks_run()


async def let_tasks_run():
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_window_starts_closed_and_lets_in_as_many_as_it_is_told():
    async def main():
        window = Window(OpenDoor())
        crowd = Crowd(window, 5)
        await let_tasks_run()
        assert (window.in_flight, window.waiting) == (0, 5)
        window.resize(2)
        await let_tasks_run()
        assert (window.in_flight, window.waiting, crowd.inside) == (2, 3, 2)
        await crowd.leave(0)
        assert (window.in_flight, window.waiting, crowd.inside) == (2, 2, 2)
        window.resize(10)
        await crowd.leave(1, 2, 3, 4)
        assert (window.in_flight, window.waiting) == (0, 0)
        await asyncio.gather(*crowd.tasks)

    asyncio.run(main())


def test_shrinking_lets_what_is_in_flight_finish_and_nobody_in_before():
    async def main():
        window = Window(OpenDoor())
        window.resize(3)
        crowd = Crowd(window, 5)
        await let_tasks_run()
        window.resize(1)
        await crowd.leave(0)
        assert (window.in_flight, crowd.inside) == (2, 2)
        await crowd.leave(1)
        assert (window.in_flight, crowd.inside) == (1, 1)
        await crowd.leave(2)
        assert (window.in_flight, crowd.inside) == (1, 1)
        await crowd.leave(3, 4)
        await asyncio.gather(*crowd.tasks)
        assert crowd.most == 3

    asyncio.run(main())


def test_stopping_sends_everybody_who_waits_away_now_and_later_and_lets_the_others_finish():
    async def main():
        window = Window(OpenDoor())
        window.resize(1)
        crowd = Crowd(window, 3)
        await let_tasks_run()
        window.stop()
        await let_tasks_run()
        assert (window.in_flight, window.waiting) == (1, 0)
        assert [t.done() for t in crowd.tasks] == [False, True, True]
        assert isinstance(crowd.tasks[1].exception(), Stopped)
        assert isinstance(crowd.tasks[2].exception(), Stopped)
        with pytest.raises(Stopped):
            await window.enter()
        await crowd.leave(0)
        assert crowd.tasks[0].exception() is None
        assert window.in_flight == 0

    asyncio.run(main())


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_task_cancelled_at_the_door_takes_no_slot_with_it(turns):
    async def main():
        window = Window(OpenDoor())
        crowd = Crowd(window, 2)
        await let_tasks_run()
        window.resize(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        crowd.tasks[0].cancel()
        await let_tasks_run()
        assert (window.in_flight, crowd.inside) == (1, 1), "the next one is in"
        await crowd.leave(1)
        assert window.in_flight == 0

    asyncio.run(main())


# --- journal --------------------------------------------------------------------------------------------------------

KEY = "0" * 32


class Counting(Table):
    """A table that counts its appends and can fail."""

    def __init__(self, folder):
        super().__init__(Folder(str(folder)), [pa.field("text", pa.string())])
        self.appends = 0
        self.error = None

    def append(self, rows):
        self.appends += 1
        if self.error is not None:
            raise self.error
        return super().append(rows)


@pytest.fixture
def table(tmp_path):
    return Counting(tmp_path / "table")


def test_a_row_is_durable_when_its_writer_hears_of_it(table, tmp_path):
    async def main():
        journal = Journal(table)
        uid = await journal.add({"key": KEY, "text": "a"})
        reader = Counting(tmp_path / "table")
        reader.refresh()
        assert [(row["uid"], row["text"]) for row in reader.rows(KEY)] == [(uid, "a")]
        assert journal.unwritten == 0

    asyncio.run(main())


def test_rows_that_arrive_close_together_share_a_fragment_and_keep_their_order(table):
    async def main():
        journal = Journal(table)
        pending = [asyncio.ensure_future(journal.add({"key": KEY, "text": str(n)})) for n in range(50)]
        await let_tasks_run()
        assert journal.unwritten >= 50
        uids = await asyncio.gather(*pending)
        assert journal.unwritten == 0
        assert [row["uid"] for row in table.rows(KEY)] == uids
        assert [row["text"] for row in table.rows(KEY)] == [str(n) for n in range(50)]
        assert table.appends == 1

    asyncio.run(main())


def test_rows_that_come_during_a_write_go_into_the_next_one(table):
    async def main():
        journal = Journal(table)
        for number in range(3):
            await asyncio.gather(*(journal.add({"key": KEY, "text": f"{number}"}) for _ in range(4)))
        assert len(table.rows(KEY)) == 12
        assert table.appends == 3

    asyncio.run(main())


@pytest.mark.parametrize("error", [StoreError("disk full"), RuntimeError("a defect")])
def test_everybody_hears_of_a_failed_write_and_the_next_row_is_tried_again(table, error):
    async def main():
        journal = Journal(table)
        table.error = error
        results = await asyncio.gather(
            *(journal.add({"key": KEY, "text": "lost"}) for _ in range(3)), return_exceptions=True
        )
        assert results == [error] * 3
        assert journal.unwritten == 0
        table.error = None
        await journal.add({"key": KEY, "text": "kept"})
        assert [row["text"] for row in table.rows(KEY)] == ["kept"]

    asyncio.run(main())


def test_a_row_that_the_table_cannot_hold_does_not_leave_its_writer_waiting(table):
    async def main():
        with pytest.raises(StoreError):
            await asyncio.wait_for(Journal(table).add({"key": KEY, "text": "half \ud83d"}), 10)

    asyncio.run(main())


def test_a_writer_that_goes_away_does_not_stop_the_write(table):
    async def main():
        journal = Journal(table)
        pending = asyncio.ensure_future(journal.add({"key": KEY, "text": "a"}))
        await let_tasks_run()
        pending.cancel()
        await journal.add({"key": KEY, "text": "b"})
        assert [row["text"] for row in table.rows(KEY)] == ["a", "b"]

    asyncio.run(main())
