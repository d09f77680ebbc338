"""The log in memory: pysyncobj's Journal, which also records what must become durable.

It lives on the event loop and never touches a disk. Whoever drives it takes blocks, has them
written in order on another thread, and reports each one back:

    block = log.take_block()        on the loop
    wal.write(block)                on the lane of the log
    log.block_durable(block)        on the loop again, in the order taken

The log on disk equals the log in memory up to `_taken_index`, once all blocks taken so far are
written; so a block only has to say what follows that position. A truncation moves the position
back; the entries added later follow from there.

Offsets, in the methods pysyncobj calls, are positions in the list; everything else is an index.
"""

from __future__ import annotations

from collections import deque
from typing import Final, overload

from raftcache.raft.entries import NO_OP, START, Block, Entry, Position, Recovered

BLOCK_COMMANDS_SIZE_BYTES_MAX: Final = 8 << 20
"""A block is closed when it reaches this, so that one write never takes long; it exceeds it by
one entry at most."""


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

    def __init__(self, recovered: Recovered | None = None) -> None:
        """An empty log, or the recovered one, all of it durable; takes over its entries."""
        was = recovered or Recovered()
        self._entries = was.entries
        if was.base.index > 0:
            self._entries.insert(0, Entry(NO_OP, *was.base))
        self._term, self._voted_for = was.term, was.voted_for
        self._size_bytes = _size_bytes(self._entries)
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
        block = Block(self._term, self._voted_for, self._restarted, prev, self._next_entries())
        self._taken_index = block.last_index
        self._restarted = self._changed = False
        self._in_flight.append(_InFlight(block, block.last_index))
        return block

    def block_durable(self, block: Block) -> None:
        """The oldest block in flight is written and synced."""
        landed = self._in_flight.popleft()
        assert landed.block is block, "blocks must become durable in the order taken"
        assert landed.durable_index >= self._durable_index, "durable entries were lost"
        self._durable_index = landed.durable_index

    def _next_entries(self) -> list[Entry]:
        start = self._taken_index + 1 - self.first_index if self._entries else 0
        end, size_bytes = start, 0
        while end < len(self._entries) and size_bytes < BLOCK_COMMANDS_SIZE_BYTES_MAX:
            size_bytes += len(self._entries[end].command)
            end += 1
        return self._entries[start:end]

    def _cut_after(self, index: int) -> None:
        """What is in memory agrees with any block taken so far up to `index` only."""
        self._taken_index = min(self._taken_index, index)
        self._durable_index = min(self._durable_index, index)
        for flight in self._in_flight:
            flight.durable_index = min(flight.durable_index, index)

    # What the log holds.

    @property
    def first_index(self) -> int:
        """The index of log[0]; 1 if the log is empty."""
        return self._entries[0].index if self._entries else 1

    @property
    def last_index(self) -> int:
        """The index of the last entry; 0 if the log is empty."""
        return self._entries[-1].index if self._entries else 0

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of the commands in memory."""
        return self._size_bytes

    def restart_at(self, index: int, term: int) -> None:
        """Drop everything and begin anew at a base: a snapshot covers all up to this index.

        The snapshot must be durable before a block that says so may be taken.
        """
        assert index >= 1
        self._restart([Entry(NO_OP, index, term)])

    def _restart(self, entries: list[Entry]) -> None:
        self._cut_after(0)
        self._entries, self._size_bytes = entries, _size_bytes(entries)
        self._taken_index = self.last_index  # the block's own prev
        self._restarted = self._changed = True

    def _position(self, index: int) -> Position:
        if index == 0:
            return START
        entry = self._entries[index - self.first_index]
        assert entry.index == index
        return Position(index, entry.term)

    # What pysyncobj calls.

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append one entry; its index follows the last one.

        In an empty log an index above 1 begins anew there: pysyncobj does so after a snapshot.
        """
        entry = Entry(command, idx, term)
        if not self._entries and idx > 1:
            self._restart([entry])
            return
        assert idx == self.last_index + 1, f"entry {idx} cannot follow {self.last_index}"
        assert not self._entries or term >= self._entries[-1].term, "the term goes back"
        self._entries.append(entry)
        self._size_bytes += len(command)

    def clear(self) -> None:
        """Drop everything; restart_at is the safe way, since it is one step on disk."""
        self._restart([])

    def deleteEntriesFrom(self, offset: int) -> None:
        """Truncate: drop log[offset:]. The base stays."""
        if offset >= len(self._entries):
            return
        assert offset >= 1, "the base of the log cannot be truncated"
        self._size_bytes -= _size_bytes(self._entries[offset:])
        del self._entries[offset:]
        if self._taken_index > self.last_index:
            self._changed = True
        self._cut_after(self.last_index)

    def deleteEntriesTo(self, offset: int) -> None:
        """Forget log[:offset] in memory; log[offset] is the new base.

        Only what is durable before the last durable entry is forgotten, so it may keep more than
        asked. Segments on disk are dropped separately: Wal.drop_before.
        """
        offset = min(offset, self._durable_index - self.first_index)
        if offset > 0:
            self._size_bytes -= _size_bytes(self._entries[:offset])
            del self._entries[:offset]

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """The vote. It must be durable before any message that depends on it leaves."""
        if (term, votedForNodeId) != (self._term, self._voted_for):
            self._term, self._voted_for, self._changed = term, votedForNodeId, True

    def getCurrentTerm(self) -> int:
        return self._term

    def getVotedForNodeId(self) -> str | None:
        return self._voted_for

    def setRaftCommitIndex(self, index: int) -> None:
        """Not kept: a restarted node learns the commit index from its leader (Raft, 5.2)."""

    def getRaftCommitIndex(self) -> int:
        """As pysyncobj's MemoryJournal: the first entry is the same everywhere."""
        return self.first_index

    def onOneSecondTimer(self) -> None:
        """Nothing to do: blocks are taken when there are any."""

    def _destroy(self) -> None:
        """Nothing to release: the Wal is closed by whoever opened it."""


def _size_bytes(entries: list[Entry]) -> int:
    return sum(len(entry.command) for entry in entries)
