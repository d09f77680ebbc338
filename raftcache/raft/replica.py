"""The door to consensus: proposals, reads, members, leadership, status. Nothing passes beside it.

A replica owns one engine and drives it on the node's event loop: whatever happens (a message, a
finished write to disk, a proposal, a timer) is done at once, or asks for a turn, and one turn does
everything that is due. Proposals go in batches (batches.py), and reads in rounds (reads.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from raftcache.config import Timing
from raftcache.errors import Fatal, NotLeader, Overloaded, RaftcacheError, Refused, Unknown
from raftcache.ports import Clock, Loop, Timer
from raftcache.raft.batches import Batches, Done, Landed
from raftcache.raft.compaction import Opened
from raftcache.raft.engine import SyncObj
from raftcache.raft.engine.membership import ChangeDone
from raftcache.raft.log import Log
from raftcache.raft.members import Change, Configuration
from raftcache.raft.outbox import Outbox
from raftcache.raft.polling import BusyPoll
from raftcache.raft.progress import Progress
from raftcache.raft.reads import Reads
from raftcache.raft.rounds import Ready
from raftcache.raft.stock import FAIL_REASON

logger = logging.getLogger("raftcache.raft")


class ReplicaStatus(Struct, frozen=True):
    """What this node knows of its group, at one moment."""

    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    match_indexes: dict[str, int]
    contact_age_s: float
    durable_index: int


class Replica:
    """One node's part in the group. All methods on the event loop."""

    def __init__(
        self,
        engine: SyncObj,
        outbox: Outbox,
        log: Log,
        clock: Clock,
        loop: Loop,
        timing: Timing,
        writes_pending_max: int,
        pending_size_bytes_max: int,
        log_size_bytes_max: int,
        forget: Callable[[int], None],
        release: Callable[[], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """forget(index): the log on disk may drop what is below, for a snapshot covers it.

        release: gives free memory back to the system.
        on_fatal is called once, when this node must stop; nothing is answered after that.
        """
        self._engine, self._outbox, self._log, self._clock = engine, outbox, log, clock
        self._heartbeat_s = timing.heartbeat_s
        self._writes_pending_max = writes_pending_max
        self._log_size_bytes_max = log_size_bytes_max
        self._forget, self._forgotten_to = forget, 0
        self._release, self._on_fatal = release, on_fatal
        self._loop = loop
        timeout_s = timing.request_timeout_s
        self._batches = Batches(
            self._give, self.wake, clock, loop, timeout_s, pending_size_bytes_max
        )
        self._reads = Reads(engine, self.wake, loop)
        self._progress = Progress()
        self._turn_due = False
        self._timer: Timer | None = None
        self._stopped = False
        self.expelled = ""
        """Why this node is out of the cluster, if it is."""
        self.is_full = False
        """See the engine's; as of the last beat, for every write asks."""
        self.fenced = ""
        """Why its state must not be used, if so; then it is out of the cluster too."""

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._beat()

    def stop(self) -> None:
        """Take no more turns; everything still waiting ends as unknown."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._batches.stop()
        self._reads.stop()
        self._engine.close()

    # -- proposals -------------------------------------------------------------------------------

    def propose(self, command: bytes, done: Done, weight: int = 1, width: int = 0) -> None:
        """Replicate one encoded command; weight: as so many it counts in its batch. width: see
        BATCH_WIDTH_MAX.

        done gets the state machine's reply once a majority has it on stable storage and this node
        has applied it; a Refused if it certainly will not happen; an Unknown if nobody can tell.
        """
        if self._batches.pending >= self._writes_pending_max:
            done(Overloaded(f"{self._batches.pending} writes are waiting already"))
        elif self._batches.is_full:
            done(Overloaded("too many bytes of writes are waiting already"))
        elif self.expelled:
            done(NotLeader(f"this node is out of the cluster: {self.expelled}"))
        elif self._stopped or self._lacks_leader:
            done(NotLeader("no leader is known at this node"))
        else:
            self._batches.add(command, done, weight, width)

    def _give(self, batch: bytes, landed: Landed) -> None:
        def ended(replies: Sequence[Any] | None, reason: int) -> None:
            landed(replies, None if reason == FAIL_REASON.SUCCESS else _error_of(reason))

        self._engine.propose(batch, ended)

    # -- reads -----------------------------------------------------------------------------------

    def read_index(self, ready: Ready) -> None:
        """ready(index) once this node's state has everything acknowledged before this call.

        ready(None) if nobody can vouch for that now. All calls of one turn share one round, and so
        do those that come while one is under way.
        """
        self._reads.add(ready)

    def before_round(self, begin: Callable[[], None]) -> None:
        """begin() when it costs no time any more to ask for a read index: in a later call.

        That is at the end of this turn of the loop, or when the round under way has ended.
        """
        self._reads.before_round(begin)

    def poll_for_rounds(self) -> None:
        """From now on, while nothing but a round is awaited, the loop does not go to sleep."""

        def is_awaited() -> bool:
            return self._reads.under_way and self._outbox.is_idle

        self._reads.begun = BusyPoll(self._loop, self._clock, is_awaited).begin

    def holds_lease(self) -> bool:
        """This node is the leader, and nobody else can have become it."""
        return self._engine.holds_lease()

    @property
    def state_age_s(self) -> float:
        """The state here has everything that was acknowledged anywhere so many seconds ago."""
        return self._engine.state_age_s

    def open_snapshot(self, index: int, done: Opened) -> None:
        """A stored snapshot of a read index or a later one, taken if there is none; done once."""
        self._engine.open_snapshot(index, done)

    # -- the group -------------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        return self._engine.is_leader and not self.expelled

    @property
    def leader(self) -> str | None:
        return None if self.expelled else self._engine.leader

    @property
    def configuration(self) -> Configuration:
        """The members that count now, committed or not."""
        return self._engine.configuration

    @property
    def configuration_is_committed(self) -> bool:
        """As far as this node knows; until then the last change may yet be undone."""
        return self._engine.configuration_is_committed

    @property
    def commands_version(self) -> int:
        """Every voter knows the commands up to this version; it never goes back."""
        return self._engine.commands_version()

    def change_members(self, change: Change, done: ChangeDone) -> None:
        """Change the configuration by one step; done(the new one, committed) or done(why not)."""
        if self._stopped:
            why = f"is out of the cluster: {self.expelled}" if self.expelled else "has stopped"
            done(NotLeader(f"this node {why}"))
        else:
            self._engine.change(change, done)
            self.wake()

    def expel(self, why: str) -> None:
        """The others say that this node is no member, or not with this data: serve no more."""
        if not self._stopped:
            logger.critical("this node is out of the cluster", extra={"why": why})
            self.expelled = why
            self.stop()

    def fence(self, why: str) -> None:
        """This replica's state is wrong: answer nobody from it any more."""
        if not self._stopped:
            logger.critical("this replica is fenced", extra={"why": why})
            self.fenced = self.expelled = why
            self.stop()

    @property
    def alarms(self) -> dict[str, str]:
        """Replicas found to differ: of this node, or, on the leader, of any member."""
        return {self._engine.name: self.fenced} if self.fenced else self._engine.alarms

    @property
    def disk_is_short(self) -> bool:
        """This node's disk has hardly any room for more of the log: see room.py."""
        return self._engine.is_short

    @property
    def snapshots(self) -> tuple[int, int]:
        """How many this node has taken, and how many failed."""
        return self._engine.snapshots

    @property
    def checked_index(self) -> int:
        """Where the leader, if it is this node, found all replicas equal last."""
        return self._engine.checked_index

    def digest_at(self, index: int) -> int | None:
        """Of the state here; None if it has not come so far, or is no longer remembered."""
        return self._engine.digest_at(index)

    def transfer(self, to: str | None, timeout_s: float) -> bool:
        """Begin to hand leadership over; False if this node cannot. Watch `leader` for the end.

        Until then, for timeout_s at most, what arrives here waits for the next leader.
        """
        begun = not self._stopped and self._engine.transfer(to, timeout_s)
        self.wake()
        return begun

    @property
    def _hands_over(self) -> bool:
        """This node leads until the next leader is known, but takes nothing on any more."""
        until_s = self._engine.transfer_until_s
        if not until_s or self._clock.monotonic_s() >= until_s:
            return False
        return self._engine.is_leader or self._engine.leader is None

    @property
    def _lacks_leader(self) -> bool:
        return self._engine.leader is None and not self._hands_over

    def status(self) -> ReplicaStatus:
        engine = self._engine
        role = "follower" if engine.is_voter else "learner"
        role = "leader" if self.is_leader else "candidate" if engine.is_candidate else role
        return ReplicaStatus(
            role=role,
            leader=self.leader,
            term=engine.raftCurrentTerm,
            commit_index=engine.raftCommitIndex,
            applied_index=engine.raftLastApplied,
            last_index=engine.last_index,
            match_indexes=engine.match_indexes if self.is_leader else {},
            contact_age_s=engine.contact_age_s,
            durable_index=self._log.durable_index,
        )

    # -- turns -----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Ask for a turn; as many calls as happen before it share it."""
        if not self._turn_due and not self._stopped:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def wake_for_all(self) -> None:
        """Ask for a turn that looks at everything, as at each beat; others do what has come."""
        self._engine.tick_due = True
        self.wake()

    def heed(self) -> None:
        """Messages came, or the log was written: do what comes of that.

        What is committed is applied and passed on, and messages leave: a turn for that alone would
        be a tenth of a write's time. If there is more to do than was done, a turn does it.
        """
        if self._stopped or self._turn_due:
            return
        try:
            if self._engine.is_behind:
                self._engine.apply()
            if self._engine.is_due:
                self.wake()
            else:
                self._conclude()
        except Exception as error:
            self.fail(error)

    def written(self) -> None:
        """More of the log is durable here."""
        try:
            self._engine.written()
        except Exception as error:
            self.fail(error)
        else:
            self.heed()

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self._heartbeat_s / 2, self._beat)
        self._engine.note_room()
        self.is_full = self._engine.is_full
        self._batches.expire(self._lacks_leader)
        if self._log.forget_commands(self._engine.raftLastApplied):
            self._release()
        if self._log.size_bytes > self._log_size_bytes_max:
            self._engine.forceLogCompaction()
        if self._log.first_index > self._forgotten_to:
            self._forgotten_to = self._log.first_index
            self._forget(self._forgotten_to)
        self.wake_for_all()

    def _turn(self) -> None:
        self._turn_due = False
        if self._stopped:
            return
        try:
            if self._reads.are_due and not self._hands_over:
                self._reads.launch()
            if not self._hands_over:
                self._batches.launch()
            if self._engine.is_due:
                self._engine.step()
            self._conclude()
        except Exception as error:
            self.fail(error)
        else:
            if self._engine.is_due:
                self.wake()
            self._reads.be_patient()

    def _conclude(self) -> None:
        """If all is as it must be, let messages and blocks leave."""
        self._progress.check(self._engine.progress)
        self._outbox.settle()

    def fail(self, error: Exception) -> None:
        """Stop for good: a promise could not be kept by going on."""
        if not self._stopped:
            self.stop()
            self._on_fatal(error if isinstance(error, Fatal) else _as_fatal(error))


def _as_fatal(error: Exception) -> Fatal:
    fatal = Fatal(f"{type(error).__name__}: {error}")
    fatal.__cause__ = error
    return fatal


def _error_of(reason: int) -> RaftcacheError:
    """pysyncobj's reason, as an outcome: refused only where it certainly will not happen."""
    if reason in (FAIL_REASON.MISSING_LEADER, FAIL_REASON.NOT_LEADER):
        return NotLeader("the leader changed before it took the request")
    if reason == FAIL_REASON.DISCARDED:
        return NotLeader("a new leader discarded it")
    if reason == FAIL_REASON.QUEUE_FULL:
        return Overloaded("the proposal queue is full")
    if reason == FAIL_REASON.REQUEST_DENIED:
        return Refused("the leader denied it")
    return Unknown("the leader changed, or was lost, before it said what became of it")
