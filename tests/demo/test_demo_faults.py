"""What a demo server with faults does to requests, over real HTTP, in each protocol."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading

import pytest

from tests.demo.fault_calls import PROTOCOLS, ask, picture_of, stats
from tests.demo.http_calls import PICTURE, call
from tests.served_here import served_here
from tests.waiting import wait_until

CAPTION = "A blue bar in the middle on a grey ground."

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture
def served():
    """Start a server with a specification of faults; it ends with the test."""
    running = []

    def start(spec, *options):
        context = served_here("--faults", spec, *options)
        running.append(context)
        return context.__enter__()

    yield start
    for context in running:
        context.__exit__(None, None, None)


@each_protocol
def test_without_faults_it_answers_and_counts(served, protocol):
    url = served("none").url
    assert CAPTION in ask(url, protocol).text(protocol) == ask(url, protocol).text(protocol)
    ask(url, protocol, "And now?")
    told = stats(url)
    assert sorted(question["asked"] for question in told["questions"].values()) == [1, 2]
    assert all(question["asked"] == question["answered"] for question in told["questions"].values())
    assert {question["task"] for question in told["questions"].values()} == {"image_caption"}
    assert {q["picture"] for q in told["questions"].values()} == {hashlib.sha256(PICTURE).hexdigest()}
    assert (told["requests"], told["refused"], told["faults"]) == (3, 0, {})
    assert told["rate"]["last_minute"] == {"arrived": 3, "answered": 3}


def test_a_server_without_the_option_counts_no_questions():
    with served_here() as server:
        assert "questions" not in stats(server.url)


# --- faults -------------------------------------------------------------------------------------------------------


@each_protocol
@pytest.mark.parametrize("status", [400, 500, 503, 529])
def test_statuses_come_as_errors_of_the_protocol(served, protocol, status):
    told = ask(served(f"{status} 100%").url, protocol)
    assert told.status == status
    assert told.error()["message"]
    assert "retry-after" not in told.headers


@pytest.mark.parametrize(
    ("protocol", "key", "word"),
    [("openai", "code", "rate_limit_exceeded"), ("gemini", "status", "RESOURCE_EXHAUSTED"),
     ("anthropic", "type", "rate_limit_error")],
)  # fmt: skip
def test_a_429_is_told_in_the_words_of_the_protocol(served, protocol, key, word):
    told = ask(served("429 100% retry-after=1.5").url, protocol)
    assert (told.status, told.error()[key], told.headers["retry-after"]) == (429, word, "1.5")


@each_protocol
def test_a_truncated_body_ends_before_its_length(served, protocol):
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(served("truncated 100%").url, protocol)
    assert caught.value.partial.startswith(b"{")
    assert caught.value.expected


@each_protocol
def test_garbage_is_no_json(served, protocol):
    told = ask(served("garbage 100%").url, protocol)
    assert told.status == 200
    with pytest.raises(ValueError):
        json.loads(told.data)


@each_protocol
def test_an_empty_answer_is_whole_but_for_its_text(served, protocol):
    told = ask(served("empty 100%").url, protocol)
    assert (told.status, told.text(protocol)) == (200, "")


@each_protocol
def test_an_answer_that_was_cut_is_half_of_it_and_says_so(served, protocol):
    whole = ask(served("none").url, protocol)
    told = ask(served("cut 100%").url, protocol)
    assert told.status == 200
    assert 0 < len(told.text(protocol)) < len(whole.text(protocol))
    assert whole.text(protocol).startswith(told.text(protocol))
    assert any(word in told.data for word in (b'"length"', b'"MAX_TOKENS"', b'"max_tokens"'))


@each_protocol
def test_an_answer_that_declines_does_so_in_words_alone(served, protocol):
    whole = ask(served("none").url, protocol)
    told = ask(served("declines 100%").url, protocol)
    assert (told.status, told.text(protocol)) == (200, "I'm sorry, but I can't help with that.")
    assert any(word in told.data and word in whole.data for word in (b'"stop"', b'"STOP"', b'"end_turn"'))


@each_protocol
def test_a_reset_is_a_reset_and_a_disconnect_an_end(served, protocol):
    with pytest.raises(ConnectionResetError) as reset:
        ask(served("reset 100%").url, protocol)
    assert type(reset.value) is ConnectionResetError
    with pytest.raises(http.client.RemoteDisconnected):
        ask(served("disconnect 100%").url, protocol)


@each_protocol
def test_a_hang_lasts_until_the_client_gives_up(served, protocol):
    url = served("hang 100%").url
    with pytest.raises(TimeoutError):
        ask(url, protocol, timeout_s=0.3)
    wait_until(lambda: stats(url)["in_flight"] == 0)


@each_protocol
def test_a_hang_may_end_without_an_answer(served, protocol):
    with pytest.raises(http.client.RemoteDisconnected):
        ask(served("hang 100% seconds=0.1").url, protocol)


@each_protocol
def test_a_slow_answer_is_whole(served, protocol):
    url = served("slow 100% seconds=0.05").url
    assert CAPTION in ask(url, protocol).text(protocol)
    (question,) = stats(url)["questions"].values()
    assert question["answered"] == 1


@each_protocol
def test_a_redirect_leads_elsewhere(served, protocol):
    told = ask(served("redirect 100% status=302").url, protocol)
    assert told.status == 302
    assert "/moved/v1" in told.headers["location"]


@each_protocol
@pytest.mark.parametrize(("spec", "status"), [("html 100%", 200), ("html 100% status=502", 502)])
def test_a_page_comes_for_an_answer(served, protocol, spec, status):
    told = ask(served(spec).url, protocol)
    assert (told.status, told.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert told.data.startswith(b"<!DOCTYPE html>")


@each_protocol
def test_an_error_comes_inside_a_success(served, protocol):
    told = ask(served("error-inside 100%").url, protocol)
    assert told.status == 200
    assert "error" in told.error()["message"]


@each_protocol
def test_a_fault_is_counted_and_is_no_answer(served, protocol):
    url = served("500 100%").url
    for _ in range(3):
        ask(url, protocol)
    told = stats(url)
    assert told["faults"] == {"500": 3}
    assert [(q["asked"], q["answered"]) for q in told["questions"].values()] == [(3, 0)]


# --- draws --------------------------------------------------------------------------------------------------------


def statuses(url, questions=60):
    return [ask(url, "openai", f"Question {n}").status for n in range(questions)]


def test_a_rerun_meets_the_same_and_another_seed_something_else(served):
    first, again = (statuses(served("500 20%; 503 20%").url) for _ in range(2))
    assert first == again
    assert {200, 500, 503} == set(first)
    assert statuses(served("500 20%; 503 20%; seed 1").url) != first


def test_the_order_of_questions_changes_no_draw(served):
    forward, backward = served("500 30%").url, served("500 30%").url
    ahead = {n: ask(forward, "openai", f"Question {n}").status for n in range(40)}
    behind = {n: ask(backward, "openai", f"Question {n}").status for n in reversed(range(40))}
    assert ahead == behind


def test_each_attempt_draws_anew(served):
    url = served("500 50%").url
    drawn = [ask(url, "openai", "Again?").status for _ in range(20)]
    assert set(drawn) == {200, 500}


def test_what_a_limit_turns_away_is_no_attempt(served):
    free = served("500 50%").url
    held = served("500 50%; limit 1/0.2s").url
    passed: list[int] = []
    while len(passed) < 8:
        status = ask(held, "openai", "Again?").status
        passed += [status] if status != 429 else []
    assert passed == [ask(free, "openai", "Again?").status for _ in range(8)]


# --- poison -------------------------------------------------------------------------------------------------------


@each_protocol
def test_every_nth_picture_is_poison_whatever_is_asked(served, protocol):
    url = served("poison 400 every=3").url
    for _ in range(2):
        drawn = [ask(url, protocol, f"Question {n}", picture_of(n)).status for n in range(9)]
        assert drawn == [200, 200, 400] * 3


@each_protocol
def test_one_picture_is_poison_by_its_digest(served, protocol):
    url = served(f"poison reset picture={hashlib.sha256(picture_of(4)).hexdigest()[:12]}").url
    for n in range(3, 6):
        if n != 4:
            assert ask(url, protocol, picture=picture_of(n)).status == 200
            continue
        for question in ("One?", "Two?", "One?"):
            with pytest.raises(ConnectionResetError):
                ask(url, protocol, question, picture_of(n))


def test_a_drawn_share_of_pictures_is_poison_for_good(served):
    url = served("poison 500 30%").url
    drawn = [[ask(url, "openai", f"{time}?", picture_of(n)).status for n in range(30)] for time in range(2)]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {200, 500}


def test_a_picture_at_which_the_server_hangs_hangs_alone(served):
    url = served("poison hang every=2").url
    assert ask(url, "openai", picture=picture_of(0)).status == 200
    with pytest.raises(TimeoutError):
        ask(url, "openai", picture=picture_of(1), timeout_s=0.2)
    assert ask(url, "openai", picture=picture_of(2)).status == 200


# --- absence ------------------------------------------------------------------------------------------------------


def fails(url):
    try:
        call(url, "/health")
    except OSError as error:
        return type(error)
    except http.client.HTTPException as error:
        return type(error)
    return None


def is_lost(url):
    """Whether a question gets no answer."""
    try:
        ask(url, "openai")
    except (OSError, http.client.HTTPException):
        return True
    return False


def test_an_absent_server_refuses_and_comes_back_to_the_same_port(served):
    url = served("away after 1 for 2").url
    assert [is_lost(url) for _ in range(2)] == [False, True]
    wait_until(lambda: fails(url) is ConnectionRefusedError)
    wait_until(lambda: fails(url) is None)
    assert not is_lost(url)
    assert stats(url)["faults"] == {"away": 1}


def test_an_absent_server_may_close_what_it_takes(served):
    url = served("away after 1 for 2 how=close").url
    assert [is_lost(url) for _ in range(2)] == [False, True]
    assert fails(url) not in (None, ConnectionRefusedError)
    wait_until(lambda: fails(url) is None)
    assert not is_lost(url)


@pytest.mark.parametrize("how", ["refuse", "close"])
def test_answers_under_way_are_lost_with_the_server(served, how):
    url = served(f"hang 100%; away after 1 how={how}").url
    lost = []
    under_way = threading.Thread(target=lambda: lost.append(is_lost(url)))
    under_way.start()
    wait_until(lambda: stats(url)["in_flight"] == 1)
    assert is_lost(url)
    under_way.join()
    assert lost == [True]


def test_a_server_that_is_away_from_the_start_comes(served):
    url = served("away from 0 for 0.5").url
    wait_until(lambda: fails(url) is None)


@pytest.mark.parametrize("how", ["refuse", "close"])
def test_a_server_that_is_away_for_good_can_be_stopped(how):
    with served_here("--faults", f"away from 0 how={how}") as server:
        assert fails(server.url) is not None
        wait_until(lambda: fails(server.url) is not None)


def test_kept_connections_end_with_the_server(served):
    server = served("away after 1")
    connection = http.client.HTTPConnection(*server.server_address)
    connection.request("GET", "/health")
    connection.getresponse().read()
    assert [is_lost(server.url) for _ in range(2)] == [False, True]

    def is_cut():
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return True
        return False

    connection.auto_open = 0
    wait_until(is_cut)
    connection.close()


def test_many_at_a_time_are_counted(served):
    url = served("slow 100% seconds=0.3").url
    threads = [threading.Thread(target=ask, args=(url, "openai", f"Question {n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = stats(url)
    assert 1 < told["max_in_flight"] <= 8
    assert told["answered"] == {"image_caption": 8}
    assert told["faults"] == {"slow": 8}
