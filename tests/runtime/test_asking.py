"""Asking: nothing that was paid is lost, and nobody is asked when the run stops."""

from __future__ import annotations

import asyncio
import json

import pytest

from raylabel.clients.base import Finish, Picture, Reply, Usage
from raylabel.errors import StoreError, Verdict
from raylabel.runtime.endpoint import TEST_QUESTION
from raylabel.runtime.window import Stopped
from raylabel.steps.grounding import Grounding
from raylabel.steps.image_caption import ImageCaption
from raylabel.storage.folders import Folder
from raylabel.store.results import answer_row
from raylabel.store.tables import Table
from tests.runtime.asking_bench import BOX, CAPTION, POLICY, in_turn, make_record, phrases, trouble

# --- what is paid is kept --------------------------------------------------------------------------------------------


def test_an_answer_settles_the_step_and_names_the_reply_it_was_made_from(bench):
    end, asked = bench.run_step(lambda r: CAPTION, make_record())
    assert (end.outcome.outcome.value, end.changes.caption) == ("labeled", "Two red cars.")
    (row,) = bench.stored()
    assert end.answers == (row["uid"],)
    assert (row["text"], row["model"], row["endpoint"], row["generation"]) == (CAPTION, "tiny-vlm", "here", 0)
    (request,) = asked
    assert request.picture == Picture.of(b"jpeg", "image/jpeg")
    assert bench.checks == 1


def test_a_reply_is_durable_before_anything_is_read_from_it(bench):
    seen = []

    class Watching(ImageCaption):
        def read(self, question, reply, record):
            seen.append([row["text"] for row in bench.stored()])
            return super().read(question, reply, record)

    bench.run_step(lambda r: CAPTION, make_record(), Watching)
    assert seen == [[CAPTION]]


def test_a_second_run_asks_nothing(bench):
    first, _ = bench.run_step(lambda r: CAPTION, make_record())
    second, asked = bench.run_step(lambda r: "never asked", make_record())
    assert asked == []
    assert second == first
    assert bench.pictures == [make_record().record_id], "the picture is not even opened"


def test_a_reply_that_cannot_be_stored_stops_the_step(bench, tmp_path):
    class Full(Table):
        def append(self, rows):
            raise StoreError("disk full")

    table = Full(Folder(str(tmp_path / "t")), list(bench.results.answers("x")._schema)[3:])
    asker, _ = bench.asker(lambda r: CAPTION, table=table)
    with pytest.raises(StoreError, match="disk full"):
        asyncio.run(asker.run_step(make_record()))


def test_the_first_settled_answer_stands_whatever_a_later_rows_clock_says(bench):
    bench.run_step(lambda r: CAPTION, make_record())
    (row,) = bench.stored()
    other = Reply('{"caption": "Another one."}', Finish.STOP, Usage(), "tiny-vlm", 0.1)
    late = answer_row(row["key"], other, generation=0, record_id=row["record_id"], asked_at=row["asked_at"] - 9999)
    bench.results.answers(ImageCaption.directory).append([late])
    end, asked = bench.run_step(lambda r: "never asked", make_record())
    assert asked == []
    assert end.changes.caption == "Two red cars."


def test_an_unreadable_reply_before_it_does_not_hide_a_settled_one(bench):
    bench.run_step(in_turn("no", CAPTION), make_record())
    end, asked = bench.run_step(lambda r: "never asked", make_record())
    assert asked == []
    assert end.changes.caption == "Two red cars."


def test_two_equal_questions_at_the_same_time_are_one_request(bench):
    asker, client = bench.asker(lambda r: CAPTION)

    async def both():
        return await asyncio.gather(asker.run_step(make_record(1)), asker.run_step(make_record(2)))

    one, two = asyncio.run(both())
    assert len(client.requests) == 1
    assert one.answers == two.answers
    assert one.changes.caption == two.changes.caption == "Two red cars."


