"""What a node says of itself and of its cluster: to people, to load balancers, to Prometheus."""

from __future__ import annotations

from typing import Any, Final, Protocol

from aiohttp import hdrs, web

from raftcache import metrics
from raftcache.metrics import Metrics
from raftcache.server.routes import (
    Parameter,
    Response,
    Route,
    RouteTable,
    Section,
    json_response,
)
from raftcache.server.shapes import COUNT, FLAG, REVISION, TEXT, array, maybe, one_of, record

CLUSTER: Final = Section(
    "Cluster",
    """
What is asked of one node and is about all of them. Changes of the membership are made one at a
time ([OPERATIONS.md](OPERATIONS.md)).
""",
)
OPERATING: Final = Section("Operations")

_MEMBER: Final = record(
    name=TEXT,
    raft=TEXT,
    http=maybe(TEXT),
    resp=maybe(TEXT),
    voter=FLAG,
    match_index=maybe(COUNT),
    lag=maybe(COUNT),
)
_MEMORY: Final = record(
    size_bytes=COUNT,
    size_bytes_max=maybe(COUNT),
    state_size_bytes=COUNT,
    history_size_bytes=COUNT,
    eviction=TEXT,
)
STATUS: Final = Route(
    "GET",
    "/v1/cluster",
    CLUSTER,
    "A node's view of the cluster",
    """
What this node knows just now; `match_index` and `lag` of the members are known to the leader only.
`digest` and `applied_index` belong together. `expelled` says why a node is out of the cluster and
serves nothing, if it is: the others told it so, or its data must not be used, which `fenced` says,
too. `alarms` has what an operator should look at. `memory` is as counted, with its limit if there
is one.
""",
    (
        Response(
            200,
            "The view.",
            record(
                cluster_id=TEXT,
                node=TEXT,
                role=one_of("leader", "follower", "candidate", "learner"),
                leader=maybe(TEXT),
                term=COUNT,
                commit_index=COUNT,
                applied_index=COUNT,
                revision=REVISION,
                digest=TEXT,
                keys=COUNT,
                memory=_MEMORY,
                expelled=maybe(TEXT),
                fenced=maybe(TEXT),
                alarms={"type": "object", "additionalProperties": TEXT},
                checked_index=maybe(COUNT),
                members=array(_MEMBER),
            ),
        ),
    ),
    """
curl 'http://127.0.0.1:7401/v1/cluster'
""",
    heads=True,
)

_PLAIN: Final = "text/plain"
LIVEZ: Final = Route(
    "GET",
    "/livez",
    OPERATING,
    "Whether the process answers",
    "For whoever restarts processes that hang.",
    (Response(200, "It does.", TEXT, _PLAIN, example="ok\n"),),
    """
curl 'http://127.0.0.1:7401/livez'
""",
    heads=True,
)

READYZ: Final = Route(
    "GET",
    "/readyz",
    OPERATING,
    "Whether the node can serve",
    "For load balancers: whether the node can answer a linearizable read.",
    (
        Response(200, "It can.", TEXT, _PLAIN, example="ready\n"),
        Response(
            503,
            "It cannot; the checks are named.",
            TEXT,
            _PLAIN,
            example="[+] member: not told otherwise\n[-] leader: none is known\n...\nnot ready\n",
        ),
    ),
    """
curl 'http://127.0.0.1:7401/readyz?verbose'
""",
    (Parameter("verbose", "Name the checks also when all hold; its value is ignored.", TEXT),),
    heads=True,
)

METRICS: Final = Route(
    "GET",
    "/metrics",
    OPERATING,
    "Metrics",
    "Prometheus text; names start with `raftcache_`.",
    (Response(200, "The page.", TEXT, _PLAIN),),
    """
curl 'http://127.0.0.1:7401/metrics'
""",
    heads=True,
)


class NodeView(Protocol):
    """What the front door shows of its node; every call reads the present."""

    def cluster_status(self) -> dict[str, Any]:
        """The JSON of GET /v1/cluster."""
        ...

    def readiness(self) -> list[tuple[str, bool, str]]:
        """(check, holds, detail); a node is ready when all hold."""
        ...

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics, by name; the prefix is added."""
        ...


class StatusRoutes:
    """Serves the routes."""

    def __init__(self, node: NodeView, metrics: Metrics) -> None:
        self._node, self._metrics = node, metrics

    def add_to(self, table: RouteTable) -> None:
        table.add(STATUS, self.cluster)
        table.add(LIVEZ, self.livez)
        table.add(READYZ, self.readyz)
        table.add(METRICS, self.page)

    async def cluster(self, request: web.Request) -> web.Response:
        STATUS.query(request)
        return json_response(self._node.cluster_status())

    async def livez(self, request: web.Request) -> web.Response:
        LIVEZ.query(request)
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        verbose = "verbose" in READYZ.query(request)
        checks = self._node.readiness()
        ready = all(holds for _, holds, _ in checks)
        lines = [f"[{'+' if holds else '-'}] {name}: {detail}" for name, holds, detail in checks]
        shown = lines if verbose or not ready else []
        text = "\n".join([*shown, "ready" if ready else "not ready", ""])
        return web.Response(status=200 if ready else 503, text=text)

    async def page(self, request: web.Request) -> web.Response:
        METRICS.query(request)
        return web.Response(
            body=self._metrics.page(), headers={hdrs.CONTENT_TYPE: metrics.CONTENT_TYPE}
        )
