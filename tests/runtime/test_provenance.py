"""What made a step's labels, from its plan through its row to the record."""

from __future__ import annotations

import dataclasses
import json

import pytest

from raylabel.clients.base import Sampling, SchemaForm
from raylabel.clients.retry import RetryPolicy
from raylabel.records import IMAGE_GROUNDING, Changes, Outcome, Record, StepOutcome
from raylabel.runtime.asking import AskSetup, StepEnd
from raylabel.runtime.rows import build_row, provenance_text, restore
from raylabel.runtime.spec import StepPlan
from raylabel.steps.base import ModelTarget, StepSetup
from raylabel.steps.expression_extraction import ExpressionExtraction as Extraction

RECORD = Record("1" * 32, 0, 0, "i", "i.jpg", IMAGE_GROUNDING, caption="A red car.")
PROMPT = Extraction.prompt


def plan_of(*models, prompt=PROMPT):
    targets = tuple(ModelTarget(prompt, recipe="r") for _ in models)
    samplings = tuple(Sampling(model, 0.3, 1000, 5.0) for model in models)
    ask = AskSetup(RetryPolicy(1), samplings, 0, 3, "auto", SchemaForm.NATIVE)
    return StepPlan(Extraction, StepSetup(targets), ask, 1)


def provenance(versions, answers=("w-1",)):
    """Of the step, once its row came back."""
    row = build_row(Extraction, RECORD, StepEnd(StepOutcome(Outcome.LABELED), Changes(), answers), 0, versions)
    record, _ = restore(RECORD, [Extraction], {Extraction.directory: {RECORD.record_id: row}}, {})
    return record.outcomes[Extraction.label].provenance


def test_a_step_names_its_model_its_prompt_and_its_reader():
    made = {"model": "tiny-vlm", "prompt": str(PROMPT.version), "reader": Extraction.version}
    assert provenance(provenance_text(plan_of("tiny-vlm"))) == made


def test_all_models_that_vote_are_named():
    assert provenance(provenance_text(plan_of("tiny-vlm", "other/vlm")))["model"] == "tiny-vlm, other/vlm"


def test_prompts_of_a_users_own_are_told_apart():
    texts = ("List what is in: $caption", "Name what is in: $caption")
    made = [
        provenance(provenance_text(plan_of("m", prompt=PROMPT.replaced(text, "steps.x.prompt"))))["prompt"]
        for text in texts
    ]
    assert all(name.startswith("own-") for name in made)
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("versions", "answers"),
    [
        pytest.param(provenance_text(plan_of("m")), (), id="no-reply-was-used"),
        pytest.param("prompt 1, reader 2", ("w-1",), id="a-row-of-an-earlier-release"),
    ],
)
def test_where_nothing_is_known_nothing_is_told(versions, answers):
    assert provenance(versions, answers) is None


def test_a_row_tells_a_changed_reader_from_the_one_before():
    plan = plan_of("m")
    newer = dataclasses.replace(plan, step=type("Newer", (Extraction,), {"version": Extraction.version + 1}))
    assert json.loads(provenance_text(newer))["reader"] == json.loads(provenance_text(plan))["reader"] + 1
