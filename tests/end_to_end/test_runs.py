"""Whole runs against the demo server: what stands in the files, and what was asked for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from raylabel.demo.score import missed_targets, score_image_grounding, score_referring
from raylabel.demo.world import World, build_world
from raylabel.errors import InputError
from raylabel.settings import load_settings
from tests.end_to_end.running import (
    CAPTION,
    CHECK,
    EXTRACTION,
    GROUNDING,
    GROUPING,
    REGIONS,
    JournaledServer,
    Json,
    WireServer,
    captions_override,
    grounding,
    journaled_server,
    label,
    read_lines,
    referring,
    write_lines,
)

pytestmark = pytest.mark.slow

EXTRACTED = Path("step_0_expression_extraction") / "annotations.jsonl"
STEPS = "image_grounding.workflow.steps"
REFERRING_STEPS = "image_referring_expression.workflow.steps"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 6, seed=3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JournaledServer]:
    with journaled_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh_journal(server: JournaledServer) -> None:
    server.entries()


def test_a_specification_that_comes_back_gets_its_own_labels_back(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    first = label(grounding(world, results, server.url))
    label(grounding(world, results, server.url, "steps.grounding.model=another"))
    server.entries()
    again = label(grounding(world, results, server.url))
    assert again.annotations == first.annotations
    assert server.entries() == [], "all of it was answered before"


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.tao_row("unfinished fields are absent; each record carries the outcome of its steps")
@pytest.mark.tao_row("a missing or corrupt image turns into a text-only request")
@pytest.mark.tao_row("unparsable input lines vanish uncounted")
def test_bad_images_and_bad_lines_are_told_and_the_others_are_labeled(world: World, tmp_path: Path) -> None:
    good = read_lines(world.captions_path)
    for file in world.images_dir.iterdir():
        shutil.copy(file, tmp_path)
    whole = Image.effect_mandelbrot((431, 257), (-2, -1.5, 1, 1.5), 50)
    whole.save(tmp_path / "whole.jpg")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    bad = [
        {"image_path": f"{name}", "caption": "a red ring that nobody may be asked about"}
        for name in ("missing.png", "empty.png", "truncated.jpg", "text.jpg")
    ]
    lines: list[Json | str] = [
        *good[:2],
        bad[0],
        '{"image_path": "cut off',
        *good[2:4],
        bad[1],
        {"caption": "a picture without a path"},
        bad[2],
        bad[3],
        {"image_path": "whole.jpg", "caption": 7},
        *good[4:],
    ]
    overrides = [captions_override(tmp_path / "captions.jsonl", lines), f"image_grounding.data.image_root={tmp_path}"]
    overrides.append("limits.max_failure_rate=0.9")
    with WireServer() as wire:
        ran = label(grounding(world, tmp_path / "results", wire.url, *overrides))

        assert ran.code == 3
        assert ran.counts["records"] == {"labeled": len(good), "failed": 4}
        assert ran.counts["unusable_lines"] == 3
        assert not [seen for seen in wire.seen if "nobody may be asked" in seen.text]
        assert wire.asked() == {EXTRACTION: len(good), GROUNDING: len(good)}
        labeled = [line for line in ran.annotations if line["outcome"] == "labeled"]
        assert [line["caption"] for line in labeled] == [line["caption"] for line in good]
        failed = [line for line in ran.annotations if line["outcome"] == "failed"]
        assert len(failed) == 4
        assert not [line for line in failed if "expressions" in line or "cleaned_caption" in line]

        unusable = {line["line_number"]: line["reason"] for line in ran.failures if "line_number" in line}
        assert sorted(unusable) == [4, 8, 11]
        assert '"image_path"' in unusable[8]
        assert '"caption"' in unusable[11]
        reasons = {Path(line["image_path"]).name: line["reason"] for line in ran.failures if "image_path" in line}
        assert sorted(reasons) == ["empty.png", "missing.png", "text.jpg", "truncated.jpg"]
        assert all(reasons.values())

        shutil.copy(world.images_dir / world.truth["images"][1]["file"], tmp_path / "missing.png")
        again = label(grounding(world, tmp_path / "results", wire.url, *overrides))

        assert again.code == 3
        assert again.counts["records"] == {"labeled": len(good), "nothing": 1, "failed": 3}, "no ring is in the picture"
        assert wire.asked() == {EXTRACTION: 1, GROUNDING: 1}
        assert "missing.png" not in {Path(line.get("image_path", "")).name for line in again.failures}
        before = {line["record_id"]: line for line in labeled}
        assert {line["record_id"]: line for line in again.annotations}.items() >= before.items()


def test_nothing_to_label_is_settled_and_nothing_is_made_up(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    file = world.truth["images"][0]["file"]
    captions = captions_override(tmp_path / "c.jsonl", [{"image_path": file, "caption": "It is a sunny day."}])
    ran = label(grounding(world, tmp_path / "grounding", server.url, captions))

    assert ran.code == 0
    assert server.asked() == {EXTRACTION: 1}
    assert ran.annotations[0]["outcome"] == "nothing"
    assert ran.annotations[0]["expressions"] == []
    assert ran.annotations[0]["outcomes"] == {"step0_expression_extraction": "nothing", "step1_grounding": "skipped"}

    few = build_world(tmp_path / "few", 3, seed=5)
    unlabeled = few.truth["images"][1]["image_id"]
    (few.labels_dir / f"{unlabeled}.txt").unlink()
    ran = label(referring(few, tmp_path / "referring", server.url))

    assert ran.code == 0
    assert ran.counts["records"] == {"labeled": 2, "skipped": 1}
    outcomes = {line["image_id"]: line["outcomes"] for line in ran.annotations}
    assert outcomes[unlabeled] == {
        "step0_region_expr": "skipped",
        "step1_image_caption": "labeled",
        "step2_grounding_expr": "skipped",
        "step3_double_check": "skipped",
    }
    assert server.asked()[REGIONS] >= 2
    assert ran.failures == []


# --- identity -------------------------------------------------------------------------------------------------------


@pytest.mark.tao_row("several lines may name one image")
@pytest.mark.tao_row(
    "annotations.jsonl in input order; a file for each step; seed_annotations.jsonl; checkpoints beside them"
)
@pytest.mark.tao_row("new inputs are ignored once an output file exists")
def test_lines_that_share_an_id_an_image_or_everything_stay_records_of_their_own(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    first, second = (world.images_dir / world.truth["images"][n]["file"] for n in (1, 4))
    odd = tmp_path / "images" / "sub dir" / "ünï – код.png"
    odd.parent.mkdir(parents=True)
    shutil.copy(first, odd)
    shutil.copy(second, tmp_path / "images" / "b.png")
    ring: Json = {"image_path": "b.png", "caption": "The small yellow ring.", "image_id": "same"}
    lines: list[Json] = [
        {"image_path": "sub dir/ünï – код.png", "caption": "a blue star", "image_id": "same"},
        {"image_path": "sub dir/../sub dir/ünï – код.png", "caption": "blue stars", "image_id": "../../escaped"},
        ring,
        ring,
        {"image_path": "b.png", "caption": "an orange circle and a yellow ring", "image_id": "same"},
        ring,
        {"image_path": "b.png", "caption": "an orange bar", "image_id": "a/b c/ünï", "note": {"kept": [1, "ü"]}},
        {"image_path": "b.png", "caption": "a yellow ring and a yellow ring", "image_id": 42},
    ]
    captions = captions_override(tmp_path / "captions.jsonl", lines)
    overrides = [captions, f"image_grounding.data.image_root={tmp_path / 'images'}"]
    ran = label(grounding(world, tmp_path / "deep" / "results", server.url, *overrides))

    assert ran.code == 0
    made = ran.annotations
    assert [line["image_id"] for line in made] == [line["image_id"] for line in lines]
    assert [line["caption"] for line in made] == [line["caption"] for line in lines]
    assert made[6]["note"] == {"kept": [1, "ü"]}
    assert len({line["record_id"] for line in made}) == len(lines)
    expressions = [expression for line in made for expression in line["expressions"]]
    assert len({e["expression_id"] for e in expressions}) == len(expressions)
    boxes = [instance["bbox_id"] for e in expressions for instance in e["instances"]]
    assert len(set(boxes)) == len(boxes) >= len(lines)
    assert [e["char_span"] for e in made[7]["expressions"]] == [[2, 13], [20, 31]]
    entries = server.entries()
    assert len({entry["question"] for entry in entries}) == len(entries)
    # The lines about the ring ask the same, and so do equal phrases of one image.
    assert sum(entry["task"] == EXTRACTION for entry in entries) == len(lines) - 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["captions.jsonl", "deep", "images"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["results"]

    captions_override(tmp_path / "captions.jsonl", [ring, *lines])
    again = label(grounding(world, tmp_path / "deep" / "results", server.url, *overrides))

    assert again.code == 0
    assert server.entries() == []
    assert [line["image_id"] for line in again.annotations] == ["same", *(line["image_id"] for line in lines)]
    assert len({line["record_id"] for line in again.annotations}) == len(lines) + 1


# --- parts of the work ----------------------------------------------------------------------------------------------


@pytest.mark.tao_row("new inputs are ignored once an output file exists")
def test_a_pilot_is_part_of_the_whole_run(world: World, server: JournaledServer, tmp_path: Path) -> None:
    settings = grounding(world, tmp_path / "results", server.url)
    total = len(read_lines(world.captions_path))
    pilot = label(settings, limit=5)

    assert pilot.code == 0
    assert len(pilot.annotations) == 5
    assert pilot.counts["not_reached"] == total - 5
    assert f"{total - 5} records are left" in pilot.printed
    assert "requests" in pilot.printed.split("are left", 1)[1].splitlines()[0]
    assert server.asked() == {EXTRACTION: 5, GROUNDING: 5}

    whole = label(settings)

    assert whole.code == 0
    assert server.asked() == {EXTRACTION: total - 5, GROUNDING: total - 5}
    assert whole.annotations[:5] == pilot.annotations
    assert whole.counts["records"] == {"labeled": total}

    limited = label(settings, limit=5)

    assert limited.code == 0
    assert server.asked() == {}
    assert limited.annotations == whole.annotations


@pytest.mark.tao_row("any subset is legal when its inputs exist")
def test_the_second_step_alone_takes_phrases_edited_by_hand(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    results, total = tmp_path / "results", len(read_lines(world.captions_path))
    extracted = label(grounding(world, results, server.url, f"{STEPS}=[0]"))

    assert extracted.code == 0
    assert server.asked() == {EXTRACTION: total}
    assert extracted.annotations == read_lines(results / EXTRACTED)
    assert all(e["instances"] == [] and "outcome" not in e for x in extracted.annotations for e in x["expressions"])
    assert all(x["pipeline_steps"] == ["step0_expression_extraction"] for x in extracted.annotations)

    grounded = label(grounding(world, results, server.url, f"{STEPS}=[1]"))

    assert grounded.code == 0
    assert server.asked() == {GROUNDING: total}
    assert all(e["outcome"] in ("labeled", "nothing") for x in grounded.annotations for e in x["expressions"])
    assert all(len(x["pipeline_steps"]) == 2 for x in grounded.annotations)
    assert score_image_grounding(world.truth, grounded.annotations)["phrase_exact"] == 1.0

    edited = read_lines(results / EXTRACTED)
    (yellow,) = [line for line in edited if "an orange circle" in line["cleaned_caption"]]
    assert yellow["expressions"][0]["text"] == "orange circle"
    yellow["expressions"][0]["text"] = "small yellow ring"
    write_lines(results / EXTRACTED, edited)
    overrides = (f"{STEPS}=[1]", "image_grounding.data.input_jsonl=", "image_grounding.data.image_root=")
    renamed = label(grounding(world, results, server.url, *overrides))

    assert renamed.code == 0
    assert server.asked() == {GROUNDING: 1}
    (changed,) = [line for line in renamed.annotations if line not in grounded.annotations]
    assert changed["record_id"] == yellow["record_id"]
    text, (start, end) = changed["expressions"][0]["text"], changed["expressions"][0]["char_span"]
    assert text == changed["cleaned_caption"][start:end] == "small yellow ring"
    rings = [e["instances"][0]["bbox"] for e in changed["expressions"] if e["text"].endswith("yellow ring")]
    assert len(rings) == 2
    assert rings[0] == rings[1]


@pytest.mark.tao_row("auto_label generate -e spec.yaml key=value")
@pytest.mark.tao_row("width and height come from the image, whatever the line says")
def test_the_second_step_grounds_what_tao_extracted(
    world: World, server: JournaledServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative image paths that TAO joined with ``image_root`` already, no ids, no outcomes."""
    shutil.copytree(world.images_dir, tmp_path / "data" / "images")
    entries = [world.truth["images"][n] for n in (1, 4)]
    lines = [
        {
            "image_id": entry["image_id"],
            "image_path": f"data/images/{entry['file']}",
            "width": 1920,
            "height": 1080,
            "caption": entry["captions"][0]["caption"],
            "cleaned_caption": entry["captions"][0]["cleaned_caption"],
            "expressions": [
                {"text": p["text"], "expression_id": str(n), "char_span": [0, 3], "noun_chunk": "", "instances": []}
                for n, p in enumerate(entry["captions"][0]["phrases"])
            ],
            "source": "image_grounding",
            "pipeline_steps": ["step0_expression_extraction"],
        }
        for entry in entries
    ]
    write_lines(tmp_path / "r" / EXTRACTED, lines)
    write_lines(tmp_path / "c.jsonl", [{"image_path": entries[0]["file"], "caption": "read by step 0 alone"}])
    (tmp_path / "spec.yaml").write_text(
        "results_dir: '???'\n"
        "autolabel_type: image_grounding\n"
        "image_grounding:\n"
        f"  vlm: {{backend: openai, openai: {{base_url: '{server.url}/v1', model_name: demo, temperature: 0}},\n"
        "        boxes: {order: xyxy, scale: 1000}, calibrate: never}\n"
        "  workflow: {steps: ['1'], max_workers: 4}\n"
        "  data: {input_jsonl: '???', image_root: data/images}\n"
    )
    monkeypatch.chdir(tmp_path)
    ran = label(load_settings(Path("spec.yaml"), ["results_dir=r", "image_grounding.data.input_jsonl=c.jsonl"]))

    assert ran.code == 0, ran.printed
    assert server.asked() == {GROUNDING: 2}
    made = ran.annotations
    assert [line["image_path"] for line in made] == [line["image_path"] for line in lines]
    assert [(line["width"], line["height"]) for line in made] == [(e["width"], e["height"]) for e in entries]
    two = {**world.truth, "images": [{**entry, "captions": entry["captions"][:1]} for entry in entries]}
    assert missed_targets(score_image_grounding(two, made)) == []
    ids = [e["expression_id"] for line in made for e in line["expressions"]]
    assert len(set(ids)) == len(ids)


