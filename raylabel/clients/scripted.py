"""A client that answers from a script instead of a network: for unit tests and dry runs."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

from raylabel.clients.backend import Backend
from raylabel.clients.base import Client, Finish, Reply, Request, Sampling, SchemaForm, Usage
from raylabel.errors import ClientError, ConfigError, Verdict
from raylabel.settings import ScriptedSettings
from raylabel.settings.files import TEXT_LIMIT_BYTES
from raylabel.storage.regular import read_limited

Answer = str | Reply | ClientError
"""A text is a whole answer that ended by itself; an error is raised."""

Rules = Mapping[str, Answer] | Sequence[tuple[str, Answer]]
"""Fragments with answers: the first fragment that occurs in the question answers it."""

Script = Callable[[Request], Answer | Awaitable[Answer]] | Rules


class ScriptedClient(Backend[ScriptedSettings]):
    """Answers as scripted; ``requests`` holds what it was asked, in order, unless it is not kept.

    Args:
        keep: whether requests are kept; each holds a picture, and a run may have millions.

    >>> import asyncio
    >>> from raylabel.clients.base import Picture, Sampling
    >>> client = ScriptedClient({"caption": "a red car"})
    >>> question = Request("", Picture(b"", "image/png"), "Write a caption.", Sampling("m", 0.0, 10, 1.0))
    >>> asyncio.run(client.ask(question)).text
    'a red car'
    """

    name = "scripted"
    is_model = False

    def __init__(self, script: Script, *, keep: bool = True) -> None:
        self._script = script
        self._keep = keep
        self.requests: list[Request] = []

    @classmethod
    def from_settings(cls, settings: ScriptedSettings, env: Mapping[str, str]) -> Client:
        return cls.from_file(settings.answers)

    @classmethod
    def sampling_of(cls, settings: ScriptedSettings) -> Sampling:
        return Sampling("scripted", temperature=0.0, max_tokens=4096, timeout_s=60.0)

    @classmethod
    def from_file(cls, path: str) -> ScriptedClient:
        """A script of JSON lines ``{"contains": "...", "text": "..."}``; the first line that fits answers. Requests
        are not kept.

        Raises:
            ConfigError: no such file, or a line of another form.
        """
        rules: dict[str, Answer] = {}
        try:
            lines = read_limited(path, TEXT_LIMIT_BYTES).decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"vlm.scripted.answers: cannot read {path}: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                rule = json.loads(line)
            except ValueError:
                rule = None
            if not isinstance(rule, dict) or not all(isinstance(rule.get(k), str) for k in ("contains", "text")):
                raise ConfigError(
                    f'vlm.scripted.answers: {path}, line {number}: expected {{"contains": "...", "text": "..."}}, '
                    f"found {line[:80]!r}"
                )
            rules.setdefault(rule["contains"], rule["text"])
        return cls(rules, keep=False)

    async def ask(self, request: Request) -> Reply:
        """The scripted answer.

        Raises:
            ClientError: as scripted; FAIL_RECORD where no rule fits.
        """
        if self._keep:
            self.requests.append(request)
        await asyncio.sleep(0)  # as every client, it lets others run
        answer = await self._answer(request)
        if isinstance(answer, ClientError):
            raise answer
        if isinstance(answer, Reply):
            return answer
        return Reply(
            text=answer,
            finish=Finish.STOP,
            usage=Usage(),
            model=request.sampling.model,
            latency_s=0.0,
            finish_detail="stop",
            with_schema=request.schema is not None and request.schema_form is not SchemaForm.NONE,
        )

    async def check(self) -> None:
        """A script is always there."""

    async def served_names(self, model: str) -> tuple[str, ...]:
        """The configured name: nobody else knows another."""
        return (model,)

    async def close(self) -> None:
        """Nothing to give back."""

    async def _answer(self, request: Request) -> Answer:
        if callable(self._script):
            made = self._script(request)
            return await made if inspect.isawaitable(made) else made
        rules = self._script.items() if isinstance(self._script, Mapping) else self._script
        for fragment, answer in rules:
            if fragment in request.question:
                return answer
        return ClientError(
            Verdict.FAIL_RECORD, f"scripted: no answer for a question that starts {request.question[:80]!r}"
        )
