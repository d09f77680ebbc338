"""/v1/quotas: how many keys and bytes there may be below a prefix."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import msgspec
from aiohttp import web

from raftcache.command.limits import INTEGER_MAX, KEY_SIZE_BYTES_MAX, QUOTAS_MAX
from raftcache.command.replies import Status
from raftcache.command.words import DeleteQuota, SetQuota
from raftcache.errors import BadRequest, NotFound
from raftcache.server.bodies import read_body
from raftcache.server.connection import to_response
from raftcache.server.json_keys import escape, parse_json
from raftcache.server.kv_request import read_once
from raftcache.server.query import unescape
from raftcache.server.replies import KeyTooLong, reply_problem
from raftcache.server.routes import (
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
    BOUND,
    COUNT,
    FLAG,
    FORGOTTEN,
    IDEMPOTENCY_KEY,
    MISUSED,
    OVERLOADED,
    REPLAYED,
    TEXT,
    TOO_OLD,
    UNSURE,
    array,
    maybe,
    problem,
    record,
)
from raftcache.service.quotas import Quotas, QuotaView

PATH: Final = "/v1/quotas"
_PATTERN: Final = PATH + "/{prefix:.*}"

QUOTAS: Final = Section(
    "Quotas",
    """
A quota limits the keys below a prefix, or their bytes as they are stored: key, value, type, and 34
bytes of bookkeeping each. A write that adds a key or bytes beyond it gets 507 with the prefix in
`quota`, and a transaction as a whole; what adds nothing goes on. Of several quotas on a key all
count. The empty prefix is that of all keys. Keys that were there before their quota are counted by
the entries that follow, thousands by each; nothing is refused while `counting` is true.
""",
)

_PREFIX: Final = Parameter("prefix", "The prefix, percent-encoded.", BOUND, "path", required=True)
_QUOTA: Final = record(
    prefix=TEXT,
    keys_max=maybe(COUNT),
    size_bytes_max=maybe(COUNT),
    keys=COUNT,
    size_bytes=COUNT,
    counting=FLAG,
)
_EXAMPLE: Final = {
    "prefix": "session/",
    "keys_max": 100000,
    "size_bytes_max": None,
    "keys": 1,
    "size_bytes": 49,
    "counting": False,
}
_REFUSALS: Final = (MISUSED, FORGOTTEN, OVERLOADED, UNSURE)

_Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]


class _Limits(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PUT; what is left out is not limited."""

    keys_max: _Limit | None = None
    size_bytes_max: _Limit | None = None


_decoder = msgspec.json.Decoder(_Limits)

LIST: Final = Route(
    "GET",
    PATH,
    QUOTAS,
    "List quotas",
    f"All of them, by prefix; there are {QUOTAS_MAX} at most.",
    (
        Response(200, "The quotas.", record(quotas=array(_QUOTA)), example={"quotas": [_EXAMPLE]}),
        OVERLOADED,
        UNSURE,
    ),
    """
curl 'http://127.0.0.1:7401/v1/quotas'
""",
    heads=True,
)

SHOW: Final = Route(
    "GET",
    PATH + "/{prefix}",
    QUOTAS,
    "The quota of a prefix",
    "And what counts for it.",
    (
        Response(200, "The quota.", _QUOTA, example=_EXAMPLE),
        problem(404, "This prefix has no quota."),
        OVERLOADED,
        UNSURE,
    ),
    """
curl -X PUT --data '{"keys_max":100000}' 'http://127.0.0.1:7401/v1/quotas/session/'
curl 'http://127.0.0.1:7402/v1/quotas/session/'
""",
    (_PREFIX,),
    pattern=_PATTERN,
    heads=True,
)

