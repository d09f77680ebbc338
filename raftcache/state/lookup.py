"""Values of many keys at once: the way of most reads, in as few steps as there can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from raftcache.command.replies import Item
from raftcache.command.values import Value
from raftcache.state.items import plain_value, plain_values, read
from raftcache.state.state import State

TURN_SIZE_BYTES: Final = 4 << 20
"""What reads copy before others have their turn: a millisecond."""


def strings(state: State, keys: Sequence[bytes], now_ms: int) -> list[Value] | None:
    """What a GET of each key answers, as of the last entry applied.

    None if that takes a closer look: a key is no string, or overdue at now_ms and not gone yet, or
    there is more to copy than one turn of the loop should. now_ms: the present.
    """
    if len(keys) == 1:  # without pipelines all are
        packed = state.keyspace.packed(keys[0])
        if packed is None:
            return [None]
        value = plain_value(packed)
        if value is not None:
            return [value]
    found = list(map(state.keyspace.packed, keys))
    if len(keys) > 1 and sum(map(len, filter(None, found))) > TURN_SIZE_BYTES:
        return None
    plain = plain_values(found)
    if plain is not None:
        return plain
    values: list[Value] = [None if packed is None else plain_value(packed) for packed in found]
    if None in values:
        for place, packed in enumerate(found):
            if packed is None or values[place] is not None:
                continue
            item = state.leases.seen(read(packed, state.now_ms), state.now_ms)
            if item is None:
                continue  # it is overdue, and known to be
            if type(item) is not Item or 0 < item.deadline_ms <= now_ms:
                return None
            values[place] = item.value
    return values
