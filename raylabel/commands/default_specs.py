"""``auto_label default_specs``: a complete specification, every setting with its default."""

from __future__ import annotations

import argparse
from pathlib import Path

from raylabel.commands import Command
from raylabel.errors import ConfigError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="results_dir=DIR (required), module_name=auto_label, autolabel_type=PIPELINE (that pipeline's block only)",
    )


def _default_specs(options: argparse.Namespace) -> int:
    from raylabel.settings import STEP_NAMES, default_specification, did_you_mean

    known = ("results_dir", "module_name", "autolabel_type")
    given: dict[str, str] = {}
    for text in options.overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in known:
            raise ConfigError(f'"{key}": expected {", ".join(known)} as key=value.{did_you_mean(key, known)}')
        given[key] = value.strip("\"'")
    if given.get("module_name", "auto_label") != "auto_label":
        raise ConfigError(
            f'module_name: found "{given["module_name"]}", allowed: auto_label.'
            f"{did_you_mean(given['module_name'], ['auto_label'])}"
        )
    pipeline = given.get("autolabel_type") or None
    if pipeline is not None and pipeline not in STEP_NAMES:
        raise ConfigError(
            f'autolabel_type: found "{pipeline}", allowed: {", ".join(STEP_NAMES)}.{did_you_mean(pipeline, STEP_NAMES)}'
        )
    if not given.get("results_dir"):
        raise ConfigError("results_dir: required; give the folder for experiment.yaml, such as results_dir=results.")
    _write(Path(given["results_dir"]).expanduser() / "experiment.yaml", default_specification(pipeline))
    return 0


def _write(path: Path, text: str) -> None:
    try:
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise ConfigError(f'results_dir: "{path}" exists and differs; move it away or choose another folder.')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f'results_dir: cannot write "{path}": {error.strerror}.') from None
    print(path)


DEFAULT_SPECS = Command(
    "default_specs",
    "write a complete, commented specification to results_dir/experiment.yaml",
    "auto_label default_specs results_dir=/r module_name=auto_label",
    _add_arguments,
    _default_specs,
)
