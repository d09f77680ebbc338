"""/v1/locks: to hold something alone, or to see who does."""

from __future__ import annotations

from base64 import b64encode
from functools import partial
from typing import Any, Final

from aiohttp import web

from raftcache.command.checks import check
from raftcache.command.leasing import LockAcquire, LockKeepAlive, LockRelease, LockView
from raftcache.command.limits import (
    LOCK_NAME_SIZE_BYTES_MAX,
    LOCK_QUEUE_MAX,
    LOCK_VALUE_SIZE_BYTES_MAX,
    LOCK_WAIT_MS_MAX,
    LOCKS_SHOWN_MAX,
)
from raftcache.command.replies import Reply, Status
from raftcache.errors import BadRequest, TooLarge
from raftcache.server.bodies import read_body
from raftcache.server.connection import Connection, to_response
from raftcache.server.json_keys import escape
from raftcache.server.kv_request import read_once, want_of
from raftcache.server.leases import duration_ms, once_of, replayable
from raftcache.server.query import (
    only_known,
    parse_duration_ms,
    parse_number,
    shown,
    text_of,
    unescape,
)
from raftcache.server.replies import REFUSED, reply_problem
from raftcache.server.routes import (
    OCTETS,
    Body,
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
    WRITE_REFUSALS,
    array,
    maybe,
    one_of,
    problem,
    record,
)
from raftcache.service.calls import IsHere
from raftcache.service.kv import Kv
from raftcache.service.locks import Locks

PATH: Final = "/v1/locks"
PREFIX: Final = PATH + "/"

LOCKS: Final = Section(
    "Locks",
    """
A lock has a name, 1 to 255 bytes, written as a key is. Its holder has a **fencing token**, which is
higher than that of any holder before: hand it to whatever the lock protects, which should refuse
lower ones, for nobody can be sure to notice in time that a lock's time was over. Those who wait are
served in the order in which they came; a retry with the same `Idempotency-Key`, at any node, keeps
its place.
""",
)

_NAME: Final = Parameter(
    "name",
    "The lock's name, percent-encoded.",
    {"type": "string", "minLength": 1, "maxLength": LOCK_NAME_SIZE_BYTES_MAX},
    "path",
    required=True,
)
_HELD: Final = {"token": 42, "ttl_ms": 30000}
_LOCK: Final = record(
    name=TEXT,
    token=COUNT,
    ttl_ms=maybe(COUNT),
    waiting=COUNT,
    value_base64=maybe(TEXT),
)
_EXAMPLE: Final = {"name": "backup", **_HELD, "waiting": 0, "value_base64": "aG9zdC03"}

ACQUIRE: Final = Route(
    "POST",
    PREFIX + "{name}",
    LOCKS,
    "Acquire a lock, or keep it alive",
    f"""
Without `op`: waits for the lock, as long as `wait` says, and holds it for `ttl`. With
`op=keepalive`: the holder, who says its `token`, has its whole time again.
At most {LOCK_QUEUE_MAX:,} wait for one lock.
""",
    (
        Response(
            200,
            "The caller holds the lock, under this token.",
            record(token=POSITIVE, ttl_ms=COUNT),
            headers=(REPLAYED,),
            example=_HELD,
        ),
        problem(
            409,
            "`lock held`: somebody else holds it, or its last owner's delay is not over."
            " `lock not held`: this token does not hold it.",
            REPLAYED,
        ),
        problem(413, f"The value is over {LOCK_VALUE_SIZE_BYTES_MAX} bytes."),
        *WRITE_REFUSALS,
    ),
    """
curl -X POST -d 'host-7' 'http://127.0.0.1:7401/v1/locks/backup?ttl=30s&wait=10s'
TOKEN=$(curl 'http://127.0.0.1:7402/v1/locks/backup' | grep -o '"token":[0-9]*' | cut -d: -f2)
curl -X POST "http://127.0.0.1:7403/v1/locks/backup?op=keepalive&token=$TOKEN"
""",
    (
        _NAME,
        Parameter("op", "To keep it alive; with `token` only.", one_of("keepalive")),
        Parameter("token", "With `op=keepalive`: that of the holder.", POSITIVE),
        Parameter("ttl", "How long it is held, from 100ms to 24h; has to be there.", DURATION),
        Parameter("wait", "How long to wait for it; 5m at most, not at all if left out.", DURATION),
        Parameter(
            "lock_delay",
            "If its time runs out, nobody else gets it for so long; 1m at most.",
            DURATION,
        ),
        IDEMPOTENCY_KEY,
    ),
    Body("What others see of the holder: up to 512 bytes.", {}, OCTETS, required=False),
    PREFIX + "{name:.*}",
)

SHOW: Final = Route(
    "GET",
    PREFIX + "{name}",
    LOCKS,
    "Who holds a lock",
    """
With `since` and `wait`: once its holder is another than the one with that token, or when the time
is over. So an election is observed.
""",
    (
        Response(
            200,
            "The holder's token, or 0 if there is none, and how many wait.",
            _LOCK,
            example=_EXAMPLE,
        ),
        OVERLOADED,
        NO_LEADER,
    ),
    """
curl 'http://127.0.0.1:7401/v1/locks/backup'
curl 'http://127.0.0.1:7402/v1/locks/backup?since=0&wait=10s'
""",
    (
        _NAME,
        Parameter("since", "The token that was seen last, or 0.", REVISION),
        Parameter("wait", "How long to wait for another; 5m at most.", DURATION),
        *FRESHNESS,
    ),
    pattern=PREFIX + "{name:.*}",
    heads=True,
)

