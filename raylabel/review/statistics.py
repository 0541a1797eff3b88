"""The figures of a page of statistics, counted in one pass, and their plots."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from raylabel.answers.nouns import head_noun
from raylabel.records import JsonObject, Outcome
from raylabel.review.shown import Shown
from raylabel.runtime.costs import in_dollars

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELLS = 24
"""A side of the heat map."""
_SHOWN_ROWS = 20
_MOST_NOUNS = 50_000
"""Counted at a time; the rare half is forgotten beyond."""
_SIZES = np.geomspace(0.0001, 1, 13)
"""Bounds of classes of area, as shares of the image."""
_INK = "#010203"
"""Stands for the color of the page's text, which the reader's system chooses."""
_BAR = "#3b82c4"
_BEHIND_THESE = (
    "Replies to the questions about these records as they are put now; raylabel stats counts all that was paid for."
)


@dataclass(frozen=True)
class Section:
    """A part of the page: a table and, where it can be drawn, its plot as SVG."""

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    svg: str = ""
    note: str = ""


@dataclass
class _Asked:
    """Requests of one step to one model."""

    records: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0
    centiseconds: Counter[int] = field(default_factory=Counter)

    def add(self, reply: JsonObject) -> None:
        self.requests += 1
        self.tokens_in += reply["tokens_in"] or 0
        self.tokens_cached += reply["tokens_cached"] or 0
        self.tokens_out += reply["tokens_out"] or 0
        self.usd = total_of((self.usd, reply["usd"]))
        self.centiseconds[round(100 * reply["seconds"])] += 1


@dataclass
class _Found:
    """What stands in the records whose boxes one model found."""

    records: int = 0
    phrases: int = 0
    without: int = 0
    boxes: int = 0
    rejected: int = 0
    flagged: int = 0
    scores: float = 0.0
    scored: int = 0


class Statistics:
    """Counts over records, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._steps: dict[str, dict[str, Counter[str]]] = {}
        self._asked: dict[tuple[str, str], _Asked] = defaultdict(_Asked)
        self._models: dict[str, _Found] = defaultdict(_Found)
        self._per_phrase: Counter[int] = Counter()
        self._per_image: Counter[int] = Counter()
        self._words: Counter[int] = Counter()
        self._nouns: Counter[str] = Counter()
        self._scores = np.zeros(20, np.int64)
        self._areas: Counter[int] = Counter()
        self._heat = np.zeros((_CELLS, _CELLS))
        self._flags: Counter[str] = Counter()
        self._rules: Counter[str] = Counter()

    def add(self, shown: Shown, exchanges: Iterable[JsonObject]) -> None:
        """Count a record, with what was asked about it."""
        self._outcomes[shown.outcome] += 1
        for step in shown.steps:
            by_model = self._steps.setdefault(step["label"], {})
            by_model.setdefault(step["model"], Counter())[step["outcome"]] += 1
        self._flags.update(shown.flags)
        self._rules.update(shown.rules)
        self._add_phrases(shown)
        asked: set[tuple[str, str]] = set()
        for exchange in exchanges:
            for reply in exchange["replies"]:
                asked.add(by := (exchange["step"], reply["model"]))
                self._asked[by].add(reply)
        for by in asked:
            self._asked[by].records += 1

    def _add_phrases(self, shown: Shown) -> None:
        size = (shown.line.get("width"), shown.line.get("height"))
        model = next((step["model"] for step in reversed(shown.steps) if step["model"]), "")
        found = self._models[model]
        found.records += 1
        found.flagged += bool(shown.flags)
        self._per_image[len(shown.boxes)] += 1
        for phrase in shown.phrases:
            found.phrases += 1
            found.without += phrase.outcome == Outcome.NOTHING.value
            found.boxes += len(phrase.kept)
            found.rejected += len(phrase.boxes) - len(phrase.kept)
            self._per_phrase[len(phrase.kept)] += 1
            self._words[len(phrase.text.split())] += 1
            if (noun := head_noun(phrase.text[:500], shown.caption[:5000])) is not None:
                self._nouns[noun.lower()] += 1
                if len(self._nouns) > _MOST_NOUNS:
                    self._nouns = Counter(dict(self._nouns.most_common(_MOST_NOUNS // 2)))
            for box in phrase.kept:
                if box.score is not None:
                    found.scores += box.score
                    found.scored += 1
                    self._scores[min(19, int(box.score * 20))] += 1
                if all(type(side) is int and side > 0 for side in size):
                    self._add_box(box.box, (size[0] or 1, size[1] or 1))

    def _add_box(self, box: list[float], size_wh: tuple[int, int]) -> None:
        width, height = size_wh
        x1, x2 = (min(1.0, max(0.0, x / width)) for x in (box[0], box[2]))
        y1, y2 = (min(1.0, max(0.0, y / height)) for y in (box[1], box[3]))
        if x1 >= x2 or y1 >= y2:
            return
        self._areas[int(np.searchsorted(_SIZES, (x2 - x1) * (y2 - y1)))] += 1
        columns = slice(int(x1 * _CELLS), max(int(x1 * _CELLS) + 1, int(np.ceil(x2 * _CELLS))))
        rows = slice(int(y1 * _CELLS), max(int(y1 * _CELLS) + 1, int(np.ceil(y2 * _CELLS))))
        self._heat[rows, columns] += 1

    # --- the page ---------------------------------------------------------------------------------------------------

    def sections(self) -> list[Section]:
        """The parts of the page, in order; without plots where matplotlib is not installed."""
        return [
            _counted("Records by outcome", "Outcome", self._outcomes.most_common()),
            self._by_step(),
            self._by_model(),
            _distribution("Boxes per phrase", "Boxes", self._per_phrase),
            _distribution("Boxes per image", "Boxes", self._per_image),
            self._box_sizes(),
            self._positions(),
            _distribution("Words per phrase", "Words", self._words),
            _counted("Most frequent head nouns", "Noun", self._nouns.most_common(_SHOWN_ROWS)),
            self._score_histogram(),
            _counted("Flags", "Flag", self._flags.most_common(), note="Records with the flag anywhere in them."),
            _counted("Rules", "Rule", self._rules.most_common(), note="Records with a label or reply that broke it."),
            self._requests(),
            self._money(),
            self._latencies(),
        ]

    def _by_step(self) -> Section:
        outcomes = [o.value for o in Outcome]
        rows = [
            [label, model or "(no request)", *(f"{counts[o]:,}" for o in outcomes)]
            for label, by_model in sorted(self._steps.items())
            for model, counts in sorted(by_model.items())
        ]
        return Section("Outcomes by step and model", ["Step", "Model", *outcomes], rows)

    def _by_model(self) -> Section:
        rows = []
        for model, one in sorted(self._models.items()):
            grounded = one.phrases or 1
            mean = f"{one.scores / one.scored:.2f}" if one.scored else "no scores"
            rows.append(
                [
                    model or "(unknown)",
                    f"{one.records:,}",
                    f"{one.phrases:,}",
                    f"{one.without / grounded:.1%}",
                    f"{one.boxes:,}",
                    f"{one.boxes / grounded:.2f}",
                    f"{one.rejected:,}",
                    f"{one.flagged:,}",
                    mean,
                ]
            )
        head = ["Model", "Records", "Phrases", "Matching nothing", "Boxes", "Boxes per phrase", "Boxes rejected"]
        note = "Records count for the model of their last step."
        return Section("Labels by model", [*head, "Records with flags", "Mean score"], rows, note=note)

    def _box_sizes(self) -> Section:
        names = [f"up to {bound:.2%}" for bound in _SIZES]
        counts = [self._areas[n] for n in range(len(_SIZES))]
        rows = [[name, f"{count:,}"] for name, count in zip(names, counts, strict=True) if count]
        svg = bars(names, counts, "share of the image's area") if rows else ""
        return Section("Sizes of boxes", ["Area of the image", "Boxes"], rows, svg)

    def _positions(self) -> Section:
        if not self._heat.any():
            return Section("Positions of boxes", note="Where in the image boxes lie, whatever its size.")
        thirds = self._heat.reshape(3, _CELLS // 3, 3, _CELLS // 3).sum(axis=(1, 3))
        shares = thirds / thirds.sum()
        rows = [
            [name, *(f"{share:.1%}" for share in of_row)]
            for name, of_row in zip(("top", "middle", "bottom"), shares, strict=True)
        ]

        def draw(axes: Axes) -> None:
            axes.imshow(self._heat, extent=(0, 1, 1, 0), cmap="viridis", aspect="auto")
            axes.set_xlabel("x, as a share of the width")
            axes.set_ylabel("y, as a share of the height")

        note = "Where in the image boxes lie, whatever its size: brighter is more often. Beside it, shares by thirds."
        return Section("Positions of boxes", ["Third", "left", "centre", "right"], rows, _drawn(draw), note)

    def _score_histogram(self) -> Section:
        names = [f"{n / 20:.2f} to {(n + 1) / 20:.2f}" for n in range(20)]
        counts = self._scores.tolist()
        rows = [[name, f"{count:,}"] for name, count in zip(names, counts, strict=True) if count]
        svg = bars([f"{n / 20:.2f}" for n in range(20)], counts, "score from") if rows else ""
        return Section(
            "Scores of boxes", ["Score", "Boxes"], rows, svg, "Agreement of votes, or what the model claims."
        )

    def _requests(self) -> Section:
        rows = [
            [
                step,
                model or "(unnamed)",
                *(f"{n:,}" for n in (one.requests, one.tokens_in, one.tokens_cached, one.tokens_out)),
            ]
            for (step, model), one in sorted(self._asked.items())
        ]
        names = [f"{step}, {model}" for step, model in sorted(self._asked)]
        tokens = [one.tokens_in + one.tokens_out for _, one in sorted(self._asked.items())]
        svg = _lines_of_bars(names, tokens, "tokens") if any(tokens) else ""
        head = ["Step", "Model", "Requests", "Tokens in", "of them cached", "Tokens out"]
        return Section("Requests and tokens", head, rows, svg, _BEHIND_THESE)

    def _money(self) -> Section:
        rows, names, cents = [], [], []
        for (step, model), one in sorted(self._asked.items()):
            each = None if one.usd is None else 1000 * one.usd / one.records
            rows.append([step, model or "(unnamed)", f"{one.records:,}", _in_money(one.usd), _in_money(each)])
            if one.usd is not None:
                names.append(f"{step}, {model}")
                cents.append(100 * one.usd)
        for model in sorted({model for _, model in self._asked} if len(rows) > 1 else ()):
            usd = total_of(one.usd for (_, by), one in self._asked.items() if by == model)
            rows.append(["all steps", model or "(unnamed)", "", _in_money(usd), ""])
        if len({model for _, model in self._asked}) > 1:
            rows.append(
                ["all steps", "all models", "", _in_money(total_of(one.usd for one in self._asked.values())), ""]
            )
        svg = _lines_of_bars(names, cents, "US cents") if any(cents) else ""
        head = ["Step", "Model", "Records", "Cost", "Cost of 1,000 records"]
        return Section(
            "Money",
            head,
            rows,
            svg,
            f"{_BEHIND_THESE} A model without a known price has none, and so has a sum it is in.",
        )

    def _latencies(self) -> Section:
        rows = []
        for (step, model), one in sorted(self._asked.items()):
            shares = [f"{_percentile(one.centiseconds, share) / 100:.2f} s" for share in (0.5, 0.95, 1.0)]
            rows.append([step, model or "(unnamed)", *shares])
        every = sum((one.centiseconds for one in self._asked.values()), Counter())

        def draw(axes: Axes) -> None:
            axes.hist([c / 100 for c in every], bins=30, weights=list(every.values()), color=_BAR)
            axes.set_xlabel("seconds")
            axes.set_ylabel("requests")

        return Section("Latency", ["Step", "Model", "Median", "95 %", "Slowest"], rows, _drawn(draw) if every else "")


def total_of(costs: Iterable[float | None]) -> float | None:
    """The sum of amounts of money; None where one of them is not known."""
    known = list(costs)
    return None if None in known else sum(cost for cost in known if cost is not None)


def _in_money(usd: float | None) -> str:
    return "no price" if usd is None else in_dollars(usd)


def _percentile(counts: Counter[int], share: float) -> int:
    wanted, seen = share * counts.total(), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    return 0


def _counted(title: str, head: str, counts: Sequence[tuple[str, int]], note: str = "") -> Section:
    rows = [[name, f"{count:,}"] for name, count in counts]
    first = counts[:_SHOWN_ROWS]
    svg = _lines_of_bars([name for name, _ in first], [count for _, count in first], "") if counts else ""
    return Section(title, [head, "Phrases" if head == "Noun" else "Records"], rows, svg, note)


def _distribution(title: str, head: str, counts: Counter[int]) -> Section:
    """How often each number comes; those from the 20th on together."""
    folded: Counter[int] = Counter()
    for number, count in counts.items():
        folded[min(number, _SHOWN_ROWS)] += count
    names = [str(n) if n < _SHOWN_ROWS else f"{n} or more" for n in range(max(folded, default=-1) + 1)]
    values = [folded[n] for n in range(len(names))]
    rows = [[name, f"{value:,}"] for name, value in zip(names, values, strict=True) if value]
    if counts.total():
        mean = sum(n * c for n, c in counts.items()) / counts.total()
        rows += [["mean", f"{mean:.2f}"], ["most", f"{max(counts):,}"]]
    what = "Images" if title.endswith("image") else "Phrases"
    return Section(title, [head, what], rows, bars(names, values, head.lower()) if rows else "")


# --- plots ----------------------------------------------------------------------------------------------------------


def bars(names: Sequence[str], values: Sequence[int], label: str) -> str:
    """A plot of standing bars as SVG; empty without matplotlib."""

    def draw(axes: Axes) -> None:
        axes.bar(range(len(names)), values, color=_BAR)
        every = max(1, len(names) // 10)
        axes.set_xticks(range(0, len(names), every), names[::every], rotation=30, ha="right")
        axes.set_xlabel(label)

    return _drawn(draw)


def _lines_of_bars(names: Sequence[str], values: Sequence[float], label: str) -> str:
    def draw(axes: Axes) -> None:
        axes.barh(range(len(names)), values, color=_BAR)
        axes.set_yticks(range(len(names)), [_plotted(name) for name in names])
        axes.invert_yaxis()
        axes.set_xlabel(label)

    return _drawn(draw, height=0.9 + 0.26 * len(names))


def _plotted(name: str) -> str:
    """A name as matplotlib may have it: no formula, and not too long."""
    text = "".join(c if c.isprintable() else " " for c in name).replace("$", r"\$")
    return text if len(text) <= 34 else f"{text[:31]}..."


def _drawn(draw: Callable[[Axes], None], height: float = 2.8) -> str:
    """A plot as SVG whose text takes the color of the page; empty without matplotlib."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # browsers choose the font
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "raylabel",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # Letters that its own font lacks: how wide they are is guessed, and browsers have another font.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure = Figure(figsize=(5.4, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
