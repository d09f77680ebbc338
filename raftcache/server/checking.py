"""GET /v1/cluster/digest?index=: what this node's state was at an index; to compare replicas by."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

from aiohttp import web

from raftcache.errors import BadRequest
from raftcache.server.query import only_known, parse_query
from raftcache.server.routes import json_response, target_of

PATH: Final = "/v1/cluster/digest"


class Checking(Protocol):
    """What knows the digests; raises what HTTP is to answer."""

    async def digest(self, index: int | None) -> dict[str, Any]: ...


class CheckingRoutes:
    """Serves the route."""

    def __init__(self, checking: Checking) -> None:
        self._checking = checking

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(PATH, self.get)

    async def get(self, request: web.Request) -> web.Response:
        query = parse_query(target_of(request).partition("?")[2])
        only_known(query, ("index",))
        text = query.get("index")
        if text is not None and not re.fullmatch("[0-9]{1,18}", text, re.ASCII):
            raise BadRequest(f"index must be a whole number, not {text!r}")
        return json_response(await self._checking.digest(None if text is None else int(text)))
