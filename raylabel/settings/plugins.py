"""Plugins and the settings: a step that is added has its block, and can be chosen, from then on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from raylabel.blocks import documentation, inner_block, set_blocks
from raylabel.pipelines import all_steps, pipelines_of_plugins
from raylabel.plugins.loading import Plugin, activate, active, find_plugin
from raylabel.settings.root import Settings, pipeline_block
from raylabel.settings.steps import StepBlock, document_steps

T = TypeVar("T")

_OWN = frozenset(Settings.model_fields)


def use_plugins(names: Sequence[str]) -> tuple[Plugin, ...]:
    """Have pipelines and settings know the steps of these plugins, and of no others.

    Raises:
        ConfigError: one of them is not there, or is no plugin.
    """
    plugins = tuple(find_plugin(name) for name in dict.fromkeys(names))
    use_loaded(plugins)
    return plugins


def use_loaded(plugins: Sequence[Plugin]) -> None:
    """The same with plugins as they were when they were found."""
    activate(plugins)
    know_steps()


def know_steps() -> None:
    """Have the settings know the pipelines, and the steps in them, that there are by now."""
    has_other_steps = set_blocks(StepBlock, {name: step.settings for name, step in all_steps().items()})
    own = {
        name: block for name, field in Settings.model_fields.items() if (block := inner_block(field)) and name in _OWN
    }
    added = {name: pipeline_block(name, like) for name, like in pipelines_of_plugins().items()}
    if not set_blocks(Settings, {**own, **added}) and not has_other_steps:
        return
    document_steps(Settings)
    documentation.cache_clear()
    StepBlock.model_rebuild(force=True)
    Settings.model_rebuild(force=True)


class Carried(Generic[T]):
    """A value on its way to another process, where the plugins come first whose classes are in it."""

    def __init__(self, value: T) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        # What is called comes, with its arguments, before the state in a pickle.
        return _arrive, (active(),), self.__dict__


def _arrive(plugins: Sequence[Plugin]) -> Carried[Any]:
    use_loaded(plugins)
    return Carried.__new__(Carried)
