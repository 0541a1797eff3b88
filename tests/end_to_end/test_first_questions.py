"""``raylabel prompts CONFIG``: what models will be asked about the first record, as the run then asks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.profiles import PROFILES
from raylabel.runtime.first_questions import first_questions
from raylabel.settings import use_plugins
from tests.end_to_end.running import REPOSITORY, WireServer, grounding, label, referring

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 2, seed=5)


@pytest.fixture
def config(world: World, tmp_path: Path) -> Path:
    """A specification whose model has no family, of an endpoint that is not there."""
    vlm = {"backend": "openai", "openai": {"base_url": NOWHERE, "model_name": "some-model"}}
    data = {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)}
    spec = {"results_dir": str(tmp_path / "results"), "image_grounding": {"vlm": vlm, "data": data}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


@pytest.fixture(autouse=True)
def _no_plugins_afterwards() -> Iterator[None]:
    yield
    use_plugins([])


@pytest.mark.parametrize("build", [grounding, referring])
def test_what_is_shown_after_a_run_is_what_was_asked_in_it(world: World, tmp_path: Path, build: object) -> None:
    with WireServer() as wire:
        settings = build(world, tmp_path / "results", wire.url)  # type: ignore[operator]
        first = label(settings).annotations[0]
        texts = {seen.text for seen in wire.seen}
    shown = list(first_questions(settings, settings.pipeline.workflow.steps))
    assert [asked.step for asked in shown] == [step.label for step in settings.selected_steps]
    for asked in shown:
        assert asked.supposed == ()
        assert asked.image_path == first["image_path"]
        assert {question.text for question in asked.questions} <= texts  # type: ignore[union-attr]


def test_before_a_run_what_earlier_steps_find_is_supposed_and_nothing_is_stored(
    config: Path, capsys: pytest.CaptureFixture[str], world: World
) -> None:
    assert main(["prompts", str(config)]) == 0
    extraction, grounded = capsys.readouterr().out.split("=== step1_grounding, some-model ===\n")
    assert extraction.startswith("=== step0_expression_extraction, some-model ===\nYou label images")
    assert str(world.images_dir) in extraction
    assert "Caption: " in extraction or "caption" in extraction
    assert grounded.startswith("(not found yet, and supposed here: expressions)\n")
    assert '{"id": 1, "phrase": "(a phrase)"}' in grounded
    assert "$" not in extraction + grounded
    assert not (config.parent / "results").exists()


def test_words_of_ones_own_are_shown_filled_in(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "mine.txt").write_text("Find $phrases ($box_key, $box_format) for $$5.")
    words = [str(config), f"steps.grounding.prompt_file={config.parent / 'mine.txt'}", "--step", "grounding"]
    assert main(["prompts", *words]) == 0
    shown = capsys.readouterr().out
    assert 'Find {"id": 1, "phrase": "(a phrase)"} (bbox_2d, [x1, y1, x2, y2] normalized to 0-1000' in shown
    assert "for $5." in shown
    assert "expression_extraction" not in shown


def test_every_family_is_shown_those_together_that_are_asked_alike(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompts", str(config), "--step", "grounding", "--profile", "all"]) == 0
    headings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("=== ")]
    named = [name.strip(" =") for line in headings for name in line.split(",")[1:]]
    assert {profile.name for profile in PROFILES} <= set(named)
    assert len(named) == len(set(named))
    assert 5 < len(headings) < len(named)
    assert main(["prompts", str(config), "--step", "expression_extraction", "--profile", "all"]) == 0
    assert capsys.readouterr().out.count("=== step0") < len(headings)
    assert main(["prompts", str(config), "--step", "grounding", "--profile", "paligemma2"]) == 0
    assert "detect (a phrase)" in capsys.readouterr().out


def test_the_question_of_a_plugin_is_shown_too(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = str(REPOSITORY / "configs/examples/object_colors.py")
    assert main(["prompts", str(config), "--plugin", plugin, "--step", "object_colors"]) == 0
    shown = capsys.readouterr().out
    assert "name the main color of the object" in shown
    assert '{"id": 1, "bbox_2d": [250, 250, 750, 750]}' in shown or '{"id": 1, "bbox_2d": [' in shown
    assert main(["prompts", "--plugin", plugin]) == 0
    assert "object_colors: Boxes in; the same boxes" in capsys.readouterr().out
    assert main(["prompts", "object_colors", "--plugin", plugin]) == 0
    assert "$objects" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--step", "groundign"],
            'no step "groundign"; known: expression_extraction, grounding. Did you mean "grounding"?',
        ),
        (["--template"], "--template shows a question without a record; give a step in place of the specification."),
        (["--profile", "qwen9"], '--profile: no family "qwen9"'),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["prompts", str(config), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_an_image_that_does_not_open_is_passed_over_and_none_that_opens_is_told(
    config: Path, capsys: pytest.CaptureFixture[str], world: World
) -> None:
    lines = config.parent / "in.jsonl"
    known = world.captions_path.read_text().splitlines()[0]
    lines.write_text(f'{{"image_path": "gone.png", "caption": "a dog"}}\n{known}\n')
    words = ["prompts", str(config), f"image_grounding.data.input_jsonl={lines}"]
    assert main(words) == 0
    assert "gone.png" not in capsys.readouterr().out
    lines.write_text('{"image_path": "gone.png", "caption": "a dog"}\n')
    assert main(words) == 2
    assert "none of the first records can be used: " in capsys.readouterr().err
