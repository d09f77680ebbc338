"""The log in memory: pysyncobj's Journal, which also records what must become durable.

It lives on the event loop and never touches a disk. Whoever drives it takes blocks, has them
written in order on another thread, and reports each one back:

    block = log.take_block()        on the loop
    wal.write(block)                on the lane of the log
    log.block_durable(block)        on the loop again, in the order taken

The log on disk equals the log in memory up to `_taken_index`, once all blocks taken so far are
written; so a block only has to say what follows that position. A truncation moves the position
back; the entries added later follow from there.

Commands that are durable and applied are forgotten but for the latest (`forget_commands`): of such
an entry only its index, term and size stay here, and the place of its block on the disk. Who needs
the command reads it back: see backlog.py.

Offsets, in the methods pysyncobj calls, are positions in the log; everything else is an index.
"""

from __future__ import annotations

from collections import deque
from typing import Final, overload

from raftcache.raft.entries import (
    FORGOTTEN,
    NO_OP,
    START,
    Block,
    Entry,
    Position,
    Recovered,
    commands_size_bytes,
    first_of,
)
from raftcache.raft.outline import Outline
from raftcache.raft.places import Place, Places, Stretch

BLOCK_COMMANDS_SIZE_BYTES_MAX: Final = 8 << 20
"""Of the commands in a block, so that one write never takes long; one above it is alone in its
block."""

TAIL_SIZE_BYTES_MAX: Final = 8 << 20
"""Commands that are kept in memory although they are durable and applied: twice what may be on its
way to a peer (window.py), so that none that keeps up needs the disk."""

ENTRY_SIZE_BYTES: Final = 140
"""What an entry takes in memory beside the bytes of its command: counts for the above."""

RELEASE_SIZE_BYTES_MIN: Final = 8 << 20
"""When so much less of the log is in memory than before, and at most half, the system gets it back.
As after a restart, whose log is in memory until it is applied; never as long as a node keeps up."""


class _InFlight:
    """A block on its way to the disk, and the highest index that it will make durable."""

    def __init__(self, block: Block, durable_index: int) -> None:
        self.block = block
        self.durable_index = durable_index


