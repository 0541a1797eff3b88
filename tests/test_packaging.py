"""What a user installs, and the scripts that install it."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from raylabel.clients.endpoints import BACKENDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it there

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
EVERY = RUNTIME + [requirement for requirements in EXTRAS.values() for requirement in requirements]

IMPORT_NAMES = {"PIL": "pillow", "google": "google-genai", "yaml": "pyyaml"}
COMES_WITH = {"pyyaml": "omegaconf", "pydantic-core": "pydantic", "yarl": "aiohttp"}
"""Libraries whose release is the business of the dependency that is built on them."""


def installed_closure(requirements: list[Requirement]) -> set[str]:
    """Names of all distributions that installing these pulls in here, read from what is installed."""
    seen: set[tuple[str, str]] = set()
    open_ones = [(canonicalize_name(req.name), extra) for req in requirements for extra in ("", *req.extras)]
    while open_ones:
        name, extra = open_ones.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for req in map(Requirement, lines):
            if req.marker is None or req.marker.evaluate({"extra": extra}):
                open_ones += [(canonicalize_name(req.name), inner) for inner in ("", *req.extras)]
    return {name for name, _ in seen}


def third_party_imports() -> dict[str, str]:
    """Top-level name -> a file that imports it, over the whole package."""
    found: dict[str, str] = {}
    for file in sorted((ROOT / "raylabel").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            for top in (name.split(".")[0] for name in names):
                if top != "raylabel" and top not in sys.stdlib_module_names:
                    found[top] = file.relative_to(ROOT).as_posix()
    return found


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "raylabel.__version__"}
    places = [
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "raylabel").rglob("*.py")
        if re.search(r"^__version__\b.*=", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert places == ["raylabel/__init__.py"]


@pytest.mark.parametrize("requirement", EVERY, ids=str)
def test_a_dependency_has_a_lower_bound(requirement: Requirement) -> None:
    assert [bound for bound in requirement.specifier if bound.operator == ">="]


def test_ray_has_the_same_bounds_everywhere() -> None:
    assert len({str(requirement.specifier) for requirement in EVERY if requirement.name == "ray"}) == 1


def test_jobs_and_dashboard_are_an_extra() -> None:
    assert {extra for requirement in RUNTIME if requirement.name == "ray" for extra in requirement.extras} == {"data"}
    assert {str(requirement.extras) for requirement in EXTRAS["cluster"]} == {"{'default'}"}


def test_installing_pulls_no_deep_learning_framework() -> None:
    pulled = installed_closure(RUNTIME)
    assert "openai" in pulled
    assert "pyarrow" in pulled
    heavy = re.compile(r"torch.*|tensorflow.*|jax.*|nvidia-.*|triton|vllm.*|transformers|onnx.*|opencv-.*")
    assert not [name for name in pulled if heavy.fullmatch(name)]


@pytest.mark.parametrize(("top", "file"), sorted(third_party_imports().items()))
def test_what_the_package_imports_is_declared(top: str, file: str) -> None:
    of_users = [requirement for name, extra in EXTRAS.items() if name != "dev" for requirement in extra]
    declared = {canonicalize_name(requirement.name) for requirement in RUNTIME + of_users}
    library = canonicalize_name(IMPORT_NAMES.get(top, top))
    if library in COMES_WITH:
        assert library in installed_closure([Requirement(COMES_WITH[library])])
        library = canonicalize_name(COMES_WITH[library])
    assert library in declared, f"{file} imports {top}"


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for file in (ROOT / "raylabel").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_every_file_that_is_no_code_is_installed() -> None:
    package_data = PYPROJECT["tool"]["setuptools"]["package-data"]
    installed = {
        file
        for package, patterns in package_data.items()
        for pattern in patterns
        for file in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    others = {
        file
        for file in (ROOT / "raylabel").rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    }
    assert others - installed == set()


def test_the_recipes_in_the_package_are_those_in_configs() -> None:
    """Edit them in ``configs/``, then ``cp configs/*.yaml raylabel/recipes/``."""
    shown, installed = (
        {file.name: file.read_text(encoding="utf-8") for file in ROOT.joinpath(folder).glob("*.yaml")}
        for folder in ("configs", "raylabel/recipes")
    )
    assert installed == shown


def test_the_license_is_apache_2_in_full() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert all(f"\n   {number}. " in text for number in range(1, 10))


@pytest.mark.tao_row("auto_label generate -e spec.yaml key=value")
@pytest.mark.parametrize("name", sorted(PROJECT["scripts"]))
def test_a_console_script_exists(name: str) -> None:
    point = importlib.metadata.EntryPoint(name, PROJECT["scripts"][name], "console_scripts")
    assert callable(point.load())


def make_checkout(folder: Path) -> Path:
    """A checkout with the scripts and what they read, without code."""
    scripts = (f"scripts/{name}" for name in ("venv", "demo", "test", "bench"))
    for path in ("pyproject.toml", "raylabel/__init__.py", *scripts):
        copy = folder / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / path).read_bytes())
        copy.chmod(0o755)
    return folder


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def run_script(script: Path, *arguments: str, python: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    if python is not None:
        environment["PYTHON"] = str(python)
    return subprocess.run([script, *arguments], cwd="/", env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A checkout whose .venv is up to date, with programs that write down how they were called."""
    checkout = make_checkout(tmp_path / "a path with spaces")
    write_program(
        checkout / ".venv/bin/python",
        f'#!/bin/sh\necho "$@" >> "{checkout}/calls"\n[ "$2" = pip ] || exec "{sys.executable}" "$@"\n',
    )
    write_program(checkout / ".venv/bin/raylabel", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    stamp = 'set -eu; . scripts/venv; wanted_stamp "" "$(python_version "$venv/bin/python")" > "$venv/raylabel.stamp"'
    subprocess.run(["bash", "-c", stamp], cwd=checkout, check=True)
    return checkout


def test_the_second_run_installs_nothing_and_passes_arguments_on(ready: Path) -> None:
    done = run_script(ready / "scripts/demo", "--out", "two words")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["demo", "--out", "two words"]
    assert "pip" not in (ready / "calls").read_text()


@pytest.mark.parametrize("changed", ["pyproject.toml", "raylabel/__init__.py"])
def test_a_changed_dependency_or_version_installs_again(ready: Path, changed: str) -> None:
    with (ready / changed).open("a") as file:
        file.write("\n# changed\n")
    done = run_script(ready / "scripts/demo")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert f"pip install --editable {ready}\n" in (ready / "calls").read_text()
    (ready / "calls").unlink()
    run_script(ready / "scripts/demo")
    assert "pip" not in (ready / "calls").read_text()


def test_the_dev_tools_serve_the_demo_too_but_not_the_other_way_round(ready: Path) -> None:
    run_script(ready / "scripts/test", "--version")
    assert f"pip install --editable {ready}[dev]\n" in (ready / "calls").read_text()
    (ready / "calls").unlink()
    run_script(ready / "scripts/demo")
    assert "pip" not in (ready / "calls").read_text()


def test_the_benchmark_finds_its_modules_wherever_it_is_called(ready: Path) -> None:
    program = ready / "scripts/benchmarks/speed.py"
    program.parent.mkdir()
    program.write_text("import sys; print(sys.argv[1:])", encoding="utf-8")
    done = run_script(ready / "scripts/bench", "--case", "two words")
    assert done.stdout == "['--case', 'two words']\n"
    assert f"pip install --editable {ready}[dev]\n" in (ready / "calls").read_text()


def test_a_failed_installation_is_not_taken_for_done(ready: Path) -> None:
    stamp = ready / ".venv/raylabel.stamp"
    stamp.write_text("of another day")
    write_program(
        ready / ".venv/bin/python",
        f'#!/bin/sh\ncase "$*" in *--editable*) echo no network; exit 1;; *pip*) exit 0;; esac\n'
        f'exec "{sys.executable}" "$@"\n',
    )
    done = run_script(ready / "scripts/demo")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no network" in done.stderr
    assert "could not install raylabel" in done.stderr.splitlines()[-1]
    assert not stamp.exists()


@pytest.mark.parametrize(
    ("program", "found"),
    [
        pytest.param("#!/bin/sh\necho 3.8.18\nexit 1\n", "3.8.18", id="too-old"),
        pytest.param("#!/bin/sh\nexit 127\n", "missing or broken", id="broken"),
    ],
)
def test_a_python_that_will_not_do_is_named_in_one_sentence(tmp_path: Path, program: str, found: str) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    done = run_script(checkout / "scripts/demo", python=write_program(tmp_path / "python", program))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "3.10" in done.stderr
    assert found in done.stderr
    assert not (checkout / ".venv").exists()


def test_the_scripts_ask_for_the_python_that_the_package_asks_for() -> None:
    lowest = PROJECT["requires-python"].removeprefix(">=")
    script = (ROOT / "scripts/venv").read_text(encoding="utf-8")
    assert f"sys.version_info < ({lowest.replace('.', ', ')})" in script
    assert f"needs Python {lowest} or newer" in script


def test_a_backends_extra_is_imported_by_its_client_alone_and_when_that_is_built() -> None:
    for backend in BACKENDS.values():
        if backend.extra:
            assert {requirement.name for requirement in EXTRAS[backend.extra]} == {backend.extra}
            code = f"import sys, raylabel.clients.endpoints; assert {backend.extra!r} not in sys.modules"
            subprocess.run([sys.executable, "-c", code], check=True)
