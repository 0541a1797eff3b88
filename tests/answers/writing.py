"""Writers of every dialect, made for the tests alone: an error here and one in the reader cannot cancel out.

Each was written from the owners' documents, see the table of box conventions. A writer takes entries (label, box) with
integer corners 0-999 and returns the text a model of that family would send.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

Corners = tuple[int, int, int, int]
Entry = tuple[str, Corners]


@dataclass(frozen=True)
class Dialect:
    """One way to write boxes.

    Args:
        order: of the four numbers, as the reader is told.
        side: the number that stands for a full side; corners are written as corner / 1000 * side where it is below 100.
        labelled: the labels come back too.
        prose: may stand between sentences without changing what a label is.
        bracketed: the whole answer stands in one pair of brackets, so a cut shows.
        keyed: labels are keys, hence all different.
    """

    name: str
    write: Callable[[Sequence[Entry]], str]
    order: str = "xyxy"
    side: float = 1000
    labelled: bool = True
    prose: bool = True
    bracketed: bool = False
    keyed: bool = False

    @property
    def sides(self) -> tuple[float, float]:
        """As the reader is told."""
        return (self.side, self.side)

    def expected(self, box: Corners) -> tuple[float, ...]:
        """The corners that have to come back."""
        if self.side > 100:
            return tuple(float(v) for v in box)
        return tuple(v / 1000 * self.side for v in box)


def arrange(box: Sequence[float], order: str) -> list[float]:
    """The four numbers of a box in an order."""
    x1, y1, x2, y2 = box
    return {
        "xyxy": [x1, y1, x2, y2],
        "yxyx": [y1, x1, y2, x2],
        "xywh": [x1, y1, x2 - x1, y2 - y1],
        "cxcywh": [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1],
    }[order]


def _json_list(order: str, key: str = "bbox_2d", divisor: int = 1, indent: int | None = None) -> Callable[..., str]:
    def write(entries: Sequence[Entry]) -> str:
        rows = []
        for label, box in entries:
            numbers = arrange(box, order)
            rows.append({key: [v / divisor for v in numbers] if divisor > 1 else numbers, "label": label})
        return json.dumps(rows, ensure_ascii=False, indent=indent)

    return write


def _each(form: str, joint: str = "") -> Callable[[Sequence[Entry]], str]:
    """A writer that fills a form per entry: {t} label, {a} .. {d} the corners in xyxy."""

    def write(entries: Sequence[Entry]) -> str:
        return joint.join(form.format(t=t, a=b[0], b=b[1], c=b[2], d=b[3]) for t, b in entries)

    return write


def _paligemma(entries: Sequence[Entry]) -> str:
    return " ; ".join("".join(f"<loc{v:04d}>" for v in (y1, x1, y2, x2)) + f" {t}" for t, (x1, y1, x2, y2) in entries)


def _florence(entries: Sequence[Entry]) -> str:
    return "</s><s>" + "".join(t + "".join(f"<loc_{v}>" for v in box) for t, box in entries) + "</s>"


def _kosmos(entries: Sequence[Entry]) -> str:
    def cell(x: int, y: int) -> str:
        return f"<patch_index_{y * 32 // 1000 * 32 + x * 32 // 1000:04d}>"

    return "<grounding>" + " and".join(
        f"<phrase> {t}</phrase><object>{cell(x1, y1)}{cell(x2, y2)}</object>" for t, (x1, y1, x2, y2) in entries
    )


def _cogvlm(entries: Sequence[Entry]) -> str:
    return ", ".join(f"a {t} [[{','.join(f'{v:03d}' for v in box)}]]" for t, box in entries) + "."


def _keyed(entries: Sequence[Entry]) -> str:
    return json.dumps({t: {"bboxes": [list(box)], "scores": [0.5]} for t, box in entries}, ensure_ascii=False)


def _ndjson(entries: Sequence[Entry]) -> str:
    return "\n".join(json.dumps({"bbox_2d": list(box), "label": t}, ensure_ascii=False) for t, box in entries)


def _python(entries: Sequence[Entry]) -> str:
    return repr([{"label": t, "bbox": box, "score": None} for t, box in entries])


def _named(keys: Sequence[str], divisor: int = 1) -> Callable[[Sequence[Entry]], str]:
    def write(entries: Sequence[Entry]) -> str:
        rows = [
            dict(zip(keys, (v / divisor if divisor > 1 else v for v in b), strict=True)) | {"label": t}
            for t, b in entries
        ]
        return json.dumps({"objects": rows}, ensure_ascii=False)

    return write


def _html(entries: Sequence[Entry]) -> str:
    rows = "\n".join(f'<p class="a" data-bbox="{b[0]} {b[1]} {b[2]} {b[3]}">{t}</p>' for t, b in entries)
    return f"<html><body>\n{rows}\n</body></html>"


DIALECTS = (
    Dialect("json xyxy", _json_list("xyxy"), bracketed=True),
    Dialect("json yxyx", _json_list("yxyx"), order="yxyx", bracketed=True),
    Dialect("json xywh", _json_list("xywh", "bbox"), order="xywh", bracketed=True),
    Dialect("json cxcywh", _json_list("cxcywh", "bbox"), order="cxcywh", bracketed=True),
    Dialect("json rel1", _json_list("xyxy", divisor=1000), side=1, bracketed=True),
    Dialect("json percent", _json_list("xyxy", "box_2d", divisor=10), side=100, bracketed=True),
    Dialect("gemini", _json_list("yxyx", "box_2d", indent=2), order="yxyx", bracketed=True),
    Dialect("qwen2", _each("<|object_ref_start|>{t}<|object_ref_end|><|box_start|>({a},{b}),({c},{d})<|box_end|>")),
    Dialect("qwen1", _each("<ref>{t}</ref><box>({a},{b}),({c},{d})</box>", " ")),
    Dialect("qwen bare", _each("{t}({a},{b}),({c},{d})", "\n"), prose=False),
    Dialect("internvl", _each("<ref>{t}</ref><box>[[{a}, {b}, {c}, {d}]]</box>", "\n")),
    Dialect("deepseek", _each("<|ref|>{t}<|/ref|><|det|>[[{a}, {b}, {c}, {d}]]<|/det|>"), side=999),
    Dialect("glm", _each("<|begin_of_box|>[[{a},{b},{c},{d}]]<|end_of_box|>", " and "), labelled=False),
    Dialect("paligemma", _paligemma, order="yxyx", side=1024, prose=False),
    Dialect("florence", _florence, prose=False),
    Dialect("kosmos", _kosmos, side=1, prose=False),
    Dialect("cogvlm", _cogvlm, labelled=False),
    Dialect("minicpm", _each("<ref>{t}</ref><box>{a} {b} {c} {d}</box>")),
    Dialect("eagle", _each("<ref>{t}</ref><box><{a}><{b}><{c}><{d}></box>")),
    Dialect("seed", _each("<bbox>{a} {b} {c} {d}</bbox>", "\n"), side=999, labelled=False),
    Dialect("phrase lines", _each("{t}: [[{a}, {b}, {c}, {d}]]", "\n")),
    Dialect("phrase bullets", _each("- **{t}**: [{a}, {b}, {c}, {d}]", "\n")),
    Dialect("keyed object", _keyed, bracketed=True, keyed=True),
    Dialect("ndjson", _ndjson),
    Dialect("python literals", _python, bracketed=True),
    Dialect("named corners", _named(("x_min", "y_min", "x_max", "y_max")), bracketed=True),
    Dialect("named corners rel1", _named(("x1", "y1", "x2", "y2"), 1000), side=1, bracketed=True),
    Dialect("named sides", _named(("left", "top", "right", "bottom")), bracketed=True),
    Dialect("html", _html, labelled=False),
)

EACH_DIALECT = pytest.mark.parametrize("dialect", [pytest.param(d, id=d.name) for d in DIALECTS])

WRAPPERS = {
    "plain": "{}",
    "json fence": "```json\n{}\n```",
    "bare fence": "```\n{}\n```\n",
    "reasoning": "<think>\nMaybe [11, 22, 333, 444]? No.\n</think>\n\n{}",
    "reasoning without its start": "It might be (11,22),(333,444).\n</think>\n{}",
    "answer tags": "<think>One moment.</think>\n<answer>\n{}\n</answer>",
    "answer and fence": "<answer>```json\n{}\n```</answer>",
}

PROSE = {
    "prose": "Here is what I found:\n\n{}\n\nThat is all, 100 % sure of 2 of them.",
    "prose and fence": "Sure! I looked twice.\n```\n{}\n```\nLet me know if you need the 3rd shelf as well.",
}

NOISE = ("[", "]", "{", "}", "(", ")", ",", '"', "'", " ", "\n", "7", "0", "-", ".", "<", ">", "|", "e", ":", ";", "</")
"""Damage is made of these."""
