"""POST /v1/txn: a transaction, and its results."""

from __future__ import annotations

from typing import Any, Final, cast

from aiohttp import web

from raftcache.command.replies import Found, Reply, Result, Status, Stopped, TxnReply, Wrote
from raftcache.command.words import (
    Append,
    Delete,
    DeleteRange,
    Expire,
    Get,
    Increment,
    LeasedPut,
    Operation,
    Put,
    Range,
    Txn,
)
from raftcache.server.bodies import read_body
from raftcache.server.connection import Connection, to_response
from raftcache.server.json_keys import item_json, quota_of
from raftcache.server.kv_request import check_unconditional, read_once
from raftcache.server.replies import REASONS, Answer, reply_problem
from raftcache.server.routes import (
    Body,
    Response,
    Route,
    RouteTable,
    Section,
    json_response,
    target_of,
)
from raftcache.server.shapes import (
    COUNT,
    FLAG,
    IDEMPOTENCY_KEY,
    INTEGER,
    ITEM,
    REPLAYED,
    REVISION,
    WRITE_REFUSALS,
    array,
    maybe,
    one_of,
    possibly,
    problem,
    record,
)
from raftcache.server.txn_request import Transaction, read_txn
from raftcache.service.kv import Kv
from raftcache.service.ranges import Ranges

TRANSACTIONS: Final = Section(
    "Transactions",
    """
If all compares hold, the operations of `success` are done, else those of `failure`; all of them in
one revision, or nothing at all. Operations see what those before them did.

A compare has `key`, `op` (`=`, `!=`, `<`, `>`; what the key has stands on the left) and `target`:

| target | compared with | of an absent key |
| --- | --- | --- |
| `revision`, `create_revision`, `version` | `value`, a number | 0 |
| `exists` | `value`, true or false; `=` and `!=` only | false |
| `lease` | `value`, a number | 0, as of a key without one |
| `value` | `value`, a text, or `value_base64` | no comparison holds, `!=` neither |

| operation | fields beside `op` | its result |
| --- | --- | --- |
| `put` | `key`, `value` or `value_base64`; `ttl` or `lease`, `content_type` \
| `{"created":true,"version":1}` |
| `delete` | `key` | `{"deleted":1}` |
| `incr` | `key`; `by` | `{"value":42}` |
| `append` | `key`, `value` or `value_base64` | `{"size":11}` |
| `expire`, `persist`, `touch` | `key`; for `expire` a `ttl` | `{"ttl_ms":300000}` |
| `get` | `key` | `{"item":{...}}` as in a listing, or `null` |
| `range` | `prefix`, or `start` and `end`; `limit`, `keys_only`, `count_only` \
| `{"items":[...],"more":false}` or `{"count":17}` |
| `delete_range` | `prefix`, or `start` and `end`, or `"all":true` | `{"deleted":17}` |

An operation that cannot be done (no integer, an overflow, `expire` of a key that is not there ...)
undoes everything. The problem has the status of its cause (404, 409, 413) and names the place:
`"branch":"success"`, `"operation":1`, and both at the beginning of `detail`. What is no transaction
is a 400 that names the field, as in ``Object contains unknown field `then` `` or
`success[1]: ttl='5' is no duration`.

| limit | |
| --- | --- |
| compares; operations of both branches | 128; 128 |
| the body | `--value-size-max` |
| keys that the ranges of one transaction touch | 10,000 |
| what is read | 4 MiB; with an `Idempotency-Key` 16 KiB, for every node remembers the answer |

Transactions and range deletes need nodes that know them: while a node of an older version has a
vote, they are refused with 409; and with 503 for a moment after a new cluster's first start, until
every node has said so.
""",
)

_RESULT: Final = {
    "anyOf": [
        record(created=FLAG, version=COUNT),
        record(deleted=COUNT),
        record(value=INTEGER),
        record(size=COUNT),
        record(ttl_ms=maybe(COUNT)),
        record(item={"anyOf": [ITEM, {"type": "null"}]}),
        record(items=array(ITEM), more=FLAG),
        record(count=COUNT),
    ]
}
_PLACE: Final = {"branch": one_of("success", "failure"), "operation": COUNT}

