"""/v1/locks: held, waited for, followed; and everything that means nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raftcache.command.leasing import LockAcquire, LockRelease, LockStay
from raftcache.command.limits import LOCK_PLACE_MS
from raftcache.command.words import Command
from raftcache.errors import NotLeader, Unknown
from raftcache.service.kv import Outcome
from raftcache.service.locks import _Wait
from tests.support.raw_http import Client, Response, Served, request, run, serving, until
from tests.unit.test_http_ranges import apply

Test = Callable[[Served], Awaitable[None]]
WAITING = "/v1/locks/l?ttl=1s&wait=60s"


def play(test: Test) -> None:
    """At 1000 ms token 1 holds the lock l until 2000, with the value "me"."""

    async def inner() -> None:
        async with serving() as served:
            apply(served, LockAcquire(b"l", 1000, value=b"me"))
            await test(served)

    run(inner())


def waiting(served: Served) -> int:
    return served.kv.machine.lock(b"l").waiting


async def queued(served: Served, headers: dict[str, str] | None = None) -> Client:
    """A client whose place is in the queue."""
    before, client = waiting(served), await served.connect()
    await client.send(request("POST", WAITING, b"v", headers))
    await until(lambda: waiting(served) > before)
    return client


def tick(served: Served, now_ms: int) -> None:
    served.kv.time_ms = now_ms
    apply(served)


def test_the_life_of_a_lock() -> None:
    async def test(served: Served) -> None:
        granted = await served.ask("POST", "/v1/locks/a%20b?ttl=30s", b"\xff")
        assert (granted.status, granted.json) == (200, {"token": 2, "ttl_ms": 30_000})
        served.kv.time_ms += 10_000
        shown = {"name": "a%20b", "token": 2, "ttl_ms": 20_000, "waiting": 0}
        assert await show(served, "a%20b") == shown | {"value_base64": "/w=="}
        kept = await served.ask("POST", "/v1/locks/a%20b?op=keepalive&token=2")
        assert (kept.status, kept.json) == (200, {"token": 2, "ttl_ms": 30_000})
        released = await served.ask("DELETE", "/v1/locks/a%20b?token=2")
        assert (released.status, released.json["released"]) == (200, 1)
        free = {"token": 0, "ttl_ms": None, "waiting": 0, "value_base64": None}
        assert await show(served, "a%20b") == {"name": "a%20b"} | free

    play(test)


def test_locks_are_listed_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.server.locks.LOCKS_SHOWN_MAX", 2)

    async def test(served: Served) -> None:
        for name in (b"a b", b"z", b"\xff&="):
            apply(served, LockAcquire(name, 500))
        mine = {"name": "l", "token": 1, "ttl_ms": 1000, "waiting": 0, "value_base64": "bWU="}
        first = await served.ask("GET", "/v1/locks")
        assert [lock["name"] for lock in first.json["locks"]] == ["a%20b", "l"]
        assert (first.json["locks"][1], first.json["more"]) == (mine, True)
        rest = await served.ask("GET", "/v1/locks?after=l&consistency=stale")
        names = [lock["name"] for lock in rest.json["locks"]]
        assert (names, rest.json["more"]) == (["z", "%FF%26="], False)
        last = await served.ask("GET", "/v1/locks?after=%FF%26=")
        assert last.json == {"locks": [], "more": False}

    play(test)


@pytest.mark.parametrize("query", ["after=", "after=" + "x" * 256, "after=%F", "limit=3"])
def test_a_listing_that_means_nothing(query: str) -> None:
    async def test(served: Served) -> None:
        assert (await served.ask("GET", f"/v1/locks?{query}")).status == 400

    play(test)


async def show(served: Served, name: str) -> dict[str, Any]:
    answer = await served.ask("GET", f"/v1/locks/{name}")
    assert answer.status == 200
    shown: dict[str, Any] = answer.json
    return shown


def refused(answer: Response, title: str, status: int = 409) -> None:
    assert (answer.status, answer.json["title"]) == (status, title)
    assert answer.json["definite"] is True


def test_a_held_lock_is_refused() -> None:
    async def test(served: Served) -> None:
        refused(await served.ask("POST", "/v1/locks/l?ttl=1s"), "lock held")

    play(test)


@pytest.mark.parametrize("token", [2, 99])
def test_only_the_holders_token_counts(token: int) -> None:
    async def test(served: Served) -> None:
        refused(
            await served.ask("POST", f"/v1/locks/l?op=keepalive&token={token}"), "lock not held"
        )
        refused(await served.ask("DELETE", f"/v1/locks/l?token={token}"), "lock not held")
        assert (await show(served, "l"))["token"] == 1

    play(test)


def test_a_holder_whose_time_is_over_is_told_so() -> None:
    async def test(served: Served) -> None:
        served.kv.time_ms = 2000
        refused(await served.ask("POST", "/v1/locks/l?op=keepalive&token=1"), "lock not held")
        refused(await served.ask("DELETE", "/v1/locks/l?token=1"), "lock not held")
        assert (await show(served, "l"))["token"] == 0

    play(test)


# Waiting.


def test_who_waits_gets_it_in_the_order_in_which_they_came() -> None:
    async def test(served: Served) -> None:
        first, second = await queued(served), await queued(served)
        apply(served, LockRelease(b"l", 1))
        answer = await first.receive()
        assert (answer.status, answer.json["token"]) == (200, 4)
        apply(served, LockRelease(b"l", 4))
        assert (await second.receive()).json == {"token": 5, "ttl_ms": 1000}

    play(test)


def test_a_wait_that_ends_has_left_the_queue() -> None:
    async def test(served: Served) -> None:
        client = await served.connect()
        await client.send(request("POST", "/v1/locks/l?ttl=1s&wait=50ms"))
        await until(lambda: waiting(served) == 1)
        tick(served, 1050)
        refused(await client.receive(), "lock held")
        assert waiting(served) == 0

    play(test)


def test_the_node_says_that_its_client_still_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.service.locks.STAY_S", 0.0)
    monkeypatch.setattr("raftcache.service.locks.LOOK_S", 0.01)

    async def test(served: Served) -> None:
        apply(served, LockAcquire(b"long", 80_000))
        client = await served.connect()
        await client.send(request("POST", "/v1/locks/long?ttl=1s&wait=60s"))
        for _ in range(3):
            said = len(served.kv.commands)
            await until(lambda said=said: len(served.kv.commands) > said + 1)
            served.kv.time_ms += LOCK_PLACE_MS - 1
        assert served.kv.machine.lock(b"long").waiting == 1

    play(test)


def test_a_client_that_left_has_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.service.locks.LOOK_S", 0.01)

    async def test(served: Served) -> None:
        gone, stays = await queued(served), await queued(served)
        await gone.close()
        await until(lambda: waiting(served) == 1)
        apply(served, LockRelease(b"l", 1))
        assert (await stays.receive()).status == 200

    play(test)


def test_a_retry_comes_to_the_same_place_and_the_first_node_cannot_take_it_away() -> None:
    async def test(served: Served) -> None:
        once = {"Idempotency-Key": "one"}
        first = await queued(served, once)
        again = await served.connect()
        await again.send(request("POST", WAITING, b"v", once))
        await until(lambda: "LockStay" in str(served.kv.commands))
        assert waiting(served) == 1
        await first.close()
        await until(lambda: "LockLeave" in str(served.kv.commands))
        apply(served, LockRelease(b"l", 1))
        answer = await again.receive()
        assert (answer.status, answer.json["token"]) == (200, 3)
        assert answer.headers["idempotency-replayed"] == "true"
        late = await served.ask("POST", WAITING, b"v", once)
        assert (late.status, late.json["token"]) == (200, 3), "and never a second hold"

    play(test)


def test_who_is_not_the_only_one_to_wait_at_a_place_cannot_take_it_away() -> None:
    """The client has gone to another node, and the first one learns late that it is left."""

    async def test(served: Served) -> None:
        await queued(served)
        first, other = _Wait(served.kv, b"l", 2, 0), _Wait(served.kv, b"l", 2, None)
        await other.stay()
        await first.stay()  # the last word is that of the first
        first.leave()
        assert waiting(served) == 1
        other.leave()
        assert waiting(served) == 1
        await first.stay()
        apply(served, LockRelease(b"l", 1))  # granted, which the first does not know yet
        first.leave()
        assert served.kv.machine.lock(b"l").token == 3

    play(test)


def test_who_is_alone_at_a_place_takes_it_with_him() -> None:
    async def test(served: Served) -> None:
        await queued(served)
        wait = _Wait(served.kv, b"l", 2, 0)
        await wait.stay()
        await wait.stay()
        wait.leave()
        assert waiting(served) == 0

    play(test)


@pytest.mark.parametrize("error", [NotLeader(), Unknown()])
def test_a_retry_that_could_not_say_that_it_waits_is_unknown(
    error: NotLeader | Unknown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node it was at first may yet take the place away, even if the lock is granted to it."""

    async def test(served: Served) -> None:
        once = {"Idempotency-Key": "one"}
        await queued(served, once)
        apply(served, LockRelease(b"l", 1))
        write = served.kv.write

        def stays_fail(command: Command, done: Callable[[Outcome], None]) -> None:
            if isinstance(command, LockStay):
                done(error)
            else:
                write(command, done)

        monkeypatch.setattr(served.kv, "write", stays_fail)
        answer = await served.ask("POST", WAITING, b"v", once)
        assert (answer.status, answer.json["definite"]) == (503, False)
        monkeypatch.setattr(served.kv, "write", write)
        answer = await served.ask("POST", WAITING, b"v", once)
        assert (answer.status, answer.json["token"]) == (200, 3)

    play(test)


