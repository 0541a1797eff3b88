"""What goes wrong while asking: how it is counted, and when it ends the run."""

from __future__ import annotations

import asyncio
import json

import pytest

from raylabel.clients.base import Finish, Reply, Usage
from raylabel.clients.endpoints import Member
from raylabel.clients.retry import RetryPolicy
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import ImageError, Verdict
from raylabel.records import Box as PixelBox
from raylabel.records import Seed
from raylabel.runtime.coordinator import fatal_for
from raylabel.runtime.endpoint import TEST_QUESTION
from raylabel.runtime.sending import MOST_REFUSALS
from raylabel.runtime.window import Stopped
from raylabel.settings import VlmSettings
from raylabel.steps.image_caption import ImageCaption
from raylabel.steps.region_expr import RegionExpr
from raylabel.validation import CUT_OFF, DECLINED, LEFT_OUT, SEED_OUTSIDE_IMAGE, SENTENCE, UNREADABLE, rule_broken
from tests.runtime.asking_bench import CAPTION, cut, in_turn, make_record, trouble, violations

DECLINES = "I'm sorry, I can't help with that."

# --- what is counted -------------------------------------------------------------------------------------------------


def regions(*numbers):
    return json.dumps({"regions": [{"id": i, "description": f"car {i}"} for i in numbers]})


CARS = tuple(Seed(PixelBox(10 * n, n, 10 * n + 30, n + 30), "Car") for n in range(3))


def test_replies_that_were_not_accepted_are_counted_by_the_rule_they_break(bench):
    end, _ = bench.run_step(in_turn("no", cut(), CAPTION), make_record(), readings=5)
    assert end.outcome.outcome.value == "labeled"
    assert violations(end) == {UNREADABLE: 1, CUT_OFF: 1}
    end, _ = bench.run_step(lambda r: CAPTION, make_record(digest="e" * 32))
    assert violations(end) == {}


def test_the_rule_that_a_reply_breaks_as_a_whole_is_the_one_that_is_counted(bench):
    class Picky(ImageCaption):
        def parse(self, question, text, record, left_out):
            if "red" in text:
                raise rule_broken(SENTENCE, "not that")
            return super().parse(question, text, record, left_out)

    end, _ = bench.run_step(in_turn(CAPTION, CAPTION, '{"caption": "Two cars."}'), make_record(), Picky)
    assert violations(end) == {SENTENCE: 2}


def test_a_refusal_breaks_no_rule_but_the_first_in_words_is_counted(bench):
    end, _ = bench.run_step(in_turn("no", DECLINES), make_record())
    assert (end.outcome.outcome.value, violations(end)) == ("refused", {UNREADABLE: 1, DECLINED: 1})


def test_every_run_counts_the_same_replies(bench):
    replies = in_turn("no", regions(1), "no", "no", regions(2, 3))
    first, asked = bench.run_step(replies, make_record(seeds=CARS), RegionExpr)
    assert (first.outcome.outcome.value, len(asked)) == ("labeled", 5)
    assert violations(first) == {UNREADABLE: 3, LEFT_OUT: 2}
    again, asked = bench.run_step(lambda r: "never asked", make_record(seeds=CARS), RegionExpr)
    assert asked == []
    assert again == first


def test_an_open_record_counts_on_in_the_next_run(bench):
    bench.run_step(lambda r: "no", make_record())
    end, _ = bench.run_step(in_turn("no", CAPTION), make_record())
    assert violations(end) == {UNREADABLE: 4}


def test_the_same_words_asked_twice_count_their_replies_once(bench):
    """A region asked alone after the others is asked in other words; all of them once more are not."""
    end, asked = bench.run_step(lambda r: regions(9), make_record(seeds=CARS), RegionExpr)
    assert end.outcome.outcome.value == "unreadable"
    stored = bench.stored(RegionExpr)
    assert len(asked) == len(stored) == end.outcome.attempts
    assert violations(end)[UNREADABLE] == len(stored) - 1, "the first reply is in order and matches nothing"