TXN: Final = Route(
    "POST",
    "/v1/txn",
    TRANSACTIONS,
    "Do a transaction",
    """
The answer is 200 for both branches, with a result for each operation in order. `revision` is that
of the changes, or the store's if there was none.
""",
    (
        Response(
            200,
            "One of the branches is done.",
            record(succeeded=FLAG, revision=REVISION, results=array(_RESULT)),
            headers=(REPLAYED,),
            example={
                "succeeded": True,
                "revision": 44,
                "results": [{"value": 41}, {"created": True, "version": 1}],
            },
        ),
        problem(404, "An operation needs a key that is not there.", **_PLACE),
        possibly(
            409,
            "An operation met no integer, or an overflow; without a place: a node of an older"
            " version, which does not know transactions, has a vote.",
            **_PLACE,
        ),
        possibly(413, "A value, the body, the keys touched or the answer are too large.", **_PLACE),
        *WRITE_REFUSALS,
    ),
    """
curl -X PUT --data-binary '3' 'http://127.0.0.1:7401/v1/kv/stock'
curl -X POST -H 'Idempotency-Key: order-18' http://127.0.0.1:7402/v1/txn -d '{
  "compare":[{"key":"stock","target":"value","op":"!=","value":"0"}],
  "success":[{"op":"incr","key":"stock","by":-1},{"op":"put","key":"order/18","value":"Ada"}],
  "failure":[{"op":"get","key":"stock"}]}'
""",
    (IDEMPOTENCY_KEY,),
    Body("The compares, and the operations of both branches.", Transaction),
)


class TxnRoutes:
    """Serves the route."""

    def __init__(self, ranges: Ranges, kv: Kv, value_size_bytes_max: int) -> None:
        self._ranges, self._kv = ranges, kv
        self._value_size_bytes_max = value_size_bytes_max

    def add_to(self, table: RouteTable) -> None:
        table.add(TXN, self.post)

    async def post(self, request: web.Request) -> web.Response:
        """Do it, and word what came of it."""
        TXN.query(request)
        check_unconditional(request.headers)
        cast("Connection", request.protocol).answer_more()  # later it would be done already
        body = await read_body(request)
        once = read_once("POST", target_of(request), request.headers, body)
        txn = read_txn(body, once, self._value_size_bytes_max)
        reply = await self._ranges.execute(txn)
        if not isinstance(reply, TxnReply):
            return to_response(reply_problem(reply))
        if reply.status is Status.ABORTED:
            return to_response(_aborted(txn, reply))
        succeeded = reply.status is Status.SUCCEEDED
        branch, now_ms = txn.success if succeeded else txn.failure, self._kv.now_ms()
        results = [
            _result(operation, result, now_ms)
            for operation, result in zip(branch, reply.results, strict=True)
        ]
        response = json_response(
            {"succeeded": succeeded, "revision": reply.revision, "results": results}
        )
        if reply.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response


def _aborted(txn: Txn, reply: TxnReply) -> Answer:
    """The problem of the operation that could not be done, with its place."""
    (stopped,) = reply.results
    assert isinstance(stopped, Stopped)
    branch = "success" if stopped.branch is Status.SUCCEEDED else "failure"
    operation = (txn.success if branch == "success" else txn.failure)[stopped.place]
    number = stopped.reply.number
    cause = Reply(stopped.reply.status, reply.revision, number=number, replayed=reply.replayed)
    more = quota_of(cause, getattr(operation, "key", b""))
    detail = f"{branch}[{stopped.place}]: {REASONS[cause.status]}; nothing was changed"
    return reply_problem(cause, detail, branch=branch, operation=stopped.place, **more)


def _result(operation: Operation, result: Result, now_ms: int) -> dict[str, Any]:
    if isinstance(result, Found):
        return _found(operation, result, now_ms)
    assert isinstance(result, Wrote)
    reply = result.reply
    left_ms = max(0, reply.deadline_ms - now_ms) if reply.deadline_ms else None
    match operation:
        case Put() | LeasedPut():
            created = reply.status is Status.CREATED
            return {"created": created, "version": reply.version}
        case Delete() | DeleteRange():
            return {"deleted": reply.count}
        case Increment():
            return {"value": reply.number}
        case Append():
            return {"size": reply.number}
        case Expire():
            return {"ttl_ms": operation.ttl_ms}
        case _:
            return {"ttl_ms": left_ms}


def _found(operation: Operation, found: Found, now_ms: int) -> dict[str, Any]:
    if isinstance(operation, Get):
        items = [item_json(key, item, now_ms) for key, item in found.entries]
        return {"item": items[0] if items else None}
    assert isinstance(operation, Range)
    if operation.count_only:
        return {"count": found.count}
    keys_only = operation.keys_only
    items = [item_json(key, item, now_ms, keys_only=keys_only) for key, item in found.entries]
    return {"items": items, "more": found.more}
