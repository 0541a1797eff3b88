"""Every mistake in a specification is one sentence."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from raylabel.errors import ConfigError
from raylabel.specification import load_settings
from raylabel.specification.keys import paths
from tests.specification.specifying import GROUNDING, REFERRING, sentence, write


@pytest.mark.tao_row("a wrong key, type or value is an error with the nearest valid one, before anything starts")
@pytest.mark.parametrize(
    ("override", "parts"),
    [
        pytest.param("image_groundin.workflow.max_workers=2", ["image_groundin", '"image_grounding"'], id="block"),
        pytest.param(
            "image_grounding.vlm.gemini.temprature=0",
            ["image_grounding.vlm.gemini.temprature", "unknown", '"image_grounding.vlm.gemini.temperature"'],
            id="leaf",
        ),
        pytest.param(
            "max_workers=2", ["max_workers", '"image_grounding.workflow.max_workers"'], id="without-its-block"
        ),
        pytest.param("data.input_jsonl=x", ['"image_grounding.data.input_jsonl"'], id="half-a-path"),
        pytest.param("model=qwen", ["model", '"image_grounding.vlm.gemini.model"'], id="not-another-task's-block"),
        pytest.param("zzz=1", ["zzz", "known here: results_dir"], id="nothing-near"),
        pytest.param("results_dir.x=1", ["results_dir is text"], id="below-a-value"),
        pytest.param("ray=3", ["ray", "found 3", "address, actors"], id="value-for-a-block"),
        pytest.param("ray.actor", ['"ray.actor"', "key=value", '"ray.actors"'], id="no-equals-sign"),
        pytest.param("=3", ["key=value"], id="no-key"),
        pytest.param("ray.actors=many", ["ray.actors", '"many"', "a whole number"], id="word-for-a-number"),
        pytest.param("ray.actors=1.5", ["ray.actors", "1.5", "a whole number"], id="fraction-for-a-whole-number"),
        pytest.param("ray.actors=true", ["ray.actors", "true", "a whole number"], id="boolean-for-a-number"),
        pytest.param("ray.actors=[1", ["ray.actors", "[1"], id="no-yaml"),
        pytest.param(
            "double_check.keep_rejected=2", ["keep_rejected", "2", "true or false"], id="number-for-a-boolean"
        ),
        pytest.param("image_grounding.vlm.gemini.extra_body=3", ["extra_body", "3", "block"], id="number-for-a-block"),
        pytest.param("image_grounding.workflow.steps=1", ["steps", "found 1", "write [1]"], id="step-without-list"),
        pytest.param("image_grounding.workflow.steps=[]", ["workflow.steps", "empty", "1 grounding"], id="no-steps"),
        pytest.param("image_grounding.workflow.steps=[0,2]", ["steps[1]", '"2"', "1 grounding"], id="no-such-number"),
        pytest.param("image_grounding.workflow.steps=[groundin]", ['"groundin"', '"grounding"'], id="no-such-name"),
        pytest.param("image_referring_expression.workflow.steps=[x]", ["steps[0]", "double_check"], id="other-block"),
        pytest.param("autolabel_type=mal", ["autolabel_type", '"mal"', "image_grounding"], id="other-task"),
        pytest.param("autolabel_type=image_groundin", ['Did you mean "image_grounding"'], id="type-misspelled"),
        pytest.param("image_grounding.vlm.backend=gemni", ["vlm.backend", '"gemni"', '"gemini"'], id="backend"),
        pytest.param("image_grounding.vlm.gemini.media_resolution=high", ["MEDIA_RESOLUTION_HIGH"], id="resolution"),
        pytest.param("image_grounding.vlm.gemini.temperature=2.1", ["2.1", "0 to 2"], id="too-hot"),
        pytest.param("image_grounding.vlm.openai.temperature=-0.1", ["-0.1", "0 to 2"], id="too-cold"),
        pytest.param("image_grounding.vlm.gemini.temperature=.nan", ["NaN", "0 to 2"], id="no-number"),
        pytest.param("image_grounding.vlm.gemini.timeout=0", ["timeout", "more than 0"], id="no-time"),
        pytest.param("image_grounding.vlm.openai.timeout=.inf", ["timeout", "more than 0"], id="endless"),
        pytest.param("image_grounding.vlm.gemini.max_output_tokens=0", ["1 or more"], id="no-tokens"),
        pytest.param("image_grounding.vlm.openai.max_tokens=-5", ["1 or more"], id="negative-tokens"),
        pytest.param("image_grounding.vlm.gemini.thinking_budget=-2", ["-1 or more"], id="thinking"),
        pytest.param("image_grounding.vlm.openai.base_url=localhost:8000/v1", ["base_url", "scheme"], id="no-scheme"),
        pytest.param("image_grounding.vlm.gemini.base_url=http://", ["base_url", "scheme"], id="no-host"),
        pytest.param("image_grounding.vlm.openai.base_url=http://h:x/v1", ["base_url", "scheme"], id="no-port"),
        pytest.param(
            "image_grounding.vlm.openai.base_url=http://h/v1/chat/completions", ["base_url", "before"], id="whole-route"
        ),
        pytest.param("image_grounding.vlm.boxes.order=xyhw", ["boxes.order", "xyxy, yxyx, xywh"], id="order"),
        pytest.param("image_grounding.vlm.boxes.scale.x=1", ["boxes.scale", "no keys of its own"], id="scale-block"),
        pytest.param("image_grounding.vlm.boxes.scale=0", ["boxes.scale", "a number above 0"], id="scale"),
        pytest.param("image_grounding.vlm.structured_output=sometimes", ["auto, always, never"], id="schema"),
        pytest.param("image_grounding.workflow.max_workers=-1", ["max_workers", "-1", "1 or more"], id="workers"),
        pytest.param("image_referring_expression.workflow.output_format=bth", ['"both"'], id="format"),
        pytest.param("double_check.adjust=applly", ["double_check.adjust", '"apply"'], id="adjust"),
        pytest.param("image.max_pixels=-1", ["image.max_pixels", "0 or more"], id="pixels"),
        pytest.param("image.refuse_pixels=0", ["image.refuse_pixels", "1 or more"], id="bombs"),
        pytest.param("image.jpeg_quality=101", ["1 to 100"], id="quality"),
        pytest.param("image.cache_mb=-1", ["image.cache_mb", "0 or more"], id="cache"),
        pytest.param("steps.grounding.temperature=3", ["steps.grounding.temperature", "0 to 2"], id="step-hot"),
        pytest.param("steps.grounding.workers=0", ["steps.grounding.workers", "1 or more"], id="step-workers"),
        pytest.param("steps.grounding.max_tokens=0", ["1 or more"], id="step-tokens"),
        pytest.param("steps.groundin.workers=1", ['"steps.grounding"'], id="no-such-step-block"),
        pytest.param("limits.max_failure_rate=1.5", ["0 to 1"], id="rate-above"),
        pytest.param("limits.max_failure_rate=-0.1", ["0 to 1"], id="rate-below"),
        pytest.param("limits.max_in_flight=-1", ["0 or more"], id="in-flight"),
        pytest.param("limits.items_per_request=0", ["1 or more"], id="items"),
        pytest.param("limits.readings=0", ["1 or more"], id="readings"),
        pytest.param("retry.attempts=0", ["1 or more"], id="attempts"),
        pytest.param("retry.backoff=-1", ["0 or more"], id="backoff"),
        pytest.param("retry.max_backoff=-1", ["0 or more"], id="max-backoff"),
        pytest.param("ray.address=somewhere", ["ray.address", "host:port"], id="address"),
        pytest.param("ray.actors=-1", ["0 or more"], id="actors"),
        pytest.param("ray.object_store_mb=10", ["80 or more"], id="object-store"),
        pytest.param("ray.num_cpus=-1", ["0 or more"], id="cpus"),
        pytest.param("image_grounding.vlm.backend=openai", ["openai.model_name", "required"], id="no-model"),
        pytest.param("image_grounding.vlm.backend=scripted", ["scripted.answers", "required"], id="no-script"),
        pytest.param("results_dir=", ["results_dir", "required"], id="no-results-dir"),
        pytest.param("results_dir=???", ["results_dir", "required"], id="question-marks"),
        pytest.param("results_dir=captions.jsonl", ["results_dir", "is a file"], id="results-dir-is-a-file"),
        pytest.param("results_dir=captions.jsonl/x", ["results_dir", "is a file"], id="results-dir-in-a-file"),
        pytest.param("image_grounding.data.input_jsonl=", ["input_jsonl", "required"], id="no-input"),
        pytest.param("image_grounding.data.input_jsonl=caption.jsonl", ["no file", '"captions.jsonl"'], id="no-file"),
        pytest.param("image_grounding.data.input_jsonl=images", ["is a folder"], id="folder-for-a-file"),
        pytest.param("image_grounding.data.image_root=image", ["no folder", '"images"'], id="no-image-root"),
        pytest.param("image_grounding.data.image_root=seeds.jsonl", ["is a file"], id="file-for-a-folder"),
        pytest.param("image_grounding.workflow.steps=[1] image", ["steps"], id="trash-after-a-list"),
        pytest.param("image_grounding.vlm.gemini.model=${oc.env:NOT_THERE}", ["model", "NOT_THERE"], id="no-variable"),
        pytest.param("image_grounding.vlm.gemini.model=${nope}", ["model", "not set"], id="no-such-key"),
        pytest.param("ray.actors=${oc.env:PATH}", ["ray.actors", "a whole number"], id="variable-of-another-type"),
        pytest.param("steps.grounding.prompt=Find it", ["steps.grounding.prompt", "$phrases"], id="prompt"),
        pytest.param("steps.grounding.prompt_file=nope.txt", ["prompt_file", "no file"], id="no-prompt-file"),
        pytest.param("steps.grounding.prompt_file=seeds.jsonl", ["prompt_file", "$phrases"], id="prompt-in-a-file"),
    ],
)
def test_a_mistake_is_one_sentence_with_key_value_and_what_is_allowed(data, override, parts):
    text = sentence(None, *GROUNDING, override)
    for part in parts:
        assert part in text


def test_of_many_keys_with_a_name_the_one_that_counts_in_this_run_is_proposed(data):
    text = sentence(None, *REFERRING, "max_workers=2")
    assert '"image_referring_expression.workflow.max_workers"' in text
    text = sentence(None, *REFERRING, "image_referring_expression.vlm.backend=openai", "temperature=0")
    assert '"image_referring_expression.vlm.openai.temperature"' in text


_TEXTS = [
    "1",
    "-1",
    "[",
    "{",
    "'",
    "a: b",
    "${x}",
    "${",
    "\\${a}",
    "${.x}",
    "*",
    "!x",
    "\x00",
    "a\nb",
    "\ud800",
    "http://[::1",
]


@hypothesis.settings(max_examples=80, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    key=st.sampled_from(sorted(paths())),
    value=st.one_of(st.sampled_from(_TEXTS), st.text(max_size=8)),
    below=st.booleans(),
)
def test_whatever_is_assigned_gives_settings_or_one_sentence(data, key, value, below):
    try:
        load_settings(None, [*GROUNDING, f"{key}{'.x' if below else ''}={value}"])
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        pytest.param("results_dir: out\nray: [1,\n", ["spec.yaml", "line 3"], id="cut-off"),
        pytest.param("ray:\n  actors: 1\n  actors: 2\n", ["line 3", "duplicate"], id="key-twice"),
        pytest.param("ray: {actors: '${a b'}", ["ray.actors", "interpolation"], id="interpolation-cut-off"),
        pytest.param("- a\n- b\n", ["spec.yaml", "no keys"], id="a-list"),
        pytest.param("hello", ["hello", "unknown"], id="a-word"),
        pytest.param("image_grounding: {vlm: {openai: {api_key: 0123}}}", ["api_key", "text", "quotes"], id="octal"),
        pytest.param("image_grounding: {data: {image_root: 2024}}", ["image_root", "2024", "quotes"], id="number"),
        pytest.param("image_grounding: {vlm: {gemini: {model: [a]}}}", ["model", '["a"]', "text"], id="list-for-text"),
        pytest.param("image_grounding: {vlm: {gemni: {}}}", ['"image_grounding.vlm.gemini"'], id="block-misspelled"),
        pytest.param("image_grounding: [1]", ["image_grounding", "vlm, workflow, data"], id="list-for-a-block"),
        pytest.param("image_grounding: {workflow: {steps: [1.0]}}", ["steps", "1.0"], id="step-with-a-fraction"),
        pytest.param("1: 2", ["1:", "unknown"], id="number-for-a-key"),
        pytest.param("image_grounding: {vlm: {gemini: {extra_body: {1: 2}}}}", ["extra_body"], id="number-in-a-body"),
        pytest.param("a: !!python/object:x 1", ["line 1", "tag"], id="python-object"),
        pytest.param("a: \x01", ["spec.yaml", "YAML"], id="control-character"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(data, content, parts):
    text = sentence(write(data, content), *GROUNDING)
    for part in parts:
        assert part in text


def test_a_file_that_cannot_be_read_is_one_sentence(data):
    write(data, "ray: {}", "specs.yaml")
    (data / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    assert '"specs.yaml"' in sentence(Path("spec.yaml"))
    assert "folder" in sentence(data / "images")
    assert "UTF-8" in sentence(data / "bytes.yaml")


def test_a_file_with_a_byte_order_mark_is_read(data):
    (data / "spec.yaml").write_bytes(b"\xef\xbb\xbfray: {actors: 2}\n")
    assert load_settings(data / "spec.yaml", GROUNDING).ray.actors == 2


def test_two_prompts_for_one_step_are_refused(data):
    (data / "prompt.txt").write_text("$phrases")
    text = sentence(None, *GROUNDING, "steps.grounding.prompt=$phrases", "steps.grounding.prompt_file=prompt.txt")
    assert "give one of the two" in text
