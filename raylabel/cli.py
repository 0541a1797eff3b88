"""The command line: ``raylabel``, ``auto_label`` and ``python -m raylabel`` are this one program.

Exit codes: 0 all settled; 1 the run broke; 2 the user must fix something; 3 finished with open records; 130
interrupted. What is imported per command is imported there: a mistake in the specification is told before Ray starts.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from raylabel import __version__
from raylabel.errors import ClientError, ConfigError, InputError, ServerError, StoreError, printable
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.settings import STEP_NAMES, Settings, did_you_mean, mask_urls
from raylabel.specification import default_specification, load_settings

if TYPE_CHECKING:
    from raylabel.runtime.executor import Executor

BROKE, FIX, INTERRUPTED = 1, 2, 130

COMMANDS = ("run", "generate", "default_specs", "calibrate", "demo", "review", "read-answers")
_PIPELINES = {
    "both": list(STEP_NAMES),
    IMAGE_GROUNDING: [IMAGE_GROUNDING],
    IMAGE_REFERRING_EXPRESSION: [IMAGE_REFERRING_EXPRESSION],
}


def entry() -> NoReturn:
    """The process of a command: run it and leave.

    Once Ray was in a process, taking the interpreter down lasts up to a second, in which nothing of use happens.
    """
    code = main()
    logging.shutdown()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: without the program's name; None takes those of the process.

    Returns:
        The exit code. Unexpected errors leave as they are, with their traceback.
    """
    try:
        options = _parser().parse(sys.argv[1:] if argv is None else argv)
        logging.basicConfig(level=logging.WARNING, format="%(name)s: %(levelname)s: %(message)s")
        if options.verbose:
            logging.getLogger("raylabel").setLevel(logging.DEBUG)
        code: int = options.command(options)
    except (ConfigError, InputError) as error:
        return _say(error, FIX)
    except ServerError as error:
        return _say(error, FIX if _user_can_fix(error) else BROKE)
    except StoreError as error:
        return _say(error, BROKE)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _say(error: Exception, code: int) -> int:
    print(f"raylabel: {printable(mask_urls(str(error)))}", file=sys.stderr)
    return code


def _user_can_fix(error: ServerError) -> bool:
    """A wrong key or an unknown model; not a server that went away in the middle."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.verdict.ends_run


# --- commands -------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    return _run_settings(_load(options, "run"), options.limit)


def _load(options: argparse.Namespace, command: str) -> Settings:
    # "=" is legal in a file's name, so a word with one is an override only where no such file exists.
    config = next((word for word in options.overrides if "=" not in word or Path(word).is_file()), None)
    if config is None:
        raise ConfigError(
            f'no specification given: write "raylabel {command} CONFIG [key=value ...]"; '
            '"raylabel default_specs results_dir=DIR module_name=auto_label" makes a complete one to start from.'
        )
    options.overrides.remove(config)
    return load_settings(Path(config), options.overrides)


def _calibrate(options: argparse.Namespace) -> int:
    settings = _load(options, "calibrate")
    _check_endpoint(settings)
    from raylabel.probing.command import calibrate

    try:
        return calibrate(settings, options.out, lambda text: print(printable(text)))
    except ClientError as error:
        from raylabel.clients.endpoints import trouble_in_words

        raise ConfigError(trouble_in_words(error, settings.pipeline.vlm, settings.autolabel_type)) from error


def _generate(options: argparse.Namespace) -> int:
    if options.experiment_spec_file is None:
        raise ConfigError('no specification given: write "auto_label generate -e SPEC [key=value ...]".')
    return _run_settings(load_settings(Path(options.experiment_spec_file), options.overrides), options.limit)


def _run_settings(settings: Settings, limit: int | None) -> int:
    _check_endpoint(settings)
    from raylabel.runtime.process import rare_garbage_collection
    from raylabel.runtime.run import run

    executor = _executor(settings)
    rare_garbage_collection()
    return run(settings, executor, limit)


def _executor(settings: Settings) -> Executor:
    """Ray, with a head start where it is this machine's own and nobody says how many of its workers there shall be."""
    from raylabel.engine.executor import RayExecutor
    from raylabel.runtime.head_start import HeadStart

    ray = RayExecutor(settings.ray)
    return ray if ray.is_elsewhere or settings.ray.actors else HeadStart(ray)


