"""Whom a node talks to: what becomes of a greeting, by who it is and which links there are.

It authenticates nobody: see transport.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raftcache.raft.dialling import Peer
from raftcache.raft.greetings import Identity, Life, Refusal
from raftcache.raft.members import MEMBERS_MAX
from raftcache.raft.messages import HOLDS_ALL, Message
from raftcache.raft.peer import Connection
from raftcache.raft.roll import Roll

GUESTS_MAX: Final = MEMBERS_MAX
"""Links at a time to nodes that are not known as members; one of them may be the leader."""


class Doorkeeper:
    """Greets for one node, and judges who greets it. It changes nothing."""

    def __init__(
        self, identity: Identity, roll: Roll, peers: Mapping[str, Peer], rival_beats_max: int
    ) -> None:
        """peers: by name, as they come and go; their owner keeps them up to date.

        rival_beats_max: a link that still stands so long after a rival came is not one whose
            process had ended by then.
        """
        self._identity, self._roll, self._peers = identity, roll, peers
        self._rival_beats_max = rival_beats_max

    def hello(self, to: str, holds: int) -> bytes:
        """The greeting for the peer that this node means to reach, as a frame."""
        return self._identity.hello(to, self._roll.version, holds)

    def refusal(self, hello: Message, dialled: str | None, takes_guests: bool) -> Refusal | None:
        """Why not to talk to who sent this hello; None if it may be a peer, or a guest.

        dialled: whom this node meant to reach; None on a connection that it accepted.
        """
        name = hello["name"]
        refusal = self._identity.refusal(hello, dialled, self._peers)
        by_roll = self._roll.refusal(name, hello["member_id"], hello["members_version"])
        if by_roll is Refusal.REMOVED:
            return by_roll
        if refusal is Refusal.UNKNOWN and dialled is None and takes_guests:
            guests = sum(peer.guest is not None for peer in self._peers.values())
            return None if guests < GUESTS_MAX else refusal
        if refusal not in (None, Refusal.DIRECTION):
            return refusal
        if by_roll is not None:
            return by_roll
        peer, life = self._peers[name], Life.of(hello)
        if peer.latest is not None and (by_life := life.refusal(peer.latest)) is not None:
            return by_life
        same_data = peer.latest is not None and peer.latest.member_id == life.member_id
        if same_data and hello.get("holds", HOLDS_ALL) < peer.acknowledged:
            return Refusal.LOST
        current = peer.connection
        if current is None:
            return None  # whoever dials: there must be a link
        if life.is_double(current.life):
            return self._of_two(current, life)
        return Refusal.DIRECTION if life.incarnation < current.life.incarnation else refusal

    def _of_two(self, link: Connection, life: Life) -> Refusal:
        """Why not to let this process in beside the one that this link is to.

        As a rule that one has ended, and its link will: by itself, or when it has been silent for
        long enough. If it stands even then, its process runs, and both have the same data.
        """
        proven = link.rival == life and link.rival_beats > self._rival_beats_max
        return Refusal.COPY if proven else Refusal.IN_USE
