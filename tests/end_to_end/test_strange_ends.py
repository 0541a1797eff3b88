"""Whole runs against servers whose replies end strangely, whose answers are errors, and whose quota is used up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from raylabel.demo.server import openai_api
from raylabel.demo.server.model import Model
from raylabel.demo.world import World, build_world
from tests.end_to_end.running import (
    GROUNDING,
    MODEL,
    Fault,
    Json,
    Ran,
    Seen,
    WireServer,
    captions_override,
    error,
    grounding,
    label,
    nothing_found,
    read_lines,
)
from tests.local_server import Exchange, LocalServer

pytestmark = pytest.mark.slow

FIRST = "image_grounding.workflow.steps=[0]"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 8, seed=3)


def answered(seen: Seen, **choice: Any) -> Fault:
    """What the demo model answers, with fields of the choice replaced."""
    body = openai_api.write_reply(Model().answer(openai_api.read_request(seen.body, "xyxy1000")), MODEL, 0)
    body["choices"][0].update(choice)
    return Fault(200, body)


class PerRecord:
    """Each record of an input has a fault of its own, found again by its caption.

    Args:
        faults: by name, what the server does with a question, given how often it was asked before.
    """

    def __init__(self, world: World, path: Path, faults: Mapping[str, Callable[[Seen, int], Fault | None]]) -> None:
        picture = read_lines(world.captions_path)[0]
        lines = [{**picture, "caption": f"{picture['caption']} Seen by {name}."} for name in faults]
        self.input = captions_override(path, lines)
        self.names = list(faults)
        self.asked: dict[str, int] = dict.fromkeys(faults, 0)
        self._faults = faults

    def __call__(self, seen: Seen) -> Fault | None:
        asked = json.dumps(seen.body["messages"])
        name = next((name for name in self.names if f"Seen by {name}." in asked), None)
        if name is None:  # raylabel's own small question, whether anybody is answered at all
            return None
        before = self.asked[name]
        self.asked[name] += 1
        return self._faults[name](seen, before)

    def outcomes(self, ran: Ran) -> dict[str, str]:
        return {name: line["outcome"] for name, line in zip(self.names, ran.annotations, strict=True)}


# --- how replies end ------------------------------------------------------------------------------------------------

WHOLE = ("stop", "STOP", "end_turn", "eos", "stop-sequence", "Complete")
BROKEN = ("error", "network_error", "insufficient_system_resource", "abort", "MALFORMED_FUNCTION_CALL", "cancelled")
REFUSED = ("content-filter", "sensitive", "SAFETY", "RECITATION", "prohibited content", "guardrail_intervened")
CUT = ("length", "MAX_TOKENS", "model_context_window_exceeded", "max-output-tokens")
UNKNOWN = ("wibble", "OTHER", "tool_calls", "eos2")


def test_each_word_means_the_same_in_a_whole_run(world: World, tmp_path: Path) -> None:
    def always(word: Any) -> Callable[[Seen, int], Fault]:
        return lambda seen, before: answered(seen, finish_reason=word)

    def once(word: Any) -> Callable[[Seen, int], Fault]:
        return lambda seen, before: answered(seen, finish_reason="stop" if before else word)

    faults = {
        **{f"whole {word}": always(word) for word in WHOLE},
        **{f"cut {word}": once(word) for word in CUT},
        **{f"cut for ever {word}": always(word) for word in CUT},
        **{f"broken {word}": once(word) for word in BROKEN},
        **{f"broken for ever {word}": always(word) for word in BROKEN},
        **{f"refused {word}": always(word) for word in REFUSED},
        **{f"unknown {word}": always(word) for word in UNKNOWN},
        "unknown none": always(None),
    }
    faulty = PerRecord(world, tmp_path / "captions.jsonl", faults)
    with WireServer(faulty) as wire:
        ran = label(
            grounding(world, tmp_path / "results", wire.url, FIRST, faulty.input, "limits.max_attempts_per_question=2")
        )

    expected = {
        "whole": ("labeled", 1),
        "cut": ("labeled", 2),
        "cut for ever": ("unreadable", 2),
        "broken": ("labeled", 2),
        "broken for ever": ("failed", 2),
        "refused": ("refused", 1),
        "unknown": ("labeled", 1),
    }
    kind = {name: max((k for k in expected if name.startswith(f"{k} ")), key=len) for name in faulty.names}
    found = {name: (outcome, faulty.asked[name]) for name, outcome in faulty.outcomes(ran).items()}
    assert found == {name: expected[kind[name]] for name in faulty.names}
    for name, line in zip(faulty.names, ran.annotations, strict=True):
        flags = {flag for e in line.get("expressions", []) for flag in e.get("flags", [])}
        word = name.removeprefix("unknown ")
        assert flags == ({f"unknown_finish:{word}"} if kind[name] == "unknown" else set()), name
    counted = {name for name in ran.counts["violations"] if name.startswith("unknown_finish")}
    assert counted == {f"unknown_finish:{word}" for word in (*UNKNOWN, "none")}
    assert "unknown_finish:wibble (flagged)" in ran.printed
    reasons = {line["reason"] for line in ran.failures if line["outcome"] == "failed"}
    assert all("the server broke off" in reason for reason in reasons)


def test_a_caption_without_phrases_is_not_believed_of_a_reply_nobody_vouches_for(world: World, tmp_path: Path) -> None:
    def ending(word: str | None) -> Callable[[Seen, int], Fault]:
        return lambda seen, before: nothing_found(seen, word)

    faults = {"stop": ending("stop"), "none": ending(None), "wibble": ending("wibble")}
    faulty = PerRecord(world, tmp_path / "captions.jsonl", faults)
    with WireServer(faulty) as wire:
        ran = label(grounding(world, tmp_path / "results", wire.url, FIRST, faulty.input))

    assert faulty.outcomes(ran) == {"stop": "nothing", "none": "nothing", "wibble": "unreadable"}
    assert faulty.asked == {"stop": 1, "none": 2, "wibble": 3}
    assert {n: c for n, c in ran.counts["violations"].items() if n.startswith("unknown_finish")} == {
        "unknown_finish:none": 2,
        "unknown_finish:wibble": 3,
    }
    (failure,) = ran.failures
    assert '"wibble"' in failure["reason"]
    assert "vlm.finish_words" in failure["reason"]


@pytest.mark.parametrize(
    ("word", "known", "outcome", "asked", "flags"),
    [
        pytest.param("stop", "[]", "nothing", 1, set(), id="a-word-of-the-table"),
        pytest.param(None, "[]", "nothing", 2, {"unknown_finish:none"}, id="no-word-and-twice-the-same"),
        pytest.param("OTHER", "[]", "unreadable", 3, set(), id="a-word-that-vouches-for-nothing"),
        pytest.param("wibble", "[Wib-ble]", "nothing", 1, set(), id="a-word-the-user-knows"),
    ],
)
def test_a_phrase_without_a_box_is_not_believed_of_a_reply_nobody_vouches_for(
    world: World, tmp_path: Path, word: Any, known: str, outcome: str, asked: int, flags: set[str]
) -> None:
    only = captions_override(tmp_path / "one.jsonl", read_lines(world.captions_path)[:1])
    known = f"image_grounding.vlm.finish_words={known}"
    with WireServer(lambda seen: nothing_found(seen, word) if seen.task == GROUNDING else None) as wire:
        ran = label(grounding(world, tmp_path / "results", wire.url, only, known))
        assert wire.asked()[GROUNDING] == asked

    (line,) = ran.annotations
    assert line["outcomes"]["step1_grounding"] == outcome
    assert {flag for e in line["expressions"] for flag in e.get("flags", [])} == flags


# --- errors as answers ----------------------------------------------------------------------------------------------


def test_an_error_inside_a_success_is_never_a_reply(world: World, tmp_path: Path) -> None:
    def body(**fields: Any) -> Callable[[Seen, int], Fault]:
        return lambda seen, before: Fault(200, fields)

    def beside(**fields: Any) -> Callable[[Seen, int], Fault]:
        return lambda seen, before: Fault(200, {**answered(seen).body, **fields})

    limited: Json = {"error": {"message": "upstream is gone", "code": "rate_limit_exceeded"}}
    empty = [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop", "error": "gone"}]
    faults = {
        "no choices": body(error={"message": "upstream is gone", "code": 502}),
        "text for an object": body(error="upstream is gone"),
        "choices too": beside(error={"message": "upstream is gone", "code": 502}),
        "list as code": beside(error={"message": "upstream is gone", "code": ["a", {"b": 1}], "type": {"c": []}}),
        "beside the choice": lambda seen, before: answered(seen, error={"message": "upstream is gone"}),
        "empty choices": body(choices=[], error={"message": "upstream is gone"}),
        "nothing but choices": body(choices=[]),
        "text beside the choice": body(choices=empty),
        "a limit": lambda seen, before: None if before else Fault(200, limited),
        "a refusal": beside(error={"message": "flagged", "code": "content_filter", "status": 400}),
        "one request": body(error={"message": "upstream is gone", "code": "400"}),
    }
    faulty = PerRecord(world, tmp_path / "captions.jsonl", faults)
    with WireServer(faulty) as wire:
        ran = label(grounding(world, tmp_path / "results", wire.url, FIRST, faulty.input, "limits.max_failure_rate=1"))

    assert ran.code == 3
    settled = {"a refusal": "refused", "a limit": "labeled"}
    assert faulty.outcomes(ran) == {n: settled.get(n, "failed") for n in faulty.names}
    assert faulty.asked == {n: 1 if n in ("a refusal",) else 2 for n in faulty.names}
    for line in ran.failures:
        assert any(words in line["reason"] for words in ("gone", "flagged", "no answer")), line["reason"]


def test_a_filters_400_is_settled_and_not_paid_for_again(world: World, tmp_path: Path) -> None:
    azure = {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True}, "hate": {"filtered": False}},
        },
    }
    coded: dict[str, Json] = {
        "azure": azure,
        "azure inner": {"message": "no", "code": "BadRequest", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
        "dashscope": {"message": "no", "code": "data_inspection_failed"},
        "dashscope native": {"message": "no", "code": "DataInspectionFailed"},
        "volcengine": {"message": "no", "code": "InputImageSensitiveContentDetected.PolicyViolation"},
        "volcengine text": {"message": "no", "code": "InputTextSensitiveContentDetected"},
    }

    def refusing(body: Json) -> Callable[[Seen, int], Fault]:
        return lambda seen, before: Fault(400, {"error": body})

    faults = {name: refusing(body) for name, body in coded.items()}
    faults["bad request"] = lambda seen, before: error(400, "the picture cannot be read")
    moderated = {"message": "flagged", "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "a"}}
    faults["openrouter"] = lambda seen, before: Fault(403, {"error": moderated})
    faulty = PerRecord(world, tmp_path / "captions.jsonl", faults)
    with WireServer(faulty) as wire:
        settings = grounding(world, tmp_path / "results", wire.url, FIRST, faulty.input)
        ran = label(settings)
        wire.asked()
        faulty.asked = dict.fromkeys(faulty.asked, 0)
        label(settings)
        again = {name for name, count in faulty.asked.items() if count}

    assert faulty.outcomes(ran) == {n: "failed" if n == "bad request" else "refused" for n in faulty.names}
    assert again == {"bad request"}
    reasons = {line["reason"] for line in ran.failures}
    assert any("content management policy" in reason and "violence" in reason for reason in reasons)


def test_a_model_that_only_thinks_is_told_from_one_that_says_nothing(world: World, tmp_path: Path) -> None:
    def thinks(field: str) -> Callable[[Seen, int], Fault]:
        message = {"role": "assistant", "content": "", field: "Let me look at the picture."}
        return lambda seen, before: answered(seen, message=message)

    faults = {name: thinks(name) for name in ("reasoning_content", "reasoning", "something")}
    faulty = PerRecord(world, tmp_path / "captions.jsonl", faults)
    with WireServer(faulty) as wire:
        ran = label(
            grounding(world, tmp_path / "results", wire.url, FIRST, faulty.input, "limits.max_attempts_per_question=1")
        )

    thought, also, silent = (line["reason"] for line in ran.failures)
    for reason in (thought, also):
        assert "nothing but reasoning" in reason
        assert "max_tokens" in reason
        assert "thinking" in reason
    assert "reasoning" not in silent


# --- quota ----------------------------------------------------------------------------------------------------------


GOOGLE_DAY: Json = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details. For more information "
        "on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "19s"},
        ],
    }
}
"""As Google says it: the delay is short all the same."""


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        pytest.param(error(429, "daily limit", retry_after="59886"), ["daily limit", "16 h 39 min"], id="seconds"),
        pytest.param(error(503, "maintenance", retry_after="1e15"), ["maintenance", "more than a year"], id="for-ever"),
        pytest.param(Fault(429, GOOGLE_DAY), ["PerDay", "come back in"], id="quota-of-the-day"),
    ],
)
def test_a_quota_that_is_used_up_ends_the_run_and_says_when_to_come_back(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Fault, parts: list[str]
) -> None:
    records = len(read_lines(world.captions_path))
    with WireServer(lambda seen: fault) as wire:
        settings = grounding(world, tmp_path, wire.url)
        nothing = label(settings)
        (sentence,) = capsys.readouterr().err.strip().splitlines()

        assert nothing.code == 2
        assert wire.asked().total() <= 8, "those in flight together, each once"
        assert all(part in sentence for part in [*parts, "limits.longest_wait", "same command"]), sentence
        assert f"stopping: {sentence.split(';')[0].removeprefix('raylabel: ')}" in nothing.printed
        assert nothing.counts["unfinished"] == records

        wire.misbehave = lambda seen: fault if seen.number >= 1 else None
        one = label(settings)

        assert one.code == 3, "one question was answered: the next run goes on from there"
        assert one.counts["records"] == {}
        wire.asked()
        capsys.readouterr()

        wire.misbehave = lambda seen: fault if seen.number >= records + 1 else None
        some = label(settings)

        assert some.code == 3
        assert parts[0] in capsys.readouterr().err
        assert some.counts["records"] == {"labeled": 2}
        assert some.counts["unfinished"] == records - 2
        assert wire.asked().total() <= records + 1 + 8

        wire.misbehave = lambda seen: None
        rest = label(settings)

        assert rest.code == 0
        assert rest.counts["records"] == {"labeled": records}
        assert wire.asked() == {GROUNDING: records - 2}


def google(message: str, *details: Json) -> Json:
    return {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": list(details)}}


@pytest.mark.parametrize(
    ("fault", "backend", "parts"),
    [
        pytest.param(
            Fault(
                429,
                google(
                    GOOGLE_DAY["error"]["message"]
                    + " To monitor your current usage, head to: https://ai.dev/rate-limit. "
                    "\n* Quota exceeded for metric: googleapis.com/generate_content_free_tier_requests"
                    ", limit: 0, model: gemini-2.5-pro\nPlease retry in 38.5s.",
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"},
                ),
            ),
            "gemini",
            ["limit: 0, model: gemini-2.5-pro", "no quota for this model"],
            id="google-limit-0",
        ),
        pytest.param(
            Fault(429, {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}),
            "openai",
            ["You exceeded your current quota", "balance"],
            id="openai-credit",
        ),
        pytest.param(
            Fault(402, {"error": {"message": "Insufficient Balance"}}), "openai", ["Insufficient Balance"], id="402"
        ),
        pytest.param(
            Fault(
                429,
                {
                    "error": {
                        "message": "Provider returned error",
                        "code": 429,
                        "metadata": {
                            "raw": json.dumps(google("Quota exceeded, limit: 0, model: x")),
                            "provider_name": "G",
                        },
                    }
                },
            ),
            "openai",
            ["Provider returned error", "limit: 0, model: x"],
            id="behind-a-gateway",
        ),
    ],
)
def test_an_account_that_has_nothing_left_ends_the_run_with_the_servers_words(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Fault, backend: str, parts: list[str]
) -> None:
    with FaultServer(fault) as server:
        ran = label(grounding(world, tmp_path, server.url, backend=backend))

        (sentence,) = capsys.readouterr().err.strip().splitlines()
        assert all(part in sentence for part in parts), sentence
        assert ran.code == 2
        assert server.posts <= 8


def test_a_quota_that_is_used_up_is_told_before_anything_starts(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer(lambda seen: error(429, "daily limit", retry_after="59886")) as wire:
        settings = grounding(world, tmp_path / "results", wire.url)
        settings.pipeline.vlm.calibrate = "auto"
        settings.pipeline.vlm.boxes.order = settings.pipeline.vlm.boxes.scale = "auto"
        ran = label(settings)
        assert wire.asked().total() <= 8

    assert ran.code == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert "16 h 39 min" in sentence
    assert ran.annotations == []


class FaultServer(LocalServer):
    """Gives one and the same answer to whatever is posted, in whatever protocol; looking things up succeeds."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(self._answer)
        self.posts = 0
        self._fault = fault

    def _answer(self, exchange: Exchange) -> None:
        if exchange.command == "GET":
            exchange.send(200, {"data": [], "name": "models/any"})
            return
        self.posts += 1
        exchange.send(self._fault.status, self._fault.body, self._fault.headers)
