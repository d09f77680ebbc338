"""The Redis front door: what serves its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from raftcache.cluster.group import GroupView
from raftcache.config import Config, PubSubCounts
from raftcache.config.text import parse_key_events, show_key_events
from raftcache.front import SHUTTING_DOWN
from raftcache.metrics import RespCounters
from raftcache.ports import Clock, Dice
from raftcache.raft.replica import Replica
from raftcache.server.resp import helps, reports
from raftcache.server.resp.caching import Caching
from raftcache.server.resp.client import Clients
from raftcache.server.resp.commands import CommandCalls
from raftcache.server.resp.configuration import Changeable, ConfigurationCalls
from raftcache.server.resp.discovery import DiscoveryCalls
from raftcache.server.resp.greetings import Greetings
from raftcache.server.resp.info import InfoCalls, Stock
from raftcache.server.resp.manners import Manners
from raftcache.server.resp.people import People
from raftcache.server.resp.scripts import ScriptCalls
from raftcache.server.resp.server import RespServer, Room
from raftcache.server.resp.subscribing import Subscribing
from raftcache.server.resp.switching import SwitchNews
from raftcache.server.resp.transactions import Transactions
from raftcache.server.resp.users import Users
from raftcache.server.resp.waiting import Waits
from raftcache.service.blocking import Blocking
from raftcache.service.census import Census, Peers
from raftcache.service.kv import Kv
from raftcache.service.lateness import Vigil
from raftcache.service.pubsub import PubSub
from raftcache.service.redis import RedisService
from raftcache.service.scanning import Scanning
from raftcache.service.scripting.acts import Player
from raftcache.service.scripting.scripts import Scripts
from raftcache.service.stream_waiting import StreamWaiting
from raftcache.service.tracking import Tracking
from raftcache.state.machine import Machine


class RedisFront:
    """Serves config.resp, which is there, from start() to stop()."""

    def __init__(
        self,
        config: Config,
        kv: Kv,
        machine: Machine,
        replica: Replica,
        group: GroupView,
        peers: Peers,
        clock: Clock,
        dice: Dice,
        loop: asyncio.AbstractEventLoop,
        note_read: Callable[[bytes], None] | None = None,
    ) -> None:
        """note_read: told of keys that are read. `passed_on` is for what peers say, by type."""
        self._config, self._group, self._loop = config, group, loop
        self._kv, self._machine, self._clock = kv, machine, clock
        self.counters, self._clients = RespCounters(), Clients()
        self._pubsub = PubSub(kv, machine, loop, config.notify_keyspace_events)
        self._census = Census(self._pubsub, peers, group.names, loop)
        self.passed_on = {
            "subscribers_ask": self._census.asked,
            "subscribers_reply": self._census.told,
        }
        self._tracking = Tracking(machine, loop)
        self._blocking = Blocking(kv, machine, loop, config.limits.value_size_bytes_max)
        self._streams = StreamWaiting(kv, machine, loop, note_read)
        listening = (self._pubsub, self._tracking, self._blocking, self._streams)
        self._vigil = Vigil(replica, loop, [each.cut_off_all for each in listening])
        self._redis = RedisService(
            kv,
            machine,
            dice,
            loop,
            config.limits.value_size_bytes_max,
            {**Scanning(kv, machine, dice).calls, **self._blocking.calls, **self._streams.calls},
            note_read,
            self._pubsub.receivers,
            gathers=not config.limits.memory_size_bytes_max,
        )
        self._scripts = Scripts(
            kv,
            machine,
            dice,
            loop,
            config.limits.value_size_bytes_max,
            Player(self._pubsub.receivers, kv, clock.monotonic_s),
            gathers=not config.limits.memory_size_bytes_max,
        )
        self._redis.rehearse_with(self._scripts.rehearse)
        self._news = SwitchNews(group, self._pubsub.say, loop)
        self._server = RespServer(
            self._redis, config, clock, self.counters, self._clients, self._rooms()
        )

    def _rooms(self) -> Sequence[Room]:
        redis, group = self._redis, self._group
        scripts = ScriptCalls(self._scripts)
        counts_all = self._config.resp_pubsub_counts is PubSubCounts.CLUSTER
        return (
            Greetings(self._config.resp_password, lambda: group.group().leads).add_to,
            scripts.add_to,
            Transactions(redis, scripts).add_to,
            helps.add_to,
            reports.add_to,
            Users(self._config.resp_password).add_to,
            Subscribing(self._pubsub, self._census if counts_all else None).add_to,
            Caching(self._tracking, self._clients).add_to,
            People(self._clients, self._clock.monotonic_s).add_to,
            Manners().add_to,
            CommandCalls().add_to,
            ConfigurationCalls(
                self._config, self.counters, self._kv.now_ms, self._changeable()
            ).add_to,
            InfoCalls(
                self._config,
                self._clients,
                self.counters,
                group,
                self._stock,
                self.gauges,
                self._clock,
                self._kv.now_ms,
            ).add_to,
            DiscoveryCalls(
                group,
                Waits(group, self._loop),
                redis,
                self._loop,
                2 * self._config.timing.election_max_s,
                self._config.resp_cluster_map,
            ).add_to,
        )

    def _stock(self) -> Stock:
        machine = self._machine
        return Stock(machine.count, machine.deadline_count, machine.memory_size_bytes)

    def _changeable(self) -> dict[str, Changeable]:
        pubsub = self._pubsub

        def change(text: str) -> None:
            pubsub.key_events = parse_key_events(text)

        events = Changeable(lambda: show_key_events(pubsub.key_events), change)
        return {"notify-keyspace-events": events}

    async def start(self) -> None:
        """Raises BadConfig when the address cannot be had."""
        self._tracking.start()
        self._blocking.start()
        self._streams.start()
        self._vigil.start()
        self._news.start()
        await self._server.start()

    async def stop(self, timeout_s: float) -> None:
        """Finish what is being done, then close; timeout_s at most."""
        self._blocking.stop(SHUTTING_DOWN)
        self._streams.stop(SHUTTING_DOWN)
        await self._server.stop(timeout_s)
        self._news.stop()
        self._vigil.stop()
        self._tracking.stop()

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics; names without their prefix."""
        rooms = (self._pubsub, self._tracking, self._blocking, self._streams)
        return {name: number for room in rooms for name, number in room.gauges().items()}
