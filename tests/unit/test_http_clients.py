"""/v1/clients, and writes with numbers wherever a key may stand."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest

from raftcache.command.clients import ClientLeave, ClientRegister
from raftcache.command.limits import CLIENT_IDLE_MS, CLIENT_REQUESTS_MAX
from raftcache.command.words import Number
from raftcache.errors import Conflict
from tests.support.raw_http import Response, Served, run, serving
from tests.unit.test_http_ranges import apply

Test = Callable[[Served], Awaitable[None]]


def play(test: Test) -> None:
    """There is client 1."""

    async def inner() -> None:
        async with serving() as served:
            apply(served, ClientRegister())
            await test(served)

    run(inner())


def numbered(number: int, pending_from: int = 1, client: int = 1) -> dict[str, str]:
    return {"Idempotency-Key": f"client={client} number={number} pending-from={pending_from}"}


def told(answer: Response) -> tuple[int, object, object]:
    return answer.status, answer.json["title"], answer.json["definite"]


def test_a_client_comes_and_goes() -> None:
    async def test(served: Served) -> None:
        came = await served.ask("POST", "/v1/clients")
        limits = {"idle_ms": CLIENT_IDLE_MS, "requests_max": CLIENT_REQUESTS_MAX}
        assert (came.status, came.json) == (201, {"client": 2, **limits})
        left = await served.ask("DELETE", "/v1/clients/2")
        assert (left.status, left.json) == (200, {"deleted": 1, "revision": 2})
        assert (await served.ask("DELETE", "/v1/clients/2")).json["deleted"] == 0

    play(test)


WRITES = [
    ("PUT", "/v1/kv/k", b"v"),
    ("POST", "/v1/kv/n?op=incr", b""),
    ("DELETE", "/v1/kv/k", b""),
    ("DELETE", "/v1/kv?prefix=k", b""),
    ("POST", "/v1/txn", json.dumps({"success": [{"op": "incr", "key": "n"}]}).encode()),
    ("POST", "/v1/leases?ttl=30s", b""),
    ("POST", "/v1/locks/l?ttl=30s", b"me"),
    ("PUT", "/v1/quotas/k", b'{"keys_max": 7}'),
]


@pytest.mark.parametrize(("method", "target", "body"), WRITES)
def test_a_write_with_a_number_is_done_once(method: str, target: str, body: bytes) -> None:
    async def test(served: Served) -> None:
        first = await served.ask(method, target, body, numbered(1))
        assert first.status < 300, first.body
        assert "idempotency-replayed" not in first.headers
        revision = served.kv.machine.revision
        again = await served.ask(method, target, body, numbered(1))
        assert (again.status, again.json) == (first.status, first.json)
        assert again.headers["idempotency-replayed"] == "true"
        assert served.kv.machine.revision == revision
        assert (await served.ask(method, target, body, numbered(2, 2))).status < 500
        late = await served.ask(method, target, body, numbered(1))
        assert told(late) == (410, "answered before", False)
        stranger = await served.ask(method, target, body, numbered(1, 1, 99))
        assert told(stranger) == (410, "client forgotten", False)
        far = await served.ask(method, target, body, numbered(CLIENT_REQUESTS_MAX + 2, 2))
        assert told(far) == (429, "too many requests pending", True)
        assert far.headers["retry-after"] == "1"

    play(test)


def test_another_request_with_the_number_is_refused() -> None:
    async def test(served: Served) -> None:
        await served.ask("PUT", "/v1/kv/k", b"v", numbered(1))
        other = await served.ask("PUT", "/v1/kv/k", b"w", numbered(1))
        assert other.status == 422
        lower = await served.ask("PUT", "/v1/kv/k", b"v", numbered(1, 1))
        assert lower.status == 201, "where it waits from is no part of what was asked"

    play(test)


@pytest.mark.parametrize(
    ("mark", "about"),
    [
        ("client=1 number=1", "or client=ID number=N pending-from=N"),
        ("client=1  number=1 pending-from=1", "visible characters"),
        ("client=0 number=1 pending-from=1", "visible characters"),
        ("client=1 number=01 pending-from=1", "visible characters"),
        ("client=1 number=1 pending-from=2", "a client waits for the request that it sends"),
        ("client=1 number=9999999999999999999 pending-from=1", "a client waits for"),
        ("client=9999999999999999999 number=1 pending-from=1", "the id of a client is"),
    ],
)
def test_what_is_no_number_is_refused(mark: str, about: str) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("PUT", "/v1/leases", b"", {"Idempotency-Key": mark})
        assert answer.status == 405
        answer = await served.ask("POST", "/v1/leases?ttl=30s", b"", {"Idempotency-Key": mark})
        assert (answer.status, answer.json["definite"]) == (400, True)
        assert about in answer.json["detail"]
        assert served.kv.commands == []

    play(test)


@pytest.mark.parametrize("mark", ["key", "client=1 number=1 pending-from=1"])
@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/v1/clients"), ("DELETE", "/v1/clients/1")]
)
def test_clients_come_and_go_without_a_key(method: str, target: str, mark: str) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask(method, target, b"", {"Idempotency-Key": mark})
        assert answer.status == 400
        assert "without an idempotency key" in answer.json["detail"]

    play(test)


def test_an_older_voter_is_told_of() -> None:
    async def test(served: Served) -> None:
        served.kv.error = Conflict("this needs commands of version 6")
        answer = await served.ask("POST", "/v1/clients")
        assert told(answer) == (409, "conflict", True)

    play(test)


def test_what_a_number_becomes() -> None:
    async def test(served: Served) -> None:
        await served.ask("PUT", "/v1/kv/k", b"v", numbered(7, 5))
        (put,) = served.kv.commands
        assert put.once.token == Number(1, 7, 5)  # type: ignore[union-attr]
        await served.ask("DELETE", "/v1/clients/1")
        assert served.kv.commands[1:] == [ClientLeave(1)]

    play(test)
