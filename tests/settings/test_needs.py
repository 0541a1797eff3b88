"""What a run needs, and specifications made by TAO."""

from __future__ import annotations

import logging

import pytest

from raylabel.pipelines import PIPELINES
from raylabel.settings import load_settings
from tests.settings.specifying import GROUNDING, REFERRING, sentence, write

# --- what a run needs ------------------------------------------------------------------------------------------------


@pytest.mark.tao_row("only the block that autolabel_type names needs its required fields")
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


def test_what_does_not_look_at_the_input_needs_none(data):
    for pipeline in PIPELINES:
        assert load_settings(None, ["results_dir=out", f"autolabel_type={pipeline}"], needs_input=False)


def test_a_prompt_that_does_not_tell_how_boxes_are_written_is_warned_of(data, caplog):
    load_settings(None, [*GROUNDING, "steps.grounding.prompt=Find $phrases as $box_key: ${box_format}"])
    assert caplog.records == []
    (data / "prompt.txt").write_text("Find $phrases as $box_key")
    load_settings(None, [*GROUNDING, "steps.grounding.prompt_file=prompt.txt"])
    (record,) = caplog.records
    assert record.getMessage().startswith("steps.grounding.prompt_file: the prompt does not hold $box_format, so")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(["phrases=[car,'--']"], "holds neither a letter nor a digit", id="no-letter"),
        pytest.param(["phrases=car"], "phrases", id="a-text"),
        pytest.param(["phrases_file=gone.txt"], 'phrases_file: no file "gone.txt"', id="no-file"),
        pytest.param(["phrases=[car]", "phrases_file=captions.jsonl"], "give one of the two", id="both"),
    ],
)
def test_mistakes_in_phrases_are_told_in_a_sentence(data, given, said):
    assert said in sentence(None, *GROUNDING, *(f"image_grounding.data.{one}" for one in given))


BLOCK = "image_referring_expression.data"


@pytest.mark.tao_row("image_dir and kitti_label_dir are optional beside input_annotations_jsonl")
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


@pytest.mark.tao_row("image_dir and kitti_label_dir are optional beside input_annotations_jsonl")
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


# --- specifications made by TAO --------------------------------------------------------------------------------------


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


@pytest.mark.tao_row("keys of other tasks in a generated specification are ignored with one warning")
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
