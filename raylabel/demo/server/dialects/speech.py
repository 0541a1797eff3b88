"""How each model family words a grounding answer: wrappers, separators, what it says when nothing is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raylabel.demo.server.dialects.spelling import (
    Numbers,
    as_cells,
    as_locations,
    as_padded_locations,
)


@dataclass(frozen=True, slots=True)
class Told:
    """What is said about one phrase.

    Args:
        ident: the id the question gave it; None where it was asked in the family's own words.
        boxes: as the dialect writes them; none: nothing fits.
        score: what the model claims for each of them; None: it claims nothing.
    """

    phrase: str
    ident: Any
    boxes: tuple[Numbers, ...]
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Speaking:
    """An answer about to be worded.

    Args:
        told: one entry a phrase, in the order asked.
        value: the same as a JSON value.
        wants_json: the question asks for JSON, or only JSON can tell its phrases apart.
    """

    told: Sequence[Told]
    value: Any
    wants_json: bool

    @property
    def found(self) -> list[Told]:
        """What has boxes."""
        return [t for t in self.told if t.boxes]


Speech = Callable[[Speaking], str]

NOTHING = "No Objects"
DEEPSEEK_END = "<｜end▁of▁sentence｜>"


def bare_json(said: Speaking) -> str:
    """The JSON value and nothing else."""
    return json.dumps(said.value, ensure_ascii=False)


def fenced_json(said: Speaking) -> str:
    """The JSON value in a Markdown fence."""
    return fenced(said.value)


def fenced(value: Any) -> str:
    """A JSON value as models write it when nobody holds them to a form."""
    return f"```json\n{json.dumps(value, ensure_ascii=False)}\n```"


def prose_and_json(said: Speaking) -> str:
    """Claude: a sentence, then the fence."""
    opening = "I looked at the image closely. Coordinates are in pixels of the image as I received it:"
    return f"{opening}\n\n{fenced(said.value)}"


def internvl(said: Speaking) -> str:
    """``<ref>p</ref><box>[[x1, y1, x2, y2], [...]]</box>``."""
    return "\n".join(f"<ref>{t.phrase}</ref><box>{_lists(t.boxes) if t.boxes else 'none'}</box>" for t in said.told)


def deepseek(said: Speaking) -> str:
    """``<|ref|>p<|/ref|><|det|>[[...]]<|/det|>`` and the end of the sentence in full-width bars."""
    spoken = "\n".join(f"<|ref|>{t.phrase}<|/ref|><|det|>{_lists(t.boxes)}<|/det|>" for t in said.found)
    return (spoken or NOTHING) + DEEPSEEK_END


def glm(said: Speaking) -> str:
    """``<|begin_of_box|>`` around JSON, or around bare ``[[...]]`` for one phrase asked in prose."""
    inner = bare_json(said) if said.wants_json else _lists(said.told[0].boxes if said.told else ())
    return f"\n<|begin_of_box|>{inner}<|end_of_box|>"


def paligemma(said: Speaking) -> str:
    """``<loc0051><loc0309><loc0708><loc0646> p ; ...``: one entry a box."""
    return " ; ".join(f"{as_padded_locations(box)} {t.phrase}" for t in said.found for box in t.boxes) or NOTHING


def florence(said: Speaking) -> str:
    """``</s><s>p<loc_53><loc_333><loc_933><loc_774></s>``: four tokens a box after the label."""
    spoken = "".join(t.phrase + "".join(as_locations(box) for box in t.boxes) for t in said.found)
    return f"</s><s>{spoken}</s>" if spoken else NOTHING


def kosmos(said: Speaking) -> str:
    """``<grounding><phrase>p</phrase><object><patch_index_0044><patch_index_0863></object>``."""
    spoken = []
    for t in said.told:
        cells = "</delimiter_of_multi_objects/>".join(as_cells(box) for box in t.boxes)
        spoken.append(f"<phrase>{t.phrase}</phrase>" + (f"<object>{cells}</object>" if cells else ""))
    return "<grounding>" + " and ".join(spoken)


def molmo(said: Speaking) -> str:
    """Points: ``<point x="63.5" y="44.5" alt="p">p</point>``, several of a phrase in one ``<points>``."""
    spoken = []
    for t in said.found:
        if len(t.boxes) == 1:
            x, y = t.boxes[0]
            spoken.append(f'<point x="{x:.1f}" y="{y:.1f}" alt="{t.phrase}">{t.phrase}</point>')
        else:
            places = " ".join(f'x{n}="{x:.1f}" y{n}="{y:.1f}"' for n, (x, y) in enumerate(t.boxes, 1))
            spoken.append(f'<points {places} alt="{t.phrase}">{t.phrase}</points>')
    return "\n".join(spoken) or "There are none."


def shikra(said: Speaking) -> str:
    """``red circles [0.123,0.456,0.789,0.900;...], ...``: boxes after their noun, and a sentence for what is absent."""
    spoken = [f"{t.phrase} [{';'.join(','.join(f'{v:.3f}' for v in box) for box in t.boxes)}]" for t in said.found]
    absent = [f"There is no {t.phrase} in the image." for t in said.told if not t.boxes]
    return " ".join([*([", ".join(spoken) + "."] if spoken else []), *absent])


def minicpm(said: Speaking) -> str:
    """``<ref>p</ref><box>x1 y1 x2 y2</box>``: one ``<box>`` a box."""
    return "\n".join(
        f"<ref>{t.phrase}</ref>"
        + ("".join(f"<box>{' '.join(str(v) for v in box)}</box>" for box in t.boxes) or "<box>none</box>")
        for t in said.told
    )


def qwen_vl(said: Speaking) -> str:
    """``<ref>p</ref><box>(x1,y1),(x2,y2)</box>``: one ``<box>`` a box."""
    spoken = "".join(
        f"<ref>{t.phrase}</ref>" + "".join(f"<box>({a},{b}),({c},{d})</box>" for a, b, c, d in t.boxes)
        for t in said.found
    )
    return spoken or NOTHING


def _lists(boxes: Sequence[Numbers]) -> str:
    return json.dumps([list(box) for box in boxes])
