"""Quotas: how many keys, and bytes of them, there may be below a prefix.

What is below a prefix is counted as keys come and go. Keys that were there before their quota are
counted by the entries that follow, some by each, in key order; it counts for nothing until then.
Limits and how far that is are part of the state and its digest; the counts follow from them and
the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from raftcache.command.limits import KEY_SIZE_BYTES_MAX, QUOTA_KEYS_COUNTED_PER_ENTRY, QUOTAS_MAX
from raftcache.command.ranges import end_of_prefix
from raftcache.command.replies import Status
from raftcache.state.items import weight_bytes
from raftcache.state.records import pack, unpack

_SEED: Final = 0x9007A

Span = Callable[[bytes, bytes], Iterator[tuple[bytes, bytes]]]


class Quota(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """None: no limit. counted_to: keys from there on are not counted yet; None: all are."""

    prefix: bytes
    keys_max: int | None
    size_bytes_max: int | None
    counted_to: bytes | None = None


class Count(Struct):
    """What is below a prefix: keys, and the sizes of keys and packed items with their rows."""

    keys: int = 0
    size_bytes: int = 0


_decoder: Final = msgspec.msgpack.Decoder(Quota)


class Quotas:
    """All quotas of a state; digest is the sum of a hash over each (see Keyspace)."""

    __slots__ = ("_by_prefix", "_counting", "_counts", "digest", "sizes")

    def __init__(self) -> None:
        self._by_prefix: dict[bytes, Quota] = {}
        self._counts: dict[bytes, Count] = {}
        self.sizes: list[int] = []
        """Of all prefixes, each once, ascending; empty if there are no quotas."""
        self._counting: set[bytes] = set()  # prefixes whose keys are not all counted yet
        self.digest = 0

    def __len__(self) -> int:
        return len(self._by_prefix)

    @property
    def is_counting(self) -> bool:
        return bool(self._counting)

    def get(self, prefix: bytes) -> Quota | None:
        return self._by_prefix.get(prefix)

    def items(self) -> list[tuple[Quota, Count]]:
        """All of them with their counts, by prefix; a count is to be read only."""
        return [(self._by_prefix[prefix], self._counts[prefix]) for prefix in sorted(self._counts)]

    def set(
        self, prefix: bytes, keys_max: int | None, size_bytes_max: int | None, span: Span
    ) -> bool:
        """Limit a prefix; whether it was limited before. span: of the keyspace."""
        old = self._by_prefix.get(prefix)
        if old is not None:
            self._put(replace(old, keys_max=keys_max, size_bytes_max=size_bytes_max))
            return True
        self._put(Quota(prefix, keys_max, size_bytes_max, prefix))
        self._count(prefix, span)
        return False

    def remove(self, prefix: bytes) -> bool:
        """Whether there was one."""
        quota = self._by_prefix.pop(prefix, None)
        if quota is None:
            return False
        self.digest -= _hash(quota)
        del self._counts[prefix]
        self._counting.discard(prefix)
        self.sizes = sorted({len(each) for each in self._by_prefix})
        return True

    def over(self, key: bytes, is_new: bool, growth: int) -> tuple[Status, int] | None:
        """Which limit a write would pass, and the size of its prefix; None if it may be done.

        A write that adds nothing may be done in any case. Of several, the shortest prefix counts.
        """
        for size in self.sizes:
            quota = self._by_prefix.get(key[:size]) if size <= len(key) else None
            if quota is None or quota.counted_to is not None:
                continue
            count = self._counts[quota.prefix]
            if is_new and quota.keys_max is not None and count.keys >= quota.keys_max:
                return Status.OVER_KEYS_QUOTA, size
            limit = quota.size_bytes_max
            if growth > 0 and limit is not None and count.size_bytes + growth > limit:
                return Status.OVER_SIZE_QUOTA, size
        return None

    def note(self, key: bytes, keys: int, size_bytes: int) -> None:
        """A key changed: so many more keys, and bytes."""
        for size in self.sizes:
            quota = self._by_prefix.get(key[:size]) if size <= len(key) else None
            if quota is None or (quota.counted_to is not None and key >= quota.counted_to):
                continue
            count = self._counts[quota.prefix]
            count.keys += keys
            count.size_bytes += size_bytes

    def count_on(self, span: Span) -> None:
        """Count some of the keys that are not counted yet; bounded work."""
        if self._counting:
            self._count(min(self._counting), span)

    def _count(self, prefix: bytes, span: Span) -> None:
        quota, count = self._by_prefix[prefix], self._counts[prefix]
        assert quota.counted_to is not None
        left = QUOTA_KEYS_COUNTED_PER_ENTRY
        for key, packed in span(quota.counted_to, end_of_prefix(prefix)):
            if not left:
                self._put(replace(quota, counted_to=key))
                return
            left -= 1
            count.keys += 1
            count.size_bytes += len(key) + weight_bytes(packed)
        self._put(replace(quota, counted_to=None))

    def _put(self, quota: Quota) -> None:
        prefix = quota.prefix
        old = self._by_prefix.get(prefix)
        if old is not None:
            self.digest -= _hash(old)
        self.digest += _hash(quota)
        self._by_prefix[prefix] = quota
        if old is None:
            self._counts[prefix] = Count()
            self.sizes = sorted({*self.sizes, len(prefix)})
        if quota.counted_to is None:
            self._counting.discard(prefix)
        else:
            self._counting.add(prefix)

    # For images.

    def records(self) -> list[Quota]:
        """By prefix; the counts are not in them."""
        return [self._by_prefix[prefix] for prefix in sorted(self._by_prefix)]

    def load(self, packed: bytes, revision: int) -> str | None:
        """See state.Part; the keys come later, and are counted as they do."""
        quota = unpack(_decoder.decode, packed)
        if isinstance(quota, str):
            return quota
        if len(self) >= QUOTAS_MAX:
            return f"more than {QUOTAS_MAX} quotas"
        if self._by_prefix and quota.prefix <= max(self._by_prefix):
            return "quotas out of order"
        limits = [each for each in (quota.keys_max, quota.size_bytes_max) if each is not None]
        sizes = len(quota.prefix), len(quota.counted_to or b"")
        if max(sizes) > KEY_SIZE_BYTES_MAX or not limits or min(limits) < 0:
            return "a quota outside its limits"
        self._put(quota)
        return None


def _hash(quota: Quota) -> int:
    return xxh3_64_intdigest(pack(quota), _SEED)
