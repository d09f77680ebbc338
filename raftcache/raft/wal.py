"""The log on disk: segments of blocks, one write and one fdatasync for each block.

`wal/<number>.seg`, numbered without gaps; blocks.py says what is in a segment and how a torn block
is told from a damaged one. The rules that concern more than one segment:

- A segment gets its name only when it is complete: made under a temporary name, header written,
  synced, renamed, folder synced. So a `.seg` file that is short or has no header is damaged.
- A new segment is made only after the last block of the one before it was synced. So only the last
  segment may end torn, and every other one holds at least one block.
- Every block tells the vote and the position it follows, so any segment's first block can begin
  the log, and older segments are deleted whole: oldest first, each removal synced, so that a crash
  leaves no gap. That takes 20 ms for 64 MiB, and so is done beside the writes. Where a later block
  truncates to before that begin, the log begins there instead: all that follows the truncation is
  in that block and the ones after it.
- `restart` begins a new segment; when that is durable, everything older may be deleted.

When a process dies between the write and the sync of a block, the next one reads the block from
the page cache, though it may not be on the disk; and where the sync failed, Linux takes the page
for clean, so that another sync would say yes and do nothing. Therefore open() writes the last
block again, as it was, and syncs, before anyone may rely on it.

With sync=False (durability "os") blocks reach the disk when the kernel likes: if the machine, not
just the process, stops, the log may be found corrupt, or have lost its last blocks.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from raftcache.command import versions
from raftcache.errors import Corrupt, Fatal
from raftcache.ports import Disk, File
from raftcache.raft import blocks
from raftcache.raft.datadir import NEW_SEGMENT, REJOIN, SNAPSHOTS_FOLDER, WAL_FOLDER
from raftcache.raft.entries import START, Block, Entry, Position, Recovered
from raftcache.raft.places import Place, Places

SEGMENT_SIZE_BYTES_MIN: Final = 1024
"""A header and a little; real ones are MiBs."""

_NAME: Final = re.compile(r"[0-9]{16}\.seg")


@dataclass
class _Segment:
    """One segment; start_index: the index that its first block follows, None if it has none."""

    number: int
    start_index: int | None = None

    @property
    def is_empty(self) -> bool:
        return self.start_index is None

    @property
    def path(self) -> str:
        return f"{WAL_FOLDER}/{self.number:016d}.seg"


class Wal:
    """The log on disk. Blocking; one caller at a time, on its lane (but see remove_dropped).

    Any OSError makes it unusable, since after a failed write or sync nobody can tell what is on
    the disk: that call and all later ones raise Fatal, and nothing is tried again.
    """

    def __init__(self, disk: Disk, segment_size_bytes: int, sync: bool) -> None:
        """Use open()."""
        assert segment_size_bytes >= SEGMENT_SIZE_BYTES_MIN
        self._disk, self._sync = disk, sync
        self._segment_size_bytes = segment_size_bytes
        self._segments: list[_Segment] = []
        self._dropped = deque[_Segment]()  # of the log no more, but still on the disk
        self._file: File | None = None  # the last segment's
        self._file_size_bytes = 0
        self._is_older = False  # its format is, and no block of this one may be in it
        self._end = 0  # where the next block goes
        self._sequence = 1  # of the next block
        self._last_index = 0
        self._failure: str | None = None
        self.places: Final = Places()
        """Of what open() read back; for the Log, which takes them over."""

    @classmethod
    def open(cls, disk: Disk, segment_size_bytes: int, sync: bool) -> tuple[Wal, Recovered]:
        """Read the log and make ready to append to it; what it returns is durable.

        Cuts a torn block at the end. Raises Corrupt, naming file and offset, if an entry or vote
        that was durable cannot be read back; OSError if the disk fails.
        """
        wal = cls(disk, segment_size_bytes, sync)
        disk.make_folder(WAL_FOLDER)
        if disk.exists(NEW_SEGMENT):
            disk.remove(NEW_SEGMENT)
        disk.sync_folder(WAL_FOLDER)
        try:
            recovered = wal._recover()
        except BaseException as e:
            wal.close()
            if not isinstance(e, Corrupt):
                raise
            raise Corrupt(e.path, e.offset_bytes, f"{e.why}; {REJOIN}") from e
        return wal, recovered

    def write(self, block: Block) -> Place:
        """Append a block; durable on return (if sync), there. Raises Fatal."""
        assert block.restart or block.prev.index <= self._last_index, "a block leaves a gap"
        payload = blocks.encode_payload(block)
        with self._fatal_if_it_fails():
            data = blocks.place_payload(payload, self._end, self._sequence)
            fits = self._end + len(data) <= self._file_size_bytes
            is_new = block.restart and not self._segments[-1].is_empty
            if not fits or is_new or self._is_older:
                self._begin_segment(len(payload))
                data = blocks.place_payload(payload, self._end, self._sequence)
                assert self._end + len(data) <= self._file_size_bytes
            assert self._file is not None
            self._file.write_at(self._end, data)
            if self._sync:
                self._file.sync()
        place = Place(self._segments[-1].number, self._end)
        self._end = blocks.align(self._end + len(data))
        self._sequence += 1
        self._account(block)
        if block.restart:
            self._drop(len(self._segments) - 1)
        return place

    def drop_before(self, index: int) -> None:
        """Let go of the segments that only hold entries below index; `remove_dropped` deletes them.

        To be called when a durable snapshot covers them: the position before index stays known.
        Raises Fatal.
        """
        first = 0
        with self._fatal_if_it_fails():
            for i, segment in enumerate(self._segments):
                if segment.start_index is not None and segment.start_index < index:
                    first = i
            self._drop(first)

    def _drop(self, count: int) -> None:
        self._dropped.extend(self._segments[:count])
        del self._segments[:count]

    def remove_dropped(self) -> None:
        """Delete what the log let go of; gone for good on return. Raises Fatal.

        On any lane, beside the writes, but one caller at a time. What a node that stops leaves
        behind is read back with the log, and dropped again.
        """
        while self._dropped:
            path = self._dropped[0].path
            try:
                self._disk.remove(path)
                self._disk.sync_folder(WAL_FOLDER)
            except OSError as e:
                raise Fatal(f"the log on disk failed: {path}: {e}") from e
            self._dropped.popleft()

    def close(self) -> None:
        """Close the file; what was written stays as durable as it was."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._failure = self._failure or "it is closed"

    @contextmanager
    def _fatal_if_it_fails(self) -> Iterator[None]:
        if self._failure is not None:
            raise Fatal(f"the log on disk cannot be used any more: {self._failure}")
        try:
            yield
        except BaseException as e:  # whatever it was, the file may hold half a block now
            where = self._segments[-1].path
            self._failure = f"{where}: {e or type(e).__name__}"
            if isinstance(e, OSError):
                raise Fatal(f"the log on disk failed: {self._failure}") from e
            raise

    def _begin_segment(self, payload_size_bytes: int) -> None:
        """Make the next segment, large enough for this payload; an empty last one is replaced."""
        first = blocks.SECTOR_SIZE_BYTES
        needed = first + blocks.stored_size_bytes(payload_size_bytes, first)
        size_bytes = max(needed, self._segment_size_bytes)
        size_bytes += -size_bytes % blocks.SECTOR_SIZE_BYTES
        if not self._segments or not self._segments[-1].is_empty:
            number = self._segments[-1].number + 1 if self._segments else 1
            self._segments.append(_Segment(number))
        segment = self._segments[-1]
        file = self._disk.create(NEW_SEGMENT, size_bytes)
        self._use(file, size_bytes, first)
        file.write_at(0, blocks.encode_segment_header(segment.number, size_bytes))
        file.sync()
        self._disk.replace(NEW_SEGMENT, segment.path)
        self._disk.sync_folder(WAL_FOLDER)
        self._is_older = False

    def _use(self, file: File, size_bytes: int, end: int) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._file_size_bytes, self._end = file, size_bytes, end

    def _account(self, block: Block) -> None:
        """Note a block that is in the last segment now."""
        if self._segments[-1].is_empty:
            self._segments[-1].start_index = block.prev.index
        self._last_index = block.last_index

    # Recovery.

    def _recover(self) -> Recovered:
        replay = Replay()
        numbers = segment_numbers(self._disk)
        if not numbers:
            if self._disk.names(SNAPSHOTS_FOLDER):
                raise Corrupt(WAL_FOLDER, 0, "the log is missing, though there are snapshots")
            self._begin_segment(0)
            return replay.recovered(0)
        torn_bytes = 0
        for number in numbers:
            torn_bytes = self._recover_segment(number, number == numbers[-1], replay)
        return replay.recovered(torn_bytes)

    def _recover_segment(self, number: int, is_last: bool, replay: Replay) -> int:
        """Replay one segment; returns the size of the torn block that was cut."""
        known = bool(self._segments) or number == 1
        segment = _Segment(number)
        self._segments.append(segment)
        file = self._disk.open(segment.path)
        self._use(file, file.size_bytes(), 0)
        data = file.read_at(0, self._file_size_bytes)
        scan = read_segment(number, data, self._sequence if known else None, is_last)
        for at, sequence, block in scan.blocks:
            replay.apply(segment.path, at, block)
            self.places.cut_after(0 if block.restart else block.prev.index)
            if block.entries:
                self.places.wrote(block.prev.index + 1, Place(number, at))
            self._account(block)
            self._sequence = sequence + 1
        self._end, self._is_older = scan.end, scan.version < versions.SEGMENT
        return _make_durable(file, data, scan) if is_last else 0


