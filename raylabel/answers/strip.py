"""What of a reply is the answer: after the reasoning, after an echoed prompt, inside the last answer block."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import NamedTuple

_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u200e\u200f\u00ad]+")
_HALF = re.compile("[\ud800-\udfff]")
_WIDE = str.maketrans("［］（）｛｝，：；＜＞＂＇【】〔〕", "[](){},:;<>\"'[][]")
_HAS_WIDE = re.compile("[［］（）｛｝，：；＜＞＂＇【】〔〕]")
_SMART = str.maketrans("\u201c\u201d\u201e\u2018\u2019", '"""\'\'')

_THINK = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|seed:think|scratchpad)"
_THINK_END = re.compile(rf"<\|?/{_THINK}\|?>|\u25c1/think\u25b7|\[/THINK\]|</?\|?end_of_thinking\|?>", re.IGNORECASE)
_THINK_START = re.compile(rf"<\|?{_THINK}\|?>|\u25c1think\u25b7|\[THINK\]", re.IGNORECASE)
_ANSWER_START = re.compile(r"<(?:final_?)?answer>|<\|?answer_start\|?>|<final>", re.IGNORECASE)
_ANSWER_END = re.compile(r"</(?:final_?)?answer>|<\|?answer_end\|?>|</final>", re.IGNORECASE)
_ASSISTANT = re.compile(
    r"<\|im_start\|>\s*assistant|<\|start_header_id\|>assistant<\|end_header_id\|>|<start_of_turn>\s*model"
    r"|<\|channel\|>\s*final\s*<\|message\|>|\[/INST\]|<\|[Aa]ssistant\|>:?|<\uff5cAssistant\uff5c>:?"
    r"|(?:^|\n)[ \t]*(?:#{1,4}[ \t]*)?(?:assistant|ASSISTANT|Assistant)(?:[ \t]*:|[ \t]*(?=\n|\Z))",
)
_ROLE_MARKS = ("ssistant", "ASSISTANT", "<start_of_turn>", "[/INST]", "<|channel|>")
_MARKS = ("<", "&", *_ROLE_MARKS)
"""An ASCII text without these and ``think]`` has nothing in it that is looked for here."""
_NEXT_TURN = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\uff5cend\u2581of\u2581sentence\uff5c>|<\|endoftext\|>"
    r"|<\|im_start\|>\s*user|\n(?:user|USER|User)[ \t]*:?[ \t]*\n"
)
_ENTITY = re.compile(r"&(?:lt|quot|#34|#x22|#60);")


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """The answer part of a reply.

    Args:
        text: without invisible characters.
        flat: the same text, letter for letter as long, with full-width brackets and quotes made plain: for finding.
        cut: the reasoning or the answer block never ends.
        reason: why nothing is left, else empty.
        after: what stands after the last answer block.
        whole: a mark behind it vouches for its end.
    """

    text: str
    flat: str
    cut: bool = False
    reason: str = ""
    after: str = ""
    whole: bool = False


def answer_of(text: str) -> AnswerPart:
    """Cut a reply down to its answer.

    >>> answer_of("maybe [1, 2]</think><answer>[x1, y1]</answer> or <answer>[3]</answer>").text
    '[3]'
    """
    if not text or text.isspace():
        return AnswerPart("", "", reason="the answer is empty")
    if text.isascii() and not any(mark in text for mark in _MARKS) and "think]" not in text.lower():
        text = text.lstrip()  # most answers: all of it, as it is
        return AnswerPart(text, text)
    text, turn_over = _last_turn(_visible(text))
    text, thinking = _after_thinking(text)
    block = _answer_block(text)
    inside = _boxed(block.text) if "begin_of_box" in block.text else _Part(block.text)
    cut = thinking or block.cut or inside.cut
    text = inside.text.lstrip()
    if not text:
        reason = "the reasoning never ends in an answer" if thinking else "nothing stands where the answer should be"
        return AnswerPart("", "", cut, reason, block.after)
    return AnswerPart(text, _flat(text), cut, "", block.after, inside.whole or block.whole or turn_over)


class _Part(NamedTuple):
    """A part of a text; ``whole``: a mark ends it; ``cut``: the mark that should end it is missing."""

    text: str
    whole: bool = False
    cut: bool = False
    after: str = ""


def _visible(text: str) -> str:
    """A text without invisible letters, halves of pairs and entities."""
    if not text.isascii():
        text = _INVISIBLE.sub("", _HALF.sub("\ufffd", text))
    if not any(mark in text for mark in ('{"', '["', "<")) and _ENTITY.search(text):
        text = html.unescape(text)
    return text


def _flat(text: str) -> str:
    if _HAS_WIDE.search(text):
        text = text.translate(_WIDE)
    if '"' not in text and ("\u201c" in text or "\u201d" in text):
        text = text.translate(_SMART)
    return text


def _last_turn(text: str) -> tuple[str, bool]:
    """The last turn of a transcript, where the reply is one, and whether a mark ends it."""
    last = _last(_ASSISTANT, text) if any(mark in text for mark in _ROLE_MARKS) else None
    if last is None:
        return text, False
    rest = text[last.end() :]
    if not rest.strip():
        return (text[: last.start()] if _speaks(text[: last.start()]) else rest), False
    turn = _NEXT_TURN.search(rest)
    return (rest[: turn.start()], True) if turn and rest[: turn.start()].strip() else (rest, False)


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for found in pattern.finditer(text):
        last = found
    return last


def _speaks(text: str) -> bool:
    """Whether text before an empty last turn is an answer rather than a prompt."""
    return re.search(r"(?:^|\n)[ \t]*(?:user|system|human)\b|<\|im_start\|>|\[INST\]", text, re.IGNORECASE) is None


def _after_thinking(text: str) -> tuple[str, bool]:
    """What follows the reasoning, and whether it never ends."""
    if end := _last(_THINK_END, text):
        text = text[end.end() :]
    start = _THINK_START.search(text)
    return (text, False) if start is None else (text[: start.start()], True)


def _answer_block(text: str) -> _Part:
    """The last answer block, or all of a text that has none."""
    start = _last(_ANSWER_START, text)
    if start is None:
        return _Part(text)
    end = _ANSWER_END.search(text, start.end())
    if end is None:
        return _Part(text[start.end() :], cut=True)
    return _Part(text[start.end() : end.start()], True, False, text[end.end() :])


_BEGIN = re.compile(r"(?<![\"'])<\|begin_of_box\|>")
_END = re.compile(r"<\|(?:end|begin)_of_box\|>")


def _boxed(text: str) -> _Part:
    """GLM: what stands between ``<|begin_of_box|>`` and ``<|end_of_box|>``, with the words before it on its line."""
    lines: list[str] = []
    floor = end = 0
    closed = True
    for begin in _BEGIN.finditer(text):
        stop = _END.search(text, begin.end())
        end = stop.start() if stop else len(text)
        closed = stop is not None and "end" in stop.group()
        words = text[max(text.rfind("\n", floor, begin.start()) + 1, floor, begin.start() - 400) : begin.start()]
        lines.append(f"{words.rpartition('>')[2]}{text[begin.end() : end]}")
        floor = stop.end() if stop else end
    if not lines:
        return _Part(text)  # in quotes, a value like any other
    cut = not closed or "<" in text[floor:]
    return _Part("\n".join(lines), not cut, cut)
