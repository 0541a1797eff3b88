"""The layers of raylabel: every package stands in one, and imports go down only.

A package is a module or a package directly under ``raylabel/``. A new one fails here until it has its layer below.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "raylabel"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("__init__",),
    # ground
    ("errors", "urls", "resampling", "timeouts"),
    ("logs",),
    ("blocks",),
    ("records",),
    ("geometry",),
    ("profiles", "validation"),
    ("answers", "prompts"),
    # what to ask and how to read the answer
    ("steps",),
    ("pipelines",),
    # bytes behind paths and URIs: the lowest of those that touch the world
    ("storage",),
    # what is written: the formats can be set
    ("exports",),
    # steps from outside of the package
    ("plugins",),
    # what can be set, the steps among it
    ("settings",),
    # what touches the world
    ("images", "clients", "sources", "store"),
    ("probing",),
    # model servers of one's own, which are asked a question before they count as ready
    ("servers",),
    # the whole run, without Ray and on it, and what looks at its results
    ("runtime",),
    ("engine",),
    ("review", "importing"),
    # labels against a truth, and two results against each other
    ("evaluation",),
    ("demo",),
    # entry
    ("commands",),
    # what programs import, and what people type
    ("api",),
    ("cli",),
    ("__main__",),
)
"""Lowest first. A package may import itself and the packages of the entries before its own."""

WITHIN_A_LAYER = {
    ("store", "raylabel.clients.base"): "replies are stored as clients give them",
    ("store", "raylabel.clients.finish"): "a word that nobody knew when a reply was stored may be known now",
}
"""Imports within a layer that are allowed, with the reason."""

VENDORS = {
    "ray": ("engine/*", "servers/*"),
    "openai": ("clients/openai_compat.py",),
    "google": ("clients/gemini.py",),
    "anthropic": ("clients/anthropic_messages.py",),
    "httpx2": ("clients/*",),
    "genai_prices": ("clients/prices.py",),
    "aiohttp": ("clients/transport.py",),
    "yarl": ("clients/transport.py",),
    "omegaconf": ("settings/*",),
    "pyarrow.fs": ("storage/*",),
    "fsspec": ("storage/*",),
    "scipy": ("evaluation/pairing.py",),
    "pycocotools": ("evaluation/average_precision.py",),
}
"""Third-party packages and modules that few files may know."""

URLS = ("urls.py", "blocks.py", "settings/*", "clients/*", "servers/checking.py", "demo/server/*", "cli.py")
"""Files that handle addresses of servers; anywhere else ``://`` would tell remote files from local ones, which is for
``storage`` alone."""

WORLD = {
    "asyncio",
    "datetime",
    "glob",
    "http",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
}
WORLDLESS = {"errors", "records", "geometry", "profiles", "validation", "answers", "prompts", "steps", "pipelines"}
"""Packages without files, network, processes, clock or chance."""
PURE_LIBRARIES = {"pydantic"}

FACE = "__init__.py"
"""The package itself: at the bottom, for its version; what it offers programs is looked up in ``api`` when used."""

SPEAKERS = ("cli.py", "commands/*", "__main__.py", "runtime/progress.py", "demo/*.py", "demo/server/__main__.py")
"""Files that may print; in the demo, the server (a library) may not."""
ENTRIES = ("cli.py", "__main__.py", "demo/server/__main__.py", "servers/watchdog.py")
"""Files that may end the process."""

NO_NOUN = {"utils", "util", "helpers", "helper", "misc", "common", "shared", "tools"}


def package_of(module: str) -> str:
    """``raylabel.clients.base`` -> ``clients``; the package itself -> ``__init__``."""
    return module.split(".")[1] if "." in module else "__init__"


def module_of(path: str) -> str:
    """``clients/base.py`` -> ``raylabel.clients.base``."""
    parts = ["raylabel", *path.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    inner = PACKAGE.joinpath(*name.split(".")[1:])
    return inner.is_dir() or inner.with_suffix(".py").is_file()


def imports_of(path: str, source: str) -> Iterator[str]:
    """The full names of the modules a file imports, wherever in the file it does so."""
    tree = ast.parse(source)
    if path == FACE:  # type checkers read there what it hands on at its first use
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_of(path).split(".")
                package = package[: len(package) - node.level + path.endswith("__init__.py")]
                base = ".".join([*package, base]) if base else ".".join(package)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in VENDORS or (base.startswith("raylabel") and is_module(inner)) else base


def names_from_package(source: str) -> Iterator[str]:
    """What a file imports from ``raylabel`` itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "raylabel" and not node.level:
            yield from (f"raylabel.{alias.name}" for alias in node.names)


