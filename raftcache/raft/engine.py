"""Corrections to pysyncobj 0.3.17: the engine keeps its word (docs/decisions/0001-engine.md).

As shipped the engine loses acknowledged writes. This layer restores the rules of Raft by small
overrides that filter or complete a message and then delegate to the parent. The class is named
SyncObj like its parent, because Python mangles private names with the class name: so `self.__x`
here is the parent's private `__x`. camelCase names are the parent's, snake_case names are ours.

What is replaced outright, because filtering cannot reach it: the tick (the parent counts itself
before its own disk has the entry), sending of entries (no flow control), the answer to an append
(no term, no sequence) and applying (one bad entry stopped every node for ever).

Order of effects: a message that promises something (`outbox.PROMISES`) leaves only after
everything that the log recorded before it is durable; see outbox.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from raftcache.command.limits import ENTRY_SIZE_BYTES_MAX
from raftcache.errors import Fatal
from raftcache.ports import Clock, StateMachine
from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.compaction import Compactor
from raftcache.raft.entries import Entry
from raftcache.raft.log import Log
from raftcache.raft.outbox import Outbox
from raftcache.raft.rounds import Ready, Rounds
from raftcache.raft.shipping import Receiving, Sender
from raftcache.raft.stock import FAIL_REASON, Node, SyncObjConf, engine
from raftcache.raft.window import Window

_Base: Any = engine.SyncObj

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
REGULAR: Final = b"\x00"
STAMP_SIZE_BYTES: Final = 8

APPEND_SIZE_BYTES_MAX: Final = 1 << 20
"""Entries in one message; one entry above it travels alone and whole (rule 12)."""

APPLY_SIZE_BYTES_MAX: Final = 1 << 20
"""Entries applied in one turn, so that a long log does not hold up heartbeats."""

_ASSERTS_TERM = frozenset(("append_entries", "ping", "snapshot_chunk", "request_vote"))
_REPORTS_TERM = frozenset(("term", "next_node_idx", "pong", "snapshot_ack"))

Message = dict[str, Any]


@dataclass(slots=True)
class Parts:
    """What an engine is made of; each belongs to this engine alone."""

    machine: StateMachine
    log: Log
    outbox: Outbox
    compactor: Compactor
    sender: Sender
    receiving: Receiving
    clock: Clock
    time: ClusterTime
    incarnation: int
    applied_index: int
    """The index of the snapshot the machine was loaded from, 1 if there was none."""


class SyncObj(_Base):
    """One node of one Raft group. Driven by `tick`; single-threaded; never blocks."""

    def __init__(self, name: str, others: list[str], conf: SyncObjConf, parts: Parts) -> None:
        self.__parts = parts
        self.__clock: Callable[[], float] = parts.clock.monotonic_s
        self.__seq = 0  # numbers every message that a follower answers, in this incarnation
        self.__windows: dict[Node, Window] = {}
        # The parent's, declared here for the type checker only.
        self.__raftElectionDeadline: float
        self.__transferInProgress: bool
        self.__raftLeader: Node | None
        self.__fences: dict[Node, int] = {}  # rejections of older messages than this are stale
        self.__told: dict[Node, int] = {}  # the commit index each follower was last told
        self.__ping_due_s = 0.0
        self.__votes: set[Node] = set()
        self.__pre_votes: set[Node] | None = None  # who granted the running pre-vote
        self.__pre_won = self.__forced = False
        self.__heard_s = parts.clock.monotonic_s()  # a restarted voter may have promised a lease
        self.__verified = 0  # the log is the leader's up to here, in this term
        self.__answer: tuple[int, int | None] = (0, None)  # (seq, verified) for the next answer
        self.__applied_term = 0
        self.__rounds = Rounds()
        self.__asked: dict[int, Ready] = {}  # read rounds this follower asked its leader for
        self.__ask_id = 0
        self.__ready: list[tuple[int, Ready]] = []  # reads that wait for an index to be applied
        self.__transfer_to: Node | None = None
        self.__transfer_until_s = 0.0
        self.__lease_void_term = -1  # a transfer was tried in it: its target may yet force a vote
        nodes = [Node(n) for n in others]
        _Base.__init__(self, Node(name), nodes, conf, transport=parts.outbox)
        parts.outbox.complete, parts.outbox.not_sent = self.__complete, self.__not_sent
        self.__commandsLocalCounter = parts.incarnation << 32  # rule 14: no reuse of request ids
        self.__needLoadDumpFile = False
        self.__raftLastApplied = self.__raftCommitIndex = parts.applied_index
        self.__verified = parts.applied_index

    # -- what replica.py sees ------------------------------------------------------------------

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
    def is_behind(self) -> bool:
        """Committed entries wait to be applied: tick again."""
        return bool(self.__raftLastApplied < self.__raftCommitIndex)

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

    def propose(self, batch: bytes, done: Callable[[Any, int], None]) -> None:
        """Append a batch to the replicated log; done(replies, FAIL_REASON) exactly once."""
        self._applyCommand(REGULAR + batch, done)

    def read_index(self, ready: Ready) -> None:
        """ready(index) once the state here has everything acknowledged before this call."""
        if self.__raftState == LEADER:
            self.__rounds.add(lambda index: self.__await_applied(index, ready))
        elif self.__raftLeader is None:
            ready(None)
        else:
            self.__ask_id += 1
            self.__asked[self.__ask_id] = ready
            self.__transport.send(self.__raftLeader, {"type": "read_index", "id": self.__ask_id})

    def holds_lease(self) -> bool:
        return (
            self.has_committed_in_term
            and self.__lease_void_term != self.__raftCurrentTerm
            and self.__rounds.holds_lease(self.__clock(), self.__conf.raftMinTimeout)
        )

    def transfer(self, to: str | None, timeout_s: float) -> bool:
        """Leader only: stop taking proposals, and hand over once the target has everything.

        The target is `to`, or the follower that has the most. False if there is none. If it is
        not done within timeout_s, this node goes on as leader.
        """
        candidates = [n for n in self.__sorted_others() if n in self.__connectedNodes]
        candidates = [n for n in candidates if to is None or n.id == to]
        if self.__raftState != LEADER or not candidates:
            return False
        self.__transfer_to = max(candidates, key=lambda n: self.__raftMatchIndex[n])
        self.__transfer_until_s = self.__clock() + timeout_s
        self.__lease_void_term = self.__raftCurrentTerm
        return True

    def tick(self) -> None:
        """Do everything that is due: elect, commit, apply, send, compact, answer reads."""
        self._onTick()

    # -- outgoing messages: completed on their way out -----------------------------------------

    def __complete(self, node: Node, message: Message) -> Message:
        kind = message["type"]
        if kind in ("append_entries", "ping", "snapshot_chunk"):
            self.__seq += 1
            message["seq"] = self.__seq
            message["now"] = self.__parts.time.now_ms()
        elif kind == "request_vote":
            message["force"] = self.__forced
        return message

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

    # -- incoming messages: filtered, then the parent's handler --------------------------------

    def __onMessageReceived(self, node: Node, message: Message) -> None:
        kind, term = message["type"], message.get("term", 0)
        if kind in _ASSERTS_TERM and term < self.__raftCurrentTerm:
            # rule 5: silence would leave a node of a higher term stuck for ever
            self.__transport.send(node, {"type": "term", "term": self.__raftCurrentTerm})
            return
        if kind in _REPORTS_TERM and term > self.__raftCurrentTerm:
            self.__setCurrentTerm(term, None)
            self.__setState(FOLLOWER)
            self.__forget_leader()
            return
        handler = self.__handlers.get(kind)
        if handler is not None:
            handler(self, node, message)
        elif kind != "term":
            super().__onMessageReceived(node, message)

    def __hear_leader(self, node: Node, message: Message) -> None:
        if self.__raftState == LEADER and message["term"] == self.__raftCurrentTerm:
            raise Fatal(f"two leaders in term {message['term']}: {node.id} and this node")
        if message["term"] > self.__raftCurrentTerm:
            self.__onLeaderChanged()
        self.__heard_s = self.__clock()
        self.__pre_votes, self.__pre_won = None, False
        self.__parts.time.hear(message["now"])

    def __on_append_entries(self, node: Node, message: Message) -> None:
        """Rule 1 (Raft 5.3): delete only from the first entry whose term conflicts."""
        self.__hear_leader(node, message)
        self.__adopt_term(message["term"])
        log = self.__raftLog
        prev, prev_term = message["prevLogIdx"], message["prevLogTerm"]
        entries = message["entries"]
        last, first = prev + len(entries), log[0][1]
        if prev < first:  # at and below the base everything is committed, hence equal
            entries = entries[first - prev :]
            prev, prev_term = first, log[0][2]
        at = prev - first
        matches = at < len(log) and log[at][2] == prev_term
        if matches:
            same = 0
            for entry in entries:
                if at + 1 >= len(log) or log[at + 1][2] != entry[2]:
                    break
                at, same = at + 1, same + 1
            entries = entries[same:]
            # Nothing conflicts: let the parent append behind our own tail, which is unverified
            # but may well be right, instead of truncating it.
            tail = log[at] if entries else log[-1]
            prev, prev_term = tail[1], tail[2]
            self.__verified = max(self.__verified, last)
        self.__answer = (message["seq"], last if matches else None)
        commit = min(message["commit_index"], self.__verified)
        super().__onMessageReceived(
            node,
            message
            | {
                "prevLogIdx": prev,
                "prevLogTerm": prev_term,
                "entries": entries,
                "commit_index": commit,
            },
        )

    def __sendNextNodeIdx(
        self, node: Node, reset: bool = False, nextNodeIdx: int | None = None, success: bool = False
    ) -> None:
        """Rule 2: an answer carries its term and the sequence it answers; a rejection, a hint."""
        seq, verified = self.__answer
        log = self.__raftLog
        if success:
            assert verified is not None
            next_index = verified + 1
        elif nextNodeIdx is None:  # my log is too short
            next_index = log.last_index + 1
        else:  # a conflict: skip its whole term (Raft 5.3, last paragraphs)
            at = nextNodeIdx - log.first_index
            term = log[at][2]
            while at > 1 and log[at - 1][2] == term:
                at -= 1
            next_index = max(log[at][1], self.__raftCommitIndex + 1)
        self.__transport.send(
            node,
            {
                "type": "next_node_idx",
                "next_node_idx": next_index,
                "reset": reset,
                "success": success,
                "term": self.__raftCurrentTerm,
                "seq": seq,
            },
        )

    def __on_ping(self, node: Node, message: Message) -> None:
        """A heartbeat and a read round: answered at once, it promises nothing about the log."""
        self.__hear_leader(node, message)
        self.__adopt_term(message["term"])
        commit = min(message["commit_index"], self.__verified)
        heartbeat = {"type": "append_entries", "term": message["term"], "commit_index": commit}
        super().__onMessageReceived(node, heartbeat)
        pong = {"type": "pong", "term": self.__raftCurrentTerm, "seq": message["seq"]}
        self.__transport.send(node, pong)

    def __on_pong(self, node: Node, message: Message) -> None:
        if self.__is_current(node, message):
            self.__lastResponseTime[node] = self.__clock()
            self.__rounds.answered(node, message["seq"])

    def __onNextNodeIdx(self, node: Node, message: Message) -> None:
        if not self.__is_current(node, message):
            return
        seq = message["seq"]
        self.__rounds.answered(node, seq)
        self.__windows[node].answered(seq)
        next_index = self.__raftNextIndex[node]
        match = self.__raftMatchIndex[node]
        reset = message["reset"] and seq >= self.__fences.get(node, 0)
        if reset:
            hint = min(message["next_node_idx"], self.__raftLog.last_index + 1)
            next_index = max(match + 1, hint)
            self.__fences[node] = self.__seq + 1  # what is on its way will be rejected as well
            self.__windows[node].reset()
        elif message["success"] and message["next_node_idx"] > self.__raftLog.last_index + 1:
            raise Fatal(f"{node.id} answers for entries that this leader does not have")
        super().__onMessageReceived(
            node, message | {"reset": reset, "next_node_idx": message["next_node_idx"]}
        )
        # Rule 1: never below match + 1, and never moved back by a success.
        self.__raftNextIndex[node] = max(next_index, self.__raftMatchIndex[node] + 1)
        self.__parts.sender.installed(node, self.__raftMatchIndex[node])

    def __is_current(self, node: Node, message: Message) -> bool:
        return bool(
            self.__raftState == LEADER
            and message["term"] == self.__raftCurrentTerm
            and node in self.__otherNodes
        )

    def __onRequestVote(self, node: Node, message: Message) -> None:
        """Rule 5: a voter that hears a live leader refuses (dissertation 4.2.3)."""
        term = message["term"]
        if term > self.__raftCurrentTerm and not message["force"] and self.__hears_leader():
            return
        voted_before = self.__votedForNodeId == node.id and term == self.__raftCurrentTerm
        if voted_before and self.__raftState == FOLLOWER:  # the first answer may be lost
            self.__transport.send(node, {"type": "response_vote", "term": term})
            return
        if term > self.__raftCurrentTerm:
            self.__forget_leader()
        super().__onMessageReceived(node, message)

    def __onResponseVote(self, node: Node, message: Message) -> None:
        """Rule 5: votes are counted per node, not per message."""
        if message["term"] != self.__raftCurrentTerm or node not in self.__otherNodes:
            return
        if node not in self.__votes:
            self.__votes.add(node)
            super().__onMessageReceived(node, message)

    def __onApplyCommand(self, node: Node, message: Message) -> None:
        command = message["command"]
        if self.__raftState != LEADER:
            error = FAIL_REASON.NOT_LEADER
        elif command[:1] != REGULAR or len(command) > ENTRY_SIZE_BYTES_MAX:
            error = FAIL_REASON.REQUEST_DENIED
        else:
            super().__onMessageReceived(node, message)
            return
        super().__callErrCallback(error, (node, message["request_id"]))

    # -- elections: PreVote and leader stickiness ----------------------------------------------

    def __hears_leader(self) -> bool:
        """A live leader is known here: this node is one with a quorum, or heard one just now."""
        since = self.__clock() - self.__conf.raftMinTimeout
        if self.__raftState != LEADER:
            return bool(self.__heard_s > since)
        return bool(self.__responding(since) * 2 > len(self.__otherNodes) + 1)

    def __responding(self, since_s: float) -> int:
        return 1 + sum(bool(self.__lastResponseTime[n] > since_s) for n in self.__otherNodes)

    def __elect(self, now_s: float) -> None:
        """Raft 5.2, in front of it a pre-vote (dissertation 9.6) unless the leader asked for it."""
        if self.__raftElectionDeadline >= now_s or not self.__connectedToAnyone():
            return
        self.__raftElectionDeadline = now_s + self.__generateRaftTimeout()
        self.__forced, self.__transferInProgress = self.__transferInProgress, False
        if not (self.__forced or self.__pre_won):
            self.__pre_vote()
            return
        self.__pre_won, self.__votes = False, set()
        self.__forget_leader()
        self.__setState(CANDIDATE)
        self.__setCurrentTerm(self.__raftCurrentTerm + 1, self.__selfNode.id)
        self.__votesCount = 1
        self.__ask_all("request_vote", self.__raftCurrentTerm)
        if not self.__otherNodes:
            self.__onBecomeLeader()

    def __pre_vote(self) -> None:
        self.__forget_leader()
        self.__pre_votes = {self.__selfNode}
        self.__ask_all("pre_vote", self.__raftCurrentTerm + 1)
        self.__count_pre_votes()

    def __ask_all(self, kind: str, term: int) -> None:
        last = self.__raftLog[-1]
        for node in self.__sorted_others():
            self.__transport.send(
                node,
                {"type": kind, "term": term, "last_log_index": last[1], "last_log_term": last[2]},
            )

    def __on_pre_vote(self, node: Node, message: Message) -> None:
        last = self.__raftLog[-1]
        term, theirs = message["term"], (message["last_log_term"], message["last_log_index"])
        if term <= self.__raftCurrentTerm:
            self.__transport.send(node, {"type": "term", "term": self.__raftCurrentTerm})
        up_to_date = theirs >= (last[2], last[1])
        if term >= self.__raftCurrentTerm and up_to_date and not self.__hears_leader():
            self.__transport.send(node, {"type": "pre_vote_ok", "term": term})

    def __on_pre_vote_ok(self, node: Node, message: Message) -> None:
        current = message["term"] == self.__raftCurrentTerm + 1
        if self.__pre_votes is not None and current and node in self.__otherNodes:
            self.__pre_votes.add(node)
            self.__count_pre_votes()

    def __count_pre_votes(self) -> None:
        assert self.__pre_votes is not None
        if len(self.__pre_votes) * 2 > len(self.__otherNodes) + 1:
            self.__pre_votes, self.__pre_won = None, True
            self.__raftElectionDeadline = float("-inf")  # elect on the next tick

    # -- the tick --------------------------------------------------------------------------------

    def _onTick(self, timeToWait: float = 0.0) -> None:
        now_s = self.__clock()
        if self.__raftState == LEADER:
            self.__advance_commit()
            self.__check_quorum(now_s)
        else:
            self.__elect(now_s)
        self.__applyLogEntries()
        if self.__transfer_to is not None:
            self.__hand_over(now_s)
        else:
            self.__stamp_proposals()
            self._checkCommandsToApply()
        self.__sendAppendEntries()
        self.__rounds.settle(self.__otherNodes, now_s)
        self.__answer_reads()
        self.__tryLogCompaction()

    def __advance_commit(self) -> None:
        """Raft 5.3 and 5.4.2: a durable majority, in this term; the leader's own disk counts."""
        log = self.__raftLog
        held = [self.__raftMatchIndex[n] for n in self.__otherNodes]
        held.append(log.durable_index)
        majority = sorted(held, reverse=True)[len(held) // 2]
        assert majority <= log.last_index
        newer = majority > self.__raftCommitIndex
        if newer and log[majority - log.first_index][2] == self.__raftCurrentTerm:
            self.__raftCommitIndex = majority

    def __check_quorum(self, now_s: float) -> None:
        """Rule 9: a leader that a majority does not answer steps down by itself."""
        since = now_s - self.__conf.leaderFallbackTimeout
        if self.__responding(since) * 2 <= len(self.__otherNodes) + 1:
            self.__setState(FOLLOWER)
            self.__forget_leader()

    def __applyLogEntries(self) -> None:
        """Rule 8: applying is total, and what cannot be applied stops this node by its index."""
        log, size_bytes = self.__raftLog, 0
        while self.is_behind and size_bytes < APPLY_SIZE_BYTES_MAX:
            command, index, term = log[self.__raftLastApplied + 1 - log.first_index]
            assert index == self.__raftLastApplied + 1
            replies = self.__apply(command, index)
            self.__raftLastApplied = index
            size_bytes += len(command)
            if term > self.__applied_term:
                self.__discard_older(term)
            for waiting_term, callback in self.__commandsWaitingCommit.pop(index, ()):
                if waiting_term == term:
                    callback(replies, FAIL_REASON.SUCCESS)
                else:
                    callback(None, FAIL_REASON.DISCARDED)

    def __apply(self, command: bytes, index: int) -> Sequence[object] | None:
        if command[:1] != REGULAR:
            return None
        stamp_ms = int.from_bytes(command[1 : 1 + STAMP_SIZE_BYTES], "little")
        self.__parts.time.applied(stamp_ms)
        try:
            return self.__parts.machine.apply(stamp_ms, command[1 + STAMP_SIZE_BYTES :])
        except Exception as e:
            raise Fatal(f"entry {index} cannot be applied: {type(e).__name__}: {e}") from e

    def __stamp_proposals(self) -> None:
        """The leader decides what time it is for the entries it is about to append."""
        queue = self.__commandsQueue
        if self.__raftState != LEADER:
            return
        stamp = self.__parts.time.stamp_ms().to_bytes(STAMP_SIZE_BYTES, "little")
        taken = []
        while True:
            try:
                taken.append(queue.get_nowait())
            except engine.Queue.Empty:
                break
        for command, callback in taken:
            queue.put_nowait((REGULAR + stamp + command[1:], callback))

    def __hand_over(self, now_s: float) -> None:
        """Rule 10: transfer once the target has everything; proposals wait meanwhile."""
        target = self.__transfer_to
        if self.__raftState != LEADER or now_s > self.__transfer_until_s:
            self.__transfer_to = None
        elif self.__raftMatchIndex[target] == self.__raftLog.last_index:
            self.transferLeadership(target)

    # -- sending: bounded, probing, never rewinding --------------------------------------------

    def __sendAppendEntries(self) -> None:
        """Rule 15: what is due to each follower, within its window; else a ping if one is due."""
        if self.__raftState != LEADER:
            return
        now_s = self.__clock()
        ping = now_s >= self.__ping_due_s or self.__rounds.wants_message
        if ping:
            self.__ping_due_s = now_s + self.__conf.appendEntriesPeriod
            if self.has_committed_in_term:
                self.__rounds.begin(self.__seq + 1, self.__raftCommitIndex)
            self.__rounds.sent(self.__seq + 1, now_s)
        for node in self.__sorted_others():
            if node in self.__connectedNodes:
                self.__feed(node)
            if node in self.__connectedNodes and (ping or self.__is_untold(node)):
                self.__told[node] = self.__raftCommitIndex
                self.__transport.send(node, self.__headed({"type": "ping"}))

    def __feed(self, node: Node) -> None:
        log, window = self.__raftLog, self.__windows[node]
        while window.is_open and self.__raftNextIndex[node] <= log.last_index:
            at = self.__raftNextIndex[node] - log.first_index
            if at <= 0:  # compacted away: send the snapshot, piece by piece
                self.__parts.sender.send(node, self.__send_chunk)
                return
            entries = self.__gather(at)
            size_bytes = sum(len(e[0]) for e in entries)
            message = {
                "type": "append_entries",
                "entries": entries,
                "prevLogIdx": log[at - 1][1],
                "prevLogTerm": log[at - 1][2],
            }
            self.__transport.send(node, self.__headed(message))
            if node not in self.__connectedNodes:
                return
            self.__raftNextIndex[node] = entries[-1][1] + 1
            self.__told[node] = self.__raftCommitIndex
            window.sent(self.__seq, size_bytes)

    def __gather(self, at: int) -> list[Entry]:
        log, end, size_bytes = self.__raftLog, at, 0
        while end < len(log) and (
            end == at or size_bytes + len(log[end][0]) <= APPEND_SIZE_BYTES_MAX
        ):
            size_bytes += len(log[end][0])
            end += 1
        return list(log[at:end])

    def __headed(self, message: Message) -> Message:
        return message | {"term": self.__raftCurrentTerm, "commit_index": self.__raftCommitIndex}

    def __is_untold(self, node: Node) -> bool:
        """The follower could apply more than it knows of."""
        return bool(self.__told.get(node, 0) < self.__raftCommitIndex)

    def __sorted_others(self) -> list[Node]:
        """In a fixed order, so that one seed gives one trace."""
        return sorted(self.__otherNodes, key=lambda n: n.id)

    # -- snapshots: nothing commits until the whole of one is installed (rule 3) -----------------

    def __send_chunk(self, node: Node, chunk: Message) -> None:
        if self.__raftState == LEADER and node in self.__connectedNodes:
            message = {"type": "snapshot_chunk"} | chunk
            self.__transport.send(node, self.__headed(message))

    def __on_snapshot_chunk(self, node: Node, message: Message) -> None:
        self.__hear_leader(node, message)
        self.__adopt_term(message["term"])
        heartbeat = {"type": "append_entries", "term": message["term"], "commit_index": 0}
        super().__onMessageReceived(node, heartbeat)
        if message["index"] <= self.__raftCommitIndex:  # late: everything in it is here
            self.__verified = max(self.__verified, self.__raftCommitIndex)
            self.__answer = (message["seq"], self.__verified)
            self.__sendNextNodeIdx(node, success=True)
            return
        term, seq = self.__raftCurrentTerm, message["seq"]

        def acknowledge(offset: int) -> None:
            ack = {"type": "snapshot_ack", "term": term, "seq": seq, "offset": offset}
            self.__transport.send(node, ack | {"index": message["index"]})

        def install(index: int, index_term: int, load: Callable[[], None]) -> None:
            self.__install(index, index_term, load)
            if self.__raftCurrentTerm == term:
                self.__verified = max(self.__verified, index)
                self.__answer = (seq, self.__verified)
                self.__sendNextNodeIdx(node, success=True)

        self.__parts.receiving.receive(message, acknowledge, install)

    def __install(self, index: int, term: int, load: Callable[[], None]) -> None:
        """The snapshot is whole, verified and durable; the log follows it (rule 4)."""
        log = self.__raftLog
        if index <= self.__raftLastApplied:
            return
        at = index - log.first_index
        if at >= len(log) or log[at][2] != term:
            log.restart_at(index, term)  # a tail that does not match is dropped
        load()
        self.__parts.time.applied(self.__parts.machine.now_ms)
        self.__raftLastApplied = index
        self.__raftCommitIndex = max(self.__raftCommitIndex, index)
        self.__applied_term = max(self.__applied_term, term)
        for waiting in [i for i in self.__commandsWaitingCommit if i <= index]:
            for _, callback in self.__commandsWaitingCommit.pop(waiting):
                callback(None, FAIL_REASON.UNKNOWN_OUTCOME)  # decided, but not told how

    def __on_snapshot_ack(self, node: Node, message: Message) -> None:
        if self.__is_current(node, message):
            self.__lastResponseTime[node] = self.__clock()
            self.__rounds.answered(node, message["seq"])
            self.__parts.sender.acknowledged(node, message["index"], message["offset"])

    def __deleteEntriesTo(self, toIDx: int) -> None:
        """Called by the parent when a snapshot is durable: some entries stay for the slow."""
        keep_from = self.__parts.compactor.keep_from(self.__raftLog, toIDx)
        super().__deleteEntriesTo(keep_from)

    def __deleteEntriesFrom(self, fromIDx: int) -> None:
        if fromIDx <= self.__raftCommitIndex:
            raise Fatal(f"truncation at {fromIDx}, but committed to {self.__raftCommitIndex}")
        super().__deleteEntriesFrom(fromIDx)

    # -- changes of term, role and links ---------------------------------------------------------

    def __adopt_term(self, term: int) -> None:
        if term > self.__raftCurrentTerm:
            self.__transferInProgress = False
            self.__setCurrentTerm(term, None)

    def __setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        assert term >= self.__raftCurrentTerm
        if term > self.__raftCurrentTerm:  # what an earlier leader verified, the next may not have
            self.__verified = self.__raftCommitIndex
        super().__setCurrentTerm(term, votedForNodeId)

    def __setState(self, state: int) -> None:
        if self.__raftState == LEADER and state != LEADER:
            self.__rounds.end()
            self.__parts.sender.stop()
        super().__setState(state)

    def __onBecomeLeader(self) -> None:
        self.__parts.time.lead()
        self.__windows = {n: Window() for n in self.__otherNodes}
        self.__fences, self.__told = {}, {}
        self.__ping_due_s = 0.0
        self.__heard_s = self.__clock()
        super().__onBecomeLeader()

    def __forget_leader(self) -> None:
        self.__raftLeader = None
        self.__onLeaderChanged()

    def __onLeaderChanged(self) -> None:
        """Forwarded proposals that the old leader has not placed yet: nobody knows their fate."""
        super().__onLeaderChanged()
        asked, self.__asked = self.__asked, {}
        for ready in asked.values():
            ready(None)

    def __onNodeConnected(self, node: Node) -> None:
        """A new link: what was on its way is gone, and the peer may have restarted."""
        super().__onNodeConnected(node)
        if self.__raftState == LEADER and node in self.__otherNodes:
            match = self.__raftMatchIndex[node]
            self.__raftNextIndex[node] = match + 1 if match else self.__raftLog.last_index
            self.__raftMatchIndex[node] = 0
            self.__windows[node].reset()
            self.__fences[node] = self.__seq + 1
            self.__told.pop(node, None)
            self.__parts.sender.stop(node)

    def __onNodeDisconnected(self, node: Node) -> None:
        super().__onNodeDisconnected(node)
        self.__parts.sender.stop(node)
        if node == self.__raftLeader:
            self.__onLeaderChanged()

    def __discard_older(self, term: int) -> None:
        """An entry of this term is committed: no proposal of an older term can follow it."""
        self.__applied_term = term
        for index, waiting in list(self.__commandsWaitingCommit.items()):
            older = [callback for t, callback in waiting if t < term]
            waiting[:] = [w for w in waiting if w[0] >= term]
            if not waiting and index > self.__raftLastApplied:
                del self.__commandsWaitingCommit[index]
            for callback in older:
                callback(None, FAIL_REASON.DISCARDED)

    # -- reads -----------------------------------------------------------------------------------

    def __on_read_index(self, node: Node, message: Message) -> None:
        def reply(index: int | None) -> None:
            answer = {"type": "read_index_reply", "id": message["id"], "index": index}
            self.__transport.send(node, answer)

        if self.__raftState == LEADER:
            self.__rounds.add(reply)
        else:
            reply(None)

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

    __handlers: Final[dict[str, Callable[..., None]]] = {
        "append_entries": __on_append_entries,
        "ping": __on_ping,
        "pong": __on_pong,
        "next_node_idx": __onNextNodeIdx,
        "snapshot_chunk": __on_snapshot_chunk,
        "snapshot_ack": __on_snapshot_ack,
        "request_vote": __onRequestVote,
        "response_vote": __onResponseVote,
        "pre_vote": __on_pre_vote,
        "pre_vote_ok": __on_pre_vote_ok,
        "apply_command": __onApplyCommand,
        "read_index": __on_read_index,
        "read_index_reply": __on_read_index_reply,
    }
