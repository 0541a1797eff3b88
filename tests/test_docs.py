"""What README and docs/ say: links lead somewhere, commands and recipes exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from raylabel.cli import COMMANDS, main
from raylabel.commands.init import recipes
from raylabel.exports.formats import EXPORT_FORMATS
from raylabel.exports.training.formats import TRAINING_FORMATS
from raylabel.pipelines import all_steps
from raylabel.profiles import PROFILES
from raylabel.steps.base import Step

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SKILL = ROOT / "configs" / "skills" / "raylabel" / "SKILL.md"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The names that a forge gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def commands(page: Path) -> Iterator[list[str]]:
    """The lines of code blocks that call raylabel, without what a shell makes of the rest of them."""
    inside = False
    for line in text_of(page).replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside and line.startswith(("raylabel ", "auto_label ")):
            yield shlex.split(line.partition(" > ")[0], comments=True)


@pytest.mark.parametrize(
    "words", [w for page in [*PAGES, SKILL] for w in commands(page)], ids=lambda words: " ".join(words)
)
def test_a_command_that_is_shown_exists_with_its_options(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, command, *rest = words
    if command == "--version":
        return
    assert command in COMMANDS
    with pytest.raises(SystemExit):
        main([command, "--help"])
    usage = capsys.readouterr().out
    assert all(option in usage for option in rest if option.startswith("-"))
    if command == "init":
        assert rest[0] in {*recipes(), "RECIPE"}
    if command == "prompts":
        assert rest[0] in {*all_steps()} | {"STEP", "config.yaml"}
    if command in ("init", "prompts") and rest[0].islower() and "." not in rest[0]:
        assert main([command, *rest]) == 0


@pytest.mark.parametrize("page", [*PAGES, SKILL], ids=lambda p: p.name)
def test_one_way_to_call_the_program(page: Path) -> None:
    """``raylabel`` after one activation line; its path in an environment is nobody's business."""
    assert ".venv/bin/raylabel" not in text_of(page)
    assert ".venv/bin/python" not in text_of(page)


def test_every_recipe_is_named_where_recipes_are_chosen() -> None:
    assert all(f"`{name}`" in text_of(PAGES[0]) for name in recipes() if not name.startswith("demo"))


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_every_export_format_is_named_where_the_files_are_described(name: str) -> None:
    assert re.search(rf"`(output_format: )?{name}`", text_of(ROOT / "docs" / "output.md"))


@pytest.mark.parametrize("name", TRAINING_FORMATS)
def test_every_format_of_export_is_named_where_they_are_chosen(name: str) -> None:
    assert f"| `{name}` |" in text_of(ROOT / "docs" / "exports.md")
    assert f"`{name}`" in text_of(PAGES[0])


def test_the_number_of_families_is_about_what_is_said() -> None:
    assert "some thirty families" in text_of(PAGES[0]).replace("\n", " ").replace("  ", " ")
    assert 25 <= len(PROFILES) <= 39


@pytest.mark.parametrize("step", all_steps().values(), ids=lambda step: step.name)
def test_every_placeholder_of_a_prompt_is_listed_where_prompts_are_changed(step: type[Step]) -> None:
    (row,) = re.findall(rf"^\| `{step.name}` \| (.+) \|$", text_of(ROOT / "docs" / "models.md"), re.MULTILINE)
    prompts = [step.prompt, *filter(None, [step.prompt.singly])]
    known = {name for prompt in prompts for name in re.findall(r"\$([a-z_]+)", prompt.text)}
    assert set(re.findall(r"\$([a-z_]+)", row)) == known
    assert set(re.findall(r"\*\*`\$([a-z_]+)`\*\*", row)) == {name for prompt in prompts for name in prompt.needs}
