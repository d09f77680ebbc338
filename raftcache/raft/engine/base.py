"""What the layers of the engine share: its parts, its term and whom it hears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from raftcache.errors import Fatal
from raftcache.ports import Clock, StateMachine
from raftcache.raft.backlog import Backlog
from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.compaction import Compactor
from raftcache.raft.digests import Digests
from raftcache.raft.log import Log
from raftcache.raft.members import Configuration, Member
from raftcache.raft.messages import Message
from raftcache.raft.outbox import Outbox
from raftcache.raft.room import Room
from raftcache.raft.rounds import Rounds
from raftcache.raft.shipping import Receiving, Sender
from raftcache.raft.stock import Node, SyncObjConf, engine

_Base: Any = engine.SyncObj

FOLLOWER: Final = 0
CANDIDATE: Final = 1
LEADER: Final = 2

REGULAR: Final = b"\x00"
"""The first byte of an entry that holds a batch of commands; its stamp follows."""

STAMP_SIZE_BYTES: Final = 8
"""The entry's cluster time in milliseconds, little endian."""


def stamp_ms_of(command: bytes) -> int:
    """The cluster time in an entry; 0 in one of the engine's own."""
    if command[:1] != REGULAR:
        return 0
    return int.from_bytes(command[1 : 1 + STAMP_SIZE_BYTES], "little")


def last_stamp_ms(log: Log) -> int:
    """The highest cluster time in a log, which is the last one; 0 if no entry has one.

    The last entry may be one without: each leader begins with such a one. What is forgotten was
    applied, so its time is known.
    """
    kept = (log[at].command for at in reversed(range(log.kept_index - log.first_index, len(log))))
    return next((stamp for command in kept if (stamp := stamp_ms_of(command))), 0)


@dataclass(slots=True)
class Parts:
    """What an engine is made of; each belongs to this engine alone."""

    machine: StateMachine
    log: Log
    outbox: Outbox
    compactor: Compactor
    sender: Sender
    backlog: Backlog
    receiving: Receiving
    clock: Clock
    time: ClusterTime
    incarnation: int
    applied_index: int
    """The index of the snapshot the machine was loaded from, 1 if there was none."""
    configuration: Configuration
    """Of that snapshot; or the one this node was started with."""
    myself: Member
    """This node, as it greets its peers."""
    digests: Digests
    check_period_s: float
    """Between two comparisons of all replicas' states."""
    room: Room
    """For the log."""
    fence: Callable[[str], None]
    """This replica's state is wrong, for this reason: it must not be used any more."""

    def stop_feeding(self, node: Node | None = None) -> None:
        """Let go what is on its way from the disk to one peer, or to all of them."""
        self.sender.stop(node)
        self.backlog.stop(node)


class SyncObj(_Base):
    """The lowest layer; the classes above add one concern each."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        self.__parts = parts
        self.__clock: Callable[[], float] = parts.clock.monotonic_s
        # A restarted voter may have heard a leader, and have promised it a lease.
        self.__heard_s = self.__promised_s = parts.clock.monotonic_s()
        self.__heard_from: Node | None = None
        self.__heard_term = -1
        self.__leader_gone = False  # who was heard last: its process seems to have ended
        self.__verified = 0  # the log is the leader's up to here, in this term
        self.__step_due = False  # something was asked for that is done in a step
        self.__handlers: dict[str, Callable[[Node, Message], None]] = {}  # by type, of all layers
        self.__rounds = Rounds()
        self.__raftLeader: Node | None  # the parent's, declared for the type checker only
        self.__ask_id = parts.incarnation << 32  # rule 14: of requests to the leader
        _Base.__init__(self, Node(name), [], conf, transport=parts.outbox)
        self.__commandsLocalCounter = parts.incarnation << 32  # rule 14: no reuse of request ids
        self.__needLoadDumpFile = False
        self.__raftLastApplied = parts.applied_index
        # Known from the disk as well: who is sent an entry by this node must be told that all is
        # committed that it may rest on (docs/decisions/0010-lost-revisions.md).
        known_index = min(parts.log.committed_index, parts.log.last_index)
        commit_index = max(parts.applied_index, known_index)
        self.__raftCommitIndex = self.__verified = parts.log.committed_index = commit_index

    def __hear_leader(self, node: Node, message: Message) -> None:
        term = message["term"]
        if self.__raftState == LEADER and term == self.__raftCurrentTerm:
            raise Fatal(f"two leaders in term {term}: {node.id} and this node")
        if node != self.__raftLeader:
            self.__step_due = True  # somebody may have waited for a leader
        if term > self.__raftCurrentTerm:
            self.__onLeaderChanged()
        self.__heard_s = self.__clock()
        self.__heard_from, self.__heard_term, self.__leader_gone = node, term, False
        if message.get("lease", True):  # older leaders do not say, and may count on it
            self.__promised_s = self.__heard_s
        self.__parts.time.hear(message["now"])

    def __follow(self, node: Node) -> None:
        """This is the leader of this term, and it is alive."""
        if not self.__transferInProgress:
            self.__raftElectionDeadline = self.__clock() + self.__generateRaftTimeout()
        if node != self.__raftLeader:
            self.__onLeaderChanged()
            self.__raftLeader = node
        if self.__raftState != FOLLOWER:
            self.__setState(FOLLOWER)

    def __note_committed(self, index: int) -> None:
        """The leader has committed so much, of what is verified here."""
        if index > self.__raftCommitIndex:
            index = min(index, self.__raftLog.last_index)
            self.__raftCommitIndex = self.__raftLog.committed_index = index

    def __adopt_term(self, term: int) -> None:
        if term > self.__raftCurrentTerm:
            self.__transferInProgress = False
            self.__setCurrentTerm(term, None)

    def __setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        assert term >= self.__raftCurrentTerm
        if term > self.__raftCurrentTerm:  # what an earlier leader verified, the next may not have
            self.__verified = self.__raftCommitIndex
        super().__setCurrentTerm(term, votedForNodeId)

    def __forget_leader(self) -> None:
        self.__raftLeader = None
        self.__onLeaderChanged()

    def __is_current(self, node: Node, message: Message) -> bool:
        return bool(
            self.__raftState == LEADER
            and message["term"] == self.__raftCurrentTerm
            and node in self.__otherNodes
        )

    def __sorted_others(self) -> list[Node]:
        """In a fixed order, so that one seed gives one trace."""
        return sorted(self.__otherNodes)

    def __deleteEntriesFrom(self, fromIDx: int) -> None:
        if fromIDx <= self.__raftCommitIndex:
            raise Fatal(f"truncation at {fromIDx}, but committed to {self.__raftCommitIndex}")
        super().__deleteEntriesFrom(fromIDx)
