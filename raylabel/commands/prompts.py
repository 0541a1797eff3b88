"""``raylabel prompts``: the text a model is asked."""

from __future__ import annotations

import argparse
from string import Template
from typing import TYPE_CHECKING

from raylabel.commands import Command
from raylabel.errors import ConfigError

if TYPE_CHECKING:
    from raylabel.profiles import Profile

_WIDTH, _HEIGHT = 1280, 720
"""Of the image in the example, for models that write boxes in pixels."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("step", nargs="?", metavar="STEP", help="name of a step; without one, all are listed")
    parser.add_argument(
        "--profile", metavar="NAME", help="in the words of this family (as in vlm.profile), or of the family of a model"
    )
    parser.add_argument(
        "--template", action="store_true", help="the question with all its placeholders, to start a prompt_file from"
    )


def _prompts(options: argparse.Namespace) -> int:
    from raylabel.geometry import View
    from raylabel.pipelines import PIPELINES
    from raylabel.profiles import UNKNOWN
    from raylabel.prompts.boxes import box_values
    from raylabel.records import Size
    from raylabel.settings import did_you_mean

    steps = {step.name: step for pipeline in PIPELINES.values() for step in pipeline}
    if options.step is None:
        for name, step in steps.items():
            print(f"{name}: {(step.__doc__ or '').splitlines()[0]}")
        return 0
    if options.step not in steps:
        raise ConfigError(
            f'no step "{options.step}"; known: {", ".join(steps)}.{did_you_mean(options.step, list(steps))}'
        )
    profile = UNKNOWN if options.profile is None else _profile(options.profile)
    prompt = steps[options.step].prompt_for(profile)
    if options.template:
        print(prompt.text.strip())
        return 0
    size = Size(_WIDTH, _HEIGHT)
    question = Template(prompt.text).safe_substitute(box_values(profile, View(size, size))).strip()
    print("\n\n".join(part for part in (prompt.preamble, f"<image, {_WIDTH}x{_HEIGHT}>", question) if part))
    return 0


def _profile(name: str) -> Profile:
    from raylabel.profiles import PROFILES, profile_for, profile_named
    from raylabel.settings import did_you_mean

    found = profile_named(name) or profile_for([name])
    if found is None:
        names = [profile.name for profile in PROFILES]
        raise ConfigError(
            f'--profile: no family "{name}", and none that a model of this name belongs to; known: {", ".join(names)}.'
            f"{did_you_mean(name, names)}"
        )
    return found


PROMPTS = Command(
    "prompts",
    "show the text a model is asked in a step, around the image",
    "raylabel prompts grounding --profile qwen2.5-vl",
    _add_arguments,
    _prompts,
)