def _check_endpoint(settings: Settings) -> None:
    """See that the key is there and every step can be asked, while nothing has started."""
    from raylabel.clients.endpoints import configured_profile, resolve_key, sampling_for

    try:
        resolve_key(settings.pipeline.vlm, os.environ)
        for step in settings.pipeline.workflow.steps:
            configured_profile(settings.pipeline.vlm, sampling_for(settings, step).model)
    except ConfigError as error:
        # The clients know a vlm block, not whose it is.
        owner = f"{settings.autolabel_type}." if str(error).startswith("vlm.") else ""
        raise ConfigError(f"{owner}{error}") from error


def _default_specs(options: argparse.Namespace) -> int:
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
    _write_specification(Path(given["results_dir"]).expanduser() / "experiment.yaml", default_specification(pipeline))
    return 0


def _write_specification(path: Path, text: str) -> None:
    try:
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise ConfigError(f'results_dir: "{path}" exists and differs; move it away or choose another folder.')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f'results_dir: cannot write "{path}": {error.strerror}.') from None
    print(path)


def _demo(options: argparse.Namespace) -> int:
    from raylabel.demo.show import run_demo

    made = partial(_executor, Settings())
    return run_demo(options.out, options.images, _PIPELINES[options.pipeline], options.backend, options.json, made)


def _review(options: argparse.Namespace) -> int:
    if not options.png:
        raise ConfigError('nothing to draw: write "raylabel review RESULTS --png".')
    if not options.results.is_dir():
        raise ConfigError(f'RESULTS: no folder "{options.results}"; give the results_dir of a run.')
    from raylabel.review.sheets import write_contact_sheets

    for path in write_contact_sheets(options.results, options.out or options.results / "review"):
        print(path)
    return 0


def _read_answers(options: argparse.Namespace) -> int:
    from raylabel.review.answers import read_answer_lines

    path = Path(options.answers)
    if options.answers == "-":
        return _show_answers(read_answer_lines(sys.stdin.buffer, "standard input"))
    try:
        with path.open("rb") as lines:
            return _show_answers(read_answer_lines(lines, str(path)))
    except OSError as error:
        raise InputError(f'FILE: cannot read "{path}": {error.strerror}; give a file of JSON lines, or -.') from None


def _show_answers(results: Iterable[dict[str, Any] | InputError]) -> int:
    code = 0
    plain = sys.stdout.encoding.casefold() not in ("utf-8", "utf8")
    for result in results:
        if isinstance(result, InputError):
            code = _say(result, FIX)
        else:
            print(json.dumps(result, ensure_ascii=plain))
    return code


