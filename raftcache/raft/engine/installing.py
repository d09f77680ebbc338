"""Installing: nothing commits until the whole of a snapshot is in place (rules 3, 4, 15)."""

from __future__ import annotations

from collections.abc import Callable

from raftcache.raft import members
from raftcache.raft.compaction import Opened
from raftcache.raft.engine import reading
from raftcache.raft.engine.base import LEADER, Parts
from raftcache.raft.messages import Message
from raftcache.raft.snapshot_format import SnapshotMeta
from raftcache.raft.stock import FAIL_REASON, Node, SyncObjConf


class SyncObj(reading.SyncObj):
    """What comes in place of entries that are no longer in the leader's log."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        super().__init__(name, conf, parts)
        self.__handlers |= {
            "snapshot_chunk": self.__on_snapshot_chunk,
            "snapshot_ack": self.__on_snapshot_ack,
        }

    def open_snapshot(self, index: int, done: Opened) -> None:
        """Open a stored snapshot of this index or a later one, which this node has applied."""
        assert index <= self.__raftLastApplied
        self.__parts.compactor.open_from(index, done)

    def close(self) -> None:
        """Neither hear nor say anything more; open files are closed on their lane.

        Reads and changes that wait end: nobody can answer them any more.
        """
        self.__parts.stop_feeding()
        self.__parts.receiving.stop()
        self.__parts.compactor.stop()
        self.__parts.outbox.close()
        self.__onLeaderChanged()
        self.__end_reads()

    def forceLogCompaction(self) -> None:
        """Ask for a snapshot; while one is being taken it is not heard.

        pysyncobj would take another one right behind it, of a log that the first has cut.
        """
        if self.__parts.compactor.is_idle:
            super().forceLogCompaction()

    @property
    def snapshots(self) -> tuple[int, int]:
        """How many were taken, and how many failed."""
        return self.__parts.compactor.taken, self.__parts.compactor.failed

    def __tryLogCompaction(self) -> None:
        """As the parent's; but the log is not cut while a snapshot is on its way to a peer.

        It would need another one when that has come, and so on, if those are large and entries come
        quickly. Only a log that is too large, or who waits for a snapshot, asks for one even then.
        """
        compactor = self.__parts.compactor
        if compactor.waits_for_room:
            return
        if compactor.is_wanted:
            self.forceLogCompaction()
        if self.__parts.sender.is_busy and compactor.is_idle and not self.__forceLogCompaction:
            return
        super().__tryLogCompaction()

    def __on_snapshot_chunk(self, node: Node, message: Message) -> None:
        self.__hear_leader(node, message)
        self.__adopt_term(message["term"])
        self.__follow(node)
        if message["index"] <= self.__raftCommitIndex:  # late: everything in it is here
            self.__verified = max(self.__verified, self.__raftCommitIndex)
            self.__answer = (message["seq"], self.__verified)
            self.__sendNextNodeIdx(node, success=True)
            return
        term, seq = self.__raftCurrentTerm, message["seq"]

        def acknowledge(offset: int) -> None:
            ack = {"type": "snapshot_ack", "term": term, "seq": seq, "offset": offset}
            self.__transport.send(node, ack | {"index": message["index"]})

        def install(meta: SnapshotMeta, load: Callable[[], None]) -> None:
            index = meta.index
            self.__install(meta, load)
            if self.__raftCurrentTerm == term:
                self.__verified = max(self.__verified, index)
                self.__answer = (seq, self.__verified)
                self.__sendNextNodeIdx(node, success=True)

        self.__parts.receiving.receive(message, acknowledge, install)

    def __install(self, meta: SnapshotMeta, load: Callable[[], None]) -> None:
        """The snapshot is whole, verified and durable; the log follows it (rule 4)."""
        log, index, term = self.__raftLog, meta.index, meta.term
        if index <= self.__raftLastApplied:
            return
        at = index - log.first_index
        if at >= len(log) or log[at][2] != term:
            log.restart_at(index, term)  # a tail that does not match is dropped
            self.__configurations.clear()
        load()
        self.__install_configuration(index, members.from_builtins(meta.members))
        self.__parts.time.applied(self.__parts.machine.now_ms)
        self.__raftLastApplied = index
        self.__parts.digests.note(index, self.__parts.machine.digest)
        self.__raftCommitIndex = log.committed_index = max(self.__raftCommitIndex, index)
        self.__applied_term = max(self.__applied_term, term)
        for waiting in [i for i in self.__commandsWaitingCommit if i <= index]:
            for _, callback in self.__commandsWaitingCommit.pop(waiting):
                callback(None, FAIL_REASON.UNKNOWN_OUTCOME)  # decided, but not told how

    def __send_chunk(self, node: Node, chunk: Message) -> None:
        if self.__raftState == LEADER and node in self.__connectedNodes:
            self.__lead(node, {"type": "snapshot_chunk"} | chunk)

    def __on_snapshot_ack(self, node: Node, message: Message) -> None:
        if self.__is_current(node, message):
            self.__note_answer(node, message["seq"])
            self.__parts.sender.acknowledged(node, message["index"], message["offset"])

    def __deleteEntriesTo(self, toIDx: int) -> None:
        """Called by the parent when a snapshot is durable: some entries stay for the slow."""
        keep_from = self.__parts.compactor.keep_from(self.__raftLog, toIDx)
        super().__deleteEntriesTo(keep_from)

    def __setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Who was sending a snapshot goes on with it in the same term, or not at all."""
        if term > self.__raftCurrentTerm:
            self.__parts.receiving.give_up()
        super().__setCurrentTerm(term, votedForNodeId)

    def __setState(self, state: int) -> None:
        if self.__raftState == LEADER and state != LEADER:
            self.__parts.stop_feeding()
        super().__setState(state)

    def __onNodeConnected(self, node: Node) -> None:
        super().__onNodeConnected(node)
        self.__parts.stop_feeding(node)

    def __onNodeDisconnected(self, node: Node) -> None:
        super().__onNodeDisconnected(node)
        self.__parts.stop_feeding(node)