def _make_durable(file: File, data: bytes, scan: blocks.Scan) -> int:
    """Cut a torn end, or else write the last block again: see the module's docstring."""
    torn_bytes = 0
    if scan.torn_end is not None:
        torn_bytes = scan.torn_end - scan.end
        # The header last: should this stop half way, too, what is left still looks torn.
        header = min(blocks.ALIGNMENT_BYTES, torn_bytes)
        file.write_at(scan.end + header, bytes(torn_bytes - header))
        file.write_at(scan.end, bytes(header))
    elif scan.blocks:
        last_at, _, _ = scan.blocks[-1]
        file.write_at(last_at, data[last_at : scan.end])
    file.sync()
    return torn_bytes


def segment_path(number: int) -> str:
    return _Segment(number).path


def read_segment(number: int, data: bytes, sequence: int | None, is_last: bool) -> blocks.Scan:
    """What a segment holds. sequence: of its first block; None if older segments are gone.

    Raises Corrupt if it is damaged, or lacks what belongs before the next one.
    """
    path = segment_path(number)
    version = blocks.check_segment_header(path, number, data)
    scan = blocks.scan_segment(path, data, sequence)
    scan.version = version
    if not scan.blocks and sequence is None:
        raise Corrupt(path, scan.end, "nothing is here, and older segments are gone")
    if not is_last and (scan.torn_end is not None or not scan.blocks):
        raise Corrupt(path, scan.end, "a block is missing before the next segment")
    return scan


