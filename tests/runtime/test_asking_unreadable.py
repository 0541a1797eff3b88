"""Replies that cannot be read, hold a part only, or end in a way that nobody vouches for."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from raylabel.clients.base import Finish, Reply, Usage
from raylabel.clients.finish import read_finish
from raylabel.errors import Verdict
from raylabel.profiles import UNKNOWN
from raylabel.prompts.grounding import QUESTION_STYLES
from raylabel.records import Box as PixelBox
from raylabel.records import Outcome
from raylabel.steps.grounding import Grounding
from raylabel.steps.image_caption import ImageCaption
from raylabel.validation import UNREADABLE
from tests.runtime.asking_bench import BOX, CAPTION, SAMPLING, cut, in_turn, make_record, phrases, trouble, violations

# --- unreadable ------------------------------------------------------------------------------------------------------


def test_an_unreadable_reply_is_asked_again_warmer_and_without_schema_at_most_readings_times(bench):
    end, asked = bench.run_step(lambda r: "no", make_record())
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
    end, asked = bench.run_step(in_turn(unclear, "[]"), phrases("red car"), Grounding)
    assert end.outcome.outcome is Outcome.NOTHING
    assert asked[1].question == f"{asked[0].question}\n\n{Grounding.prompt.again}"
    assert "[] if there is none" in asked[1].question
    assert bench.run_step(lambda r: "never asked", phrases("red car"), Grounding)[1] == []


def test_an_answer_that_was_cut_off_is_asked_for_in_the_same_words(bench):
    _, asked = bench.run_step(in_turn(cut('[{"id": 1, '), "[]"), phrases("red car"), Grounding)
    assert asked[1].question == asked[0].question


@pytest.mark.parametrize("question_style", ["detect", "open_vocabulary", "phrase", "det"])
def test_a_question_in_a_fixed_form_keeps_it(question_style):
    assert QUESTION_STYLES[question_style].again == ""


def test_the_temperature_rises_to_one_at_most_and_never_falls(bench):
    _, asked = bench.run_step(lambda r: "no", make_record(), sampling=dataclasses.replace(SAMPLING, temperature=0.9))
    assert [r.sampling.temperature for r in asked] == [0.9, 1.0, 1.0]
    _, asked = bench.run_step(lambda r: "no", make_record(), sampling=dataclasses.replace(SAMPLING, temperature=1.5))
    assert [r.sampling.temperature for r in asked] == [1.5, 1.5, 1.5]


@pytest.mark.tao_row("finish_reason is ignored")
def test_a_reply_cut_off_by_the_token_limit_gets_more_room_and_is_never_taken_as_whole(bench):
    end, asked = bench.run_step(in_turn(cut(CAPTION), cut(CAPTION), CAPTION), make_record())
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
    end, asked = bench.run_step(lambda r: reply, make_record(), readings=1)
    assert end.outcome.outcome.value == "unreadable"
    assert reason in end.outcome.reason
    assert len(asked) == 1


@pytest.mark.tao_row("a failed or unreadable call is written as an empty result and never tried again")
def test_what_is_still_open_is_asked_again_by_the_next_run_which_counts_on(bench):
    bench.run_step(lambda r: "no", make_record())
    end, asked = bench.run_step(lambda r: "no", make_record())
    assert len(asked) == 3
    assert end.outcome.attempts == 6
    end, asked = bench.run_step(lambda r: CAPTION, make_record())
    assert len(asked) == 1
    assert end.changes.caption == "Two red cars."


def test_a_better_reader_reads_stored_replies_without_asking(bench):
    class Strict(ImageCaption):
        def parse(self, question, text, record, left_out):
            return super().parse(question, "{}", record, left_out)

    bench.run_step(lambda r: CAPTION, make_record(), Strict)
    end, asked = bench.run_step(lambda r: "never asked", make_record())
    assert asked == []
    assert end.changes.caption == "Two red cars."


def test_only_what_an_answer_leaves_out_is_asked_again_also_by_the_next_run(bench):
    def forgetful(request):
        ids = [i for i in (1, 2, 3) if f'"id": {i},' in request.question]
        return json.dumps([{"id": 99 if i == 2 else i, "bbox_2d": BOX} for i in ids])

    end, asked = bench.run_step(forgetful, phrases("a", "b", "c"), Grounding, readings=2)
    assert [r.question.count('"phrase"') for r in asked] == [3, 1, 1]
    assert (end.outcome.outcome.value, end.changes.expressions) == ("unreadable", None)
    answer = json.dumps([{"id": 2, "bbox_2d": None}])
    end, asked = bench.run_step(lambda r: answer, phrases("a", "b", "c"), Grounding)
    assert [r.question.count('"phrase"') for r in asked] == [1]
    assert [len(e.instances) for e in end.changes.expressions] == [1, 0, 1]
    assert len(end.answers) == 2


# --- answers in part -------------------------------------------------------------------------------------------------


def only_about(request, phrase):
    return request.question.count('"phrase"') == 1 and f'"phrase": "{phrase}"' in request.question


def test_what_is_cut_off_every_time_is_bought_with_more_room_and_then_kept_with_a_flag(bench):
    def script(request):
        if only_about(request, "b"):
            return json.dumps([{"id": 2, "bbox_2d": BOX}])
        return cut(json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 2, "bbox_2d": BOX}])[:-14])

    end, asked = bench.run_step(script, phrases("a", "b"), Grounding)
    assert [r.sampling.max_tokens for r in asked] == [1000, 2000, 4000, 1000]
    assert end.outcome.outcome.value == "labeled"
    first, second = end.changes.expressions
    assert ([i.box for i in first.instances], first.flags) == ([PixelBox(64, 96, 192, 192)], ("partial",))
    assert ([i.box for i in second.instances], second.flags) == ([PixelBox(64, 96, 192, 192)], ())

    again, asked = bench.run_step(lambda r: "never asked", phrases("a", "b"), Grounding)
    assert asked == []
    assert again.changes == end.changes


def test_a_whole_answer_with_more_room_takes_the_place_of_one_in_part(bench):
    whole = json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 1, "bbox_2d": [500, 500, 600, 600]}])
    end, asked = bench.run_step(in_turn(cut(whole[:-20]), whole), phrases("a"), Grounding)
    assert len(asked) == 2
    (expression,) = end.changes.expressions
    assert (len(expression.instances), expression.flags) == (2, ())


def test_a_list_that_ends_early_without_a_word_from_the_server_is_not_taken_as_whole(bench):
    whole = json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 1, "bbox_2d": [500, 500, 600, 600]}])
    end, asked = bench.run_step(in_turn(whole[:-20], whole), phrases("a"), Grounding)
    assert len(asked) == 2
    assert len(end.changes.expressions[0].instances) == 2


def test_a_reply_without_any_box_under_a_schema_is_asked_again_plainly(bench):
    def script(request):
        entry = {"id": 1, "box": None if request.schema else BOX, "label": "a", "score": 0.5}
        reply = Reply(json.dumps({"boxes": [entry]}), Finish.STOP, Usage(), "m", 0.1)
        return dataclasses.replace(reply, with_schema=request.schema is not None)

    claude = dataclasses.replace(UNKNOWN, key="box", question_style="object", schema=True)
    asker, client = bench.asker(script, Grounding, prompt=Grounding.prompt_for(claude), profile=claude)
    end = asyncio.run(asker.run_step(phrases("a")))
    assert [r.schema is None for r in client.requests] == [False, True]
    assert len(end.changes.expressions[0].instances) == 1


def test_what_was_cut_off_once_is_never_kept_in_part_before_it_was_bought_with_more_room(bench):
    part = cut(json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 1, "bbox_2d": BOX}])[:-14])
    end, asked = bench.run_step(lambda r: part, phrases("a"), Grounding, readings=1)
    assert (len(asked), end.outcome.outcome.value) == (1, "unreadable")
    assert "cut off" in end.outcome.reason
    end, asked = bench.run_step(lambda r: part, phrases("a"), Grounding, readings=1)
    assert [r.sampling.max_tokens for r in asked] == [2000], end
    assert (end.outcome.outcome.value, end.changes.expressions[0].flags) == ("labeled", ("partial",))


ONE, TWO = json.dumps([{"id": 1, "bbox_2d": BOX}]), json.dumps([{"id": 1, "bbox_2d": BOX}, {"id": 1, "bbox_2d": BOX}])
PART = TWO[:-14]


@pytest.mark.parametrize(
    ("replies", "outcome", "flags", "asked"),
    [
        pytest.param([cut(PART), "no", "no"], "unreadable", None, 3, id="cut-once-and-then-unreadable"),
        pytest.param([cut(PART), "", ""], "unreadable", None, 3, id="cut-once-and-then-empty"),
        pytest.param(["no", "no", cut(PART)], "unreadable", None, 3, id="cut-once-at-the-end"),
        pytest.param([cut(PART), "no", cut(PART)], "labeled", ("partial",), 3, id="cut-twice"),
        pytest.param([cut(PART), "no", ONE], "labeled", (), 3, id="whole-in-the-end"),
        pytest.param([cut(PART), cut("["), "no"], "labeled", ("partial",), 3, id="cut-twice-once-before-any-box"),
        pytest.param([PART, "no", PART], "labeled", ("partial",), 3, id="cut-twice-by-the-model"),
    ],
)
def test_an_answer_in_part_counts_once_two_replies_were_cut_off(bench, replies, outcome, flags, asked):
    end, requests = bench.run_step(in_turn(*replies), phrases("a"), Grounding)
    assert (end.outcome.outcome.value, len(requests)) == (outcome, asked)
    assert (end.changes.expressions and end.changes.expressions[0].flags) == flags
    again, requests = bench.run_step(lambda r: cut(PART), phrases("a"), Grounding, readings=1)
    assert (len(requests), again.outcome.outcome.value) == (int(flags is None), "labeled")


def test_a_server_that_has_no_more_room_is_asked_with_what_it_has(bench):
    """vLLM turns away what does not fit into its context: a reply that was cut off is bought again all the same."""
    error = trouble(Verdict.FAIL_RECORD, "max_tokens is too large", status=400, schema_rejected=True)
    end, asked = bench.run_step(lambda r: error if r.sampling.max_tokens > 1000 else cut(PART), phrases("a"), Grounding)
    assert [r.sampling.max_tokens for r in asked] == [1000, 2000, 1000, 4000, 1000]
    assert (end.outcome.outcome.value, end.changes.expressions[0].flags) == ("labeled", ("partial",))
    assert [row["max_tokens"] for row in bench.stored(Grounding)] == [1000] * 3


# --- replies whose end nobody vouches for ----------------------------------------------------------------------------


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
    end, requests = bench.run_step(said, phrases("a"), Grounding)
    assert (end.outcome.outcome.value, len(requests)) == (outcome, asked)
    assert (end.changes.expressions and list(end.changes.expressions[0].flags)) == flags

    again, requests = bench.run_step(lambda r: ended(boxes(i1=None), "wibble"), phrases("a"), Grounding, readings=1)
    assert (again.changes, len(requests)) == (end.changes, 1 if flags is None else 0)


def test_two_absences_must_be_of_the_same_items(bench):
    first, second = boxes(i1=None, i2=BOX), boxes(i1=BOX, i2=None)
    end, asked = bench.run_step(
        in_turn(ended(first, None), ended(second, None), ended(first, None)), phrases("a", "b"), Grounding
    )
    assert (end.outcome.outcome.value, len(asked)) == ("labeled", 3)
    assert [len(e.instances) for e in end.changes.expressions] == [0, 1]


def test_a_word_that_led_to_no_label_is_counted_by_name(bench):
    end, _ = bench.run_step(lambda r: ended(CAPTION, "wibble"), make_record())
    assert (end.outcome.outcome.value, violations(end)) == ("labeled", {"unknown_finish:wibble": 1})
    end, _ = bench.run_step(lambda r: ended("no", "wibble"), make_record(digest="e" * 32))
    assert violations(end) == {UNREADABLE: 3, "unknown_finish:wibble": 3}


def test_a_word_the_user_knows_vouches_for_the_reply(bench):
    end, asked = bench.run_step(
        lambda r: ended(boxes(i1=None), "Wib-ble"), phrases("a"), Grounding, finish_words=frozenset({"wibble"})
    )
    assert (end.outcome.outcome.value, len(asked), violations(end)) == ("nothing", 1, {})


@pytest.mark.parametrize(
    ("word", "outcome"), [("SAFETY", "refused"), ("abort", "unreadable"), ("eos", "labeled"), ("length", "unreadable")]
)
def test_a_stored_reply_is_read_by_the_table_of_today(bench, word, outcome):
    reply = Reply(CAPTION, Finish.OTHER, Usage(), "tiny-vlm", 0.1, word)
    end, _ = bench.run_step(lambda r: reply, make_record(), readings=1)
    assert end.outcome.outcome.value == outcome
    assert "unknown_finish" not in str(violations(end))


def test_a_reply_of_nothing_but_reasoning_says_what_to_set(bench):
    reply = Reply("", Finish.STOP, Usage(), "tiny-vlm", 0.1, "stop, nothing but reasoning")
    end, _ = bench.run_step(lambda r: reply, make_record())
    assert "max_tokens" in end.outcome.reason
    assert "thinking" in end.outcome.reason
