"""Does the answer reader take time linear in the length of hostile answers, and how long for 10 MB?

Reads each hostile shape at 1 MB and at 10 MB and prints the seconds of both and their ratio: about 10 is linear, about
100 is quadratic. Every shape is read twice: *same* repeats one unit, *varied* puts a running number or different words
into each unit, so that recognising a loop does not help. Exits with 1 where a 10 MB answer takes longer than the
limit. Run: ``.venv/bin/python scripts/benchmarks/answers_time.py [--limit-s 2] [--only NAME]``
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time

from raylabel.answers.reading import read_boxes

MEGABYTE = 1_000_000
ENTRY = '{"bbox_2d": [112, 205, 371, 444], "label": "oar @"}'
# @ stands for what differs between units where they are varied.
SHAPES = {
    "[1,": ("", "[@,"),
    '{"a":': ("", '{"a@":'),
    '{"bbox_2d":[': ("", '{"bbox_2d":[@'),
    "double quotes": ("", '"@'),
    "single quotes": ("", "'@,"),
    "backslashes": ('[{"label": "', "\\@\\\\"),
    "<box>": ("", "<box>@"),
    "<think>": ("", "<think>@"),
    "<answer>": ("", "<answer>@"),
    "white space": ("", " \n@"),
    "digits and dots": ("", "@."),
    "digit loop": ("<|ref|>a<|/ref|><|det|>[[0, 61, ", "9@"),
    "(1,2),": ("", "(@,2),"),
    "backticks": ("", "```@"),
    "braces and brackets": ("", "[{(@"),
    "closing brackets": ("", "]}@"),
    "open det tokens": ("", "<|ref|>a<|/ref|><|det|>[[@, "),
    "location tokens": ("", "<loc_@>"),
    "letters and colons": ("", "a@: "),
    "phrase lines cut": ("", "a@: [[1, 2, 3\n"),
    "x1=": ("", "x1=@ "),
    "table bars": ("", "| @"),
    "table rows": ("| a | x1 | y1 | x2 | y2 |\n|---|---|---|---|---|\n", "| a | @ | 2 | 3 |\n"),
    "comment starts": ("", "/*@"),
    "entities": ("", "&lt;@"),
    "tags": ("", "<p@ data-bbox='1 2 3"),
    "entries": ("[", ENTRY + ", "),
    "entries cut": ("[", '{"bbox_2d": [112, 205, @, "label": "oar'),
    "single-quoted entries": ("[", "{'bbox_2d': [112, 205, 371, 444], 'label': 'o'ar @'}, "),
    "NDJSON": ("", ENTRY + "\n"),
    "inline boxes": ("", "a boat [112, 205, 371, 444] and @ "),
    "prose": ("", "so it is, @. "),
    "lost key quotes": ("{", '"a@: [x '),
    "corrections": (f"[{ENTRY}]", ' actually {"a@": "b"}'),
    "keyless boxes": ('{"label": "oar", ', "[1, 2, 3, @], "),
    "box marks": ("", "oar @ <|begin_of_box|>[1, 2, 3"),
    "blanks before boxes": ("", "a" + " " * 300 + "b@ [1, 2, 3, 4]"),
}


def build_answer(shape: str, limit_bytes: int, varied: bool) -> str:
    """A hostile answer of about that length."""
    prefix, unit = SHAPES[shape]
    if not varied:
        return prefix + unit.replace("@", "") * (limit_bytes // len(unit))
    pieces, length = [prefix], len(prefix)
    for number in itertools.count():
        # Multiplied so that neighbouring units differ in more than their last digit.
        pieces.append(unit.replace("@", str(number * 7919 % 1_000_003)))
        length += len(pieces[-1])
        if length >= limit_bytes:
            return "".join(pieces)
    raise AssertionError("counting never ends")


def seconds(text: str) -> float:
    """Processor seconds of one reading."""
    begun = time.process_time()
    read_boxes(text, sides=(1000, 1000))
    return time.process_time() - begun


def main() -> int:
    """Print the table; 0 where every 10 MB answer was read within the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-s", type=float, default=2.0)
    parser.add_argument("--only", choices=sorted(SHAPES))
    arguments = parser.parse_args()
    shapes = [arguments.only] if arguments.only else list(SHAPES)
    slow = 0
    print(f"{'shape':<24}{'units':<8}{'1 MB, s':>10}{'10 MB, s':>10}{'ratio':>8}")
    for shape, varied in itertools.product(shapes, (False, True)):
        small, large = (seconds(build_answer(shape, megabytes * MEGABYTE, varied)) for megabytes in (1, 10))
        slow += large > arguments.limit_s
        ratio = large / max(small, 1e-3)
        print(f"{shape:<24}{'varied' if varied else 'same':<8}{small:>10.3f}{large:>10.3f}{ratio:>8.1f}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"slower than {arguments.limit_s:g} s: {slow} of {2 * len(shapes)}; most memory held: {peak:.0f} MB")
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
