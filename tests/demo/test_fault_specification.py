"""The words of ``--faults``: what they mean, and which mean nothing."""

from __future__ import annotations

import json
import math

import pytest

from raylabel.demo.server.__main__ import read_arguments
from raylabel.demo.server.faults.plan import (
    Absence,
    BadSpecification,
    Credit,
    Fault,
    Limit,
    Plan,
    Poison,
    Rate,
    Span,
)
from raylabel.demo.server.faults.specification import read_plan

CLAUSES = ["500 5%", "limit 120/minute window=sliding", "away from 20 for 30", "seed 3"]


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        pytest.param("", Plan(), id="nothing"),
        pytest.param("none", Plan(), id="none"),
        pytest.param("500 5%", Plan(rates=(Rate(Fault("500", status=500), 0.05),)), id="a-status"),
        pytest.param("truncated 0.03", Plan(rates=(Rate(Fault("truncated"), 0.03),)), id="a-share"),
        pytest.param(
            "429 5% retry-after=2", Plan(rates=(Rate(Fault("429", status=429, retry_after=2.0), 0.05),)), id="a-wait"
        ),
        pytest.param(
            "hang 1% from 10 to 20 seconds=5",
            Plan(rates=(Rate(Fault("hang", seconds=5.0), 0.01, Span(10, 20)),)),
            id="a-time",
        ),
        pytest.param(
            "poison reset every=33; poison 400 picture=AB12",
            Plan(poisons=(Poison(Fault("reset"), every=33), Poison(Fault("400", status=400), picture="ab12"))),
            id="poison",
        ),
        pytest.param("limit 20/second", Plan(limits=(Limit(20, 1.0, burst=20, named="second"),)), id="a-limit"),
        pytest.param(
            "limit 9/90s window=bucket burst=3 tells=azure retry-after=ms refused=counted named=day",
            Plan(limits=(Limit(9, 90.0, "bucket", 3, "day", "azure", "ms", True),)),
            id="all-of-a-limit",
        ),
        pytest.param("credit 7", Plan(credits=(Credit(7),)), id="credit"),
        pytest.param(
            "away from 20 for 30\naway from 60 for 5 every 60 how=close",
            Plan(absences=(Absence(Span(20, 50)), Absence(Span(60, 65, 60), closes=True))),
            id="absences",
        ),
        pytest.param("away after 5 for 2", Plan(absences=(Absence(Span(0, 2), after=5),)), id="by-requests"),
        pytest.param("away from 9", Plan(absences=(Absence(Span(9, math.inf)),)), id="for-good"),
    ],
)
def test_clauses_are_read(text, plan):
    assert read_plan(text) == plan


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("500", "share"),
        ("500 5% 6%", "'6%' means nothing"),
        ("500 150%", "at most 100%"),
        ("500 -1%", "share"),
        ("500 nan", "share"),
        ("200 5%", "no fault '200'"),
        ("truncate 5%", 'did you mean "truncated"'),
        ("limt 5/minute", 'did you mean "limit"'),
        ("limit 5", "120/minute"),
        ("limit 5/0s", "120/minute"),
        ("limit 5/hour", "120/minute"),
        ("limit 5/minute window=round", "fixed, sliding, bucket"),
        ("limit 5/minute retry-after=soon", "retry-after"),
        ("limit 5/minute burst=0", "burst"),
        ("limit 5/minute named=month", "named=month"),
        ("limit 0/minute window=bucket", "never fills"),
        ("poison 400", "which pictures"),
        ("poison 400 every=3 picture=ab", "which pictures"),
        ("poison 400 picture=xyz", "picture=xyz"),
        ("away from 20 to 10", "ends before"),
        ("away from 20 to 30 for 10", "say the same"),
        ("away from x", "behind"),
        ("away from 1 for 20 every 10", "longer"),
        ("away after 0 for 1", "from 1 on"),
        ("away after 1 from 5 for 1", "goes with"),
        ("credit", "number of requests"),
        ("html 5% status=700", "status=700"),
        ("slow 5% seconds=long", "seconds"),
        ("reset 5% seconds=3", "'seconds=3' means nothing"),
        ("seed x", "a number"),
    ],
)
def test_a_clause_that_means_nothing_is_named(text, named):
    with pytest.raises(BadSpecification, match=r"^in ") as caught:
        read_plan(f"503 1%; {text}")
    assert named in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("faults.yaml", "# a bad day\n" + "".join(f"- {clause}\n" for clause in CLAUSES)),
        ("faults.yml", "faults:\n" + "".join(f'  - "{clause}"\n' for clause in CLAUSES)),
        ("faults.json", json.dumps(CLAUSES)),
    ],
)
def test_a_file_lists_the_clauses(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_arguments(["--faults", str(tmp_path / name)]).faults == read_plan("; ".join(CLAUSES))


@pytest.mark.parametrize("text", ["[1, 2]", "500 5%", "- [", "faults: 5", "{"])
def test_a_file_of_something_else_is_told(tmp_path, text, capsys):
    (tmp_path / "faults.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit):
        read_arguments(["--faults", str(tmp_path / "faults.yaml")])
    assert "the file of faults" in capsys.readouterr().err


def test_a_wrong_word_ends_the_command_with_a_sentence(capsys):
    with pytest.raises(SystemExit) as ended:
        read_arguments(["--faults", "500 5%; hng 1%"])
    assert ended.value.code == 2
    assert 'did you mean "hang"' in capsys.readouterr().err


def test_the_help_tells_the_words(capsys):
    with pytest.raises(SystemExit):
        read_arguments(["--help"])
    told = capsys.readouterr().out
    assert all(word in told for word in ("poison", "limit N/PERIOD", "away from", "credit", "error-inside", "500 5%"))
