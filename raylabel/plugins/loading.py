"""Finds plugins, loads them, and puts their steps behind those of the package.

The steps of a process are those of the specification it works on: ``activate`` names all plugins at once. A file
travels to other processes by its text, so that machines need not see it, and is a module of its own for each text: one
that was edited is another, also in a notebook. An installed plugin is imported by its name and has to be installed
everywhere, as raylabel has.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from raylabel.errors import ConfigError
from raylabel.pipelines import PIPELINES, all_steps, input_of, pipelines_of_plugins, set_steps_of_plugins
from raylabel.prompts import Prompt
from raylabel.records import Changes, JsonObject, Record, digest_of
from raylabel.steps.base import KINDS, Answered, Kind, Question, Result, Skip, Step, WholeReplyStep
from raylabel.steps.settings import StepSettings
from raylabel.storage.regular import read_limited

GROUP = "raylabel.plugins"
"""Of entry points: ``[project.entry-points."raylabel.plugins"]`` with ``my-colors = "my_package.steps"``."""
TABLE = "PIPELINES"
"""What a plugin has to hold: its steps by the name of their pipeline, or a ``Pipeline`` by that of a new one."""

_LIMIT_BYTES = 2_000_000
_SHOWN_CHARS = 200
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_GIVEN = tuple(field.name for field in fields(Changes))
_RECORD = tuple(field.name for field in fields(Record))


@dataclass(frozen=True)
class Plugin:
    """Where steps come from.

    Args:
        name: as the specification has it: a path that ends with ``.py``, or the name of an entry point.
        module: that it is imported as.
        digest: of its text.
        text: of a file; None: it is installed.
    """

    name: str
    module: str
    digest: str
    text: str | None = None


_active: tuple[Plugin, ...] = ()
_has_declared = False
"""Whether the pipelines hold steps beside those of the active plugins."""


def active() -> tuple[Plugin, ...]:
    """The plugins whose steps the pipelines hold now."""
    return _active


def find_plugin(name: str) -> Plugin:
    """The plugin of a name, as it is now; nothing of it is run.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    if name.endswith(".py"):
        path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path raises where there is no such user
        text = _text_of(name, path)
        digest = digest_of("plugin", text)
        return Plugin(name, f"raylabel_plugin_{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}_{digest[:12]}", digest, text)
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if name not in installed:
        known = f"installed are {', '.join(sorted(installed))}" if installed else "none is installed"
        raise ConfigError(f'plugins: "{_shown(name)}" is no file that ends with .py, and no installed plugin; {known}.')
    module = installed[name].module
    return Plugin(name, module, digest_of("plugin", _text_of(name, _file_of(name, module))))


def _file_of(name: str, module: str) -> Path:
    try:
        spec = find_spec(module)
    except ImportError as error:
        raise ConfigError(f'plugins: "{name}" cannot be imported: {error}.') from error
    if spec is None or spec.origin is None:
        raise ConfigError(f'plugins: "{name}" names the module {module}, which is not there.')
    return Path(spec.origin)


def _text_of(name: str, path: Path) -> str:
    try:
        return read_limited(str(path), _LIMIT_BYTES).decode()
    except FileNotFoundError:
        where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        raise ConfigError(f'plugins: no file "{_shown(name)}"{where}.') from None
    except UnicodeDecodeError as error:
        raise ConfigError(f'plugins: "{name}" is not UTF-8 text (byte {error.start}).') from None
    except OSError as error:
        raise ConfigError(f'plugins: "{_shown(name)}" cannot be read: {error.strerror or error}.') from None
    except ValueError as error:  # a zero byte in the name
        raise ConfigError(f'plugins: "{_shown(name)}" cannot be read: {error}.') from None


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_CHARS else f"{name[:_SHOWN_CHARS]}..."


def activate(plugins: Sequence[Plugin]) -> None:
    """Have the pipelines hold the steps of these plugins behind their own, and no others.

    Raises:
        ConfigError: one of them cannot be imported, or holds something else than steps.
    """
    global _active, _has_declared
    if tuple(plugins) == _active and not _has_declared:
        return
    added: dict[str, list[type[Step]]] = {}
    like: dict[str, str] = {}
    names = {step.name for step in all_steps().values() if not step.plugin}
    for plugin in plugins:
        for pipeline, step in _steps_in(plugin, _imported(plugin), like):
            if step.name in names:
                raise ConfigError(
                    f'plugins: "{plugin.name}": there is another step called "{step.name}"; give it a name of its own.'
                )
            names.add(step.name)
            step.plugin = plugin.digest
            added.setdefault(pipeline, []).append(step)
    set_steps_of_plugins(added, like)
    _active, _has_declared = tuple(plugins), False


