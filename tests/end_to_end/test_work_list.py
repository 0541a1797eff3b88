"""``raylabel status``, ``retry`` and ``reread``: what became of the records, asking some again, reading all again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.errors import AnswerError, AnswerProblem, ConfigError, InputError
from raylabel.records import Record
from raylabel.runtime.work_list import Wanted
from raylabel.settings import Settings
from raylabel.steps.base import Answered, Question, ReplyText
from raylabel.steps.expression_extraction import ExpressionExtraction
from raylabel.steps.grounding import Grounding
from tests.end_to_end.running import (
    CAPTION,
    CHECK,
    EXTRACTION,
    GROUNDING,
    GROUPING,
    Fault,
    Ran,
    Seen,
    WireServer,
    captions_override,
    error,
    grounding,
    label,
    nothing_found,
    read_lines,
    referring,
    says,
    unknown,
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


def retry(settings: Settings, **wanted: Any) -> Ran:
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


def test_a_label_that_a_retry_lost_is_asked_for_by_the_next_run(
    world: World, pictures: Pictures, tmp_path: Path
) -> None:
    with WireServer() as server:
        settings = grounding(world, tmp_path / "results", server.url)
        first = label(settings)
        server.misbehave = lambda seen: error(400, "this picture is cursed")
        ran = retry(settings, ids=(ids_of(first)["Dan"],), outcomes=("labeled",), steps=(GROUNDING,))
        assert outcomes(ran) == dict.fromkeys(NAMES, "labeled") | {"Dan": "failed"}
        assert ran.code == 3
        server.misbehave = lambda seen: None
        pictures.asked(server)
        assert label(settings).annotations == first.annotations
        assert pictures.asked(server) == [("Dan", GROUNDING)]


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


# --- reread ---------------------------------------------------------------------------------------------------------


def test_replies_are_read_again_under_other_rules_without_a_request(
    world: World, pictures: Pictures, tmp_path: Path
) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        if seen.task != GROUNDING:
            return None
        if pictures.owner(seen) == "Ada":
            return error(400, "this picture is cursed")
        return nothing_found(seen, "finito") if pictures.owner(seen) in ("Ben", "Eve") else None

    with WireServer(misbehave) as server:
        ran = label(grounding(world, tmp_path / "results", server.url))
        expected = dict.fromkeys(NAMES, "labeled") | {"Ben": "unreadable", "Eve": "unreadable", "Ada": "failed"}
        assert outcomes(ran) == expected
        pictures.asked(server)
        settings = grounding(world, tmp_path / "results", server.url, "image_grounding.vlm.finish_words=[finito]")
        again = label(settings, reread=True)
        assert again.code == 3
        assert outcomes(again) == expected | {"Ben": "nothing", "Eve": "nothing"}
        assert "step0_expression_extraction: 0 of 6 records changed" in again.printed
        assert "step1_grounding: 2 of 6 records changed: 2 unreadable -> nothing" in again.printed
        assert pictures.asked(server) == []

        server.misbehave = lambda seen: None
        assert outcomes(label(settings)) == expected | {"Ben": "nothing", "Eve": "nothing", "Ada": "labeled"}
        assert pictures.asked(server) == [("Ada", GROUNDING)], "who never got a reply is left to the next run"


def test_a_stricter_reader_takes_labels_back_and_a_run_asks_again_about_these(
    world: World, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(step: Grounding, question: Question, reply: ReplyText, record: Record) -> Answered:
        if record.image_path == dans:
            raise AnswerError(AnswerProblem.UNREADABLE, "nobody believes this any more")
        return as_before(step, question, reply, record)

    with WireServer() as server:
        settings = grounding(world, tmp_path / "results", server.url)
        first = label(settings)
        dans = next(line["image_path"] for name, line in zip(NAMES, first.annotations, strict=True) if name == "Dan")
        pictures.asked(server)
        as_before = Grounding.read
        with monkeypatch.context() as newer:
            newer.setattr(Grounding, "version", Grounding.version + 1)
            newer.setattr(Grounding, "read", read)
            again = label(settings, reread=True)
            assert outcomes(again) == dict.fromkeys(NAMES, "labeled") | {"Dan": "unreadable"}
            assert "step1_grounding: 1 of 6 records changed: 1 labeled -> unreadable" in again.printed
            assert pictures.asked(server) == []
            label(settings)
            assert set(pictures.asked(server)) == {("Dan", GROUNDING)}
        assert label(settings, reread=True).annotations == first.annotations, "the old reader reads what it read"
        assert pictures.asked(server) == []


def test_what_was_never_asked_stays_as_it_is(world: World, pictures: Pictures, tmp_path: Path) -> None:
    with WireServer() as server:
        first = label(grounding(world, tmp_path / "results", server.url))
        pictures.asked(server)
        other = grounding(world, tmp_path / "results", server.url)
        other.steps.expression_extraction.prompt = f"Look closely. {ExpressionExtraction.prompt.text}"
        again = label(other, reread=True)
        assert again.annotations == first.annotations
        assert "step0_expression_extraction: 0 of 6 records changed: 6 stay as they were" in again.printed
        assert pictures.asked(server) == []


def test_reading_again_needs_no_key_and_nobody_who_answers(
    world: World, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "image_grounding.vlm.openai.api_key_env=KEY_OF_THE_TEST"
    monkeypatch.setenv("KEY_OF_THE_TEST", "k")
    with WireServer() as server:
        settings = grounding(world, tmp_path / "results", server.url, key)
        first = label(settings)
    monkeypatch.delenv("KEY_OF_THE_TEST")
    assert label(settings, reread=True).annotations == first.annotations


def test_there_is_nothing_to_read_again_before_a_run(world: World, tmp_path: Path) -> None:
    settings = unknown(grounding(world, tmp_path / "results", "http://127.0.0.1:9"))
    with pytest.raises(InputError, match="no replies to read again"):
        label(settings, reread=True)


# --- asking again because something changed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            "steps.expression_extraction.prompt", "expression_extraction: another prompt (6 requests)", id="prompt"
        ),
        pytest.param(
            "steps.expression_extraction.temperature=0.5", "expression_extraction: another sampling", id="sampling"
        ),
        pytest.param(
            "steps.expression_extraction.model=another-vlm", "expression_extraction: another model", id="model"
        ),
        pytest.param("input", "input: 6 lines that were others before (12 requests)", id="input"),
    ],
)
def test_a_change_that_asks_again_about_settled_records_wants_to_be_confirmed(
    world: World, pictures: Pictures, tmp_path: Path, change: str, said: str
) -> None:
    with WireServer() as server:

        def changed(*overrides: str) -> Settings:
            if change == "input":
                lines = [{**line, "caption": f"{line['caption']} Indeed."} for line in read_lines(world.captions_path)]
                return grounding(
                    world, tmp_path / "results", server.url, captions_override(tmp_path / "c.jsonl", lines), *overrides
                )
            own = [] if change.endswith("prompt") else [change]
            settings = grounding(world, tmp_path / "results", server.url, *own, *overrides)
            if change.endswith("prompt"):
                settings.steps.expression_extraction.prompt = f"Look closely. {ExpressionExtraction.prompt.text}"
            return settings

        few = "limits.confirm_requests=5"
        label(grounding(world, tmp_path / "results", server.url, few))
        pictures.asked(server)
        for _ in range(2):
            with pytest.raises(ConfigError, match="Add --yes to go on") as refused:
                label(changed(few), replace=True)
            assert said in str(refused.value)
            assert pictures.asked(server) == []

        pilot = label(changed(few), 2, replace=True)
        assert pilot.code == 0, "a pilot of two asks less"
        assert "settled records are asked again. Changed since the last run: " in pilot.printed
        if change.endswith(("prompt", "vlm")):
            assert "expression_extraction: 4 records beyond --limit keep the labels of the earlier one" in pilot.printed
        assert len(server.seen) > 0
        with pytest.raises(ConfigError, match="Add --yes to go on"):
            label(changed("limits.confirm_requests=1"), replace=True)
        server.misbehave = lambda seen: error(401, "the key was withdrawn") if len(server.seen) > 2 else None
        pictures.asked(server)
        assert label(changed(few), confirmed=True, replace=True).code != 0
        server.misbehave = lambda seen: None
        assert label(changed("limits.confirm_requests=1"), replace=True).code == 0, (
            "what was confirmed and broken off goes on"
        )


def test_what_asks_nothing_again_needs_no_confirmation(world: World, pictures: Pictures, tmp_path: Path) -> None:
    few = "limits.confirm_requests=1"
    with WireServer() as server:
        label(grounding(world, tmp_path / "results", server.url, few), 3)
        label(grounding(world, tmp_path / "results", server.url, few))
        lines = read_lines(world.captions_path)
        more = captions_override(tmp_path / "c.jsonl", [{**lines[0], "caption": "A new one."}, *lines])
        ran = label(
            grounding(world, tmp_path / "results", server.url, few, more, "image_grounding.workflow.max_workers=3"),
            replace=True,
        )
        assert ran.counts["input_lines"] == len(NAMES) + 1
        fewer = captions_override(tmp_path / "d.jsonl", lines[2:])
        assert label(grounding(world, tmp_path / "results", server.url, few, fewer), replace=True).code == 0
        force = "image_grounding.workflow.force_reprocess=true"
        assert label(grounding(world, tmp_path / "results", server.url, few, force), replace=True).code == 0


def test_steps_that_run_side_by_side_are_retried_and_read_again_each_for_itself(
    world: World, pictures: Pictures, tmp_path: Path
) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        cursed = seen.task == CAPTION and pictures.owner(seen) in ("Ada", "Finn")
        return error(400, "this picture is cursed") if cursed else None

    with WireServer(misbehave) as server:
        ran = label(referring(world, tmp_path / "results", server.url))
        assert ran.counts["records"] == {"failed": 2, "labeled": 4}
        server.asked()
        again = label(referring(world, tmp_path / "results", server.url, "double_check.adjust=apply"), reread=True)
        assert "step1_image_caption: 0 of 6 records changed" in again.printed
        assert again.counts["records"] == ran.counts["records"]
        assert server.asked() == {}

        server.misbehave = lambda seen: None
        ran = label(referring(world, tmp_path / "results", server.url), wanted=Wanted(steps=(CAPTION,)))
        asked = server.asked()
        assert asked[CAPTION] == 2
        assert set(asked) == {CAPTION, GROUPING, CHECK}, "no box is described again"
        assert ran.code == 0
        ran = label(referring(world, tmp_path / "results", server.url))
        assert server.asked() == {}, "the first rules again"
        undisturbed = label(referring(world, tmp_path / "undisturbed", server.url))
        assert ran.annotations == undisturbed.annotations
