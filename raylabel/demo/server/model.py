"""The model behind both protocols: one picture and some text in, text and token counts out."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from raylabel.demo.server.answering import answer, find
from raylabel.demo.server.dialects import BLIND, DIALECTS, MAX_PIXELS, Dialect, UnusableSize
from raylabel.demo.server.dialects.speech import fenced
from raylabel.demo.server.noise import CLAIMED_SCORE, unsure
from raylabel.demo.server.questions import CAPTION, GROUNDING, Task, read_question
from raylabel.demo.server.replies import UnusableSchema, obey
from raylabel.demo.server.seeing import Scene, UnreadableImage, look_at
from raylabel.demo.server.structured import continued, emptied
from raylabel.demo.server.thoughts import think_aloud

CHARACTERS_PER_TOKEN = 4
REMEMBERED_SCENES = 512
REMEMBERED_PREFIXES = 4096
LOOKING_AT_ONCE = 2
"""Pictures decoded at a time: more threads would only fight for the interpreter."""


class BadRequest(Exception):
    """The request cannot be answered as it is."""

    status = 400


class UnreadFile(BadRequest):
    """A picture's file is not read: vLLM says so as an error of its own (HTTP 500)."""

    status = 500


@dataclass(frozen=True, slots=True)
class Ask:
    """A request without its protocol.

    Args:
        before: text before the picture; together with it the prefix that a server would cache.
        pictures: encoded; exactly one is answered.
        after: text after the picture.
        schema: the reply obeys it exactly; None: the reply is free, as models write it.
        bare_json: without a schema, JSON and nothing around it.
        max_tokens: the reply is cut there.
        dialect: name in ``DIALECTS``.
        empties_boxes: with a schema, boxes come out empty.
    """

    before: str
    pictures: Sequence[bytes]
    after: str
    dialect: str
    schema: dict[str, Any] | None = None
    bare_json: bool = False
    max_tokens: int | None = None
    empties_boxes: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said; ``cut`` when the token limit ended it; ``cached_tokens`` are part of ``prompt_tokens``."""

    task: str
    text: str
    cut: bool
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    question_digest: str


class Model:
    """Answers questions about pictures; safe to use from many threads. Remembers scenes it has looked at.

    Args:
        max_pixels: limit of the area for dialects whose server resizes by it.
        noise: how unsure grounding answers are, 0 to 1; see ``unsure``.
        thinks: every free answer begins with reasoning, whatever the dialect.
        reads: the dialect in which boxes of a question are read, a name in ``DIALECTS``; empty: the one of the answers.
        blind: boxes of a question cannot be read at all.
    """

    def __init__(
        self,
        *,
        max_pixels: int = MAX_PIXELS,
        noise: float = 0.0,
        thinks: bool = False,
        reads: str = "",
        blind: bool = False,
    ) -> None:
        self._reader = BLIND if blind else DIALECTS[reads] if reads else None
        self._max_pixels = max_pixels
        self._noise = noise
        self._thinks = thinks
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._looking = threading.Semaphore(LOOKING_AT_ONCE)
        self._scenes: OrderedDict[tuple[bytes, str], Scene] = OrderedDict()
        self._prefixes: OrderedDict[bytes, None] = OrderedDict()

    def answer(self, ask: Ask) -> Answer:
        """Look at the picture and answer.

        Raises:
            BadRequest: no picture, several, or one that cannot be decoded or resized; an unusable schema or token
                limit.
        """
        if len(ask.pictures) != 1:
            raise BadRequest(f"exactly one image is needed, found {len(ask.pictures)}")
        if ask.max_tokens is not None and ask.max_tokens < 1:
            raise BadRequest(f"the token limit must be at least 1, found {ask.max_tokens}")
        data = ask.pictures[0]
        picture_digest = hashlib.sha256(data).digest()
        scene = self._see(picture_digest, data, ask.dialect)
        task, question_digest = understand(ask)
        try:
            text = self._say(task, scene, ask, picture_digest, question_digest)
        except UnusableSchema as error:
            raise BadRequest(f"invalid response schema: {error}") from error
        output_tokens = _tokens(text)
        cut = ask.max_tokens is not None and output_tokens > ask.max_tokens
        if cut and ask.max_tokens is not None:
            output_tokens = ask.max_tokens
            text = text[: ask.max_tokens * CHARACTERS_PER_TOKEN]
        prefix_tokens = _tokens(ask.before) + _picture_tokens(scene)
        known = self._remember_prefix(hashlib.sha256(_bytes(ask.before) + picture_digest).digest())
        return Answer(
            task=task.name,
            text=text,
            cut=cut,
            prompt_tokens=prefix_tokens + _tokens(ask.after),
            cached_tokens=prefix_tokens if known else 0,
            output_tokens=output_tokens,
            question_digest=question_digest,
        )

    def _say(self, task: Task, scene: Scene, ask: Ask, picture_digest: bytes, question_digest: str) -> str:
        """The words of the answer: free ones in the dialect's own manner, held ones as JSON."""
        dialect = DIALECTS[ask.dialect]
        if task.name != GROUNDING:
            value, free = answer(task, scene, dialect, self._reader), None
            if task.name == CAPTION and ask.schema is not None and not ask.empties_boxes:
                value = {**continued(ask.after, ask.schema), **value}
        else:
            findings = find(task.items, scene)
            if self._noise:
                draw = f"{question_digest} {self._times_asked(question_digest)}".encode()
                findings = unsure(findings, scene, self._noise, picture_digest, draw)
            if ask.schema is not None:
                # A grammar that wants a score gets one; without this it would be the emptiest number, zero.
                findings = [replace(finding, score=CLAIMED_SCORE) for finding in findings]
            told = dialect.tell(findings, scene.width_px, scene.height_px)
            named = not task.briefly
            value, free = dialect.entries(told, named=named), dialect.say(told, task.wants_json, named=named)
        if ask.schema is not None:
            obeying = obey(value, ask.schema)
            return json.dumps(emptied(obeying) if ask.empties_boxes else obeying, ensure_ascii=False)
        if ask.bare_json:
            return json.dumps(value, ensure_ascii=False)
        return self._thoughts(scene, dialect) + (fenced(value) if free is None else free)

    def _thoughts(self, scene: Scene, dialect: Dialect) -> str:
        return think_aloud(scene, dialect) if self._thinks or dialect.thinks else ""

    def _times_asked(self, question_digest: str) -> int:
        with self._lock:
            self._asked[question_digest] += 1
            return self._asked[question_digest]

    def _see(self, digest: bytes, data: bytes, dialect: str) -> Scene:
        key = (digest, dialect)
        with self._lock:
            if key in self._scenes:
                self._scenes.move_to_end(key)
                return self._scenes[key]
        with self._looking:
            with self._lock:
                known = self._scenes.get(key)
            if known is not None:
                return known
            try:
                scene = look_at(data, lambda size_wh: DIALECTS[dialect].view(size_wh, self._max_pixels))
            except (UnreadableImage, UnusableSize) as error:
                raise BadRequest(str(error)) from error
        with self._lock:
            self._scenes[key] = scene
            while len(self._scenes) > REMEMBERED_SCENES:
                self._scenes.popitem(last=False)
        return scene

    def _remember_prefix(self, digest: bytes) -> bool:
        with self._lock:
            known = digest in self._prefixes
            self._prefixes[digest] = None
            self._prefixes.move_to_end(digest)
            while len(self._prefixes) > REMEMBERED_PREFIXES:
                self._prefixes.popitem(last=False)
        return known


def understand(ask: Ask) -> tuple[Task, str]:
    """The task of a request, and a digest of its words and pictures, which stands for the question."""
    question = "\n".join(part for part in (ask.before, ask.after) if part)
    task = read_question(question)
    return task, hashlib.sha256(b"\0".join((task.name.encode(), _bytes(question), *ask.pictures))).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _picture_tokens(scene: Scene) -> int:
    return -(-scene.width_px // 32) * -(-scene.height_px // 32)
