"""The engine as shipped, on the same simulated ground; its disk is even perfect.

The journal is written and synced at the end of every step, before any message of that step leaves,
and nothing is ever compacted: what fails here is the algorithm, not the disk. The private copy of
the engine in raftcache.raft.stock has its hands tied; this is the module as installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from unittest import mock

from pysyncobj import SyncObj, SyncObjConf, replicated, syncobj
from pysyncobj.config import FAIL_REASON
from pysyncobj.node import Node

from tests.sim.member import TIMING, Host
from tests.sim.schedule import DriftingClock

if TYPE_CHECKING:
    from tests.sim.world import World

TICK_S = 0.03
WAKE_S = 0.0002
LOOP_S = 0.0002
"""The clock moves a little with every reading: stock loops until it does."""

_REFUSED = (
    FAIL_REASON.QUEUE_FULL,
    FAIL_REASON.MISSING_LEADER,
    FAIL_REASON.DISCARDED,
    FAIL_REASON.NOT_LEADER,
    FAIL_REASON.REQUEST_DENIED,
)
_HASH = (1 << 61) - 1


class _Journal:
    """A journal in memory that outlives its process, up to what was synced."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, int, int]] = []
        self._synced: list[tuple[bytes, int, int]] = []
        self._vote: tuple[int, str | None] = (0, None)
        self._vote_synced = self._vote

    def sync(self) -> None:
        self._synced, self._vote_synced = list(self.entries), self._vote

    def crash(self) -> None:
        self.entries, self._vote = list(self._synced), self._vote_synced

    def holds(self, index: int, term: int) -> bool:
        at = index - 1
        return at < len(self._synced) and self._synced[at][2] == term

    def add(self, command: bytes, idx: int, term: int) -> None:
        self.entries.append((command, idx, term))

    def clear(self) -> None:
        self.entries = []

    def deleteEntriesFrom(self, offset: int) -> None:
        del self.entries[offset:]

    def __getitem__(self, item: Any) -> Any:
        return self.entries[item]

    def __len__(self) -> int:
        return len(self.entries)

    def setRaftCommitIndex(self, index: int) -> None: ...

    def getRaftCommitIndex(self) -> int:
        return 1

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:
        self._vote = (term, voted_for)

    def getCurrentTerm(self) -> int:
        return self._vote[0]

    def getVotedForNodeId(self) -> str | None:
        return self._vote[1]

    def onOneSecondTimer(self) -> None: ...


class _Chain(SyncObj):  # type: ignore[misc]  # pysyncobj is untyped
    """The state: a hash over all commands applied."""

    def __init__(self, member: StockMember, others: list[Node], conf: SyncObjConf) -> None:
        self.digest = 0
        self.member = member
        super().__init__(Node(member.name), others, conf, transport=member.links)

    @replicated  # type: ignore[untyped-decorator]
    def put(self, uid: int) -> None:
        self.digest = (self.digest * 1_000_003 ^ uid) & _HASH


class StockMember(Host):
    """A node that runs the engine as installed."""

    def __init__(self, world: World, name: str, clock: DriftingClock) -> None:
        super().__init__(world, name, clock)
        self._journal = _Journal()
        self._readings = 0
        self._kicked = False
        self.engine: _Chain

    def boot(self) -> None:
        self._kicked, self.incarnation = False, self.life
        others = [Node(name) for name in self.world.names if name != self.name]
        for node in others:
            self.links.addNode(node)
        self.first = self.world.bootstrap
        conf = SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=False,
            raftMinTimeout=TIMING.election_min_s,
            raftMaxTimeout=TIMING.election_max_s,
            appendEntriesPeriod=TIMING.heartbeat_s,
            leaderFallbackTimeout=TIMING.election_max_s,
            logCompactionMinEntries=1 << 60,
            logCompactionMinTime=1 << 60,
            journalFile=self._journal,
            appendEntriesBatchSizeBytes=self.world.profile.append_size_bytes,
            useFork=False,
        )
        self.engine = _Chain(self, others, conf)
        self.world.checker.started(self)
        self._tick_for_ever()

    def _tick_for_ever(self) -> None:
        self.engine.doTick(0)
        self.later(TICK_S, self._tick_for_ever)

    def wake(self) -> None:
        if not self._kicked:
            self._kicked = True
            self.later(WAKE_S, self._kick)

    def _kick(self) -> None:
        self._kicked = False
        self.engine.doTick(0)

    def lose(self) -> None:
        self._journal.crash()

    def enter(self) -> None:
        self._readings = 0
        syncobj.monotonicTime = self._read_clock
        syncobj.random = self.world.dice

    def _read_clock(self) -> float:
        self._readings += 1
        return self.clock.monotonic_s() + self._readings * LOOP_S

    def leave(self) -> None:
        self._journal.sync()
        self.links.flush()

    def propose(self, uid: int, ended: Callable[[str, str], None]) -> None:
        def done(_: object, reason: int) -> None:
            known = "acknowledged" if reason == FAIL_REASON.SUCCESS else "unknown"
            ended("refused" if reason in _REFUSED else known, str(reason))

        self.engine.put(uid, callback=done)
        self.wake()

    def read(self, ready: Callable[[int | None], None]) -> None:
        ready(None)  # it has none that anyone could rely on

    def holds_lease(self) -> bool:
        return False

    def transfer(self, to: str | None) -> None:
        self.engine.transferLeadership(None if to is None else Node(to))

    @property
    def term(self) -> int:
        return int(self.engine.raftCurrentTerm)

    @property
    def is_leader(self) -> bool:
        return bool(self.engine._isLeader())

    @property
    def commit_index(self) -> int:
        return int(self.engine.raftCommitIndex)

    @property
    def applied_index(self) -> int:
        return int(self.engine.raftLastApplied)

    @property
    def entries(self) -> Sequence[tuple[bytes, int, int]]:
        return self._journal.entries

    @property
    def match_indexes(self) -> dict[str, int]:
        status = self.engine.getStatus()
        return {
            n: status.get(f"match_idx_server_{n}", 0) for n in self.world.names if n != self.name
        }

    def holds_durably(self, index: int, term: int, data_id: str = "") -> bool:
        return self._journal.holds(index, term)

    @staticmethod
    def configuration_of(command: bytes) -> None:
        return None  # nobody is added or removed

    @staticmethod
    def uids_of(command: bytes) -> Iterable[int]:
        return (
            () if command[0] else syncobj.pickle.loads(command[1:])[1]
        )  # its own codec, its own data

    @staticmethod
    def stamp_ms_of(command: bytes) -> int:
        return 0

    @property
    def digest(self) -> int:
        return self.engine.digest


class _NoPoller:
    """Sockets are none of its business here."""

    def subscribe(self, *_: object) -> None: ...
    def unsubscribe(self, *_: object) -> None: ...
    def poll(self, timeout_s: float) -> None: ...


def as_installed() -> Any:
    """The module's clock, dice, journal and poller give way to ours; put back at the end."""
    return mock.patch.multiple(
        syncobj,
        createJournal=lambda journal: journal,
        createPoller=lambda kind: _NoPoller(),
        monotonicTime=syncobj.monotonicTime,
        random=syncobj.random,
        PIPE_NOTIFIER_ENABLED=False,
    )