def test_a_node_that_stops_sends_those_who_wait_elsewhere() -> None:
    async def test(served: Served) -> None:
        client = await queued(served)
        served.locks.stop()
        answer = await client.receive()
        assert (answer.status, answer.json["definite"]) == (503, False)
        assert waiting(served) == 1, "a retry with the same key finds its place"

    play(test)


def test_limits_are_answered_with_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.lock_commands.LOCK_QUEUE_MAX", 0)

    async def test(served: Served) -> None:
        refused(await served.ask("POST", WAITING), "too many requests", 429)
        value = await served.ask("POST", "/v1/locks/m?ttl=1s", bytes(513))
        refused(value, "too large", 413)

    play(test)


# Following.


def test_a_follower_is_told_of_each_new_holder() -> None:
    async def test(served: Served) -> None:
        client = await served.connect()
        await client.send(request("GET", "/v1/locks/l?since=1&wait=60s"))
        await queued(served)
        apply(served, LockRelease(b"l", 1))
        assert (await client.receive()).json["token"] == 3
        seen = await client.ask(request("GET", "/v1/locks/l?since=1&wait=60s"))
        assert (seen.json["token"], seen.json["value_base64"]) == (3, "dg==")
        await client.send(request("GET", "/v1/locks/l?since=3&wait=60s"))
        tick(served, served.kv.time_ms + 1000)
        assert (await client.receive()).json["token"] == 0

    play(test)


