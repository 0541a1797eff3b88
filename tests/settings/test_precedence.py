"""What wins over what in a specification, and how values may be spelled."""

from __future__ import annotations

import json

import pytest

from raylabel.pipelines import PIPELINES
from raylabel.settings import STEP_NAMES, load_settings, redacted, resolve_steps
from tests.settings.specifying import GROUNDING, SECRET, write


@pytest.mark.tao_row("defaults < file < overrides")
def test_overrides_win_over_the_file_and_the_file_over_defaults(data):
    spec = write(data, "image_grounding: {workflow: {max_workers: 8}, vlm: {gemini: {temperature: 0.9, timeout: 7}}}")
    settings = load_settings(spec, [*GROUNDING, "image_grounding.vlm.gemini.temperature=0.1"])
    gemini = settings.image_grounding.vlm.gemini
    assert (gemini.temperature, gemini.timeout, gemini.max_output_tokens) == (0.1, 7.0, 8192)
    assert settings.image_grounding.workflow.max_workers == 8


@pytest.mark.tao_row("defaults < file < overrides")
def test_of_two_overrides_of_one_key_the_later_wins(data):
    assert load_settings(None, [*GROUNDING, "ray.actors=1", "ray.actors=2"]).ray.actors == 2


@pytest.mark.tao_row("empty values mean not set")
@pytest.mark.parametrize(
    ("override", "value"),
    [
        pytest.param("image_grounding.vlm.gemini.model=", "gemini-3.1-flash-lite-preview", id="empty-is-the-default"),
        pytest.param("image_grounding.vlm.gemini.model=null", "gemini-3.1-flash-lite-preview", id="null-likewise"),
        pytest.param("image_grounding.vlm.gemini.model='a b'", "a b", id="quoted"),
        pytest.param("image_grounding.vlm.gemini.model=a: b, [c", "a: b, [c", id="text-is-not-read-as-yaml"),
        pytest.param("image_grounding.vlm.gemini.model=0123", "0123", id="digits-stay-text"),
        pytest.param("image_grounding.vlm.gemini.model=yes", "yes", id="yes-stays-text"),
        pytest.param("image_grounding.vlm.gemini.model=a=b", "a=b", id="equals-signs-after-the-first"),
    ],
)
def test_values_of_text_settings_on_the_command_line(data, override, value):
    spec = write(data, "image_grounding: {vlm: {gemini: {model: from-the-file}}}")
    assert load_settings(spec, [*GROUNDING, override]).image_grounding.vlm.gemini.model == value


@pytest.mark.tao_row("empty values mean not set")
def test_empty_and_null_values_in_a_file_mean_not_set(data):
    text = "image_grounding:\n  vlm: {gemini: {model: '', timeout: null, thinking_budget: }}\n  workflow:\nray:\n"
    settings = load_settings(write(data, text), GROUNDING)
    assert settings.image_grounding == load_settings(None, GROUNDING).image_grounding


