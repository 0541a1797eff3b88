# PYTHON_ARGCOMPLETE_OK
"""The command line: ``raylabel``, ``auto_label`` and ``python -m raylabel`` are this one program.

Exit codes: 0 all settled; 1 the run broke; 2 the user must fix something; 3 finished with open records (0 with
``--exit-zero``); 130 interrupted. Each command has its file in ``raylabel.commands``, and what it needs for its work is
imported there: help comes at once, and a mistake in the specification is told before Ray starts.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from raylabel import __version__
from raylabel.commands import Command
from raylabel.commands.calibrate import CALIBRATE
from raylabel.commands.check import CHECK
from raylabel.commands.compare import COMPARE
from raylabel.commands.default_specs import DEFAULT_SPECS
from raylabel.commands.demo import DEMO
from raylabel.commands.estimate import ESTIMATE
from raylabel.commands.eval import EVAL
from raylabel.commands.export import EXPORT
from raylabel.commands.generate import GENERATE
from raylabel.commands.import_tao import IMPORT_TAO
from raylabel.commands.init import INIT
from raylabel.commands.prompts import PROMPTS
from raylabel.commands.read_answers import READ_ANSWERS
from raylabel.commands.reread import REREAD
from raylabel.commands.retry import RETRY
from raylabel.commands.review import REVIEW
from raylabel.commands.run import RUN
from raylabel.commands.serve import SERVE
from raylabel.commands.stats import STATS
from raylabel.commands.status import STATUS
from raylabel.errors import ClientError, ConfigError, InputError, ServerError, StoreError, printable
from raylabel.logs import LOGGER, TerminalHandler

BROKE, FIX, OPEN, INTERRUPTED = 1, 2, 3, 130
_MOST_COLUMNS = 120

_GROUPS = {
    "begin": (INIT, DEFAULT_SPECS, DEMO, IMPORT_TAO),
    "before a run": (CHECK, ESTIMATE, PROMPTS, CALIBRATE),
    "label": (RUN, GENERATE, RETRY, REREAD, SERVE),
    "look at results": (STATUS, STATS, REVIEW, EVAL, COMPARE),
    "use them": (EXPORT, READ_ANSWERS),
}
"""The way from nothing to labels in use; ``--help`` lists the commands so."""
_COMMANDS = tuple(command for group in _GROUPS.values() for command in group)
COMMANDS = tuple(command.name for command in _COMMANDS)


def entry() -> NoReturn:
    """The process of a command: run it and leave.

    Once Ray was in a process, taking the interpreter down lasts up to a second, in which nothing of use happens.
    """
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
        from raylabel.commands.completing import complete

        parser = _parser()
        complete(parser, parser.commands)
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
        logging.basicConfig(level=logging.WARNING, handlers=[TerminalHandler(verbose=options.verbose)])
        if options.verbose:
            logging.getLogger(LOGGER).setLevel(logging.DEBUG)
        code: int = options.command(options)
    except (ConfigError, InputError) as error:
        return _say(error, FIX)
    except ServerError as error:
        return _say(error, FIX if _user_can_fix(error) else BROKE)
    except StoreError as error:
        return _say(error, BROKE)
    except ModuleNotFoundError as error:
        if (error.name or "raylabel").partition(".")[0] == "raylabel":
            raise  # ours to mend
        return _say(_not_installed(error), FIX)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0 if code == OPEN and getattr(options, "exit_zero", False) else code


def _not_installed(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f'{sys.executable} has no module "{error.name}": raylabel is not installed for this Python; activate the '
        'environment that has it (". .venv/bin/activate"), or install it: "pip install DIR", where DIR is the checkout.'
    )


def _say(error: Exception, code: int) -> int:
    from raylabel.urls import mask_urls

    print(f"raylabel: {printable(mask_urls(str(error)))}", file=sys.stderr)
    return code


def _user_can_fix(error: ServerError) -> bool:
    """A wrong key or an unknown model; not a server that went away in the middle."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.verdict.ends_run


# --- parsing --------------------------------------------------------------------------------------------------------


def _near(found: str, known: Sequence[str]) -> str:
    from raylabel.settings import did_you_mean

    return did_you_mean(found, known)


class _Parser(argparse.ArgumentParser):
    """argparse whose mistakes are ``ConfigError`` sentences, and which takes overrides before and after options."""

    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f'{message} (see "{self.prog} --help").')

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse; overrides that argparse leaves behind an option are added to the others."""
        if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
            raise ConfigError(f'no command "{argv[0]}"; known: {", ".join(COMMANDS)}.{_near(argv[0], COMMANDS)}')
        options, rest = self.parse_known_args(argv)
        for word in rest:
            if word.startswith("-"):
                name = word.partition("=")[0]
                from raylabel.settings import without_dashes

                usage = " ".join(options.parser.format_usage().split())
                if hint := _near(name, re.findall(r"--?\w[\w-]*", usage)):
                    raise ConfigError(f'"{name}": no such option of "{options.parser.prog}".{hint}')
                if hasattr(options, "overrides") and (setting := without_dashes(argv, argv.index(word))):
                    raise ConfigError(f'"{name}": settings are written without dashes: {setting}.')
                raise ConfigError(f'"{name}": no such option of "{options.parser.prog}"; {usage}.')
            if not hasattr(options, "overrides"):
                raise ConfigError(f'"{word}": "{options.parser.prog}" takes no such argument (see its --help).')
            options.overrides.append(word)
        if not hasattr(options, "command"):
            raise ConfigError(f'no command given; known: {", ".join(COMMANDS)} (see "raylabel --help").')
        return options


def _parser() -> _Parser:
    parser = _Parser(
        prog="raylabel",
        description="Turns images into verified, pixel-accurate grounding annotations by asking a vision-language\n"
        f"model.\n\n{_listed()}",
        epilog='"raylabel COMMAND --help" says more of a command.\n\nexample:\n'
        "  raylabel init gemini-grounding\n  raylabel check gemini-grounding.yaml\n"
        "  raylabel estimate gemini-grounding.yaml\n  raylabel review results/gemini_image_grounding\n"
        "  raylabel run gemini-grounding.yaml",
        usage="raylabel [-h] [--version] COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"raylabel {__version__}")
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(metavar="COMMAND", prog="raylabel", help=argparse.SUPPRESS)

    for command in _COMMANDS:
        _add(commands, command)
    parser.commands = commands.choices
    return parser


def _listed() -> str:
    """The commands by what they are for, in lines that fit the terminal."""
    width = max(map(len, COMMANDS)) + 4
    columns = min(shutil.get_terminal_size().columns, _MOST_COLUMNS) - 2
    lines = []
    for title, group in _GROUPS.items():
        lines.append(f"{title}:")
        for command in group:
            first = f"  {command.name:<{width - 2}}"
            lines += textwrap.wrap(command.purpose, columns, initial_indent=first, subsequent_indent=" " * width)
        lines.append("")
    return "\n".join(lines)


def _add(commands: argparse._SubParsersAction[_Parser], command: Command) -> None:
    parser = commands.add_parser(
        command.name,
        description=f"{command.purpose[0].upper()}{command.purpose[1:]}.",
        epilog=f"example:\n  {command.example}",
        usage=command.usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens to standard error")
    command.add_arguments(parser)
    parser.set_defaults(parser=parser, command=command.run)
