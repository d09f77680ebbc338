"""The engine as a whole: the tick, what a message's term means, what replica.py sees."""

from __future__ import annotations

from typing import Final

from raftcache.errors import NotLeader
from raftcache.raft.engine import checking
from raftcache.raft.engine.base import CANDIDATE, FOLLOWER, LEADER, Parts
from raftcache.raft.messages import Message
from raftcache.raft.progress import Seen
from raftcache.raft.stock import FAIL_REASON, Node, SyncObjConf

_ASSERTS_TERM: Final = frozenset(("append_entries", "ping", "snapshot_chunk", "request_vote"))
_REPORTS_TERM: Final = frozenset(("term", "next_node_idx", "pong", "snapshot_ack"))
_COUNTS: Final = frozenset(
    ("next_node_idx", "pong", "snapshot_ack", "response_vote", "pre_vote_ok", "digest_reply")
)
"""What it says counts for the member it speaks for: its votes, its acknowledgements."""
_OF_EVERY_OPERATION: Final = frozenset(
    ("append_entries", "next_node_idx", "ping", "pong")
    + ("apply_command", "apply_command_response", "read_index", "read_index_reply")
)
"""Their handlers say whether there is more to do than they have done; who gets any other message
looks at everything."""


class SyncObj(checking.SyncObj):
    """One node of one Raft group. Driven by `step` and `apply`; single-threaded; never blocks."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        self.tick_due = True
        """The next step is a tick; whoever wants one says so here."""
        super().__init__(name, conf, parts)
        parts.outbox.complete, parts.outbox.not_sent = self.__complete, self.__not_sent

    # -- what replica.py sees ------------------------------------------------------------------

    @property
    def name(self) -> str:
        return str(self.__selfNode.id)

    @property
    def is_leader(self) -> bool:
        return bool(self.__raftState == LEADER)

    @property
    def is_candidate(self) -> bool:
        return bool(self.__raftState == CANDIDATE or self.__pre_votes is not None)

    @property
    def leader(self) -> str | None:
        return None if self.__raftLeader is None else str(self.__raftLeader.id)

    @property
    def has_committed_in_term(self) -> bool:
        """Leader only: everything acknowledged by earlier leaders is committed here (5.4.2)."""
        return self.is_leader and bool(self.__raftCommitIndex >= self.__noopIDx)

    @property
    def last_index(self) -> int:
        return int(self.__raftLog.last_index)

    @property
    def match_indexes(self) -> dict[str, int]:
        """Leader only: what each follower is known to hold durably."""
        return {n.id: self.__raftMatchIndex.get(n, 0) for n in self.__sorted_others()}

    @property
    def contact_age_s(self) -> float:
        """Seconds since the last message of a live leader; 0 on a leader with a quorum."""
        return 0.0 if self.is_leader else self.__clock() - self.__heard_s

    @property
    def progress(self) -> Seen:
        """How far this node has come."""
        return (
            self.__raftCurrentTerm,
            self.__raftLeader,
            self.__raftCommitIndex,
            self.__raftLastApplied,
            self.__raftLog.last_index,
        )

    @property
    def is_due(self) -> bool:
        """A step would do something that has to be done."""
        return self.__step_due or self.tick_due or self.is_behind

    def step(self) -> None:
        """Do what comes of messages, proposals, reads and the disk: commit, apply, send, answer.

        And if a tick is due, what the clock asks for: elections, snapshots, comparisons.
        """
        if self.__raftState == LEADER:
            self.__advance_commit()  # before anything changes whose disks count
        if self.tick_due:
            self.tick_due = False
            self._onTick()
        else:
            self.__step(self.__clock())

    def apply(self) -> None:
        """Only apply what is committed, answer who waited for it, and tell who could apply it."""
        self.__applyLogEntries()
        self.__answer_reads()
        if self.__raftState == LEADER:
            self.__tell()
            # Who waited for the first entry of this term:
            self.__step_due |= self.__rounds.wants_message or bool(self.__commandsQueue)
        else:
            self.__note_freshness()

    def peer_gone(self, node: Node) -> None:
        self.tick_due = True
        super().peer_gone(node)

    # -- the tick ------------------------------------------------------------------------------

    def _onTick(self, timeToWait: float = 0.0) -> None:
        now_s = self.__clock()
        if self.__raftState == LEADER:
            self.__check_quorum(now_s)
            self.__claim_members()
        else:
            self.__elect(now_s)
        self.__step(now_s)
        self.__rounds.settle(self.__voters, now_s)  # fewer may be enough by now
        self.__note_freshness()
        self.__check_states(now_s)
        self.__tryLogCompaction()

    def __step(self, now_s: float) -> None:
        self.__step_due = False
        if self.is_behind:
            self.__applyLogEntries()
        if self.__transfer_to is not None:
            self.__hand_over(now_s)
        elif self.__raftState != LEADER:
            if self.__commandsQueue:
                self._checkCommandsToApply()
        elif self.__may_append():
            self.__append_proposals()
        if self.__raftState == LEADER:
            self.__sendAppendEntries()
            if not self.__voters:  # whoever is alone waits for nobody
                self.__rounds.settle(self.__voters, now_s)
        else:
            self.__note_freshness()
        self.__answer_reads()

    def __may_append(self) -> bool:
        """Leader only: the members' data are known, and so is all that was ever acknowledged.

        Whoever proposes something may have been answered by the leader before. What that was must
        be committed, as far as the log says, before anything that may rest on it (see Block).
        """
        return self.configuration.version > 0 and self.has_committed_in_term

    # -- messages ------------------------------------------------------------------------------

    def __onMessageReceived(self, node: Node, message: Message) -> None:
        kind, term = message["type"], message.get("term", 0)
        if kind not in _OF_EVERY_OPERATION:
            self.tick_due = True
        current_term = self.__raftCurrentTerm
        if term < current_term and kind in _ASSERTS_TERM:
            # rule 5: silence would leave a node of a higher term stuck for ever
            self.__transport.send(node, {"type": "term", "term": current_term})
        elif term > current_term and kind in _REPORTS_TERM:
            self.__setCurrentTerm(term, None)
            self.__setState(FOLLOWER)
            self.__forget_leader()
        elif kind in _COUNTS and self.__parts.outbox.is_other(node):
            pass  # let in to bring this node up to date, or about to be cut off
        elif (handle := self.__handlers.get(kind)) is not None:
            handle(node, message)
        elif kind != "term":
            super().__onMessageReceived(node, message)

    def __complete(self, node: Node, message: Message) -> Message:
        if message["type"] == "request_vote":
            message["force"] = self.__forced
        return self.__with_time(message) if message["type"] == "response_vote" else message

    def __not_sent(self, node: Node, message: Message) -> None:
        """It never left this node: that is definite, and the caller hears it at once."""
        if message["type"] == "apply_command":
            callback = self.__commandsWaitingReply.pop(message.get("request_id"), None)
            if callback is not None:
                callback(None, FAIL_REASON.MISSING_LEADER)
        elif message["type"] == "read_index":
            ready = self.__asked.pop(message["id"], None)
            if ready is not None:
                ready(None)
        elif message["type"] == "change_members":
            done = self.__asked_changes.pop(message["id"], None)
            if done is not None:
                done(NotLeader("the leader cannot be reached"))

    def __onNodeDisconnected(self, node: Node) -> None:
        super().__onNodeDisconnected(node)
        if node == self.__raftLeader:
            self.__onLeaderChanged()
