"""Whole runs against endpoints that turn requests away, break, or answer nonsense."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from tests.end_to_end.running import (
    EXTRACTION,
    GROUNDING,
    MODEL,
    REGIONS,
    Fault,
    Seen,
    WireServer,
    captions_override,
    command,
    endpoint,
    error,
    grounding,
    journaled_server,
    label,
    read_lines,
    referring,
    says,
)

pytestmark = pytest.mark.slow

KEY = "sk-secret-of-the-user-0123456789"
FIRST = "image_grounding.workflow.steps=[0]"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 6, seed=3)


# --- nobody can be asked --------------------------------------------------------------------------------------------


def test_a_rejected_key_ends_the_command_in_one_sentence_that_does_not_tell_it(world: World, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        f"results_dir: results\nimage_grounding: {{vlm: {{openai: {{api_key: {KEY}}}}}}}"
    )
    with journaled_server(tmp_path / "server", "--api-key", "another") as server:
        ended = command(
            "run",
            "spec.yaml",
            *endpoint("image_grounding", server.url),
            f"image_grounding.data.input_jsonl={world.captions_path}",
            f"image_grounding.data.image_root={world.images_dir}",
            cwd=tmp_path,
        )
        stats = server.stats()

    assert ended.returncode == 2
    assert stats["requests"] == 0  # the model list costs nothing
    assert stats["answered"] == {}
    (sentence,) = ended.stderr.strip().splitlines()
    assert sentence.startswith("raylabel: ")
    assert "API key" in sentence
    assert KEY not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout
    kept = [p for p in (tmp_path / "results").rglob("*") if p.is_file()]
    assert not [p for p in kept if KEY.encode() in p.read_bytes()]


def test_the_gemini_protocol_rejects_a_key_likewise(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with journaled_server(tmp_path / "server", "--api-key", "another") as server:
        wrong = f"image_grounding.vlm.gemini.api_key={KEY}"
        ran = label(grounding(world, tmp_path / "results", server.url, wrong, backend="gemini"))

        assert ran.code == 2
        said = capsys.readouterr().err
        assert "API key" in said
        assert KEY not in said + ran.printed
        assert server.stats()["answered"] == {}


def test_an_address_where_nobody_listens_is_named(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        ran = label(grounding(world, tmp_path, f"http://{address}"))

    assert ran.code == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert address in sentence
    assert ran.annotations == []


def test_an_unknown_model_ends_the_run_with_its_name(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with journaled_server(tmp_path / "server", "--model", "served-model") as server:
        ran = label(grounding(world, tmp_path / "results", server.url))

        assert ran.code == 2
        (sentence,) = capsys.readouterr().err.strip().splitlines()
        assert MODEL in sentence
        assert server.stats()["requests"] <= 8  # those that were in flight together

        known = "image_grounding.vlm.openai.model_name=served-model"
        assert label(grounding(world, tmp_path / "results", server.url, known)).code == 0


# --- requests fail --------------------------------------------------------------------------------------------------


def test_a_server_that_only_fails_costs_no_answer_that_was_paid_before(world: World, tmp_path: Path) -> None:
    total = len(read_lines(world.captions_path))
    with WireServer() as wire:
        pilot = label(grounding(world, tmp_path, wire.url), limit=4)
        assert wire.asked() == {EXTRACTION: 4, GROUNDING: 4}

        wire.misbehave = lambda seen: error(500)
        broken = label(grounding(world, tmp_path, wire.url))

        assert broken.code == 3  # 3 of 7 are fewer than half
        assert wire.asked() == {EXTRACTION: 2 * (total - 4)}
        assert broken.counts["records"] == {"labeled": 4, "failed": total - 4}
        assert broken.annotations[:4] == pilot.annotations
        assert {line["outcome"] for line in broken.failures} == {"failed"}
        assert all("500" in line["reason"] and line["attempts"] == 2 for line in broken.failures)

        worse = label(grounding(world, tmp_path, wire.url, "limits.max_failure_rate=0.1"))

        assert worse.code == 3, "it is not the records' fault"
        assert worse.counts == broken.counts
        wire.asked()

        wire.misbehave = lambda seen: None
        mended = label(grounding(world, tmp_path, wire.url))

        assert mended.code == 0
        assert wire.asked() == {EXTRACTION: total - 4, GROUNDING: total - 4}
        assert mended.annotations[:4] == pilot.annotations
        assert mended.counts["records"] == {"labeled": total}
        assert mended.failures == []


def test_a_request_the_server_cannot_work_with_fails_its_record_alone(world: World, tmp_path: Path) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        return error(400, "the picture is not to my taste") if "orange bar" in seen.text else None

    with WireServer(misbehave) as wire:
        ran = label(grounding(world, tmp_path, wire.url, FIRST))
        asked = wire.asked()

    assert ran.code == 3
    (failure,) = ran.failures
    assert "not to my taste" in failure["reason"]
    assert ran.counts["records"] == {"labeled": len(ran.annotations) - 1, "failed": 1}
    assert asked[EXTRACTION] <= len(ran.annotations) + 1  # once more at most, without its schema


def test_a_server_over_its_limit_now_and_then_is_waited_for(world: World, tmp_path: Path) -> None:
    turned_away: set[str] = set()

    def misbehave(seen: Seen) -> Fault | None:
        question = json.dumps(seen.body["messages"])
        if seen.number % 3 or question in turned_away:
            return None
        turned_away.add(question)
        return error(429, "slow down", retry_after="0.2")

    with WireServer(misbehave) as wire:
        ran = label(referring(world, tmp_path, wire.url))

    assert ran.code == 0
    assert ran.counts["records"] == {"labeled": 6}
    assert sum(step["retries"] for step in ran.manifest["requests"].values()) == len(turned_away) > 0


# --- answers are no answers -----------------------------------------------------------------------------------------


def test_prose_is_unreadable_and_erases_no_label(world: World, tmp_path: Path) -> None:
    prose = "All boxes are correct."
    with WireServer(lambda seen: says(prose) if seen.task in (GROUNDING, "double_check") else None) as wire:
        grounded = label(grounding(world, tmp_path / "grounding", wire.url, "limits.max_attempts_per_question=2"))

        assert grounded.code == 1
        asked = wire.asked()
        records = len(grounded.annotations)
        assert asked[GROUNDING] == 2 * records
        assert asked[GROUNDING] == sum(line["attempts"] for line in grounded.failures)
        assert {line["outcome"] for line in grounded.failures} == {"unreadable"}
        assert {line["raw"] for line in grounded.failures} == {prose}
        assert len(grounded.failures) == records
        for line in grounded.annotations:
            assert line["outcomes"]["step1_grounding"] == "unreadable"
            assert all(e["instances"] == [] and "outcome" not in e for e in line["expressions"])

        checked = label(referring(world, tmp_path / "referring", wire.url, "limits.max_attempts_per_question=2"))

        assert checked.code == 1
        assert wire.asked()["double_check"] == sum(line["attempts"] for line in checked.failures)
        assert {line["raw"] for line in checked.failures} == {prose}
        for line in checked.annotations:
            assert line["outcomes"]["step3_double_check"] == "unreadable"
            assert line["expressions"]
            assert all(e["instances"] and e["verified"] is None for e in line["expressions"])

        wire.misbehave = lambda seen: None
        mended = label(referring(world, tmp_path / "referring", wire.url, "limits.max_attempts_per_question=2"))

        assert mended.code == 0
        assert set(wire.asked()) == {"double_check"}


def test_an_unreadable_answer_is_asked_for_again_and_warmer(world: World, tmp_path: Path) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        return says("[[[") if seen.body["temperature"] < 0.5 else None

    with WireServer(misbehave) as wire:
        ran = label(grounding(world, tmp_path, wire.url, FIRST))
        temperatures = sorted({round(seen.body["temperature"], 2) for seen in wire.seen})

    assert ran.code == 0
    assert temperatures == [0, 0.3, 0.6]
    assert ran.failures == []


def test_an_endpoint_that_takes_no_schemas_is_asked_without_them(world: World, tmp_path: Path) -> None:
    def misbehave(seen: Seen) -> Fault | None:
        return error(400, "response_format is not supported") if "response_format" in seen.body else None

    with WireServer(misbehave) as wire:
        ran = label(referring(world, tmp_path, wire.url))
        with_schema = [seen for seen in wire.seen if "response_format" in seen.body]
        asked = wire.asked()

    assert ran.code == 0
    assert ran.counts["records"] == {"labeled": 6}
    assert asked[REGIONS] > len([seen for seen in with_schema if seen.task == REGIONS]) > 0


def test_an_answer_cut_off_is_never_taken_for_a_whole_one(world: World, tmp_path: Path) -> None:
    cut = '[{"id": 1, "bbox_2d": [10, 10, 200, 200], "label": "x"}]'
    with WireServer(lambda seen: says(cut, "length") if seen.task == GROUNDING else None) as wire:
        ran = label(grounding(world, tmp_path, wire.url, "limits.max_attempts_per_question=1"))
        wire.asked()

        assert ran.code == 1
        assert all("cut off" in line["reason"] for line in ran.failures)
        assert not any(e["instances"] for line in ran.annotations for e in line["expressions"])

        limits: list[int] = []

        def room_enough(seen: Seen) -> Fault | None:
            limits.append(seen.body["max_tokens"])
            return says(cut, "length") if seen.body["max_tokens"] <= 4096 else None

        wire.misbehave = room_enough
        again = label(grounding(world, tmp_path, wire.url))

        assert again.code == 0
        assert set(limits) == {8192}
        assert again.failures == []


def test_a_refusal_is_settled_and_told(world: World, tmp_path: Path) -> None:
    lines = read_lines(world.captions_path)[:4]
    captions = captions_override(tmp_path / "captions.jsonl", lines)

    def misbehave(seen: Seen) -> Fault | None:
        return says("", "content_filter") if lines[1]["caption"][:20] in seen.text else None

    with WireServer(misbehave) as wire:
        ran = label(grounding(world, tmp_path / "results", wire.url, captions))
        wire.asked()

        assert ran.code == 0
        assert ran.counts["records"] == {"labeled": 3, "refused": 1}
        refused = ran.annotations[1]
        assert refused["outcomes"]["step0_expression_extraction"] == "refused"
        assert "expressions" not in refused
        assert [line["outcome"] for line in ran.failures] == ["refused"]

        label(grounding(world, tmp_path / "results", wire.url, captions))
        assert wire.asked() == {}
