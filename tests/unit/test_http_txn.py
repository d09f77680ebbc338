"""POST /v1/txn: what it does, what it answers, and every body that means nothing."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from raftcache.command.limits import RANGE_KEYS_MAX, TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX
from raftcache.command.words import Put
from raftcache.errors import Conflict
from tests.support.raw_http import Response, Served, run, serving
from tests.unit.test_http_ranges import Test, apply


def play(test: Test) -> None:
    """With n = 41, text = hello until 1500 ms, at revision 2 and 1000 ms."""

    async def inner() -> None:
        async with serving() as served:
            apply(served, Put(b"n", b"41"), Put(b"text", b"hello", "text/plain", 500))
            await test(served)

    run(inner())


async def post(served: Served, body: object, **headers: str) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return await served.ask("POST", "/v1/txn", data, named)


async def done(served: Served, *success: dict[str, Any]) -> list[Any]:
    answer = await post(served, {"success": success})
    assert answer.status == 200, answer.body
    results: list[Any] = answer.json["results"]
    return results


def test_every_operation_is_answered_in_order() -> None:
    async def test(served: Served) -> None:
        answer = await post(
            served,
            {
                "compare": [{"key": "n", "target": "version", "op": "=", "value": 1}],
                "success": [
                    {"op": "put", "key": "new", "value": "é", "ttl": "2s", "content_type": "a/b"},
                    {"op": "put", "key": "n", "value_base64": "NDI="},
                    {"op": "incr", "key": "n"},
                    {"op": "incr", "key": "n", "by": -3},
                    {"op": "append", "key": "text", "value": "!"},
                    {"op": "expire", "key": "n", "ttl": "3s"},
                    {"op": "touch", "key": "text"},
                    {"op": "persist", "key": "text"},
                    {"op": "get", "key": "new"},
                    {"op": "get", "key": "none"},
                    {"op": "range", "prefix": "n", "keys_only": True, "limit": 1},
                    {"op": "range", "count_only": True},
                    {"op": "delete", "key": "none"},
                    {"op": "delete", "key": "text"},
                    {"op": "delete_range", "start": "n"},
                ],
            },
        )
        assert answer.status == 200, answer.body
        assert (answer.json["succeeded"], answer.json["revision"]) == (True, 3)
        new = {"key": "new", "content_type": "a/b", "revision": 3, "create_revision": 3}
        n = {"key": "n", "lease": None, "content_type": None, "revision": 3, "create_revision": 1}
        assert answer.json["results"] == [
            {"created": True, "version": 1},
            {"created": False, "version": 2},
            {"value": 43},
            {"value": 40},
            {"size": 6},
            {"ttl_ms": 3000},
            {"ttl_ms": 500},
            {"ttl_ms": None},
            {"item": new | {"value_base64": "w6k=", "version": 1, "ttl_ms": 2000, "lease": None}},
            {"item": None},
            {"items": [n | {"version": 2, "ttl_ms": 3000}], "more": True},
            {"count": 3},
            {"deleted": 0},
            {"deleted": 1},
            {"deleted": 2},
        ]
        assert served.kv.machine.count == 0

    play(test)


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        ({"key": "n", "target": "revision", "op": "=", "value": 1}, True),
        ({"key": "n", "target": "create_revision", "op": "<", "value": 1}, False),
        ({"key": "n", "target": "version", "op": ">", "value": 0}, True),
        ({"key": "n", "target": "value", "op": "=", "value": "41"}, True),
        ({"key": "n", "target": "value", "op": "!=", "value_base64": "NDE="}, False),
        ({"key": "n", "target": "exists", "op": "=", "value": True}, True),
        ({"key": "x%2Fy", "target": "exists", "op": "!=", "value": False}, False),
    ],
)
def test_a_compare_chooses_the_branch(compare: dict[str, Any], holds: bool) -> None:
    async def test(served: Served) -> None:
        get = {"op": "get", "key": "n"}
        body = {"compare": [compare], "success": [get], "failure": [get, get]}
        answer = (await post(served, body)).json
        assert (answer["succeeded"], len(answer["results"])) == (holds, 1 if holds else 2)

    play(test)


def test_an_empty_transaction_is_one() -> None:
    async def test(served: Served) -> None:
        answer = await post(served, {})
        assert answer.json == {"succeeded": True, "revision": 2, "results": []}

    play(test)


def test_keys_are_any_bytes() -> None:
    async def test(served: Served) -> None:
        await done(served, {"op": "put", "key": "%FF/%00%25", "value": "v"})
        assert served.kv.machine.get(b"\xff/\0%") is not None
        (found,) = await done(served, {"op": "range", "prefix": "%ff"})
        assert [item["key"] for item in found["items"]] == ["%FF/%00%25"]

    play(test)


@pytest.mark.parametrize(
    ("operation", "status", "title"),
    [
        ({"op": "incr", "key": "text"}, 409, "the value is no integer"),
        ({"op": "incr", "key": "n", "by": (1 << 63) - 1}, 409, "the integer would overflow"),
        ({"op": "touch", "key": "x"}, 404, "no such key"),
        ({"op": "persist", "key": "x"}, 404, "no such key"),
        ({"op": "expire", "key": "x", "ttl": "1s"}, 404, "no such key"),
    ],
)
@pytest.mark.parametrize("branch", ["success", "failure"])
def test_what_cannot_be_done_names_its_place_and_changes_nothing(
    operation: dict[str, Any], status: int, title: str, branch: str
) -> None:
    async def test(served: Served) -> None:
        exists = {"key": "n", "target": "exists", "op": "=", "value": branch == "success"}
        put = {"op": "put", "key": "n", "value": "9"}
        digest = served.kv.machine.digest
        answer = await post(served, {"compare": [exists], branch: [put, operation, put]})
        assert (answer.status, answer.json["title"]) == (status, title)
        assert (answer.json["branch"], answer.json["operation"]) == (branch, 1)
        assert answer.json["detail"].startswith(f"{branch}[1]: ")
        assert answer.json["definite"] is True
        assert served.kv.machine.digest == digest

    play(test)


def test_results_and_ranges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.transactions.RANGE_KEYS_MAX", 1)

    async def test(served: Served) -> None:
        every = {"op": "range"}
        answer = await post(served, {"success": [every]})
        assert (answer.status, answer.json["title"]) == (413, "too many keys")
        size_bytes = TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX
        apply(served, Put(b"page", bytes(size_bytes)))
        body = {"success": [{"op": "get", "key": "page"}]}
        answer = await post(served, body, Idempotency_Key="t")
        assert (answer.status, answer.json["title"]) == (413, "reply too large")
        assert f"or {size_bytes} with an Idempotency-Key" in answer.json["detail"]
        assert (await post(served, body)).status == 200

    play(test)


def test_a_transaction_is_done_once() -> None:
    async def test(served: Served) -> None:
        body = {"success": [{"op": "incr", "key": "n"}, {"op": "get", "key": "n"}]}
        first = await post(served, body, Idempotency_Key="t")
        again = await post(served, body, Idempotency_Key="t")
        assert again.json == first.json
        assert first.json["results"][0] == {"value": 42}
        assert again.headers["idempotency-replayed"] == "true"
        other = await post(served, {}, Idempotency_Key="t")
        assert (other.status, other.json["definite"]) == (422, True)
        failing = {"success": [{"op": "touch", "key": "x"}]}
        for replayed in (None, "true"):
            refused = await post(served, failing, Idempotency_Key="u")
            assert refused.json["operation"] == 0
            assert refused.headers.get("idempotency-replayed") == replayed

    play(test)


def test_a_cluster_that_is_half_upgraded_says_so() -> None:
    async def test(served: Served) -> None:
        served.kv.error = Conflict("upgrade every node first")
        answer = await post(served, {})
        assert (answer.status, answer.json["definite"]) == (409, True)

    play(test)


def op(**fields: Any) -> dict[str, Any]:
    return {"success": [{"op": "get", "key": "n"}, fields]}


def compare(**fields: Any) -> dict[str, Any]:
    return {"compare": [{"key": "n", "target": "version", "op": "=", "value": 1} | fields]}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body must be a transaction in JSON: Input data was truncated"),
        (b"\xff", "the body must be a transaction in JSON"),
        (b"{} {}", "trailing characters"),
        (b'{"success":[],"success":[]}', "in JSON: the field 'success' is given twice"),
        (b'{"success":[{"op":"put","key":"a","value":"1","value":"2"}]}', "'value' is given twice"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"success":' * 2000, "the body must be a transaction in JSON"),
        ({"then": []}, "unknown field `then`"),
        ({"success": {}}, "Expected `array`, got `object` - at `$.success`"),
        ({"failure": [1]}, "Expected `object`, got `int` - at `$.failure[0]`"),
        (op(key="n"), "missing required field `op` - at `$.success[1]`"),
        (op(op="cas", key="n"), "Invalid value 'cas' - at `$.success[1].op`"),
        (op(op="get"), "missing required field `key` - at `$.success[1]`"),
        (op(op="get", key="n", value="v"), "unknown field `value` - at `$.success[1]`"),
        (op(op="get", key=7), "Expected `str`, got `int` - at `$.success[1].key`"),
        (op(op="get", key=""), "success[1]: the key is empty"),
        (op(op="get", key="%F"), "success[1]: broken percent-encoding"),
        (op(op="get", key="ключ"), "success[1]: 'XXX' has characters that must be percent"),
        (op(op="get", key="k" * 1025), "success[1]: a key has at most 1024 bytes"),
        (op(op="put", key="n"), "success[1]: give either value, as text, or value_base64"),
        (op(op="put", key="n", value="v", value_base64=""), "success[1]: give either value"),
        (op(op="put", key="n", value_base64="?"), "success[1]: value_base64 '?' is no base64"),
        (op(op="put", key="n", value_base64="NDI"), "is no base64"),
        (op(op="put", key="n", value="v", ttl="5"), "success[1]: ttl='5' is no duration"),
        (op(op="put", key="n", value="v", ttl="0s"), "success[1]: ttl='0s' is not from 1 ms"),
        (op(op="put", key="n", value="v", content_type="é"), "success[1]: a content type is"),
        (op(op="incr", key="n", by=1.5), "Expected `int`, got `float` - at `$.success[1].by`"),
        (op(op="incr", key="n", by=1 << 63), "success[1]: an increment is a signed 64-bit"),
        (op(op="expire", key="n"), "missing required field `ttl` - at `$.success[1]`"),
        (op(op="expire", key="n", ttl="-1s"), "success[1]: ttl='-1s' is no duration"),
        (op(op="range", prefix="a", end="b"), "success[1]: prefix excludes start and end"),
        (op(op="range", start="b", end="a"), "success[1]: a range starts before its end"),
        (op(op="range", limit=0), "success[1]: limit must be 1 or more"),
        (op(op="range", limit=-1), "success[1]: a limit is 1 to"),
        (op(op="range", limit=RANGE_KEYS_MAX + 1), "success[1]: a limit is 1 to"),
        (op(op="range", count_only=True, limit=1), "success[1]: a count has neither keys nor"),
        (op(op="delete_range"), "success[1]: prefix, start or end must say which keys"),
        (op(op="delete_range", prefix=""), "success[1]: prefix is empty"),
        (op(op="delete_range", all=True, start="a"), "success[1]: all=true excludes start"),
        (compare(target="size"), "compare[0]: target must be one of revision, create_revision"),
        (compare(op=">="), "compare[0]: op must be one of =, !=, <, >"),
        (compare(value="1"), "compare[0]: version is compared with a value that is a number"),
        (compare(value=True), "compare[0]: version is compared with a value that is a number"),
        (compare(value=-1), "compare[0]: revisions, versions and leases are 0 to"),
        (compare(value=None), "compare[0]: version is compared with a value that is a number"),
        (compare(value_base64="MQ=="), "compare[0]: version is compared with a value"),
        (compare(target="exists"), "compare[0]: exists is compared with a value that is true or"),
        (compare(target="exists", value=True, op="<"), "compare[0]: existence is compared by"),
        (compare(target="value"), "compare[0]: a value is compared with text"),
        (compare(target="value", value=None), "compare[0]: give either value"),
        (compare(to=1), "unknown field `to` - at `$.compare[0]`"),
        (compare(key=""), "compare[0]: the key is empty"),
        ({"compare": compare()["compare"] * 129}, "at most 128 compares, this one 129"),
        ({"success": op(op="get", key="n")["success"] * 65}, "at most 128 operations, this one"),
    ],
)
def test_what_no_transaction_can_mean(body: object, why: str) -> None:
    async def test(served: Served) -> None:
        answer = await post(served, body)
        assert (answer.status, answer.json["definite"]) == (400, True), answer.body
        assert why.replace("'XXX'", ascii("ключ")) in answer.json["detail"]
        assert served.kv.commands == []

    play(test)


def test_what_is_wrong_with_the_request_itself() -> None:
    async def test(served: Served) -> None:
        assert (await served.ask("POST", "/v1/txn?dry=1", b"{}")).status == 400
        assert (await served.ask("GET", "/v1/txn")).status == 405
        assert (await post(served, {}, Idempotency_Key="a b")).status == 400
        large = b64encode(bytes(1 << 20)).decode()
        body = {"success": [{"op": "put", "key": "n", "value_base64": large}]}
        assert (await post(served, body)).status == 413

    play(test)
