"""The section on clusters in the README, command by command, on machines that are made for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.running import REPOSITORY, read_lines
from tests.machines import Machine, machines, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

FIRST, OTHERS, EVERY = "on the first machine", "on each of the others", "on every machine"


def section() -> list[tuple[str, str]]:
    """The commands of the section, in order, each with where it is to be given."""
    text = (
        (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("\n## On a cluster\n")[2].partition("\n## ")[0]
    )
    commands, where = [], ""
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("# "):
                where = next(place for place in (FIRST, OTHERS, EVERY) if line.startswith(f"# {place}"))
            elif line.strip():
                commands.append((where, line.partition("   #")[0].strip()))
    return commands


@dataclass
class Terminal:
    """Somebody at a machine, who types one command after the other."""

    machine: Machine
    folder: Path
    typed: list[str] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)

    def type(self, command: str) -> tuple[int, str]:
        self.typed.append(command)
        if command.startswith("export "):
            self.exported.append(command)
            return 0, ""
        line = "\n".join([*self.exported, command])
        if command.endswith("&"):
            self.machine.start(
                line.removesuffix("&"), self.folder, self.machine.home.parent / f"{self.machine.name}.log"
            )
            return 0, ""
        return self.machine.run(line, self.folder)


def a_checkout(folder: Path) -> Path:
    """A copy of this one, of another version, with results and a demo in it that are too large to be sent."""
    listed = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, check=True, capture_output=True).stdout.decode().split("\0"):
        if name and (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    (folder / "raylabel" / "__init__.py").write_text('__version__ = "0.0.0+checkout"\n')
    leave_large_results(folder)
    (folder / "demo_out").mkdir()
    (folder / "demo_out" / "large").write_bytes(os.urandom(110 << 20))
    return folder


def leave_large_results(folder: Path) -> None:
    """What runs in this folder, on the machine itself, would leave."""
    results = folder / "results"
    results.mkdir()
    (results / ".rayignore").write_text("*\n")
    (results / "large").write_bytes(os.urandom(110 << 20))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def test_the_commands_of_the_section_do_what_they_say(tmp_path: Path, shared: Path) -> None:
    checkout = a_checkout(tmp_path / "checkout")
    folder = tmp_path / "folder"
    folder.mkdir()
    leave_large_results(folder)
    config = yaml.safe_load((REPOSITORY / "configs" / "demo_image_grounding.yaml").read_text())
    world = "/shared/demo/world"
    config["image_grounding"]["data"] = {"input_jsonl": f"{world}/captions.jsonl", "image_root": f"{world}/images"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))

    with machines(shared, ["first", "second"], without_share=["third"]) as (first, second, third):
        typing = {FIRST: [Terminal(first, checkout)], OTHERS: [Terminal(second, tmp_path)]}
        typing[EVERY] = [*typing[FIRST], *typing[OTHERS]]
        commands = section()
        # The demo is first: it makes the data. Both jobs are submitted at once, as the test mostly waits for processes.
        *start, usual = [c for c in commands if "demo" not in c[1] and c[1] != "ray stop"]
        *prepare, demo = [c for c in commands if "demo" in c[1]]
        (stop,) = [c for c in commands if c[1] == "ray stop"]
        assert demo[1].startswith("ray job submit")
        assert usual[1].startswith("ray job submit")

        def type_all(where: str, command: str) -> None:
            with ThreadPoolExecutor() as pool:
                said = list(pool.map(lambda terminal: terminal.type(command), typing[where]))
            assert not any(code for code, _ in said), f"{command}\n{said}"

        for where, command in [*start, *prepare]:
            type_all(where, command)
        elsewhere = Terminal(first, folder, exported=typing[FIRST][0].exported)
        with ThreadPoolExecutor() as pool:
            asked = [
                pool.submit(typing[FIRST][0].type, demo[1]),
                pool.submit(elsewhere.type, usual[1]),
                pool.submit(elsewhere.type, usual[1].replace("results_dir=/shared/results", "")),
            ]
            (demo_code, demo_out), (code, out), (relative_code, relative_out) = [one.result() for one in asked]
        assert demo_code == 0, demo_out
        assert code == 0, out
        job = shared / "demo" / "job"
        manifest = json.loads((job / "run.json").read_text())
        assert (manifest["exit_code"], manifest["versions"]["raylabel"]) == (0, "0.0.0+checkout")
        assert len(read_lines(job / "annotations.jsonl")) == len(read_lines(shared / "demo/world/captions.jsonl"))
        assert (shared / "results" / "annotations.jsonl").read_bytes() == (job / "annotations.jsonl").read_bytes()
        assert relative_code != 0
        assert 'raylabel: results_dir: found "results/demo_image_grounding", which is in the copy' in relative_out

        token = (shared / "ray_token").read_text()
        joins = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={token} ray start --address=HEAD:6379"
        assert third.run(joins, tmp_path)[0] == 0
        code, out = elsewhere.type(usual[1].replace("/shared/results", "/shared/others"))
        assert code != 0
        assert "exit code 2" in out
        found = re.search(r"raylabel: results_dir: (.*)\n", out)
        assert found is not None, out
        assert found[1].startswith("/shared/others has to be one folder for all nodes, and node third (10.77.0.3) does")
        assert not (shared / "others" / "annotations.jsonl").exists()

        type_all(*stop)
        typed = [t.typed for t in (*typing[EVERY], elsewhere)]
        assert {command for _, command in commands} <= {command for one in typed for command in one}
