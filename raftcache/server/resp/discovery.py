"""The calls by which clients find the leader and the other nodes, and wait for copies.

A client asks where to go when its leader is lost, which is when nobody knows. So a node that knows
no leader keeps such a question until it does, for the time that an election takes at most; then it
answers how things stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeAlias

from raftcache.cluster.group import Group
from raftcache.command.call_table import SPECS
from raftcache.command.values import Failure, Value
from raftcache.config import ClusterMap
from raftcache.server.resp import cluster, sentinel
from raftcache.server.resp.client import Client
from raftcache.server.resp.looking import look_until
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import Answer, Ask, CallTable, Done
from raftcache.server.resp.waiting import Waits
from raftcache.service.redis import Redis

LOOK_S: Final = 0.02
"""Between two looks for a leader: a part of what an election takes, for as many as may ask."""

_OF_KEYS: Final = (b"COUNTKEYSINSLOT", b"GETKEYSINSLOT")
"""These look at all keys, so they are for people, not for programs."""

_OF_LEADER: Final = {
    b"CLUSTER": (b"NODES", b"SHARDS", b"SLOTS"),
    b"SENTINEL": (b"GET-MASTER-ADDR-BY-NAME", b"MASTER", b"MASTERS"),
}
"""What clients ask to know where to go."""

Words: TypeAlias = Callable[[Request, Group], Value]


class View(Protocol):
    """This node's view of its group (cluster/group.py)."""

    @property
    def knows_leader(self) -> bool: ...

    def group(self) -> Group: ...


class DiscoveryCalls:
    """Answers CLUSTER, SENTINEL, ROLE, WAIT and their like."""

    def __init__(
        self,
        view: View,
        waits: Waits,
        redis: Redis,
        loop: asyncio.AbstractEventLoop,
        patience_s: float,
        cluster_map: ClusterMap = ClusterMap.LEADER,
    ) -> None:
        """patience_s: how long a question for the leader may be kept."""
        self._words: dict[bytes, Words] = {
            b"CLUSTER": partial(cluster.answer, cluster_map=cluster_map),
            b"SENTINEL": sentinel.answer,
        }
        self._view, self._waits, self._redis = view, waits, redis
        self._loop, self._patience_s = loop, patience_s

    def add_to(self, table: CallTable) -> None:
        for container, words in self._words.items():
            for name in SPECS[container].subcommands:
                call = f"{container.decode()}|{name.decode()}"
                if name in _OF_KEYS:
                    table.add_asking(call, self._keys_in_slot, is_refused_in_multi=True)
                elif name in _OF_LEADER[container]:
                    table.add_asking(call, self._of_leader(words), within_multi=self._now(words))
                else:
                    table.add(call, self._now(words))
        table.add("ROLE", self._now(lambda call, group: cluster.role(group)))
        for wait in ("WAIT", "WAITAOF"):
            table.add_asking(wait, self._waits.wait, within_multi=self._waits.now)

    def _now(self, words: Words) -> Answer:
        return lambda client, call: words(call, self._view.group())

    def _of_leader(self, words: Words) -> Ask:
        def ask(client: Client, call: Request, done: Done) -> None:
            def look(is_over: bool) -> bool:
                is_told = is_over or self._view.knows_leader
                if is_told:
                    done(words(call, self._view.group()))
                return is_told

            look_until(self._loop, client, look, LOOK_S, self._patience_s)

        return ask

    def _keys_in_slot(self, client: Client, call: Request, done: Done) -> None:
        def found(values: list[Value]) -> None:
            (keys,) = values
            done(keys if isinstance(keys, Failure) else cluster.keys_in_slot(call, keys))

        self._redis.run([(b"KEYS", b"*")], found, client.want)
