"""One step of one record: scripted replies, a real table on disk, a real window."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from raylabel.clients.base import Finish, Picture, Reply, Sampling, SchemaForm, Usage
from raylabel.clients.finish import read_finish
from raylabel.clients.retry import RetryPolicy
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import ClientError, ImageError, StoreError, Verdict
from raylabel.geometry import Resize
from raylabel.profiles import UNKNOWN
from raylabel.prompts.grounding import WORDINGS
from raylabel.records import IMAGE_GROUNDING, Expression, ImageFacts, Outcome, Record, Seed, Size, digest_of
from raylabel.records import Box as PixelBox
from raylabel.runtime.asking import DEAD_AFTER, Asker, AskSetup, Listener
from raylabel.runtime.coordinator import fatal_for
from raylabel.runtime.window import Stopped, Window
from raylabel.steps.base import StepSetup, Voice
from raylabel.steps.grounding import Grounding
from raylabel.steps.image_caption import ImageCaption
from raylabel.steps.region_expr import RegionExpr
from raylabel.store.folders import Folder
from raylabel.store.results import Results, answer_row
from raylabel.store.tables import Table
from raylabel.validation import CUT_OFF, LEFT_OUT, SEED_OUTSIDE_IMAGE, SENTENCE, UNREADABLE, rule_broken

SAMPLING = Sampling("tiny-vlm", 0.3, 1000, 5.0)
POLICY = RetryPolicy(attempts=2, backoff_s=0.0, max_backoff_s=0.0)
CAPTION = '{"caption": "Two red cars."}'
BOX = [100, 200, 300, 400]


def make_record(ident=0, digest="d" * 32, **fields):
    size = Size(640, 480)
    facts = ImageFacts(digest, size, 1, "image/jpeg", True)
    return Record(f"{ident:032x}", 0, ident, "image", "image.jpg", IMAGE_GROUNDING, image=facts, **fields)


def phrases(*texts):
    return make_record(expressions=tuple(Expression(f"e{n}", text) for n, text in enumerate(texts)))


class Bench:
    """Askers over one results folder, as several runs would make them."""

    def __init__(self, tmp_path):
        self.results = Results(Folder(str(tmp_path)))
        self.fatal = []
        self.checks = 0
        self.pictures = []

    def asker(self, script, step=ImageCaption, window=None, picture=None, table=None, voice=None, **changes):
        """An asker of a new run: it knows what is stored, and its window is open."""
        listener = Listener(changes.pop("sampling", SAMPLING), Resize(), changes.pop("recipe", "recipe"))
        setup = AskSetup((listener,), POLICY, 0, 3, "auto", SchemaForm.NATIVE, "here")
        table = table or self.results.answers(step.directory)
        table.refresh()
        if window is None:
            window = Window()
            window.resize(8)

        async def show(record, resize):
            self.pictures.append(record.record_id)
            return Picture.of(b"jpeg", "image/jpeg")

        async def check():
            self.checks += 1

        client = script if isinstance(script, ScriptedClient) else ScriptedClient(script)
        asker = Asker(
            step(StepSetup((voice or Voice(step.prompt),))),
            dataclasses.replace(setup, **changes),
            client,
            table,
            window,
            picture or show,
            check,
            self.fatal.append,
        )
        return asker, client

    def settle(self, script, record, step=ImageCaption, **changes):
        """One run over one record: how the step ended, and what was asked."""
        asker, client = self.asker(script, step, **changes)
        return asyncio.run(asker.settle(record)), client.requests

    def stored(self, step=ImageCaption):
        """All replies in the store, oldest first."""
        rows = []
        for path in sorted((self.results.step(step.directory) / "answers").local.glob("*.parquet")):
            rows += (
                Table(Folder(str(path.parent)), self.results.answers(step.directory)._schema)
                ._read(path.name, None)
                .to_pylist()
            )
        return sorted(rows, key=lambda row: (row["seq"], row["uid"]))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def in_turn(*answers):
    """The answers one after the other; the last one stays."""
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def cut(text="{"):
    return Reply(text, Finish.LENGTH, Usage(), "tiny-vlm", 0.1, "length", False)


def trouble(verdict, message="trouble", **more):
    return ClientError(verdict, message, **more)


# --- what is paid is kept -------------------------------------------------------------------------------------------


def test_an_answer_settles_the_step_and_names_the_reply_it_was_made_from(bench):
    end, asked = bench.settle(lambda r: CAPTION, make_record())
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
        def read(self, question, heard, record):
            seen.append([row["text"] for row in bench.stored()])
            return super().read(question, heard, record)

    bench.settle(lambda r: CAPTION, make_record(), Watching)
    assert seen == [[CAPTION]]


def test_a_second_run_asks_nothing(bench):
    first, _ = bench.settle(lambda r: CAPTION, make_record())
    second, asked = bench.settle(lambda r: "never asked", make_record())
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
        asyncio.run(asker.settle(make_record()))


def test_the_first_settled_answer_stands_whatever_a_later_rows_clock_says(bench):
    bench.settle(lambda r: CAPTION, make_record())
    (row,) = bench.stored()
    other = Reply('{"caption": "Another one."}', Finish.STOP, Usage(), "tiny-vlm", 0.1)
    late = answer_row(row["key"], other, generation=0, record_id=row["record_id"], asked_at=row["asked_at"] - 9999)
    bench.results.answers(ImageCaption.directory).append([late])
    end, asked = bench.settle(lambda r: "never asked", make_record())
    assert asked == []
    assert end.changes.caption == "Two red cars."


def test_an_unreadable_reply_before_it_does_not_hide_a_settled_one(bench):
    bench.settle(in_turn("no", CAPTION), make_record())
    end, asked = bench.settle(lambda r: "never asked", make_record())
    assert asked == []
    assert end.changes.caption == "Two red cars."


def test_two_equal_questions_at_the_same_time_are_one_request(bench):
    asker, client = bench.asker(lambda r: CAPTION)

    async def both():
        return await asyncio.gather(asker.settle(make_record(1)), asker.settle(make_record(2)))

    one, two = asyncio.run(both())
    assert len(client.requests) == 1
    assert one.answers == two.answers
    assert one.changes.caption == two.changes.caption == "Two red cars."


def test_an_error_of_a_shared_request_reaches_everybody_who_waits(bench):
    asker, client = bench.asker(lambda r: trouble(Verdict.FAIL_RECORD, "bad image", status=400))

    async def both():
        return await asyncio.gather(asker.settle(make_record(1)), asker.settle(make_record(2)))

    assert [end.outcome.reason for end in asyncio.run(both())] == ["bad image"] * 2
    assert len(client.requests) == 1


# --- unreadable -----------------------------------------------------------------------------------------------------


def test_an_unreadable_reply_is_asked_again_warmer_and_without_schema_at_most_readings_times(bench):
    end, asked = bench.settle(lambda r: "no", make_record())
    assert [round(r.sampling.temperature, 3) for r in asked] == [0.3, 0.6, 0.9]
    assert [r.sampling.max_tokens for r in asked] == [1000] * 3
    assert [r.schema is None for r in asked] == [False, True, True]
    assert end.outcome.outcome.value == "unreadable"
    assert (end.outcome.attempts, end.outcome.raw) == (3, "no")
    assert end.outcome.reason
    assert end.changes.caption is None
    assert len(bench.stored()) == 3


@pytest.mark.parametrize(
    "unclear",
    ["There are no people in the picture.", "I see a red car.", "upstream: no healthy instances found", "Not sure."],
)
def test_after_an_unclear_answer_the_question_says_how_nothing_is_said(bench, unclear):
    end, asked = bench.settle(in_turn(unclear, "[]"), phrases("red car"), Grounding)
    assert end.outcome.outcome is Outcome.NOTHING
    assert asked[1].question == f"{asked[0].question}\n\n{Grounding.prompt.again}"
    assert "[] if there is none" in asked[1].question
    assert bench.settle(lambda r: "never asked", phrases("red car"), Grounding)[1] == []


def test_an_answer_that_was_cut_off_is_asked_for_in_the_same_words(bench):
    _, asked = bench.settle(in_turn(cut('[{"id": 1, '), "[]"), phrases("red car"), Grounding)
    assert asked[1].question == asked[0].question


@pytest.mark.parametrize("wording", ["detect", "open_vocabulary", "phrase", "det"])
def test_a_question_in_a_fixed_form_keeps_it(wording):
    assert WORDINGS[wording].again == ""


def test_the_temperature_rises_to_one_at_most_and_never_falls(bench):
    _, asked = bench.settle(lambda r: "no", make_record(), sampling=dataclasses.replace(SAMPLING, temperature=0.9))
    assert [r.sampling.temperature for r in asked] == [0.9, 1.0, 1.0]
    _, asked = bench.settle(lambda r: "no", make_record(), sampling=dataclasses.replace(SAMPLING, temperature=1.5))
    assert [r.sampling.temperature for r in asked] == [1.5, 1.5, 1.5]


def test_a_reply_cut_off_by_the_token_limit_gets_more_room_and_is_never_taken_as_whole(bench):
    end, asked = bench.settle(in_turn(cut(CAPTION), cut(CAPTION), CAPTION), make_record())
    assert [r.sampling.max_tokens for r in asked] == [1000, 2000, 4000]
    assert all(r.schema is not None for r in asked), "the schema is not what cut it"
    assert end.outcome.outcome.value == "labeled"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (cut(CAPTION), "cut off"),
        (Reply("  ", Finish.STOP, Usage(), "m", 0.1, "stop"), "empty (stop)"),
        (Reply("", Finish.OTHER, Usage(), "m", 0.1, "LANGUAGE"), "empty (LANGUAGE)"),
    ],
)
def test_why_a_reply_says_nothing_is_told(bench, reply, reason):
    end, asked = bench.settle(lambda r: reply, make_record(), readings=1)
    assert end.outcome.outcome.value == "unreadable"
    assert reason in end.outcome.reason
    assert len(asked) == 1


def test_what_is_still_open_is_asked_again_by_the_next_run_which_counts_on(bench):
    bench.settle(lambda r: "no", make_record())
    end, asked = bench.settle(lambda r: "no", make_record())
    assert len(asked) == 3
    assert end.outcome.attempts == 6
    end, asked = bench.settle(lambda r: CAPTION, make_record())
    assert len(asked) == 1
    assert end.changes.caption == "Two red cars."


def test_a_better_reader_reads_stored_replies_without_asking(bench):
    class Strict(ImageCaption):
        def understand(self, question, text, record, left_out):
            return super().understand(question, "{}", record, left_out)

    bench.settle(lambda r: CAPTION, make_record(), Strict)
    end, asked = bench.settle(lambda r: "never asked", make_record())
    assert asked == []
    assert end.changes.caption == "Two red cars."


def test_only_what_an_answer_leaves_out_is_asked_again_also_by_the_next_run(bench):
    def forgetful(request):
        ids = [i for i in (1, 2, 3) if f'"id": {i},' in request.question]
        return json.dumps([{"id": 99 if i == 2 else i, "bbox_2d": BOX} for i in ids])

    end, asked = bench.settle(forgetful, phrases("a", "b", "c"), Grounding, readings=2)
    assert [r.question.count('"phrase"') for r in asked] == [3, 1, 1]
    assert (end.outcome.outcome.value, end.changes.expressions) == ("unreadable", None)
    answer = json.dumps([{"id": 2, "bbox_2d": None}])
    end, asked = bench.settle(lambda r: answer, phrases("a", "b", "c"), Grounding)
    assert [r.question.count('"phrase"') for r in asked] == [1]
    assert [len(e.instances) for e in end.changes.expressions] == [1, 0, 1]
    assert len(end.answers) == 2


# --- what is counted ------------------------------------------------------------------------------------------------


def violations(end):
    return dict(end.outcome.violations)


def regions(*numbers):
    return json.dumps({"regions": [{"id": i, "description": f"car {i}"} for i in numbers]})


CARS = tuple(Seed(PixelBox(10 * n, n, 10 * n + 30, n + 30), "Car") for n in range(3))


def test_replies_that_were_not_accepted_are_counted_by_the_rule_they_break(bench):
    end, _ = bench.settle(in_turn("no", cut(), CAPTION), make_record(), readings=5)
    assert end.outcome.outcome.value == "labeled"
    assert violations(end) == {UNREADABLE: 1, CUT_OFF: 1}
    end, _ = bench.settle(lambda r: CAPTION, make_record(digest="e" * 32))
    assert violations(end) == {}


def test_the_rule_that_a_reply_breaks_as_a_whole_is_the_one_that_is_counted(bench):
    class Picky(ImageCaption):
        def understand(self, question, text, record, left_out):
            if "red" in text:
                raise rule_broken(SENTENCE, "not that")
            return super().understand(question, text, record, left_out)

    end, _ = bench.settle(in_turn(CAPTION, CAPTION, '{"caption": "Two cars."}'), make_record(), Picky)
    assert violations(end) == {SENTENCE: 2}


def test_a_refusal_breaks_no_rule(bench):
    end, _ = bench.settle(in_turn("no", "I'm sorry, I can't help with that."), make_record())
    assert (end.outcome.outcome.value, violations(end)) == ("refused", {UNREADABLE: 1})


def test_every_run_counts_the_same_replies(bench):
    replies = in_turn("no", regions(1), "no", "no", regions(2, 3))
    first, asked = bench.settle(replies, make_record(seeds=CARS), RegionExpr)
    assert (first.outcome.outcome.value, len(asked)) == ("labeled", 5)
    assert violations(first) == {UNREADABLE: 3, LEFT_OUT: 2}
    again, asked = bench.settle(lambda r: "never asked", make_record(seeds=CARS), RegionExpr)
    assert asked == []
    assert again == first


def test_an_open_record_counts_on_in_the_next_run(bench):
    bench.settle(lambda r: "no", make_record())
    end, _ = bench.settle(in_turn("no", CAPTION), make_record())
    assert violations(end) == {UNREADABLE: 4}


def test_the_same_words_asked_twice_count_their_replies_once(bench):
    """A region asked alone after the others is asked in other words; all of them once more are not."""
    end, asked = bench.settle(lambda r: regions(9), make_record(seeds=CARS), RegionExpr)
    assert end.outcome.outcome.value == "unreadable"
    stored = bench.stored(RegionExpr)
    assert len(asked) == len(stored) == end.outcome.attempts
    assert violations(end)[UNREADABLE] == len(stored) - 1, "the first reply is in order and matches nothing"


# --- refused and failed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [Reply("", Finish.REFUSED, Usage(), "m", 0.1, "SAFETY"), "I'm sorry, I can't help with that."],
    ids=["by-the-filter", "in-words"],
)
def test_a_refusal_is_settled_and_never_asked_again(bench, reply):
    end, asked = bench.settle(lambda r: reply, make_record())
    assert (end.outcome.outcome.value, len(asked)) == ("refused", 1)
    assert "declines" in end.outcome.reason
    again, asked = bench.settle(lambda r: CAPTION, make_record())
    assert asked == []
    assert again == end


def test_a_request_that_can_never_work_fails_its_record_with_reason_and_tries(bench):
    error = trouble(Verdict.FAIL_RECORD, "400: image cannot be decoded", status=400)
    end, asked = bench.settle(lambda r: error, make_record())
    assert (end.outcome.outcome.value, end.outcome.reason) == ("failed", "400: image cannot be decoded")
    assert (end.outcome.attempts, len(asked)) == (1, 1)
    assert bench.fatal == []
    end, asked = bench.settle(lambda r: CAPTION, make_record())
    assert (end.outcome.outcome.value, len(asked)) == ("labeled", 1), "a failed record is open"


def test_passing_trouble_is_tried_again_and_counted(bench):
    asker, client = bench.asker(in_turn(trouble(Verdict.RETRY, status=500), CAPTION))
    end = asyncio.run(asker.settle(make_record()))
    assert end.outcome.outcome.value == "labeled"
    assert [row["tries"] for row in bench.stored()] == [2]
    assert (asker.tally.requests, asker.tally.retries) == (1, 1)
    assert len(client.requests) == 2


def test_trouble_that_does_not_pass_fails_the_record_after_all_its_tries(bench):
    end, asked = bench.settle(lambda r: trouble(Verdict.SLOW_DOWN, "busy", status=429), make_record())
    assert (end.outcome.outcome.value, end.outcome.reason, end.outcome.attempts) == ("failed", "busy", 2)
    assert len(asked) == 2
    assert bench.fatal == []


def test_what_was_paid_for_beside_a_failure_is_stored(bench):
    seeds = tuple(Seed(PixelBox(n, n, n + 30, n + 30), "Car") for n in range(20))

    def half(request):
        if '"id": 17,' in request.question:
            return trouble(Verdict.FAIL_RECORD, "bad")
        return json.dumps({"regions": [{"id": i, "description": f"car {i}"} for i in range(1, 17)]})

    end, _ = bench.settle(half, make_record(seeds=seeds), RegionExpr)
    assert end.outcome.outcome.value == "failed"
    assert len(bench.stored(RegionExpr)) == 1
    rest = json.dumps({"regions": [{"id": i, "description": f"car {i}"} for i in range(17, 21)]})
    end, asked = bench.settle(lambda r: rest, make_record(seeds=seeds), RegionExpr)
    assert len(asked) == 1
    assert len(end.changes.regions) == 20


def test_an_image_that_is_gone_fails_the_record_and_asks_nothing(bench):
    async def gone(record, resize):
        raise ImageError("image.jpg: no such file")

    end, asked = bench.settle(lambda r: CAPTION, make_record(), picture=gone)
    assert (end.outcome.outcome.value, end.outcome.reason) == ("failed", "image.jpg: no such file")
    assert asked == []


def test_a_seed_far_outside_the_image_fails_the_record_and_asks_nothing(bench):
    record = make_record(seeds=(Seed(PixelBox(2000, 0, 2100, 10), "Car"),))
    end, asked = bench.settle(lambda r: CAPTION, record, RegionExpr)
    assert end.outcome.outcome.value == "failed"
    assert "seed box 1" in end.outcome.reason
    assert violations(end) == {SEED_OUTSIDE_IMAGE: 1}
    assert asked == []


def test_nothing_to_ask_is_skipped(bench):
    end, asked = bench.settle(lambda r: CAPTION, make_record(seeds=()), RegionExpr)
    assert (end.outcome.outcome.value, end.changes.regions, asked) == ("skipped", (), [])


# --- schemas --------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_rejects_schemas_is_asked_plainly_and_that_is_remembered(bench):
    def picky(request):
        return CAPTION if request.schema is None else trouble(Verdict.FAIL_RECORD, status=400, schema_rejected=True)

    asker, client = bench.asker(picky)
    ends = [asyncio.run(asker.settle(make_record(n, digest=f"{n:032x}"))) for n in range(3)]
    assert [end.outcome.outcome.value for end in ends] == ["labeled"] * 3
    assert [r.schema is not None for r in client.requests] == [True, False, False, False]
    assert [row["with_schema"] for row in bench.stored()] == [False] * 3


def test_a_400_that_is_not_about_the_schema_is_not_remembered_as_such(bench):
    def broken(request):
        if request.picture.data == b"bad":
            return trouble(Verdict.FAIL_RECORD, "cannot decode", status=400, schema_rejected=request.schema is not None)
        return CAPTION

    async def show(record, resize):
        return Picture.of(b"bad" if record.position == 0 else b"good", "image/jpeg")

    asker, client = bench.asker(broken, picture=show)
    bad = asyncio.run(asker.settle(make_record(0)))
    good = asyncio.run(asker.settle(make_record(1, digest="e" * 32)))
    assert (bad.outcome.outcome.value, bad.outcome.reason) == ("failed", "cannot decode")
    assert good.outcome.outcome.value == "labeled"
    assert [r.schema is not None for r in client.requests] == [True, False, True]


@pytest.mark.parametrize(("setting", "sent"), [("always", [True] * 3), ("never", [False] * 3)])
def test_always_and_never_mean_it(bench, setting, sent):
    _, asked = bench.settle(lambda r: "no", make_record(), structured_output=setting)
    assert [r.schema is not None for r in asked] == sent


def test_always_does_not_fall_back(bench):
    error = trouble(Verdict.FAIL_RECORD, "no schemas here", status=400, schema_rejected=True)
    end, asked = bench.settle(lambda r: error, make_record(), structured_output="always")
    assert (end.outcome.outcome.value, len(asked)) == ("failed", 1)


def test_box_questions_never_carry_a_schema(bench):
    answer = json.dumps([{"id": 1, "bbox_2d": BOX}])
    _, asked = bench.settle(lambda r: answer, phrases("a"), Grounding, structured_output="always")
    assert [r.schema for r in asked] == [None]


# --- stopping -------------------------------------------------------------------------------------------------------


def test_an_error_that_no_request_can_survive_stops_the_run_at_once(bench):
    asker, client = bench.asker(lambda r: trouble(Verdict.STOP_RUN, "the key was rejected", status=401))
    with pytest.raises(Stopped):
        asyncio.run(asker.settle(make_record()))
    assert [str(e) for e in bench.fatal] == ["the key was rejected"]
    assert len(client.requests) == 1


def test_a_stopping_run_asks_nothing(bench):
    window = Window()
    window.resize(8)
    window.stop()
    asker, client = bench.asker(lambda r: CAPTION, window=window)
    with pytest.raises(Stopped):
        asyncio.run(asker.settle(make_record()))
    assert client.requests == []
    assert bench.fatal == []


def test_a_stopping_run_still_replays_what_is_stored(bench):
    bench.settle(lambda r: CAPTION, make_record())
    window = Window()
    window.stop()
    asker, _ = bench.asker(lambda r: CAPTION, window=window)
    assert asyncio.run(asker.settle(make_record())).changes.caption == "Two red cars."


def test_what_is_in_flight_when_the_run_stops_is_stored(bench):
    async def main():
        asked, answer = asyncio.Event(), asyncio.Event()

        async def slow(request):
            asked.set()
            await answer.wait()
            return CAPTION

        asker, _ = bench.asker(slow)
        task = asyncio.ensure_future(asker.settle(make_record()))
        await asked.wait()
        asker.window.stop()
        answer.set()
        return await task

    assert asyncio.run(main()).outcome.outcome.value == "labeled"
    assert len(bench.stored()) == 1


def test_an_unreadable_reply_of_a_stopping_run_is_stored_and_left_for_the_next(bench):
    async def main():
        asker, client = bench.asker(lambda request: asker.window.stop() or "no")
        with pytest.raises(Stopped):
            await asker.settle(make_record())
        return client

    assert len(asyncio.run(main()).requests) == 1
    assert [row["text"] for row in bench.stored()] == ["no"]


def test_a_server_that_never_answers_ends_the_run_and_not_every_record(bench):
    asker, client = bench.asker(lambda r: trouble(Verdict.RETRY, "connection refused"))

    async def many():
        ends = []
        for n in range(DEAD_AFTER):
            ends.append(await asyncio.gather(asker.settle(make_record(n, digest=f"{n:032x}")), return_exceptions=True))
        return [end[0] for end in ends]

    *failed, last = asyncio.run(many())
    assert [end.outcome.outcome.value for end in failed] == ["failed"] * (DEAD_AFTER - 1)
    assert isinstance(last, Stopped)
    assert [str(e) for e in bench.fatal] == ["connection refused"]
    assert len(client.requests) == DEAD_AFTER * POLICY.attempts


def test_an_answer_in_between_shows_that_the_server_lives(bench):
    def flaky(request):
        return CAPTION if request.picture.data == b"good" else trouble(Verdict.RETRY, "time-out")

    async def show(record, resize):
        return Picture.of(b"good" if record.position % 3 == 2 else b"slow", "image/jpeg")

    asker, _ = bench.asker(flaky, picture=show)

    async def many():
        return [await asker.settle(make_record(n, digest=f"{n:032x}")) for n in range(9)]

    ends = asyncio.run(many())
    assert [end.outcome.outcome.value for end in ends] == ["failed", "failed", "labeled"] * 3
    assert bench.fatal == []


def test_requests_given_up_because_the_run_stops_are_not_held_against_the_server(bench):
    async def main():
        all_asked = asyncio.Event()

        async def slow(request):
            if asker.window.in_flight > DEAD_AFTER:
                all_asked.set()
            await all_asked.wait()
            asker.window.stop()
            return trouble(Verdict.RETRY, "time-out")

        asker, _ = bench.asker(slow)
        records = [make_record(n, digest=f"{n:032x}") for n in range(DEAD_AFTER + 1)]
        return await asyncio.gather(*(asker.settle(r) for r in records), return_exceptions=True)

    assert all(isinstance(end, Stopped) for end in asyncio.run(main()))
    assert bench.fatal == [], "an interrupted run is not a broken one"


# --- the window -----------------------------------------------------------------------------------------------------


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
        await asyncio.gather(*(asker.settle(make_record(n, digest=f"{n:032x}")) for n in range(20)))
        return most, len(client.requests)

    assert asyncio.run(main()) == (3, 20)


# --- the key --------------------------------------------------------------------------------------------------------


def key(bench, record=None, step=ImageCaption, **changes):
    asker, _ = bench.asker(lambda r: CAPTION, step, **changes)
    record = record or make_record(caption="A car.")
    return asker._key(asker.step.questions(record)[0], record)


def sampling(**changes):
    return {"sampling": dataclasses.replace(SAMPLING, **changes)}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(sampling(max_tokens=9), id="token-limit"),
        pytest.param(sampling(timeout_s=9.0), id="time-out"),
        pytest.param({"endpoint": "elsewhere"}, id="endpoint"),
        pytest.param({"readings": 9}, id="readings"),
        pytest.param({"policy": RetryPolicy(9)}, id="retries"),
        pytest.param({"structured_output": "always"}, id="schema-fallback"),
    ],
)
def test_what_may_vary_does_not_make_it_another_question(bench, changes):
    assert key(bench, **changes) == key(bench)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(sampling(model="other"), id="model"),
        pytest.param(sampling(temperature=0.4), id="temperature"),
        pytest.param(sampling(thinking_budget=0), id="thinking-budget"),
        pytest.param(sampling(media_resolution="MEDIA_RESOLUTION_LOW"), id="media-resolution"),
        pytest.param(sampling(extra_body={"top_k": 1}), id="extra-body"),
        pytest.param({"recipe": "smaller"}, id="recipe"),
        pytest.param({"generation": 1}, id="generation"),
        pytest.param({"structured_output": "never"}, id="no-schema-wanted"),
        pytest.param({"record": make_record(digest="e" * 32)}, id="image"),
    ],
)
def test_what_is_part_of_the_question_makes_another_one(bench, changes):
    assert key(bench, **changes) != key(bench)


def test_the_prompt_and_what_is_filled_in_are_part_of_the_question(bench):
    assert key(bench, phrases("a"), Grounding) != key(bench, phrases("b"), Grounding)

    class Reworded(ImageCaption):
        prompt = dataclasses.replace(ImageCaption.prompt, text="Describe it.")

    assert key(bench, step=Reworded) != key(bench)


@pytest.mark.parametrize("sample", [0, 2])
def test_the_key_is_the_digest_of_all_these_so_that_answers_of_earlier_releases_are_found(bench, sample):
    asker, _ = bench.asker(lambda r: CAPTION, **sampling(extra_body={"top_k": 1, "a": [None]}))
    record = make_record(caption='A "car", \u00fcber.')
    (question,) = asker.step.questions(record)
    question = dataclasses.replace(question, sample=sample, schema={"type": "object", "\u00e4": {"b": 1.5}})
    assert asker._key(question, record) == digest_of(
        "question",
        ImageCaption.name,
        question.preamble,
        question.text,
        question.schema,
        SAMPLING.model,
        SAMPLING.temperature,
        SAMPLING.thinking_budget,
        SAMPLING.media_resolution,
        {"top_k": 1, "a": [None]},
        record.image.digest,
        "recipe",
        0,
        *([sample] if sample else []),
    )


def test_who_asks_is_no_part_of_the_question(bench):
    assert key(bench, make_record(7)) == key(bench, make_record(8))


# --- answers in part ------------------------------------------------------------------------------------------------


def only_about(request, phrase):
    return request.question.count('"phrase"') == 1 and f'"phrase": "{phrase}"' in request.question


def test_what_is_cut_off_every_time_is_bought_with_more_room_and_then_kept_with_a_flag(bench):
    def script(request):
        if only_about(request, "b"):
            return json.dumps([{"id": 2, "bbox_2d": BOX}])
        return cut(json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 2, "bbox_2d": BOX}])[:-14])

    end, asked = bench.settle(script, phrases("a", "b"), Grounding)
    assert [r.sampling.max_tokens for r in asked] == [1000, 2000, 4000, 1000]
    assert end.outcome.outcome.value == "labeled"
    first, second = end.changes.expressions
    assert ([i.box for i in first.instances], first.flags) == ([PixelBox(64, 96, 192, 192)], ("partial",))
    assert ([i.box for i in second.instances], second.flags) == ([PixelBox(64, 96, 192, 192)], ())

    again, asked = bench.settle(lambda r: "never asked", phrases("a", "b"), Grounding)
    assert asked == []
    assert again.changes == end.changes


def test_a_whole_answer_with_more_room_takes_the_place_of_one_in_part(bench):
    whole = json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 1, "bbox_2d": [500, 500, 600, 600]}])
    end, asked = bench.settle(in_turn(cut(whole[:-20]), whole), phrases("a"), Grounding)
    assert len(asked) == 2
    (expression,) = end.changes.expressions
    assert (len(expression.instances), expression.flags) == (2, ())


def test_a_list_that_ends_early_without_a_word_from_the_server_is_not_taken_as_whole(bench):
    whole = json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 1, "bbox_2d": [500, 500, 600, 600]}])
    end, asked = bench.settle(in_turn(whole[:-20], whole), phrases("a"), Grounding)
    assert len(asked) == 2
    assert len(end.changes.expressions[0].instances) == 2


def test_a_reply_without_any_box_under_a_schema_is_asked_again_plainly(bench):
    def script(request):
        entry = {"id": 1, "box": None if request.schema else BOX, "label": "a", "score": 0.5}
        reply = Reply(json.dumps({"boxes": [entry]}), Finish.STOP, Usage(), "m", 0.1)
        return dataclasses.replace(reply, with_schema=request.schema is not None)

    claude = dataclasses.replace(UNKNOWN, key="box", wording="object", schema=True)
    asker, client = bench.asker(script, Grounding, voice=Voice(Grounding.prompt_for(claude), claude))
    end = asyncio.run(asker.settle(phrases("a")))
    assert [r.schema is None for r in client.requests] == [False, True]
    assert len(end.changes.expressions[0].instances) == 1


def test_what_was_cut_off_once_is_never_kept_in_part_before_it_was_bought_with_more_room(bench):
    part = cut(json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 1, "bbox_2d": BOX}])[:-14])
    end, asked = bench.settle(lambda r: part, phrases("a"), Grounding, readings=1)
    assert (len(asked), end.outcome.outcome.value) == (1, "unreadable")
    assert "cut off" in end.outcome.reason
    end, asked = bench.settle(lambda r: part, phrases("a"), Grounding, readings=1)
    assert [r.sampling.max_tokens for r in asked] == [2000], end
    assert (end.outcome.outcome.value, end.changes.expressions[0].flags) == ("labeled", ("partial",))


# --- replies whose end nobody vouches for ---------------------------------------------------------------------------


def ended(text, word):
    finish, shown = read_finish(word)
    return Reply(text, finish, Usage(), "tiny-vlm", 0.1, shown)


def boxes(**found):
    return json.dumps([{"id": int(number[1:]), "bbox_2d": box} for number, box in found.items()])


@pytest.mark.parametrize(
    ("replies", "outcome", "asked", "flags"),
    [
        pytest.param([(boxes(i1=BOX), "wibble")], "labeled", 1, ["unknown_finish:wibble"], id="what-is-there-counts"),
        pytest.param([(boxes(i1=BOX), None)], "labeled", 1, ["unknown_finish:none"], id="without-a-word-too"),
        pytest.param([(boxes(i1=None), "wibble")], "unreadable", 3, None, id="an-absence-does-not"),
        pytest.param(
            [(boxes(i1=None), "wibble"), (boxes(i1=None), "stop")], "nothing", 2, [], id="until-it-is-vouched-for"
        ),
        pytest.param([(boxes(i1=None), "wibble"), (boxes(i1=BOX), "stop")], "labeled", 2, [], id="or-denied"),
        pytest.param([(boxes(i1=None), None)], "nothing", 2, ["unknown_finish:none"], id="no-word-and-said-twice"),
        pytest.param(
            [(boxes(i1=None), None), (boxes(i1=BOX), None)],
            "labeled",
            2,
            ["unknown_finish:none"],
            id="no-word-and-denied",
        ),
        pytest.param(
            [(boxes(i1=None), "wibble"), (boxes(i1=None), None), (boxes(i1=None), "wibble")],
            "unreadable",
            3,
            None,
            id="a-word-between-does-not-vouch-for-it",
        ),
        pytest.param(
            [(boxes(i1=None), "length"), (boxes(i1=BOX), "eos2")], "labeled", 2, ["unknown_finish:eos2"], id="cut"
        ),
    ],
)
def test_what_a_reply_of_unknown_end_is_worth(bench, replies, outcome, asked, flags):
    said = in_turn(*(ended(text, word) for text, word in replies))
    end, requests = bench.settle(said, phrases("a"), Grounding)
    assert (end.outcome.outcome.value, len(requests)) == (outcome, asked)
    assert (end.changes.expressions and list(end.changes.expressions[0].flags)) == flags

    again, requests = bench.settle(lambda r: ended(boxes(i1=None), "wibble"), phrases("a"), Grounding, readings=1)
    assert (again.changes, len(requests)) == (end.changes, 1 if flags is None else 0)


def test_two_absences_must_be_of_the_same_items(bench):
    first, second = boxes(i1=None, i2=BOX), boxes(i1=BOX, i2=None)
    end, asked = bench.settle(
        in_turn(ended(first, None), ended(second, None), ended(first, None)), phrases("a", "b"), Grounding
    )
    assert (end.outcome.outcome.value, len(asked)) == ("labeled", 3)
    assert [len(e.instances) for e in end.changes.expressions] == [0, 1]


def test_a_word_that_led_to_no_label_is_counted_by_name(bench):
    end, _ = bench.settle(lambda r: ended(CAPTION, "wibble"), make_record())
    assert (end.outcome.outcome.value, violations(end)) == ("labeled", {"unknown_finish:wibble": 1})
    end, _ = bench.settle(lambda r: ended("no", "wibble"), make_record(digest="e" * 32))
    assert violations(end) == {UNREADABLE: 3, "unknown_finish:wibble": 3}


def test_a_word_the_user_knows_vouches_for_the_reply(bench):
    end, asked = bench.settle(
        lambda r: ended(boxes(i1=None), "Wib-ble"), phrases("a"), Grounding, finish_words=frozenset({"wibble"})
    )
    assert (end.outcome.outcome.value, len(asked), violations(end)) == ("nothing", 1, {})


@pytest.mark.parametrize(
    ("word", "outcome"), [("SAFETY", "refused"), ("abort", "unreadable"), ("eos", "labeled"), ("length", "unreadable")]
)
def test_a_stored_reply_is_read_by_the_table_of_today(bench, word, outcome):
    reply = Reply(CAPTION, Finish.OTHER, Usage(), "tiny-vlm", 0.1, word)
    end, _ = bench.settle(lambda r: reply, make_record(), readings=1)
    assert end.outcome.outcome.value == outcome
    assert "unknown_finish" not in str(violations(end))


def test_a_reply_of_nothing_but_reasoning_says_what_to_set(bench):
    reply = Reply("", Finish.STOP, Usage(), "tiny-vlm", 0.1, "stop, nothing but reasoning")
    end, _ = bench.settle(lambda r: reply, make_record())
    assert "max_tokens" in end.outcome.reason
    assert "thinking" in end.outcome.reason


# --- quota ----------------------------------------------------------------------------------------------------------


def test_a_quota_that_is_used_up_stops_the_run_and_fails_no_record(bench):
    error = trouble(Verdict.SLOW_DOWN, "daily limit", status=429, retry_after_s=59_886.0)
    asker, client = bench.asker(lambda r: error)
    with pytest.raises(Stopped):
        asyncio.run(asker.settle(make_record()))
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
