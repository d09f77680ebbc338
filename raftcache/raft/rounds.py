"""ReadIndex: reads that are linearizable without a log entry (Raft dissertation, section 6.4).

A leader that has committed in its own term notes its commit index, and may answer a read from any
state that has applied that index once a majority has answered a message *sent after* the read
arrived. All reads that wait share one such round. The lease is the same knowledge, kept: for less
than the shortest election timeout after the *sending* of a message that a majority answered, no
other leader can have been elected, because voters have promised so.

They are asked for that promise only while somebody wants to read by it (decisions/0006): every
message of a leader that seeks a lease says so. A voter that was not asked may elect another leader
as soon as the old one's process seems to have ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable
from typing import Final, TypeAlias, TypeVar, cast

Peer = TypeVar("Peer", bound=Hashable)
Ready: TypeAlias = Callable[[int | None], None]
"""Called with the read index, or None when this node cannot vouch for one any more."""

LEASE_DRIFT: Final = 0.1
"""Clocks of two nodes may run apart by this fraction before a lease read could be stale."""

LEASE_SOUGHT_S: Final = 1.0
"""So long after a read by lease one is sought: reads that come less often share rounds, instead."""


class Rounds:
    """The leader's side: who answered what, which reads wait for which message."""

    def __init__(self) -> None:
        self._answered: dict[Hashable, int] = {}
        self._quick: list[Hashable] = []  # who answered what all were asked last, the first first
        self._quick_seq = 0
        self._waiting: deque[tuple[int, int, Ready]] = deque()  # (seq to be answered, index, read)
        self._arrived: list[Ready] = []
        self._sent_s: deque[tuple[int, float]] = deque()
        self._confirmed_s = float("-inf")
        self._seeks_from: int | None = None  # every message from this one on has asked for a lease
        self._sought_until_s = self._lease_s = float("-inf")

    @property
    def wants_message(self) -> bool:
        """Reads have arrived that no message sent so far can confirm."""
        return bool(self._arrived)

    def add(self, ready: Ready) -> None:
        self._arrived.append(ready)

    def begin(self, next_seq: int, commit_index: int) -> None:
        """Every message from `next_seq` on is sent after the reads that have arrived."""
        for ready in self._arrived:
            self._waiting.append((next_seq, commit_index, ready))
        self._arrived = []

    @property
    def awaited(self) -> int:
        """The oldest message that reads wait for answers to; 0 if none do."""
        return self._waiting[0][0] if self._waiting else 0

    def quickest(self, peers: Collection[Peer]) -> Collection[Peer]:
        """Whom to ask for a round: as many of the voters `peers` as it takes, the quickest ones.

        Nobody while it is not known who that is. Who was asked may not answer: after a moment all
        should be.
        """
        needed, quick = _needed(len(peers)), [peer for peer in self._quick if peer in peers]
        return cast("list[Peer]", quick[:needed]) if len(quick) >= needed else ()

    def ask_all(self, seq: int) -> None:
        """Every voter is sent a message, from `seq` on: who answers first is quick."""
        self._quick, self._quick_seq = [], seq

    def sent(self, seq: int, now_s: float) -> None:
        """Messages from `seq` on, to enough of the voters, are sent at `now_s`, and not before it.

        Here is decided whether they, and all until the next call, ask for a lease.
        """
        self._sent_s.append((seq, now_s))
        if now_s >= self._sought_until_s:
            self._seeks_from = None
        elif self._seeks_from is None:
            self._seeks_from = seq

    def seek_lease(self, now_s: float) -> None:
        """Somebody wants to read by a lease."""
        self._sought_until_s = now_s + LEASE_SOUGHT_S

    @property
    def seeks_lease(self) -> bool:
        """What is sent now has to ask the voter for its promise."""
        return self._seeks_from is not None

    def answered(self, peer: Hashable, seq: int) -> None:
        if seq > self._answered.get(peer, 0):
            self._answered[peer] = seq
        if seq >= self._quick_seq and peer not in self._quick:
            self._quick.append(peer)

    def settle(self, peers: Collection[Hashable], now_s: float) -> None:
        """Finish the reads that a majority of the voters (this leader and `peers`) confirms."""
        if peers and not (self._waiting or self._sent_s):
            return
        answers = sorted((self._answered.get(p, 0) for p in peers), reverse=True)
        needed = _needed(len(answers))
        while self._waiting and (not needed or self._waiting[0][0] <= answers[needed - 1]):
            _, index, ready = self._waiting.popleft()
            ready(index)
        if not needed:
            self._confirmed_s = self._lease_s = now_s
            self._sent_s.clear()
        while self._sent_s and self._sent_s[0][0] <= answers[needed - 1]:
            seq, self._confirmed_s = self._sent_s.popleft()
            # Whoever answers a later message may never have got this one: so all of them count.
            if self._seeks_from is not None and seq >= self._seeks_from:
                self._lease_s = self._confirmed_s

    @property
    def confirmed_s(self) -> float:
        """When the last message was sent that a majority answered; -inf without one."""
        return self._confirmed_s

    def holds_lease(self, now_s: float, election_min_s: float) -> bool:
        return now_s < self._lease_s + election_min_s * (1 - LEASE_DRIFT)

    def end(self) -> None:
        """Leadership is over or being handed on: nothing learnt so far counts any more."""
        ended = [ready for _, _, ready in self._waiting] + self._arrived
        self._answered.clear()
        self._quick = []
        self._waiting.clear()
        self._arrived = []
        self._sent_s.clear()
        self._seeks_from = None
        self._confirmed_s = self._sought_until_s = self._lease_s = float("-inf")
        for ready in ended:
            ready(None)


def _needed(peers: int) -> int:
    """How many of so many voters are a majority, with the leader itself."""
    return (peers + 1) // 2
