"""``raylabel calibrate``: how a model writes boxes, measured and drawn."""

from __future__ import annotations

import argparse
from pathlib import Path

from raylabel.commands import Command, add_plugins
from raylabel.commands.run import check_endpoint, load, one_own_server
from raylabel.errors import ClientError, ConfigError, printable


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value",
        help="as for run, where no input need be named; the model is shown drawn pictures only",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("calibration"), metavar="DIR", help="for the pictures; default: calibration"
    )
    add_plugins(parser)


def _calibrate(options: argparse.Namespace) -> int:
    settings = load(options, "calibrate", needs_input=False)
    check_endpoint(settings)
    from raylabel.probing.command import calibrate

    def say(text: str) -> None:
        print(printable(text))

    try:
        if not settings.serve.is_used:
            return calibrate(settings, options.out, say)
        with one_own_server(settings) as url:
            return calibrate(settings, options.out, say, url)
    except ClientError as error:
        from raylabel.clients.endpoints import describe_trouble

        raise ConfigError(describe_trouble(error, settings.pipeline.vlm, settings.autolabel_type)) from error


CALIBRATE = Command(
    "calibrate",
    "see with drawn pictures how the model writes boxes, and whether it can place them at all",
    "raylabel calibrate config.yaml --out verdicts",
    _add_arguments,
    _calibrate,
    "raylabel calibrate [-h] [-v] [--out DIR] [--plugin P] CONFIG [key=value ...]",
)
