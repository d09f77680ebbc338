"""Replication: appends, acknowledgements, commit and flow control (rules 1, 2, 6, 12, 15)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from raftcache.errors import Fatal
from raftcache.raft.engine import elections
from raftcache.raft.engine.base import CANDIDATE, LEADER, Parts, last_stamp_ms
from raftcache.raft.entries import Entry, commands_size_bytes
from raftcache.raft.messages import Message
from raftcache.raft.rounds import Ready
from raftcache.raft.stock import Node, SyncObjConf
from raftcache.raft.window import Window

APPEND_SIZE_BYTES_MAX: Final = 1 << 20
"""Entries in one message; one entry above it travels alone and whole (rule 12)."""


class SyncObj(elections.SyncObj):
    """What is in the log, on whose disk."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        self.__seq = 0  # numbers every message that a follower answers, in this incarnation
        self.__answer = 0, 0  # of the next one: the message's seq, and the last index it verified
        self.__fences: dict[Node, int] = {}  # rejections of older messages than this are stale
        self.__told: dict[Node, int] = {}  # the commit index each follower was last told
        self.__ping_due_s = 0.0
        self.__short: set[Node] = set()  # peers whose disks have hardly any room
        self.__room, self.__is_full = parts.room, False
        super().__init__(name, conf, parts)
        self.__handlers |= {
            "append_entries": self.__on_append_entries,
            "ping": self.__on_ping,
            "pong": self.__on_pong,
            "next_node_idx": self.__on_next_node_idx,
        }

    # -- the follower's side -------------------------------------------------------------------

    def __on_append_entries(self, node: Node, message: Message) -> None:
        """Raft 5.3: take what follows an entry that is here, or say what is not."""
        self.__hear_leader(node, message)
        self.__adopt_term(message["term"])
        self.__follow(node)
        log = self.__raftLog
        prev, prev_term = message["prevLogIdx"], message["prevLogTerm"]
        entries = message["entries"]
        last, first = prev + len(entries), log.first_index
        if prev < first:  # at and below the base everything is committed, hence equal
            entries = entries[first - prev :]
            prev, prev_term = first, log.term_at(first)
        self.__answer = (message["seq"], last)
        if prev > log.last_index:
            self.__sendNextNodeIdx(node, reset=True)
        elif log.term_at(prev) != prev_term:
            self.__sendNextNodeIdx(node, reset=True, nextNodeIdx=prev)
        else:
            appended = self.__append_new(prev, entries)
            self.__verified = max(self.__verified, last)
            self.__sendNextNodeIdx(node, success=True)
            self.__note_committed(min(message["commit_index"], self.__verified))
            self.__note_appended(appended)

    def __append_new(self, prev: int, entries: list[Entry]) -> list[Entry]:
        """Rule 1: of what belongs behind this index, append what is not there yet, and return it.

        Delete only from the first entry whose term conflicts: a tail of our own that says nothing
        else is unverified, but may well be right.
        """
        log, new = self.__raftLog, 0
        for _, index, term in entries:
            if index > log.last_index:
                break
            if log.term_at(index) != term:
                self.__deleteEntriesFrom(index)
                break
            new += 1
        appended = entries[new:]
        for entry in appended:
            log.add(*entry)
        return appended

    def __sendNextNodeIdx(
        self, node: Node, reset: bool = False, nextNodeIdx: int | None = None, success: bool = False
    ) -> None:
        """Rule 2: an answer carries its term and the sequence it answers; a rejection, a hint."""
        seq, last = self.__answer
        log = self.__raftLog
        if success:
            next_index = last + 1
        elif nextNodeIdx is None:  # my log is too short
            next_index = log.last_index + 1
        else:  # a conflict: skip its whole term (Raft 5.3, last paragraphs)
            next_index, term = nextNodeIdx, log.term_at(nextNodeIdx)
            committed = self.__raftCommitIndex
            while next_index > committed + 1 and log.term_at(next_index - 1) == term:
                next_index -= 1
            next_index = max(next_index, committed + 1)
        self.__transport.send(
            node,
            {
                "type": "next_node_idx",
                "next_node_idx": next_index,
                "reset": reset,
                "success": success,
                "term": self.__raftCurrentTerm,
                "seq": seq,
                "short": self.__room.is_short,
            },
        )

    def __on_ping(self, node: Node, message: Message) -> None:
        """A heartbeat and a read round: answered at once, it promises nothing about the log.

        If it only says what is committed, it needs no answer.
        """
        self.__hear_leader(node, message)
        self.__adopt_term(message["term"])
        self.__follow(node)
        self.__note_committed(min(message["commit_index"], self.__verified))
        if message.get("answer", True):
            term, short = self.__raftCurrentTerm, self.__room.is_short
            pong = {"type": "pong", "term": term, "seq": message["seq"], "short": short}
            self.__transport.send(node, pong)

    # -- room on the disks ---------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Fewer than a majority of the voters are there and have room for more of the log, as their
        leader says. What was proposed goes on all the same; who can wait should propose no more.
        """
        return self.__is_full

    @property
    def is_short(self) -> bool:
        """This node's disk has hardly any room for more of the log."""
        return self.__room.is_short

    def note_room(self) -> None:
        """Now and then: see how much there is on this disk, and, on the leader, what that means."""
        self.__room.look()
        if not self.is_behind and self.__room.wants_snapshot:  # of all that it can be of
            self.forceLogCompaction()
        if self.__raftState == LEADER:
            self.__is_full = (self.is_short or bool(self.__short)) and self.__are_too_few()

    def __are_too_few(self) -> bool:
        others = (self.__voters & self.__connectedNodes) - self.__short
        have_room = len(others) + (self.__votes_itself and not self.is_short)
        return bool(have_room * 2 <= len(self.__voters) + self.__votes_itself)

    def __hear_leader(self, node: Node, message: Message) -> None:
        super().__hear_leader(node, message)
        self.__is_full = message.get("full", False)

    def __hear_room(self, node: Node, message: Message) -> None:
        if message.get("short", False):
            self.__short.add(node)
        elif self.__short:
            self.__short.discard(node)

    # -- the leader's side: what came back -----------------------------------------------------

    def __on_pong(self, node: Node, message: Message) -> None:
        if self.__is_current(node, message):
            self.__hear_room(node, message)
            self.__note_answer(node, message["seq"])

    def __note_answer(self, node: Node, seq: int) -> None:
        """Leader only: the peer took this message, and all before it."""
        now_s = self.__lastResponseTime[node] = self.__clock()
        self.__rounds.answered(node, seq)
        self.__rounds.settle(self.__voters, now_s)

    def __on_next_node_idx(self, node: Node, message: Message) -> None:
        if not self.__is_current(node, message):
            return
        self.__hear_room(node, message)
        seq, last_index = message["seq"], self.__raftLog.last_index
        next_index, match = self.__raftNextIndex[node], self.__raftMatchIndex[node]
        window = self.__windows[node]
        window.answered(seq)
        if message["success"]:
            if message["next_node_idx"] > last_index + 1:
                raise Fatal(f"{node.id} answers for entries that this leader does not have")
            match = max(match, message["next_node_idx"] - 1)
        elif message["reset"] and seq >= self.__fences.get(node, 0):
            next_index = min(message["next_node_idx"], last_index + 1)
            self.__fences[node] = self.__seq + 1  # what is on its way will be rejected as well
            window.reset()
        # Rule 1: never below match + 1, and never moved back by a success.
        next_index = max(next_index, match + 1)
        self.__raftNextIndex[node], self.__raftMatchIndex[node] = next_index, match
        self.__parts.sender.installed(node, match)
        self.__advance_commit()
        if next_index <= last_index or self.__transfer_to is not None:
            self.__step_due = True
        self.__note_answer(node, seq)

    def acknowledged(self, node: Node) -> int:
        """Up to here this peer has said that it has the log on its disk, and it is committed: what
        is not, another leader may take back. 0 where this node does not lead.
        """
        held = self.__raftMatchIndex.get(node, 0) if self.__raftState == LEADER else 0
        return min(held, self.__raftCommitIndex)

    def written(self) -> None:
        """More of the log is durable here."""
        if self.__raftState == LEADER:
            self.__advance_commit()
        elif self.__raftState == CANDIDATE:
            self.__count_votes()

    def __advance_commit(self) -> None:
        """Raft 5.3 and 5.4.2: a durable majority, in this term; the leader's own disk counts."""
        log = self.__raftLog
        if self.__raftCommitIndex == log.last_index:
            return
        # A leader is a voter: see membership.py.
        held = [log.durable_index, *map(self.__raftMatchIndex.__getitem__, self.__known_voters)]
        held += [0] * (len(self.__voters) + 1 - len(held))
        majority = sorted(held, reverse=True)[len(held) // 2]
        assert majority <= log.last_index
        if majority > self.__raftCommitIndex and log.term_at(majority) == self.__raftCurrentTerm:
            self.__raftCommitIndex = log.committed_index = majority

    # -- the leader's side: sending, bounded, probing, never rewinding ---------------------------

    def __sendAppendEntries(self) -> None:
        """Rule 15: what is due to each follower, within its window; else a ping if one is due."""
        if self.__raftState != LEADER:
            return
        asked, last_index = self.__whom_to_ping(self.__clock()), self.__raftLog.last_index
        for node in self.__sorted_others():
            if node in self.__connectedNodes and self.__raftNextIndex[node] <= last_index:
                self.__feed(node)
        self.__tell(asked)

    def __tell(self, asked: Collection[object] = ()) -> None:
        """Say what is committed, to followers that could apply more and those who are to answer."""
        commit_index = self.__raftCommitIndex
        for node in self.__sorted_others():
            could_apply_more, is_asked = self.__told.get(node, 0) < commit_index, node in asked
            if node in self.__connectedNodes and (could_apply_more or is_asked):
                self.__ping(node, is_asked)

    def __whom_to_ping(self, now_s: float) -> Collection[object]:
        """Everybody, at a heartbeat and for reads that were not asked for as they came."""
        if self.__rounds.wants_message and self.has_committed_in_term:
            self.__rounds.begin(self.__seq + 1, self.__raftCommitIndex)
        elif now_s < self.__ping_due_s:
            return ()
        self.__ping_due_s = now_s + self.__conf.appendEntriesPeriod
        self.__rounds.ask_all(self.__seq + 1)
        self.__rounds.sent(self.__seq + 1, now_s)
        return set(self.__otherNodes)

    def __ask_for(self, ready: Ready) -> None:
        """A read has come: ask as many voters as it takes, the quickest ones, without a step.

        If it is not known who they are, or they are not there, the next step asks everybody.
        """
        self.__rounds.add(ready)
        now_s, quick = self.__clock(), self.__rounds.quickest(self.__voters)
        if (
            quick
            and now_s < self.__ping_due_s
            and self.__connectedNodes.issuperset(quick)
            and self.has_committed_in_term
        ):
            self.__rounds.begin(self.__seq + 1, self.__raftCommitIndex)
            self.__rounds.sent(self.__seq + 1, now_s)
            for node in quick:
                self.__ping(node, True)
        else:
            self.__step_due = True

    def __ping(self, node: Node, is_asked: bool) -> None:
        """Say what is committed, and perhaps ask for an answer."""
        self.__told[node] = self.__raftCommitIndex
        self.__lead(node, {"type": "ping", "answer": is_asked})

    def ask_all(self) -> None:
        """Reads have waited a moment for who was asked: with the next step everybody is."""
        self.__ping_due_s, self.__step_due = 0.0, True

    def __lead(self, node: Node, message: Message) -> None:
        """Send what only a leader says, with what it says each time."""
        self.__seq += 1
        now_ms = self.__parts.time.now_ms()
        head = {
            "term": self.__raftCurrentTerm,
            "commit_index": self.__raftCommitIndex,
            "seq": self.__seq,
            "now": now_ms,
            "fresh": self.__fresh_ms(node, now_ms),
            "lease": self.__rounds.seeks_lease,
            "full": self.__is_full,
        }
        self.__transport.send(node, message | head)

    def __feed(self, node: Node) -> None:
        log, window, index = self.__raftLog, self.__windows[node], self.__raftNextIndex[node]
        while index <= log.last_index and window.is_open:
            if index <= log.first_index:  # compacted away: send the snapshot, piece by piece
                self.__parts.sender.send(node, self.__send_chunk)
                return
            entries = self.__gather(node, index)
            if not entries:  # they are read back from the disk: another turn will send them
                return
            message = {
                "type": "append_entries",
                "entries": entries,
                "prevLogIdx": index - 1,
                "prevLogTerm": log.term_at(index - 1),
            }
            self.__lead(node, message)
            if node not in self.__connectedNodes:
                return
            window.sent(self.__seq, commands_size_bytes(entries))
            index = self.__raftNextIndex[node] = entries[-1][1] + 1
            self.__told[node] = self.__raftCommitIndex

    def __gather(self, node: Node, index: int) -> list[Entry]:
        """What one message may hold of what this peer lacks, from this entry on."""
        log = self.__parts.log
        if index >= log.kept_index:
            return log.kept(index, APPEND_SIZE_BYTES_MAX)
        return self.__parts.backlog.take(node, index, APPEND_SIZE_BYTES_MAX)

    # -- changes of role and links -----------------------------------------------------------------

    def __onBecomeLeader(self) -> None:
        self.__parts.time.applied(last_stamp_ms(self.__raftLog))  # or will be, if this one leads on
        self.__parts.time.lead()
        self.__heard_s = self.__clock()
        self.__windows = {n: Window() for n in self.__otherNodes}
        self.__fences, self.__told = {}, {}
        self.__short = set()
        self.__ping_due_s = 0.0
        super().__onBecomeLeader()

    def __onNodeConnected(self, node: Node) -> None:
        """A new link: what was on its way is gone, and the peer may have restarted."""
        super().__onNodeConnected(node)
        if self.__raftState == LEADER and node in self.__otherNodes:
            match, last = self.__raftMatchIndex[node], self.__raftLog.last_index
            # At least one entry: by it a restarted follower learns how much of its log is ours.
            self.__raftNextIndex[node] = min(match + 1, last) if match else last
            self.__raftMatchIndex[node] = 0
            self.__windows[node].reset()
            self.__fences[node] = self.__seq + 1
            self.__told.pop(node, None)