# --- refused and failed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "needed"),
    [(Reply("", Finish.REFUSED, Usage(), "m", 0.1, "SAFETY"), 1), (DECLINES, 2)],
    ids=["by-the-filter", "in-words"],
)
def test_a_refusal_is_settled_and_never_asked_again(bench, reply, needed):
    end, asked = bench.run_step(lambda r: reply, make_record())
    assert (end.outcome.outcome.value, len(asked)) == ("refused", needed)
    assert "declines" in end.outcome.reason
    again, asked = bench.run_step(lambda r: CAPTION, make_record())
    assert asked == []
    assert again == end


@pytest.mark.parametrize(
    ("replies", "outcome", "asked"),
    [
        pytest.param([DECLINES, CAPTION], "labeled", 2, id="not-meant"),
        pytest.param([DECLINES, "I cannot help with this image."], "refused", 2, id="meant"),
        pytest.param([DECLINES, "no", DECLINES], "refused", 3, id="with-another-between"),
        pytest.param(["no", "no", DECLINES], "unreadable", 3, id="once-at-the-end"),
        pytest.param([DECLINES, Reply("", Finish.REFUSED, Usage(), "m", 0.1, "safety")], "refused", 2, id="flagged"),
        pytest.param([cut(DECLINES), CAPTION], "labeled", 2, id="cut-off"),
    ],
)
def test_a_refusal_in_words_is_believed_once_it_is_said_again(bench, replies, outcome, asked):
    end, requests = bench.run_step(in_turn(*replies), make_record())
    assert (end.outcome.outcome.value, len(requests)) == (outcome, asked)
    if DECLINES in replies[:-1]:
        assert violations(end)[DECLINED] == 1


def test_a_refusal_that_only_one_run_heard_is_asked_about_by_the_next(bench):
    end, _ = bench.run_step(lambda r: DECLINES, make_record(), readings=1)
    assert end.outcome.outcome.value == "unreadable"
    assert "declines" in end.outcome.reason
    end, asked = bench.run_step(lambda r: DECLINES, make_record(), readings=1)
    assert (end.outcome.outcome.value, len(asked)) == ("refused", 1)


def test_a_request_that_can_never_work_fails_its_record_with_reason_and_tries(bench):
    error = trouble(Verdict.FAIL_RECORD, "400: image cannot be decoded", status=400)
    end, asked = bench.run_step(lambda r: error, make_record())
    assert (end.outcome.outcome.value, end.outcome.reason) == ("failed", "400: image cannot be decoded")
    assert (end.outcome.attempts, len(asked)) == (1, 1)
    assert bench.fatal == []
    end, asked = bench.run_step(lambda r: CAPTION, make_record())
    assert (end.outcome.outcome.value, len(asked)) == ("labeled", 1), "a failed record is open"


def test_passing_trouble_is_tried_again_and_counted(bench):
    asker, client = bench.asker(in_turn(trouble(Verdict.RETRY, status=500), CAPTION))
    end = asyncio.run(asker.run_step(make_record()))
    assert end.outcome.outcome.value == "labeled"
    assert [row["tries"] for row in bench.stored()] == [2]
    assert (asker.tally.requests, asker.tally.retries) == (1, 1)
    assert len(client.requests) == 2


def test_trouble_that_does_not_pass_fails_the_record_after_all_its_tries(bench):
    end, asked = bench.run_step(lambda r: trouble(Verdict.RETRY, "busy", status=500), make_record())
    assert (end.outcome.outcome.value, end.outcome.reason, end.outcome.attempts) == ("failed", "busy", 2)
    assert len(asked) == 2
    assert bench.fatal == []


def test_tries_go_on_where_they_were_before_a_request_was_turned_away(bench):
    said = (trouble(Verdict.RETRY, status=500), trouble(Verdict.SLOW_DOWN, status=429))
    asker, client = bench.asker(in_turn(*said, trouble(Verdict.RETRY, "broken", status=500)))
    end = asyncio.run(asker.run_step(make_record()))
    assert (end.outcome.reason, end.outcome.attempts, len(client.requests)) == ("broken", 2, 3)


