"""GET /v1/cluster/digest?index=: what this node's state was at an index; to compare replicas by."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

from aiohttp import web

from raftcache.errors import BadRequest
from raftcache.server.routes import Parameter, Response, Route, RouteTable, json_response
from raftcache.server.shapes import COUNT, NUMBER, TEXT, problem, record
from raftcache.server.status import CLUSTER

DIGEST: Final = Route(
    "GET",
    "/v1/cluster/digest",
    CLUSTER,
    "Digest of a node's state",
    """
What this node's state was at an index, to compare replicas by: those of all nodes are equal.
The node waits until it has come so far.
""",
    (
        Response(
            200,
            "The digest at that index.",
            record(node=TEXT, index=COUNT, digest={"type": "string", "pattern": "^[0-9a-f]{16}$"}),
            example={"node": "n1", "index": 42, "digest": "60ddd1d1e9a4cbb1"},
        ),
        problem(404, "The digest at this index is no longer remembered."),
        problem(503, "The node did not come so far in time, or is out of the cluster."),
    ),
    """
curl 'http://127.0.0.1:7401/v1/cluster/digest'
""",
    (Parameter("index", "The index; where this node is now, if left out.", NUMBER),),
    heads=True,
)


class Checking(Protocol):
    """What knows the digests; raises what HTTP is to answer."""

    async def digest(self, index: int | None) -> dict[str, Any]: ...


class CheckingRoutes:
    """Serves the route."""

    def __init__(self, checking: Checking) -> None:
        self._checking = checking

    def add_to(self, table: RouteTable) -> None:
        table.add(DIGEST, self.get)

    async def get(self, request: web.Request) -> web.Response:
        text = DIGEST.query(request).get("index")
        if text is not None and not re.fullmatch("[0-9]{1,18}", text, re.ASCII):
            raise BadRequest(f"index must be a whole number, not {text!r}")
        return json_response(await self._checking.digest(None if text is None else int(text)))
