"""Reads that refill: exactly one wins, the others get the old value, 404, or wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raftcache.errors import NotLeader, Unknown
from tests.support.raw_http import Response, Served, request, run, serving, until

Test = Callable[[Served], Awaitable[None]]
ROLE, TOKEN = "x-raftcache-vivify", "x-raftcache-vivify-token"


def play(test: Test) -> None:
    async def inner() -> None:
        async with serving() as served:
            await test(served)

    run(inner())


async def get(served: Served, query: str = "vivify=30s", **headers: str) -> Response:
    lines = {name.replace("_", "-"): said for name, said in headers.items()}
    return await served.ask("GET", f"/v1/kv/k?{query}", headers=lines)


async def put(served: Served, query: str = "", value: bytes = b"v") -> Response:
    return await served.ask("PUT", f"/v1/kv/k{query}", value)


def waiting_count(served: Served) -> int:
    return len(served.server._door._vivifier._waiting)  # type: ignore[attr-defined]


def test_one_wins_and_brings_the_value() -> None:
    async def test(served: Served) -> None:
        won = await get(served)
        assert (won.status, won.headers[ROLE], won.headers[TOKEN]) == (404, "won", "1")
        lost = await get(served)
        assert (lost.status, lost.headers[ROLE]) == (404, "lost")
        assert TOKEN not in lost.headers
        refilled = await put(served, "?vivify=1&ttl=10s")
        assert (refilled.status, refilled.json) == (201, {"revision": 2, "version": 1})
        assert refilled.headers["x-raftcache-ttl-ms"] == "10000"
        hit = await get(served)
        assert (hit.status, hit.body, hit.headers["etag"]) == (200, b"v", '"2"')
        assert ROLE not in hit.headers

    play(test)


def test_a_name_may_be_escaped() -> None:
    async def test(served: Served) -> None:
        assert (await get(served, "viv%69fy=30s")).headers[ROLE] == "won"

    play(test)


def test_a_plain_hit_writes_nothing() -> None:
    async def test(served: Served) -> None:
        await put(served)
        served.kv.commands.clear()
        assert (await get(served)).status == 200
        assert served.kv.commands == []
        assert (await get(served, "vivify=30s", If_None_Match='"1"')).status == 304

    play(test)


def test_soon_stale_the_winner_and_the_others_get_the_old_value() -> None:
    async def test(served: Served) -> None:
        await put(served, "?ttl=10s", b"old")
        early = "vivify=30s&early=5s"
        served.kv.time_ms += 4_999
        assert ROLE not in (await get(served, early)).headers
        served.kv.time_ms += 1
        won, lost = await get(served, early), await get(served, early + "&wait=10s")
        assert (won.status, won.body, won.headers[ROLE]) == (200, b"old", "won")
        assert (lost.status, lost.body, lost.headers[ROLE]) == (200, b"old", "lost")
        assert (await put(served, f"?vivify={won.headers[TOKEN]}", b"new")).status == 200
        assert (await get(served, early)).body == b"new"

    play(test)


def test_who_waits_gets_what_the_winner_brings() -> None:
    async def test(served: Served) -> None:
        await get(served)
        waiting = [asyncio.create_task(get(served, "vivify=30s&wait=5m")) for _ in range(5)]
        await until(lambda: waiting_count(served) == 5)
        await put(served, "?vivify=1")
        for answer in await asyncio.gather(*waiting):
            assert (answer.status, answer.body, answer.headers[ROLE]) == (200, b"v", "lost")

    play(test)


def test_whatever_is_written_ends_the_wait() -> None:
    async def test(served: Served) -> None:
        await get(served)
        waiting = asyncio.create_task(get(served, "vivify=30s&wait=5m"))
        await until(lambda: waiting_count(served) == 1)
        await put(served, "", b"by somebody else")
        assert (await waiting).body == b"by somebody else"
        late = await put(served, "?vivify=1")
        assert (late.status, late.json["title"]) == (412, "refill too late")
        assert (late.json["revision"], late.headers["etag"]) == (2, '"2"')
        assert late.json["definite"] is True

    play(test)


def test_of_those_who_wait_one_is_next_when_the_winner_does_not_come() -> None:
    async def test(served: Served) -> None:
        await get(served, "vivify=1s")
        waiting = [asyncio.create_task(get(served, "vivify=1s&wait=5m")) for _ in range(3)]
        await until(lambda: waiting_count(served) == 3)
        served.kv.time_ms += 1_000
        done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (winner,) = [task.result() for task in done]
        assert (winner.status, winner.headers[ROLE]) == (404, "won")
        await put(served, f"?vivify={winner.headers[TOKEN]}")
        for task in others:
            assert (await task).body == b"v"

    play(test)


def test_a_key_that_goes_while_it_is_looked_at_is_missing() -> None:
    """Fresh in the log's order, gone in what this node has applied since: somebody has to win."""

    async def test(served: Served) -> None:
        await put(served, "?ttl=10s")
        served.kv.time_ms += 9_000
        served.kv.holding = True
        asked = asyncio.create_task(get(served, "vivify=30s&early=5s"))
        await until(lambda: served.kv.held == 1)
        served.kv.release(0)  # the read: soon stale
        await until(lambda: served.kv.held == 1)
        vivify = served.kv._held.pop()
        served.kv.holding = False
        await put(served, "", b"fresh")
        look, gone = served.kv.machine.get, [True]
        served.kv.machine.get = lambda key: None if gone and gone.pop() else look(key)  # type: ignore[method-assign]
        vivify()
        answer = await asked
        assert (answer.status, answer.body) == (200, b"fresh")

    play(test)