def test_a_follower_that_waited_long_enough_is_told_what_there_is() -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("GET", "/v1/locks/l?since=1&wait=1ms")
        assert (answer.status, answer.json["token"]) == (200, 1)
        answer = await served.ask("GET", "/v1/locks/other?since=0&wait=1ms")
        assert (answer.status, answer.json["token"]) == (200, 0)

    play(test)


@pytest.mark.parametrize(
    ("method", "target", "why"),
    [
        ("POST", "/v1/locks/l", "ttl is missing"),
        ("POST", "/v1/locks/l?ttl=99ms", "a time to live here is 100 to"),
        ("POST", "/v1/locks/l?ttl=1s&wait=301s", "wait='301s' is more than 300000 ms"),
        ("POST", "/v1/locks/l?ttl=1s&wait=0s", "wait='0s' is not from 1 ms"),
        ("POST", "/v1/locks/l?ttl=1s&lock_delay=61s", "a lock delay is 0 to 60000 ms"),
        ("POST", "/v1/locks/l?ttl=1s&token=1", "unknown query parameter 'token'"),
        ("POST", "/v1/locks/l?ttl=1s&owner=x", "unknown query parameter 'owner'"),
        ("POST", "/v1/locks/?ttl=1s", "a lock's name has 1 to 255 bytes"),
        ("POST", f"/v1/locks/{'x' * 256}?ttl=1s", "a lock's name has 1 to 255 bytes"),
        ("POST", "/v1/locks/%zz?ttl=1s", "broken percent-encoding"),
        ("POST", "/v1/locks/l?op=steal&token=1", "op='steal' is not keepalive"),
        ("POST", "/v1/locks/l?op=keepalive", "token is missing"),
        ("POST", "/v1/locks/l?op=keepalive&token=0", "token='0' is no whole number"),
        ("POST", "/v1/locks/l?op=keepalive&token=1&ttl=5s", "unknown query parameter 'ttl'"),
        ("DELETE", "/v1/locks/l", "token is missing"),
        ("DELETE", "/v1/locks/l?token=me", "token='me' is no whole number"),
        ("DELETE", "/v1/locks/l?token=1&force=1", "unknown query parameter 'force'"),
        ("GET", "/v1/locks/l?wait=1s", "since is missing"),
        ("GET", "/v1/locks/l?since=x&wait=1s", "since='x' is no whole number"),
        ("GET", "/v1/locks/l?since=1&consistency=stale", "whoever waits for a change"),
        ("GET", "/v1/locks/l?consistency=much", "consistency='much' is none of"),
    ],
)
def test_bad_requests_are_told_why(method: str, target: str, why: str) -> None:
    async def test(served: Served) -> None:
        before = served.kv.machine.digest
        answer = await served.ask(method, target)
        assert answer.status == 400, answer.body
        assert why in answer.json["detail"]
        assert served.kv.machine.digest == before

    play(test)


def test_an_error_of_the_service_is_passed_on() -> None:
    async def test(served: Served) -> None:
        served.kv.error = NotLeader("nobody leads")
        for method, target in (("POST", WAITING), ("GET", "/v1/locks/l"), ("DELETE", TOKEN)):
            assert (await served.ask(method, target)).status == 503
        assert (await served.ask("PATCH", "/v1/locks/l")).status == 405

    play(test)


TOKEN = "/v1/locks/l?token=1"
