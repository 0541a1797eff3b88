"""``raylabel check``: whether a run can begin, and all that would not go well in it."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from raylabel.commands import Command, add_plugins
from raylabel.commands.run import check_endpoint, load, one_own_server
from raylabel.errors import ConfigError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raylabel.runtime.checking import Finding

_FIX = 2
_MARKS = {True: ("ok", "green"), False: ("BAD", "bold red"), None: ("-", "dim")}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="CONFIG key=value", help="as for run; no label is stored")
    parser.add_argument("--offline", action="store_true", help="leave the endpoint out: nothing is asked")
    add_plugins(parser)


def _check(options: argparse.Namespace) -> int:
    all_good = True
    for finding in _findings(options):
        _show(finding)
        all_good = all_good and finding.good is not False
    return 0 if all_good else _FIX


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    from raylabel.runtime.checking import Check, Finding

    words, has_input = list(options.overrides), True
    try:
        settings = load(options, "check")
    except ConfigError as error:
        for each in (error, *error.others):
            yield Finding("settings", False, str(each), "mend the setting; raylabel default_specs writes all there are")
        options.overrides = words
        try:
            settings = load(options, "check", needs_input=False)  # the rest can be looked at where only this is wrong
        except ConfigError:
            return
        has_input = False
    else:
        steps = ", ".join(step.name for step in settings.selected_steps)
        yield Finding("settings", True, f"{settings.autolabel_type}: {steps}")
    offline: bool = options.offline
    try:
        check_endpoint(settings)
    except ConfigError as error:
        yield Finding("endpoint", False, str(error), "mend the setting, or give the key")
        offline = True
    with ExitStack() as stack:
        own_url: Callable[[], str] | None = None
        if settings.serve.is_used:

            def own_url() -> str:
                return stack.enter_context(one_own_server(settings))

        yield from Check(settings, own_url).findings(offline=offline, has_input=has_input)


def _show(finding: Finding) -> None:
    from rich.console import Console
    from rich.text import Text

    from raylabel.settings import mask_urls

    console = Console(highlight=False)
    mark, style = _MARKS[finding.good]
    name, text = f"{mark:<4}{printable(finding.part):<22} ", printable(mask_urls(finding.text))
    console.print(Text.assemble((name, style), text), soft_wrap=True)
    if finding.good is False:
        console.print(Text(f"{'':<27}-> {printable(finding.remedy)}", style="bold"), soft_wrap=True)


CHECK = Command(
    "check",
    "see whether a run can begin: settings, every input line, images, endpoint, and one record through every step",
    "raylabel check config.yaml",
    _add_arguments,
    _check,
    "raylabel check [-h] [-v] [--offline] [--plugin P] CONFIG [key=value ...]",
)
