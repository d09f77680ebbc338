"""The calls by which clients find the leader and the other nodes, and wait for copies."""

from __future__ import annotations

from typing import Final, Protocol

from raftcache.cluster.group import Group
from raftcache.command.call_table import SPECS
from raftcache.command.values import Failure, Value
from raftcache.server.resp import cluster, sentinel
from raftcache.server.resp.client import Client
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable, Done
from raftcache.server.resp.waiting import Waits
from raftcache.service.redis import Redis

_OF_KEYS: Final = (b"COUNTKEYSINSLOT", b"GETKEYSINSLOT")
"""These look at all keys, so they are for people, not for programs."""


class View(Protocol):
    """This node's view of its group (cluster/group.py)."""

    def group(self) -> Group: ...


class DiscoveryCalls:
    """Answers CLUSTER, SENTINEL, ROLE, WAIT and their like."""

    def __init__(self, view: View, waits: Waits, redis: Redis) -> None:
        self._view, self._waits, self._redis = view, waits, redis

    def add_to(self, table: CallTable) -> None:
        for name in SPECS[b"CLUSTER"].subcommands:
            if name not in _OF_KEYS:
                table.add(f"CLUSTER|{name.decode()}", self._cluster)
        for name in _OF_KEYS:
            call = f"CLUSTER|{name.decode()}"
            table.add_asking(call, self._keys_in_slot, is_refused_in_multi=True)
        for name in SPECS[b"SENTINEL"].subcommands:
            table.add(f"SENTINEL|{name.decode()}", self._sentinel)
        table.add("ROLE", self._role)
        for switch in ("READONLY", "READWRITE"):
            table.add(switch, _accept)
        for wait in ("WAIT", "WAITAOF"):
            table.add_asking(wait, self._wait, within_multi=self._wait_not)

    def _cluster(self, client: Client, call: Request) -> Value:
        return cluster.answer(call, self._view.group())

    def _sentinel(self, client: Client, call: Request) -> Value:
        return sentinel.answer(call, self._view.group())

    def _role(self, client: Client, call: Request) -> Value:
        return cluster.role(self._view.group())

    def _keys_in_slot(self, client: Client, call: Request, done: Done) -> None:
        def found(values: list[Value]) -> None:
            (keys,) = values
            done(keys if isinstance(keys, Failure) else cluster.keys_in_slot(call, keys))

        self._redis.run([(b"KEYS", b"*")], found, client.want)

    def _wait(self, client: Client, call: Request, done: Done) -> None:
        """Given up when the client goes."""
        is_told = False

        def told(value: Value) -> None:
            nonlocal is_told
            is_told = True
            if give_up in client.at_end:
                client.at_end.remove(give_up)
            done(value)

        def give_up() -> None:
            end()

        end = self._waits.wait(call, told)
        if not is_told:
            client.at_end.append(give_up)

    def _wait_not(self, client: Client, call: Request) -> Value:
        return self._waits.now(call)


def _accept(client: Client, call: Request) -> Value:
    """Every node takes every call, and reads stay linearizable."""
    return "OK"
