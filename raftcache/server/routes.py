"""One description for each route: it registers the handler, says which query parameters are known,
and is what /v1/openapi.json and docs/API.md show. There is no other list of either.

A room keeps its descriptions beside its handlers, and adds both to the RouteTable it is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import orjson
from aiohttp import hdrs, web
from msgspec import Struct

from raftcache.server.query import only_known, parse_query, parse_raw_query

Schema: TypeAlias = Mapping[str, Any]
"""JSON Schema, 2020-12, which is what OpenAPI 3.1 has."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True)
class Section:
    """A chapter of the API; text: Markdown that stands before its routes."""

    name: str
    text: str = ""


@dataclass(frozen=True)
class Parameter:
    """A query parameter, or what else `place` says: path or header."""

    name: str
    text: str
    schema: Schema
    place: str = "query"
    required: bool = False


@dataclass(frozen=True)
class Body:
    """What a request carries; schema: a Struct that reads it, or a schema of its own."""

    text: str
    schema: Schema | type[Struct]
    content_type: str = JSON
    required: bool = True
    example: object = None


@dataclass(frozen=True)
class Response:
    """One kind of answer. headers: those that always come are `required`."""

    status: int
    text: str
    schema: Schema | None = None
    content_type: str = JSON
    headers: tuple[Parameter, ...] = ()
    example: object = None


@dataclass(frozen=True)
class Route:
    """The description of one method of one path.

    path: as OpenAPI has it, with {name} for what varies; pattern: as aiohttp has it, where that
    differs. responses: those that only this call gives; see openapi.ANYWHERE for the others.
    example: commands for a shell that work as printed. heads: whether HEAD is answered too.
    """

    method: str
    path: str
    section: Section
    title: str
    text: str
    responses: tuple[Response, ...]
    example: str
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    pattern: str = ""
    heads: bool = field(default=False, kw_only=True)

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of the query parameters."""
        return frozenset(p.name for p in self.parameters if p.place == "query")

    def query(self, request: web.Request) -> dict[str, str]:
        """The parameters of a request; BadRequest names those that are not known."""
        query = parse_query(raw_query_of(request))
        only_known(query, self.known)
        return query

    def raw_query(self, request: web.Request) -> dict[str, str]:
        """As query, with values still percent-encoded: those of keys need not be UTF-8."""
        raw = parse_raw_query(raw_query_of(request))
        only_known(raw, self.known)
        return raw


class RouteTable:
    """The only way to a router: whatever is served has been described."""

    def __init__(self, router: web.UrlDispatcher) -> None:
        self._router = router
        self.routes: list[Route] = []

    def add(self, route: Route, handler: Handler) -> None:
        """Serve it, after those that were added before."""
        path = route.pattern or route.path
        if route.method == "GET":
            self._router.add_get(path, handler, allow_head=route.heads)
        else:
            self._router.add_route(route.method, path, handler)
        self.routes.append(route)

    def add_path(
        self,
        routes: tuple[Route, ...],
        handler: Handler,
        on_expect: Callable[[web.Request], Awaitable[None]],
    ) -> None:
        """Serve all methods of one path by one handler, which refuses those not described."""
        (path,) = {route.pattern or route.path for route in routes}
        self._router.add_route("*", path, handler, expect_handler=on_expect)
        self.routes += routes


def target_of(request: web.Request) -> str:
    """Path and query as they came; without scheme and host, if a proxy left them there."""
    target = request.raw_path
    if target.startswith("/"):
        return target
    parts = urlsplit(target)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def raw_query_of(request: web.Request) -> str:
    """The query as it came, undecoded."""
    return target_of(request).partition("?")[2]


def json_response(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), headers={hdrs.CONTENT_TYPE: JSON})
