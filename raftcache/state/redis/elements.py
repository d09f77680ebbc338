"""Elements of collections that have names, whatever their type: for what treats them alike."""

from __future__ import annotations

from typing import Final

from raftcache.state.items import ZSET, Stored, described
from raftcache.state.redis.collection import Collection
from raftcache.state.redis.store import Store
from raftcache.state.rows import prefix_of

_LEADS: Final = {ZSET: b"m"}
"""What stands before the name of an element in that of its row; of a sorted set, its first one."""

Element = tuple[bytes, bytes]
"""A field, or a member, and what its row holds."""


def elements_after(
    store: Store, key: bytes, found: Stored, after: bytes | None, count_max: int
) -> list[Element]:
    """The first elements of a hash, set or sorted set behind one, or the first of all.

    In the order of their names; what comes and goes between two calls makes no other be left out.
    """
    lead = _LEADS.get(found.kind, b"")
    behind = None if after is None else lead + after
    names = Collection(store, key, found).names_after(behind, count_max)
    rows, prefix, lead_size = store.state.rows, prefix_of(described(found.packed).id), len(lead)
    return [
        (name[lead_size:], rows.get(prefix + name) or b"")
        for name in names
        if name.startswith(lead)
    ]
