"""The seven tasks: what this model answers about a scene, as plain JSON values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from raylabel.demo.server import questions
from raylabel.demo.server.dialects import Dialect, Finding, PixelBox, box_in
from raylabel.demo.server.language import (
    Wanted,
    counted,
    name_look,
    noun_phrases,
    place_words,
    read_phrase,
    single_out,
)
from raylabel.demo.server.questions import Task
from raylabel.demo.server.seeing import Scene, Seen

SAME_OBJECT_IOU = 0.3
"""A box that shares less than this with every object holds none of them."""

TIGHT_IOU = 0.85
"""A box that shares less than this with its object is not tight."""

EMPTY = "empty area"


def answer(task: Task, scene: Scene, dialect: Dialect, reader: Dialect | None = None) -> Any:
    """The JSON value of the answer; equal questions about equal pictures get equal answers.

    Args:
        reader: the dialect in which boxes of the question are read; None: the one in which boxes are answered.
    """
    reader = dialect if reader is None else reader
    if task.name == questions.EXTRACTION:
        told = extract(task.caption)
        return {**told, "expressions": [e["text"] for e in told["expressions"]]} if task.briefly else told
    if task.name == questions.GROUNDING:
        findings = find(task.items, scene)
        return dialect.entries(dialect.tell(findings, scene.width_px, scene.height_px), named=not task.briefly)
    if task.name == questions.REGIONS:
        return describe_regions(task.items, scene, reader)
    if task.name == questions.GROUPING:
        return group_regions(task, scene, reader)
    if task.name == questions.CHECK:
        verdicts = [_check_one(item, scene, dialect, reader) for item in task.items]
        return {"checks": [_by_verdict(v) for v in verdicts] if task.briefly else verdicts}
    if task.name == questions.COLORS:
        return name_colors(task.items, scene, reader)
    return {"caption": describe_scene(scene)}


# --- extraction -----------------------------------------------------------------------------------------------------

PICTURE = r"(?:photo|photograph|picture|image|shot|scene|snapshot|illustration|drawing)"
PRAISE = r"(?:nice|lovely|beautiful|pretty|great|wonderful|amazing|gorgeous|good|colourful|colorful|simple|cute)"
INTRODUCTION = re.compile(
    rf"^(?:(?:in|on) (?:this|the) {PICTURE},? (?:(?:we|you|one|i) (?:can )?(?:clearly )?see|there (?:is|are))"
    rf"|(?:here )?(?:we|you|one|i) (?:have|(?:can )?(?:clearly )?see)"
    rf"|(?:this is )?(?:a|an|the|this) (?:{PRAISE} )*{PICTURE} (?:shows|of|with|depicts|contains))\s+",
    re.IGNORECASE,
)
REMARK = re.compile(rf"\b(?:{PICTURE}|{PRAISE}|quality|blurry|sharp|mood|atmosphere|style)\b", re.IGNORECASE)
OPINION = re.compile(rf"\b{PRAISE}\s+", re.IGNORECASE)
SENTENCE = re.compile(r"[^.!?]*(?:[.!?]+|$)\s*")


def extract(caption: str) -> dict[str, Any]:
    """A cleaned caption with its referring expressions; spans are now and then off by one, as models' are.

    >>> extract("In this photo we can see a red circle.")["cleaned_caption"]
    'a red circle.'
    """
    cleaned = clean(caption)
    expressions = []
    for number, found in enumerate(noun_phrases(cleaned)):
        slip = 1 if (found.start + number) % 4 == 3 else 0
        expressions.append(
            {
                "text": cleaned[found.start : found.end],
                "char_span": [found.start + slip, found.end + slip],
                "noun_chunk": found.noun,
            }
        )
    return {"cleaned_caption": cleaned, "expressions": expressions}


def clean(caption: str) -> str:
    """The caption without introductions, remarks about the picture, and opinions."""
    kept = []
    for sentence in SENTENCE.findall(caption):
        rest = INTRODUCTION.sub("", sentence, count=1)
        if rest == sentence and REMARK.search(sentence) and not _names_a_shape(OPINION.sub("", sentence)):
            continue
        kept.append(OPINION.sub("", rest))
    return "".join(kept).strip()


def _names_a_shape(sentence: str) -> bool:
    return any(not found.wanted.nameless for found in noun_phrases(sentence))


# --- grounding ------------------------------------------------------------------------------------------------------


def find(items: Sequence[dict[str, Any]], scene: Scene) -> list[Finding]:
    """For each phrase asked the boxes of the objects it fits, from left to right."""
    findings = []
    for item in items:
        phrase = str(item.get("phrase", ""))
        found = read_phrase(phrase).all_of(scene)
        findings.append(Finding(phrase, item.get("id"), tuple(seen.box_px for seen in found)))
    return findings


# --- regions --------------------------------------------------------------------------------------------------------


def describe_regions(items: Sequence[dict[str, Any]], scene: Scene, reader: Dialect) -> dict[str, Any]:
    """Type, colour and an unmistakable phrase for what is in each box; what was noted for it is not believed."""
    regions = []
    for item in items:
        box_px = _read_box(item, scene, reader)
        seen = _object_in(box_px, scene, reader)
        if seen is None:
            where = "" if box_px is None else place_words(Seen("", "", "", "", box_px), scene)
            described = {"type": "nothing", "color": "", "description": f"empty ground {where}".strip()}
        else:
            described = {"type": seen.kind, "color": seen.color, "description": single_out(seen, scene)}
        regions.append({"id": item["id"], **described})
    return {"regions": regions}


def name_colors(items: Sequence[dict[str, Any]], scene: Scene, reader: Dialect) -> dict[str, Any]:
    """The color of the object that holds or fills most of each box; "none" where the box is empty."""
    told = []
    for item in items:
        box_px = _read_box(item, scene, reader)
        shared = {} if box_px is None else {seen: _shared(seen.box_px, box_px) for seen in scene.objects}
        best = max(shared, key=shared.__getitem__, default=None)
        told.append({"id": item["id"], "color": best.color if best is not None and shared[best] > 0 else "none"})
    return {"answers": told}


def _read_box(item: dict[str, Any], scene: Scene, reader: Dialect) -> PixelBox | None:
    return reader.read_value(box_in(item), scene.width_px, scene.height_px)


def _object_in(box_px: PixelBox | None, scene: Scene, reader: Dialect) -> Seen | None:
    """The object that shares most with the box, if it shares enough."""
    if box_px is None or not scene.objects:
        return None
    # As the dialect would write it: a small object and its one cell of a coarse grid are the same thing.
    shared = {s: _iou(reader.rounded(s.box_px, scene.width_px, scene.height_px), box_px) for s in scene.objects}
    best = max(shared, key=shared.__getitem__)
    return best if shared[best] >= SAME_OBJECT_IOU else None


def _iou(a: PixelBox, b: PixelBox) -> float:
    shared = _shared(a, b)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (both - shared) if shared > 0 else 0.0


def _shared(a: PixelBox, b: PixelBox) -> float:
    """The area that two boxes have in common."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


