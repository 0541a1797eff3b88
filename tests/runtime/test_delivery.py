"""From the store to the files and the counts: a real results folder, without a run."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from raylabel.clients.base import Sampling, SchemaForm
from raylabel.clients.retry import RetryPolicy
from raylabel.exports.failures import Reasons
from raylabel.exports.figures import Figures
from raylabel.pipelines import PIPELINES
from raylabel.records import (
    IMAGE_GROUNDING,
    Box,
    Changes,
    Expression,
    ImageFacts,
    Instance,
    Outcome,
    Record,
    Size,
    StepOutcome,
)
from raylabel.runtime.asking import AskSetup, StepEnd
from raylabel.runtime.delivery import Counts, Delivery
from raylabel.runtime.driver import Driver
from raylabel.runtime.rows import build_row
from raylabel.runtime.spec import RunSpec, StepPlan
from raylabel.runtime.summary import print_summary
from raylabel.settings import ImageSettings, OpenAISettings, VlmSettings, mask_of
from raylabel.sources import SourceSpec, read_shard, scan
from raylabel.sources.spec import CAPTIONS
from raylabel.steps.base import ModelTarget, StepSetup
from raylabel.storage.folders import Folder
from raylabel.store.results import Results

_, EXTRACTION, GROUNDING = PIPELINES[IMAGE_GROUNDING]
EXTRACTED = Changes(cleaned_caption="cars", expressions=(Expression("e", "cars", (0, 4)),))
BOXES = (Instance("b0", Box(0, 0, 50, 40), flags=("clipped",)), Instance("b1", Box(0, 1, 50, 40), flags=("adjusted",)))
GROUNDED = Changes(expressions=(Expression("e", "cars", (0, 4), None, BOXES, flags=("constant_stride",)),))


@pytest.fixture
def delivered(tmp_path):
    """Three records: one with all kinds of counts, one with nothing to tell, one that is open."""
    captions = tmp_path / "captions.jsonl"
    captions.write_text("".join(json.dumps({"image_path": f"{n}.jpg", "caption": "cars"}) + "\n" for n in range(3)))
    source = SourceSpec(CAPTIONS, IMAGE_GROUNDING, str(captions))
    shards = list(scan(source, 100, tmp_path))
    results = Results(Folder(str(tmp_path / "results")))
    sampling = Sampling("tiny-vlm", 0.3, 1000, 5.0)
    ask = AskSetup(RetryPolicy(1), (sampling,), 0, 3, "auto", SchemaForm.NATIVE)
    plans = tuple(StepPlan(step, StepSetup((ModelTarget(step.prompt),)), ask, 1) for step in (EXTRACTION, GROUNDING))
    spec = RunSpec(
        "run",
        IMAGE_GROUNDING,
        results,
        source,
        VlmSettings(),
        ImageSettings(),
        plans,
        {step.directory: 0 for step in (EXTRACTION, GROUNDING)},
        Driver.here(),
        None,
    )
    told, quiet, broken = (line for shard in shards for line in read_shard(source, shard))
    thermal = ImageFacts("d", Size(60, 40), 1, "image/png", plain=False, flags=("stretched",))
    assert isinstance(told, Record)
    told = dataclasses.replace(told, image=thermal)

    def end(step, record, outcome, changes=EXTRACTED):
        row = build_row(step, record, StepEnd(outcome, changes), 0, "prompt 1, reader 1")
        results.rows(step.directory).append([row])
        return record.apply(step.label, outcome, changes)

    told = end(EXTRACTION, told, StepOutcome(Outcome.LABELED, violations={"sentence": 1, "unreadable": 2}))
    end(GROUNDING, told, StepOutcome(Outcome.LABELED, violations={"left_out": 3, "unreadable": 1}), GROUNDED)
    quiet = end(EXTRACTION, quiet, StepOutcome(Outcome.LABELED))
    end(GROUNDING, quiet, StepOutcome(Outcome.NOTHING), Changes(expressions=(Expression("e", "cars", instances=()),)))
    end(EXTRACTION, broken, StepOutcome(Outcome.UNREADABLE, "no", 3, "x", {"unreadable": 3}), Changes())
    with Delivery(spec, "jsonl") as delivery:
        delivery.add_all(shards)
    return delivery.counts, tmp_path / "results"


COUNTED = {"clipped": 1, "constant_stride": 1, "left_out": 3, "sentence": 1, "stretched": 1, "unreadable": 6}


def test_what_the_rows_and_the_flags_tell_is_added_up_by_rule(delivered):
    counts, _ = delivered
    assert counts.violations == COUNTED
    assert list(counts.to_json()["violations"].items()) == sorted(COUNTED.items())
    assert counts.figures.flags == {"clipped": 1, "adjusted": 1, "constant_stride": 1, "stretched": 1}
    assert counts.to_json()["flags"] == {"adjusted": 1, "clipped": 1, "constant_stride": 1, "stretched": 1}


def test_what_was_left_out_stands_with_its_record_and_why_it_is_open_with_its_failure(delivered):
    _, root = delivered
    lines = [json.loads(line) for line in (root / "annotations.jsonl").read_text().splitlines()]
    assert [line.get("dropped") for line in lines] == [{"sentence": 1}, None, None]
    assert [line.get("flags") for line in lines] == [["stretched"], None, None]
    (failure,) = [json.loads(line) for line in (root / "failures.jsonl").read_text().splitlines()]
    assert failure["violations"] == {"unreadable": 3}


def summary(counts):
    out = io.StringIO()
    print_summary(Console(file=out, width=200), [EXTRACTION, GROUNDING], counts, None, "results", 0.0)
    return out.getvalue().splitlines()


def test_the_summary_says_what_was_found_and_what_followed(delivered):
    counts, _ = delivered
    (checked,) = [line for line in summary(counts) if line.startswith("checked: ")]
    assert checked == (
        "checked: 1 adjusted (noted), 1 clipped (flagged), 1 constant_stride (flagged), 3 left_out (asked again), "
        "1 sentence (dropped), 1 stretched (flagged), 6 unreadable (asked again)"
    )


def test_the_figures_are_those_of_the_file_and_the_last_lines_tell_them(delivered):
    counts, root = delivered
    again = Figures()
    for line in (root / "annotations.jsonl").read_text().splitlines():
        again.add(json.loads(line))
    assert counts.to_json()["annotations"] == again.to_json()
    assert again.to_json() == {
        "records": {"total": 3, "open": 1, "with_boxes": 1, "without_boxes": 1},
        **dict.fromkeys(again.totals, 0),
        "expressions": 2,
        "expressions_matching_nothing": 1,
        "boxes": 2,
    }
    assert counts.records == {"labeled": 1, "nothing": 1, "unreadable": 1}
    words = "3 records: 1 with boxes, 1 without any, 1 open; 2 expressions (1 matches nothing), 2 boxes"
    assert summary(counts)[-2] == words
    assert "  1 x no" in summary(counts)


@pytest.mark.parametrize("secret", ["sk-in-the-environment", "header-secret-1234"])
def test_a_secret_in_a_reason_does_not_reach_the_screen(tmp_path, secret):
    vlm = VlmSettings(
        openai=OpenAISettings(api_key="sk-in-the-environment", extra_body={"x-api-key": "header-secret-1234"})
    )
    reason = f"HTTP 400: {secret} at https://me:{secret}@host/a.jpg?sig=abc"
    counts = Counts(steps={step.name: Counts().records for step in (EXTRACTION, GROUNDING)})
    counts.open_reasons = Reasons(mask_of(vlm))
    counts.open_reasons.add(reason)
    assert "  1 x HTTP 400: *** at https://***@host/a.jpg?sig=***" in summary(counts)
