"""Taking snapshots beside the service, so that the log can be cut.

Stands where pysyncobj has its Serializer. The image is written slice by slice: one slice on the
event loop, then its write on the bulk lane, then a pause, then the next, so that neither the loop
nor the log's fdatasync waits long, and most of a core is left to the service. A snapshot counts
only once it is verified, complete and durable.

The machine gives one image at a time, and this is the one place that asks for it. So a backup is
no second dump: it is the file of a snapshot that is new enough, taken if there is none, and held
open, which keeps its bytes although it may be pruned.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from raftcache.ports import Lane, Loop, StateMachine, Timer
from raftcache.raft.log import Log
from raftcache.raft.room import Room
from raftcache.raft.snapshots import RawReader, SnapshotMeta, SnapshotStore, SnapshotWriter
from raftcache.raft.stock import SERIALIZER_STATE

PAUSE_S: Final = 0.005
"""Between two slices of an image, each about half a millisecond of work. Without it a snapshot of a
million keys keeps a core busy for seconds, on all nodes at once, and writes wait six times as long
(docs/benchmarks/growth.md); nobody waits for the snapshot."""

ROOM_AGAIN_S: Final = 60.0
"""After a snapshot that the disk had no room for, until the next one is tried."""

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger("raftcache.raft")


class OpenSnapshot:
    """A stored snapshot, held open for reading; to be closed, for it takes up disk space."""

    def __init__(self, raw: RawReader, lane: Lane) -> None:
        """Use Compactor.open_from."""
        self._raw, self._lane = raw, lane
        self.meta, self.size_bytes = raw.meta, raw.size_bytes
        self._closed = False

    def read(
        self,
        offset_bytes: int,
        size_bytes: int,
        done: Callable[[bytes | None, Exception | None], None],
    ) -> None:
        """Read from its file on the lane, then done(bytes, None) or done(None, error)."""
        assert not self._closed
        self._lane.submit(lambda: self._raw.read(offset_bytes, size_bytes), done)

    def close(self) -> None:
        """Let it go, once."""
        assert not self._closed
        self._closed = True
        self._lane.submit(self._raw.close, _ignore)


Opened: TypeAlias = Callable[[OpenSnapshot | OSError | None], None]
"""Called once, with the snapshot; why there is no room for one; or None if this node stops before
there is one."""


class Compactor:
    """Takes one node's snapshots, one at a time, and decides what stays in the log."""

    def __init__(
        self,
        store: SnapshotStore,
        lane: Lane,
        loop: Loop,
        machine: StateMachine,
        describe: Callable[[int, int], SnapshotMeta],
        room: Room,
        trailing_entries: int,
        trailing_size_bytes: int,
        on_progress: Callable[[], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """describe(index, term): the header of a snapshot taken of the machine as it is now.

        on_progress is called when something finished on the lane: the engine should tick.
        """
        self._store, self._lane, self._loop, self._machine = store, lane, loop, machine
        self._describe, self._room = describe, room
        self._trailing_entries, self._trailing_size_bytes = trailing_entries, trailing_size_bytes
        self._on_progress, self._on_fatal = on_progress, on_fatal
        self._taking: Iterator[bytes] | None = None
        self._writer: SnapshotWriter | None = None
        self._pause: Timer | None = None  # until the next slice
        self._wanted: list[tuple[int, Opened]] = []  # no snapshot is new enough for these
        self._no_room: OSError | None = None
        self._room_timer: Timer | None = None  # while no snapshot is tried
        self._stopped = False
        self._state = SERIALIZER_STATE.NOT_SERIALIZING
        self._index = self._forget_to = 0
        self.taken = self.failed = 0

    # -- taking: what pysyncobj asks of a serializer -----------------------------------------------

    def checkSerializing(self) -> tuple[int, int]:
        """The state of the snapshot being taken; SUCCESS and FAILED are reported once."""
        state = self._state
        if state in (SERIALIZER_STATE.SUCCESS, SERIALIZER_STATE.FAILED):
            self._state = SERIALIZER_STATE.NOT_SERIALIZING
        return state, self._forget_to

    def serialize(self, data: tuple[Any, ...], forget_to: int) -> None:
        """Begin a snapshot of the machine as it is now; the engine calls this between applies.

        data is pysyncobj's: (its own state, last applied entry, the one before, members).
        """
        _, index, term = data[1]
        self._state, self._forget_to = SERIALIZER_STATE.SERIALIZING, forget_to
        self._taking, self._index = self._machine.dump(), index
        logger.info("taking a snapshot", extra={"index": index})
        meta, spared = self._describe(index, term), self._room.spared_size_bytes
        self._lane.submit(lambda: self._store.writer(meta, spared), self._begun)

    @property
    def is_idle(self) -> bool:
        """No snapshot is being taken, and what became of the last one is known to the engine."""
        return bool(self._state == SERIALIZER_STATE.NOT_SERIALIZING)

    def _begun(self, writer: SnapshotWriter | None, error: Exception | None) -> None:
        self._writer = writer
        if writer is None or self._stopped:
            self._ended(error)
        else:
            self._next_slice(writer)

    def _next_slice(self, writer: SnapshotWriter) -> None:
        self._pause = None
        assert self._taking is not None
        piece = next(self._taking, None)
        if piece is None:
            self._taking = None
            self._lane.submit(writer.finish, lambda _, error: self._ended(error))
        else:
            self._lane.submit(
                lambda: writer.write(piece), lambda _, error: self._written(writer, error)
            )

    def _written(self, writer: SnapshotWriter, error: Exception | None) -> None:
        if error is not None or self._stopped:
            self._ended(error)
        else:
            self._pause = self._loop.call_later(PAUSE_S, self._next_slice, writer)

    def _ended(self, error: Exception | None) -> None:
        writer, self._writer, self._taking = self._writer, None, None
        if writer is not None:
            self._lane.submit(writer.abort, _ignore)  # nothing to do, unless it was not finished
        if self._stopped:
            return
        if error is None:
            self.taken += 1
            logger.info("took a snapshot", extra={"index": self._index})
            self._state = SERIALIZER_STATE.SUCCESS
            self._lane.submit(self._store.prune, lambda _, e: self._on_fatal(e) if e else None)
            self._open_wanted()
            self._on_progress()
            return
        self.failed += 1
        self._state = SERIALIZER_STATE.FAILED
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            self._wait_for_room(error)
        else:  # nothing is lost, but the disk under the log fails: better stop now than at a write
            logger.error("snapshot failed", extra={"error": str(error)})
            self._on_fatal(error)

    def _wait_for_room(self, error: OSError) -> None:
        """The log has what the snapshot would have, and goes on while there is room for that.

        All nodes of a cluster take snapshots at the same entry, and who asks for a backup asks
        one node after the other: if it stopped a node, it would stop all of them.
        """
        again = {"error": str(error), "again_in_s": ROOM_AGAIN_S}
        logger.error("no room for a snapshot, so the log is not cut", extra=again)
        self._no_room = error
        self._room_timer = self._loop.call_later(ROOM_AGAIN_S, self._try_again)
        self._end_wanted(error)

    def _try_again(self) -> None:
        self._no_room = self._room_timer = None
        self._on_progress()

    @property
    def waits_for_room(self) -> bool:
        """The disk had none for the last snapshot, a short while ago."""
        return self._no_room is not None

    def stop(self) -> None:
        """Take no more; a snapshot that is half written is removed, and nobody is left waiting."""
        self._stopped = True
        if self._pause is not None:
            self._pause.cancel()
            self._ended(None)
        if self._room_timer is not None:
            self._room_timer.cancel()
        self._end_wanted(None)

    # -- for backups -------------------------------------------------------------------------------

    @property
    def is_wanted(self) -> bool:
        """Somebody waits for a snapshot newer than any: take one at the next chance."""
        return bool(self._wanted) and self.is_idle

    def open_from(self, index: int, done: Opened) -> None:
        """Open a snapshot of this index or a later one; takes one if there is none.

        The state must have come to this index. Whoever gets a snapshot has to close it.
        """
        if self._stopped:
            done(None)
            return

        def opened(raw: RawReader | None, error: Exception | None) -> None:
            if raw is not None and raw.meta.index >= index and not self._stopped:
                done(OpenSnapshot(raw, self._lane))
                return
            if raw is not None:
                self._lane.submit(raw.close, _ignore)
            if error is not None:
                self._on_fatal(error)
            if error is not None or self._stopped:
                done(None)
            elif self._no_room is not None:
                done(self._no_room)
            else:
                self._wanted.append((index, done))
                self._on_progress()

        self._lane.submit(self._store.open_newest, opened)

    def _end_wanted(self, why: OSError | None) -> None:
        """There will be none: see Opened."""
        wanted, self._wanted = self._wanted, []
        for _, done in wanted:
            done(why)

    def _open_wanted(self) -> None:
        wanted, self._wanted = self._wanted, []
        for index, done in wanted:
            self.open_from(index, done)

    # -- what stays in the log ---------------------------------------------------------------------

    def keep_from(self, log: Log, index: int) -> int:
        """The first index to keep in the log when everything below `index` is in a snapshot."""
        keep, size_bytes = index, 0
        while keep - 1 > log.first_index and index - keep < self._trailing_entries:
            size_bytes += log.size_at(keep - 1)
            if size_bytes > self._trailing_size_bytes:
                break
            keep -= 1
        return keep


def _ignore(_: object, error: Exception | None) -> None:
    """Nobody waits for it; what it would have removed goes at the next start."""
    if error is not None:
        logger.warning("could not tidy up", extra={"error": str(error)})
