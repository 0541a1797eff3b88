"""Writes results folders as TAO's auto_label leaves them, defects included: for tests of what takes them over.

What is imitated is what the original makes of what its model says or does not say: a call that fails is an empty
result, checkpoints go by image_id, label files by stem, ids start from 0 in every process, 0.9 stands for a score that
is not there, boxes stay on the grid of 0 to 1000. The model is a function of the test.
"""

from __future__ import annotations

import ast
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

Json = dict[str, Any]
Ask = Callable[[str, Json], str]
"""What the model says to a step about a record; raises OSError where the call fails."""

FAILED = "Failed to obtain answer via API."


def write_lines(path: Path, records: list[Json]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


def read_lines(path: Path) -> list[Json]:
    """The objects of a file; lines that cannot be parsed are left out without a word."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


# --- image_grounding ------------------------------------------------------------------------------------------------


def ground(captions: Path, image_root: str, out: Path, ask: Ask) -> None:
    """Both steps of ``image_grounding``; the same call goes on after it was killed."""
    _extract(captions, image_root, out / "step_0_expression_extraction", ask)
    _ground(out / "step_0_expression_extraction", out / "step_1_grounding", ask)
    (out / "annotations.jsonl").write_bytes((out / "step_1_grounding" / "annotations.jsonl").read_bytes())


def _extract(captions: Path, image_root: str, folder: Path, ask: Ask) -> None:
    if (folder / "annotations.jsonl").exists():
        return
    checkpoints, ids = _folder(folder / ".ckpt"), itertools.count()
    done: list[Json] = []
    for number, line in enumerate(read_lines(captions)):
        record = {**line, "image_path": f"{image_root}/{line['image_path']}" if image_root else line["image_path"]}
        record.setdefault("image_id", Path(record["image_path"]).stem or str(number))
        checkpoint = checkpoints / f"{record['image_id']}.json"
        if checkpoint.exists():
            done.append(json.loads(checkpoint.read_text()))
            continue
        try:
            said = json.loads(ask("extraction", record))
            out = {**record, "cleaned_caption": said.get("cleaned_caption", record["caption"])}
            out["expressions"] = [
                {
                    "text": e["text"],
                    "instances": [],
                    "expression_id": f"expr_{next(ids):05d}",
                    "char_span": e.get("char_span") or [0, len(e["text"])],
                    "noun_chunk": e.get("noun_chunk") or e["text"].split()[-1],
                }
                for e in said.get("expressions", [])
            ]
        except (OSError, ValueError, AttributeError):
            out = {**record, "cleaned_caption": record["caption"], "expressions": []}
            out |= {"source": "image_grounding", "pipeline_steps": ["step0_expression_extraction"]}
            done.append(out)
            continue
        out |= {"source": "image_grounding", "pipeline_steps": ["step0_expression_extraction"]}
        checkpoint.write_text(json.dumps(out, ensure_ascii=False))
        done.append(out)
    write_lines(folder / "annotations.jsonl", done)


def _ground(before: Path, folder: Path, ask: Ask) -> None:
    checkpoints, ids = _folder(folder / ".ckpt"), itertools.count()
    done: list[Json] = []
    for record in read_lines(before / "annotations.jsonl"):
        checkpoint = checkpoints / f"{record['image_id']}.json"
        if checkpoint.exists():
            done.append(json.loads(checkpoint.read_text()))
            continue
        steps = [*record["pipeline_steps"], "step1_grounding"]
        width, height = int(record.get("width") or 1920), int(record.get("height") or 1080)
        try:
            said = json.loads(ask("grounding", record)) if record["expressions"] else {}
        except OSError:
            done.append(record)
            continue
        except ValueError:
            said = {}
        try:
            expressions = [
                {**e, "instances": list(_instances(said.get(e["text"], {}), width, height, ids))}
                for e in record["expressions"]
            ]
        except TypeError:  # a null score: what was paid for is lost
            done.append(record)
            continue
        out = {**record, "pipeline_steps": steps, "expressions": expressions}
        checkpoint.write_text(json.dumps(out, ensure_ascii=False))
        done.append(out)
    write_lines(folder / "annotations.jsonl", done)


def _instances(said: Json, width: int, height: int, ids: Iterator[int]) -> Iterator[Json]:
    scores = said.get("scores", [])
    for n, (x1, y1, x2, y2) in enumerate(said.get("bboxes", [])):
        box = [max(0, int(x1)), max(0, int(y1)), min(width, int(x2)), min(height, int(y2))]
        score = float(scores[n]) if n < len(scores) else 0.9
        yield {"bbox": box, "bbox_score": score, "bbox_id": f"box_{next(ids):05d}"}


# --- image_referring_expression -------------------------------------------------------------------------------------


def refer(images: Path, labels: Path, out: Path, ask: Ask, output_format: str = "jsonl", steps: str = "0123") -> None:
    """Steps of ``image_referring_expression``."""
    seeds = []
    for image in sorted(images.iterdir()):
        with Image.open(image) as opened:
            width, height = opened.size
        rows = [line.split() for line in (labels / f"{image.stem}.txt").read_text().splitlines()]
        boxes = [[*(int(float(v)) for v in row[4:8]), row[0]] for row in rows if len(row) >= 8]
        seeds.append(
            {
                "image_id": image.stem,
                "image_path": str(image),
                "width": width,
                "height": height,
                "kitti_bboxes": boxes,
                "source": "image_referring_expression",
                "pipeline_steps": [],
            }
        )
    write_lines(out / "seed_annotations.jsonl", seeds)
    has_labels = output_format != "jsonl"
    done: dict[str, list[Json]] = {}
    if "0" in steps:
        done["0"] = [_describe(seed, out, ask, has_labels) for seed in seeds]
        write_lines(out / "step_0_region_expr" / "annotations.jsonl", done["0"])
    if "1" in steps:
        done["1"] = [_caption(seed, out, ask, has_labels) for seed in seeds]
        write_lines(out / "step_1_image_caption" / "annotations.jsonl", done["1"])
    if "2" in steps:
        merged = {record["image_id"]: dict(record) for record in done.get("0", [])}
        for record in done.get("1", []) if merged else []:
            merged[record["image_id"]] |= record
        done["2"] = [_group(record, out, ask, has_labels) for record in merged.values()]
        write_lines(out / "step_2_grounding_expr" / "annotations.jsonl", done["2"])
    if "3" in steps:
        before = read_lines(out / "step_2_grounding_expr" / "annotations.jsonl")
        done["3"] = [_check(record, out, ask, has_labels) for record in before]
        write_lines(out / "step_3_double_check" / "annotations.jsonl", done["3"])
    write_lines(out / "annotations.jsonl", done[max(done)])


def on_grid(box: list[Any], record: Json) -> list[int]:
    """As the original tells its model a box, and as that answers."""
    sides = [record["width"], record["height"]] * 2
    return [int(v / side * 1000) for v, side in zip(box[:4], sides, strict=True)]


def _describe(seed: Json, out: Path, ask: Ask, has_labels: bool) -> Json:
    record = {**seed, "pipeline_steps": ["step0_region_expr"], "regions": []}
    text = "[]"
    if seed["kitti_bboxes"]:
        try:
            text = ask("regions", seed)
        except OSError:
            return record
        try:
            record["regions"] = [{**r, "bbox": r["bbox_2d"]} for r in ast.literal_eval(text)]
        except (ValueError, SyntaxError):
            record["regions"] = []
    if has_labels:
        keys = ("bbox_2d", "type", "color", "description")
        if record["regions"]:
            text = json.dumps([{k: r[k] for k in keys} for r in record["regions"]], ensure_ascii=False, indent=2)
        _write_label(out, "step_0_region_expr", seed, 0, text)
    return record


def _caption(seed: Json, out: Path, ask: Ask, has_labels: bool) -> Json:
    record = {**seed, "pipeline_steps": ["step1_image_caption"], "caption": ""}
    try:
        record["caption"] = ask("caption", seed).strip()
    except OSError:
        return record
    if has_labels:
        _write_label(out, "step_1_image_caption", seed, 1, record["caption"])
    return record


_BOXES, _PHRASES = itertools.count(), itertools.count()


def _group(record: Json, out: Path, ask: Ask, has_labels: bool) -> Json:
    record = {**record, "pipeline_steps": [*record["pipeline_steps"], "step2_grounding_expr"], "expressions": []}
    if record["regions"]:
        try:
            said = _phrase_lines(ask("groups", record))
        except OSError:
            return record
        record["expressions"] = [
            {
                "text": phrase,
                "instances": [
                    {"bbox": box, "bbox_score": 0.9, "bbox_id": f"box_{next(_BOXES) % 50:05d}"} for box in boxes
                ],
                "expression_id": f"expr_{next(_PHRASES) % 50:05d}",
            }
            for phrase, boxes in said
        ]
    if has_labels:
        _write_label(out, "step_2_grounding_expr", record, 2, phrase_text(record["expressions"]))
    return record


def _check(record: Json, out: Path, ask: Ask, has_labels: bool) -> Json:
    before = record["expressions"]
    record = {**record, "pipeline_steps": [*record["pipeline_steps"], "step3_double_check"]}
    if before:
        try:
            said = dict(_phrase_lines(ask("check", record)))
        except OSError:
            return record
        record["expressions"] = [_reconciled(e, said[e["text"]]) for e in before if said.get(e["text"])]
    if has_labels:
        _write_label(out, "step_3_double_check", record, 3, phrase_text(record["expressions"]))
    return record


def _reconciled(expression: Json, boxes: list[list[int]]) -> Json:
    old = expression["instances"]
    by_box = {tuple(i["bbox"]): i for i in old}
    instances = [
        by_box[tuple(box)]
        if tuple(box) in by_box
        else {**old[n], "bbox": box}
        if n < len(old)
        else {"bbox": box, "bbox_score": 0.9}
        for n, box in enumerate(boxes)
    ]
    return {**expression, "instances": instances, "verified": True}


def phrase_text(expressions: list[Json]) -> str:
    """Phrases with boxes, a line each."""
    return "".join(f"{e['text']}: {json.dumps([i['bbox'] for i in e['instances']])}\n" for e in expressions)


def _phrase_lines(text: str) -> list[tuple[str, list[list[int]]]]:
    """What the original reads of such lines: up to the first colon."""
    found = []
    for line in text.splitlines():
        phrase, _, rest = line.partition(":")
        if rest.strip().startswith("["):
            found.append((phrase.strip(), [list(map(int, box)) for box in json.loads(rest)]))
    return found


def _write_label(out: Path, step: str, record: Json, number: int, text: str) -> None:
    name = f"{Path(record['image_path']).stem}.txt.step{number}"
    (_folder(out / step / "labels") / name).write_text(text, encoding="utf-8")


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
