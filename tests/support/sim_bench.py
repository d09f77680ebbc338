"""One engine on a bench: messages fed to it by hand, everything it sends recorded.

Two engines with one face: Ours, put together as a node does it, and Stock, as installed. So one
scenario can be played to both. Nodes are n1 (the one on the bench), n2, n3 ...; the log begins with
the entry every log begins with (index 1, term 0), and `log` gives the terms of those that follow.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pysyncobj import SyncObj as StockSyncObj
from pysyncobj import SyncObjConf, syncobj
from pysyncobj.journal import MemoryJournal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raftcache.config import Storage, Timing
from raftcache.raft.assembly import assemble, restore
from raftcache.raft.datadir import open_data_dir
from raftcache.raft.entries import NO_OP, START, Block, Entry
from raftcache.raft.members import Configuration, Member
from raftcache.raft.wal import Wal
from raftcache.state.machine import Machine
from tests.support.lanes import HeldLane
from tests.support.memory_disk import MemoryDisk

TIMING = Timing(heartbeat_s=0.06, election_min_s=0.4, election_max_s=0.8, request_timeout_s=5.0)
SEGMENT_SIZE_BYTES = 1 << 16
STORAGE = Storage(segment_size_bytes=SEGMENT_SIZE_BYTES)

Message = dict[str, Any]


def entry(index: int, term: int, command: bytes = b"") -> tuple[bytes, int, int]:
    """A log entry; without a command one that does nothing, and says where it belongs."""
    return (command or NO_OP + b"%d.%d" % (index, term), index, term)


def entries(first: int, terms: Sequence[int]) -> list[tuple[bytes, int, int]]:
    return [entry(index, term) for index, term in enumerate(terms, first)]


def voter(name: str) -> Member:
    """A member as the log has it from the start, its data known."""
    return Member(name, f"{name}-data", f"{name}:7500", f"{name}:7400", True)


MYSELF = voter("n1")
MEMBERS = Configuration(1, (MYSELF, voter("n2"), voter("n3")))


class _Links(Transport):  # type: ignore[misc]  # pysyncobj is untyped
    """Records what is sent to whoever is connected."""

    ready = True

    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.sent: list[tuple[str, Message]] = []
        self.connected: set[str] = set()
        self.others: set[str] = set()
        """Who greeted with other data than the configuration has for it."""

    def send(self, node: Node, message: Message) -> bool:
        if node.id in self.connected:
            self.sent.append((node.id, dict(message)))
        return node.id in self.connected

    def tryGetReady(self) -> None: ...
    def addNode(self, node: Node) -> None: ...
    def set_members(self, configuration: Configuration) -> None: ...

    def is_other(self, node: Node) -> bool:
        return node.id in self.others

    def set_removed(self, member_ids: Collection[str]) -> None: ...
    def dropNode(self, node: Node) -> None: ...
    def destroy(self) -> None: ...
    def flush(self) -> None: ...


class _Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.stride_s = 0.0
        """Passes with every reading."""

    def monotonic_s(self) -> float:
        self.now_s += self.stride_s
        return self.now_s

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)


class _Dice:
    """Always the middle."""

    def random(self) -> float:
        return 0.5

    def token(self, size_bytes: int) -> bytes:
        return bytes(size_bytes)


class _Timer:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class _Loop:
    """A ports.Loop on the bench's clock."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self.soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._later: list[tuple[float, int, _Timer, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.soon.append((callback, args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> _Timer:
        timer = _Timer()
        self._count += 1
        due = (self._clock.now_s + delay, self._count, timer, callback, args)
        heapq.heappush(self._later, due)
        return timer

    def next_due_s(self, until_s: float) -> float:
        return min(until_s, self._later[0][0]) if self._later else until_s

    def run_due(self) -> None:
        while self._later and self._later[0][0] <= self._clock.now_s:
            _, _, timer, callback, args = heapq.heappop(self._later)
            if not timer.cancelled:
                callback(*args)


