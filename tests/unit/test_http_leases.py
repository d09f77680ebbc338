"""/v1/leases, and keys with a lease: what they answer, and everything that means nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest

from raftcache.command.leasing import LeaseGrant
from raftcache.command.limits import LEASES_SHOWN_MAX
from raftcache.command.words import LeasedPut
from raftcache.errors import NotLeader
from tests.support.raw_http import Response, Served, run, serving
from tests.unit.test_http_ranges import apply

Test = Callable[[Served], Awaitable[None]]


def play(test: Test) -> None:
    """At 1000 ms there is lease 1 until 2000."""

    async def inner() -> None:
        async with serving() as served:
            apply(served, LeaseGrant(1000))
            await test(served)

    run(inner())


def test_the_life_of_a_lease() -> None:
    async def test(served: Served) -> None:
        granted = await served.ask("POST", "/v1/leases?ttl=30s")
        assert (granted.status, granted.json) == (201, {"lease": 2, "ttl_ms": 30_000})
        put = await served.ask("PUT", "/v1/kv/a%20b?lease=2", b"v")
        assert (put.status, put.headers["x-raftcache-ttl-ms"]) == (201, "30000")
        got = await served.ask("GET", "/v1/kv/a%20b")
        assert (got.body, got.headers["x-raftcache-lease"]) == (b"v", "2")
        assert got.headers["x-raftcache-ttl-ms"] == "30000"
        served.kv.time_ms += 10_000
        shown = await served.ask("GET", "/v1/leases/2")
        lease = {"lease": 2, "ttl_ms": 20_000, "granted_ttl_ms": 30_000, "key_count": 1}
        assert shown.json == lease | {"keys": ["a%20b"]}
        assert (await served.ask("GET", "/v1/leases")).json == {"leases": [lease], "more": False}
        kept = await served.ask("POST", "/v1/leases/2?op=keepalive")
        assert (kept.status, kept.json) == (200, {"lease": 2, "ttl_ms": 30_000})
        revoked = await served.ask("DELETE", "/v1/leases/2")
        assert (revoked.status, revoked.json["deleted"]) == (200, 1)
        assert (await served.ask("GET", "/v1/kv/a%20b")).status == 404

    play(test)


def test_an_overdue_lease_is_shown_to_nobody() -> None:
    async def test(served: Served) -> None:
        apply(served, LeasedPut(b"k", b"v", 1))
        served.kv.time_ms = 2000
        assert (await served.ask("GET", "/v1/leases/1")).status == 404
        assert served.kv.machine.now_ms == 2000, "a tick was committed first"
        assert (await served.ask("GET", "/v1/kv/k")).status == 404

    play(test)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/leases/9"),
        ("POST", "/v1/leases/9?op=keepalive"),
        ("DELETE", "/v1/leases/9"),
        ("PUT", "/v1/kv/k?lease=9"),
    ],
)
def test_what_needs_a_lease_misses_it(method: str, target: str) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask(method, target)
        assert (answer.status, answer.json["title"]) == (404, "no such lease")
        assert answer.json.get("definite") is (None if method == "GET" else True)

    play(test)


def test_a_put_without_a_lease_takes_the_key_off_it() -> None:
    async def test(served: Served) -> None:
        await served.ask("PUT", "/v1/kv/k?lease=1", b"v")
        await served.ask("PUT", "/v1/kv/k", b"w")
        assert "x-raftcache-lease" not in (await served.ask("GET", "/v1/kv/k")).headers
        assert (await served.ask("GET", "/v1/leases/1")).json["keys"] == []

    play(test)


def test_listings_and_transactions_know_leases() -> None:
    async def test(served: Served) -> None:
        put = {"op": "put", "key": "k", "value": "v", "lease": 1}
        has = {"key": "k", "target": "lease", "op": "=", "value": 1}
        none = {"key": "k", "target": "exists", "op": "=", "value": False}
        done = await txn(served, {"compare": [none], "success": [put]})
        assert done.json["results"] == [{"created": True, "version": 1}]
        done = await txn(served, {"compare": [has], "success": [{"op": "get", "key": "k"}]})
        item = done.json["results"][0]["item"]
        assert (item["lease"], item["ttl_ms"]) == (1, 1000)
        (entry,) = (await served.ask("GET", "/v1/kv")).json["items"]
        assert (entry["lease"], entry["ttl_ms"]) == (1, None)
        lost = await txn(served, {"success": [put | {"lease": 9}]})
        assert (lost.status, lost.json["title"], lost.json["operation"]) == (
            404,
            "no such lease",
            0,
        )
        both = await txn(served, {"success": [put | {"ttl": "1s"}]})
        assert (both.status, both.json["detail"]) == (
            400,
            "success[0]: ttl and lease exclude each other",
        )

    play(test)


async def txn(served: Served, body: object) -> Response:
    return await served.ask("POST", "/v1/txn", json.dumps(body).encode())


def test_a_retry_is_answered_as_the_first_time() -> None:
    async def test(served: Served) -> None:
        once = {"Idempotency-Key": "one"}
        first = await served.ask("POST", "/v1/leases?ttl=30s", headers=once)
        again = await served.ask("POST", "/v1/leases?ttl=30s", headers=once)
        assert (again.status, again.json) == (201, first.json)
        assert again.headers["idempotency-replayed"] == "true"
        other = await served.ask("POST", "/v1/leases?ttl=31s", headers=once)
        assert other.status == 422

    play(test)


def test_a_limit_is_answered_with_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.lease_commands.LEASES_MAX", 1)
    monkeypatch.setattr("raftcache.state.operations.LEASE_KEYS_MAX", 0)

    async def test(served: Served) -> None:
        for method, target in (("POST", "/v1/leases?ttl=1s"), ("PUT", "/v1/kv/k?lease=1")):
            answer = await served.ask(method, target)
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert answer.json["definite"] is True

    play(test)


def test_a_list_of_leases_has_pages() -> None:
    async def test(served: Served) -> None:
        apply(served, *[LeaseGrant(1000)] * LEASES_SHOWN_MAX)
        page = (await served.ask("GET", "/v1/leases")).json
        assert ([lease["lease"] for lease in page["leases"]][-1], page["more"]) == (1000, True)
        page = (await served.ask("GET", "/v1/leases?after=1000")).json
        assert ([lease["lease"] for lease in page["leases"]], page["more"]) == ([1001], False)

    play(test)


@pytest.mark.parametrize(
    ("method", "target", "body", "why"),
    [
        ("POST", "/v1/leases", b"", "ttl is missing"),
        ("POST", "/v1/leases?ttl=soon", b"", "ttl='soon' is no duration"),
        ("POST", "/v1/leases?ttl=99ms", b"", "a time to live here is 100 to"),
        ("POST", "/v1/leases?ttl=25h", b"", "a time to live here is 100 to"),
        ("POST", "/v1/leases?ttl=1s&id=7", b"", "unknown query parameter 'id'"),
        ("POST", "/v1/leases?ttl=1s", b"x", "this call takes no body"),
        ("POST", "/v1/leases/1", b"", "op='' is not keepalive"),
        ("POST", "/v1/leases/1?op=extend", b"", "op='extend' is not keepalive"),
        ("POST", "/v1/leases/1?op=keepalive&ttl=5s", b"", "unknown query parameter 'ttl'"),
        ("POST", "/v1/leases/x?op=keepalive", b"", "lease='x' is no whole number"),
        ("DELETE", "/v1/leases/01", b"", "lease='01' is no whole number"),
        ("DELETE", "/v1/leases/1?force=1", b"", "unknown query parameter 'force'"),
        ("DELETE", "/v1/leases/1", b"x", "this call takes no body"),
        ("GET", "/v1/leases/-1", b"", "lease='-1' is no whole number"),
        ("GET", "/v1/leases?limit=1", b"", "unknown query parameter 'limit'"),
        ("GET", "/v1/leases?after=x", b"", "after='x' is no whole number"),
        ("GET", "/v1/leases?consistency=much", b"", "consistency='much' is none of"),
        ("GET", "/v1/leases/1?max_staleness=1s", b"", "max_staleness goes with"),
    ],
)
def test_bad_requests_are_told_why(method: str, target: str, body: bytes, why: str) -> None:
    async def test(served: Served) -> None:
        before = served.kv.machine.digest
        answer = await served.ask(method, target, body)
        assert answer.status == 400, answer.body
        assert why in answer.json["detail"]
        assert served.kv.machine.digest == before

    play(test)


def test_an_error_of_the_service_is_passed_on() -> None:
    async def test(served: Served) -> None:
        served.kv.error = NotLeader("nobody leads")
        for method, target in (("POST", "/v1/leases?ttl=1s"), ("GET", "/v1/leases")):
            assert (await served.ask(method, target)).status == 503
        assert (await served.ask("PATCH", "/v1/leases")).status == 405

    play(test)
