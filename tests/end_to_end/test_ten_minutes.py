"""The way that the README shows, command by command, with a server that sees badly in the place of Gemini."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from raylabel.cli import main
from raylabel.records import IMAGE_GROUNDING
from tests.end_to_end.running import read_lines
from tests.served_here import served_here

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
RECIPE = "gemini-grounding"
TRUTH = "instances_val.json"


def shown(step: str) -> list[list[str]]:
    """The commands of a numbered step of the README's section, without the program's name."""
    section = README.read_text(encoding="utf-8").partition("## Ten minutes\n")[2].partition("\n### ")[0]
    text = section.partition(f"**{step}. ")[2].partition("\n**")[0]
    lines = [line for block in text.split("```")[1::2] for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("raylabel ")]


def test_every_command_of_the_first_ten_minutes_does_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key")

    def raylabel(*words: str) -> str:
        capsys.readouterr()
        code = main(list(words))
        said = capsys.readouterr()
        assert code == 0, (words, said)
        return said.out

    assert "target" in raylabel("demo")
    raylabel("init", RECIPE)
    (world,) = Path("demo_out").glob("world")
    specification = Path(f"{RECIPE}.yaml")
    specification.write_text(
        specification.read_text()
        .replace("data/captions.jsonl", str(next(world.glob("captions*.jsonl"))))
        .replace("data/images", str(world / "images"))
    )
    raylabel("export", "demo_out/openai/image_grounding", "--format", "coco", "--out", "truth")
    (truth,) = (path for path in Path("truth").rglob("*.json") if path.name != "export.json")
    truth.rename(TRUTH)

    with served_here("--noise", "0.1") as good, served_here("--noise", "0.7") as bad:
        for name, server in (("one_model", good), ("another", bad)):
            url = f"{IMAGE_GROUNDING}.vlm.gemini.base_url=http://127.0.0.1:{server.server_port}"
            raylabel("run", str(specification), f"results_dir=results/{name}", url)
        specification.write_text(
            specification.read_text().replace(
                "    gemini:\n", f"    gemini:\n      base_url: http://127.0.0.1:{good.server_port}\n"
            )
        )
        look = shown("3")
        assert [words[0] for words in look] == ["check", "estimate", "review", "run"]
        said = {words[0]: raylabel(*words) for words in look}
    assert all(line.startswith("ok ") for line in said["check"].splitlines()), said["check"]
    assert "95% interval" in said["estimate"]
    records = len(read_lines(next(world.glob("captions*.jsonl"))))
    assert len(read_lines(Path("results/gemini_image_grounding/annotations.jsonl"))) == records
    assert len(list(Path("results/gemini_image_grounding").rglob("index.html"))) == 1

    judge = shown("4")
    assert [words[0] for words in judge] == ["eval", "eval", "compare"]
    demo, pilot, compared = (raylabel(*words) for words in judge)
    assert "recall" in demo
    assert "recall" in pilot
    assert "better" in compared
    assert Path("worst/index.html").is_file()
    assert Path("differences/index.html").is_file()

    (export,) = shown("5")
    raylabel(*export)
    (counts,) = Path("results/gemini_image_grounding/exports").rglob("export.json")
    assert json.loads(counts.read_text())["out"]
