"""The keys and their items, in order, with their deadlines and a running digest.

It knows no commands and takes no revisions: the machine decides what changes, this keeps the
indexes, the digest and a dump in progress true to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from sortedcontainers import SortedList
from xxhash import xxh3_64_intdigest

from raftcache.command.replies import Item
from raftcache.state import items
from raftcache.state.items import STRING, Stored
from raftcache.state.leases import Leases
from raftcache.state.passes import Pass, pass_over_all
from raftcache.state.quotas import Quotas
from raftcache.state.runs import PlainWrite, Run
from raftcache.state.spread import SLOTS, TOGETHER_MAX, Spread

_DEADLINE_SIZE_BYTES: Final = 8

KEY_COST_BYTES: Final = 160
"""What Python takes for a key beside the bytes of key and item: two objects, a place in a table,
one in an order. Measured by the memory of the process: 128 to 167 (docs/benchmarks/eviction.md)."""

DEADLINE_COST_BYTES: Final = 64
"""The same for a deadline, beside a second copy of the key: 56 to 75."""


class Keyspace:
    """Keys with packed items.

    digest is the sum over the keys of a hash of key and item (AdHash: Bellare and Micciancio, A
    New Paradigm for Collision-Free Hashing, 1997): any order of the same changes gives the same
    sum, and a change costs the hashes of the old and the new item. The reader takes it modulo
    2**64. size_bytes is the sum of the sizes of keys and packed items.
    """

    __slots__ = (
        "_deadlines",
        "_due_size_bytes",
        "_items",
        "_order",
        "_pass",
        "digest",
        "leases",
        "packed",
        "quotas",
        "size_bytes",
    )

    def __init__(self, leases: Leases | None = None) -> None:
        """leases: those that the keys go with; none if None."""
        self.leases: Final = Leases() if leases is None else leases
        self._items: dict[bytes, bytes] | Spread = {}
        self.packed: Callable[[bytes], bytes | None] = self._items.get
        """As find, unread: for the way of most writes, where each call counts. To be asked for
        anew each time: it is another one when the keys become many."""
        self._order = SortedList()
        # Big-endian deadline + key: sorts as the pair does, in one object. A sorted list costs 2
        # us more per renewal than a heap with stale entries, but never has to be cleaned up, and
        # a million keys renewed just before their common deadline do not stop an apply.
        self._deadlines = SortedList()
        self._pass: Pass | None = None
        self.digest = 0
        self.size_bytes = 0
        self._due_size_bytes = 0  # of keys that have deadlines
        self.quotas = Quotas()

    def __len__(self) -> int:
        """Keys held, overdue ones that were not removed yet among them."""
        return len(self._order)

    def get(self, key: bytes, now_ms: int) -> Item | None:
        """The key as a reader sees it at a cluster time."""
        packed = self._items.get(key)
        return None if packed is None else self.leases.seen(items.read(packed, now_ms), now_ms)

    def find(self, key: bytes) -> Stored | None:
        """What is stored under the key, overdue or not."""
        packed = self._items.get(key)
        return None if packed is None else items.read_header(packed)

    def is_overdue(self, stored: Stored, now_ms: int) -> bool:
        """Whether its deadline has come, or its lease is over."""
        if stored.lease:
            return self.leases.deadline_ms(stored.lease) <= now_ms
        return 0 < stored.deadline_ms <= now_ms

    def put(self, key: bytes, packed: bytes, deadline_ms: int, old: Stored | None) -> None:
        """Store an item; deadline_ms is the one packed in it, old what `find` returned."""
        seed = xxh3_64_intdigest(key)
        self.digest += xxh3_64_intdigest(packed, seed)
        self.size_bytes += len(packed)
        if old is None:
            self._add(key)
            self.size_bytes += len(key)
            due_before = lease_before = 0
        else:
            self.digest -= xxh3_64_intdigest(old.packed, seed)
            self.size_bytes -= len(old.packed)
            due_before, lease_before = old.deadline_ms, old.lease
        if due_before != deadline_ms:
            self._reschedule(key, due_before, deadline_ms)
        if lease_before != (lease := items.lease_of(packed)):
            self.leases.move(key, lease_before, lease)
        if self._pass is not None:
            self._pass.save(key, None if old is None else old.packed)
        if self.quotas.sizes:
            weight_bytes = items.weight_bytes(packed)
            if old is None:
                self.quotas.note(key, 1, len(key) + weight_bytes)
            else:
                self.quotas.note(key, 0, weight_bytes - items.weight_bytes(old.packed))
        self._items[key] = packed

    def put_plain(self, key: bytes, packed: bytes, old: bytes | None) -> None:
        """As put, for a string without an end that replaces one like it, or none; no quotas."""
        seed = xxh3_64_intdigest(key)
        if old is None:
            self._add(key)
            self.digest += xxh3_64_intdigest(packed, seed)
            self.size_bytes += len(key) + len(packed)
        else:
            self.digest += xxh3_64_intdigest(packed, seed) - xxh3_64_intdigest(old, seed)
            self.size_bytes += len(packed) - len(old)
        if self._pass is not None:
            self._pass.save(key, old)
        self._items[key] = packed

    def put_run(self, revision: int, writes: Iterable[PlainWrite]) -> tuple[Run, list[int]]:
        """As put_plain of each, at the revisions after this one; and the versions of their keys.

        It ends with the writes, or before the first that would take the place of an item that has
        a deadline or a lease, or is no string. One loop in one function, and what it changes in
        local names: calls and attributes were more than half of such a write.
        """
        current, slots, pack_header = self._items, self._settled_slots, items.pack_plain_header
        save = None if self._pass is None else self._pass.save
        run = Run(revision, [], [], [])
        versions: list[int] = []
        add_key, add_packed, add_old = run.keys.append, run.packed.append, run.previous.append
        digest = size_bytes = 0
        for key, type_size_bytes, content in writes:
            if slots is not None:
                current = slots[hash(key) % SLOTS]
            old, seed = current.get(key), xxh3_64_intdigest(key)
            if old is None:
                created, version = revision + 1, 1
                size_bytes += len(key)
                self._add(key)
                if slots is None:
                    current = self._items  # it may be another one now
            else:
                created, end, version, kind = items.unpack_after_revision(old)
                if end or kind != STRING:
                    break
                version += 1
                digest -= xxh3_64_intdigest(old, seed)
            revision += 1
            packed = pack_header(revision, created, version, STRING, type_size_bytes) + content
            digest += xxh3_64_intdigest(packed, seed)
            if save is not None:
                save(key, old)
            current[key] = packed
            add_key(key)
            add_packed(packed)
            add_old(old)
            versions.append(version)
        run.revision = revision
        self.digest += digest
        self.size_bytes += size_bytes + sum(map(len, run.packed)) - run.replaced_size_bytes
        return run, versions

    @property
    def _settled_slots(self) -> list[dict[bytes, bytes]] | None:
        current = self._items
        return current.settled if type(current) is Spread else None

    def _add(self, key: bytes) -> None:
        """A new key, whose item comes next."""
        self._order.add(key)
        if type(self._items) is dict and len(self._items) >= TOGETHER_MAX:
            self._items = Spread(self._items)
            self.packed = self._items.get

    def remove(self, key: bytes, old: Stored) -> None:
        """Remove a key; old is what `find` returned."""
        self.digest -= xxh3_64_intdigest(old.packed, xxh3_64_intdigest(key))
        self.size_bytes -= len(key) + len(old.packed)
        self._order.remove(key)
        if old.deadline_ms:
            self._reschedule(key, old.deadline_ms, 0)
        if old.lease:
            self.leases.move(key, old.lease, 0)
        if self.quotas.sizes:
            self.quotas.note(key, -1, -len(key) - items.weight_bytes(old.packed))
        if self._pass is not None:
            self._pass.save(key, old.packed)
        del self._items[key]

    def _reschedule(self, key: bytes, before_ms: int, after_ms: int) -> None:
        if before_ms:
            self._deadlines.remove(_due(before_ms, key))
            self._due_size_bytes -= len(key)
        if after_ms:
            self._deadlines.add(_due(after_ms, key))
            self._due_size_bytes += len(key)

    @property
    def memory_size_bytes(self) -> int:
        """About what it takes of the process's memory."""
        deadlines = len(self._deadlines) * DEADLINE_COST_BYTES + self._due_size_bytes
        return self.size_bytes + len(self._order) * KEY_COST_BYTES + deadlines

    @property
    def deadline_count(self) -> int:
        """Keys that have deadlines of their own."""
        return len(self._deadlines)

    def next_deadline_ms(self) -> int | None:
        """The earliest deadline that any key has of its own; None if none has one."""
        if not self._deadlines:
            return None
        return int.from_bytes(self._deadlines[0][:_DEADLINE_SIZE_BYTES], "big")

    def overdue(self, now_ms: int, count_max: int) -> list[bytes]:
        """The first keys whose deadline has come, in the order (deadline, key)."""
        first_ms = self.next_deadline_ms()
        if first_ms is None or first_ms > now_ms:
            return []  # asked by each entry, and most have nothing to do
        due = self._deadlines.irange(maximum=_due(now_ms + 1, b""))
        return [entry[_DEADLINE_SIZE_BYTES:] for entry in islice(due, count_max)]

    def soonest(self, count_max: int) -> list[bytes]:
        """The first keys by deadline, of those that have one."""
        return [entry[_DEADLINE_SIZE_BYTES:] for entry in islice(self._deadlines, count_max)]

    def gone(self, now_ms: int, count_max: int) -> list[bytes]:
        """Some keys held that are absent to readers: overdue ones, and those of ended leases."""
        taken = self.overdue(now_ms, count_max)
        taken.extend(islice(self.leases.gone(now_ms), count_max - len(taken)))
        return taken

    def span(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The keys of [start, end) in order, overdue ones too, with their packed items.

        An empty end means to the last key. Nothing may change while it is read.
        """
        current = self._items
        for key in self._order.irange(start, end or None, inclusive=(True, False)):
            yield key, current[key]

    def key_from(self, start: bytes, count: int, end: bytes) -> bytes:
        """The key that comes `count` keys after the first of [start, end); end if none does."""
        index = self._order.bisect_left(start) + count
        key: bytes = self._order[index] if index < len(self._order) else end
        return key if not end or key < end else end

    def count_span(self, start: bytes, end: bytes) -> int:
        """How many those are; O(log n)."""
        stop: int = self._order.bisect_left(end) if end else len(self._order)
        return max(0, stop - int(self._order.bisect_left(start)))

    def shed(self, count_max: int) -> bool:
        """Free some keys of a keyspace that was replaced; whether any are left.

        Freeing a million at once would stop the node for a tenth of a second.
        """
        if self._pass is not None:
            return True  # a dump still reads them
        for _ in range(min(count_max, len(self._order))):
            del self._items[self._order.pop()]
            if self._deadlines:
                self._deadlines.pop()
        return self.leases.shed(count_max) or bool(self._order)

    def begin_pass(self, revision: int) -> Pass:
        """Walk the keys as they are now, at this revision, while they change; one at a time."""
        assert self._pass is None, "a dump is already under way"
        self._pass = pass_over_all(lambda: self._items, self._order, revision)
        return self._pass

    def walk(self, start: bytes, end: bytes, revision: int) -> Pass:
        """Walk the keys of [start, end) as of a revision; to be told what changed since."""
        return Pass(lambda: self._items, self._order, start, end, revision)

    def end_pass(self) -> None:
        """Stop saving old items for the pass."""
        self._pass = None


def _due(deadline_ms: int, key: bytes) -> bytes:
    return deadline_ms.to_bytes(_DEADLINE_SIZE_BYTES, "big") + key
