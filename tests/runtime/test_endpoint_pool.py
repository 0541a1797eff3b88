"""Who a request goes to: places, homes, shares, and endpoints that come and go; without a clock."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from raylabel.clients.base import Finish, Reply, Sampling, ServedModel, Usage
from raylabel.clients.endpoints import Member
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import ClientError, Verdict
from raylabel.runtime.endpoint_pool import MOST_PLACES, EndpointPool
from raylabel.runtime.tally import Tally
from raylabel.runtime.traffic import EndpointDirective
from raylabel.runtime.window import Window
from raylabel.settings import VlmSettings
from tests.waiting import until

VLM = VlmSettings()


class Client(ScriptedClient):
    def __init__(self) -> None:
        super().__init__(lambda request: "green")
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


def member(name, **more):
    return Member(name, VLM, **more)


def pool_of(*names, slots=100, **weights):
    pool = EndpointPool(lambda member: Client(), Sampling("m", 0.0, 10, 5.0), Tally(), _no_other_errors)
    pool.set([member(name, weight=weights.get(name, 1.0)) for name in names])
    pool.heed(dict.fromkeys(names, EndpointDirective(slots)))
    return pool


def _no_other_errors(error: ClientError) -> None:
    raise AssertionError(error)


def test_an_image_stays_where_it_is_and_every_worker_has_the_same_homes():
    one, other = pool_of("a", "b", "c", slots=10**6), pool_of("c", "a", "b", slots=10**6)
    images = [f"image {n}" for n in range(300)]

    def homes(pool):
        found = {}
        for image in images:
            seat = pool.take(image)
            found[image] = seat.name
            pool.give_back(seat)
        return found

    first = homes(one)
    assert homes(one) == first
    assert sum(homes(other)[image] == home for image, home in first.items()) > 270
    counts = Counter(homes(one).values())
    assert min(counts.values()) > 70
    fewer = pool_of("a", "b", slots=10**6)
    moved = [image for image, home in homes(fewer).items() if home != homes(one)[image]]
    before = Counter(homes(one)[image] for image in moved)
    assert before["c"] == counts["c"]
    assert before.total() < 1.4 * counts["c"], "hardly more than what the third one had goes elsewhere"


def test_weights_are_parts_of_the_images():
    pool = pool_of("a", "b", slots=10**6, a=3.0)
    counts: Counter[str] = Counter()
    for n in range(400):
        seat = pool.take(f"image {n}")
        counts[seat.name] += 1
        pool.give_back(seat)
    assert 2.2 < counts["a"] / counts["b"] < 4.2


def test_two_endpoints_get_as_many_images():
    pool = pool_of("a", "b")
    for latency_s, endpoint in zip((1.0, 1.2), pool._endpoints, strict=True):
        endpoint.note_answer(Reply("", Finish.STOP, Usage(), "m", latency_s))
    counts: Counter[str] = Counter()
    for n in range(300):
        seat = pool.take(f"image {n}")
        counts[seat.name] += 1
        pool.give_back(seat)
    assert abs(counts["a"] - counts["b"]) <= 15


def test_what_is_in_flight_is_even_whatever_the_homes_are():
    pool = pool_of("a", "b")
    seats = [pool.take(f"image {n}") for n in range(64)]
    counts = Counter(seat.name for seat in seats)
    assert abs(counts["a"] - counts["b"]) <= 3


def test_new_images_go_where_answers_come_faster():
    pool = pool_of("slow", "fast")
    for name, latency_s in (("slow", 5.0), ("fast", 1.0)):
        reply = Reply("", Finish.STOP, Usage(), "m", latency_s)
        next(e for e in pool._endpoints if e.name == name).note_answer(reply)
    counts = Counter(pool.take(f"image {n}").name for n in range(60))
    assert 8 <= counts["slow"] <= 14


def test_who_waits_for_a_full_place_lets_others_have_what_is_free_and_moves_only_where_there_are_none():
    async def main():
        pool = pool_of("a", "b", slots=1)
        earlier, later = Window(pool), Window(pool)
        pool.attach(earlier)
        pool.attach(later)
        earlier.resize(10)
        later.resize(10)
        first = await earlier.enter("x")
        other = await earlier.enter("y")
        assert {first.name, other.name} == {"a", "b"}
        again = asyncio.ensure_future(later.enter("x"))
        new = asyncio.ensure_future(earlier.enter("z"))
        await asyncio.sleep(0)
        earlier.leave(other)
        await asyncio.sleep(0)
        assert new.done(), "what is free elsewhere is for another image"
        assert not again.done(), "it waits for the endpoint that has its image"
        earlier.leave(first)
        assert (await again) is first
        waiting = asyncio.ensure_future(later.enter("x"))
        await asyncio.sleep(0)
        assert not waiting.done()
        earlier.leave(new.result())
        assert (await waiting) is other, "nobody else wants it"
        assert other.moved == 1

    asyncio.run(main())


def windows_of(pool, *levels):
    """Windows with room for all, level by level, so many side by side."""
    windows = []
    for count in levels:
        together = [Window(pool, place) for place in range(count)]
        pool.attach(*together)
        windows += together
    for window in windows:
        window.resize(1000)
    return windows


async def let_in_one_by_one(windows, seat, waiting):
    """The names of those who are let in, in order, each of whom leaves the seat to the next one."""
    order = []
    window = windows[0]
    while waiting:
        window.leave(seat)
        await until(lambda: any(task.done() for _, _, task in waiting))
        (entered,) = [entry for entry in waiting if entry[2].done()]
        waiting.remove(entered)
        name, window, task = entered
        order.append(name)
        seat = task.result()
    window.leave(seat)
    return order


def test_what_is_asked_side_by_side_about_an_image_goes_out_together_and_later_steps_go_first():
    async def main():
        pool = pool_of("a", "b", slots=1)
        regions, captions, later = windows = windows_of(pool, 2, 1)
        seats = [await regions.enter("x"), await regions.enter("y")]
        wanted = [("caption", captions), ("region 1", regions), ("region 2", regions)]
        names = [(f"{step} of {n}", window, n) for n in range(4) for step, window in wanted]
        waiting = [(name, window, asyncio.ensure_future(window.enter(f"image {n}"))) for name, window, n in names]
        waiting.append(("later of x", later, asyncio.ensure_future(later.enter("x"))))
        await asyncio.sleep(0)
        for endpoint in pool._endpoints:
            endpoint.slots = 0 if endpoint is seats[1] else 1  # one goes on
        order = await let_in_one_by_one(windows, seats[0], waiting)
        steps = ("region 1", "region 2", "caption")
        assert order == ["later of x", *(f"{step} of {n}" for n in range(4) for step in steps)]

    asyncio.run(main())


def test_many_who_wait_for_a_full_endpoint_do_not_hide_those_who_want_what_is_free():
    async def main():
        pool = pool_of("a", "b", slots=10**6)
        (window,) = windows_of(pool, 1)
        seats = [await window.enter(f"image {n}") for n in range(400)]
        full = seats[0]
        other = next(seat for seat in seats if seat is not full)
        at_full = [f"image {n}" for n, seat in enumerate(seats) if seat is full]
        at_other = next(f"image {n}" for n, seat in enumerate(seats) if seat is other)
        for endpoint in (full, other):
            endpoint.slots = endpoint.in_flight
        waiting = [asyncio.ensure_future(window.enter(image)) for image in at_full]
        wanting = asyncio.ensure_future(window.enter(at_other))
        await asyncio.sleep(0)
        assert window.waiting == len(at_full) + 1
        window.leave(other)
        await asyncio.sleep(0)
        assert wanting.done()
        assert not any(each.done() for each in waiting)
        window.stop()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert window.waiting == 0

    asyncio.run(main())


def test_who_waits_for_an_endpoint_that_is_lost_goes_elsewhere():
    async def main():
        pool = pool_of("a", "b", slots=1)
        (window,) = windows_of(pool, 1)
        one, other = await window.enter("x"), await window.enter("y")
        waiting = [asyncio.ensure_future(window.enter("x")) for _ in range(3)]
        await asyncio.sleep(0)
        one.turn_away(ClientError(Verdict.RETRY, "connection refused"))
        seat = other
        for each in waiting:
            window.leave(seat)
            seat = await asyncio.wait_for(asyncio.shield(each), 10)
            assert seat is other

    asyncio.run(main())


def test_an_endpoint_that_is_lost_is_looked_for_with_a_question_of_our_own():
    async def main():
        pool = pool_of("a", "b")
        lost = pool.take("x")
        pool.give_back(lost)
        lost.turn_away(ClientError(Verdict.RETRY, "connection refused"))
        assert pool.take("x") is not lost, "at once"
        pool.take_reports()
        pool.heed({lost.name: EndpointDirective(1, 1.0, 60.0, is_set_aside=True, is_lost=True)})
        assert lost.looking is None, "not before the pause is over"
        pool.heed({lost.name: EndpointDirective(0, is_set_aside=True, is_lost=True)})
        assert lost.looking is None, "another worker looks"
        pool.heed({lost.name: EndpointDirective(1, is_set_aside=True, is_lost=True)})
        await until(pool.news.is_set)
        assert pool.news.is_set()
        assert pool.take_reports()[lost.name].answers.answered == 1
        assert not lost.is_healthy, "until the coordinator says so"
        pool.heed({lost.name: EndpointDirective(5)})
        assert lost.is_healthy

    asyncio.run(main())


def test_what_came_back_is_told_again_where_nobody_heard_it():
    pool = pool_of("a", "b")
    first = pool._endpoints[0]
    first.note_answer(Reply("", Finish.STOP, Usage(input=5), "m", 1.0))
    first.turn_away(ClientError(Verdict.SLOW_DOWN, "busy", status=429))
    told = pool.take_reports()
    assert pool.take_reports()["a"].answers.answered == 0, "once"
    pool.put_back(told)
    assert pool.take_reports()["a"].answers == told["a"].answers


def test_an_endpoint_that_was_away_at_first_is_looked_at_again():
    class Late(Client):
        checks = 0

        async def check(self):
            Late.checks += 1
            if Late.checks == 1:
                raise ClientError(Verdict.RETRY, "connection refused")

    async def main():
        pool = EndpointPool(lambda m: Late(), Sampling("m", 0.0, 10, 5.0), Tally(), _no_other_errors)
        pool.set([member("a"), member("b")])
        late = pool._endpoints[0]
        with pytest.raises(ClientError, match="refused"):
            await pool.reach(late)
        assert not late.is_reached
        await pool.reach(late)
        assert late.is_reached

    asyncio.run(main())


def test_what_an_endpoint_failed_at_goes_to_the_one_with_the_least_in_flight():
    pool = pool_of("a", "b", "c")
    a, b, c = pool._endpoints
    b.in_flight, c.in_flight = 2, 1
    pool.move("x", a)
    assert pool.take("x") is c
    assert c.moved == 1


def test_places_are_forgotten_once_there_are_very_many():
    pool = pool_of("a", "b", slots=10**6)
    for n in range(MOST_PLACES + 10):
        pool.give_back(pool.take(f"image {n}"))
    assert len(pool._places) == MOST_PLACES


def test_one_that_joins_and_serves_another_model_ends_the_run():
    served = {"a": ServedModel("qwen"), "b": ServedModel("gemma")}

    class Named(Client):
        def __init__(self, name):
            super().__init__()
            self._place = name

        async def served_model(self, model):
            return served[self._place]

    async def main():
        pool = EndpointPool(lambda m: Named(m.name), Sampling("m", 0.0, 10, 5.0), Tally(), _no_other_errors)
        pool.set([member("a")])
        taken = pool.take("x")
        assert taken is not None
        await pool.reach(taken)
        pool.set([member("a"), member("b")])
        with pytest.raises(ClientError, match='a serves "qwen" and b serves "gemma"') as told:
            await pool.reach(pool._endpoints[1])
        assert told.value.verdict.ends_run

    asyncio.run(main())


def test_endpoints_join_and_leave_while_requests_are_in_flight():
    async def main():
        pool = pool_of("a", "b")
        seats = [pool.take(f"image {n}") for n in range(10)]
        gone, kept = (next(e for e in pool._endpoints if e.name == name) for name in "ab")
        pool.set([member("b"), member("c")])
        assert pool.news.is_set(), "the coordinator hears of it at once"
        reports = pool.take_reports()
        assert (reports["a"].has_left, reports["b"].has_left, reports["c"].slots) == (True, False, 0)
        pool.heed({name: EndpointDirective(100) for name in "bc"})
        assert {pool.take(f"image {n}").name for n in range(30)} == {"b", "c"}
        assert kept in pool._endpoints
        for seat in seats:
            assert not gone.client.is_closed
            pool.give_back(seat)
            await asyncio.sleep(0)
            if not gone.in_flight:
                break
        await asyncio.sleep(0)
        assert gone.client.is_closed, "once nothing is in flight there"
        await pool.close()

    asyncio.run(main())


def test_while_there_is_none_everybody_waits_and_goes_to_the_first_that_joins():
    async def main():
        pool = pool_of("a")
        window = Window(pool)
        pool.attach(window)
        window.resize(5)
        pool.set([])
        entering = [asyncio.ensure_future(window.enter(f"image {n}")) for n in range(3)]
        await asyncio.sleep(0)
        assert window.waiting == 3
        pool.set([member("b")])
        assert {(await each).name for each in entering} == {"b"}

    asyncio.run(main())
