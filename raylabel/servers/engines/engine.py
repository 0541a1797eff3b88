"""What every kind of server says of itself, and what the logs of all of them have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from raylabel.servers.metrics import Metrics, NoMetrics
from raylabel.settings import ServeSettings
from raylabel.settings.serve import flag_name


@dataclass(frozen=True, slots=True)
class Launch:
    """What is known of a server before it starts.

    Args:
        python: interpreter that has the engine.
        gpus: that it spreads over (tensor parallel); 0: none.
        pictures: folder in which it may read pictures; empty: none.
    """

    serve: ServeSettings
    host: str
    port: int
    python: str
    gpus: int = 0
    pictures: str = ""


@dataclass(frozen=True)
class Cause:
    """A reason for which servers do not come up or die.

    Args:
        name: short, for programs.
        pattern: of the line of the log that tells it.
        sentence: why, and what to do; one clause. Groups of the pattern can be named in it (``{1}``).
        passes: trying once more, as it is, may help.
    """

    name: str
    pattern: re.Pattern[str]
    sentence: str
    passes: bool = False


@dataclass(frozen=True)
class Phase:
    """Something a server does before it answers.

    Args:
        name: as the terminal shows it, behind the server's name.
        pattern: of a line of the log that says that it began.
    """

    name: str
    pattern: re.Pattern[str]


def cause(name: str, pattern: str, sentence: str, *, passes: bool = False) -> Cause:
    """A row of ``Engine.causes``."""
    return Cause(name, re.compile(pattern), sentence, passes)


def phase(name: str, pattern: str) -> Phase:
    """A row of ``Engine.phases``."""
    return Phase(name, re.compile(pattern))


PORT_TAKEN = "port taken"

_RAISED = r"^(?:\S+\.)?"
"""Where an exception's name begins at the end of a traceback; prefixes of log lines are cut off before."""

COMMON_CAUSES: Sequence[Cause] = (
    cause(
        "gated model",
        r"access a gated repo|GatedRepoError|Cannot access gated repo|Access to model \S+ is restricted",
        "the model is gated; accept its terms on the hub, and give a token that may read it (serve.env.HF_TOKEN)",
    ),
    cause(
        PORT_TAKEN,
        r"[Aa]ddress already in use|EADDRINUSE|[Pp]ort \d+ is (?:already )?(?:in use|taken)",
        "the port is taken; leave serve.port at auto, or choose another",
        passes=True,
    ),
    cause(
        "driver too old",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|"
        r"forward compatibility was attempted on non supported HW",
        "the GPU's driver is too old for this engine; update it, or install a build of the engine for an older CUDA",
    ),
    cause(
        "no GPU",
        r"No CUDA GPUs are available|Found no NVIDIA driver|Failed to infer device type|no CUDA-capable device",
        "the engine found no GPU it can use",
    ),
    cause(
        "out of memory",
        r"CUDA out of memory|HIP out of memory|OutOfMemoryError|std::bad_alloc|" + _RAISED + r"MemoryError\b",
        "out of memory; choose a smaller model or more GPUs (serve.gpus_per_replica), or free those it has",
    ),
    cause("disk full", r"No space left on device", "the disk is full"),
    cause(
        "unknown architecture",
        r"[Mm]odel architectures? \S+ (?:are|is) not supported|does not recognize this architecture",
        "this version of the engine does not know the architecture of the model; install a newer one",
    ),
    cause(
        "remote code",
        r"trust_remote_code=True",
        "the model brings code of its own; if you trust it, write --trust-remote-code in serve.args",
    ),
    cause(
        "unknown model",
        r"LocalEntryNotFoundError|RepositoryNotFoundError|Repository Not Found|HFValidationError|"
        r"is not a local folder and is not a valid model identifier|OfflineModeIsEnabled",
        "the model is not to be had: neither a folder of this name nor, from here, a model on the hub",
    ),
    cause(
        "unknown flag",
        r"error: unrecognized arguments: (.*)|error: (argument .*)|error: (ambiguous option.*)",
        "the engine does not know a flag as it is given; see serve.args",
    ),
    cause(
        "package missing",
        rf"(?:{_RAISED}ModuleNotFoundError: |: )No module named '?([\w.]+)|{_RAISED}PackageNotFoundError: ",
        "a package is missing in the Python that starts it; install it there, or set serve.python",
    ),
)
"""Of what all engines stand on; those that tell most come first."""

COMMON_PHASES: Sequence[Phase] = (
    phase(
        "downloading the model",
        r"Fetching \d+ files|Downloading (?:shards|\S+\.(?:safetensors|bin))|\.safetensors: +\d+%",
    ),
    phase("loading weights", r"Loading (?:safetensors|pt) checkpoint shards"),
)


@dataclass(frozen=True)
class Engine(ABC):
    """A kind of server: how to start it, where it says that it is well, and how to read its log."""

    name: ClassVar[str]
    health_path: ClassVar[str] = "/health"
    metrics_path: ClassVar[str] = "/metrics"
    causes: Sequence[Cause] = field(default=COMMON_CAUSES)
    phases: Sequence[Phase] = field(default=COMMON_PHASES)
    metrics: Metrics = field(default_factory=NoMetrics)

    @abstractmethod
    def command(self, launch: Launch) -> list[str]:
        """The command line."""

    def environment(self, launch: Launch) -> Mapping[str, str]:
        """Variables that it is started with, where ``serve.env`` has none of that name."""
        return {}


def module_command(launch: Launch, module: str, model_flag: str, flags: Sequence[str]) -> list[str]:
    """The command line of an engine that is a Python module, with what every such engine is told."""
    serve = launch.serve
    return [
        launch.python,
        *("-m", module),
        *(model_flag, serve.model, "--served-model-name", serve.served_name),
        *("--host", launch.host, "--port", str(launch.port)),
        *flags,
    ]


def with_defaults(
    defaults: Sequence[Sequence[str]], args: Sequence[str], aliases: Mapping[str, str] | None = None
) -> list[str]:
    """Flags with their values, without those that the user gives: twice given, an engine may take either.

    Args:
        defaults: each a flag and its values.
        aliases: short names of flags.

    >>> with_defaults([["--enable-prefix-caching"], ["--max-model-len", "auto"]], ["--max_model_len=8192"])
    ['--enable-prefix-caching', '--max_model_len=8192']
    >>> with_defaults([["--enable-prefix-caching"]], ["--no-enable-prefix-caching"])
    ['--no-enable-prefix-caching']
    """
    known = aliases or {}

    def plain(word: str) -> str:
        # "--limit-mm-per-prompt.image 2" sets a part of the same flag.
        name = flag_name(word.partition("=")[0]).partition(".")[0].removeprefix("no-")
        return known.get(name, name)

    given = {plain(word) for word in args}
    return [word for words in defaults if plain(words[0]) not in given for word in words] + list(args)
