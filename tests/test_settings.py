"""The specification: precedence, spellings, every mistake as one sentence, no secret shown, the default file."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from raylabel.errors import ConfigError
from raylabel.pipelines import PIPELINES
from raylabel.settings import STEP_NAMES, Settings, redacted, resolve_steps
from raylabel.specification import default_specification, load_settings
from raylabel.specification.keys import Key, paths

CONFIGS = Path(__file__).parent.parent / "configs"
SECRET = "sk-very-secret-0123456789"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with captions, images and labels; commands run there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.jsonl").write_text('{"image_path": "a.png", "caption": "a red ball"}\n')
    (tmp_path / "seeds.jsonl").write_text('{"image_path": "a.png", "kitti_bboxes": []}\n')
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    return tmp_path


GROUNDING = ["results_dir=out", "image_grounding.data.input_jsonl=captions.jsonl"]
REFERRING = [
    "results_dir=out",
    "autolabel_type=image_referring_expression",
    "image_referring_expression.data.image_dir=images",
    "image_referring_expression.data.kitti_label_dir=labels",
]


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def sentence(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- precedence and spellings ---------------------------------------------------------------------------------------


def test_overrides_win_over_the_file_and_the_file_over_defaults(data):
    spec = write(data, "image_grounding: {workflow: {max_workers: 8}, vlm: {gemini: {temperature: 0.9, timeout: 7}}}")
    settings = load_settings(spec, [*GROUNDING, "image_grounding.vlm.gemini.temperature=0.1"])
    gemini = settings.image_grounding.vlm.gemini
    assert (gemini.temperature, gemini.timeout, gemini.max_output_tokens) == (0.1, 7.0, 8192)
    assert settings.image_grounding.workflow.max_workers == 8


def test_of_two_overrides_of_one_key_the_later_wins(data):
    assert load_settings(None, [*GROUNDING, "ray.actors=1", "ray.actors=2"]).ray.actors == 2


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


@pytest.mark.parametrize("spelling", ["LOW", "MEDIA_RESOLUTION_LOW"])
def test_media_resolution_has_a_short_and_a_long_spelling(data, spelling):
    settings = load_settings(None, [*GROUNDING, f"image_grounding.vlm.gemini.media_resolution={spelling}"])
    assert settings.image_grounding.vlm.gemini.media_resolution == "MEDIA_RESOLUTION_LOW"


def test_interpolations_reach_the_environment_and_other_keys(data, monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)
    text = (
        "image_grounding:\n  vlm: {gemini: {api_key: '${oc.env:MY_KEY}'}, openai: {api_key: '${oc.env:NOT_THERE}'}}\n"
    )
    settings = load_settings(write(data, text + "ray: {actors: '${limits.readings}'}"), GROUNDING)
    assert settings.image_grounding.vlm.gemini.api_key == SECRET
    assert settings.image_grounding.vlm.openai.api_key == "", "a backend that is not used needs no variable"
    assert settings.ray.actors == 3


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


# --- mistakes -------------------------------------------------------------------------------------------------------


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


# --- what a run needs -----------------------------------------------------------------------------------------------


def test_only_the_named_block_needs_its_required_values_and_files(data):
    text = "image_grounding: {data: {input_jsonl: '???', image_root: /not/there}, vlm: {backend: openai}}"
    assert load_settings(write(data, text), REFERRING).image_grounding.data.input_jsonl == ""
    text = "image_referring_expression: {data: {image_dir: '???', kitti_label_dir: /not/there}}"
    assert load_settings(write(data, text), GROUNDING).pipeline is not None


def test_a_model_for_every_chosen_step_stands_in_for_model_name(data):
    chosen = [*GROUNDING, "image_grounding.vlm.backend=openai", "image_grounding.workflow.steps=[0]"]
    assert load_settings(None, [*chosen, "steps.expression_extraction.model=qwen"])
    assert "model_name" in sentence(None, *chosen, "steps.grounding.model=qwen")


def test_step_1_alone_runs_on_the_file_of_step_0_without_an_input(data):
    chosen = ["results_dir=out", "image_grounding.workflow.steps=['1']"]
    assert "step_0_expression_extraction/annotations.jsonl" in sentence(None, *chosen)
    (data / "out" / "step_0_expression_extraction").mkdir(parents=True)
    (data / "out" / "step_0_expression_extraction" / "annotations.jsonl").touch()
    assert load_settings(None, chosen).image_grounding.data.input_jsonl == ""
    assert load_settings(None, [*chosen, "image_grounding.data.input_jsonl=gone.jsonl"]), "it is not read"
    assert "input_jsonl" in sentence(None, "results_dir=out"), "step 0 needs captions"


BLOCK = "image_referring_expression.data"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        pytest.param([], "image_dir: required", id="nothing"),
        pytest.param([f"{BLOCK}.image_dir=images"], "kitti_label_dir: required", id="no-labels"),
        pytest.param([f"{BLOCK}.kitti_label_dir=labels"], "image_dir: required", id="no-images"),
        pytest.param([f"{BLOCK}.image_dir=image", f"{BLOCK}.kitti_label_dir=labels"], '"images"', id="no-such-images"),
        pytest.param([f"{BLOCK}.image_dir=images", f"{BLOCK}.kitti_label_dir=label"], '"labels"', id="no-such-labels"),
        pytest.param([f"{BLOCK}.input_annotations_jsonl=seed.jsonl"], '"seeds.jsonl"', id="no-such-annotations"),
    ],
)
def test_the_referring_pipeline_says_which_input_is_missing(data, given, missing):
    assert missing in sentence(None, *REFERRING[:2], *given)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([f"{BLOCK}.image_dir=images", f"{BLOCK}.kitti_label_dir=labels"], id="folders"),
        pytest.param([f"{BLOCK}.input_annotations_jsonl=seeds.jsonl"], id="annotations"),
        pytest.param(
            [f"{BLOCK}.input_annotations_jsonl=seeds.jsonl", f"{BLOCK}.image_dir=images"], id="and-their-root"
        ),
        pytest.param(["results_dir=s3://bucket/out"], id="remote-results-are-looked-at-later"),
        pytest.param([f"{BLOCK}.image_dir=s3://b/i", f"{BLOCK}.kitti_label_dir=gs://b/l"], id="remote-folders"),
    ],
)
def test_the_referring_pipeline_takes_each_form_of_input(data, given):
    assert load_settings(None, [*REFERRING[:2], *given])


@pytest.mark.parametrize(
    "left", ["seed_annotations.jsonl", "annotations.jsonl", "step_2_grounding_expr/annotations.jsonl"]
)
def test_an_earlier_referring_run_is_input_enough(data, left):
    (data / "out" / left).parent.mkdir(parents=True)
    (data / "out" / left).touch()
    assert load_settings(None, REFERRING[:2])


def test_remote_paths_are_not_looked_for_on_this_machine(data):
    remote = ["results_dir=gs://bucket/out", "image_grounding.data.input_jsonl=s3://bucket/captions.jsonl"]
    settings = load_settings(None, [*remote, "image_grounding.data.image_root=s3://bucket/images"])
    assert settings.results_dir == "gs://bucket/out"


# --- specifications made by TAO -------------------------------------------------------------------------------------

TAO = """
gpu_ids: [0]
num_gpus: 1
batch_size: 4
num_workers: 8
results_dir: ''
autolabel_type: image_grounding
encryption_key: x
mal: {dataset: {type: coco}, checkpoint: ''}
grounding_dino: {train: {}, iteration_scheduler: [{conf_threshold: 0.5}]}
video_reasoning_annotation: {vlm: {backend: gemini}, workflow: {long_video_max_frames: 60}}
image_grounding:
  vlm:
    backend: gemini
    gemini: {api_key: '', model: gemini-3.1-flash-lite-preview, media_resolution: MEDIA_RESOLUTION_LOW, timeout: 120}
    openai: {api_key: '', base_url: '', model_name: '', temperature: 0.7, max_tokens: 4096, timeout: 60}
  workflow: {steps: ['0', '1'], max_workers: 4, force_reprocess: false, long_video_threshold_sec: 60}
  data: {input_jsonl: '', image_root: ''}
