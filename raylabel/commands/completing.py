"""What a shell offers behind TAB: commands and options by themselves, and for what stands behind them what is known.

``register-python-argcomplete`` has the shell start the program for each TAB, with the line to complete in its
environment. Nothing of this is imported otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import argcomplete
from argcomplete.completers import FilesCompleter

Completer = Callable[..., Iterable[str]]


def complete(parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Answer the shell, and end the process."""
    for command in commands.values():
        for action in command._actions:
            if (completer := _BY_NAME.get(action.dest)) is not None:
                action.completer = completer  # type: ignore[attr-defined]  # where argcomplete looks for it
    argcomplete.autocomplete(parser, always_complete_options=False)


# Each is told ``prefix``, and whatever else argcomplete knows.


def _settings(prefix: str, parsed_args: argparse.Namespace, action: argparse.Action, **_: Any) -> Iterable[str]:
    """The specification first, then settings and their values."""
    if not getattr(parsed_args, action.dest, None) and "=" not in prefix:
        steps = _steps() if "STEP" in str(action.metavar) else ()
        return [*FilesCompleter(("yaml", "yml"))(prefix), *steps]
    from raylabel.blocks import inner_block, members
    from raylabel.settings import Settings

    fields = {path: field for path, field in members(Settings) if inner_block(field) is None}
    key, equals, value = prefix.partition("=")
    if not equals:
        return [f"{path}=" for path in fields]
    if key not in fields:
        return []
    return [f"{key}={one}" for one in _values(fields[key], value)]


def _values(field: Any, prefix: str) -> Iterable[str]:
    """What may stand behind a setting: words of a few, true and false, or a path."""
    import typing

    from raylabel.blocks import plain_type

    if typing.get_origin(field.annotation) is typing.Literal:
        return typing.get_args(field.annotation)
    if plain_type(field) is bool:
        return ("true", "false")
    return FilesCompleter()(prefix) if plain_type(field) is str else ()


def _steps(**_: Any) -> Iterable[str]:
    from raylabel.pipelines import all_steps

    return list(all_steps())


def _recipes(**_: Any) -> Iterable[str]:
    from raylabel.commands.init import recipes

    return list(recipes())


def _formats(**_: Any) -> Iterable[str]:
    from raylabel.exports.training.formats import TRAINING_FORMATS

    return list(TRAINING_FORMATS)


def _profiles(**_: Any) -> Iterable[str]:
    from raylabel.profiles import PROFILES

    return [*(profile.name for profile in PROFILES), "all"]


def _outcomes(**_: Any) -> Iterable[str]:
    from raylabel.records import Outcome

    return [outcome.value for outcome in Outcome]


_BY_NAME: Mapping[str, Completer] = {
    "overrides": _settings,
    "step": _steps,
    "recipe": _recipes,
    "format": _formats,
    "profile": _profiles,
    "outcome": _outcomes,
    "plugins": FilesCompleter(("py",)),
    "experiment_spec_file": FilesCompleter(("yaml", "yml")),
}
"""By the name under which an argument is kept, in whichever command."""
