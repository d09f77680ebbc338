"""Entries that are on the disk alone, read back for peers that are far behind.

A leader that finds an entry's command forgotten (log.py) asks here. A piece of the log's segment is
read on the bulk lane, not on the lane of the log, so that no fdatasync waits behind it: what is
durable is never written again, so both may go on at once. Only its file may be deleted meanwhile,
which means that a snapshot covers it; then the peer gets that.

Nothing is sent that is not verified twice: by the checksum of its block, and by index and term,
which must be those that the log remembers. Otherwise this node stops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raftcache.errors import Corrupt, Fatal
from raftcache.ports import Disk, File, Lane
from raftcache.raft import blocks
from raftcache.raft.datadir import REJOIN
from raftcache.raft.entries import Entry, first_of
from raftcache.raft.log import Log
from raftcache.raft.places import Stretch
from raftcache.raft.stock import Node
from raftcache.raft.wal import segment_path

READ_SIZE_BYTES: Final = 1 << 20
"""What is read at once for one peer, and held in memory until it is sent; a block that is larger is
read whole, and Log closes its blocks at 8 MiB."""


class _Piece:
    """What was read for one peer and is not sent yet; None: the read is under way."""

    def __init__(self) -> None:
        self.entries: list[Entry] | None = None


class Backlog:
    """The leader's side: at most one piece for each peer."""

    def __init__(
        self,
        disk: Disk,
        log: Log,
        lane: Lane,
        on_progress: Callable[[], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """on_progress is called when something was read: the engine should tick.

        on_fatal is called with the error of a disk that cannot give back what is durable.
        """
        self._disk, self._log, self._lane = disk, log, lane
        self._on_progress, self._on_fatal = on_progress, on_fatal
        self._pieces: dict[Node, _Piece] = {}

    def take(self, node: Node, index: int, size_bytes_max: int) -> list[Entry]:
        """Entries for this peer from this forgotten one on, as many as fit into one message.

        None of them: they are on their way, and on_progress will be called.
        """
        piece = self._pieces.get(node)
        if piece is None:
            self._begin(node, index)
            return []
        if piece.entries is None:
            return []
        at = index - piece.entries[0].index
        if not 0 <= at < len(piece.entries):  # the peer turned out to lack more, or less
            self._begin(node, index)
            return []
        taken = first_of(piece.entries, at, size_bytes_max)
        self._verify(taken, index)
        piece.entries = piece.entries[at + len(taken) :]
        if not piece.entries:
            del self._pieces[node]
        return taken

    def stop(self, node: Node | None = None) -> None:
        """Let go what was read for one peer, or for all of them."""
        for stopped in [node] if node is not None else list(self._pieces):
            self._pieces.pop(stopped, None)

    def _begin(self, node: Node, index: int) -> None:
        stretch = self._log.stretch(index, READ_SIZE_BYTES)
        self._pieces[node] = piece = _Piece()

        def came(entries: list[Entry] | None, error: Exception | None) -> None:
            if self._pieces.get(node) is piece:
                self._came(node, piece, index, entries or [], error)

        self._lane.submit(lambda: read_back(self._disk, stretch, index), came)

    def _came(
        self, node: Node, piece: _Piece, index: int, entries: list[Entry], error: Exception | None
    ) -> None:
        if index <= self._log.first_index:  # a snapshot covers it, and its file may be deleted
            del self._pieces[node]
        elif error is not None:
            self._on_fatal(error)
            return
        elif not entries or entries[0].index != index:
            why = f"the log on disk has no entry {index} where it was written; {REJOIN}"
            self._on_fatal(Fatal(why))  # not raised: on the loop nobody would catch it
            return
        else:  # what follows is in memory; it may also differ, where a block's end was truncated
            piece.entries = entries[: self._log.kept_index - index]
        self._on_progress()

    def _verify(self, entries: list[Entry], index: int) -> None:
        for right, (_, found, term) in enumerate(entries, index):
            if (found, term) != (right, self._log.term_at(right)):
                what = f"entry {found} of term {term}"
                raise Fatal(f"the log on disk has {what} where entry {right} belongs; {REJOIN}")


def read_back(disk: Disk, stretch: Stretch, index: int) -> list[Entry]:
    """The entries of a stretch of the log from this index on, as many as one read gives.

    Blocking; for the lane. Raises OSError, or Corrupt where a checksum does not match.
    """
    path = segment_path(stretch.segment)
    file = disk.open(path)
    try:
        return _read(file, path, stretch.blocks, index)
    except Corrupt as error:
        raise Corrupt(error.path, error.offset_bytes, f"{error.why}; {REJOIN}") from error
    finally:
        file.close()


def _read(file: File, path: str, places: list[tuple[int, int, int]], index: int) -> list[Entry]:
    begin, _, _ = places[0]
    base = begin - begin % blocks.SECTOR_SIZE_BYTES
    data = file.read_at(base, READ_SIZE_BYTES)
    entries: list[Entry] = []
    for offset, first_index, next_index in places:
        at = offset - base
        if at + blocks.ALIGNMENT_BYTES > len(data):
            break
        header = blocks.header_at(path, data, at, base)
        if header.end > len(data) and offset > begin:
            break
        if header.end > len(data):
            data = file.read_at(base, header.end)
        block = blocks.read_block(path, data, header, base)
        if block.prev.index + 1 != first_index:
            raise Corrupt(path, offset, f"this block does not begin with entry {first_index}")
        entries += [e for e in block.entries if index <= e.index < next_index]
    return entries
