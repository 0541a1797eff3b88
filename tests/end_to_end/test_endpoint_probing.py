"""What a run finds out about its endpoint before it asks anything else, and what it asks again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from raylabel.cli import main
from raylabel.demo.score import claims, missed_targets, score_image_grounding, score_referring, separation
from raylabel.demo.world import World, build_world
from raylabel.errors import CalibrationError, ConfigError
from raylabel.settings import load_settings
from tests.end_to_end.running import (
    CAPTION,
    EXTRACTION,
    GROUNDING,
    WireServer,
    command,
    grounding,
    journaled_server,
    label,
    read_lines,
    referring,
    says,
    served_as,
    unknown,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 5, seed=3)


# --- verdicts -------------------------------------------------------------------------------------------------------


def test_a_verdict_is_kept_and_a_finished_run_asks_nothing_not_even_whether_the_server_is_there(
    world: World, tmp_path: Path
) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "xyxy1000") as server:
        settings = unknown(grounding(world, tmp_path / "r", server.url))
        first = label(settings, limit=2)
        assert "(measured, mean IoU" in first.printed
        probes = server.asked()[GROUNDING]
        assert probes > 16
        second = label(settings)
        assert "(measured, mean IoU" in second.printed
        asked = server.asked()
        assert asked[CAPTION] == 0, "neither probes of schemas"
        assert asked[GROUNDING] == asked[EXTRACTION], "nor of boxes were sent again"
    third = label(settings)
    assert third.code == 0
    assert third.manifest["models"] == second.manifest["models"]


def test_what_one_run_found_out_is_not_asked_again_by_a_run_of_other_steps(world: World, tmp_path: Path) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "xyxy1000") as server:
        settings = unknown(grounding(world, tmp_path / "r", server.url))
        settings.pipeline.workflow.steps = ["expression_extraction"]
        assert label(settings).code == 0
        assert server.asked() == {EXTRACTION: len(read_lines(world.captions_path)), CAPTION: 1}, "one probe of schemas"
        settings.pipeline.workflow.steps = ["grounding"]
        assert label(settings).code == 0
        assert set(server.asked()) == {GROUNDING}


def test_a_family_that_is_known_by_name_is_verified_by_a_single_request(world: World, tmp_path: Path) -> None:
    options = ["--boxes", "qwen2.5-vl", "--reports-model", "my-alias", "--model-root", "/data/Qwen2.5-VL-7B-Instruct"]
    with journaled_server(tmp_path / "s", *options) as server:
        ran = label(served_as(unknown(grounding(world, tmp_path / "r", server.url)), "my-alias"))
        assert ran.code == 0
        (verdict,) = ran.manifest["models"].values()
        assert (verdict["how"], verdict["profile"]["name"], verdict["requests"]) == ("verified", "qwen2.5-vl", 1)
        assert verdict["served"][0] == "/data/Qwen2.5-VL-7B-Instruct"
        asked = server.asked()
        assert asked[GROUNDING] == asked[EXTRACTION] + 1
    assert missed_targets(score_image_grounding(world.truth, ran.annotations)) == []


@pytest.mark.parametrize(
    ("dialect", "name", "family"),
    [
        ("internvl", "OpenGVLab/InternVL3-8B", "internvl"),
        ("florence-2", "microsoft/Florence-2-large", "florence-2"),
        ("claude", "claude-sonnet-4-5", "claude"),
    ],
)
def test_a_family_is_asked_in_its_own_words_and_read_right(
    dialect: str, name: str, family: str, world: World, tmp_path: Path
) -> None:
    """Of the others: ``probing/test_demo_models.py`` and ``steps/test_families.py``."""
    with journaled_server(tmp_path / "s", "--boxes", dialect, "--reports-model", name) as server:
        ran = label(served_as(unknown(grounding(world, tmp_path / "r", server.url)), name))
    (verdict,) = ran.manifest["models"].values()
    assert (verdict["how"], verdict["profile"]["name"]) == ("verified", family)
    scores = score_image_grounding(world.truth, ran.annotations)
    assert scores["recall"] >= 0.97, scores
    assert scores["mean_iou"] >= 0.9, scores


def test_a_name_that_lies_is_found_out_and_the_measure_wins(world: World, tmp_path: Path) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "pixels", "--reports-model", "Qwen3-VL-8B-Instruct") as server:
        ran = label(served_as(unknown(grounding(world, tmp_path / "r", server.url)), "Qwen3-VL-8B-Instruct"))
    (verdict,) = ran.manifest["models"].values()
    assert verdict["how"] == "measured"
    assert verdict["profile"]["convention"]["scale"] is None
    assert "qwen3-vl" in verdict["note"]
    assert score_image_grounding(world.truth, ran.annotations)["recall"] == 1.0


def test_without_calibration_an_unknown_model_is_refused_and_steps_without_boxes_need_no_word_of_it(
    world: World, tmp_path: Path
) -> None:
    with journaled_server(tmp_path / "s") as server:
        settings = unknown(grounding(world, tmp_path / "r", server.url))
        settings.pipeline.vlm.calibrate = "never"
        with pytest.raises(CalibrationError, match=r"vlm\.boxes or vlm\.profile"):
            label(settings)
        assert server.asked() == {}
        settings.pipeline.workflow.steps = ["expression_extraction"]
        assert label(settings).code == 0
        assert set(server.asked()) == {EXTRACTION}


def test_a_model_that_does_not_see_is_told_so(world: World, tmp_path: Path) -> None:
    """A model that boxes the whole image, whatever it is asked for."""
    with (
        WireServer(lambda seen: says('[{"id": 1, "bbox_2d": [0, 0, 1000, 1000]}]')) as server,
        pytest.raises(CalibrationError, match="does not localise"),
    ):
        label(unknown(grounding(world, tmp_path / "r", server.url)))
    assert not (tmp_path / "r" / "annotations.jsonl").exists()


# --- the command ----------------------------------------------------------------------------------------------------


def test_calibrate_prints_the_verdict_and_draws_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "gemini") as server:
        config = {
            "results_dir": "r",
            "image_grounding": {
                "vlm": {"backend": "openai", "openai": {"base_url": f"{server.url}/v1", "model_name": "x/unknown"}},
                "data": {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)},
            },
        }
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        ended = command("calibrate", "config.yaml", "--out", "drawn", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "x/unknown: yxyx, 0-1000 (measured, mean IoU 1.00" in ended.stdout
        (drawn,) = (tmp_path / "drawn").glob("*.png")
        with Image.open(drawn) as image:
            assert image.width > 600
        server.entries()
        monkeypatch.chdir(tmp_path)
        assert main(["calibrate", "config.yaml", "image_grounding.vlm.boxes.order=xyxy"]) == 2
        said = capsys.readouterr().err
        assert "vlm.boxes or vlm.profile says xyxy, 0-1000; the answers fit yxyx, 0-1000" in said
        ran = label(load_settings(Path("config.yaml")))
        assert ran.code == 0, ran.printed
    assert score_image_grounding(world.truth, ran.annotations)["recall"] == 1.0


# --- schemas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "schema", "form"),
    [
        ("openai", "json_schema", "native"),
        ("openai", "structured_outputs", "structured_outputs"),
        ("openai", "ignore", "none"),
        ("openai", "reject", "none"),
        ("openai", "empties", "native"),
        ("gemini", "response_schema", "response_schema"),
        ("gemini", "reject", "none"),
    ],
)
def test_schemas_are_used_as_the_endpoint_takes_them_and_no_record_is_lost(
    backend: str, schema: str, form: str, world: World, tmp_path: Path
) -> None:
    options = ["--schema", schema, "--boxes", "xyxy1000"]
    with journaled_server(tmp_path / "s", *options) as server:
        settings = unknown(referring(world, tmp_path / "r", server.url, backend=backend))
        ran = label(settings)
    assert ran.code == 0, ran.printed
    assert ran.manifest["schema_form"] == form
    assert missed_targets(score_referring(world.truth, ran.annotations)) == []


def test_boxes_that_come_back_emptied_under_a_schema_are_asked_for_plainly(world: World, tmp_path: Path) -> None:
    name = "claude-sonnet-4-5"
    options = ["--schema", "empties", "--boxes", "claude", "--reports-model", name]
    with journaled_server(tmp_path / "s", *options) as server:
        ran = label(served_as(unknown(grounding(world, tmp_path / "r", server.url)), name))
    assert ran.code == 0, ran.printed
    assert score_image_grounding(world.truth, ran.annotations)["recall"] >= 0.97


# --- votes ----------------------------------------------------------------------------------------------------------


def test_votes_find_what_single_answers_miss_and_their_scores_are_the_agreement(world: World, tmp_path: Path) -> None:
    recall, told_apart = {}, {}
    with journaled_server(tmp_path / "s", "--boxes", "xyxy1000", "--noise", "0.8") as server:
        for votes in (1, 5):
            workflow = "image_grounding.workflow"
            words = [f"{workflow}.votes={votes}", f"{workflow}.min_agreement=0.2", "steps.grounding.temperature=0.7"]
            settings = grounding(world, tmp_path / f"r{votes}", server.url, *words)
            ran = label(settings)
            assert ran.code == 0
            asked = server.asked()
            assert asked[GROUNDING] == votes * asked[EXTRACTION]
            scores = [i["score"] for line in ran.annotations for e in line["expressions"] for i in e["instances"]]
            allowed = {0.9} if votes == 1 else {0.2, 0.4, 0.6, 0.8, 1.0}
            assert set(scores) <= allowed
            recall[votes] = score_image_grounding(world.truth, ran.annotations)["recall"]
            told_apart[votes] = separation(claims(world.truth, ran.annotations))
            again = label(settings)
            assert (again.annotations, server.asked()) == (ran.annotations, {})
    assert recall[5] > recall[1]
    assert told_apart[1] == 0.5 < 0.7 < told_apart[5]


def test_several_models_take_turns_in_voting(world: World, tmp_path: Path) -> None:
    with journaled_server(tmp_path / "s", "--boxes", "xyxy1000") as server:
        settings = unknown(grounding(world, tmp_path / "r", server.url))
        workflow = settings.image_grounding.workflow
        workflow.voters, workflow.votes = ["one", "other"], 2
        ran = label(settings)
    assert ran.code == 0
    assert set(ran.manifest["models"]) == {"one", "other"}
    assert score_image_grounding(world.truth, ran.annotations)["recall"] == 1.0


def test_votes_of_one_model_at_temperature_zero_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="temperature 0"):
        grounding(world, tmp_path / "r", "http://127.0.0.1:9", "image_grounding.workflow.votes=3")


# --- whose words, and from where --------------------------------------------------------------------------------------


def test_a_users_own_prompt_is_what_the_probes_ask_too(world: World, tmp_path: Path) -> None:
    with WireServer() as server:
        settings = unknown(grounding(world, tmp_path / "r", server.url))
        settings.steps.grounding.prompt = "Look closely:\n$phrases\nOne entry a box: id, $box_key as $box_format."
        ran = label(settings)
        asked = [seen.text for seen in server.seen if seen.task == GROUNDING]
    assert ran.code == 0
    assert len(asked) > 16
    assert all(text.startswith("Look closely:") for text in asked)
    assert score_image_grounding(world.truth, ran.annotations)["recall"] == 1.0
