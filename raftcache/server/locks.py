"""/v1/locks/{name}: to hold something alone, or to see who does."""

from __future__ import annotations

from base64 import b64encode
from functools import partial
from typing import Any, Final

from aiohttp import web

from raftcache.command.codec import check
from raftcache.command.leasing import LockAcquire, LockKeepAlive, LockRelease, LockView
from raftcache.command.limits import LOCK_VALUE_SIZE_BYTES_MAX, LOCK_WAIT_MS_MAX
from raftcache.command.words import Reply, Status
from raftcache.errors import BadRequest, TooLarge
from raftcache.server.connection import Connection, to_response
from raftcache.server.json_keys import escape
from raftcache.server.kv_request import read_once, want_of
from raftcache.server.leases import duration_ms, once_of, query_of, replayable
from raftcache.server.query import parse_duration_ms, parse_number, shown, unescape
from raftcache.server.replies import REFUSED, reply_problem
from raftcache.server.routes import json_response, target_of
from raftcache.service.kv import Kv
from raftcache.service.locks import IsHere, Locks

PREFIX: Final = "/v1/locks/"
_FRESHNESS: Final = ("consistency", "max_staleness")


class LockRoutes:
    """Serves the routes."""

    def __init__(self, locks: Locks, kv: Kv) -> None:
        self._locks, self._kv = locks, kv

    def add_to(self, router: web.UrlDispatcher) -> None:
        path = PREFIX + "{name:.*}"
        router.add_get(path, self.get)
        router.add_post(path, self.post)
        router.add_delete(path, self.release)

    async def get(self, request: web.Request) -> web.Response:
        """Who holds it; with `since` and `wait`, once that is somebody else."""
        query, name = query_of(request, "since", "wait", *_FRESHNESS), _name(request)
        if "since" not in query and "wait" not in query:
            return self._shown(name, await self._locks.show(name, want_of(query)))
        if any(parameter in query for parameter in _FRESHNESS):
            raise BadRequest("whoever waits for a change sees it linearizable")
        if "since" not in query:
            raise BadRequest("since is missing: the token that was seen last, or 0")
        since = 0 if query["since"] == "0" else parse_number("since", query["since"])
        wait_s = _wait_ms(query) / 1000
        return self._shown(name, await self._locks.follow(name, since, wait_s, _is_here(request)))

    async def post(self, request: web.Request) -> web.Response:
        """Acquire, or keep alive."""
        query, name = query_of(request, "op", "token", "ttl", "wait", "lock_delay"), _name(request)
        if "op" not in query:
            return await self._acquire(request, name, query)
        if query["op"] != "keepalive":
            raise BadRequest(f"op={shown(query['op'])} is not keepalive")
        query_of(request, "op", "token")
        command = LockKeepAlive(name, _token(query), await once_of(request))
        return self._answer(await self._locks.execute(command))

    async def release(self, request: web.Request) -> web.Response:
        """The holder gives it up."""
        token = _token(query_of(request, "token"))
        command = LockRelease(_name(request), token, await once_of(request))
        reply = await self._locks.execute(command)
        if reply.status in REFUSED:
            return self._answer(reply)
        return replayable(reply, {"released": reply.count, "revision": reply.revision})

    async def _acquire(
        self, request: web.Request, name: bytes, query: dict[str, str]
    ) -> web.Response:
        query_of(request, "ttl", "wait", "lock_delay")
        value = await request.read()
        if len(value) > LOCK_VALUE_SIZE_BYTES_MAX:
            raise TooLarge(f"a lock's value has at most {LOCK_VALUE_SIZE_BYTES_MAX} bytes")
        once = read_once("POST", target_of(request), request.headers, value)
        delay_ms = duration_ms(query, "lock_delay") if "lock_delay" in query else 0
        ttl_ms = duration_ms(query, "ttl")
        command = LockAcquire(name, ttl_ms, _wait_ms(query), delay_ms, value, once)
        if why := check(command):
            raise BadRequest(why)
        return self._answer(await self._locks.acquire(command, _is_here(request)))

    def _answer(self, reply: Reply) -> web.Response:
        if reply.status in REFUSED:
            return to_response(reply_problem(reply))
        assert reply.status in (Status.GRANTED, Status.CHANGED)
        left_ms = max(0, reply.deadline_ms - self._kv.now_ms())
        return replayable(reply, {"token": reply.number, "ttl_ms": left_ms})

    def _shown(self, name: bytes, view: LockView) -> web.Response:
        body: dict[str, Any] = {
            "name": escape(name),
            "token": view.token,
            "ttl_ms": max(0, view.deadline_ms - self._kv.now_ms()) if view.token else None,
            "waiting": view.waiting,
            "value_base64": b64encode(view.value).decode("ascii") if view.token else None,
        }
        return json_response(body)


def _name(request: web.Request) -> bytes:
    name = unescape(target_of(request).partition("?")[0][len(PREFIX) :])
    if why := check(LockRelease(name, 1)):
        raise BadRequest(why)
    return name


def _token(query: dict[str, str]) -> int:
    if "token" not in query:
        raise BadRequest("token is missing: that of the holder")
    return parse_number("token", query["token"])


def _wait_ms(query: dict[str, str]) -> int:
    if "wait" not in query:
        return 0
    wait_ms = parse_duration_ms("wait", query["wait"])
    if wait_ms > LOCK_WAIT_MS_MAX:
        raise BadRequest(f"wait={shown(query['wait'])} is more than {LOCK_WAIT_MS_MAX} ms")
    return wait_ms


def _is_here(request: web.Request) -> IsHere:
    return partial(_is_connected, request)


def _is_connected(request: web.Request) -> bool:
    protocol = request.protocol
    return not (isinstance(protocol, Connection) and protocol.is_left)