def calls_of(source: str) -> Iterator[str]:
    """The dotted names of the functions a file calls or raises."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
            yield node.exc.id


def texts_of(source: str) -> Iterator[str]:
    """The texts a file works with: all but docstrings."""
    tree = ast.parse(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def vendor_of(imported: str) -> str:
    """The entry of ``VENDORS`` that a module belongs to, or nothing."""
    return next((name for name in VENDORS if f"{imported}.".startswith(f"{name}.")), "")


def fits(path: str, patterns: tuple[str, ...]) -> bool:
    # fnmatch's * also matches "/"; a pattern without a folder of its own means that depth only.
    return any(
        fnmatch.fnmatch(path, pattern) and (pattern.endswith("/*") or path.count("/") == pattern.count("/"))
        for pattern in patterns
    )


def complaints(path: str, source: str) -> list[str]:
    """What is wrong with one file of the package.

    Args:
        path: relative to ``raylabel/``, with forward slashes.
        source: its text.
    """
    module = module_of(path)
    package = package_of(module)
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    found = [f"{part} says nothing about what is in it" for part in module.split(".") if part in NO_NOUN]
    if package not in layer:
        return [*found, f"the package {package} has no layer yet"]

    for imported in imports_of(path, source):
        top = imported.split(".")[0]
        if top == "raylabel":
            other = package_of(imported)
            if other not in layer:
                found.append(f"imports {imported}, which has no layer")
            elif layer[other] > layer[package]:
                found.append(f"imports {imported}, which is upstairs")
            elif layer[other] == layer[package] and other != package and (package, imported) not in WITHIN_A_LAYER:
                found.append(f"imports {imported}, which is in the same layer")
            if path.startswith("demo/server/") and not imported.startswith("raylabel.demo.server"):
                found.append(f"imports {imported}: the demo's model knows nothing but the request")
        elif (vendor := vendor_of(imported)) and not fits(path, VENDORS[vendor]):
            found.append(f"imports {vendor}, which only {', '.join(VENDORS[vendor])} may")
        elif package in WORLDLESS and (
            top in WORLD or (top not in PURE_LIBRARIES and top not in sys.stdlib_module_names)
        ):
            found.append(f"imports {top}, which touches the world or is no small pure library")

    if any(re.fullmatch(r"raylabel\.(?!__)\w+", name) and not is_module(name) for name in names_from_package(source)):
        found.append("imports what is for programs")
    for called in calls_of(source):
        if called == "print" and not fits(path, SPEAKERS):
            found.append("prints")
        if called in {"sys.exit", "exit", "quit", "os._exit", "SystemExit"} and not fits(path, ENTRIES):
            found.append(f"ends the process ({called})")
    if package != "storage" and not fits(path, URLS) and any("://" in text for text in texts_of(source)):
        found.append("tells URIs from paths by itself")
    return found


def files() -> list[str]:
    return sorted(file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", files())
def test_a_file_keeps_to_its_layer(path: str) -> None:
    assert complaints(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        pytest.param("answers/boxes.py", "import ray", "imports ray", id="ray-on-the-ground"),
        pytest.param("review/sheets.py", "def f():\n    from ray import data", "imports ray", id="ray-in-a-function"),
        pytest.param("runtime/run.py", "import openai", "imports openai", id="vendor-outside-its-file"),
        pytest.param("clients/openai_compat.py", "from google import genai", "imports google", id="the-other-vendor"),
        pytest.param("runtime/plan.py", "from omegaconf import OmegaConf", "imports omegaconf", id="config-below"),
        pytest.param("runtime/worker.py", "import ray", "imports ray", id="ray-in-the-runtime"),
        pytest.param("runtime/worker.py", "from raylabel.engine import actors", "upstairs", id="runtime-knows-engine"),
        pytest.param("records.py", "from raylabel.geometry import iou", "upstairs", id="up-on-the-ground"),
        pytest.param("geometry.py", "from raylabel import records, cli", "upstairs", id="up-through-the-package"),
        pytest.param("steps/grounding.py", "from ..runtime import plan", "upstairs", id="up-relatively"),
        pytest.param("steps/base.py", "from raylabel.store import tables", "upstairs", id="step-opens-store"),
        pytest.param("steps/base.py", "from pathlib import Path", "touches the world", id="step-knows-paths"),
        pytest.param("prompts/__init__.py", "import numpy", "no small pure library", id="heavy-ground"),
        pytest.param("sources/kitti.py", "import raylabel.store.tables", "same layer", id="within-a-layer"),
        pytest.param(
            "storage/reading.py", "from raylabel.settings import Settings", "upstairs", id="storage-knows-all"
        ),
        pytest.param("steps/base.py", "from raylabel.storage import reading", "upstairs", id="step-opens-file"),
        pytest.param("store/tables.py", "from pyarrow import fs", "imports pyarrow.fs", id="a-bucket-of-its-own"),
        pytest.param("images/files.py", "import pyarrow.fs as x", "imports pyarrow.fs", id="a-bucket-by-another-name"),
        pytest.param("runtime/run.py", "x = '://' in y", "tells URIs from paths", id="remote-by-its-own-rule"),
        pytest.param("store/a.py", "import re\nX = re.compile('[a-z]+://')", "tells URIs", id="remote-by-expression"),
        pytest.param("demo/server/seeing.py", "from raylabel.records import Box", "nothing but", id="model-peeks"),
        pytest.param("attic/box.py", "", "no layer", id="unknown-package"),
        pytest.param("__init__.py", "from raylabel.api import run", "upstairs", id="the-face-at-import"),
        pytest.param("store/a.py", "from raylabel import read", "what is for programs", id="the-face-from-within"),
        pytest.param("store/utils.py", "", "says nothing", id="no-noun"),
        pytest.param("store/tables.py", "print('x')", "prints", id="print-in-the-store"),
        pytest.param("demo/server/model.py", "print('x')", "prints", id="print-in-the-demo-server"),
        pytest.param("runtime/run.py", "import sys\nsys.exit(1)", "ends the process", id="exit-in-the-runtime"),
        pytest.param("runtime/run.py", "raise SystemExit", "ends the process", id="exit-by-raising"),
    ],
)
def test_a_breach_is_seen(path: str, source: str, complaint: str) -> None:
    assert [said for said in complaints(path, source) if complaint in said]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("engine/actors.py", "import ray.data\nfrom raylabel.steps.base import Step", id="engine"),
        pytest.param("clients/gemini.py", "from google.genai import types", id="vendor-file"),
        pytest.param("store/results.py", "from raylabel.clients.base import Reply", id="named-exception"),
        pytest.param("sources/spec.py", "from raylabel.pipelines import steps_before", id="sources-know-steps"),
        pytest.param("store/tables.py", "import pyarrow.parquet\nfrom pyarrow import Table", id="the-rest-of-pyarrow"),
        pytest.param("storage/filesystems.py", "from pyarrow import fs\nX = '://'", id="storage-itself"),
        pytest.param("sources/spec.py", "def f():\n    'A path or s3://bucket.'", id="a-docstring-with-a-uri"),
        pytest.param("demo/show.py", "print('x')", id="the-demo-speaks"),
        pytest.param("cli.py", "from raylabel import __version__, settings", id="entry"),
        pytest.param("__init__.py", "if TYPE_CHECKING:\n    from raylabel.api import run", id="the-face-for-types"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert complaints(path, source) == []
