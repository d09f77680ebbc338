"""The routes of membership and leadership: design.md, section 8, in cluster terms."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import web

from raftcache.config import parse_address
from raftcache.errors import BadRequest
from raftcache.server.query import only_known, parse_query
from raftcache.server.routes import json_response, target_of

MEMBERS: Final = "/v1/cluster/members"
LEADER: Final = "/v1/cluster/leader"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_Body = TypeVar("_Body")


class Operator(Protocol):
    """What an operator may do to the cluster; each call raises what refused it."""

    def view(self) -> dict[str, Any]: ...
    async def add(
        self, name: str, member_id: str, raft: str, http: str, if_version: int | None
    ) -> dict[str, Any]: ...
    async def promote(self, name: str, if_version: int | None, force: bool) -> dict[str, Any]: ...
    async def remove(self, name: str, if_version: int | None, force: bool) -> dict[str, Any]: ...
    async def update(
        self, name: str, raft: str, http: str, if_version: int | None
    ) -> dict[str, Any]: ...
    async def transfer(self, to: str) -> str: ...


class _New(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/cluster/members. Without an id the member is bound to its first data."""

    name: str
    raft: str
    http: str = ""
    id: str = ""


class _Addresses(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/cluster/members/{name}?op=update."""

    raft: str = ""
    http: str = ""


def add_routes(router: web.UrlDispatcher, operator: Operator) -> None:
    """Serve membership below /v1/cluster."""
    routes = _Routes(operator)
    router.add_get(MEMBERS, routes.list)
    router.add_post(MEMBERS, routes.add)
    router.add_post(MEMBERS + "/{name}", routes.alter)
    router.add_delete(MEMBERS + "/{name}", routes.remove)
    router.add_post(LEADER, routes.transfer)


class _Routes:
    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def list(self, request: web.Request) -> web.Response:
        _parameters(request)
        return json_response(self._operator.view())

    async def add(self, request: web.Request) -> web.Response:
        query = _parameters(request, "if_version")
        new = await _body(request, _New)
        name, raft, http = _name(new.name), _address("raft", new.raft), _address("http", new.http)
        if not raft:
            raise BadRequest("raft: a new member needs a Raft address")
        added = await self._operator.add(name, new.id, raft, http, _version(query))
        return json_response(added)

    async def alter(self, request: web.Request) -> web.Response:
        query = _parameters(request, "op", "if_version", "force")
        name, op = _name(request.match_info["name"]), query.get("op")
        if op == "promote":
            done = await self._operator.promote(name, _version(query), _force(query))
        elif op == "update":
            new = await _body(request, _Addresses)
            raft, http = _address("raft", new.raft), _address("http", new.http)
            if not (raft or http):
                raise BadRequest("raft or http: an update needs a new address")
            done = await self._operator.update(name, raft, http, _version(query))
        else:
            raise BadRequest(f"op must be promote or update, not {op!r}")
        return json_response(done)

    async def remove(self, request: web.Request) -> web.Response:
        query = _parameters(request, "if_version", "force")
        name = _name(request.match_info["name"])
        return json_response(await self._operator.remove(name, _version(query), _force(query)))

    async def transfer(self, request: web.Request) -> web.Response:
        to = _parameters(request, "to").get("to", "")
        leader = await self._operator.transfer(_name(to) if to else "")
        return json_response({"leader": leader})


def _parameters(request: web.Request, *known: str) -> dict[str, str]:
    query = parse_query(target_of(request).partition("?")[2])
    only_known(query, known)
    return query


async def _body(request: web.Request, kind: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body must be JSON of this call: {error}") from None


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise BadRequest("a member's name has 1 to 64 letters, digits, '.', '_' and '-'")
    return text


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
