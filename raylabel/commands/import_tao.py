"""``raylabel import-tao``: a results folder of TAO's auto_label becomes one of raylabel's."""

from __future__ import annotations

import argparse
import shlex

from raylabel.commands import Command
from raylabel.errors import ConfigError, without_controls

_SPECIFICATION = "experiment.yaml"
"""As TAO leaves it in a results folder."""
_BOXES = ("auto", "pixels", "xyxy1000", "yxyx1000", "none")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "old", metavar="OLD_RESULTS", help="results_dir of auto_label, a path or URI; it stays as it is"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that win over the specification, the input's place say",
    )
    parser.add_argument("--out", metavar="RESULTS", help="the new results_dir")
    parser.add_argument(
        "--config",
        metavar="CONFIG",
        help=f"the specification of the run, TAO's own or another (default: OLD_RESULTS/{_SPECIFICATION})",
    )
    parser.add_argument(
        "--boxes",
        choices=_BOXES,
        default="auto",
        metavar="UNIT",
        help="image_grounding: what the numbers of boxes are: pixels, xyxy1000 or yxyx1000 (a grid of 0 to 1000, x or "
        "y first), none (leave them to be asked); default: what they tell",
    )
    parser.add_argument(
        "--ask-doubtful",
        action="store_true",
        help="leave open also what may be the model's word or a loss: phrases without a box beside others that have "
        "some, described boxes that no phrase names, phrases that the double check left out",
    )


def _import(options: argparse.Namespace) -> int:
    from pathlib import Path

    from raylabel.importing import Manner, import_tao
    from raylabel.settings import load_settings
    from raylabel.storage.locations import join, local_path

    if not options.out:
        raise ConfigError("--out: not given; name a new folder for the results.")
    config = options.config
    if config is None:
        found = local_path(join(options.old, _SPECIFICATION))
        if found is None or not Path(found).is_file():
            raise ConfigError(
                f"--config: not given, and there is no {_SPECIFICATION} in {options.old}; give the specification of "
                "the run that made it (TAO's own works), which names the input."
            )
        config = found
    settings = load_settings(Path(config), [*options.overrides, f"results_dir={options.out}"])
    manner = Manner(options.boxes, takes_doubtful=not options.ask_doubtful)
    for line in import_tao(settings, options.old, manner, _say).describe():
        _say(line)
    words = " ".join(map(shlex.quote, [config, *options.overrides, f"results_dir={options.out}"]))
    _say(f'"raylabel run {words}" asks what is left open')
    return 0


def _say(text: str) -> None:
    from raylabel.urls import mask_urls

    print(without_controls(mask_urls(text)))


IMPORT_TAO = Command(
    "import-tao",
    "take over a results folder of TAO's auto_label: what is good in it is never asked again, what was lost is",
    "raylabel import-tao old_results --out results --config spec.yaml",
    _add_arguments,
    _import,
    "raylabel import-tao [-h] [-v] --out RESULTS [--config CONFIG] [--boxes UNIT] [--ask-doubtful] OLD_RESULTS "
    "[key=value ...]",
)
