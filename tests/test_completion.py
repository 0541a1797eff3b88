"""What a shell gets to offer behind TAB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raylabel.exports.training.formats import TRAINING_FORMATS

ROOT = Path(__file__).parents[1]
COCO = [name for name in TRAINING_FORMATS if name.startswith("coco")]

LINES = {
    "raylabel re": ["retry", "reread", "review", "read-answers"],
    "raylabel run --rep": ["--replace"],
    "raylabel run ": ["config.yaml", "other.yml"],
    "raylabel run config.yaml image_grounding.workflow.f": ["image_grounding.workflow.force_reprocess="],
    "raylabel run config.yaml limits.max_a": ["limits.max_attempts_per_question="],
    "raylabel run config.yaml double_check.adjust=": ["apply", "flag", "never"],
    "raylabel run config.yaml double_check.keep_rejected=t": ["true"],
    "raylabel run config.yaml results_dir=my": ["my_steps.py"],
    "raylabel run --plugin my": ["my_steps.py"],
    "raylabel init vllm-": ["vllm-grounding", "vllm-referring"],
    "raylabel export results --format coco": COCO,
    "raylabel prompts grounding_": ["grounding_expr"],
    "raylabel prompts config.yaml --step region": ["region_expr"],
    "raylabel prompts grounding --profile pali": ["paligemma"],
    "raylabel retry config.yaml --outcome re": ["refused"],
}

ASK = """
import json, os, sys
from raylabel import cli, settings

for number, line in enumerate(json.load(sys.stdin)):
    if not (child := os.fork()):
        os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
        os.environ["_ARGCOMPLETE_STDOUT_FILENAME"] = f"answer{number}"
        cli.entry()
    assert os.waitpid(child, 0)[1] == 0, line
"""
"""The program as a shell starts it, once a line; a start of Python for each would take most of the time."""


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the program says to a shell that completes these lines."""
    folder = tmp_path_factory.mktemp("completing")
    for name in ("config.yaml", "other.yml", "notes.txt", "my_steps.py"):
        (folder / name).write_text("")
    how = {"_ARGCOMPLETE": "1", "COMP_TYPE": "9", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, **how, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(list(LINES)).encode(), env=env, cwd=folder, capture_output=True
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    return {line: (folder / f"answer{number}").read_text().split("\n") for number, line in enumerate(LINES)}


@pytest.mark.parametrize("line", LINES)
def test_a_word_is_completed(line: str, offered: dict[str, list[str]]) -> None:
    # Of a word with "=" a shell may be told the part behind it only.
    assert sorted(word.rpartition("=")[2] or word for word in offered[line]) == sorted(LINES[line])


def test_without_a_shell_that_asks_nothing_of_it_is_imported() -> None:
    code = "import sys, raylabel.cli; print([name for name in sys.modules if 'argcomplete' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
