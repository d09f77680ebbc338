"""The Redis front door of one node in this process: real services over a state machine, no log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raftcache.config import Address, Config, Limits
from raftcache.metrics import RespCounters
from raftcache.server.kept import Kept
from raftcache.server.resp.caching import Caching
from raftcache.server.resp.client import Clients
from raftcache.server.resp.greetings import Greetings
from raftcache.server.resp.manners import Manners
from raftcache.server.resp.scripts import ScriptCalls
from raftcache.server.resp.server import RespServer
from raftcache.server.resp.subscribing import Subscribing
from raftcache.server.resp.transactions import Transactions
from raftcache.service.census import Census, Peers
from raftcache.service.pubsub import PubSub
from raftcache.service.redis import RedisService
from raftcache.service.scripting.acts import Player
from raftcache.service.scripting.scripts import Scripts
from raftcache.service.tracking import Tracking
from raftcache.state.machine import Machine
from tests.support.fake_kv import FakeKv
from tests.support.raw_http import HandClock
from tests.unit.test_redis_service import Dice


@dataclass
class Door:
    """It listens on a port; what is written to kv is applied at once."""

    port: int
    kv: FakeKv
    pubsub: PubSub
    tracking: Tracking
    clients: Clients
    kept: Kept

    @property
    def machine(self) -> Machine:
        return self.kv.machine


@contextlib.asynccontextmanager
async def redis_door(
    key_events: str = "", kv: FakeKv | None = None, peers: Peers | None = None, **limits: Any
) -> AsyncIterator[Door]:
    """A front door on a free port, with these Limits. peers: whose subscribers PUBSUB counts."""
    here, loop, clients = Address("127.0.0.1", 0), asyncio.get_running_loop(), Clients()
    kv = FakeKv() if kv is None else kv
    config = Config("n1", Path("unused"), *[here] * 6, limits=Limits(**limits))
    pubsub, tracking = PubSub(kv, kv.machine, loop, key_events), Tracking(kv.machine, loop)
    tracking.start()
    census = None if peers is None else Census(pubsub, peers, lambda: peers.linked, loop)
    redis = RedisService(kv, kv.machine, Dice(), loop, 1 << 20, {}, receivers=pubsub.receivers)
    player = Player(pubsub.receivers, kv, HandClock().monotonic_s)
    running = Scripts(kv, kv.machine, Dice(), loop, 1 << 20, player, gathers=True)
    redis.rehearse_with(running.rehearse)
    scripts = ScriptCalls(running)
    rooms = (
        Greetings("", lambda: True).add_to,
        scripts.add_to,
        Transactions(redis, scripts).add_to,
        Subscribing(pubsub, census).add_to,
        Caching(tracking, clients).add_to,
        Manners().add_to,
        lambda table: table.add("CLIENT|ID", lambda client, call: client.id),
    )
    server = RespServer(redis, config, HandClock(), RespCounters(), clients, rooms)
    await server.start()
    try:
        assert server._port is not None
        kept = server._port.glances.kept
        yield Door(server.listening.port, kv, pubsub, tracking, clients, kept)
    finally:
        await server.stop(1.0)
