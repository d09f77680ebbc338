"""/v1/clients: to number requests, so that each is done once without a key for each."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from raftcache.command.checks import check
from raftcache.command.clients import ClientLeave, ClientRegister, Registering
from raftcache.command.limits import CLIENT_IDLE_MS, CLIENT_REQUESTS_MAX, CLIENTS_MAX
from raftcache.command.replies import Reply, Status
from raftcache.errors import BadRequest
from raftcache.server.connection import to_response
from raftcache.server.leases import once_of
from raftcache.server.query import parse_number
from raftcache.server.replies import REFUSED, reply_problem
from raftcache.server.routes import Parameter, Response, Route, RouteTable, Section, json_response
from raftcache.server.shapes import (
    COUNT,
    OVERLOADED,
    POSITIVE,
    REVISION,
    TOO_OLD,
    UNSURE,
    record,
)
from raftcache.service.calls import written
from raftcache.service.kv import Kv

CLIENTS: Final = Section(
    "Clients",
    f"""
An `Idempotency-Key` is remembered for ten minutes, whatever becomes of its client, so that a
cluster takes 437 new ones a second. A client that writes more registers, and numbers its requests:
each carries

    Idempotency-Key: client=7 number=3 pending-from=2

wherever a key may stand: the id it was given; for each request the next number, from 1 or, better,
from one by chance on (a cluster that is begun anew gives low ids again, and its clients should not
be taken for those of the old one); and the lowest number for which it still waits, which may be
this one. A request that is sent again, to whatever node, has its number again. What is below
`pending-from` is forgotten by the cluster, and refused from then on (410, "answered before"), so
that no copy that comes late is done again; from there on {CLIENT_REQUESTS_MAX:,} numbers may be in
use (429, "too many requests pending").

There may be {CLIENTS_MAX:,} clients. One that says nothing for ten minutes of cluster time is
forgotten, and where there are too many, those that said nothing for a minute. A request of a client
that is not known is refused (410, "client forgotten"), never done: an id is given once. `definite`
is false in both, for an earlier attempt may have been done; whoever has made none registers anew,
and sends it with a number of its new id. An id is for one process: who starts or forks another
one registers again. As long as a node of an older version has a vote, there are no clients (409).
""",
)

_ID: Final = Parameter("id", "The client's.", POSITIVE, "path", required=True)

REGISTER: Final = Route(
    "POST",
    "/v1/clients",
    CLIENTS,
    "Register a client",
    "Who does not hear the answer asks again; an id that is not used is forgotten.",
    (
        Response(
            201,
            "It may number requests, so many at a time.",
            record(client=POSITIVE, idle_ms=COUNT, requests_max=COUNT),
            example={"client": 7, "idle_ms": CLIENT_IDLE_MS, "requests_max": CLIENT_REQUESTS_MAX},
        ),
        TOO_OLD,
        OVERLOADED,
        UNSURE,
    ),
    """
CLIENT=$(curl -X POST 'http://127.0.0.1:7401/v1/clients' | grep -o '[0-9]*' | head -1)
curl -X POST -H "Idempotency-Key: client=$CLIENT number=1 pending-from=1" \\
    'http://127.0.0.1:7402/v1/kv/hits?op=incr'
curl -X POST -H "Idempotency-Key: client=$CLIENT number=1 pending-from=1" \\
    'http://127.0.0.1:7403/v1/kv/hits?op=incr'
""",
)

LEAVE: Final = Route(
    "DELETE",
    "/v1/clients/{id}",
    CLIENTS,
    "Forget a client",
    "What still comes of it is refused. Nobody has to say this.",
    (
        Response(
            200,
            "It is not known any more, or was not before: then `deleted` is 0.",
            record(deleted=COUNT, revision=REVISION),
            example={"deleted": 1, "revision": 43},
        ),
        TOO_OLD,
        OVERLOADED,
        UNSURE,
    ),
    """
curl -X DELETE "http://127.0.0.1:7401/v1/clients/$CLIENT"
""",
    (_ID,),
)


class ClientRoutes:
    """Serves the routes."""

    def __init__(self, kv: Kv) -> None:
        self._kv = kv

    def add_to(self, table: RouteTable) -> None:
        table.add(REGISTER, self.register)
        table.add(LEAVE, self.leave)

    async def register(self, request: web.Request) -> web.Response:
        """A new one."""
        REGISTER.query(request)
        reply = await self._execute(ClientRegister(await once_of(request)))
        if reply.status in REFUSED:
            return to_response(reply_problem(reply))
        assert reply.status is Status.CREATED
        limits = {"idle_ms": CLIENT_IDLE_MS, "requests_max": CLIENT_REQUESTS_MAX}
        response = json_response({"client": reply.number, **limits})
        response.set_status(201)
        return response

    async def leave(self, request: web.Request) -> web.Response:
        """One less."""
        LEAVE.query(request)
        id = parse_number("client", request.match_info["id"])
        reply = await self._execute(ClientLeave(id, await once_of(request)))
        return json_response({"deleted": reply.count, "revision": reply.revision})

    async def _execute(self, command: Registering) -> Reply:
        if why := check(command):
            raise BadRequest(why)
        return await written(self._kv, command)