LIST: Final = Route(
    "GET",
    PATH,
    LOCKS,
    "List locks",
    f"""
Those that somebody holds, or whose last owner's delay is not over (`token` is 0), in the order of
their names, {LOCKS_SHOWN_MAX:,} of them; `more` says whether others follow.
""",
    (
        Response(
            200,
            "The locks.",
            record(locks=array(_LOCK), more=FLAG),
            example={"locks": [_EXAMPLE], "more": False},
        ),
        OVERLOADED,
        NO_LEADER,
    ),
    """
curl 'http://127.0.0.1:7403/v1/locks'
""",
    (
        Parameter(
            "after",
            "Only those whose names come after this one, percent-encoded.",
            {"type": "string", "minLength": 1, "maxLength": LOCK_NAME_SIZE_BYTES_MAX},
        ),
        *FRESHNESS,
    ),
    heads=True,
)

RELEASE: Final = Route(
    "DELETE",
    PREFIX + "{name}",
    LOCKS,
    "Release a lock",
    "Whoever waits longest gets it at once, without a delay.",
    (
        Response(
            200,
            "It is released.",
            record(released=COUNT, revision=REVISION),
            headers=(REPLAYED,),
            example={"released": 1, "revision": 43},
        ),
        problem(409, "This token does not hold the lock.", REPLAYED),
        *WRITE_REFUSALS,
    ),
    """
curl -X DELETE "http://127.0.0.1:7401/v1/locks/backup?token=$TOKEN"
""",
    (_NAME, Parameter("token", "That of the holder.", POSITIVE, required=True), IDEMPOTENCY_KEY),
    pattern=PREFIX + "{name:.*}",
)

_FRESHNESS: Final = frozenset(p.name for p in FRESHNESS)
_KEEPING: Final = frozenset({"op", "token"})
_ACQUIRING: Final = ACQUIRE.known - _KEEPING


class LockRoutes:
    """Serves the routes."""

    def __init__(self, locks: Locks, kv: Kv) -> None:
        self._locks, self._kv = locks, kv

    def add_to(self, table: RouteTable) -> None:
        table.add(ACQUIRE, self.post)
        table.add(LIST, self.list)
        table.add(SHOW, self.get)
        table.add(RELEASE, self.release)

    async def list(self, request: web.Request) -> web.Response:
        """Locks by name, a bounded number after one."""
        raw = LIST.raw_query(request)
        after = _checked(unescape(raw.pop("after"))) if "after" in raw else b""
        want = want_of({name: text_of(value) for name, value in raw.items()})
        found = await self._locks.list(after, LOCKS_SHOWN_MAX + 1, want)
        shown = [self._view(name, view) for name, view in found[:LOCKS_SHOWN_MAX]]
        return json_response({"locks": shown, "more": len(found) > LOCKS_SHOWN_MAX})

    async def get(self, request: web.Request) -> web.Response:
        """Who holds it; with `since` and `wait`, once that is somebody else."""
        query, name = SHOW.query(request), _name(request)
        if "since" not in query and "wait" not in query:
            view = await self._locks.show(name, want_of(query))
            return json_response(self._view(name, view))
        if any(parameter in query for parameter in _FRESHNESS):
            raise BadRequest("whoever waits for a change sees it linearizable")
        if "since" not in query:
            raise BadRequest("since is missing: the token that was seen last, or 0")
        since = 0 if query["since"] == "0" else parse_number("since", query["since"])
        wait_s = _wait_ms(query) / 1000
        view = await self._locks.follow(name, since, wait_s, _is_here(request))
        return json_response(self._view(name, view))

    async def post(self, request: web.Request) -> web.Response:
        """Acquire, or keep alive."""
        query, name = ACQUIRE.query(request), _name(request)
        if "op" not in query:
            return await self._acquire(request, name, query)
        if query["op"] != "keepalive":
            raise BadRequest(f"op={shown(query['op'])} is not keepalive")
        only_known(query, _KEEPING)
        command = LockKeepAlive(name, _token(query), await once_of(request))
        return self._answer(await self._locks.execute(command))

    async def release(self, request: web.Request) -> web.Response:
        """The holder gives it up."""
        token = _token(RELEASE.query(request))
        command = LockRelease(_name(request), token, await once_of(request))
        reply = await self._locks.execute(command)
        if reply.status in REFUSED:
            return self._answer(reply)
        return replayable(reply, {"released": reply.count, "revision": reply.revision})

    async def _acquire(
        self, request: web.Request, name: bytes, query: dict[str, str]
    ) -> web.Response:
        only_known(query, _ACQUIRING)
        value = await read_body(request)
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

    def _view(self, name: bytes, view: LockView) -> dict[str, Any]:
        return {
            "name": escape(name),
            "token": view.token,
            "ttl_ms": max(0, view.deadline_ms - self._kv.now_ms()) if view.token else None,
            "waiting": view.waiting,
            "value_base64": b64encode(view.value).decode("ascii") if view.token else None,
        }


def _name(request: web.Request) -> bytes:
    return _checked(unescape(target_of(request).partition("?")[0][len(PREFIX) :]))


def _checked(name: bytes) -> bytes:
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
