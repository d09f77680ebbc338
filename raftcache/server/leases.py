"""/v1/leases: to have keys that go together."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from raftcache.command.checks import check
from raftcache.command.leasing import LeaseGrant, LeaseKeepAlive, LeaseRevoke, LeaseView, Leasing
from raftcache.command.limits import LEASES_SHOWN_MAX
from raftcache.command.replies import Reply, Status
from raftcache.command.words import Once
from raftcache.errors import BadRequest
from raftcache.server.bodies import read_body
from raftcache.server.connection import to_response
from raftcache.server.json_keys import escape
from raftcache.server.kv_request import read_once, want_of
from raftcache.server.query import parse_duration_ms, parse_number, shown
from raftcache.server.replies import REFUSED, reply_problem
from raftcache.server.routes import (
    Parameter,
    Response,
    Route,
    RouteTable,
    Section,
    json_response,
    target_of,
)
from raftcache.server.shapes import (
    COUNT,
    DURATION,
    FLAG,
    FRESHNESS,
    IDEMPOTENCY_KEY,
    NO_LEADER,
    OVERLOADED,
    POSITIVE,
    REPLAYED,
    REVISION,
    TEXT,
    TOO_OLD,
    WRITE_REFUSALS,
    array,
    one_of,
    problem,
    record,
)
from raftcache.service.kv import Kv
from raftcache.service.leases import Leases

LEASES: Final = Section(
    "Leases",
    """
A lease is a time to live that several keys share, and that its owner prolongs. `PUT` with
`?lease=7` ties a key to it, a later `PUT` without unties it. When the lease ends, all its keys go
in one revision. Its time is cluster time: a change of leader neither restarts it nor cuts it short.
""",
)

_TIME: Final = record(lease=POSITIVE, ttl_ms=COUNT)
_LEASE: Final = {"lease": POSITIVE, "ttl_ms": COUNT, "granted_ttl_ms": COUNT, "key_count": COUNT}
_EXAMPLE: Final = {"lease": 7, "ttl_ms": 28400, "granted_ttl_ms": 30000, "key_count": 1}
_ID: Final = Parameter("id", "The lease's number.", POSITIVE, "path", required=True)
_GONE: Final = problem(404, "The lease has ended, or never was.", REPLAYED)

GRANT: Final = Route(
    "POST",
    "/v1/leases",
    LEASES,
    "Grant a lease",
    "",
    (
        Response(
            201,
            "The lease is granted.",
            _TIME,
            headers=(REPLAYED,),
            example={"lease": 7, "ttl_ms": 30000},
        ),
        TOO_OLD,
        *WRITE_REFUSALS,
    ),
    """
curl -X POST 'http://127.0.0.1:7401/v1/leases?ttl=30s'
""",
    (
        Parameter("ttl", "How long it lives, from 100ms to 24h.", DURATION, required=True),
        IDEMPOTENCY_KEY,
    ),
)

LIST: Final = Route(
    "GET",
    "/v1/leases",
    LEASES,
    "List leases",
    f"By number, {LEASES_SHOWN_MAX:,} of them; `more` says whether others follow.",
    (
        Response(
            200,
            "The leases.",
            record(leases=array(record(**_LEASE)), more=FLAG),
            example={"leases": [_EXAMPLE], "more": False},
        ),
        OVERLOADED,
        NO_LEADER,
    ),
    """
curl 'http://127.0.0.1:7402/v1/leases'
""",
    (Parameter("after", "Only those with a higher number.", POSITIVE), *FRESHNESS),
    heads=True,
)

SHOW: Final = Route(
    "GET",
    "/v1/leases/{id}",
    LEASES,
    "A lease and its keys",
    f"The first {LEASES_SHOWN_MAX:,} of its keys, written as in a URL.",
    (
        Response(
            200,
            "The lease.",
            record(**_LEASE, keys=array(TEXT)),
            example={**_EXAMPLE, "keys": ["session/ada"]},
        ),
        problem(404, "The lease has ended, or never was."),
        OVERLOADED,
        NO_LEADER,
    ),
    """
