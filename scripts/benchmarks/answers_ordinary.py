"""What does it cost to read an ordinary answer, held against one strict parse of the same text?

Each shape is read with other phrases and numbers every time, as in a run, so that no cache helps. Prints microseconds
of processor time an answer, and how many times ``json.loads`` of a JSON list with the same entries that is, measured in
turn. Run: ``.venv/bin/python scripts/benchmarks/answers_ordinary.py [--answers 2000] [--entries 4]``
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

from raylabel.answers.grounding import read_grounding

Entries = list[tuple[int, str, list[int]]]


def as_list(entries: Entries) -> str:
    return json.dumps([{"id": n, "bbox_2d": box, "label": label, "score": 0.9} for n, label, box in entries])


SHAPES: dict[str, Callable[[Entries], str]] = {
    "list": as_list,
    "fenced list": lambda entries: f"```json\n{as_list(entries)}\n```",
    "object": lambda entries: f'{{"boxes": {as_list(entries)}}}',
    "indented list": lambda entries: json.dumps(json.loads(as_list(entries)), indent=2),
    "sentence and list": lambda entries: f"Here they are:\n```json\n{as_list(entries)}\n```",
    "keyed object": lambda entries: json.dumps({label: [box] for _, label, box in entries}),
    "ref and box": lambda entries: "".join(f"<ref>{t}</ref><box>[{b}]</box>" for _, t, b in entries),
    "phrase lines": lambda entries: "\n".join(f"{t}: [{b}]" for _, t, b in entries),
}
WORDS = [
    "red",
    "blue",
    "small",
    "tall",
    "old",
    "wooden",
    "striped",
    "parked",
    "distant",
    "car",
    "boat",
    "lamp",
    "heron",
    "sign",
    "bench",
    "bicycle",
    "chair",
    "kerb",
]


def entries_at(dice: random.Random, count: int) -> Entries:
    """Entries with phrases and boxes of their own."""
    entries: Entries = []
    for number in range(1, count + 1):
        x1, y1 = dice.randint(0, 900), dice.randint(0, 900)
        label = f"{' '.join(dice.sample(WORDS, 3))} {dice.randint(0, 99)}"
        entries.append((number, label, [x1, y1, dice.randint(x1 + 9, 999), dice.randint(y1 + 9, 999)]))
    return entries


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=2000)
    parser.add_argument("--entries", type=int, default=4)
    arguments = parser.parse_args()
    dice = random.Random(1)
    written = [entries_at(dice, arguments.entries) for _ in range(arguments.answers)]
    print(f"{'shape':<20}{'us':>8}{'json.loads, us':>16}{'times':>8}")
    for shape, write in SHAPES.items():
        answers = [(write(entries), {n: label for n, label, _ in entries}, as_list(entries)) for entries in written]
        read_s = parse_s = 0.0
        for text, asked, plain in answers:
            begun = time.process_time()
            found = read_grounding(text, asked, "xyxy", (1000.0, 1000.0))
            between = time.process_time()
            json.loads(plain)
            read_s, parse_s = read_s + between - begun, parse_s + time.process_time() - between
            assert len(found.settled) == len(asked), text
        each = 1e6 / len(answers)
        print(f"{shape:<20}{read_s * each:>8.1f}{parse_s * each:>16.1f}{read_s / parse_s:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
