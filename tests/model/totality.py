"""Plays odd entries to several state machines, which must all take them, and come to the same.

    python -m tests.model.totality --seed 1 --entries 10000

prints one line, which depends on the arguments only: not on the process, nor on its hash seed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final

import pytest
from msgspec import Struct
from xxhash import xxh3_64

from raftcache.command import codec
from raftcache.command.call_table import fault, find
from raftcache.command.calls import Calls, CallsRehearsed
from raftcache.command.limits import BATCH_SIZE_BYTES_MAX, INTEGER_MAX, REVISION_BUMPED_MAX
from raftcache.command.once import Once
from raftcache.command.replies import CallsReply, Reply, Status
from raftcache.command.values import Failure, Value, pack_values, unpack_values
from raftcache.command.words import Command
from raftcache.errors import Corrupt
from raftcache.server.resp.encode import encode_all
from raftcache.state import notes
from raftcache.state.machine import Machine
from raftcache.state.redis.rehearsal import Rehearsal
from raftcache.state.rows import Rows
from tests.model.odd_words import OddWords
from tests.support.images import image_of, restored

LOOK_EVERY: Final = 8
"""Entries between two looks at the whole state."""

ENTRIES_MAX: Final = 400
"""Of one cluster: then another one begins, for most calls want little to be there."""

STEPS_MS: Final = (*(0,) * 30, *(1,) * 30, *(10,) * 10, *(100,) * 6, 1000, 1000, 20_000, 700_000)
REVISIONS: Final = (0, 0, 10**12, REVISION_BUMPED_MAX)
_ALL: Final = "".join(
    (notes.GENERIC, notes.STRING, notes.LIST, notes.SET, notes.HASH, notes.ZSET, notes.STREAM)
    + (notes.EXPIRED, notes.EVICTED, notes.NEW)
)


def fits(command: Command) -> bool:
    """Whether some of this kind travel together."""
    return len(codec.encode(command)) <= BATCH_SIZE_BYTES_MAX // 2


TINY: Final = {
    "machine.EXPIRED_PER_ENTRY_MAX": 2,
    "sessions.REQUESTS_FORGOTTEN_PER_ENTRY_MAX": 1,
    "sessions.REQUESTS_REMEMBERED_MAX": 9,
    "sessions.REQUESTS_REMEMBERED_MS": 200,
    "sessions.RECORD_SIZE_BYTES_MAX": 512 + 300,
    "image.REQUESTS_REMEMBERED_MAX": 9,
    "image.RECORD_SIZE_BYTES_MAX": 512 + 300,
    "clients.CLIENTS_MAX": 3,
    "clients.CLIENT_REQUESTS_MAX": 4,
    "clients.REQUESTS_NUMBERED_MAX": 6,
    "clients.RECORD_SIZE_BYTES_MAX": 512 + 300,
    "clients.CLIENT_IDLE_MS": 30_000,
    "clients.CLIENT_SPARED_MS": 50,
    "clients.CLIENT_HEARD_MS": 5,
    "clients.REQUESTS_FORGOTTEN_PER_ENTRY_MAX": 1,
    "redis.execute.TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX": 300,
    "keeping.QUOTAS_MAX": 2,
    "quotas.QUOTA_KEYS_COUNTED_PER_ENTRY": 1,
    "refills.REFILLS_MAX": 2,
    "refills.REFILLS_FORGOTTEN_PER_ENTRY_MAX": 1,
    "image.SLICE_KEYS_MAX": 2,
    "image.SLICE_SIZE_BYTES": 100,
    "transactions.RANGE_KEYS_MAX": 2,
    "transactions.TXN_RESULTS_SIZE_BYTES_MAX": 300,
    "transactions.TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX": 200,
    "keyspace.TOGETHER_MAX": 4,
    "rows.TOGETHER_MAX": 4,
    "leases.LEASE_KEYS_MAX": 2,
    "operations.LEASE_KEYS_MAX": 2,
    "lease_commands.LEASES_MAX": 3,
    "lease_commands.EXPIRED_PER_ENTRY_MAX": 2,
    "locks.LOCK_QUEUE_MAX": 2,
    "lock_commands.EXPIRED_PER_ENTRY_MAX": 2,
    "lock_commands.LOCK_PLACES_MAX": 4,
    "lock_commands.LOCK_QUEUE_MAX": 2,
    "redis.store.LEASE_KEYS_MAX": 2,
    "redis.store.ROWS_TOUCHED_MAX": 40,
    "redis.store.ELEMENTS_READ_MAX": 60,
    "redis.keys.RANGE_KEYS_MAX": 2,
    "redis.scans.RANGE_KEYS_MAX": 2,
    "history.HISTORY_EVENTS_MAX": 10,
}
"""Limits that are met often so."""


@contextmanager
def tiny_limits() -> Iterator[None]:
    """Until the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in TINY.items():
            patch.setattr(f"raftcache.state.{name}", limit)
        patch.setattr(Rows.free, "__defaults__", (3,))
        yield


def told(machine: Machine) -> tuple[object, ...]:
    """What follows from the state, and decides what an entry does, or is shown."""
    return (
        machine.count,
        machine.size_bytes,
        machine.memory_size_bytes,
        machine.next_deadline_ms(),
        machine.deadline_count,
        machine.soonest(100),
        machine.leases(0, 100),
        machine.locks(b"", 100),
        machine.quotas(),
        list(machine.items()),
    )


class Played(Struct):
    """What became of it. invalid: commands outside their limits. refused: calls that failed."""

    digest: int = 0
    commands: int = 0
    calls: int = 0
    invalid: int = 0
    refused: int = 0
    statuses: set[Status] = set()

    def count(self, command: Command, reply: Reply) -> None:
        self.commands += 1
        self.statuses.add(reply.status)
        self.invalid += reply.status is Status.INVALID
        if isinstance(command, Calls) and isinstance(reply, CallsReply):
            self.calls += len(command.calls)
            self.refused += sum(type(each) is Failure for each in reply.values)