LEASE=$(curl -X POST 'http://127.0.0.1:7401/v1/leases?ttl=1h' | grep -o '[0-9]*' | head -1)
curl -X PUT --data-binary 'here' "http://127.0.0.1:7402/v1/kv/session/ada?lease=$LEASE"
curl "http://127.0.0.1:7403/v1/leases/$LEASE"
""",
    (_ID, *FRESHNESS),
    heads=True,
)

KEEP_ALIVE: Final = Route(
    "POST",
    "/v1/leases/{id}",
    LEASES,
    "Keep a lease alive",
    "Gives it its whole time again.",
    (
        Response(
            200,
            "It has its whole time.",
            _TIME,
            headers=(REPLAYED,),
            example={"lease": 7, "ttl_ms": 30000},
        ),
        _GONE,
        TOO_OLD,
        *WRITE_REFUSALS,
    ),
    """
curl -X POST "http://127.0.0.1:7401/v1/leases/$LEASE?op=keepalive"
""",
    (
        _ID,
        Parameter("op", "What to do.", one_of("keepalive"), required=True),
        IDEMPOTENCY_KEY,
    ),
)

REVOKE: Final = Route(
    "DELETE",
    "/v1/leases/{id}",
    LEASES,
    "Revoke a lease",
    "Ends it now, with all its keys, in one revision.",
    (
        Response(
            200,
            "It is over; how many keys went with it.",
            record(deleted=COUNT, revision=REVISION),
            headers=(REPLAYED,),
            example={"deleted": 1, "revision": 43},
        ),
        _GONE,
        TOO_OLD,
        *WRITE_REFUSALS,
    ),
    """
curl -X DELETE "http://127.0.0.1:7401/v1/leases/$LEASE"
""",
    (_ID, IDEMPOTENCY_KEY),
)


class LeaseRoutes:
    """Serves the routes."""

    def __init__(self, leases: Leases, kv: Kv) -> None:
        self._leases, self._kv = leases, kv

    def add_to(self, table: RouteTable) -> None:
        table.add(GRANT, self.grant)
        table.add(LIST, self.list)
        table.add(SHOW, self.show)
        table.add(KEEP_ALIVE, self.keep_alive)
        table.add(REVOKE, self.revoke)

    async def list(self, request: web.Request) -> web.Response:
        """Leases by id, a bounded number after one."""
        query = LIST.query(request)
        after = parse_number("after", query.pop("after")) if "after" in query else 0
        views = await self._leases.list(after, LEASES_SHOWN_MAX + 1, want_of(query))
        more = len(views) > LEASES_SHOWN_MAX
        found = [self._view(view) for view in views[:LEASES_SHOWN_MAX]]
        return json_response({"leases": found, "more": more})

    async def show(self, request: web.Request) -> web.Response:
        """A lease and its keys."""
        query = SHOW.query(request)
        view, keys = await self._leases.show(_id(request), want_of(query))
        return json_response(self._view(view) | {"keys": [escape(key) for key in keys]})

    async def grant(self, request: web.Request) -> web.Response:
        """A new lease."""
        query, once = GRANT.query(request), await once_of(request)
        ttl_ms = duration_ms(query, "ttl")
        return await self._execute(LeaseGrant(ttl_ms, once), status=201)

    async def keep_alive(self, request: web.Request) -> web.Response:
        """Its whole time again."""
        query, once = KEEP_ALIVE.query(request), await once_of(request)
        if query.get("op") != "keepalive":
            raise BadRequest(f"op={shown(query.get('op', ''))} is not keepalive")
        return await self._execute(LeaseKeepAlive(_id(request), once))

    async def revoke(self, request: web.Request) -> web.Response:
        """Its end, and that of its keys."""
        REVOKE.query(request)
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


def duration_ms(query: dict[str, str], name: str) -> int:
    """A parameter that has to be there."""
    if name not in query:
        raise BadRequest(f"{name} is missing: a duration like 30s")
    return parse_duration_ms(name, query[name])


async def once_of(request: web.Request) -> Once | None:
    """The Idempotency-Key of a request without a body."""
    if await read_body(request):
        raise BadRequest("this call takes no body")
    return read_once(request.method, target_of(request), request.headers, b"")


def replayable(reply: Reply, body: dict[str, Any], status: int = 200) -> web.Response:
    """The answer to a command; says so if it is a remembered one."""
    response = json_response(body)
    response.set_status(status)
    if reply.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