# --- importing ------------------------------------------------------------------------------------------------------


class _TextLoader(InspectLoader):
    """Imports a text as a module; tracebacks and ``inspect.getsource`` show its lines, on machines without the file
    too."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def get_source(self, fullname: str) -> str:
        return self._plugin.text or ""

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_source(fullname), self._plugin.name)


def _imported(plugin: Plugin) -> ModuleType:
    try:
        if plugin.text is None:
            return import_module(plugin.module)
        if plugin.module in sys.modules:
            return sys.modules[plugin.module]
        spec = ModuleSpec(plugin.module, _TextLoader(plugin), origin=plugin.name)
        spec.has_location = True
        module = sys.modules[plugin.module] = module_from_spec(spec)
        try:
            assert spec.loader is not None
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[plugin.module]
            raise
        return module
    except Exception as error:  # it is the user's code
        raise ConfigError(
            f'plugins: "{plugin.name}"{_line(plugin, error)}: {type(error).__name__}: {error}.'
        ) from error


def _line(plugin: Plugin, error: Exception) -> str:
    """Where in a file an error came up."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == plugin.name]
    return f", line {lines[-1]}" if lines else ""


# --- what is in them ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pipeline:
    """A pipeline of a plugin's own, in its table in the place of a list.

    Args:
        like: the pipeline of raylabel's own whose input it takes, and whose settings its block has.
        steps: in order. Those of raylabel cannot stand in two pipelines: derive from one, with a name of its own.
    """

    like: str
    steps: Sequence[type[Step]]


def _steps_in(plugin: Plugin, module: ModuleType, like: dict[str, str]) -> Iterator[tuple[str, type[Step]]]:
    """The steps of a plugin with their pipelines, in order.

    Args:
        like: the pipelines that plugins add; those of this one are put there.

    Raises:
        ConfigError: a sentence on what is no step, and why.
    """
    table = getattr(module, TABLE, None)
    if not isinstance(table, Mapping) or not table:
        raise ConfigError(
            f'plugins: "{plugin.name}" has no {TABLE}; write {TABLE} = {{"image_grounding": [MyStep]}} in it.'
        )
    for pipeline, steps in table.items():
        where = f'plugins: "{plugin.name}": {TABLE}'
        known = [name for name in PIPELINES if name not in pipelines_of_plugins()]
        if isinstance(steps, Pipeline):
            if problem := _problem_of_pipeline(pipeline, steps, [*known, *like], known):
                raise ConfigError(f"{where}: {problem}.")
            like[pipeline], steps = steps.like, steps.steps
        elif pipeline not in (*known, *like):
            raise ConfigError(
                f'{where}: no pipeline "{pipeline}"; known: {", ".join([*known, *like])}; a new one is written as '
                "Pipeline(like, steps)."
            )
        if not isinstance(steps, Sequence):
            raise ConfigError(f'{where}["{pipeline}"]: found {type(steps).__name__}, expected a list of steps.')
        for step in steps:
            if not isinstance(step, type) or not issubclass(step, Step):
                raise ConfigError(f'{where}["{pipeline}"]: found {step!r}, expected a class that is derived from Step.')
            if problem := _problem(step):
                raise ConfigError(f'plugins: "{plugin.name}": {step.__name__}: {problem}.')
            yield pipeline, step


