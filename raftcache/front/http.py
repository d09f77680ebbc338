"""The HTTP front door: what serves its routes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

from raftcache.cluster.backup import Backups
from raftcache.cluster.checking import Checking
from raftcache.cluster.membership import Membership
from raftcache.cluster.status import NodeStatus
from raftcache.config import Config
from raftcache.front import SHUTTING_DOWN
from raftcache.metrics import HttpCounters, Metrics, RespCounters
from raftcache.ports import Clock
from raftcache.raft.replica import Replica
from raftcache.server.backup import BackupRoutes
from raftcache.server.checking import CheckingRoutes
from raftcache.server.clients import ClientRoutes
from raftcache.server.http import HttpServer
from raftcache.server.leases import LeaseRoutes
from raftcache.server.locks import LockRoutes
from raftcache.server.members import MemberRoutes
from raftcache.server.quotas import QuotaRoutes
from raftcache.server.ranges import RangeRoutes
from raftcache.server.routes import RouteTable
from raftcache.server.status import StatusRoutes
from raftcache.server.txn import TxnRoutes
from raftcache.server.watch import WatchRoutes
from raftcache.service.kv import KvService
from raftcache.service.leases import LeaseService
from raftcache.service.locks import LockService
from raftcache.service.quotas import QuotaService
from raftcache.service.ranges import RangeService
from raftcache.service.vivify import VivifyService
from raftcache.service.watch import WatchHub
from raftcache.state.machine import Machine

Room: TypeAlias = Callable[[RouteTable], None]
"""Adds the routes of one part of the API."""


class HttpFront:
    """Serves config.http from start() to stop()."""

    def __init__(
        self,
        config: Config,
        kv: KvService,
        machine: Machine,
        replica: Replica,
        status: NodeStatus,
        cluster_id: str,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        resp_counters: RespCounters | None,
    ) -> None:
        """resp_counters: of the other front door, if there is one; for /metrics."""
        self._config, self._kv, self._machine, self._replica = config, kv, machine, replica
        self._hub = WatchHub(replica, machine, loop, config.limits.watchers_max)
        self._locks, counters = LockService(kv, machine), HttpCounters()
        rooms = (
            *self._rooms_of_keys(),
            StatusRoutes(status, Metrics(counters, status.gauges, resp_counters)).add_to,
            *self._rooms_of_operators(cluster_id),
        )
        self._vivifier = vivifier = VivifyService(kv, machine, clock, loop)
        self._server = HttpServer(kv, vivifier, config, clock, counters, rooms, status.leader_url)

    def _rooms_of_keys(self) -> Sequence[Room]:
        """What clients call, besides single keys; in the order of the API's description."""
        config, kv, machine = self._config, self._kv, self._machine
        ranges = RangeService(kv, machine)
        return (
            RangeRoutes(ranges, kv).add_to,
            TxnRoutes(ranges, kv, config.limits.value_size_bytes_max).add_to,
            WatchRoutes(self._hub, kv.now_ms, config.name).add_to,
            LeaseRoutes(LeaseService(kv, machine), kv).add_to,
            LockRoutes(self._locks, kv).add_to,
            QuotaRoutes(QuotaService(kv, machine)).add_to,
            ClientRoutes(kv).add_to,
        )

    def _rooms_of_operators(self, cluster_id: str) -> Sequence[Room]:
        name, timing, replica = self._config.name, self._config.timing, self._replica
        timeout_s, poll_s = timing.request_timeout_s, timing.heartbeat_s / 4
        membership = Membership(name, cluster_id, replica, timeout_s, poll_s)
        return (
            MemberRoutes(membership).add_to,
            CheckingRoutes(Checking(name, replica, timeout_s, poll_s)).add_to,
            BackupRoutes(Backups(replica, timeout_s)).add_to,
        )

    async def start(self) -> None:
        """Raises BadConfig when the address cannot be had."""
        self._hub.start()
        await self._server.start()

    async def stop(self, timeout_s: float) -> None:
        """Finish what is being answered, then close; timeout_s at most."""
        self._locks.stop()  # before the server waits for those who wait
        self._vivifier.stop(SHUTTING_DOWN)
        self._hub.stop(SHUTTING_DOWN)
        await self._server.stop(timeout_s)

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics; names without their prefix."""
        return self._hub.gauges()