def test_an_error_of_a_shared_request_reaches_everybody_who_waits(bench):
    asker, client = bench.asker(lambda r: trouble(Verdict.FAIL_RECORD, "bad image", status=400))

    async def both():
        return await asyncio.gather(asker.run_step(make_record(1)), asker.run_step(make_record(2)))

    assert [end.outcome.reason for end in asyncio.run(both())] == ["bad image"] * 2
    assert len(client.requests) == 1


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_rejects_schemas_is_asked_plainly_and_that_is_remembered(bench):
    def picky(request):
        return CAPTION if request.schema is None else trouble(Verdict.FAIL_RECORD, status=400, schema_rejected=True)

    asker, client = bench.asker(picky)
    ends = [asyncio.run(asker.run_step(make_record(n, digest=f"{n:032x}"))) for n in range(3)]
    assert [end.outcome.outcome.value for end in ends] == ["labeled"] * 3
    assert [r.schema is not None for r in client.requests] == [True, False, False, False]
    assert [row["with_schema"] for row in bench.stored()] == [False] * 3


def test_a_400_that_is_not_about_the_schema_is_not_remembered_as_such(bench):
    def broken(request):
        if request.picture.data == b"bad":
            return trouble(Verdict.FAIL_RECORD, "cannot decode", status=400, schema_rejected=request.schema is not None)
        return CAPTION

    async def show(record, resize, by_file):
        return Picture.of(b"bad" if record.position == 0 else b"good", "image/jpeg")

    asker, client = bench.asker(broken, picture=show)
    bad = asyncio.run(asker.run_step(make_record(0)))
    good = asyncio.run(asker.run_step(make_record(1, digest="e" * 32)))
    assert (bad.outcome.outcome.value, bad.outcome.reason) == ("failed", "cannot decode")
    assert good.outcome.outcome.value == "labeled"
    assert [r.schema is not None for r in client.requests] == [True, False, True]


@pytest.mark.parametrize(("setting", "sent"), [("always", [True] * 3), ("never", [False] * 3)])
def test_always_and_never_mean_it(bench, setting, sent):
    _, asked = bench.run_step(lambda r: "no", make_record(), structured_output=setting)
    assert [r.schema is not None for r in asked] == sent


def test_always_does_not_fall_back(bench):
    error = trouble(Verdict.FAIL_RECORD, "no schemas here", status=400, schema_rejected=True)
    end, asked = bench.run_step(lambda r: error, make_record(), structured_output="always")
    assert (end.outcome.outcome.value, len(asked)) == ("failed", 1)


def test_box_questions_never_carry_a_schema(bench):
    answer = json.dumps([{"id": 1, "bbox_2d": BOX}])
    _, asked = bench.run_step(lambda r: answer, phrases("a"), Grounding, structured_output="always")
    assert [r.schema for r in asked] == [None]


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.tao_row("every error is retried alike, including a wrong key")
def test_an_error_that_no_request_can_survive_stops_the_run_at_once(bench):
    asker, client = bench.asker(lambda r: trouble(Verdict.STOP_RUN, "the key was rejected", status=401))
    with pytest.raises(Stopped):
        asyncio.run(asker.run_step(make_record()))
    assert [str(e) for e in bench.fatal] == ["the key was rejected"]
    assert len(client.requests) == 1


def test_a_stopping_run_asks_nothing(bench):
    asker, client = bench.asker(lambda r: CAPTION)
    asker.window.stop()
    with pytest.raises(Stopped):
        asyncio.run(asker.run_step(make_record()))
    assert client.requests == []
    assert bench.fatal == []


def test_a_stopping_run_still_replays_what_is_stored(bench):
    bench.run_step(lambda r: CAPTION, make_record())
    asker, _ = bench.asker(lambda r: CAPTION)
    asker.window.stop()
    assert asyncio.run(asker.run_step(make_record())).changes.caption == "Two red cars."


def test_what_is_in_flight_when_the_run_stops_is_stored(bench):
    async def main():
        asked, answer = asyncio.Event(), asyncio.Event()

        async def slow(request):
            asked.set()
            await answer.wait()
            return CAPTION

        asker, _ = bench.asker(slow)
        task = asyncio.ensure_future(asker.run_step(make_record()))
        await asked.wait()
        asker.window.stop()
        answer.set()
        return await task

    assert asyncio.run(main()).outcome.outcome.value == "labeled"
    assert len(bench.stored()) == 1