# --- parsing --------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes are ``ConfigError`` sentences, and which takes overrides before and after options."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f'{message} (see "{self.prog} --help").')

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse; overrides that argparse leaves behind an option are added to the others."""
        if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
            raise ConfigError(f'no command "{argv[0]}"; known: {", ".join(COMMANDS)}.{did_you_mean(argv[0], COMMANDS)}')
        options, rest = self.parse_known_args(argv)
        for word in rest:
            if word.startswith("-"):
                name = word.partition("=")[0]
                known = re.findall(r"--?\w[\w-]*", options.parser.format_usage())
                raise ConfigError(f'"{name}": no such option of "{options.parser.prog}".{did_you_mean(name, known)}')
            if not hasattr(options, "overrides"):
                raise ConfigError(f'"{word}": "{options.parser.prog}" takes no such argument (see its --help).')
            options.overrides.append(word)
        if not hasattr(options, "command"):
            raise ConfigError(f'no command given; known: {", ".join(COMMANDS)} (see "raylabel --help").')
        return options


def _parser() -> _Parser:
    parser = _Parser(
        prog="raylabel",
        description="Turns images into verified, pixel-accurate grounding annotations by asking a vision-language "
        "model.",
        epilog="example:\n  raylabel demo\n  raylabel run config.yaml results_dir=results --limit 20\n"
        "  raylabel review results --png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"raylabel {__version__}")
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(metavar="COMMAND")

    run = _command(
        commands,
        "run",
        "label what a specification names; the same command continues an interrupted run",
        "raylabel run config.yaml results_dir=results image_grounding.workflow.max_workers=16 --limit 20",
    )
    run.usage = "raylabel run [-h] [-v] [--limit N] CONFIG [key=value ...]"
    run.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value",
        help="the specification (a YAML file), and settings that win over it; key= means not set",
    )
    _add_limit(run)
    run.set_defaults(command=_run)

    generate = _command(
        commands,
        "generate",
        'the same as "run", spelled as in TAO',
        "auto_label generate -e spec.yaml results_dir=/r image_grounding.data.input_jsonl=/d/c.jsonl",
    )
    generate.add_argument("-e", "--experiment_spec_file", metavar="SPEC", help="the specification, a YAML file")
    generate.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings that win over the file; key= means not set"
    )
    _add_limit(generate)
    generate.set_defaults(command=_generate)

    specs = _command(
        commands,
        "default_specs",
        "write a complete, commented specification to results_dir/experiment.yaml",
        "auto_label default_specs results_dir=/r module_name=auto_label",
    )
    specs.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="results_dir=DIR (required), module_name=auto_label, autolabel_type=PIPELINE (that pipeline's block only)",
    )
    specs.set_defaults(command=_default_specs)

    calibrate = _command(
        commands,
        "calibrate",
        "see with drawn pictures how the model writes boxes, and whether it can place them at all",
        "raylabel calibrate config.yaml --out verdicts",
    )
    calibrate.usage = "raylabel calibrate [-h] [-v] [--out DIR] CONFIG [key=value ...]"
    calibrate.add_argument(
        "overrides", nargs="*", metavar="CONFIG key=value", help="as for run; the input is not looked at by the model"
    )
    calibrate.add_argument(
        "--out", type=Path, default=Path("calibration"), metavar="DIR", help="for the pictures; default: calibration"
    )
    calibrate.set_defaults(command=_calibrate)

    demo = _command(
        commands,
        "demo",
        "run both pipelines on drawn images against a small local server, and score the result",
        "raylabel demo --images 50 --out demo_out",
    )
    demo.add_argument("--out", type=Path, default=Path("demo_out"), metavar="DIR", help="default: demo_out")
    demo.add_argument("--images", type=_positive, default=24, metavar="N", help="default: 24")
    demo.add_argument("--pipeline", choices=_PIPELINES, default="both", help="default: both")
    demo.add_argument("--backend", choices=("openai", "gemini"), default="openai", help="default: openai")
    demo.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    demo.set_defaults(command=_demo)

    review = _command(
        commands,
        "review",
        "draw the results of a run: images with boxes, phrases and outcomes",
        "raylabel review results --png",
    )
    review.add_argument("results", type=Path, metavar="RESULTS", help="results_dir of a run")
    review.add_argument("--png", action="store_true", help="draw contact sheets")
    review.add_argument("--out", type=Path, metavar="DIR", help="default: RESULTS/review")
    review.set_defaults(command=_review)

    answers = _command(
        commands,
        "read-answers",
        "show what is read from models' answers: one JSON line in, one JSON line out",
        "raylabel read-answers answers.jsonl",
    )
    answers.add_argument(
        "answers",
        metavar="FILE",
        help='JSON lines with "raw" (the text of an answer), "convention" {"order", "scale"}, "image_width", '
        '"image_height", "model_width", "model_height", "asked", "id"; - reads standard input',
    )
    answers.set_defaults(command=_read_answers)
    return parser


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, what_it_does: str, example: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=what_it_does,
        description=f"{what_it_does[0].upper()}{what_it_does[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens to standard error")
    parser.set_defaults(parser=parser)
    return parser


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_positive, metavar="N", help="the first N records only: a pilot")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'found "{text}", allowed: a whole number of 1 or more')
    return int(text)