def test_a_wait_ends_with_404() -> None:
    async def test(served: Served) -> None:
        await get(served)
        answer = await get(served, "vivify=30s&wait=30ms")
        assert (answer.status, answer.headers[ROLE]) == (404, "lost")

    play(test)


def test_who_has_gone_wins_nothing() -> None:
    """Else nobody would bring the value until such a right had run out, one after the other."""

    async def test(served: Served) -> None:
        await get(served, "vivify=1s")
        gone = await served.connect()
        await gone.send(request("GET", "/v1/kv/k?vivify=1m&wait=5m"))
        await until(lambda: waiting_count(served) == 1)
        here = asyncio.create_task(get(served, "vivify=1m&wait=5m"))
        await until(lambda: waiting_count(served) == 2)
        await gone.close()
        await until(lambda: waiting_count(served) == 1)
        served.kv.time_ms += 1_000
        assert (await here).headers[ROLE] == "won"

    play(test)


def test_who_has_gone_waits_no_more_whichever_way_the_request_took() -> None:
    async def test(served: Served) -> None:
        await get(served)
        for headers in ({}, {"Connection": "close"}):  # hot, and by the application
            client = await served.connect()
            await client.send(request("GET", "/v1/kv/k?vivify=1m&wait=5m", headers=headers))
            await until(lambda: waiting_count(served) == 1)
            await client.close()
            await until(lambda: waiting_count(served) == 0)

    play(test)


def test_a_node_that_stops_sends_those_who_wait_elsewhere() -> None:
    """At once: it does not end before they are answered."""

    async def test(served: Served) -> None:
        await get(served)
        asked = asyncio.create_task(get(served, "vivify=1m&wait=5m"))
        await until(lambda: waiting_count(served) == 1)
        served.vivifier.stop("it stops")
        for answer in (await asked, await get(served, "vivify=1m&wait=5m")):
            assert (answer.status, answer.json["detail"]) == (503, "it stops")

    play(test)


def test_one_of_those_who_wait_at_this_node_asks_for_the_right_at_a_time() -> None:
    async def test(served: Served) -> None:
        await get(served, "vivify=1s")
        waiting = [asyncio.create_task(get(served, "vivify=1m&wait=5m")) for _ in range(20)]
        await until(lambda: waiting_count(served) == 20)
        served.kv.commands.clear()
        served.kv.time_ms += 1_000
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert len(served.kv.commands) == 1
        await put(served)
        await asyncio.gather(*waiting)

    play(test)