def test_numbers_lists_and_blocks_on_the_command_line(data):
    settings = load_settings(
        None,
        [
            *GROUNDING,
            "image_grounding.workflow.steps=[0,1]",
            "image_grounding.workflow.force_reprocess=true",
            "limits.max_failure_rate=1e-2",
            "image_grounding.vlm.gemini.thinking_budget=-1",
            "image_grounding.vlm.gemini.extra_body={a: {b: 1}}",
            "image_grounding.vlm.gemini.extra_body.a.c=2",
            "steps.grounding.extra_body.chat_template_kwargs.enable_thinking=false",
        ],
    )
    assert settings.image_grounding.workflow.steps == ["expression_extraction", "grounding"]
    assert settings.image_grounding.workflow.force_reprocess is True
    assert settings.limits.max_failure_rate == 0.01
    assert settings.image_grounding.vlm.gemini.thinking_budget == -1
    assert settings.image_grounding.vlm.gemini.extra_body == {"a": {"b": 1, "c": 2}}
    assert settings.steps.grounding.extra_body == {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.mark.tao_row("steps by number or by name")
@pytest.mark.parametrize(
    ("pipeline", "steps", "names"),
    [
        pytest.param("image_grounding", ["1", "0"], ["expression_extraction", "grounding"], id="pipeline-order"),
        pytest.param("image_grounding", [1], ["grounding"], id="number"),
        pytest.param("image_grounding", ["grounding", "1"], ["grounding"], id="each-once"),
        pytest.param("image_grounding", ["step0_expression_extraction"], ["expression_extraction"], id="as-in-records"),
        pytest.param("image_referring_expression", ["step_3_double_check"], ["double_check"], id="as-the-folder"),
        pytest.param(
            "image_referring_expression",
            ["3", "image_caption", 0],
            ["region_expr", "image_caption", "double_check"],
            id="mixed",
        ),
    ],
)
def test_steps_are_named_by_number_or_name(pipeline, steps, names):
    assert resolve_steps(pipeline, steps) == names
    assert resolve_steps(pipeline, names) == names


def test_the_specification_knows_the_steps_of_the_pipelines():
    assert {name: tuple(s.name for s in steps) for name, steps in PIPELINES.items()} == STEP_NAMES


@pytest.mark.tao_row("LOW, MEDIUM and HIGH")
@pytest.mark.parametrize("spelling", ["LOW", "MEDIA_RESOLUTION_LOW"])
def test_media_resolution_has_a_short_and_a_long_spelling(data, spelling):
    settings = load_settings(None, [*GROUNDING, f"image_grounding.vlm.gemini.media_resolution={spelling}"])
    assert settings.image_grounding.vlm.gemini.media_resolution == "MEDIA_RESOLUTION_LOW"


def test_interpolations_reach_the_environment_and_other_keys(data, monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)
    text = (
        "image_grounding:\n  vlm: {gemini: {api_key: '${oc.env:MY_KEY}'}, openai: {api_key: '${oc.env:NOT_THERE}'}}\n"
    )
    settings = load_settings(write(data, text + "ray: {actors: '${limits.max_attempts_per_question}'}"), GROUNDING)
    assert settings.image_grounding.vlm.gemini.api_key == SECRET
    assert settings.image_grounding.vlm.openai.api_key == "", "a backend that is not used needs no variable"
    assert settings.ray.actors == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [("image.refuse_pixels", "image.max_decode_pixels"), ("limits.readings", "limits.max_attempts_per_question")],
)
def test_an_earlier_name_of_a_key_is_read_with_one_warning(data, caplog, old, new):
    block, name = old.split(".")
    spec = write(data, f"{block}: {{{name}: 7}}\nray: {{actors: '${{{old}}}'}}")
    for overrides, value in (([], 7), ([f"{old}=9"], 9), ([f"{new}=9"], 9)):
        caplog.clear()
        settings = load_settings(spec, [*GROUNDING, *overrides])
        assert getattr(getattr(settings, block), new.split(".")[1]) == settings.ray.actors == value
        (record,) = caplog.records
        assert record.getMessage().startswith(f"{old} is called {new} now")
    assert name not in redacted(settings)[block]


def test_a_tilde_means_the_home_folder(data, monkeypatch):
    monkeypatch.setenv("HOME", str(data))
    settings = load_settings(None, ["results_dir=~/out", "image_grounding.data.input_jsonl=~/captions.jsonl"])
    assert settings.results_dir == str(data / "out")
    assert settings.image_grounding.data.input_jsonl == str(data / "captions.jsonl")


def test_an_escaped_interpolation_is_text(data):
    settings = load_settings(None, [*GROUNDING, r"image_grounding.vlm.gemini.model=\${a}"])
    assert settings.image_grounding.vlm.gemini.model == "${a}"


def test_a_prompt_keeps_its_placeholders(data):
    prompt = "Find ${phrases} as $box_format; price $$5"
    settings = load_settings(write(data, json.dumps({"steps": {"grounding": {"prompt": prompt}}})), GROUNDING)
    assert settings.steps.grounding.prompt == prompt
