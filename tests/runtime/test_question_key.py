"""What makes a question another one."""

from __future__ import annotations

import dataclasses

import pytest

from raylabel.clients.retry import RetryPolicy
from raylabel.records import digest_of
from raylabel.steps.grounding import Grounding
from raylabel.steps.image_caption import ImageCaption
from tests.runtime.asking_bench import CAPTION, SAMPLING, make_record, phrases


def key(bench, record=None, step=ImageCaption, **changes):
    asker, _ = bench.asker(lambda r: CAPTION, step, **changes)
    record = record or make_record(caption="A car.")
    return asker._keys.key_of(asker.step.questions(record)[0], record)


def sampling(**changes):
    return {"sampling": dataclasses.replace(SAMPLING, **changes)}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(sampling(max_tokens=9), id="token-limit"),
        pytest.param(sampling(timeout_s=9.0), id="time-out"),
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
    assert record.image is not None
    (question,) = asker.step.questions(record)
    question = dataclasses.replace(question, sample=sample, schema={"type": "object", "\u00e4": {"b": 1.5}})
    assert asker._keys.key_of(question, record) == digest_of(
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
