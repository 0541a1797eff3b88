"""``raylabel run``, and what the other commands that take a specification share with it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from raylabel.commands import Command, add_pilot, add_plugins, add_progress, add_writing, add_yes
from raylabel.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from raylabel.runtime.executor import Executor
    from raylabel.runtime.sampled import Sample
    from raylabel.runtime.served import OwnServers
    from raylabel.runtime.work_list import Wanted
    from raylabel.settings import Settings


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value",
        help="the specification (a YAML file), and settings that win over it; key= means not set",
    )
    add_pilot(parser)
    add_yes(parser)
    add_progress(parser)
    add_writing(parser)
    add_plugins(parser)


def _run(options: argparse.Namespace) -> int:
    sample = sample_of(options)
    return run_settings(
        load(options, "run"),
        options.limit,
        sample=sample,
        confirmed=options.yes,
        replace=options.replace,
        quiet=options.quiet,
        progress=options.progress,
    )


def sample_of(options: argparse.Namespace) -> Sample | None:
    """The random pilot that is asked for.

    Raises:
        ConfigError: it is not clear which records are meant.
    """
    if options.sample is None:
        if options.seed is not None:
            raise ConfigError("--seed draws another sample, and there is none; add --sample N.")
        return None
    if options.limit is not None:
        raise ConfigError("--limit takes the first records, --sample some at random; give one of the two.")
    from raylabel.runtime.sampled import Sample

    return Sample(options.sample, options.seed or 0)


def load(options: argparse.Namespace, command: str, *, needs_input: bool = True) -> Settings:
    """The settings of a command line that names a specification somewhere among its overrides.

    Args:
        needs_input: whether they have to name the input.
    """
    from raylabel.settings import load_settings

    # "=" is legal in a file's name, so a word with one is an override only where no such file exists.
    config = next((word for word in options.overrides if "=" not in word or Path(word).is_file()), None)
    if config is None:
        raise ConfigError(
            f'no specification given: write "raylabel {command} CONFIG [key=value ...]"; "raylabel init" lists recipes '
            'to start from, "raylabel default_specs results_dir=DIR module_name=auto_label" writes every setting.'
        )
    options.overrides.remove(config)
    return load_settings(Path(config), options.overrides, needs_input=needs_input, plugins=options.plugins)


def run_settings(
    settings: Settings,
    limit: int | None = None,
    wanted: Wanted | None = None,
    *,
    sample: Sample | None = None,
    confirmed: bool = False,
    replace: bool = False,
    quiet: bool = False,
    progress: str | None = None,
    console: Console | None = None,
    own_process: bool = True,
) -> int:
    """Label what the settings name, or only the wanted records of it; returns the exit code.

    Args:
        console: for progress and summary; standard output by default.
        own_process: this process does nothing else, before or after, and may be set up for it.
    """
    check_endpoint(settings)
    from raylabel.engine.nodes import check_results_dir
    from raylabel.runtime import process
    from raylabel.runtime.run import run

    check_results_dir(settings)
    executor, console = executor_of(settings), console_of(progress)
    if settings.serve.is_used:
        from raylabel.runtime.served import Served

        executor = Served(executor, own_servers(settings, console, on_cluster=executor.is_elsewhere, quiet=quiet))
    if own_process:
        process.set_up()
    return run(
        settings,
        executor,
        limit,
        console=console,
        wanted=wanted,
        sample=sample,
        confirmed=confirmed,
        replace=replace,
        quiet=quiet,
        progress=progress,
    )


def console_of(progress: str | None) -> Console:
    """Where a run speaks: standard output, unless that is for JSON lines."""
    from rich.console import Console

    return Console(stderr=progress == "json")


def executor_of(settings: Settings) -> Executor:
    """Ray, with a head start where it is this machine's own and nobody says how many of its workers there shall be.

    What killed runs left of their Ray is ended.
    """
    from raylabel.engine.executor import RayExecutor
    from raylabel.engine.remains import end_remains
    from raylabel.runtime.head_start import HeadStart

    end_remains()
    ray = RayExecutor(settings.ray)
    return ray if ray.is_elsewhere or settings.ray.actors else HeadStart(ray)


def own_servers(
    settings: Settings, console: Console | None = None, *, on_cluster: bool = False, quiet: bool = False
) -> OwnServers:
    """The model servers that the settings ask for; none is started yet.

    Args:
        console: where is told what becomes of them; standard output by default.
        on_cluster: they are to run on the nodes of the Ray cluster that this process joins.
    """
    from rich.console import Console

    from raylabel.runtime.served import OwnServers
    from raylabel.servers.background import Servers, ServersInBackground

    servers: Servers
    if on_cluster:
        from raylabel.engine.replicas import ReplicasOnRay

        servers = ReplicasOnRay(settings.serve, settings.results_dir)
    else:
        servers = ServersInBackground(settings.serve, settings.results_dir)
    return OwnServers(settings, servers, Console(quiet=True) if quiet else console)


@contextmanager
def one_own_server(settings: Settings) -> Iterator[str]:
    """The base URL of one of the servers that a run would have, where it would have them.

    Raises:
        StartError, ServerError: it does not come up.
    """
    from raylabel.engine.session import cluster_address, ray_session

    one = settings.model_copy(update={"serve": settings.serve.model_copy(update={"replicas": 1})})
    is_elsewhere = bool(cluster_address(settings.ray))
    with (
        ray_session(settings.ray) if is_elsewhere else nullcontext(),
        own_servers(one, on_cluster=is_elsewhere) as servers,
    ):
        yield servers.urls()[0]


def check_endpoint(settings: Settings) -> None:
    """See that the key is there and every step can be asked, while nothing has started."""
    from raylabel.clients.endpoints import check_backend, configured_profile, sampling_for

    try:
        check_backend(settings.pipeline.vlm, os.environ)
        for step in settings.selected_steps:
            configured_profile(settings.pipeline.vlm, sampling_for(settings, step.name).model)
    except ConfigError as error:
        # The clients know a vlm block, not whose it is.
        owner = f"{settings.autolabel_type}." if str(error).startswith("vlm.") else ""
        raise ConfigError(f"{owner}{error}") from error


RUN = Command(
    "run",
    "label what a specification names; the same command continues an interrupted run",
    "raylabel run config.yaml results_dir=results image_grounding.workflow.max_workers=16 --limit 20",
    _add_arguments,
    _run,
    "raylabel run [-h] [-v] [-q] [--limit N | --sample N [--seed S]] [--yes] [--replace] [--progress KIND] "
    "[--exit-zero] [--plugin P] CONFIG [key=value ...]",
)
