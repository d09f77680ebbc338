"""/v1/quotas: what is shown, what is set, and how a write over a quota is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
import pytest

from raftcache.command.limits import QUOTAS_MAX
from raftcache.errors import NotLeader
from tests.support.raw_http import Response, Served, run, serving

Test = Callable[[Served], Awaitable[None]]


def play(test: Test) -> None:
    async def inner() -> None:
        async with serving() as served:
            await test(served)

    run(inner())


async def put(
    served: Served, prefix: str, headers: dict[str, str] | None = None, **limits: int
) -> Response:
    return await served.ask("PUT", f"/v1/quotas/{prefix}", orjson.dumps(limits), headers)


async def keep(served: Served, key: str, value: bytes = b"") -> Response:
    return await served.ask("PUT", f"/v1/kv/{key}", value)


def test_quotas_are_set_shown_and_taken_away() -> None:
    async def test(served: Served) -> None:
        await keep(served, "user:1", b"v")
        created = await put(served, "user:", keys_max=10)
        assert (created.status, created.json) == (201, {"created": True})
        assert (await put(served, "user:", size_bytes_max=100)).json == {"created": False}
        await put(served, "", keys_max=5)
        everything = {
            "prefix": "",
            "keys_max": 5,
            "size_bytes_max": None,
            "keys": 1,
            "size_bytes": 41,
            "counting": False,
        }
        users = everything | {"prefix": "user:", "keys_max": None, "size_bytes_max": 100}
        shown = await served.ask("GET", "/v1/quotas")
        assert (shown.status, shown.json) == (200, {"quotas": [everything, users]})
        assert (await served.ask("GET", "/v1/quotas/user:")).json == users
        assert (await served.ask("GET", "/v1/quotas/user%3A")).json == users
        assert (await served.ask("GET", "/v1/quotas/")).json == everything
        for deleted in (1, 0):
            answer = await served.ask("DELETE", "/v1/quotas/user:")
            assert (answer.status, answer.json) == (200, {"deleted": deleted})
        missing = await served.ask("GET", "/v1/quotas/user:")
        assert (missing.status, missing.json["title"]) == (404, "not found")

    play(test)


def test_a_prefix_may_hold_any_bytes() -> None:
    async def test(served: Served) -> None:
        await put(served, "a%2Fb%FF/", keys_max=1)
        (shown,) = (await served.ask("GET", "/v1/quotas")).json["quotas"]
        assert shown["prefix"] == "a/b%FF/"
        await keep(served, "a/b%FF/1")
        refused = await keep(served, "a%2fb%ff/2")
        assert (refused.status, refused.json["quota"]) == (507, "a/b%FF/")

    play(test)


def test_a_write_over_a_quota_is_refused_with_its_name() -> None:
    async def test(served: Served) -> None:
        await put(served, "user:", keys_max=1)
        await put(served, "", size_bytes_max=100)
        assert (await keep(served, "user:1")).status == 201
        keys = await keep(served, "user:2")
        assert keys.status == 507
        assert keys.json == {
            "type": "urn:raftcache:quota-exceeded",
            "title": "quota exceeded",
            "status": 507,
            "detail": "the quota on keys of a prefix is used up",
            "definite": True,
            "quota": "user:",
        }
        size = await keep(served, "other", bytes(100))
        assert size.json["detail"] == "the quota on bytes of a prefix is used up"
        assert (size.status, size.json["quota"]) == (507, "")

    play(test)


def test_a_transaction_over_a_quota_names_operation_and_quota() -> None:
    async def test(served: Served) -> None:
        await put(served, "user:", keys_max=1)
        operations = [{"op": "put", "key": f"user:{i}", "value": ""} for i in (1, 2)]
        body = orjson.dumps({"success": operations})
        answer = await served.ask("POST", "/v1/txn", body)
        assert (answer.status, answer.json["title"]) == (507, "quota exceeded")
        assert answer.json["operation"] == 1
        assert answer.json["quota"] == "user:"
        assert answer.json["definite"] is True
        assert served.kv.machine.count == 0

    play(test)


def test_a_change_may_be_sent_again() -> None:
    async def test(served: Served) -> None:
        once = {"Idempotency-Key": "one"}
        first = await put(served, "p", once, keys_max=1)
        again = await put(served, "p", once, keys_max=1)
        assert first.json == again.json == {"created": True}
        assert again.headers["idempotency-replayed"] == "true"
        assert (await put(served, "p", once, keys_max=2)).status == 422

    play(test)


def test_there_are_only_so_many() -> None:
    async def test(served: Served) -> None:
        for number in range(QUOTAS_MAX):
            await put(served, f"{number}", keys_max=1)
        answer = await put(served, "more", keys_max=1)
        assert (answer.status, answer.json["title"]) == (409, "too many quotas")
        assert answer.json["detail"] == f"there are {QUOTAS_MAX} quotas already"

    play(test)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("PUT", "p", b"", 400, "the body must be JSON of this call"),
        ("PUT", "p", b'{"keys_max":1,"keys_max":2}', 400, "the field 'keys_max' is given twice"),
        ("PUT", "p", b"[]", 400, "the body must be JSON of this call"),
        ("PUT", "p", b"{}", 400, "keys_max or size_bytes_max must say"),
        ("PUT", "p", b'{"keys_max":null}', 400, "keys_max or size_bytes_max must say"),
        ("PUT", "p", b'{"keys_max":-1}', 400, "`int` >= 0 - at `$.keys_max`"),
        ("PUT", "p", b'{"keys_max":1.5}', 400, "the body must be JSON of this call"),
        ("PUT", "p", b'{"keys_max":"1"}', 400, "the body must be JSON of this call"),
        ("PUT", "p", b'{"keys_max":true}', 400, "the body must be JSON of this call"),
        ("PUT", "p", b'{"keys_max":9223372036854775808}', 400, "at `$.keys_max`"),
        ("PUT", "p", b'{"size_bytes_max":-5}', 400, "at `$.size_bytes_max`"),
        ("PUT", "p", b'{"keys_max":1,"bytes":2}', 400, "unknown field `bytes`"),
        ("PUT", "p?x=1", b'{"keys_max":1}', 400, "x"),
        ("PUT", "p%2", b'{"keys_max":1}', 400, "percent"),
        ("PUT", "k" * 1025, b'{"keys_max":1}', 414, "a prefix has at most 1024 bytes"),
        ("DELETE", "p", b"x", 400, "DELETE takes no body"),
        ("DELETE", "p?x=1", b"", 400, "x"),
        ("DELETE", "k" * 1025, b"", 414, "a prefix has at most 1024 bytes"),
        ("GET", "p?x=1", b"", 400, "x"),
        ("POST", "p", b"", 405, ""),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    method: str, path: str, body: bytes, status: int, said: str
) -> None:
    async def test(served: Served) -> None:
        digest = served.kv.machine.digest
        answer = await served.ask(method, f"/v1/quotas/{path}", body)
        assert answer.status == status, answer.body
        assert said in answer.json["detail"]
        assert served.kv.machine.digest == digest

    play(test)


def test_without_a_leader_nothing_is_shown() -> None:
    async def test(served: Served) -> None:
        served.kv.error = NotLeader()
        for method, body in (("GET", b""), ("PUT", b'{"keys_max":1}')):
            assert (await served.ask(method, "/v1/quotas/p", body)).status == 503

    play(test)