class Bench:
    """What both engines offer to a scenario; `engine` is the one under test."""

    engine: Any

    def __init__(self, size: int) -> None:
        self.peers = [f"n{i}" for i in range(2, size + 1)]
        self.clock, self.links = _Clock(), _Links()
        self._seq = 0

    # -- what a scenario does --------------------------------------------------------------------

    def turn(self) -> None:
        """Let the engine do everything that is due."""
        raise NotImplementedError

    def heed(self) -> None:
        """A message came: let the engine do what comes of it."""
        self.turn()

    def advance(self, seconds: float) -> None:
        """Time passes."""
        raise NotImplementedError

    def connect(self, *peers: str) -> None:
        for peer in peers or self.peers:
            self.links.connected.add(peer)
            self.links._onNodeConnected(Node(peer))
        self.turn()

    def disconnect(self, *peers: str) -> None:
        for peer in peers or self.peers:
            self.links.connected.discard(peer)
            self.links._onNodeDisconnected(Node(peer))
        self.turn()

    def find_gone(self, peer: str) -> None:
        """Its link has ended, and nobody listens where it was."""
        self.disconnect(peer)
        self.links.gone(Node(peer))
        self.turn()

    def feed(self, sender: str, **message: Any) -> None:
        """A message from a peer; the fields that every kind of it has may be left out."""
        if message["type"] in ("request_vote", "pre_vote"):
            message = {"version": MEMBERS.version, "voter_id": MYSELF.id} | message
        if message["type"] in ("append_entries", "ping", "snapshot_chunk"):
            self._seq += 1
            defaults = {"seq": self._seq, "now": self.clock.wall_ms(), "commit_index": 1}
            message = defaults | message
        self.links._onMessageReceived(Node(sender), message)
        self.heed()

    def append(
        self, sender: str, term: int, prev: tuple[int, int], terms: Sequence[int], commit: int = 1
    ) -> None:
        """An AppendEntries that puts entries of these terms behind prev (index, term)."""
        self.feed(
            sender,
            type="append_entries",
            term=term,
            prevLogIdx=prev[0],
            prevLogTerm=prev[1],
            entries=entries(prev[0] + 1, terms),
            commit_index=commit,
        )

    def acknowledge(self, sender: str, term: int, next_index: int, **fields: Any) -> None:
        """A follower's answer to an AppendEntries: success, unless said otherwise."""
        answer = {"seq": self.last_seq, "success": True, "reset": False} | fields
        self.feed(sender, type="next_node_idx", term=term, next_node_idx=next_index, **answer)

    def propose(self, command: bytes, done: Callable[[Any, int], None] | None = None) -> None:
        """A whole entry (its first byte is its kind) for the engine's queue; no turn yet."""
        self.engine._applyCommand(command, done or (lambda result, reason: None))

    def append_own(self, command: bytes) -> None:
        """Put an entry into the log of a leader, as it is, past every check."""
        self.engine._SyncObj__raftLog.add(command, len(self.terms) + 2, self.term)
        self.advance(TIMING.heartbeat_s)

    def win(self) -> None:
        """Elect it, with the vote of every peer."""
        self.campaign()
        for peer in self.peers:
            self.feed(peer, type="response_vote", term=self.term)
        assert self.is_leader

    def campaign(self) -> None:
        """Let it stand for election: ours asks beforehand whether it might win."""
        self.advance(TIMING.election_max_s)
        for peer in self.peers:
            self.feed(peer, type="pre_vote_ok", term=self.term + 1)
        self.turn()

    # -- what a scenario looks at ----------------------------------------------------------------

    def sent(self, kind: str, to: str | None = None) -> list[Message]:
        """The messages of this type, oldest first."""
        return [m for n, m in self.links.sent if m["type"] == kind and to in (None, n)]

    @property
    def last_seq(self) -> int:
        """The highest number of any message that the engine sent; 0 where it has none."""
        return max((m.get("seq", 0) for _, m in self.links.sent), default=0)

    @property
    def terms(self) -> list[int]:
        """The terms of the log's entries, from index 2 on."""
        return [e[2] for e in self.engine._SyncObj__raftLog[:] if e[1] > 1]

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

    def next_index(self, peer: str) -> int:
        return int(self.engine._SyncObj__raftNextIndex[Node(peer)])

    def match_index(self, peer: str) -> int:
        return int(self.engine._SyncObj__raftMatchIndex[Node(peer)])


