from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import raylabel.demo.server

FOLDER = Path(raylabel.demo.server.__file__).parent


def test_a_running_server_has_loaded_nothing_of_raylabel_but_its_own_folder():
    code = "import sys, json, raylabel.demo.server.__main__; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = {name for name in json.loads(out) if name.split(".")[0] == "raylabel"}
    inside = {name for name in loaded if name.startswith("raylabel.demo.server")}
    assert loaded - inside == {"raylabel", "raylabel.demo"}
    assert len(inside) > 8
    # Of the faults, no more than their words, for --help.
    faults = "raylabel.demo.server.faults"
    assert {name for name in inside if name.startswith(faults)} == {faults, f"{faults}.plan", f"{faults}.specification"}


def test_the_packages_above_the_server_bring_nothing_of_raylabel_with_them():
    code = "import sys, raylabel.demo; print(sorted(name for name in sys.modules if name.startswith('raylabel')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['raylabel', 'raylabel.demo']"


def test_no_file_of_the_server_imports_from_outside_its_folder():
    for file in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            for name in names:
                assert not name.startswith("raylabel") or name.startswith("raylabel.demo.server"), (file, name)


def test_no_file_of_the_server_reaches_for_files_except_those_that_its_options_name():
    """The journal, the ready file, the list of faults, and pictures in the one folder that it may read."""
    opened = []
    for file in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name == "open" or name.endswith(
                    (".open", ".read_text", ".read_bytes", ".write_text", "import_module")
                ):
                    opened.append((file.name, name))
    assert sorted(opened) == [
        ("__main__.py", "Path(text).read_text"),
        ("__main__.py", "partial.write_text"),
        ("ledger.py", "journal.open"),
        ("openai_api.py", "path.read_bytes"),
        ("seeing.py", "Image.open"),
    ]
