"""The block ``serve``: model servers that raylabel starts, watches and stops itself."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from raylabel.blocks import Block, Count, NotNegative, PathText, Seconds, not_allowed, wrong_type
from raylabel.errors import ConfigError
from raylabel.settings.files import is_folder, need_file

AUTO = "auto"
HIGHEST_PORT = 65535
_MANAGED = {
    "model": "serve.model",
    "model-path": "serve.model",
    "served-model-name": "serve.served_model_name",
    "port": "serve.port",
    "host": "",
}
"""Flags that raylabel writes itself, with the setting that decides about them."""
_IDENTITY = ("model", "engine", "command", "args", "env", "python")
_KEY_FLAG = "api-key"
_KEY_VARIABLE = "VLLM_API_KEY"
_FOLDER_FLAG = "allowed-local-media-path"


def _auto_or(least: int, most: int, allowed: str) -> BeforeValidator:
    """The rule of a count that may be left to raylabel."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        is_count = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        if not is_count and value != AUTO:
            raise not_allowed(f"auto, or {allowed}", AUTO)
        return value

    return BeforeValidator(check)


def _arguments(value: Any) -> Any:
    """Words of a command line: a list, or one text as a shell reads it; numbers and blocks (as JSON) become texts."""
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise not_allowed(f"words as a shell reads them ({error})") from None
    if not isinstance(value, list) or any(isinstance(word, bool | list) or word is None for word in value):
        raise wrong_type()
    return [json.dumps(word) if isinstance(word, dict) else str(word) for word in value]


def _variables(value: Any) -> Any:
    if not isinstance(value, dict) or any(isinstance(text, dict | list | bool) for text in value.values()):
        raise wrong_type()
    return {name: str(text) for name, text in value.items() if text is not None}


def _variable_names(env: dict[str, str]) -> dict[str, str]:
    for name in env:
        if re.fullmatch(r"[A-Za-z_]\w*", name) is None:
            raise not_allowed(f'names of environment variables, which "{name}" is not')
    return env


class ServeSettings(Block):
    """Model servers that raylabel starts itself, keeps alive, and ends with the run; used where model is given.
    vlm.backend is openai then, and vlm.openai needs neither base_url nor model_name."""

    model: str = ""
    """Name on the hub, or folder with the weights; empty: no server is started."""
    engine: Literal["vllm", "sglang", "command"] = "vllm"
    """vllm | sglang | command; command starts the line under command."""
    # These may hold keys, so that no message shows them.
    command: Annotated[list[str], BeforeValidator(_arguments), Field(repr=False)] = Field(default_factory=list)
    """Of engine command: a list in which {port}, {host}, {model} (the name it is to answer to), {python} and {pictures}
    (a folder in which it may read pictures, by file:// addresses) are filled in."""
    replicas: Annotated[int | Literal["auto"], _auto_or(1, 10_000, "a whole number of 1 or more")] = "auto"
    """Servers; auto: as many as there are free GPUs for, 1 without GPUs."""
    gpus_per_replica: Annotated[int | Literal["auto"], _auto_or(0, 1024, "a whole number")] = "auto"
    """Of one machine (tensor parallel); auto: 1 where there are GPUs; engine command: as many as it likes."""
    cpus_per_replica: NotNegative = 1.0
    """Cores that Ray sets aside for each."""
    args: Annotated[list[str], BeforeValidator(_arguments), Field(repr=False)] = Field(default_factory=list)
    """Further flags of the engine, verbatim: a list, or one text as a shell reads it. They win over raylabel's own."""
    env: Annotated[dict[str, str], BeforeValidator(_variables), AfterValidator(_variable_names), Field(repr=False)] = (
        Field(default_factory=dict)
    )
    """Further environment variables of the servers, such as HF_TOKEN: ${oc.env:HF_TOKEN}."""
    python: PathText = ""
    """Interpreter or virtual environment that has the engine; empty: the Python that raylabel runs on."""
    startup_timeout: Seconds = 1800.0
    """Seconds until a server must answer, the download of the weights included."""
    port: Annotated[int | Literal["auto"], _auto_or(1, HIGHEST_PORT, f"a whole number from 1 to {HIGHEST_PORT}")] = (
        "auto"
    )
    """Of the first server of a machine, the next ones take the next ports; auto: free ones."""
    served_model_name: str = ""
    """Name that the servers answer to; empty: vlm.openai.model_name if that is set, else model."""
    restarts: Count = 3
    """How often in an hour a server that died or hangs is started again; then the run ends."""

    @property
    def is_used(self) -> bool:
        """Whether raylabel is to start servers."""
        return bool(self.model)

    @property
    def served_name(self) -> str:
        """The name that the servers answer to."""
        return self.served_model_name or self.model

    @property
    def reads_pictures(self) -> bool:
        """Whether the servers are told the folder in which raylabel lays pictures for them."""
        if self.engine == "vllm":  # it takes one folder, and the user's own wins
            return not any(flag_name(word.partition("=")[0]) == _FOLDER_FLAG for word in self.args)
        return self.engine == "command" and any("{pictures}" in word for word in (*self.command, *self.args))

    @property
    def identity(self) -> str:
        """Tells servers apart by what they are; how many there are, and how long they may take, does not matter."""
        values = {name: getattr(self, name) for name in _IDENTITY}
        text = json.dumps({**values, "served_model_name": self.served_name}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def api_key(self) -> str:
        """The key that the servers are told to ask for, by a flag or a variable; empty: none."""
        for place, word in enumerate(self.args):
            name, equals, value = word.partition("=")
            if flag_name(name) == _KEY_FLAG:
                return value if equals else next(iter(self.args[place + 1 :]), "")
        return self.env.get(_KEY_VARIABLE, "")

    def check_needs(self) -> None:
        """Refuse what cannot be started, as far as this machine can tell.

        Raises:
            ConfigError: one sentence that names the key.
        """
        if not self.is_used:
            if self.command:
                raise ConfigError("serve.model: required with serve.command; give the name that the server answers to.")
            return
        if self.engine == "command":
            self._check_command()
        elif self.command:
            raise ConfigError(f"serve.command: found together with engine {self.engine}; write serve.engine: command.")
        else:
            self._check_args()
        if self.python:
            need_file("serve.python", interpreter_of(self.python))

    def _check_command(self) -> None:
        if not self.command:
            raise ConfigError("serve.command: required with engine command; give the line that starts the server.")
        if self.port == AUTO and not any("{port}" in word for word in (*self.command, *self.args)):
            raise ConfigError(
                "serve.command: found no {port} in it; write it where the port belongs, or set serve.port."
            )

    def _check_args(self) -> None:
        for word in self.args:
            if (name := flag_name(word.partition("=")[0])) in _MANAGED:
                instead = f"; set {_MANAGED[name]} instead" if _MANAGED[name] else ""
                raise ConfigError(f"serve.args: found --{name}, which raylabel writes itself{instead}.")


def flag_name(word: str) -> str:
    """The name of a flag without dashes, ``_`` as ``-``; nothing where a word is no flag.

    >>> flag_name("--max_model_len"), flag_name("-tp"), flag_name("8192")
    ('max-model-len', 'tp', '')
    """
    return word.lstrip("-").replace("_", "-") if word.startswith("-") else ""


def interpreter_of(python: str) -> str:
    """The interpreter that ``serve.python`` names: by its path, its name, or the virtual environment it is in."""
    if is_folder(python):
        return str(Path(python).absolute() / "bin" / "python")
    return (shutil.which(python) if Path(python).name == python else None) or python
