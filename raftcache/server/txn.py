"""POST /v1/txn: a transaction, and its results."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from raftcache.command.words import (
    Append,
    Delete,
    DeleteRange,
    Expire,
    Found,
    Get,
    Increment,
    LeasedPut,
    Operation,
    Put,
    Range,
    Reply,
    Result,
    Status,
    Stopped,
    TxnReply,
    Wrote,
)
from raftcache.server.connection import to_response
from raftcache.server.json_keys import item_json
from raftcache.server.kv_request import read_once
from raftcache.server.query import only_known, parse_query
from raftcache.server.replies import REASONS, Answer, reply_problem
from raftcache.server.routes import json_response, target_of
from raftcache.server.txn_request import read_txn
from raftcache.service.kv import Kv
from raftcache.service.ranges import Ranges

PATH: Final = "/v1/txn"


class TxnRoutes:
    """Serves the route."""

    def __init__(self, ranges: Ranges, kv: Kv, value_size_bytes_max: int) -> None:
        self._ranges, self._kv = ranges, kv
        self._value_size_bytes_max = value_size_bytes_max

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post(PATH, self.post)

    async def post(self, request: web.Request) -> web.Response:
        """Do it, and word what came of it."""
        target = target_of(request)
        only_known(parse_query(target.partition("?")[2]), ())
        body = await request.read()
        once = read_once("POST", target, request.headers, body)
        txn = read_txn(body, once, self._value_size_bytes_max)
        reply = await self._ranges.execute(txn)
        if not isinstance(reply, TxnReply):
            return to_response(reply_problem(reply))
        if reply.status is Status.ABORTED:
            return to_response(_aborted(reply))
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


def _aborted(reply: TxnReply) -> Answer:
    """The problem of the operation that could not be done, with its place."""
    (stopped,) = reply.results
    assert isinstance(stopped, Stopped)
    branch = "success" if stopped.branch is Status.SUCCEEDED else "failure"
    cause = Reply(stopped.reply.status, reply.revision, replayed=reply.replayed)
    detail = f"{branch}[{stopped.place}]: {REASONS[cause.status]}; nothing was changed"
    return reply_problem(cause, detail, branch=branch, operation=stopped.place)


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