class Ours(Bench):
    """The corrected engine, with everything that a node puts around it."""

    def __init__(
        self,
        size: int = 3,
        log: Sequence[int] = (),
        term: int = 0,
        voted_for: str | None = None,
        commands: Sequence[bytes] = (),
        disk: MemoryDisk | None = None,
        writes_pending_max: int = 10_000,
        pending_size_bytes_max: int = 1 << 30,
        peers: Sequence[str] = (),
        storage: Storage = STORAGE,
    ) -> None:
        """peers: their names, if not n2, n3 and so on."""
        super().__init__(size)
        self.peers = list(peers) or self.peers
        self._storage = storage
        self._writes_pending_max = writes_pending_max
        self._pending_size_bytes_max = pending_size_bytes_max
        self.fatal: list[Exception] = []
        self.released = 0
        """How often free memory was given back."""
        self.loop, self.lane = _Loop(self.clock), HeldLane()
        self.disk_works = True
        """False: what is to be written stays unwritten."""
        self.disk = disk or MemoryDisk()
        if disk is None:
            self._write(log, commands, max([term, *log]), voted_for)
        self.machine = Machine()
        self._start()

    def _write(
        self, log: Sequence[int], commands: Sequence[bytes], term: int, voted: str | None
    ) -> None:
        open_data_dir(self.disk, "n1", "bench", MYSELF.id)
        wal, _ = Wal.open(self.disk, SEGMENT_SIZE_BYTES, sync=True)
        rows = [entry(1, 0), *entries(2, log)]
        rows += [entry(len(rows) + i, term, c) for i, c in enumerate(commands, 1)]
        wal.write(Block(term, voted, False, START, [Entry(*row) for row in rows]))
        wal.close()

    def _start(self) -> None:
        self.replica, self.time = assemble(
            restore(self.disk, self.machine, self._storage),
            open_data_dir(self.disk, "n1", "bench", MYSELF.id),
            Configuration(1, (MYSELF, *(voter(name) for name in self.peers))),
            MYSELF,
            self.machine,
            self.links,
            TIMING,
            self._storage,
            self._writes_pending_max,
            self._pending_size_bytes_max,
            clock=self.clock,
            dice=_Dice(),
            loop=self.loop,
            log_lane=self.lane,
            bulk_lane=self.lane,
            release=self._released,
            on_fatal=self.fatal.append,
        )
        self.engine = self.replica._engine
        self.replica.start()
        self.turn()

    def _released(self) -> None:
        self.released += 1

    def seek_lease(self) -> None:
        """As whoever reads by it does; every peer promises it."""
        self.replica.holds_lease()
        self.advance(TIMING.heartbeat_s)
        for peer in self.peers:
            self.feed(peer, type="pong", term=self.term, seq=self.last_seq)

    def turn(self) -> None:
        self.replica.wake_for_all()
        self.run()

    def heed(self) -> None:
        self.replica.heed()
        self.run()

    def run(self) -> None:
        """Everything that was asked for until now."""
        while self.loop.soon or (self.disk_works and self.lane.jobs):
            if self.loop.soon:
                callback, args = self.loop.soon.popleft()
                callback(*args)
            else:
                self.lane.run_one()

    def advance(self, seconds: float) -> None:
        until_s = self.clock.now_s + seconds
        while self.clock.now_s < until_s:
            self.clock.now_s = self.loop.next_due_s(until_s)
            self.loop.run_due()
            self.turn()


class Stock(Bench):
    """The engine as installed; use it within tests.sim.stock.as_installed()."""

    STEP_S = 0.05

    def __init__(
        self,
        size: int = 3,
        log: Sequence[int] = (),
        term: int = 0,
        voted_for: str | None = None,
        commands: Sequence[bytes] = (),
        dump_file: str | None = None,
        **conf: Any,
    ) -> None:
        super().__init__(size)
        syncobj.monotonicTime = self._read_clock
        syncobj.random = _Dice()
        journal = MemoryJournal()
        rows = [entry(1, 0), *entries(2, log)]
        rows += [entry(len(rows) + i, max([term, *log]), c) for i, c in enumerate(commands, 1)]
        for row in rows:
            journal.add(*row)
        journal.setCurrentTerm(max([term, *log]), voted_for)
        settings = {
            "autoTick": False,
            "raftMinTimeout": TIMING.election_min_s,
            "raftMaxTimeout": TIMING.election_max_s,
            "appendEntriesPeriod": TIMING.heartbeat_s,
            "journalFile": journal,
            "fullDumpFile": dump_file,
            "appendEntriesUseBatch": False,
            "useFork": False,
        }
        self.engine = StockSyncObj(
            Node("n1"), [Node(p) for p in self.peers], SyncObjConf(**settings | conf), None,
            transport=self.links,
        )  # fmt: skip
        self.errors: list[Exception] = []

    def _read_clock(self) -> float:
        self.clock.now_s += 1e-6  # its loops end when time has passed
        return self.clock.now_s

    def turn(self) -> None:
        try:
            self.engine.doTick(0)
        except Exception as error:  # as its own thread does: it logs, and tries again
            self.errors.append(error)

    def advance(self, seconds: float) -> None:
        until_s = self.clock.now_s + seconds
        while self.clock.now_s < until_s:
            self.clock.now_s += min(self.STEP_S, until_s - self.clock.now_s + 1e-6)
            self.turn()

    def feed(self, sender: str, **message: Any) -> None:
        if message["type"] != "ping":
            super().feed(sender, **message)
        else:  # stock's heartbeat is an AppendEntries without entries
            index, term = self.engine._SyncObj__raftLog[-1][1:]
            self.append(sender, message["term"], (index, term), [], message.get("commit_index", 1))
