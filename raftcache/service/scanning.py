"""Redis commands that look at any number of keys or elements: they hold nobody up, and see it all.

They work in slices, with a return to the loop after each. KEYS and DBSIZE answer for one moment; a
scan goes on from where it was, in the order of names, so it tells whatever stays while it lasts; a
flush of very many keys removes them in pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from raftcache.command.calls import Call, Calls
from raftcache.command.globs import glob_range
from raftcache.command.limits import EXPIRED_PER_ENTRY_MAX, PAGE_SIZE_BYTES_MAX
from raftcache.command.replies import Status
from raftcache.command.values import Failure, Value
from raftcache.command.words import DeleteRange
from raftcache.errors import RaftcacheError, Unknown
from raftcache.ports import Dice
from raftcache.service.calls import become_fresh, written
from raftcache.service.cursors import Cursors, Place
from raftcache.service.kv import LINEARIZABLE, Kv
from raftcache.service.ranges import SLICE_KEYS_MAX, RangeService
from raftcache.service.wording import once_of, values_of
from raftcache.state.items import described
from raftcache.state.machine import Machine
from raftcache.state.redis import scans
from raftcache.state.redis.keys import check_flush
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.scans import BAD_CURSOR, KIND_OF_CALL, Step
from raftcache.state.redis.store import Store

KEYS_FOUND_MAX: Final = 100_000
KEYS_FOUND_SIZE_BYTES_MAX: Final = 8 << 20
"""What KEYS answers at most: it takes one turn of the loop to send it."""

TOO_MANY_FOUND: Final = (
    f"ERR more than {KEYS_FOUND_MAX} keys match, or {KEYS_FOUND_SIZE_BYTES_MAX} bytes of them:"
    " use SCAN"
)

KEYS_AT_A_TIME: Final = 4
"""Answers to KEYS that are gathered; others wait for their turn."""

AT_ONCE_MAX: Final = 128
"""Elements of a small collection, all told by the first step of a scan, whatever COUNT says."""

FLUSH_AT_ONCE_KEYS_MAX: Final = 5_000
"""Keys that go at one moment: 10 ms in which a node does nothing else."""

FLUSH_KEYS: Final = EXPIRED_PER_ENTRY_MAX
"""Keys removed by one entry when there are too many for one: as many as may expire by one."""

_TakeStep = Callable[[bytes | None, int, int, Store], Step]
"""Goes on behind a name; names, and bytes, at most."""


class Scanning:
    """These commands, by name; each is done alone and may be cancelled. Raises RaftcacheError."""

    def __init__(self, kv: Kv, machine: Machine, dice: Dice) -> None:
        self._kv, self._machine = kv, machine
        self._ranges = RangeService(kv, machine)
        self._cursors = Cursors(dice)
        self._keys_turn = asyncio.Semaphore(KEYS_AT_A_TIME)
        answers: dict[bytes, Callable[[Call], Awaitable[Value]]] = {
            b"DBSIZE": self._dbsize,
            b"FLUSHALL": self._flush,
            b"FLUSHDB": self._flush,
            b"KEYS": self._keys,
            b"SCAN": self._scan,
            **dict.fromkeys(KIND_OF_CALL, self._scan_elements),
        }
        self.calls: Final = {
            name: partial(self._answer, answer) for name, answer in answers.items()
        }

    async def _answer(
        self, answer: Callable[[Call], Awaitable[Value]], call: Call, token: bytes = b""
    ) -> Value:
        """token: of a flush, for the others only read."""
        try:
            if token:
                return await self._flush_once(call, token)
            return await answer(call)
        except Refuse as refusal:
            return Failure(refusal.text)

    async def _dbsize(self, _: Call) -> Value:
        count, _revision = await self._ranges.count(b"", b"", LINEARIZABLE)
        return count

    async def _keys(self, call: Call) -> Value:
        matches = scans.read_pattern(call[1])
        async with self._keys_turn:
            await become_fresh(self._kv, self._machine, LINEARIZABLE)
            listing = self._machine.listing(*glob_range(call[1]), keys_only=True)
            found: list[Value] = []
            size_bytes = 0
            while not listing.done:
                for key, _ in listing.take(SLICE_KEYS_MAX, PAGE_SIZE_BYTES_MAX):
                    if matches is None or matches(key):
                        found.append(key)
                        size_bytes += len(key)
                if len(found) > KEYS_FOUND_MAX or size_bytes > KEYS_FOUND_SIZE_BYTES_MAX:
                    raise Refuse(TOO_MANY_FOUND)
                await asyncio.sleep(0)
        return found

    # Scans.

    async def _scan(self, call: Call) -> Value:
        cursor, asked = scans.read_cursor(call[1]), scans.read_options(call[2:])
        place = self._place(cursor, (b"SCAN",))
        await become_fresh(self._kv, self._machine, LINEARIZABLE)

        def step(last: bytes | None, count_max: int, _: int, store: Store) -> Step:
            start = b"" if last is None else last + b"\0"
            return scans.step_of_keys(store, start, b"", count_max, asked)

        return await self._go_on(cursor, place, asked.count, step)

    async def _scan_elements(self, call: Call) -> Value:
        name, key = call[:2]
        kind, cursor = KIND_OF_CALL[name], scans.read_cursor(call[2])
        await become_fresh(self._kv, self._machine, LINEARIZABLE)
        found = self._machine.look(self._kv.now_ms(), lambda store: scans.find(store, key, kind))
        if found is None:
            return [b"0", []]
        asked = scans.read_options(call[3:], kind)
        place = self._place(cursor, (name, key))
        is_small = described(found.packed).count <= AT_ONCE_MAX

        def step(last: bytes | None, count_max: int, size_bytes_max: int, store: Store) -> Step:
            found = scans.find(store, key, kind)
            if found is None:
                return Step([], None)
            elements = scans.step_of_elements
            return elements(store, key, found, last, count_max, asked, size_bytes_max)

        return await self._go_on(cursor, place, max(asked.count, AT_ONCE_MAX * is_small), step)

    def _place(self, cursor: int, scanned: tuple[bytes, ...]) -> Place:
        place = self._cursors.find(cursor, scanned)
        if place is None:
            raise Refuse(f"{BAD_CURSOR}: this node knows none such of this scan, or none any more")
        return place

    async def _go_on(self, cursor: int, place: Place, count: int, step: _TakeStep) -> Value:
        """Steps until so many names were looked at, or there is enough for one answer."""
        values: list[Value] = []
        size_bytes_left, last = PAGE_SIZE_BYTES_MAX, place.last
        while True:
            count_max = min(count, SLICE_KEYS_MAX)
            reader = partial(step, last, count_max, size_bytes_left)
            found = self._machine.look(self._kv.now_ms(), reader)
            values += found.values
            last = found.last
            count -= count_max
            size_bytes_left -= found.size_bytes
            if last is None:
                return [b"0", values]
            if count == 0 or size_bytes_left <= 0:
                return [b"%d" % self._cursors.put(Place(place.scanned, last, cursor)), values]
            await asyncio.sleep(0)

    # Removing all.

    async def _flush(self, call: Call) -> Value:
        check_flush(call[1:])
        if self._machine.count <= FLUSH_AT_ONCE_KEYS_MAX:
            reply = await self._ranges.execute(DeleteRange(b"", b""))
            if reply.status is not Status.TOO_MANY_KEYS:  # nor are there in the log
                return "OK"
        await self._flush_in_pieces()
        return "OK"

    async def _flush_once(self, call: Call, token: bytes) -> Value:
        """As one entry, for that is remembered; too many keys are refused, as in a transaction."""
        check_flush(call[1:])
        word = Calls((call,), 0, once=once_of(token, (call,)))
        return values_of(await written(self._kv, word), 1)[0]

    async def _flush_in_pieces(self) -> None:
        """Where this node's keys are not yet those of the log, a piece may be too large."""
        start, count = b"", FLUSH_KEYS
        while True:
            end = self._machine.key_from(start, count)
            try:
                reply = await self._ranges.execute(DeleteRange(start, end))
            except RaftcacheError as error:
                raise Unknown(f"some of the keys were removed: {error.detail}") from error
            if reply.status is Status.TOO_MANY_KEYS:
                await become_fresh(self._kv, self._machine, LINEARIZABLE)
                count = max(1, count // 2)
            elif not end:
                return
            else:
                start, count = end, FLUSH_KEYS
