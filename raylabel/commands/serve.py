"""``raylabel serve``: model servers without a run, for the runs that follow."""

from __future__ import annotations

import argparse

from raylabel.commands import Command, add_plugins
from raylabel.commands.run import load
from raylabel.errors import ConfigError, printable


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value",
        help="as for run, where no input need be named; its block serve says what is started",
    )
    add_plugins(parser)


def _serve(options: argparse.Namespace) -> int:
    settings = load(options, "serve", needs_input=False)
    if not settings.serve.is_used:
        raise ConfigError("serve.model: required; give the name on the hub, or the folder, of the model to serve.")
    from raylabel.servers.command import serve
    from raylabel.servers.standing import log_folder

    return serve(settings.serve, log_folder(settings.results_dir), lambda text: print(printable(text), flush=True))


SERVE = Command(
    "serve",
    "start the model servers of a specification and keep them up, for runs that follow",
    "raylabel serve config.yaml serve.model=Qwen/Qwen2.5-VL-7B-Instruct",
    _add_arguments,
    _serve,
    "raylabel serve [-h] [-v] [--plugin P] CONFIG [key=value ...]",
)