# --- caption --------------------------------------------------------------------------------------------------------


def describe_scene(scene: Scene) -> str:
    """One or two sentences: what is there, how often, on what ground."""
    looks: dict[tuple[str, str], list[Seen]] = {}
    for seen in scene.objects:
        looks.setdefault((seen.color, seen.kind), []).append(seen)
    if not looks:
        return f"An empty {scene.ground} ground."
    parts = []
    for (color, kind), members in sorted(looks.items(), key=lambda look: (-len(look[1]), look[0])):
        phrase = counted(len(members), name_look(color, kind, len(members) > 1))
        places = {place_words(seen, scene) for seen in members}
        parts.append(f"{phrase} {places.pop()}".strip() if len(places) == 1 else phrase)
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"{listed[0].upper()}{listed[1:]} on a {scene.ground} ground."


# --- grouping -------------------------------------------------------------------------------------------------------

SURE = 0.05
"""A group is named by its side of the picture only if no candidate's centre is nearer to the middle line."""


def group_regions(task: Task, scene: Scene, reader: Dialect) -> dict[str, Any]:
    """Groups of regions by look; each region stands in at least one, and a group holds all that its phrase fits."""
    held = [(item["id"], _object_in(_read_box(item, scene, reader), scene, reader)) for item in task.items]
    phrases: dict[str, Wanted] = {}
    for _, seen in held:
        if seen is not None:
            for phrase in _names_for(seen, [s for _, s in held if s is not None], scene):
                phrases.setdefault(phrase, read_phrase(phrase))
    groups = [
        {"text": phrase, "regions": [ident for ident, seen in held if seen is not None and wanted.fits(seen, scene)]}
        for phrase, wanted in phrases.items()
    ]
    if empty := [ident for ident, seen in held if seen is None]:
        groups.append({"text": EMPTY, "regions": empty})
    if task.focus is not None:
        groups = [g for g in groups if any(str(ident) in task.focus for ident in g["regions"])]
    return {"expressions": groups}


