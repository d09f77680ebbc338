"""The routes of membership and leadership: design.md, section 8, in cluster terms."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import web

from raftcache.config import parse_address
from raftcache.errors import BadRequest
from raftcache.server.bodies import read_body
from raftcache.server.json_keys import parse_json
from raftcache.server.routes import (
    Body,
    Parameter,
    Response,
    Route,
    RouteTable,
    json_response,
)
from raftcache.server.shapes import (
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    UNSURE,
    array,
    maybe,
    one_of,
    problem,
    record,
)
from raftcache.server.status import CLUSTER

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_Body = TypeVar("_Body")


class Operator(Protocol):
    """What an operator may do to the cluster; each call raises what refused it."""

    def view(self) -> dict[str, Any]: ...
    async def add(
        self, name: str, member_id: str, raft: str, http: str, resp: str, if_version: int | None
    ) -> dict[str, Any]: ...
    async def promote(self, name: str, if_version: int | None, force: bool) -> dict[str, Any]: ...
    async def remove(self, name: str, if_version: int | None, force: bool) -> dict[str, Any]: ...
    async def update(
        self, name: str, raft: str, http: str, resp: str, if_version: int | None
    ) -> dict[str, Any]: ...
    async def transfer(self, to: str) -> str: ...


class _New(msgspec.Struct, forbid_unknown_fields=True):
    """A new member. Without an id it is bound to its first data."""

    name: str
    raft: str
    http: str = ""
    id: str = ""
    resp: str = ""


class _Addresses(msgspec.Struct, forbid_unknown_fields=True):
    """What a member's addresses are to be."""

    raft: str = ""
    http: str = ""
    resp: str = ""


_CONFIGURATION: Final = record(
    cluster_id=TEXT,
    version=COUNT,
    committed=FLAG,
    members=array(
        record(
            name=TEXT,
            id=TEXT,
            raft=TEXT,
            http=maybe(TEXT),
            resp=maybe(TEXT),
            voter=FLAG,
            commands_version=COUNT,
        )
    ),
)
_MEMBER: Final = Parameter(
    "name",
    "The member's name: 1 to 64 letters, digits, `.`, `_` and `-`.",
    {"type": "string", "pattern": f"^{_NAME.pattern}$"},
    "path",
    required=True,
)
_IF_VERSION: Final = Parameter(
    "if_version", "Only if this is still the configuration's version.", NUMBER
)
_FORCE: Final = Parameter(
    "force",
    "Also if the change leaves no majority of live voters.",
    one_of("true", "false", default="false"),
)
_CHANGED: Final = Response(200, "The change is committed: the new configuration.", _CONFIGURATION)
_REFUSALS: Final = (
    problem(409, "Not now, for the reason given: as a rule another change is in progress."),
    problem(412, "The configuration has another version."),
    UNSURE,
)

LIST: Final = Route(
    "GET",
    "/v1/cluster/members",
    CLUSTER,
    "The configuration",
    "The members with their `id`, and the `version` that a change can be made to depend on.",
    (Response(200, "As this node knows it; `committed` says whether it is so.", _CONFIGURATION),),
    """
curl 'http://127.0.0.1:7401/v1/cluster/members'
""",
    heads=True,
)

ADD: Final = Route(
    "POST",
    "/v1/cluster/members",
    CLUSTER,
    "Add a member",
    """
Adds a learner, which gets all data and does not vote. A member that is there already, and dead,
begins anew with its new data.
""",
    (_CHANGED, *_REFUSALS),
    """
curl -X POST http://127.0.0.1:7401/v1/cluster/members \\
  -d '{"name":"n4","raft":"127.0.0.1:7504","http":"127.0.0.1:7404"}'
""",
    (_IF_VERSION,),
    Body("Its name and addresses.", _New),
)

ALTER: Final = Route(
    "POST",
    "/v1/cluster/members/{name}",
    CLUSTER,
    "Promote a member, or change its addresses",
    """
`op=promote` lets a learner vote: 409 with the reason until it has caught up. `op=update` changes
the addresses that the body names.
""",
    (_CHANGED, problem(404, "There is no such member."), *_REFUSALS),
    """
curl -X POST 'http://127.0.0.1:7401/v1/cluster/members/n4?op=update' \\
  -d '{"http":"127.0.0.1:7444"}'
""",
    (
        _MEMBER,
        Parameter("op", "What to do.", one_of("promote", "update"), required=True),
        _IF_VERSION,
        _FORCE,
    ),
    Body("With `update`: its new addresses.", _Addresses, required=False),
)

