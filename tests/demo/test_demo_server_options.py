"""The demo server as other servers are: other schemas, other names, other dialects, over real HTTP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import urlopen

import pytest

from raylabel.demo.server.__main__ import read_arguments
from raylabel.demo.server.structured import outside_openapi
from tests.demo.http_calls import CHAT, GENERATE, GROUND_QUESTION, PICTURE, call, chat, generate, inline, unfenced
from tests.served_here import served_here
from tests.waiting import wait_until

SCHEMA = {
    "type": "object",
    "properties": {
        "boxes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer"},
                    "box": {"type": "array", "items": {"type": "number"}},
                    "score": {"type": "number"},
                },
                "required": ["id", "box", "score"],
            },
        }
    },
    "required": ["boxes"],
}
HELD = {"boxes": [{"id": 1, "box": [400, 500, 550, 550], "score": 0.9}]}
HELD_Y_FIRST = {"boxes": [{"id": 1, "box": [500, 400, 550, 550], "score": 0.9}]}
PLAIN = [{"id": 1, "bbox_2d": [400, 500, 550, 550], "label": "blue bar"}]

Json = dict[str, Any]
RESPONSE_FORMAT: Json = {"response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}}}
JSON_OBJECT: Json = {"response_format": {"type": "json_object"}}
VLLM: Json = {"structured_outputs": {"json": SCHEMA}}
JSON_SCHEMA: Json = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
OPENAPI: Json = {"responseMimeType": "application/json", "responseSchema": SCHEMA}


def test_a_server_of_the_usual_kind_obeys_the_usual_fields():
    with served_here() as server:
        assert json.loads(chat(server.url, **RESPONSE_FORMAT)[1]) == HELD
        assert unfenced(chat(server.url, **VLLM)[1]) == PLAIN
        assert json.loads(generate(server.url, **JSON_SCHEMA)[1]) == HELD_Y_FIRST
        assert json.loads(generate(server.url, **OPENAPI)[1]) == HELD_Y_FIRST


def test_a_server_of_vllms_kind_obeys_its_own_field_only():
    with served_here("--schema", "structured_outputs") as server:
        assert json.loads(chat(server.url, **VLLM)[1]) == HELD
        assert chat(server.url, **RESPONSE_FORMAT)[0] == 400
        assert json.loads(chat(server.url, **JSON_OBJECT)[1]) == PLAIN
        assert unfenced(chat(server.url)[1]) == PLAIN
        assert chat(server.url, structured_outputs={"regex": "a+"})[0] == 400


def test_a_gemini_that_knows_openapi_schemas_only():
    with served_here("--schema", "response_schema") as server:
        assert json.loads(generate(server.url, **OPENAPI)[1]) == HELD_Y_FIRST
        status, message = generate(server.url, **JSON_SCHEMA)
        assert (status, "responseJsonSchema" in message) == (400, True)
        strict = {**SCHEMA, "additionalProperties": False}
        status, message = generate(server.url, responseMimeType="application/json", responseSchema=strict)
        assert (status, "additionalProperties" in message) == (400, True)


def test_a_server_that_ignores_schemas_answers_plainly():
    with served_here("--schema", "ignore") as server:
        for fields in (RESPONSE_FORMAT, VLLM, JSON_OBJECT):
            assert unfenced(chat(server.url, **fields)[1]) == PLAIN
        for config in (JSON_SCHEMA, OPENAPI):
            assert unfenced(generate(server.url, **config)[1])[0]["box_2d"] == [500, 400, 550, 550]


def test_a_server_that_rejects_schemas_answers_without_them():
    with served_here("--schema", "reject") as server:
        assert [chat(server.url, **f)[0] for f in (RESPONSE_FORMAT, VLLM, JSON_OBJECT)] == [400] * 3
        assert [generate(server.url, **c)[0] for c in (JSON_SCHEMA, OPENAPI)] == [400] * 2
        assert unfenced(chat(server.url)[1]) == PLAIN
        assert generate(server.url)[0] == 200


def test_a_model_that_empties_its_boxes_under_a_schema_gives_them_without():
    emptied = {"boxes": [{"id": 1, "box": [], "score": 0.9}]}
    with served_here("--schema", "empties") as server:
        assert json.loads(chat(server.url, **RESPONSE_FORMAT)[1]) == emptied
        assert json.loads(generate(server.url, **JSON_SCHEMA)[1]) == emptied
        assert unfenced(chat(server.url)[1]) == PLAIN


@pytest.mark.parametrize(("mode", "numbers"), [("json_schema", [8, 10, 12]), ("empties", [])])
def test_a_series_is_continued_where_a_schema_asks_for_numbers(mode, numbers):
    schema = {
        "type": "object",
        "properties": {"numbers": {"type": "array", "items": {"type": "integer"}}, "caption": {"type": "string"}},
        "required": ["numbers", "caption"],
    }
    held: Json = {"response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}}
    with served_here("--schema", mode) as server:
        told = json.loads(chat(server.url, "Which three come next: 2, 4, 6?", **held)[1])
    assert told == {"numbers": numbers, "caption": "A blue bar in the middle on a grey ground."}


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        pytest.param(SCHEMA, None, id="legal"),
        pytest.param({"properties": {"$ref": {"type": "STRING"}}}, None, id="a-property-may-have-any-name"),
        pytest.param({"items": {"anyOf": [{"type": "STRING"}, {"const": 1}]}}, "const", id="inside-a-choice"),
        pytest.param({"properties": {"a": {"$ref": "#/$defs/A"}}}, "$ref", id="a-reference"),
        pytest.param(
            {"properties": {"a": {"type": ["string", "null"]}}}, "response_schema.a.type", id="a-list-of-types"
        ),
    ],
)
def test_googles_parser_takes_its_own_subset_of_schemas(schema, where):
    told = outside_openapi(schema)
    assert (told is None) if where is None else (where in str(told))


def test_a_server_reports_another_name_than_it_is_called_by():
    with served_here("--model", "alias", "--reports-model", "acme/seer-2", "--model-root", "/models/seer-2") as server:
        assert server.options.model == "alias"
        (listed,) = call(server.url, "/v1/models")[1]["data"]
        assert (listed["id"], listed["root"]) == ("acme/seer-2", "/models/seer-2")
        assert call(server.url, "/v1/models/alias")[1]["id"] == "acme/seer-2"
        assert chat(server.url, model="alias")[0] == chat(server.url, model="acme/seer-2")[0] == 200
        assert chat(server.url, model="other")[0] == 404
        body = {"model": "alias", "messages": [{"role": "user", "content": "no image"}]}
        assert call(server.url, CHAT, body)[0] == 400
        told = call(server.url, GENERATE.replace("any", "alias"), {"contents": [{"parts": [inline()]}]})[1]
        assert told["modelVersion"] == "acme/seer-2"
        assert call(server.url, "/v1beta/models/alias")[1]["name"] == "models/acme/seer-2"


def test_without_a_root_none_is_listed():
    with served_here() as server:
        assert "root" not in call(server.url, "/v1/models")[1]["data"][0]


def test_dialect_limit_noise_and_thinking_are_options_of_the_command():
    # 640/28 = 22.86 -> 644, 420/28 = 15 -> 420, too much: sqrt(640 * 420/100000) = 1.63951;
    # 640/1.63951/28 = 13.94 -> 364 wide, 420/1.63951/28 = 9.15 -> 252 high; x 256 -> 145.6, 352 -> 200.2; y 126, 138.6
    with served_here("--boxes", "qwen2.5-vl", "--max-pixels", "100000", "--think") as server:
        thoughts, answer = chat(server.url)[1].split("</think>\n")
        assert thoughts.startswith("<think>")
        assert unfenced(answer)[0]["bbox_2d"] == pytest.approx([145.6, 126, 200.2, 138.6], abs=1)
    with served_here("--boxes", "paligemma", "--noise", "1") as server:
        assert len({chat(server.url, "detect blue bar")[1] for _ in range(6)}) > 1


def test_the_journal_tells_native_grounding_questions_as_grounding(tmp_path):
    journal = tmp_path / "journal.jsonl"
    with served_here("--journal", str(journal), "--boxes", "kosmos-2") as server:
        # x 256/640 * 32 = 12.8, 352/640 * 32 - 1 = 16.6 -> 17;  y 210/420 * 32 = 16, 231/420 * 32 - 1 = 16.6 -> 17
        assert chat(server.url, "<grounding><phrase>blue bar</phrase>")[1] == (
            "<grounding><phrase>blue bar</phrase><object><patch_index_0524><patch_index_0561></object>"
        )
        lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert [(line["task"], line["status"]) for line in lines] == [("grounding", 200)]


@pytest.mark.parametrize("options", [["--boxes", "klingon"], ["--schema", "xml"], ["--noise", "1.5"]])
def test_an_unknown_way_is_refused_at_the_start(options, capsys):
    with pytest.raises(SystemExit) as ended:
        read_arguments(options)
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_server_with_slots_works_on_so_many_and_tells_of_the_others_by_vllms_names():
    with served_here("--slots", "2", "--latency-ms", "800") as server:
        with ThreadPoolExecutor(5) as threads:
            asked = [threads.submit(chat, server.url) for _ in range(5)]
            wait_until(lambda: server.stats()["slots"]["most_waiting"] == 3)
            told = metrics(server.url)
            assert all(reply.result()[0] == 200 for reply in asked)
        assert told["vllm:num_requests_running"] == 2
        assert told["vllm:num_requests_waiting"] > 0
        told = metrics(server.url)
        assert told["vllm:num_requests_running"] == told["vllm:num_requests_waiting"] == 0
        assert told["vllm:request_success_total"] == told["vllm:request_queue_time_seconds_count"] == 5
        assert told["vllm:generation_tokens_total"] == server.stats()["tokens"]["output"]
        assert told["vllm:request_queue_time_seconds_sum"] == server.stats()["slots"]["queued_s"] > 0
    with served_here() as server:
        assert call(server.url, "/metrics")[0] == 404


def metrics(url: str) -> dict[str, float]:
    """What a server tells Prometheus, by name."""
    with urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_server_reads_pictures_in_the_folder_that_it_is_told_and_nowhere_else(tmp_path):
    folder = tmp_path / "shown"
    folder.mkdir()
    for path in (folder / "a b#1%.png", tmp_path / "outside.png"):
        path.write_bytes(PICTURE)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")

    def status_and_text(server, url):
        messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, GROUND]}]
        status, body = call(server.url, CHAT, {"model": "any", "messages": messages})
        return status, body["choices"][0]["message"]["content"] if status == 200 else body["error"]["message"]

    with served_here("--allowed-local-media-path", str(folder)) as server:
        assert status_and_text(server, (folder / "a b#1%.png").as_uri()) == chat(server.url)
        assert status_and_text(server, (folder / "gone.png").as_uri())[0] == 500
        for outside in (tmp_path / "outside.png", folder / "link.png", folder / ".." / "outside.png"):
            status, said = status_and_text(server, f"file://{outside}")
            assert status == 400
            assert said == f"The file path {outside} must be a subpath of `--allowed-local-media-path {folder}`."
    with served_here() as server:
        status, said = status_and_text(server, (folder / "a b#1%.png").as_uri())
        assert (status, said) == (500, "Cannot load local files without `--allowed-local-media-path`.")


GROUND = {"type": "text", "text": GROUND_QUESTION}
