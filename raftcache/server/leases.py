"""/v1/leases: to have keys that go together."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from raftcache.command.codec import check
from raftcache.command.leasing import LeaseGrant, LeaseKeepAlive, LeaseRevoke, LeaseView, Leasing
from raftcache.command.limits import LEASES_SHOWN_MAX
from raftcache.command.words import Once, Reply, Status
from raftcache.errors import BadRequest
from raftcache.server.connection import to_response
from raftcache.server.json_keys import escape
from raftcache.server.kv_request import read_once, want_of
from raftcache.server.query import only_known, parse_duration_ms, parse_number, parse_query, shown
from raftcache.server.replies import REFUSED, reply_problem
from raftcache.server.routes import json_response, target_of
from raftcache.service.kv import Kv
from raftcache.service.leases import Leases

PATH: Final = "/v1/leases"
_FRESHNESS: Final = ("consistency", "max_staleness")


class LeaseRoutes:
    """Serves the routes."""

    def __init__(self, leases: Leases, kv: Kv) -> None:
        self._leases, self._kv = leases, kv

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(PATH, self.list)
        router.add_post(PATH, self.grant)
        router.add_get(PATH + "/{id}", self.show)
        router.add_post(PATH + "/{id}", self.keep_alive)
        router.add_delete(PATH + "/{id}", self.revoke)

    async def list(self, request: web.Request) -> web.Response:
        """Leases by id, a bounded number after one."""
        query = query_of(request, "after", *_FRESHNESS)
        after = parse_number("after", query.pop("after")) if "after" in query else 0
        views = await self._leases.list(after, LEASES_SHOWN_MAX + 1, want_of(query))
        more = len(views) > LEASES_SHOWN_MAX
        found = [self._view(view) for view in views[:LEASES_SHOWN_MAX]]
        return json_response({"leases": found, "more": more})

    async def show(self, request: web.Request) -> web.Response:
        """A lease and its keys."""
        query = query_of(request, *_FRESHNESS)
        view, keys = await self._leases.show(_id(request), want_of(query))
        return json_response(self._view(view) | {"keys": [escape(key) for key in keys]})

    async def grant(self, request: web.Request) -> web.Response:
        """A new lease."""
        query, once = query_of(request, "ttl"), await once_of(request)
        ttl_ms = duration_ms(query, "ttl")
        return await self._execute(LeaseGrant(ttl_ms, once), status=201)

    async def keep_alive(self, request: web.Request) -> web.Response:
        """Its whole time again."""
        query, once = query_of(request, "op"), await once_of(request)
        if query.get("op") != "keepalive":
            raise BadRequest(f"op={shown(query.get('op', ''))} is not keepalive")
        return await self._execute(LeaseKeepAlive(_id(request), once))

    async def revoke(self, request: web.Request) -> web.Response:
        """Its end, and that of its keys."""
        query_of(request)
        return await self._execute(LeaseRevoke(_id(request), await once_of(request)))

    async def _execute(self, command: Leasing, status: int = 200) -> web.Response:
        if why := check(command):
            raise BadRequest(why)
        reply = await self._leases.execute(command)
        if reply.status in REFUSED:
            return to_response(reply_problem(reply))
        if reply.status is Status.DELETED:
            return replayable(reply, {"deleted": reply.count, "revision": reply.revision})
        left_ms = max(0, reply.deadline_ms - self._kv.now_ms())
        return replayable(reply, {"lease": reply.number, "ttl_ms": left_ms}, status)

    def _view(self, view: LeaseView) -> dict[str, Any]:
        return {
            "lease": view.id,
            "ttl_ms": max(0, view.deadline_ms - self._kv.now_ms()),
            "granted_ttl_ms": view.ttl_ms,
            "key_count": view.keys,
        }


def _id(request: web.Request) -> int:
    return parse_number("lease", request.match_info["id"])


# What the routes of leases and locks share.


def query_of(request: web.Request, *known: str) -> dict[str, str]:
    """The parameters, of which none but these is known."""
    query = parse_query(target_of(request).partition("?")[2])
    only_known(query, known)
    return query


def duration_ms(query: dict[str, str], name: str) -> int:
    """A parameter that has to be there."""
    if name not in query:
        raise BadRequest(f"{name} is missing: a duration like 30s")
    return parse_duration_ms(name, query[name])


async def once_of(request: web.Request) -> Once | None:
    """The Idempotency-Key of a request without a body."""
    if await request.read():
        raise BadRequest("this call takes no body")
    return read_once(request.method, target_of(request), request.headers, b"")


def replayable(reply: Reply, body: dict[str, Any], status: int = 200) -> web.Response:
    """The answer to a command; says so if it is a remembered one."""
    response = json_response(body)
    response.set_status(status)
    if reply.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