def _problem_of_pipeline(name: object, pipeline: Pipeline, taken: Sequence[str], own: Sequence[str]) -> str:
    """What is wrong with a pipeline of a plugin's own, in words; empty where nothing is."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"found {name!r}, expected lower-case letters, digits and _"
    if name in taken:
        return f'there is another pipeline called "{name}"; rename it'
    if pipeline.like not in own:
        return f'"{name}": like: found "{pipeline.like}", allowed: {", ".join(own)}'
    return "" if pipeline.steps else f'"{name}": found no steps'


def _problem(step: type[Step]) -> str:
    """What a class lacks to be a step, in words; empty where nothing is missing."""
    for name in ("name", "needs", "gives", "finds", "prompt"):
        if not hasattr(step, name):
            return f'"{name}" is missing'
    if inspect.isabstract(step):
        return f"does not define {', '.join(sorted(step.__abstractmethods__))}"
    if not isinstance(step.name, str) or not _NAME.fullmatch(step.name):
        return f"name: found {step.name!r}, expected lower-case letters, digits and _, such as object_colors"
    for attribute, known in (("needs", _RECORD), ("uses", _RECORD), ("gives", _GIVEN)):
        if unknown := [field for field in getattr(step, attribute) if field not in known]:
            return f'{attribute}: found "{unknown[0]}", allowed: {", ".join(known)}'
    if not step.gives:
        return f"gives: found nothing, expected some of {', '.join(_GIVEN)}"
    if step.finds not in KINDS:
        return f"finds: found {step.finds!r}, allowed: {', '.join(KINDS)}"
    if not isinstance(step.prompt, Prompt):
        return f"prompt: found {type(step.prompt).__name__}, expected a Prompt"
    if not issubclass(step.settings, StepSettings):
        return "settings: expected a class that is derived from StepSettings"
    return ""


# --- without their code ---------------------------------------------------------------------------------------------


class _DeclaredSettings(StepSettings):
    """The block of a step of which only the name is known: it may hold anything."""

    model_config = ConfigDict(extra="allow")


class DeclaredStep(WholeReplyStep):
    """A step of a plugin by what was noted of it with results: where its rows are and what stands in them. It asks
    nothing, and nothing of the plugin is run: who looks at results that somebody sent does not run their code."""

    settings: ClassVar[type[StepSettings]] = _DeclaredSettings
    prompt = Prompt(version=0, text="", needs=())

    def questions(self, record: Record) -> list[Question] | Skip:
        return Skip("the plugin is not loaded")

    def parse(self, question: Question, text: str, record: Record, left_out: Any) -> None:
        """Nothing is asked, so that nothing is answered."""

    def conclude(self, answers: Sequence[Answered], record: Record) -> Result:
        raise NotImplementedError("nothing is asked")


def declarations() -> list[JsonObject]:
    """What is noted with results of the plugins that are active."""
    return [
        {
            "name": plugin.name,
            "digest": plugin.digest,
            "steps": [
                {
                    "pipeline": pipeline,
                    "like": input_of(pipeline),
                    "name": step.name,
                    "purpose": (step.__doc__ or "").partition("\n")[0],
                    **{name: list(getattr(step, name)) for name in ("needs", "uses", "gives")},
                    "finds": step.finds,
                }
                for pipeline, steps in PIPELINES.items()
                for step in steps
                if step.plugin == plugin.digest
            ],
        }
        for plugin in _active
    ]


def _named(text: str) -> str:
    if not _NAME.fullmatch(text):  # it becomes the name of a folder
        raise ValueError("no name")
    return text


_Name = Annotated[str, AfterValidator(_named)]


class _NotedStep(BaseModel):
    pipeline: _Name
    like: str
    name: _Name
    purpose: str
    needs: tuple[str, ...]
    uses: tuple[str, ...]
    gives: tuple[str, ...]
    finds: Kind


class _NotedPlugin(BaseModel):
    digest: Annotated[str, Field(min_length=1)]
    steps: list[_NotedStep]


def declare(noted: Any) -> None:
    """Have the pipelines hold steps by what was noted of them (``declarations``), those aside that they hold already.

    Args:
        noted: what was read; plugins that are noted in another way, by another release, are passed over.
    """
    global _has_declared
    added = {pipeline: [step for step in steps if step.plugin] for pipeline, steps in PIPELINES.items()}
    like = pipelines_of_plugins()
    names = set(all_steps())
    for each in noted if isinstance(noted, list) else ():
        try:
            plugin = _NotedPlugin.model_validate(each)
        except ValidationError:
            continue
        for one in plugin.steps:
            if (
                one.name in names
                or one.like not in PIPELINES
                or (one.pipeline in PIPELINES) != (one.pipeline == one.like)
            ):
                continue
            values = one.model_dump(include={"name", "needs", "uses", "gives", "finds"})
            step = type("DeclaredStep", (DeclaredStep,), {**values, "plugin": plugin.digest, "__doc__": one.purpose})
            added.setdefault(one.pipeline, []).append(step)
            if one.pipeline != one.like:
                like[one.pipeline] = one.like
            names.add(one.name)
            _has_declared = True
    set_steps_of_plugins(added, like)
