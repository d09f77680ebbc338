"""Reads what a node has on disk, and changes nothing; for people and for tools.

Safe beside a running node: nothing is locked or written. What the node writes meanwhile may look
torn, and only that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from raftcache.command import codec
from raftcache.errors import Corrupt
from raftcache.ports import Disk, StateMachine
from raftcache.raft import members
from raftcache.raft.datadir import Identity, read_identity
from raftcache.raft.engine.base import REGULAR, STAMP_SIZE_BYTES, stamp_ms_of
from raftcache.raft.entries import START, Entry, Position, Recovered
from raftcache.raft.members import Configuration
from raftcache.raft.snapshots import SnapshotStore
from raftcache.raft.wal import Replay, read_segment, segment_numbers, segment_path

ATTEMPTS: Final = 5
"""A running node may delete a segment between the listing and the reading."""


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One file of the log. Indexes are None where it has no entries."""

    path: str
    size_bytes: int
    used_bytes: int
    blocks: int
    first_index: int | None
    last_index: int | None
    terms: tuple[int, ...]
    torn_bytes: int


@dataclass(slots=True)
class LogReport:
    """A log, as far as it can be read. damage: why not farther."""

    segments: list[SegmentReport] = field(default_factory=list)
    recovered: Recovered = field(default_factory=Recovered)
    damage: Corrupt | None = None

    @property
    def last_index(self) -> int:
        entries, base = self.recovered.entries, self.recovered.base
        return entries[-1].index if entries else base.index


@dataclass(slots=True)
class Remembered:
    """All that a stopped node's disk remembers.

    last: the last entry; committed_index: up to here all are committed for certain; term: the
    highest heard of; configuration: the latest, None if none was ever written down.
    """

    identity: Identity | None
    last: Position
    committed_index: int
    term: int
    configuration: Configuration | None


def read_log(disk: Disk) -> LogReport:
    """Every segment, as recovery would read it; never raises Corrupt, but reports it."""
    for _ in range(ATTEMPTS - 1):
        try:
            return _read_log(disk)
        except FileNotFoundError:
            continue
    return _read_log(disk)


def _read_log(disk: Disk) -> LogReport:
    report, replay = LogReport(), Replay()
    torn_bytes, sequence = 0, 1
    try:
        numbers = segment_numbers(disk)
        for number in numbers:
            path, is_last = segment_path(number), number == numbers[-1]
            data = _read_whole(disk, path)
            known = bool(report.segments) or number == 1
            scan = read_segment(number, data, sequence if known else None, is_last)
            for at, block_sequence, block in scan.blocks:
                replay.apply(path, at, block)
                sequence = block_sequence + 1
            torn_bytes = 0 if scan.torn_end is None else scan.torn_end - scan.end
            entries = [e for _, _, block in scan.blocks for e in block.entries]
            report.segments.append(
                SegmentReport(
                    path,
                    len(data),
                    scan.end,
                    len(scan.blocks),
                    min((e.index for e in entries), default=None),
                    max((e.index for e in entries), default=None),
                    tuple(sorted({e.term for e in entries})),
                    torn_bytes,
                )
            )
    except Corrupt as error:
        report.damage = error
    report.recovered = replay.recovered(torn_bytes)
    return report


def _read_whole(disk: Disk, path: str) -> bytes:
    file = disk.open(path)
    try:
        return file.read_at(0, file.size_bytes())
    finally:
        file.close()


def remember(
    disk: Disk, machine: StateMachine, before_uncertain: Callable[[], None] = lambda: None
) -> Remembered:
    """What a stopped node would come to if all of its log were committed; the state in machine.

    before_uncertain: called once, when all is applied that is committed for certain, and nothing of
    what only may be. Changes nothing on disk. Raises Corrupt where the node would refuse to start.
    """
    identity = read_identity(disk)
    meta = SnapshotStore.reading(disk).load_newest(machine)
    log = read_log(disk)
    if log.damage is not None:
        raise log.damage
    last = START if meta is None else Position(meta.index, meta.term)
    configuration = None if meta is None else members.from_builtins(meta.members)
    # Blocks that do not tell count as committed.
    committed_index = max(log.recovered.committed_index, log.recovered.untold_index, last.index)
    entries = _entries_after(log.recovered, last)
    certain = committed_index - last.index  # so many of them
    for entry in entries[:certain]:
        _apply(machine, entry)
    before_uncertain()
    for entry in entries[certain:]:
        _apply(machine, entry)
    for entry in entries:
        configuration = members.decode(entry.command) or configuration
    if entries:
        last = Position(entries[-1].index, entries[-1].term)
    term = max(log.recovered.term, last.term)
    return Remembered(identity, last, min(committed_index, last.index), term, configuration)


def _entries_after(log: Recovered, last: Position) -> list[Entry]:
    """As assembly.restore ties them together: none, if the log does not hold this position."""
    if log.base.index > last.index:
        raise Corrupt("wal", 0, f"it begins after {log.base.index}, the newest snapshot is older")
    at = last.index - log.base.index
    if at > len(log.entries):
        return []
    here = log.base if at == 0 else Position(log.entries[at - 1].index, log.entries[at - 1].term)
    return log.entries[at:] if here == last else []


def _apply(machine: StateMachine, entry: Entry) -> None:
    if entry.command[:1] == REGULAR:
        machine.apply(stamp_ms_of(entry.command), entry.command[1 + STAMP_SIZE_BYTES :])


def describe(entry: Entry) -> str:
    """What an entry holds, in a few words."""
    configuration = members.decode(entry.command)
    if configuration is not None:
        names = (m.name if m.voter else f"{m.name} (learner)" for m in configuration.members)
        return f"members, version {configuration.version}: {', '.join(names)}"
    if entry.command[:1] != REGULAR:
        return "nothing"
    commands = codec.decode(entry.command[1 + STAMP_SIZE_BYTES :])
    kinds = [type(c).__name__ for c in commands]
    counted = (f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"{', '.join(counted)} at {stamp_ms_of(entry.command)} ms"