class Nodes:
    """A node, one where somebody listens to all that happens, and one that was restored."""

    def __init__(self, now_ms: int, revision: int) -> None:
        self.first, self.listening, self.restored = Machine(), Machine(1 << 16), Machine()
        self.listening.notes.wanted = _ALL
        self.now_ms = now_ms
        for each in (self.first, self.listening, self.restored):
            each.raise_revision(revision)
        self._image = image_of(self.first)
        self._dump: Generator[bytes, None, None] = self.first.dump()

    def apply(self, batch: bytes) -> list[Reply]:
        """The replies, which are the same everywhere, as the states then are."""
        replies = self.first.apply(self.now_ms, batch)
        for other in (self.listening, self.restored):
            assert repr(other.apply(self.now_ms, batch)) == repr(replies)
            assert other.digest == self.first.digest
        return replies

    def look(self) -> None:
        """All of the state is the same, and is read as it was written; a dump is of its time."""
        assert b"".join(self._dump) == self._image
        image = image_of(self.first)
        assert image_of(self.listening) == image
        assert image_of(self.restored) == image
        self.restored = restored(image)
        assert self.restored.digest == self.first.digest
        assert image_of(self.restored) == image
        assert told(self.restored) == told(self.first)
        self._image, self._dump = image, self.first.dump()


def check(command: Command, reply: Reply) -> None:
    """What is answered is fit to be told."""
    if isinstance(reply, CallsReply):
        check_values(reply.values)
        if isinstance(command, Calls):
            check_handlers(command, reply)


def check_values(values: Sequence[Value]) -> None:
    """Every door can say them, and they can be remembered."""
    said = [encode_all(values, protocol) for protocol in (2, 3)]
    packed = pack_values(values)
    again = unpack_values(packed)
    assert pack_values(again) == packed
    assert [encode_all(again, protocol) for protocol in (2, 3)] == said


def check_handlers(command: Calls, reply: CallsReply) -> None:
    """No handler was at fault, of calls that a door lets pass."""
    for call, value in zip(command.calls, reply.values, strict=False):
        if type(value) is Failure and value.text.startswith("ERR internal error"):
            assert fault(call) is not None or reply.replayed, (call, value)


def bent(dice: random.Random, batch: bytes) -> tuple[list[Command], bytes]:
    """A batch with other bytes here and there, and what is in it: nothing, if it is none."""
    data = bytearray(batch)
    for _ in range(dice.randint(1, 3)):
        data[dice.randrange(len(data))] = dice.choice((dice.randrange(256), 0, 0xC0, 0xFF))
    try:
        return codec.decode(data), bytes(data)
    except Corrupt:
        return [], codec.batch([])


def rehearsed(made: OddWords, machine: Machine, once: Once | None) -> CallsRehearsed | None:
    """What a script that makes some calls would send to the log; None if it would not."""
    calls, answers = [made.call() for _ in range(3)], [made.value()]

    def play(rehearsal: Rehearsal) -> CallsRehearsed | None:
        for each in calls:
            spec = find(each)
            assert spec is not None
            rehearsal.call(each, is_write=spec.is_write)
        if not rehearsal.deeds:
            return None
        packed = b"" if once is None else pack_values(answers)
        what = tuple(rehearsal.deeds), 1 << 20, True, tuple(rehearsal.seen.items()), 7, once
        return CallsRehearsed(*what, INTEGER_MAX, packed, rehearsal.digest)

    return machine.rehearse(play, machine.now_ms, 1 << 20, 7)


def play(seed: int, entries: int) -> Played:
    """Play so many entries; fails with the seed and the entry."""
    dice, played, sum_of_all = random.Random(seed), Played(), xxh3_64()
    for number in range(entries):
        if number % ENTRIES_MAX == 0:
            nodes = Nodes(dice.choice((0, 1_700_000_000_000, 1 << 61)), dice.choice(REVISIONS))
            made = OddWords(dice, nodes.first.revision_of)
        nodes.now_ms += dice.choice(STEPS_MS)
        commands = [each for each in made.entry() if fits(each)]
        if dice.random() < 0.2:
            once = Once(b"s%d" % dice.randrange(3), b"f" * 16) if dice.random() < 0.5 else None
            script = rehearsed(made, nodes.first, once)
            commands = commands if script is None else [script, *commands]
        try:
            batch = codec.batch([codec.encode(command) for command in commands])
            assert codec.decode(batch) == commands
            if dice.random() < 0.2:
                commands, batch = bent(dice, batch)
            replies = nodes.apply(batch)
            for command, reply in zip(commands, replies, strict=True):
                made.note(command, reply)
                check(command, reply)
                played.count(command, reply)
            if number % LOOK_EVERY == LOOK_EVERY - 1:
                nodes.look()
        except Exception as error:
            error.add_note(f"seed {seed}, entry {number} at {nodes.now_ms} ms: {commands!r:.3000}")
            raise
        sum_of_all.update(repr(replies).encode(errors="surrogatepass"))
        sum_of_all.update(nodes.first.digest.to_bytes(8, "big"))
    played.digest = sum_of_all.intdigest()
    return played


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--tiny", action="store_true", help="limits that are met often")
    args = parser.parse_args(argv)
    with tiny_limits() if args.tiny else nullcontext():
        played = play(args.seed, args.entries)
    print(f"{played.digest:016x}: {played.calls} calls, {played.refused} refused,", end=" ")
    print(f"in {played.commands} commands, {played.invalid} invalid")
    return 0


if __name__ == "__main__":
    sys.exit(main())
