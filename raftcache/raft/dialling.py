"""Dialling: how the links to peers begin, and what is found out when one ends by itself.

Of every two nodes one dials the other, one link after the other; if nothing came of that for long,
the other one dials, too: the first may not know it, or not where it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from raftcache.config import Address
from raftcache.ports import Dice
from raftcache.raft.complaints import Complaints
from raftcache.raft.greetings import Identity, Life
from raftcache.raft.members import Member
from raftcache.raft.pace import Backoff, Pace
from raftcache.raft.peer import Connection, LinkCounters, Owner
from raftcache.raft.probe import nobody_listens
from raftcache.raft.stock import Node

logger = logging.getLogger("raftcache.raft")


class Peer:
    """A node this one should have a link to.

    guest: who greeted, if it is not known as a member; then it is a peer while its link lasts.
    latest: the latest of its processes that was let in.
    acknowledged: up to here its data has the log for certain, and may not lose it.
    """

    def __init__(self, node: Node, guest: Member | None = None) -> None:
        self.node, self.guest = node, guest
        self.connection: Connection | None = None
        self.latest: Life | None = None
        self.acknowledged = 0
        self.dialling: asyncio.Task[None] | None = None
        self.probing: asyncio.Task[None] | None = None
        self.lonely_beats = 0

    def let_in(self, connection: Connection) -> None:
        """This is the link to it from now on."""
        if self.latest is None or self.latest.member_id != connection.life.member_id:
            self.acknowledged = 0
        self.connection, self.latest = connection, connection.life


class Dialler:
    """Dials for the owner of all links, and probes; one or none of both for each peer."""

    def __init__(
        self,
        owner: Owner,
        identity: Identity,
        counters: LinkCounters,
        complaints: Complaints,
        dice: Dice,
        pace: Pace,
        on_gone: Callable[[Node], None],
        elsewhere: Mapping[str, Address],
    ) -> None:
        """on_gone: called when a link has ended by itself, and its other end's process with it.

        elsewhere: by name, where a member may be as well; tried in turns with its address.
        """
        self._owner, self._identity, self._counters = owner, identity, counters
        self._complaints, self._dice, self._pace = complaints, dice, pace
        self._on_gone = on_gone
        self._addresses: dict[str, Address] = {}
        self._elsewhere = elsewhere
        self._failures: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def set_address(self, name: str, address: Address) -> bool:
        """Where to dial a member from the next time on; False if that is known."""
        if self._addresses.get(name) == address:
            return False
        self._addresses[name] = address
        return True

    def dial(self, peer: Peer) -> None:
        """Begin to, if this node is the one to dial, and knows where; until `stop`."""
        if peer.node.id in self._addresses and self._identity.dials(peer.node.id):
            self._begin(peer, self._dial(peer))

    def beat(self, peers: Iterable[Peer]) -> None:
        """Dial those who have been without a link for too long, once."""
        lonely_beats_max = self._pace.beats(self._pace.lonely_after_s)
        for peer in peers:
            peer.lonely_beats += 1
            overdue = peer.connection is None and peer.lonely_beats > lonely_beats_max
            if overdue and peer.dialling is None and peer.node.id in self._addresses:
                self._begin(peer, self._dial_once(peer))

    def probe(self, peer: Peer) -> None:
        """Its link has ended by itself: find out whether its process has, too."""
        if peer.node.id in self._addresses:
            if peer.probing is not None:
                peer.probing.cancel()
            peer.probing = self._task(self._probe(peer))

    def stop(self, peer: Peer) -> None:
        """Neither dial it nor probe; the link that was dialled ends with it."""
        for task in (peer.dialling, peer.probing):
            if task is not None:
                task.cancel()
        peer.dialling = peer.probing = None

    async def ended(self) -> None:
        """Wait for all that was stopped."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, peer: Peer, work: Coroutine[Any, Any, None]) -> None:
        assert peer.dialling is None
        peer.dialling = self._task(work)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _dial(self, peer: Peer) -> None:
        """One link after the other, until cancelled."""
        backoff = Backoff(self._pace, self._dice)
        while True:
            if peer.connection is None and await self._hold_link(peer.node.id):
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _dial_once(self, peer: Peer) -> None:
        """Against the rule of who dials, since nothing came of the rule."""
        await self._hold_link(peer.node.id)
        peer.dialling, peer.lonely_beats = None, 0

    async def _hold_link(self, name: str) -> bool:
        """Dial once, and wait for the end of the link. False if there never was one."""
        places = self._places(name)
        address = places[self._failures[name] % len(places)]
        connection = Connection(self._owner, self._counters, dialled=name)
        loop, reached = asyncio.get_running_loop(), False
        try:
            async with asyncio.timeout(self._pace.handshake_timeout_s):
                await loop.create_connection(lambda: connection, address.host, address.port)
            reached = True
            await connection.closed.wait()
        except (OSError, UnicodeError) as e:  # UnicodeError: no name that DNS could know
            self._counters.dials_failed += 1
            why = str(e) or "timed out"
            self._complaints.log("cannot reach peer", name, why, address=str(address))
        finally:
            connection.abort("hung up")
            if connection.name is None:
                self._failures[name] += 1
            if not reached:  # cancelled right after connection_made: uvloop never reports the end
                connection.connection_lost(None)
        return connection.name is not None

    def _places(self, name: str) -> list[Address]:
        known = self._addresses[name]
        return list(dict.fromkeys((known, self._elsewhere.get(name, known))))

    async def _probe(self, peer: Peer) -> None:
        places = self._places(peer.node.id)
        ended = all(await asyncio.gather(*map(nobody_listens, places)))
        peer.probing = None
        if ended and peer.connection is None:
            self._counters.peers_gone += 1
            logger.info("peer gone", extra={"peer": peer.node.id})
            self._on_gone(peer.node)