def segment_numbers(disk: Disk) -> list[int]:
    """The segments there are, oldest first; Corrupt if one is missing between them.

    One that is being made, or was when a process ended, holds nothing yet and is none.
    """
    names = [n for n in disk.names(WAL_FOLDER) if f"{WAL_FOLDER}/{n}" != NEW_SEGMENT]
    for name in names:
        if not _NAME.fullmatch(name):
            raise Corrupt(f"{WAL_FOLDER}/{name}", 0, "this is not a segment of the log")
    numbers = [int(name.removesuffix(".seg")) for name in names]
    for expected, number in enumerate(numbers, numbers[0] if numbers else 0):
        if number != expected:
            missing = _Segment(expected).path
            raise Corrupt(missing, 0, f"this segment is missing, segment {number} is there")
    return numbers


class Replay:
    """Puts blocks back together into a log; what no log can have written is Corrupt."""

    def __init__(self) -> None:
        self._base: Position = START
        self._entries: list[Entry] = []
        self._term, self._voted_for = 0, None  # type: int, str | None
        self._committed_index = self._untold_index = 0
        self._is_first = True

    def recovered(self, torn_bytes: int) -> Recovered:
        """The log that the blocks so far make."""
        last_index = self._last().index
        return Recovered(
            self._entries,
            self._base,
            self._term,
            self._voted_for,
            torn_bytes,
            min(self._committed_index, last_index),
            min(self._untold_index, last_index),
        )

    def apply(self, path: str, at: int, block: Block) -> None:
        """The next block, found at this place."""
        if block.term < self._term:
            raise Corrupt(path, at, f"the term goes back from {self._term} to {block.term}")
        self._term, self._voted_for = block.term, block.voted_for
        if block.restart or self._is_first or block.prev.index < self._base.index:
            self._base, self._entries = block.prev, []
            self._is_first = False
        kept = block.prev.index - self._base.index
        if kept > len(self._entries):
            why = f"the block follows index {block.prev.index}, which the log does not have"
            raise Corrupt(path, at, why)
        del self._entries[kept:]
        if self._last() != block.prev:
            why = f"the block follows {block.prev}, the log has {self._last()} there"
            raise Corrupt(path, at, why)
        for entry in block.entries:
            last = self._last()
            if entry.index != last.index + 1 or entry.term < last.term:
                why = f"entry {entry.index} of term {entry.term} cannot follow {last}"
                raise Corrupt(path, at, why)
            self._entries.append(entry)
        self._untold_index = min(self._untold_index, block.prev.index)
        if block.committed_index is None:
            self._untold_index = block.last_index
        else:
            self._committed_index = max(self._committed_index, block.committed_index)

    def _last(self) -> Position:
        if not self._entries:
            return self._base
        last = self._entries[-1]
        return Position(last.index, last.term)