@pytest.fixture(scope="module")
def all_steps(world: World, server: JournaledServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the four referring steps run at once."""
    results = tmp_path_factory.mktemp("all_steps")
    assert label(referring(world, results, server.url)).code == 0
    return results


@pytest.mark.tao_row("any subset is legal when its inputs exist")
@pytest.mark.tao_row("running steps 2,3 after 0,1 overwrites the final file with nothing")
def test_referring_steps_may_run_in_two_goes(
    world: World, server: JournaledServer, all_steps: Path, tmp_path: Path
) -> None:
    server.entries()
    first = label(referring(world, tmp_path, server.url, f"{REFERRING_STEPS}=[0,1]"))

    assert first.code == 0
    assert set(server.asked()) == {REGIONS, CAPTION}
    assert not any("expressions" in line for line in first.annotations)

    second = label(referring(world, tmp_path, server.url, f"{REFERRING_STEPS}=[2,3]"))

    assert second.code == 0
    assert set(server.asked()) == {GROUPING, CHECK}
    assert second.annotations == read_lines(all_steps / "annotations.jsonl")
    assert sorted(p.name for p in tmp_path.glob("step_*")) == sorted(p.name for p in all_steps.glob("step_*"))

    fewer = label(referring(world, tmp_path, server.url, f"{REFERRING_STEPS}=[0]"))

    assert fewer.code == 0
    assert server.asked() == {}
    assert fewer.annotations == second.annotations


@pytest.mark.tao_row("step 2 works without step 1")
def test_grouping_works_without_a_caption(world: World, server: JournaledServer, tmp_path: Path) -> None:
    ran = label(referring(world, tmp_path, server.url, f"{REFERRING_STEPS}=[0,2,3]", "double_check.adjust=apply"))

    assert ran.code == 0
    assert set(server.asked()) == {REGIONS, GROUPING, CHECK}
    assert all("caption" not in line and line["expressions"] for line in ran.annotations)
    assert not any("step1_image_caption" in line["outcomes"] for line in ran.annotations)
    assert missed_targets(score_referring(world.truth, ran.annotations)) == []

    later = label(referring(world, tmp_path, server.url, f"{REFERRING_STEPS}=[1]", "double_check.adjust=apply"))
    assert later.code == 0
    for before, after in zip(ran.annotations, later.annotations, strict=True):
        assert after["caption"]
        assert after["expressions"] == before["expressions"]
        assert "flags" not in after


@pytest.mark.tao_row("any subset is legal when its inputs exist")
@pytest.mark.tao_row("100 % failures end as success")
def test_a_step_whose_input_nobody_made_says_which_step_to_run(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r'found \["2"\], but .*/step_0_region_expr/.* or write \["0", "2"\]'):
        label(referring(world, tmp_path, server.url, f"{REFERRING_STEPS}=[2]"))

    assert server.asked() == {}

    both = label(referring(world, tmp_path, server.url, f"{REFERRING_STEPS}=[0,2]"))

    assert both.code == 0
    assert both.counts["records"] == {"labeled": 6}
    assert both.failures == []


@pytest.mark.tao_row("input_annotations_jsonl, seed_annotations.jsonl and earlier annotations are one format")
def test_results_of_an_earlier_run_are_the_input_of_another(
    world: World, server: JournaledServer, all_steps: Path, tmp_path: Path
) -> None:
    earlier = read_lines(all_steps / "annotations.jsonl")
    server.entries()
    overrides = [
        "image_referring_expression.data.image_dir=",
        "image_referring_expression.data.kitti_label_dir=",
        f"image_referring_expression.data.input_annotations_jsonl={all_steps / 'annotations.jsonl'}",
    ]
    ran = label(referring(world, tmp_path / "checked", server.url, f"{REFERRING_STEPS}=[3]", *overrides))

    assert ran.code == 0
    assert set(server.asked()) == {CHECK}
    for now, before in zip(ran.annotations, earlier, strict=True):
        for kept in ("record_id", "image_id", "image_path", "kitti_bboxes", "regions", "caption", "pipeline_steps"):
            assert now[kept] == before[kept]
        assert {e["expression_id"] for e in now["expressions"]} <= {e["expression_id"] for e in before["expressions"]}

    anew = label(referring(world, tmp_path / "anew", server.url, f"{REFERRING_STEPS}=[0,1,2,3]", *overrides))

    assert anew.code == 0
    assert set(server.asked()) == {REGIONS, CAPTION, GROUPING, CHECK}
    assert anew.annotations == earlier


# --- what is asked again --------------------------------------------------------------------------------------------


def test_a_changed_first_step_makes_the_second_ones_results_stale(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    total = len(read_lines(world.captions_path))
    grounded = label(grounding(world, tmp_path, server.url))
    server.entries()
    other = "steps.expression_extraction.prompt='Caption: a blue star and the yellow ring.\n\nNot this: $caption'"
    extracted = label(grounding(world, tmp_path, server.url, f"{STEPS}=[0]", other))

    assert extracted.code == 0
    assert server.asked()[EXTRACTION] == len({line["image_path"] + line["caption"] for line in grounded.annotations})
    assert extracted.counts["stale"] == total
    assert "built on something changed" in extracted.printed
    for line in extracted.annotations:
        assert [e["text"] for e in line["expressions"]] == ["blue star", "yellow ring"]
        assert [e["instances"] for e in line["expressions"]] == [[], []]
        assert line["pipeline_steps"] == ["step0_expression_extraction"]
        assert line["flags"] == ["stale:step1_grounding"]

    repaired = label(grounding(world, tmp_path, server.url, other))

    assert repaired.code == 0
    assert set(server.asked()) == {GROUNDING}
    assert repaired.counts["stale"] == 0
    assert not any("flags" in line for line in repaired.annotations)
    assert all("outcome" in e for line in repaired.annotations for e in line["expressions"])


@pytest.mark.tao_row("force_reprocess")
def test_force_reprocess_asks_everything_again_once(world: World, server: JournaledServer, tmp_path: Path) -> None:
    forced = "image_grounding.workflow.force_reprocess=true"
    total = len(read_lines(world.captions_path))
    everything = {EXTRACTION: total, GROUNDING: total}
    first = label(grounding(world, tmp_path, server.url))
    assert server.asked() == everything

    part = label(grounding(world, tmp_path, server.url, forced), limit=2)

    assert part.code == 0
    assert server.asked() == {EXTRACTION: 2, GROUNDING: 2}

    rest = label(grounding(world, tmp_path, server.url, forced))

    assert rest.code == 0
    assert server.asked() == {EXTRACTION: total - 2, GROUNDING: total - 2}
    assert rest.annotations == first.annotations

    unforced = label(grounding(world, tmp_path, server.url))

    assert server.asked() == {}
    assert unforced.annotations == first.annotations

    label(grounding(world, tmp_path, server.url, forced))

    assert server.asked() == everything


# --- what is written ------------------------------------------------------------------------------------------------


@pytest.mark.tao_row("label files mirror the sub-folders of image_dir")
@pytest.mark.tao_row("records with the same file stem overwrite each other")
def test_legacy_files_stand_beside_the_json_lines_and_equal_stems_do_not_collide(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    for folder, entry in zip(("day", "night"), (world.truth["images"][n] for n in (1, 4)), strict=True):
        for kind, name, suffix in (("images", entry["file"], ".png"), ("labels", f"{entry['image_id']}.txt", ".txt")):
            target = tmp_path / kind / folder / f"frame{suffix}"
            target.parent.mkdir(parents=True)
            shutil.copy((world.images_dir if kind == "images" else world.labels_dir) / name, target)
    twins = World(tmp_path, tmp_path / "images", Path(), tmp_path / "labels", Path(), {})
    both = "image_referring_expression.workflow.output_format=both"
    ran = label(referring(twins, tmp_path / "results", server.url, both))

    assert ran.code == 0
    assert len({line["record_id"] for line in ran.annotations}) == 2
    directories = ["step_0_region_expr", "step_1_image_caption", "step_2_grounding_expr", "step_3_double_check"]
    for number, directory in enumerate(directories):
        assert len(read_lines(ran.results / directory / "annotations.jsonl")) == 2
        labels = tmp_path / "results" / directory / "labels"
        written = sorted(str(p.relative_to(labels)) for p in labels.rglob("*") if p.is_file())
        assert written == [f"day/frame.txt.step{number}", f"night/frame.txt.step{number}"]
    for line, folder in zip(ran.annotations, ("day", "night"), strict=True):
        regions = json.loads((tmp_path / "results" / directories[0] / f"labels/{folder}/frame.txt.step0").read_text())
        assert [r["description"] for r in regions] == [r["description"] for r in line["regions"]]
        caption = (tmp_path / "results" / directories[1] / f"labels/{folder}/frame.txt.step1").read_text()
        assert caption == line["caption"]


@pytest.mark.parametrize("backend", ["gemini", "anthropic"])
def test_another_protocol_gives_boxes_as_good(
    world: World, server: JournaledServer, tmp_path: Path, backend: str
) -> None:
    grounded = label(grounding(world, tmp_path / "grounding", server.url, backend=backend))
    apply = "double_check.adjust=apply"
    referred = label(referring(world, tmp_path / "referring", server.url, apply, backend=backend))

    assert (grounded.code, referred.code) == (0, 0)
    assert {entry["protocol"] for entry in server.entries()} == {backend}
    assert missed_targets(score_image_grounding(world.truth, grounded.annotations)) == []
    assert missed_targets(score_referring(world.truth, referred.annotations)) == []


# --- what goes over the wire ----------------------------------------------------------------------------------------


def test_settings_of_single_steps_reach_the_wire(world: World, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Where is it?\n$phrases")
    with WireServer() as wire:
        ran = label(
            grounding(
                world,
                tmp_path,
                wire.url,
                "steps.expression_extraction.model=small",
                "steps.expression_extraction.temperature=0.25",
                "steps.grounding.max_tokens=1234",
                f"steps.grounding.prompt_file={tmp_path / 'prompt.txt'}",
                "steps.grounding.extra_body={top_k: 7}",
            )
        )
        assert ran.code == 0
        extractions = [seen.body for seen in wire.seen if seen.task == EXTRACTION]
        groundings = [seen for seen in wire.seen if seen.task == GROUNDING]
    assert {(body["model"], body["temperature"]) for body in extractions} == {("small", 0.25)}
    assert all(body["response_format"]["type"] == "json_schema" for body in extractions)
    assert {(s.body["model"], s.body["temperature"], s.body["max_tokens"], s.body["top_k"]) for s in groundings} == {
        ("raylabel-demo-vlm", 0, 1234, 7)
    }
    assert all(seen.text.startswith("Where is it?\n{") for seen in groundings)
    assert not any("top_k" in body for body in extractions)
    assert not any("response_format" in seen.body for seen in groundings)


def test_workers_bound_the_requests_in_flight_of_each_step_and_of_all(tmp_path: Path) -> None:
    many = build_world(tmp_path / "many", 10, seed=2)
    with WireServer(latency_s=0.05) as wire:
        overrides = ["steps.region_expr.workers=2", "steps.image_caption.workers=3"]
        ran = label(referring(many, tmp_path / "steps", wire.url, f"{REFERRING_STEPS}=[0,1]", *overrides))
        assert ran.code == 0
        assert wire.most_in_flight[REGIONS] == 2
        assert 2 <= wire.most_in_flight[CAPTION] <= 3

        wire.most_in_flight.clear()
        ran = label(referring(many, tmp_path / "total", wire.url, "limits.max_in_flight=3"))
        assert ran.code == 0
        assert 2 <= wire.most_in_flight["all"] <= 3