SET: Final = Route(
    "PUT",
    PATH + "/{prefix}",
    QUOTAS,
    "Limit a prefix",
    "What is left out is not limited; a quota that was there is replaced.",
    (
        Response(200, "It is changed.", record(created=FLAG), headers=(REPLAYED,)),
        Response(
            201, "It is set.", record(created=FLAG), headers=(REPLAYED,), example={"created": True}
        ),
        problem(
            409,
            f"There are {QUOTAS_MAX} quotas already; or a node of an older version has a vote.",
            REPLAYED,
        ),
        *_REFUSALS,
    ),
    """
curl -X PUT --data '{"keys_max":100000,"size_bytes_max":50000000}' 'http://127.0.0.1:7401/v1/quotas/session/'
""",
    (_PREFIX, IDEMPOTENCY_KEY),
    Body("The limits: at least one.", _Limits, example={"keys_max": 100000}),
    _PATTERN,
)

DELETE: Final = Route(
    "DELETE",
    PATH + "/{prefix}",
    QUOTAS,
    "Take the limits from a prefix",
    "That there are none is no error.",
    (
        Response(
            200,
            "There are none any more; `deleted` is 0 if there were none before.",
            record(deleted=COUNT),
            headers=(REPLAYED,),
            example={"deleted": 1},
        ),
        TOO_OLD,
        *_REFUSALS,
    ),
    """
curl -X DELETE 'http://127.0.0.1:7401/v1/quotas/session/'
""",
    (_PREFIX, IDEMPOTENCY_KEY),
    pattern=_PATTERN,
)


class QuotaRoutes:
    """Serves the routes."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    def add_to(self, table: RouteTable) -> None:
        table.add(LIST, self.list)
        table.add(SHOW, self.get)
        table.add(SET, self.put)
        table.add(DELETE, self.delete)

    async def list(self, request: web.Request) -> web.Response:
        """All of them, by prefix."""
        LIST.query(request)
        views = await self._quotas.quotas()
        return json_response({"quotas": [_json(view) for view in views]})

    async def get(self, request: web.Request) -> web.Response:
        """That of a prefix."""
        SHOW.query(request)
        prefix = _prefix(request)
        for view in await self._quotas.quotas():
            if view.prefix == prefix:
                return json_response(_json(view))
        raise NotFound("this prefix has no quota")

    async def put(self, request: web.Request) -> web.Response:
        """Set it, whether or not there was one."""
        SET.query(request)
        prefix, body = _prefix(request), await read_body(request)
        limits = parse_json(body, _decoder, "JSON of this call")
        if limits.keys_max is None and limits.size_bytes_max is None:
            raise BadRequest("keys_max or size_bytes_max must say what is limited")
        once = read_once("PUT", target_of(request), request.headers, body)
        command = SetQuota(prefix, limits.keys_max, limits.size_bytes_max, once)
        return await self._change(command)

    async def delete(self, request: web.Request) -> web.Response:
        """Take it away."""
        DELETE.query(request)
        prefix, body = _prefix(request), await read_body(request)
        if body:
            raise BadRequest("DELETE takes no body")
        once = read_once("DELETE", target_of(request), request.headers, body)
        return await self._change(DeleteQuota(prefix, once))

    async def _change(self, command: SetQuota | DeleteQuota) -> web.Response:
        reply = await self._quotas.change(command)
        match reply.status:
            case Status.CREATED | Status.CHANGED:
                created = reply.status is Status.CREATED
                response = json_response({"created": created})
                response.set_status(201 if created else 200)
            case Status.DELETED:
                response = json_response({"deleted": reply.count})
            case _:
                return to_response(reply_problem(reply))
        if reply.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response


def _prefix(request: web.Request) -> bytes:
    path = target_of(request).partition("?")[0]
    prefix = unescape(path.removeprefix(PATH + "/"))
    if len(prefix) > KEY_SIZE_BYTES_MAX:
        raise KeyTooLong(f"a prefix has at most {KEY_SIZE_BYTES_MAX} bytes")
    return prefix


def _json(view: QuotaView) -> dict[str, Any]:
    return {
        "prefix": escape(view.prefix) if view.prefix else "",
        "keys_max": view.keys_max,
        "size_bytes_max": view.size_bytes_max,
        "keys": view.keys,
        "size_bytes": view.size_bytes,
        "counting": view.counting,
    }
