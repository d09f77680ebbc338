"""Quotas on prefixes: shown and changed; the state keeps and enforces them."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from raftcache.command.replies import Reply
from raftcache.command.words import DeleteQuota, SetQuota
from raftcache.service.calls import become_fresh, written
from raftcache.service.kv import LINEARIZABLE, Kv
from raftcache.state.machine import Machine


class QuotaView(Struct, frozen=True):
    """A quota and what counts for it; None: no limit.

    counting: keys that were there before it are still being counted, and nothing is refused yet.
    """

    prefix: bytes
    keys_max: int | None
    size_bytes_max: int | None
    keys: int
    size_bytes: int
    counting: bool


class Quotas(Protocol):
    """Shape of the service, for front doors; every call raises what refused it."""

    async def quotas(self) -> list[QuotaView]:
        """All of them, by prefix; linearizable."""
        ...

    async def change(self, command: SetQuota | DeleteQuota) -> Reply:
        """Replicate the command."""
        ...


class QuotaService:
    """The real one."""

    def __init__(self, kv: Kv, machine: Machine) -> None:
        self._kv, self._machine = kv, machine

    async def quotas(self) -> list[QuotaView]:
        await become_fresh(self._kv, self._machine, LINEARIZABLE)
        return [
            QuotaView(
                quota.prefix,
                quota.keys_max,
                quota.size_bytes_max,
                count.keys,
                count.size_bytes,
                quota.counted_to is not None,
            )
            for quota, count in self._machine.quotas()
        ]

    async def change(self, command: SetQuota | DeleteQuota) -> Reply:
        return await written(self._kv, command)
