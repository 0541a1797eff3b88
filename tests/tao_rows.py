"""What users of TAO's 2D Grounding pipelines were promised, row by row, and which tests hold it.

A row names what such a user brings or relies on, or what the original does wrong. A test that would fail with the
original's behaviour is marked with the row: ``@pytest.mark.tao_row("several lines may name one image")``, once a row.
``python -m tests.tao_rows`` prints the table, ``pytest -m tao_row`` runs the tests in it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent

ROWS = {
    "command line": (
        "auto_label generate -e spec.yaml key=value",
        "auto_label default_specs results_dir=... module_name=auto_label",
        "-e and --experiment_spec_file",
        "python -m raylabel run config.yaml",
        "defaults < file < overrides",
    ),
    "specification": (
        "the documented keys with their defaults",
        "output_format: jsonl by default, in the generated specification too; media resolution high everywhere",
        "LOW, MEDIUM and HIGH",
        "an empty api_key reads the environment; a hosted endpoint may need none; EMPTY is accepted",
        "base_url without /chat/completions",
        "max_workers is the number of requests in flight of a step, over the whole cluster",
        "force_reprocess",
        "empty values mean not set",
        "image_dir and kitti_label_dir are optional beside input_annotations_jsonl",
        "keys of other tasks in a generated specification are ignored with one warning",
        "steps by number or by name",
        "only the block that autolabel_type names needs its required fields",
        "a wrong key, type or value is an error with the nearest valid one, before anything starts",
    ),
    "inputs": (
        "image_path: absolute, relative to image_root, or a URI",
        "caption and image_path are required",
        "image_id is derived from the file name where it is missing, and kept verbatim where it is not",
        "width and height come from the image, whatever the line says",
        "anything else is carried through",
        "several lines may name one image",
        ".jpg, .jpeg and .png in any case, sub-folders included",
        "KITTI lines: fields 0 and 4-7; shorter lines are skipped and counted; DontCare is no object",
        "where no image finds a label file the run does not start",
        "input_annotations_jsonl, seed_annotations.jsonl and earlier annotations are one format",
    ),
    "steps": (
        "names, numbers, directories and fields of the six steps",
        "expression_extraction: cleaned_caption and expressions with empty instances",
        "grounding: instances with bbox, score and bbox_id",
        "region_expr: one region a seed box",
        "image_caption: whole image, no place names",
        "grounding_expr: groups of regions under one phrase",
        "double_check: kept, removed or tightened, verified set",
        "any subset is legal when its inputs exist",
        "steps 0 and 1 of the referring pipeline do not depend on each other",
        "step 2 works without step 1",
    ),
    "output": (
        "the keys of a line, in both pipelines",
        "bbox: pixels of the image as displayed, inside it, whole numbers",
        "an overshoot of 1 % is clipped and flagged, more is a violation",
        "input boxes are pixels of the image as displayed",
        "char_span: cleaned_caption[a:b] == text, or null and flagged",
        "score: in [0, 1] or null; bbox_score is accepted",
        "image_path opens from where the run was started",
        "ids are unique and do not depend on order, timing, workers or resuming",
        "unfinished fields are absent; each record carries the outcome of its steps",
        "extracted and not yet grounded is told from grounded and nothing there",
        "regions[].bbox_2d is accepted and not written",
        "verified: true, false or null",
        "annotations.jsonl in input order; a file for each step; seed_annotations.jsonl; checkpoints beside them",
    ),
    "legacy": (
        ".step0: a JSON array of four keys, indent 2, non-ASCII kept, no last newline, [] without regions",
        ".step1: the caption and nothing else",
        ".step2 and .step3: a line an expression that has boxes; an empty phrase is object",
        "boxes on the 0-1000 grid, rounded down",
        "legacy writes the JSONL files as well",
        "label files mirror the sub-folders of image_dir",
    ),
    "wrong labels": (
        "boxes of the referring pipeline stay on the 0-1000 grid",
        "missing sizes become 1920x1080, a 4K box comes out inverted",
        "the prompt asks for pixels, whatever convention the model was trained on",
        "records with the same file stem overwrite each other",
        "a missing or corrupt image turns into a text-only request",
        "char_span is never checked",
        "All boxes are correct. erases every label",
        "a changed capital letter drops a phrase",
        "two groups with the same phrase swap boxes",
        "boxes added against the rules are accepted",
        "a phrase containing a colon is dropped",
        "a key that differs in case or numbering gives zero boxes",
        "scores are invented",
        "DontCare is treated as an object",
    ),
    "silent loss": (
        "a failed or unreadable call is written as an empty result and never tried again",
        "100 % failures end as success",
        "running steps 2,3 after 0,1 overwrites the final file with nothing",
        "new inputs are ignored once an output file exists",
        "ids collide after a resume",
        "unparsable input lines vanish uncounted",
        "a null score or a list-shaped answer loses paid answers",
    ),
    "clients": (
        "the Gemini timeout is never applied",
        "the media resolution of images is never applied",
        "every error is retried alike, including a wrong key",
        "Retry-After is ignored",
        "finish_reason is ignored",
        "token usage is ignored",
        "one process",
        "a barrier between steps",
        "all records in memory",
    ),
}


class Marker(NamedTuple):
    """One ``tao_row`` marker: the row, and ``folder/test_file.py::test_name``, or the line where it marks no test."""

    row: str
    place: str
    on_test: bool


def markers_in(folder: Path) -> Iterator[Marker]:
    """Every marker below a folder, whether on a test or on one of its cases (``marks=``)."""
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "tao_row" not in text:
            continue
        file, tree = path.relative_to(folder).as_posix(), ast.parse(text)
        tests = {
            id(node): test.name
            for test in tree.body
            if isinstance(test, (ast.FunctionDef, ast.AsyncFunctionDef)) and test.name.startswith("test_")
            for decorator in test.decorator_list
            for node in ast.walk(decorator)
            if path.name.startswith("test_")
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tao_row":
                name = tests.get(id(node))
                (row,) = map(ast.literal_eval, node.args)
                yield Marker(row, f"{file}::{name}" if name else f"{file}:{node.lineno}", name is not None)


def holders_of_rows(folder: Path = TESTS) -> dict[str, list[str]]:
    """The tests that hold each row, in the order of the rows."""
    found: dict[str, list[str]] = {row: [] for rows in ROWS.values() for row in rows}
    for marker in markers_in(folder):
        if marker.on_test and marker.row in found:
            found[marker.row].append(marker.place)
    return found


def table(folder: Path = TESTS) -> str:
    """All rows with their tests, as Markdown."""
    tests = holders_of_rows(folder)
    lines = []
    for section, rows in ROWS.items():
        lines += [f"## {section}", "", "| row | tests |", "|---|---|"]
        lines += [f"| {row.replace('|', '&#124;')} | {'<br>'.join(tests[row])} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
