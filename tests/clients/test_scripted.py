"""The scripted client."""

from __future__ import annotations

import pytest

from raylabel.clients.base import Finish, Reply, SchemaForm, Usage
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import ClientError, ConfigError, Verdict


def test_a_function_answers_and_requests_are_kept(ask, make_request):
    client = ScriptedClient(lambda request: request.question.upper())
    request = make_request({"type": "object"})
    reply = ask(client, request)
    assert (reply.text, reply.finish, reply.model) == ("WHERE IS THE CAR?", Finish.STOP, "tiny-vlm")
    assert reply.with_schema
    assert client.requests == [request]


def test_a_script_knows_a_model_by_the_configured_name_and_obeys_no_form_none(ask, served, make_request):
    assert served(ScriptedClient({}), "any") == ("any",)
    request = make_request({"type": "object"}, schema_form=SchemaForm.NONE)
    assert not ask(ScriptedClient({"car": "a"}), request).with_schema


def test_an_async_function_answers(ask, make_request):
    async def script(request):
        return "later"

    assert ask(ScriptedClient(script), make_request()).text == "later"


@pytest.mark.parametrize("rules", [{"car": "a", "Where": "b"}, [("bus", "x"), ("car", "a"), ("car", "c")]])
def test_the_first_rule_that_occurs_in_the_question_answers(ask, make_request, rules):
    assert ask(ScriptedClient(rules), make_request()).text == "a"


def test_replies_and_errors_are_given_as_scripted(ask, failure, make_request):
    reply = Reply("", Finish.REFUSED, Usage(input=3), "m", 0.5)
    assert ask(ScriptedClient({"car": reply}), make_request()) is reply
    error = ClientError(Verdict.SLOW_DOWN, "slow", retry_after_s=2.0)
    assert failure(ScriptedClient({"car": error}), make_request()) is error


def test_a_question_without_a_rule_fails_its_record(failure, make_request):
    error = failure(ScriptedClient({"bus": "a"}), make_request())
    assert error.verdict is Verdict.FAIL_RECORD
    assert "Where is the car?" in error.message


def test_a_file_of_rules_is_read(tmp_path, ask, check, make_request):
    path = tmp_path / "answers.jsonl"
    path.write_text(
        '{"contains": "bus", "text": "x"}\n\n{"contains": "car", "text": "é"}\n{"contains": "car", "text": "late"}\n',
        encoding="utf-8",
    )
    assert ask(ScriptedClient.from_file(str(path)), make_request()).text == "é"
    check(ScriptedClient.from_file(str(path)))


@pytest.mark.parametrize("line", ["{", "[]", '{"contains": "a"}', '{"contains": "a", "text": 7}'])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"contains": "a", "text": "b"}\n' + line, encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2"):
        ScriptedClient.from_file(str(path))


def test_a_missing_file_is_the_users_business(tmp_path):
    with pytest.raises(ConfigError, match=r"vlm\.scripted\.answers"):
        ScriptedClient.from_file(str(tmp_path / "none.jsonl"))


def test_a_script_of_a_file_keeps_no_requests(ask, make_request, tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"contains": "car", "text": "a"}\n', encoding="utf-8")
    client = ScriptedClient.from_file(str(tmp_path / "answers.jsonl"))
    assert ask(client, make_request()).text == "a"
    assert client.requests == []