def _names_for(seen: Seen, all_seen: Sequence[Seen], scene: Scene) -> list[str]:
    """The phrase of the object's look, and a narrower one where the look is common and the narrower one is certain."""
    alike = [other for other in all_seen if (other.kind, other.color) == (seen.kind, seen.color)]
    names = [name_look(seen.color, seen.kind, len(set(alike)) > 1)]
    for texture, size in ((seen.texture, ""), ("", seen.size)):
        if texture == "solid" or size == "medium":
            continue
        fellows = [o for o in alike if (o.texture == texture if texture else o.size == size)]
        if 0 < len(set(fellows)) < len(set(alike)):
            names.append(name_look(seen.color, seen.kind, len(set(fellows)) > 1, size=size, texture=texture))
    centres = {o: (o.box_px[0] + o.box_px[2]) / 2 / scene.width_px - 0.5 for o in alike}
    if len(centres) >= 3 and min(abs(c) for c in centres.values()) > SURE:
        side = [c for c in centres.values() if (c < 0) == (centres[seen] < 0)]
        if len(side) < len(centres):
            place = "on the left" if centres[seen] < 0 else "on the right"
            names.append(f"{name_look(seen.color, seen.kind, len(side) > 1)} {place}")
    return names


# --- double check ---------------------------------------------------------------------------------------------------


def _check_one(item: dict[str, Any], scene: Scene, dialect: Dialect, reader: Dialect) -> dict[str, Any]:
    """A verdict on an expression and each of its boxes, by id, after looking again."""
    wanted = read_phrase(str(item.get("phrase") or item.get("text") or ""))
    boxes = questions.boxes_of(item) or []
    held = [_object_in(_read_box(box, scene, reader), scene, reader) for box in boxes]
    shown = [seen for seen in held if seen is not None]
    verdict: dict[str, Any] = {"id": item["id"], "verdict": "keep"}
    if shown and not any(wanted.fits(seen, scene) for seen in shown):
        verdict["verdict"] = "drop"
        looks = {(seen.color, seen.kind) for seen in shown}
        if len(looks) == 1 and len(shown) == len(held):
            color, kind = looks.pop()
            wanted = replace(Wanted(), color=color, kind=kind)
            verdict |= {"verdict": "rewrite", "phrase": name_look(color, kind, len(shown) > 1)}
    if not shown and (boxes or not wanted.all_of(scene)):
        verdict["verdict"] = "drop"
    verdict["boxes"] = [
        _check_box(box, seen if seen is not None and wanted.fits(seen, scene) else None, scene, dialect, reader)
        for box, seen in zip(boxes, held, strict=True)
    ]
    return verdict


def _by_verdict(told: dict[str, Any]) -> dict[str, Any]:
    """The same in short: the ids of the boxes by their verdict, and the phrase to rewrite."""
    brief: dict[str, Any] = {"id": told["id"]}
    for box in told["boxes"]:
        verdict = box.pop("verdict")
        brief.setdefault(verdict, []).append(box if verdict == "adjust" else box["id"])
    return {**brief, "rewrite": told["phrase"]} if "phrase" in told else brief


def _check_box(
    box: dict[str, Any], seen: Seen | None, scene: Scene, dialect: Dialect, reader: Dialect
) -> dict[str, Any]:
    ident = {"id": box.get("id")}
    if seen is None:
        return {**ident, "verdict": "drop"}
    # Compared as written in the dialect, so that rounding to its units never looks like a loose box.
    asked_px, known_px = _read_box(box, scene, reader), reader.rounded(seen.box_px, scene.width_px, scene.height_px)
    if asked_px is not None and _iou(asked_px, known_px) < TIGHT_IOU:
        better = dialect.spell(dialect.write(seen.box_px, scene.width_px, scene.height_px))
        return {**ident, "verdict": "adjust", dialect.key: better}
    return {**ident, "verdict": "keep"}
