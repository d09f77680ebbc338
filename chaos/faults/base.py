"""What a fault is, and the field it plays on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass

from chaos.cluster import OwnCluster
from chaos.links import Network
from chaos.waiting import leader_now
from raftcache.client import RaftcacheClient


class Busy(Exception):
    """The fault has nobody to strike just now."""


@dataclass
class Field:
    """What faults may touch. A node that one of them has stopped or may stop is claimed by it."""

    cluster: OwnCluster
    network: Network
    client: RaftcacheClient
    dice: random.Random

    def __post_init__(self) -> None:
        self._claimed: set[str] = set()
        self.members_version = 0
        """The newest configuration of members that was seen."""

    @property
    def names(self) -> list[str]:
        """Of the nodes there are just now; clients may know others too."""
        return self.cluster.names

    @property
    def minority(self) -> int:
        """How many nodes at most may be lost without harm."""
        return (len(self.names) - 1) // 2

    async def leader(self) -> str:
        """Who leads; anybody if nobody does."""
        return await leader_now(self.client, self.names) or self.dice.choice(self.names)

    @contextmanager
    def claim(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Nobody else's meanwhile. Raises Busy if one of them is already."""
        wanted = set(names)
        if not wanted or wanted & self._claimed:
            raise Busy
        self._claimed |= wanted
        try:
            yield sorted(wanted)
        finally:
            self._claimed -= wanted

    async def victims(self, target: str) -> list[str]:
        """leader, random, majority or all."""
        if target == "leader":
            return [await self.leader()]
        counts = {"random": 1, "majority": len(self.names) // 2 + 1, "all": len(self.names)}
        return self.dice.sample(self.names, counts[target])


def nothing_missing() -> str | None:
    return None


@contextmanager
def nothing_to_prepare(cluster: OwnCluster) -> Iterator[None]:
    yield


@dataclass(frozen=True)
class Fault:
    """One way to make trouble, with its healing.

    strike: enters with the trouble made and a word on it for the report, leaves with it healed.
        Raises Busy if there is nobody to strike.
    holds: whether the trouble lasts; the nemesis says how long. Otherwise it is over at once.
    weight: how often it is chosen, against the others.
    options: of every node of a cluster that may meet this fault.
    spares: so many empty places it needs beside the nodes'.
    delays: whether it needs a network that can delay what passes.
    missing: why this machine cannot have it; None if it can.
    prepare: around the life of the whole cluster, before its nodes start.
    """

    name: str
    about: str
    strike: Callable[[Field], AbstractAsyncContextManager[str]]
    holds: bool = True
    weight: float = 1.0
    options: tuple[str, ...] = ()
    spares: int = 0
    delays: bool = False
    missing: Callable[[], str | None] = nothing_missing
    prepare: Callable[[OwnCluster], AbstractContextManager[None]] = nothing_to_prepare
