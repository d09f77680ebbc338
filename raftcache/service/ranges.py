"""Many keys at a time: listings of one revision, counts, and commands that touch ranges.

A page is read in slices, with a return to the loop after each; what changes between two slices,
or two pages, is undone by the history (state/listing.py). So a listing holds nobody up, and its
pages may come from different nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from raftcache.command.limits import PAGE_SIZE_BYTES_MAX
from raftcache.command.replies import Item, Reply
from raftcache.command.words import DeleteRange, Range, Txn
from raftcache.errors import BadRequest, Overloaded
from raftcache.service.calls import become_fresh, written
from raftcache.service.kv import LINEARIZABLE, Kv, Level, Want
from raftcache.state.listing import Listing
from raftcache.state.machine import Machine

SLICE_KEYS_MAX: Final = 250
SLICE_SIZE_BYTES: Final = 64 << 10
"""Read and worded without a return to the loop: about half a millisecond."""

PAGES_MAX: Final = 64
"""Pages read at a time; each is held in memory until it is sent."""

WIDE_WAITING_MAX: Final = 256
"""Commands over ranges that wait for their turn at this node."""

TURN_S: Final = 30.0
"""That one of them waits for its turn, at most. Far below REQUESTS_REMEMBERED_MS: what comes late
must not be done when its retry, which another node has done, is forgotten."""

_AS_IT_IS: Final = Want(Level.STALE)

Slice: TypeAlias = list[tuple[bytes, Item]]


class Moment(Struct, frozen=True):
    """What all pages of a listing show: a revision, and the cluster time at which it began."""

    revision: int
    now_ms: int


class Page(Protocol):
    """One page of a listing, while it is read."""

    moment: Moment
    more: bool
    """Once all slices were read: there are keys after those."""

    def slices(self) -> AsyncIterator[Slice]:
        """The keys in order; raises Compacted, Overloaded."""
        ...


class Ranges(Protocol):
    """Shape of the service, for front doors and their tests; every call raises what refused it."""

    async def execute(self, command: Txn | DeleteRange) -> Reply:
        """Replicate the command."""
        ...

    async def count(self, start: bytes, end: bytes, want: Want) -> tuple[int, int]:
        """How many keys there are in [start, end), and at which revision."""
        ...

    async def page(
        self,
        start: bytes,
        end: bytes,
        limit: int,
        want: Want,
        moment: Moment | None = None,
        *,
        keys_only: bool = False,
    ) -> Page:
        """The next page of [start, end), limit keys at most; moment: of the listing's first."""
        ...


class RangeService:
    """The real one, over the keys of this node."""

    def __init__(self, kv: Kv, machine: Machine) -> None:
        self._kv, self._machine = kv, machine
        self._pages = _Gate(PAGES_MAX, "pages are being read")
        self._waiting = _Gate(WIDE_WAITING_MAX, "commands over ranges are waiting")
        self._turn = asyncio.Lock()

    async def execute(self, command: Txn | DeleteRange) -> Reply:
        """See Ranges. Those over ranges take turns: each may keep every node busy for a while."""
        if not _is_wide(command):
            return await written(self._kv, command)
        with self._waiting:
            try:
                async with asyncio.timeout(TURN_S):
                    await self._turn.acquire()
            except TimeoutError:
                raise Overloaded(f"its turn did not come in {TURN_S:g} s") from None
            try:
                return await written(self._kv, command)
            finally:
                self._turn.release()

    async def count(self, start: bytes, end: bytes, want: Want) -> tuple[int, int]:
        await become_fresh(self._kv, self._machine, want)
        revision, count = self._machine.revision, self._machine.count_range(start, end)
        if count is None:
            listing = self._machine.listing(start, end, keys_only=True)
            page = _Page(listing, self._moment(), None, self._pages, keys_only=True)
            count = sum([len(taken) async for taken in page.slices()])
        return count, revision

    async def page(
        self,
        start: bytes,
        end: bytes,
        limit: int,
        want: Want,
        moment: Moment | None = None,
        *,
        keys_only: bool = False,
    ) -> Page:
        if moment is None:
            await become_fresh(self._kv, self._machine, want)
            moment = self._moment()
        else:
            # Another node may have begun it; and if this one may still answer, only the service
            # of keys knows.
            is_behind = self._machine.revision < moment.revision
            await become_fresh(self._kv, self._machine, LINEARIZABLE if is_behind else _AS_IT_IS)
            if self._machine.revision < moment.revision:
                raise BadRequest(f"there is no revision {moment.revision} yet")
        listing = self._machine.listing(
            start, end, moment.revision, moment.now_ms, keys_only=keys_only
        )
        return _Page(listing, moment, limit, self._pages, keys_only=keys_only)

    def _moment(self) -> Moment:
        return Moment(self._machine.revision, self._machine.now_ms)


class _Page:
    """A Page of this node. limit None: all of it, for counting."""

    def __init__(
        self,
        listing: Listing,
        moment: Moment,
        limit: int | None,
        gate: _Gate,
        *,
        keys_only: bool,
    ) -> None:
        self.moment, self.more = moment, False
        self._listing, self._limit, self._gate, self._keys_only = listing, limit, gate, keys_only

    async def slices(self) -> AsyncIterator[Slice]:
        with self._gate:
            async for taken in self._read():
                yield taken
            while not self._listing.done and not self.more:
                self.more = bool(self._listing.take(SLICE_KEYS_MAX, 1))
                await asyncio.sleep(0)

    async def _read(self) -> AsyncIterator[Slice]:
        listing, size_bytes_left = self._listing, PAGE_SIZE_BYTES_MAX
        # Values that are left out are not read.
        slice_size_bytes = size_bytes_left if self._keys_only else SLICE_SIZE_BYTES
        keys_left = self._limit
        while not listing.done and keys_left != 0 and size_bytes_left > 0:
            keys_max = SLICE_KEYS_MAX if keys_left is None else min(SLICE_KEYS_MAX, keys_left)
            taken = listing.take(keys_max, min(slice_size_bytes, size_bytes_left))
            if keys_left is not None:
                keys_left -= len(taken)
                size_bytes_left -= sum([len(key) + len(item.value) for key, item in taken])
            if taken:
                yield taken
            await asyncio.sleep(0)


class _Gate:
    """Lets so many in at a time; Overloaded for those beyond."""

    def __init__(self, count_max: int, what: str) -> None:
        self._count, self._count_max, self._what = 0, count_max, what

    def __enter__(self) -> None:
        if self._count >= self._count_max:
            raise Overloaded(f"{self._count} {self._what} already")
        self._count += 1

    def __exit__(self, *error: object) -> None:
        self._count -= 1


def _is_wide(command: Txn | DeleteRange) -> bool:
    if isinstance(command, DeleteRange):
        return True
    branches = (*command.success, *command.failure)
    return any(isinstance(operation, Range | DeleteRange) for operation in branches)
