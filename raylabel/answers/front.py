"""What of a reply is the answer: after the reasoning, after an echoed prompt, inside the last answer block."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

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
_NEXT_TURN = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\uff5cend\u2581of\u2581sentence\uff5c>|<\|endoftext\|>"
    r"|<\|im_start\|>\s*user|\n(?:user|USER|User)[ \t]*:?[ \t]*\n"
)
_ENTITY = re.compile(r"&(?:lt|quot|#34|#x22|#60);")


@dataclass(frozen=True, slots=True)
class Front:
    """The answer part of a reply.

    Args:
        text: without invisible characters.
        flat: the same text, letter for letter as long, with full-width brackets and quotes made plain: for finding.
        cut: the reasoning or the answer block never ends.
        reason: why nothing is left, else empty.
        after: what stands after the last answer block.
    """

    text: str
    flat: str
    cut: bool = False
    reason: str = ""
    after: str = ""


def answer_of(text: str) -> Front:
    """Cut a reply down to its answer.

    >>> answer_of("maybe [1, 2]</think><answer>[x1, y1]</answer> or <answer>[3]</answer>").text
    '[3]'
    """
    if not text or text.isspace():
        return Front("", "", reason="the answer is empty")
    if not text.isascii():
        text = _INVISIBLE.sub("", _HALF.sub("\ufffd", text))
    if not any(mark in text for mark in ('{"', '["', "<")) and _ENTITY.search(text):
        text = html.unescape(text)
    if any(mark in text for mark in _ROLE_MARKS):
        text = _last_turn(text)
    text, thinking = _after_thinking(text)
    text, block_open, after = _answer_block(text)
    text = text.lstrip()
    if not text:
        reason = "the reasoning never ends in an answer" if thinking else "nothing stands where the answer should be"
        return Front("", "", thinking or block_open, reason, after)
    return Front(text, _flat(text), thinking or block_open, "", after)


def _flat(text: str) -> str:
    if _HAS_WIDE.search(text):
        text = text.translate(_WIDE)
    if '"' not in text and ("\u201c" in text or "\u201d" in text):
        text = text.translate(_SMART)
    return text


def _last_turn(text: str) -> str:
    """The last turn of a transcript, where the reply is one."""
    last = None
    for found in _ASSISTANT.finditer(text):
        last = found
    if last is None or not text[last.end() :].strip():
        return text if last is None else text[: last.start()] if _speaks(text[: last.start()]) else text[last.end() :]
    rest = text[last.end() :]
    turn = _NEXT_TURN.search(rest)
    return rest[: turn.start()] if turn and rest[: turn.start()].strip() else rest


def _speaks(text: str) -> bool:
    """Whether text before an empty last turn is an answer rather than a prompt."""
    return re.search(r"(?:^|\n)\s*(?:user|system|human)\b|<\|im_start\|>|\[INST\]", text, re.IGNORECASE) is None


def _after_thinking(text: str) -> tuple[str, bool]:
    end = None
    for found in _THINK_END.finditer(text):
        end = found
    if end is not None:
        text = text[end.end() :]
    start = _THINK_START.search(text)
    return (text, False) if start is None else (text[: start.start()], True)


def _answer_block(text: str) -> tuple[str, bool, str]:
    start = None
    for found in _ANSWER_START.finditer(text):
        start = found
    if start is None:
        return text, False, ""
    end = _ANSWER_END.search(text, start.end())
    if end is None:
        return text[start.end() :], True, ""
    return text[start.end() : end.start()], False, text[end.end() :]