def test_an_unreadable_reply_of_a_stopping_run_is_stored_and_left_for_the_next(bench):
    async def main():
        def stop(request):
            asker.window.stop()
            return "no"

        asker, client = bench.asker(stop)
        with pytest.raises(Stopped):
            await asker.run_step(make_record())
        return client

    assert len(asyncio.run(main()).requests) == 1
    assert [row["text"] for row in bench.stored()] == ["no"]


@pytest.mark.tao_row("100 % failures end as success")
def test_a_server_that_answers_nobody_fails_no_record_and_is_waited_for(bench):
    asker, client = bench.asker(in_turn(*[trouble(Verdict.RETRY, "connection refused")] * 10, CAPTION), is_alive=False)
    end = asyncio.run(asker.run_step(make_record()))
    assert end.outcome.outcome.value == "labeled"
    assert [row["tries"] for row in bench.stored()] == [1]
    assert len(client.requests) == 11
    assert bench.fatal == []


def test_a_server_that_went_away_while_others_were_still_answered_fails_no_record(bench):
    left = [POLICY.attempts + 3]

    def away(request):
        left[0] -= 1
        if left[0] == POLICY.attempts + 2:
            bench.endpoint.traffic.note_answer()  # somebody else's, the last one before
        return CAPTION if left[0] < 0 else trouble(Verdict.RETRY, "connection refused")

    asker, _ = bench.asker(away, is_alive=False)
    end = asyncio.run(asker.run_step(make_record()))
    assert end.outcome.outcome.value == "labeled"


def test_a_question_that_the_server_cannot_answer_fails_alone(bench):
    asker, client = bench.asker(
        lambda r: "green" if r.question == TEST_QUESTION else trouble(Verdict.RETRY, "connection reset")
    )
    end = asyncio.run(asker.run_step(make_record()))
    assert end.outcome.outcome.value == "failed"
    assert end.outcome.reason == f"connection reset ({POLICY.attempts} times, though the server answers others)"
    assert end.outcome.attempts == len(client.requests) - 1 == POLICY.attempts


def test_an_answer_in_between_shows_that_the_server_lives(bench):
    def flaky(request):
        return CAPTION if request.picture.data != b"slow" else trouble(Verdict.RETRY, "time-out")

    async def show(record, resize, by_file):
        return Picture.of(b"good" if record.position % 3 == 2 else b"slow", "image/jpeg")

    asker, _ = bench.asker(flaky, picture=show)

    async def many():
        return [await asker.run_step(make_record(n, digest=f"{n:032x}")) for n in range(9)]

    ends = asyncio.run(many())
    assert [end.outcome.outcome.value for end in ends] == ["failed", "failed", "labeled"] * 3
    assert bench.fatal == []


def test_requests_given_up_because_the_run_stops_are_not_held_against_the_server(bench):
    async def main():
        all_asked = asyncio.Event()

        async def slow(request):
            if asker.window.in_flight > 3:
                all_asked.set()
            await all_asked.wait()
            asker.window.stop()
            return trouble(Verdict.RETRY, "time-out")

        asker, _ = bench.asker(slow)
        records = [make_record(n, digest=f"{n:032x}") for n in range(4)]
        return await asyncio.gather(*(asker.run_step(r) for r in records), return_exceptions=True)

    assert all(isinstance(end, Stopped) for end in asyncio.run(main()))
    assert bench.fatal == [], "an interrupted run is not a broken one"


# --- the window ------------------------------------------------------------------------------------------------------


def test_no_more_requests_are_in_flight_than_the_window_has_slots(bench):
    async def main():
        now = most = 0

        async def slow(request):
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1
            return CAPTION

        asker, client = bench.asker(slow)
        asker.window.resize(3)
        await asyncio.gather(*(asker.run_step(make_record(n, digest=f"{n:032x}")) for n in range(20)))
        return most, len(client.requests)

    assert asyncio.run(main()) == (3, 20)