image_referring_expression:
  workflow: {steps: ['0', '1', '2', '3'], output_format: jsonl, long_video_sample_fps: 0.5}
  data: {image_dir: '', kitti_label_dir: '', input_annotations_jsonl: ''}
"""


def test_keys_of_other_tasks_in_a_tao_specification_are_ignored_with_one_warning(data, caplog):
    with caplog.at_level(logging.WARNING):
        settings = load_settings(write(data, TAO), [*GROUNDING, "num_gpus=2", "mal.train.seed=1"])
    (record,) = caplog.records
    ignored = record.getMessage()
    for key in ("gpu_ids", "mal", "grounding_dino", "video_reasoning_annotation", "encryption_key", "mal.train.seed"):
        assert key in ignored
    assert "image_grounding.workflow.long_video_threshold_sec" in ignored
    assert "image_referring_expression.workflow.long_video_sample_fps" in ignored
    assert ignored.count("num_gpus") == 1
    assert settings.image_grounding.vlm.gemini.timeout == 120.0


def test_a_clean_specification_gives_no_warning(data, caplog):
    load_settings(None, GROUNDING)
    assert caplog.records == []


# --- secrets --------------------------------------------------------------------------------------------------------


def test_no_secret_survives_redaction(data):
    settings = load_settings(
        None,
        [
            *GROUNDING,
            f"image_grounding.vlm.gemini.api_key={SECRET}",
            f"image_grounding.vlm.gemini.model=tuned-{SECRET}",
            "image_grounding.vlm.openai.api_key=EMPTY",
            "image_grounding.vlm.openai.api_key_env=MY_KEY",
            f"image_grounding.vlm.openai.base_url=http://me:{SECRET}@host:8000/v1?access_token={SECRET}&n=1",
            f"image_grounding.vlm.openai.extra_body={{headers: {{Authorization: Bearer {SECRET}, X-Trace: on}}}}",
            "image_grounding.vlm.openai.extra_body.seed=7",
            f"image_grounding.vlm.openai.extra_body.passwords=[{SECRET}]",
            f"image_grounding.vlm.openai.extra_body.hook=see https://a:{SECRET}@b/c",
            "image_grounding.vlm.openai.extra_body.max_tokens=5",
            f"steps.grounding.extra_body.client_secret={SECRET}",
        ],
    )
    plain = redacted(settings)
    assert SECRET not in json.dumps(plain)
    vlm = plain["image_grounding"]["vlm"]
    assert vlm["gemini"]["api_key"] == "***"
    assert vlm["openai"]["api_key"] == "***"
    assert vlm["openai"]["api_key_env"] == "MY_KEY"
    assert vlm["openai"]["base_url"] == "http://***@host:8000/v1?access_token=***&n=1"
    assert vlm["openai"]["extra_body"] == {
        "headers": {"Authorization": "***", "X-Trace": True},
        "seed": 7,
        "passwords": "***",
        "hook": "see https://***@b/c",
        "max_tokens": 5,
    }
    assert plain["image_referring_expression"]["vlm"]["gemini"]["api_key"] == "", "not set is no secret"
    assert settings.image_grounding.vlm.gemini.api_key == SECRET, "the settings themselves are untouched"


def test_redaction_changes_nothing_where_there_is_no_secret(data):
    settings = load_settings(None, [*GROUNDING, "image_grounding.vlm.openai.base_url=http://h:1/v1?a=b"])
    assert redacted(settings) == dataclasses.asdict(settings)


@pytest.mark.parametrize(
    "override",
    [
        pytest.param(f"image_grounding.vlm.openai.api_ky={SECRET}", id="key-misspelled"),
        pytest.param(f"image_grounding.vlm.openai.api_key:{SECRET}", id="no-equals-sign"),
        pytest.param(f"image_grounding.vlm.openai.api_key_env={SECRET}", id="key-for-a-name"),
        pytest.param(f"image_grounding.vlm.openai.base_url=ftp://me:{SECRET}@h/v1", id="url-without-http"),
        pytest.param(f"image_grounding.vlm.openai.extra_body={{token: {SECRET}", id="body-cut-off"),
    ],
)
def test_a_message_never_shows_a_key(data, override):
    assert SECRET not in sentence(None, *GROUNDING, override)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"image_grounding: {{vlm: {{openai: {{api_key: {SECRET}", id="cut-off"),
        pytest.param(f"image_grounding: {{vlm: {{openai: {{api_key: [{SECRET}]}}}}}}", id="list"),
        pytest.param(f"image_grounding: {{vlm: {{openai: {{api_key: {{{SECRET}: 1}}}}}}}}", id="block"),
        pytest.param(f"a: '{SECRET}\nb: c", id="quote"),
    ],
)
def test_a_message_about_a_file_never_shows_a_key(data, content):
    assert SECRET not in sentence(write(data, content), *GROUNDING)


# --- the default specification --------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [GROUNDING, REFERRING], ids=["grounding", "referring"])
def test_the_default_specification_loads_once_the_question_marks_are_given(data, caplog, given):
    settings = load_settings(write(data, default_specification()), given)
    expected = load_settings(None, given)
    expected.image_referring_expression.workflow.output_format = "both"
    assert settings == expected
    assert caplog.records == []


def test_the_default_specification_holds_every_setting_with_its_comment():
    text = default_specification()
    content = yaml.safe_load(text)
    for path, member in paths().items():
        node = content
        for name in path.split("."):
            assert name in node, path
            node = node[name]
        assert member.doc, f"{path} has no documentation in settings.py"
        if isinstance(member, Key):
            assert member.doc.split()[0] in text
    assert content["results_dir"] == content["image_grounding"]["data"]["input_jsonl"] == "???"
    assert content["image_referring_expression"]["data"]["image_dir"] == "???"
    assert content["image_referring_expression"]["workflow"]["output_format"] == "both"


@pytest.mark.parametrize("pipeline", STEP_NAMES)
def test_the_default_specification_of_one_pipeline_names_it_and_holds_no_other(data, pipeline):
    content = yaml.safe_load(default_specification(pipeline))
    assert content["autolabel_type"] == pipeline
    assert [name for name in STEP_NAMES if name in content] == [pipeline]


# --- the recipes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_loads_where_its_data_is_and_says_how_to_run_it(tmp_path, monkeypatch, caplog, path):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    block = content[content["autolabel_type"]]
    for key, value in block["data"].items():
        assert not Path(value).is_absolute()
        if key.endswith("jsonl"):
            Path(value).parent.mkdir(parents=True, exist_ok=True)
            Path(value).touch()
        else:
            Path(value).mkdir(parents=True, exist_ok=True)
    settings = load_settings(path)
    assert isinstance(settings, Settings)
    assert caplog.records == []
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# python -m raylabel run configs/")
    assert f"configs/{path.name}" in first


def test_there_is_a_recipe_for_each_endpoint_and_pipeline():
    assert {p.stem for p in CONFIGS.glob("*.yaml")} == {
        f"{endpoint}_{pipeline}"
        for endpoint in ("gemini", "openai_nim", "vllm", "demo")
        for pipeline in ("image_grounding", "referring")
    }
