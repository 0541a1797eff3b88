"""``raylabel status`` and ``raylabel retry``: what became of the records, and asking some of them again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.errors import InputError
from raylabel.runtime.work_list import Wanted
from raylabel.settings import Settings
from tests.end_to_end.running import (
    EXTRACTION,
    GROUNDING,
    Fault,
    Ran,
    Seen,
    WireServer,
    error,
    grounding,
    label,
    read_lines,
    says,
    write_lines,
)

pytestmark = pytest.mark.slow

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = build_world(tmp_path_factory.mktemp("world"), len(NAMES), seed=3)
    one_each = {line["image_path"]: line for line in read_lines(world.captions_path)}
    write_lines(world.captions_path, list(one_each.values()))
    return world


class Pictures:
    """Whose picture a question is about: the files are sent as they are."""

    def __init__(self, world: World) -> None:
        paths = [world.images_dir / line["image_path"] for line in read_lines(world.captions_path)]
        self._data = {base64.b64encode(path.read_bytes()).decode(): n for n, path in zip(NAMES, paths, strict=True)}

    def owner(self, seen: Seen) -> str:
        text = json.dumps(seen.body["messages"])
        return next(name for data, name in self._data.items() if data in text)

    def asked(self, server: WireServer) -> list[tuple[str, str]]:
        """Who was asked about in which step, since the last look."""
        asked = sorted((self.owner(seen), seen.task) for seen in server.seen)
        server.seen.clear()
        return asked

    def refuse(self, *names: str) -> Callable[[Seen], Fault | None]:
        """Have the server refuse to ground in the pictures of some."""

        def misbehave(seen: Seen) -> Fault | None:
            refused = seen.task == GROUNDING and self.owner(seen) in names
            return says("", "content_filter") if refused else None

        return misbehave


@pytest.fixture(scope="module")
def pictures(world: World) -> Pictures:
    return Pictures(world)


def retry(settings: Settings, **wanted: tuple[str, ...]) -> Ran:
    return label(settings, wanted=Wanted(**wanted))


def outcomes(ran: Ran) -> dict[str, str]:
    return {name: line["outcome"] for name, line in zip(NAMES, ran.annotations, strict=False)}


def ids_of(ran: Ran) -> dict[str, str]:
    return {name: line["record_id"] for name, line in zip(NAMES, ran.annotations, strict=True)}


def test_a_refused_record_that_is_retried_is_asked_that_question_anew_and_nothing_else(
    world: World, pictures: Pictures, tmp_path: Path
) -> None:
    with WireServer(pictures.refuse("Ben", "Eve")) as server:
        settings = grounding(world, tmp_path / "results", server.url)
        assert outcomes(label(settings)) == dict.fromkeys(NAMES, "labeled") | {"Ben": "refused", "Eve": "refused"}
        pictures.asked(server)
        server.misbehave = lambda seen: None
        assert label(settings).code == 0, "what is refused is settled"
        assert pictures.asked(server) == []

        ran = retry(settings, outcomes=("refused",))
        assert ran.code == 0, ran.printed
        assert pictures.asked(server) == [("Ben", GROUNDING), ("Eve", GROUNDING)]
        assert set(outcomes(ran).values()) == {"labeled"}
        assert "records: 2 to ask again, 2 of them settled, which are asked anew" in ran.printed
        assert ran.counts["records"] == {"labeled": 6}

        assert label(settings).annotations == ran.annotations
        assert pictures.asked(server) == []
        undisturbed = label(grounding(world, tmp_path / "undisturbed", server.url))
    whole = (undisturbed.results / "annotations.jsonl").read_bytes()
    assert (ran.results / "annotations.jsonl").read_bytes() == whole


def test_a_label_that_is_retried_in_its_first_step_is_asked_further_only_where_the_answer_differs(
    world: World, pictures: Pictures, tmp_path: Path
) -> None:
    with WireServer() as server:
        settings = grounding(world, tmp_path / "results", server.url)
        first = label(settings)
        pictures.asked(server)
        one = (ids_of(first)["Cleo"],)
        ran = retry(settings, ids=one, outcomes=("labeled",), steps=(EXTRACTION,))
        assert pictures.asked(server) == [("Cleo", EXTRACTION)]
        assert ran.annotations == first.annotations, "the same answer leads to the same question"

        ran = retry(settings, ids=one, outcomes=("labeled",))
        assert pictures.asked(server) == [("Cleo", EXTRACTION), ("Cleo", GROUNDING)]
        assert ran.annotations == first.annotations


def test_open_records_are_retried_by_their_reason_and_the_others_stay_open(
    world: World, pictures: Pictures, tmp_path: Path
) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        if seen.task != GROUNDING:
            return None
        faults = {"Ada": error(400, "this picture is cursed, code 17"), "Finn": says("I would rather not look at it.")}
        return faults.get(pictures.owner(seen))

    with WireServer(misbehave) as server:
        settings = grounding(world, tmp_path / "results", server.url)
        ran = label(settings)
        assert {name for name, outcome in outcomes(ran).items() if outcome != "labeled"} == {"Ada", "Finn"}
        pictures.asked(server)
        server.misbehave = lambda seen: None
        reason = next(line["reason"] for line in ran.failures if "cursed" in line["reason"])
        ran = retry(settings, reasons=(reason.replace("17", "99"),))
        assert pictures.asked(server) == [("Ada", GROUNDING)], "a number does not make it another kind of reason"
        assert outcomes(ran)["Ada"] == "labeled"
        assert outcomes(ran)["Finn"] != "labeled"

        ran = retry(settings)
        assert pictures.asked(server) == [("Finn", GROUNDING)]
        assert ran.code == 0
        assert "nothing to ask again" in retry(settings).printed
        assert pictures.asked(server) == []


def test_naming_what_is_not_there_says_so(world: World, pictures: Pictures, tmp_path: Path) -> None:
    with WireServer() as server:
        settings = grounding(world, tmp_path / "results", server.url)
        label(settings)
        pictures.asked(server)
        with pytest.raises(InputError, match="no record of the input is meant"):
            retry(settings, reasons=("safety",))
        assert pictures.asked(server) == []


def test_a_retry_that_was_broken_off_is_continued_by_the_same_command_and_by_a_run(
    world: World, pictures: Pictures, tmp_path: Path
) -> None:
    everybody = pictures.refuse(*NAMES)
    with WireServer(everybody) as server:
        one_at_a_time = "image_grounding.workflow.max_workers=1"
        settings = grounding(world, tmp_path / "results", server.url, one_at_a_time)
        assert set(outcomes(label(settings)).values()) == {"refused"}
        pictures.asked(server)

        def break_off(seen: Seen) -> Fault | None:
            return error(401, "the key was withdrawn") if len(server.seen) > 3 else everybody(seen)

        server.misbehave = break_off
        assert retry(settings, outcomes=("refused",)).code != 0
        first = pictures.asked(server)
        assert 3 <= len(first) < len(NAMES), "answered three times, and turned away"
        server.misbehave = everybody
        ran = retry(settings, outcomes=("refused",))
        assert "left by an interrupted retry" in ran.printed
        second = pictures.asked(server)
        assert len(second) == len(NAMES) - 3, "who was refused again before the break is not asked a third time"

        server.misbehave = break_off
        assert retry(settings, outcomes=("refused",)).code != 0
        pictures.asked(server)
        server.misbehave = lambda seen: None
        ran = label(settings)
        assert len(pictures.asked(server)) == len(NAMES) - 3, "a run, too, sees through what was reopened"
        assert sorted(outcomes(ran).values()) == ["labeled"] * 3 + ["refused"] * 3


def test_status_needs_the_results_alone(
    world: World, pictures: Pictures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer(pictures.refuse("Ben", "Eve")) as server:
        ran = label(grounding(world, tmp_path / "results", server.url))
    (ran.results / "run.json").unlink()
    assert main(["status", str(ran.results)]) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "step0_expression_extraction: 6 records" in said
    assert "step1_grounding: 6 records" in said
    assert "labeled 4" in said
    place = said.index("refused 2")
    assert said[place + 1].startswith("2 ")
    assert said[place + 2] in {f"record {ids_of(ran)[name]}" for name in ("Ben", "Eve")}


def test_status_of_a_folder_without_results_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "no results in" in capsys.readouterr().err
