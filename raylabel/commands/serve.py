"""``raylabel serve``: model servers without a run, for the runs that follow."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from functools import partial

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
    from raylabel.engine.session import cluster_address
    from raylabel.servers.command import serve
    from raylabel.servers.standing import standing

    def say(text: str) -> None:
        print(printable(text), flush=True)

    model = settings.serve.served_name
    if not cluster_address(settings.ray):
        from raylabel.servers.background import ServersInBackground

        servers = ServersInBackground(settings.serve, settings.results_dir)
        return serve(servers, model, say, offered=partial(standing, settings.serve), reach="on this machine")
    from raylabel.engine.nodes import check_results_dir
    from raylabel.engine.replicas import ReplicasOnRay
    from raylabel.engine.session import ray_session

    check_results_dir(settings)
    with ray_session(settings.ray) as ray:
        placed = ReplicasOnRay(settings.serve, settings.results_dir, stand=True)
        return serve(placed, model, say, offered=lambda urls: nullcontext(), reach="on this cluster", death=ray.death)


SERVE = Command(
    "serve",
    "start the model servers of a specification and keep them up, for runs that follow",
    "raylabel serve config.yaml serve.model=Qwen/Qwen2.5-VL-7B-Instruct",
    _add_arguments,
    _serve,
    "raylabel serve [-h] [-v] [--plugin P] CONFIG [key=value ...]",
)
