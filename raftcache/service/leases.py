"""Leases: granted, kept alive, revoked and shown."""

from __future__ import annotations

from typing import Protocol

from raftcache.command.leasing import LeaseView, Leasing
from raftcache.command.limits import LEASES_SHOWN_MAX
from raftcache.command.replies import Reply
from raftcache.errors import LeaseLost
from raftcache.service.calls import become_fresh, written
from raftcache.service.kv import Kv, Want
from raftcache.state.machine import Machine


class Leases(Protocol):
    """Shape of the service, for front doors and their tests; every call raises what refused it."""

    async def execute(self, command: Leasing) -> Reply:
        """Replicate the command."""
        ...

    async def show(self, lease_id: int, want: Want) -> tuple[LeaseView, list[bytes]]:
        """A lease, and the first LEASES_SHOWN_MAX of its keys; raises LeaseLost."""
        ...

    async def list(self, after: int, count_max: int, want: Want) -> list[LeaseView]:
        """Leases with ids above one, in order."""
        ...


class LeaseService:
    """The real one."""

    def __init__(self, kv: Kv, machine: Machine) -> None:
        self._kv, self._machine = kv, machine

    async def execute(self, command: Leasing) -> Reply:
        return await written(self._kv, command)

    async def show(self, lease_id: int, want: Want) -> tuple[LeaseView, list[bytes]]:
        await become_fresh(self._kv, self._machine, want)
        view = self._machine.lease(lease_id)
        if view is None:
            raise LeaseLost(f"lease {lease_id} has ended, or never was")
        return view, self._machine.lease_keys(lease_id, LEASES_SHOWN_MAX)

    async def list(self, after: int, count_max: int, want: Want) -> list[LeaseView]:
        await become_fresh(self._kv, self._machine, want)
        return self._machine.leases(after, count_max)