def test_however_many_wait_one_turn_looks_for_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.service.vivify.LOOKS_MAX", 3)

    async def test(served: Served) -> None:
        await get(served)
        waiting = [asyncio.create_task(get(served, "vivify=1m&wait=5m")) for _ in range(20)]
        await until(lambda: waiting_count(served) == 20)
        looked: list[int] = []
        poll = served.server._door._vivifier._poll  # type: ignore[attr-defined]

        def counted() -> None:
            before = waiting_count(served)
            poll()
            looked.append(before - waiting_count(served))

        monkeypatch.setattr(served.server._door._vivifier, "_poll", counted)
        await put(served)
        for answer in await asyncio.gather(*waiting):
            assert answer.body == b"v"
        assert max(looked) == 3

    play(test)


def test_the_right_that_was_won_is_for_its_key_only() -> None:
    async def test(served: Served) -> None:
        await get(served)
        other = await served.ask("PUT", "/v1/kv/other?vivify=1", b"v")
        assert other.status == 412
        assert (await put(served, "?vivify=2")).status == 412
        assert (await put(served, "?vivify=1")).status == 201

    play(test)


def test_only_so_many_wait_or_refill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.service.vivify.WAITING_MAX", 1)
    monkeypatch.setattr("raftcache.state.refills.REFILLS_MAX", 1)

    async def test(served: Served) -> None:
        await get(served)
        waiting = asyncio.create_task(get(served, "vivify=30s&wait=5m"))
        await until(lambda: waiting_count(served) == 1)
        refused = await get(served, "vivify=30s&wait=5m")
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        other = await served.ask("GET", "/v1/kv/other?vivify=30s")
        assert (other.status, other.json["detail"]) == (429, "too many keys are being refilled")
        await put(served)
        await waiting

    play(test)


@pytest.mark.parametrize("error", [NotLeader(), Unknown()])
def test_an_error_is_a_503_and_no_win(error: NotLeader | Unknown) -> None:
    async def test(served: Served) -> None:
        served.kv.error = error
        answer = await get(served)
        assert (answer.status, ROLE in answer.headers) == (503, False)

    play(test)


@pytest.mark.parametrize(
    ("method", "query", "said"),
    [
        ("GET", "vivify=", "vivify"),
        ("GET", "vivify=30", "vivify"),
        ("GET", "vivify=0s", "vivify='0s' is not from 1 ms"),
        ("GET", "vivify=11m", "vivify='11m' is not from 1ms to 600000ms"),
        ("GET", "vivify=30s&early=soon", "early"),
        ("GET", "vivify=30s&wait=-1s", "wait"),
        ("GET", "vivify=30s&wait=11m", "wait='11m' is more than 600000ms"),
        ("GET", "vivify=30s&vivify=30s", "vivify"),
        ("GET", "vivify=30s&consistency=stale", "vivify goes with consistency=linearizable only"),
        ("GET", "vivify=30s&consistency=lease", "vivify goes with consistency=linearizable only"),
        ("GET", "vivify=30s&max_staleness=1s", "max_staleness"),
        ("GET", "vivify=30s&x=vivify", "x"),
        ("GET", "early=5s", "early"),
        ("GET", "wait=5s", "wait"),
        ("HEAD", "vivify=30s", ""),
        ("PUT", "vivify=0", "vivify='0' is no whole number from 1"),
        ("PUT", "vivify=30s", "vivify='30s' is no whole number from 1"),
        ("PUT", "vivify=9223372036854775808", "is no whole number from 1"),
        ("PUT", "vivify=1&early=5s", "early"),
        ("POST", "op=incr&vivify=1", "vivify"),
        ("DELETE", "vivify=1", "vivify"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(method: str, query: str, said: str) -> None:
    async def test(served: Served) -> None:
        digest = served.kv.machine.digest
        answer = await served.ask(method, f"/v1/kv/k?{query}", b"v" if method == "PUT" else b"")
        assert answer.status == 400, answer.body
        assert not said or said in answer.json["detail"]
        assert served.kv.machine.digest == digest

    play(test)


@pytest.mark.parametrize("header", [("If-Match", "*"), ("If-None-Match", "*")])
def test_a_refill_has_no_other_condition(header: tuple[str, str]) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("PUT", "/v1/kv/k?vivify=1", b"v", dict([header]))
        assert answer.status == 400
        assert "not for If-Match" in answer.json["detail"]

    play(test)
