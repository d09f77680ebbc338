"""Whom a node talks to: what becomes of a greeting, by who it is and which links there are.

It authenticates nobody: see transport.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raftcache.raft.dialling import Peer
from raftcache.raft.greetings import Identity, Refusal
from raftcache.raft.members import MEMBERS_MAX
from raftcache.raft.messages import Message
from raftcache.raft.roll import Roll

GUESTS_MAX: Final = MEMBERS_MAX
"""Links at a time to nodes that are not known as members; one of them may be the leader."""


class Doorkeeper:
    """Greets for one node, and judges who greets it. It changes nothing."""

    def __init__(self, identity: Identity, roll: Roll, peers: Mapping[str, Peer]) -> None:
        """peers: by name, as they come and go; their owner keeps them up to date."""
        self._identity, self._roll, self._peers = identity, roll, peers

    def hello(self, to: str) -> bytes:
        """The greeting for the peer that this node means to reach, as a frame."""
        return self._identity.hello(to, self._roll.version)

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
        current = self._peers[name].connection
        if current is None:
            return None  # whoever dials: there must be a link
        return Refusal.STALE if current.incarnation > hello["incarnation"] else refusal
