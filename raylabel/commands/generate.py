"""``auto_label generate``: TAO's spelling of ``run``."""

from __future__ import annotations

import argparse
from pathlib import Path

from raylabel.commands import Command, add_pilot, add_plugins, add_progress, add_writing, add_yes
from raylabel.commands.run import run_settings, sample_of
from raylabel.errors import ConfigError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-e", "--experiment_spec_file", metavar="SPEC", help="the specification, a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings that win over the file; key= means not set"
    )
    add_pilot(parser)
    add_yes(parser)
    add_progress(parser)
    add_writing(parser)
    add_plugins(parser)


def _generate(options: argparse.Namespace) -> int:
    if options.experiment_spec_file is None:
        raise ConfigError('no specification given: write "auto_label generate -e SPEC [key=value ...]".')
    sample = sample_of(options)
    from raylabel.settings import load_settings

    settings = load_settings(Path(options.experiment_spec_file), options.overrides, plugins=options.plugins)
    return run_settings(
        settings,
        options.limit,
        sample=sample,
        confirmed=options.yes,
        replace=options.replace,
        quiet=options.quiet,
        progress=options.progress,
    )


GENERATE = Command(
    "generate",
    'the same as "run", spelled as in TAO',
    "auto_label generate -e spec.yaml results_dir=/r image_grounding.data.input_jsonl=/d/c.jsonl",
    _add_arguments,
    _generate,
)
