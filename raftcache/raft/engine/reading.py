"""Reading: ReadIndex on any node, leases on the leader (rule 9); the account is in rounds.py."""

from __future__ import annotations

import math

from raftcache.raft.engine import applying
from raftcache.raft.engine.base import LEADER, Parts
from raftcache.raft.freshness import Freshness
from raftcache.raft.messages import Message
from raftcache.raft.rounds import Ready
from raftcache.raft.stock import Node, SyncObjConf


class SyncObj(applying.SyncObj):
    """When the state here is fresh enough to answer from."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        self.__asked: dict[int, Ready] = {}  # read rounds this follower asked its leader for
        self.__ready: list[tuple[int, Ready]] = []  # reads that wait for an index to be applied
        self.__freshness = Freshness()
        super().__init__(name, conf, parts)
        self.__handlers |= {
            "read_index": self.__on_read_index,
            "read_index_reply": self.__on_read_index_reply,
        }

    def read_index(self, ready: Ready) -> None:
        """ready(index) once the state here has everything acknowledged before this call."""
        if self.__raftState == LEADER:
            self.__ask_for(lambda index: self.__await_applied(index, ready))
        elif self.__raftLeader is None:
            ready(None)
        else:
            self.__ask_id += 1
            self.__asked[self.__ask_id] = ready
            ask = {"type": "read_index", "id": self.__ask_id, "term": self.__raftCurrentTerm}
            self.__transport.send(self.__raftLeader, ask)

    @property
    def awaited(self) -> int:
        """Leader only: the oldest message that reads wait for other voters to answer, or 0."""
        return self.__rounds.awaited

    def holds_lease(self) -> bool:
        """The state here has everything that anyone was told, and no other leader can be.

        Whoever asks makes this node seek a lease for a while: see rounds.py.
        """
        self.__rounds.seek_lease(self.__clock())
        return (
            self.has_committed_in_term
            and not self.is_behind  # a follower may have applied more, and answered
            and self.__lease_void_term != self.__raftCurrentTerm
            and self.__rounds.holds_lease(self.__clock(), self.__conf.raftMinTimeout)
        )

    @property
    def state_age_s(self) -> float:
        """The state here has everything that was acknowledged anywhere so many seconds ago."""
        self.__note_freshness()
        return self.__freshness.age_s(self.__clock())

    def __hear_leader(self, node: Node, message: Message) -> None:
        super().__hear_leader(node, message)
        term, commit_index = message["term"], message["commit_index"]
        fresh_ms = message.get("fresh")  # older leaders do not say
        self.__freshness.heard(term, commit_index, message["now"], self.__heard_s, fresh_ms)

    def __fresh_ms(self, node: Node, now_ms: int) -> int:
        """When, in cluster time, nobody else led for sure, if this node takes what is sent now.

        Of three voters (or four, before the last change) the others are no majority without it,
        and if it voted for one it does not take this any more. Else only answers can tell.
        """
        if node in self.__voters and len(self.__voters) <= 2:
            return now_ms
        age_s = self.__clock() - self.__rounds.confirmed_s
        return max(0, now_ms - math.ceil(age_s * 1000)) if age_s < math.inf else 0

    def __note_freshness(self) -> None:
        """After applying. A leader's state counts when all that it committed is in it."""
        if self.has_committed_in_term and not self.is_behind:
            self.__freshness.confirmed(self.__rounds.confirmed_s)
        log, index = self.__raftLog, self.__raftLastApplied
        if index >= log.first_index:
            self.__freshness.applied(index, log.term_at(index))

    def __on_read_index(self, node: Node, message: Message) -> None:
        def reply(index: int | None) -> None:
            answer = {"type": "read_index_reply", "id": message["id"], "index": index}
            self.__transport.send(node, answer)

        if self.__raftState != LEADER:
            reply(None)
        elif self.__is_confirmed_by(node, message):
            reply(self.__raftCommitIndex)
        else:
            self.__ask_for(reply)

    def __is_confirmed_by(self, node: Node, message: Message) -> bool:
        """Who asks has answered: it was in this term after the read had arrived there.

        Of three voters nobody else need be asked. Whoever was elected before that read has the vote
        of one of these two, who would be in a later term then.
        """
        return (
            message.get("term") == self.__raftCurrentTerm  # older followers do not say
            and self.has_committed_in_term
            and self.__is_majority({node})
            and not self.__parts.outbox.is_other(node)  # as with any answer: see engine.py
        )

    def __on_read_index_reply(self, node: Node, message: Message) -> None:
        ready = self.__asked.pop(message["id"], None)
        if ready is not None:
            self.__await_applied(message["index"], ready)

    def __await_applied(self, index: int | None, ready: Ready) -> None:
        if index is None or index <= self.__raftLastApplied:
            ready(index)
        else:
            self.__ready.append((index, ready))

    def __answer_reads(self) -> None:
        if self.__ready:
            applied = self.__raftLastApplied
            due = [r for r in self.__ready if r[0] <= applied]
            self.__ready = [r for r in self.__ready if r[0] > applied]
            for index, ready in due:
                ready(index)

    def __onLeaderChanged(self) -> None:
        super().__onLeaderChanged()
        asked, self.__asked = self.__asked, {}
        for ready in asked.values():
            ready(None)

    def __end_reads(self) -> None:
        """Of those whose index is not known yet, and of those that wait for it to be applied."""
        self.__rounds.end()
        waiting, self.__ready = self.__ready, []
        for _, ready in waiting:
            ready(None)

    def __setState(self, state: int) -> None:
        if self.__raftState == LEADER and state != LEADER:
            self.__rounds.end()
        super().__setState(state)