def test_being_turned_away_is_no_try_and_gives_the_slot_back(bench):
    asked = []

    def full(request):
        asked.append(asker.window.in_flight)
        return trouble(Verdict.SLOW_DOWN, "busy", status=429) if len(asked) <= 10 else CAPTION

    asker, _ = bench.asker(full, size=1)
    end = asyncio.run(asker.run_step(make_record()))
    assert end.outcome.outcome.value == "labeled"
    assert [row["tries"] for row in bench.stored()] == [1]
    assert (asker.tally.requests, asker.tally.retries) == (1, 10)
    assert (asked, asker.window.in_flight) == ([1] * 11, 0)


@pytest.mark.parametrize(
    ("error", "is_alive", "tries"),
    [
        pytest.param({"status": 500}, False, 1, id="last-words"),
        pytest.param({"status": None}, False, 1, id="connection-lost"),
        pytest.param({"status": 500}, True, 2, id="it-lives-and-failed"),
    ],
)
def test_what_a_replica_had_in_flight_when_it_died_was_no_try(bench, error, is_alive, tries):
    """vLLM answers it with HTTP 500 when its engine dies."""

    def die(request):
        bench.endpoint.traffic.note_answer()  # of others, until then
        return (
            trouble(Verdict.RETRY, "EngineCore encountered an issue", **error) if not client.requests[1:] else CAPTION
        )

    asker, client = bench.asker(die, is_alive=is_alive, is_kept=True)
    end = asyncio.run(asker.run_step(make_record()))
    assert end.outcome.outcome.value == "labeled"
    assert [row["tries"] for row in bench.stored()] == [tries]


def test_a_replica_that_is_not_there_before_the_first_request_is_waited_for(bench):
    class Late(ScriptedClient):
        checks = 0

        async def check(self):
            Late.checks += 1
            if Late.checks < 4:
                raise trouble(Verdict.RETRY, "connection refused")

    asker, _ = bench.asker(lambda request: CAPTION, is_kept=True)
    bench.pool._build = lambda member: Late(lambda request: CAPTION)

    async def join_and_run():
        bench.pool.set([Member("it moved here", VlmSettings(), is_kept=True)])
        return await asker.run_step(make_record())

    end = asyncio.run(join_and_run())
    assert end.outcome.outcome.value == "labeled"
    assert bench.fatal == []


def test_what_is_turned_away_every_time_while_others_are_answered_fails_alone(bench):
    def too_large(request):
        bench.endpoint.traffic.note_answer()  # somebody else's
        return trouble(Verdict.SLOW_DOWN, "too many tokens a minute", status=429)

    asker, client = bench.asker(too_large)
    end = asyncio.run(asker.run_step(make_record()))
    assert (end.outcome.outcome.value, end.outcome.reason) == ("failed", "too many tokens a minute")
    assert len(client.requests) == MOST_REFUSALS


@pytest.mark.tao_row("a null score or a list-shaped answer loses paid answers")
def test_what_was_paid_for_beside_a_failure_is_stored(bench):
    seeds = tuple(Seed(PixelBox(n, n, n + 30, n + 30), "Car") for n in range(20))

    def half(request):
        if '"id": 17,' in request.question:
            return trouble(Verdict.FAIL_RECORD, "bad")
        return json.dumps({"regions": [{"id": i, "description": f"car {i}"} for i in range(1, 17)]})

    end, _ = bench.run_step(half, make_record(seeds=seeds), RegionExpr)
    assert end.outcome.outcome.value == "failed"
    assert len(bench.stored(RegionExpr)) == 1
    rest = json.dumps({"regions": [{"id": i, "description": f"car {i}"} for i in range(17, 21)]})
    end, asked = bench.run_step(lambda r: rest, make_record(seeds=seeds), RegionExpr)
    assert len(asked) == 1
    assert len(end.changes.regions) == 20


@pytest.mark.tao_row("a missing or corrupt image turns into a text-only request")
def test_an_image_that_is_gone_fails_the_record_and_asks_nothing(bench):
    async def gone(record, resize, by_file):
        raise ImageError("image.jpg: no such file")

    end, asked = bench.run_step(lambda r: CAPTION, make_record(), picture=gone)
    assert (end.outcome.outcome.value, end.outcome.reason) == ("failed", "image.jpg: no such file")
    assert asked == []