REMOVE: Final = Route(
    "DELETE",
    "/v1/cluster/members/{name}",
    CLUSTER,
    "Remove a member",
    "A leader hands over first. The removed node stops to serve.",
    (_CHANGED, problem(404, "There is no such member."), *_REFUSALS),
    """
curl -X DELETE 'http://127.0.0.1:7401/v1/cluster/members/n4'
""",
    (_MEMBER, _IF_VERSION, _FORCE),
)

TRANSFER: Final = Route(
    "POST",
    "/v1/cluster/leader",
    CLUSTER,
    "Hand leadership over",
    "To a member, or to whoever has most.",
    (
        Response(200, "Who leads now.", record(leader=TEXT), example={"leader": "n2"}),
        problem(404, "There is no such member."),
        problem(409, "Nobody, or somebody else, took over."),
        UNSURE,
    ),
    """
curl -X POST 'http://127.0.0.1:7401/v1/cluster/leader?to=n2'
""",
    (Parameter("to", "The member that is to lead; whoever has most, if left out.", TEXT),),
)


class MemberRoutes:
    """Serves the routes."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def add_to(self, table: RouteTable) -> None:
        table.add(LIST, self.list)
        table.add(ADD, self.add)
        table.add(ALTER, self.alter)
        table.add(REMOVE, self.remove)
        table.add(TRANSFER, self.transfer)

    async def list(self, request: web.Request) -> web.Response:
        LIST.query(request)
        return json_response(self._operator.view())

    async def add(self, request: web.Request) -> web.Response:
        query = ADD.query(request)
        new = await _body(request, _New)
        name, (raft, http, resp) = _name(new.name), _addresses(new)
        if not raft:
            raise BadRequest("raft: a new member needs a Raft address")
        added = await self._operator.add(name, new.id, raft, http, resp, _version(query))
        return json_response(added)

    async def alter(self, request: web.Request) -> web.Response:
        query = ALTER.query(request)
        name, op = _name(request.match_info["name"]), query.get("op")
        if op == "promote":
            done = await self._operator.promote(name, _version(query), _force(query))
        elif op == "update":
            new = await _body(request, _Addresses)
            raft, http, resp = _addresses(new)
            if not (raft or http or resp):
                raise BadRequest("raft, http or resp: an update needs a new address")
            done = await self._operator.update(name, raft, http, resp, _version(query))
        else:
            raise BadRequest(f"op must be promote or update, not {op!r}")
        return json_response(done)

    async def remove(self, request: web.Request) -> web.Response:
        query = REMOVE.query(request)
        name = _name(request.match_info["name"])
        return json_response(await self._operator.remove(name, _version(query), _force(query)))

    async def transfer(self, request: web.Request) -> web.Response:
        to = TRANSFER.query(request).get("to", "")
        leader = await self._operator.transfer(_name(to) if to else "")
        return json_response({"leader": leader})


async def _body(request: web.Request, kind: type[_Body]) -> _Body:
    decoder = msgspec.json.Decoder(kind)
    return parse_json(await read_body(request), decoder, "JSON of this call")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise BadRequest("a member's name has 1 to 64 letters, digits, '.', '_' and '-'")
    return text


def _addresses(said: _New | _Addresses) -> tuple[str, str, str]:
    return _address("raft", said.raft), _address("http", said.http), _address("resp", said.resp)


def _address(field: str, text: str) -> str:
    if not text:
        return ""
    try:
        return str(parse_address(text))
    except ValueError as error:
        raise BadRequest(f"{field}: {error}") from None


def _version(query: dict[str, str]) -> int | None:
    text = query.get("if_version")
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", text, re.ASCII):
        raise BadRequest(f"if_version must be a whole number, not {text!r}")
    return int(text)


def _force(query: dict[str, str]) -> bool:
    text = query.get("force", "false")
    if text not in ("true", "false"):
        raise BadRequest(f"force must be true or false, not {text!r}")
    return text == "true"