class Log:
    """Entries from the base on, and the account of what is durable.

    log[0] is the base: the first real entry, or a no-op that stands for all that a snapshot
    covers. Only a log that was never used is empty. Not thread-safe: loop only.
    """

    def __init__(self, recovered: Recovered | None = None, places: Places | None = None) -> None:
        """An empty log, or the recovered one, all of it durable; takes over entries and places."""
        was = recovered or Recovered()
        self._outline = Outline()
        self._entries = was.entries  # those that follow the outline
        if was.base.index > 0:
            self._entries.insert(0, Entry(NO_OP, *was.base))
        self._places = places or Places()
        self._first_index = self._kept_index = self._entries[0].index if self._entries else 1
        self.last_index = self._end()
        """The index of the last entry; 0 if the log is empty."""
        self._term, self._voted_for = was.term, was.voted_for
        self.committed_index = was.committed_index
        """What the engine knows to be committed: the next block says so."""
        self._size_bytes = commands_size_bytes(self._entries)
        self._memory_peak_bytes = 0
        self._taken_index = self._durable_index = self.last_index
        self._restarted = False  # since the last block taken
        self._changed = False  # since the last block taken, apart from entries added
        self._in_flight: deque[_InFlight] = deque()

    # Becoming durable.

    @property
    def durable_index(self) -> int:
        """Highest index whose entry on disk is the one in memory, and will stay it; 0 if none."""
        return self._durable_index

    @property
    def has_pending(self) -> bool:
        """Whether anything is not yet taken or not yet durable."""
        return self.has_untaken or bool(self._in_flight)

    @property
    def has_untaken(self) -> bool:
        """Whether anything is not yet in a block."""
        return self._changed or self.last_index > self._taken_index

    def take_block(self) -> Block | None:
        """What changed since the last call, or None; large changes come in several blocks.

        The caller must write blocks in the order taken and report each with block_durable.
        """
        if not self.has_untaken:
            return None
        prev = self._position(self._taken_index)
        block = Block(
            self._term,
            self._voted_for,
            self._restarted,
            prev,
            self._next_entries(),
            self.committed_index,
        )
        self._taken_index = block.last_index
        self._restarted = self._changed = False
        self._in_flight.append(_InFlight(block, block.last_index))
        return block

    def block_durable(self, block: Block, place: Place | None = None) -> None:
        """The oldest block in flight is written and synced, there; None: nowhere, memory is all."""
        landed = self._in_flight.popleft()
        assert landed.block is block, "blocks must become durable in the order taken"
        assert landed.durable_index >= self._durable_index, "durable entries were lost"
        self._durable_index = landed.durable_index
        if place is None:
            assert not self._places, "it is in no known place"
        elif landed.durable_index > block.prev.index:
            self._places.wrote(block.prev.index + 1, place)

    def _next_entries(self) -> list[Entry]:
        start = self._taken_index + 1 - self._kept_index if self._entries else 0
        return first_of(self._entries, start, BLOCK_COMMANDS_SIZE_BYTES_MAX)

    def _cut_after(self, index: int) -> None:
        """What is in memory agrees with any block taken so far up to `index` only."""
        self._taken_index = min(self._taken_index, index)
        self._durable_index = min(self._durable_index, index)
        self._places.cut_after(index)
        for flight in self._in_flight:
            flight.durable_index = min(flight.durable_index, index)

    # What the log holds.

    @property
    def first_index(self) -> int:
        """The index of log[0]; 1 if the log is empty."""
        return self._first_index

    @property
    def kept_index(self) -> int:
        """From here on the commands are in memory; below, they are forgotten."""
        return self._kept_index

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of all its commands, those that are forgotten too."""
        return self._size_bytes

    def restart_at(self, index: int, term: int) -> None:
        """Drop everything and begin anew at a base: a snapshot covers all up to this index.

        The snapshot must be durable before a block that says so may be taken.
        """
        assert index >= 1
        self._restart([Entry(NO_OP, index, term)])

    def _restart(self, entries: list[Entry]) -> None:
        self._cut_after(0)
        self._outline = Outline()
        self._entries, self._size_bytes = entries, commands_size_bytes(entries)
        self._first_index = self._kept_index = entries[0].index if entries else 1
        self._taken_index = self.last_index = self._end()  # the block's own prev
        self._restarted = self._changed = True

    def _end(self) -> int:
        return self._entries[-1].index if self._entries else self._outline.last.index

    def _position(self, index: int) -> Position:
        if index == 0:
            return START
        return Position(index, self.term_at(index))

    def term_at(self, index: int) -> int:
        """Of the entry of this index, or of the base."""
        if index < self._kept_index:
            return self._outline.term_at(index)
        return self.kept_at(index).term

    def kept_at(self, index: int) -> Entry:
        """The entry of this index, whose command is in memory."""
        entry = self._entries[index - self._kept_index]
        assert entry.index == index
        return entry

    def size_at(self, index: int) -> int:
        """Of the command of this entry, in bytes."""
        if index < self._kept_index:
            return self._outline.size_at(index)
        return len(self._entries[index - self._kept_index].command)

    # Commands that are on the disk alone.

    @property
    def memory_size_bytes(self) -> int:
        """What the entries take whose commands are in memory."""
        commands = self._size_bytes - self._outline.size_bytes
        return commands + ENTRY_SIZE_BYTES * len(self._entries)

    def forget_commands(self, applied_index: int) -> bool:
        """Forget the oldest commands, so that no more than the tail's size of them is in memory.

        Only what is durable, at a known place, and applied is forgotten: nothing but a peer that is
        far behind will ask for it again, and it can never be truncated. True: it is so much less
        than before that it is worth while to give free memory back to the system.
        """
        size_bytes = self.memory_size_bytes
        self._memory_peak_bytes = max(self._memory_peak_bytes, size_bytes)
        if size_bytes > TAIL_SIZE_BYTES_MAX:
            self._forget(size_bytes - TAIL_SIZE_BYTES_MAX, min(applied_index, self._durable_index))
            size_bytes = self.memory_size_bytes
        released = self._memory_peak_bytes - size_bytes
        is_much = released >= max(size_bytes, RELEASE_SIZE_BYTES_MIN)
        if is_much:
            self._memory_peak_bytes = size_bytes
        return is_much

    def _forget(self, excess_bytes: int, last_index: int) -> None:
        if not self._places.holds(max(self._kept_index, self._first_index + 1)):
            return  # nothing is on a disk
        count, count_max = 0, last_index + 1 - self._kept_index
        while excess_bytes > 0 and count < count_max:
            command, index, term = self._entries[count]
            self._outline.add(index, term, len(command))
            excess_bytes -= len(command) + ENTRY_SIZE_BYTES
            count += 1
        if count > 0:
            del self._entries[:count]
            self._kept_index += count

    def kept(self, index: int, size_bytes_max: int) -> list[Entry]:
        """Entries from this one on, whose commands together are no larger; one at least."""
        return first_of(self._entries, index - self._kept_index, size_bytes_max)

    def stretch(self, index: int, size_bytes: int) -> Stretch:
        """Where on the disk a forgotten entry is, and what else lies so close behind it."""
        assert self._first_index < index < self._kept_index
        return self._places.stretch(index, size_bytes)

    # What pysyncobj calls.

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append one entry; its index follows the last one.

        In an empty log an index above 1 begins anew there: pysyncobj does so after a snapshot.
        """
        entry, last_index = Entry(command, idx, term), self.last_index
        if last_index == 0 and idx > 1:
            self._restart([entry])
            return
        last_term = self._entries[-1].term if self._entries else self._outline.last.term
        assert idx == last_index + 1, f"entry {idx} cannot follow {last_index}"
        assert term >= last_term, "the term goes back"
        self._entries.append(entry)
        self.last_index = idx
        self._size_bytes += len(command)

    def clear(self) -> None:
        """Drop everything; restart_at is the safe way, since it is one step on disk."""
        self._restart([])

    def deleteEntriesFrom(self, offset: int) -> None:
        """Truncate: drop log[offset:]. The base stays."""
        if offset >= len(self):
            return
        assert offset >= 1, "the base of the log cannot be truncated"
        start = offset - (self._kept_index - self._first_index)
        assert start >= 0, "what is forgotten was applied, and cannot be truncated"
        self._size_bytes -= commands_size_bytes(self._entries[start:])
        del self._entries[start:]
        self.last_index = self._end()
        if self._taken_index > self.last_index:
            self._changed = True
        self._cut_after(self.last_index)

    def deleteEntriesTo(self, offset: int) -> None:
        """Forget log[:offset] in memory; log[offset] is the new base.

        Only what is durable before the last durable entry is forgotten, so it may keep more than
        asked. Segments on disk are dropped separately: Wal.drop_before.
        """
        offset = min(offset, self._durable_index - self._first_index)
        if offset <= 0:
            return
        count = max(0, self._first_index + offset - self._kept_index)  # of those in memory
        self._size_bytes -= self._outline.size_bytes + commands_size_bytes(self._entries[:count])
        self._first_index += offset
        self._outline.drop_before(self._first_index)
        self._size_bytes += self._outline.size_bytes
        del self._entries[:count]
        self._kept_index += count
        self._places.drop_before(self._first_index + 1)

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        forgotten = self._kept_index - self._first_index
        if isinstance(item, slice):
            start, stop, step = item.indices(len(self))
            assert step == 1
            faded = [self._faded(at) for at in range(start, min(stop, forgotten))]
            return faded + self._entries[max(0, start - forgotten) : max(0, stop - forgotten)]
        if item >= forgotten:
            return self._entries[item - forgotten]
        if -len(self._entries) <= item < 0:
            return self._entries[item]
        return self._faded(item if item >= 0 else item + len(self))

    def _faded(self, at: int) -> Entry:
        if at < 0:
            raise IndexError
        index = self._first_index + at
        return Entry(FORGOTTEN, index, self._outline.term_at(index))

    def __len__(self) -> int:
        return self._kept_index - self._first_index + len(self._entries)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """The vote. It must be durable before any message that depends on it leaves."""
        if (term, votedForNodeId) != (self._term, self._voted_for):
            self._term, self._voted_for, self._changed = term, votedForNodeId, True

    def getCurrentTerm(self) -> int:
        return self._term

    def getVotedForNodeId(self) -> str | None:
        return self._voted_for

    def setRaftCommitIndex(self, index: int) -> None:
        """Not called: the engine sets committed_index."""

    def getRaftCommitIndex(self) -> int:
        """As pysyncobj's MemoryJournal: the first entry is the same everywhere."""
        return self.first_index

    def onOneSecondTimer(self) -> None:
        """Nothing to do: blocks are taken when there are any."""

    def _destroy(self) -> None:
        """Nothing to release: the Wal is closed by whoever opened it."""