def test_a_seed_far_outside_the_image_fails_the_record_and_asks_nothing(bench):
    record = make_record(seeds=(Seed(PixelBox(2000, 0, 2100, 10), "Car"),))
    end, asked = bench.run_step(lambda r: CAPTION, record, RegionExpr)
    assert end.outcome.outcome.value == "failed"
    assert "seed box 1" in end.outcome.reason
    assert violations(end) == {SEED_OUTSIDE_IMAGE: 1}
    assert asked == []


def test_nothing_to_ask_is_skipped(bench):
    end, asked = bench.run_step(lambda r: CAPTION, make_record(seeds=()), RegionExpr)
    assert (end.outcome.outcome.value, end.changes.regions, asked) == ("skipped", (), [])


# --- quota -----------------------------------------------------------------------------------------------------------


def test_a_quota_that_is_used_up_stops_the_run_and_fails_no_record(bench):
    error = trouble(Verdict.SLOW_DOWN, "daily limit", status=429, retry_after_s=59_886.0)
    asker, client = bench.asker(lambda r: error)
    with pytest.raises(Stopped):
        asyncio.run(asker.run_step(make_record()))
    (fatal,) = bench.fatal
    assert fatal.verdict is Verdict.QUOTA
    assert "16 h 39 min" in fatal.message
    assert len(client.requests) == 1


@pytest.mark.parametrize(
    ("error", "code", "deliver"),
    [
        (trouble(Verdict.QUOTA, "tomorrow", retry_after_s=9e4), 3, True),
        (trouble(Verdict.QUOTA, "no credit"), 2, True),
        (trouble(Verdict.STOP_RUN, "wrong key"), 2, False),
        (trouble(Verdict.RETRY, "nobody there"), 1, False),
    ],
)
def test_why_a_run_ends_decides_its_exit_code(error, code, deliver):
    assert (fatal_for(error).exit_code, fatal_for(error).deliver) == (code, deliver)


# --- who is to blame where no answer comes ---------------------------------------------------------------------------


def unanswered(request, test):
    """Trouble for every question but the small one of our own, which comes to ``test``."""
    return test if request.question == TEST_QUESTION else trouble(Verdict.RETRY, "connection reset")


async def all_of(asker, count):
    records = [make_record(n, digest=f"{n:032x}") for n in range(count)]
    return await asyncio.gather(*(asker.run_step(record) for record in records))


@pytest.mark.parametrize(
    "test",
    ["green", "", trouble(Verdict.FAIL_RECORD, "too small", status=400), trouble(Verdict.RETRY, "oops", status=500)],
    ids=["answered", "answered-with-nothing", "turned-down", "broken"],
)
def test_many_questions_that_nobody_can_answer_fail_alone_where_nothing_else_is_left(bench, test):
    asker, client = bench.asker(lambda r: unanswered(r, test))
    ends = asyncio.run(all_of(asker, 12))
    assert {end.outcome.outcome.value for end in ends} == {"failed"}
    assert {end.outcome.reason for end in ends} == {"connection reset (2 times, though the server answers others)"}
    tests = [request for request in client.requests if request.question == TEST_QUESTION]
    assert 1 <= len(tests) <= 12
    assert {(r.sampling.max_tokens, r.schema) for r in tests} == {(16, None)}


@pytest.mark.parametrize(
    "test",
    [trouble(Verdict.RETRY, "time-out"), trouble(Verdict.SLOW_DOWN, "busy", status=503)],
    ids=["unanswered", "turned-away"],
)
def test_many_questions_fail_for_no_server_that_answers_none(bench, test):
    left = [50]

    def hung(request):
        left[0] -= 1
        return CAPTION if left[0] < 0 else unanswered(request, test)

    asker, _ = bench.asker(hung, policy=RetryPolicy(attempts=4, backoff_s=0.0))
    ends = asyncio.run(all_of(asker, 12))
    assert [end.outcome.outcome.value for end in ends] == ["labeled"] * 12
