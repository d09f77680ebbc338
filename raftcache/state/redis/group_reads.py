"""XREADGROUP: what it gives to a consumer, and when one that waits should ask again.

Entries behind the last one that the group was given are given once; under any other id than > a
consumer is told again what it has been given. Both change the group.
"""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from raftcache.command.values import NIL_ARRAY, Entries, Failure, Value
from raftcache.state.items import STREAM
from raftcache.state.redis.group_calls import group_of, no_group
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.stream_groups import (
    GIVEN_MAX,
    GIVEN_SIZE_BYTES,
    Group,
    Left,
    advance,
    find_group,
)
from raftcache.state.redis.stream_ids import read_id
from raftcache.state.redis.stream_reads import Reading, read_xread
from raftcache.state.redis.stream_rows import ID_MAX, Stream, text_of

GIVEN_WAITING_MAX: Final = 1000
"""Entries that a call without COUNT is given if it has waited, as in Redis."""

_NEW: Final = ID_MAX
"""The id that > stands for, as in Redis."""

_NO_DOLLAR: Final = (
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this"
    " consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just"
    " return an empty result set."
)

KEY_GONE: Final = Failure("UNBLOCKED the stream key no longer exists")
GROUP_GONE: Final = Failure(
    "NOGROUP the consumer group this client was blocked on no longer exists"
)


def begins(store: Store, asked: Reading) -> list[tuple[Group, int]]:
    """The group at each key, and behind which id its consumer reads, _NEW for what is new."""
    return [
        _begin(store, asked, key, text) for key, text in zip(asked.keys, asked.ids, strict=True)
    ]


def _begin(store: Store, asked: Reading, key: bytes, text: bytes) -> tuple[Group, int]:
    assert asked.group is not None
    group = group_of(store, key, asked.group)
    if group is None:
        raise no_group(key, asked.group, " in XREADGROUP with GROUP option")
    if text == b"$":
        raise Refuse(_NO_DOLLAR)
    return group, _NEW if text == b">" else read_id(text)


def _has_new(group: Group) -> bool:
    stream = group.stream
    return stream.count > 0 and stream.id_at(stream.count - 1) > group.last


def _xreadgroup(store: Store, args: tuple[bytes, ...]) -> Value:
    """It does not wait here: see service/blocking.py."""
    asked, left = read_xread(args, of_group=True), Left(GIVEN_MAX, GIVEN_SIZE_BYTES)
    pairs: list[tuple[Value, Value]] = []
    for key, (group, behind) in zip(asked.keys, begins(store, asked), strict=True):
        if left.is_nothing:
            break  # the other keys have their turn with the next call
        if behind != _NEW:
            pairs.append((key, _tell_again(group, asked, behind, left)))
        elif _has_new(group):
            pairs.append((key, _give(group, asked, left)))
    return Entries(pairs) if pairs else NIL_ARRAY


def _give(group: Group, asked: Reading, left: Left) -> list[Value]:
    """What is new, which is the consumer's from now on."""
    stream = group.stream
    consumer, now_ms = group.seen(asked.consumer), stream.store.now_ms
    given: list[Value] = []
    for number, fields in stream.walk(group.last + 1, min(asked.count or left.count, left.count)):
        advance(group, number)
        if not asked.keeps_none:
            group.give(number, consumer, now_ms, 1)
        given.append([text_of(number), fields])
        left.take(fields)
        if left.is_nothing:
            break
    return given


def _tell_again(group: Group, asked: Reading, behind: int, left: Left) -> list[Value]:
    """What the consumer has been given and not acknowledged; what is gone has no fields."""
    consumer, now_ms = group.seen(asked.consumer), group.stream.store.now_ms
    count = min(asked.count or left.count, left.count)
    told: list[Value] = []
    for pending in islice(group.walk(behind + 1, ID_MAX, consumer, count), count):
        entry = group.stream.entry(pending.number)
        if entry is None:
            told.append([text_of(pending.number), NIL_ARRAY])
            left.take(())
            continue
        group.give(pending.number, consumer, now_ms, pending.deliveries + 1)
        told.append(entry)
        left.take(entry[1])
        if left.is_nothing:
            break
    return told


# For those who wait.


class Prospect(NamedTuple):
    """What a call may find now.

    group: the id of the collection of the one at the last key. new: how many entries are; any
    number but 0 if something is to be told again. is_new: nothing is.
    """

    group: int
    new: int
    is_new: bool = True


def prospect(store: Store, asked: Reading) -> Prospect:
    """Of a call as it comes; refuses what it will refuse."""
    found = begins(store, asked)
    counts = [1 if behind != _NEW else _count_new(group) for group, behind in found]
    is_new = all(behind == _NEW for _, behind in found)
    return Prospect(found[-1][0].id, sum(counts), is_new)


def prospect_at(store: Store, key: bytes, name: bytes) -> Prospect | Failure:
    """Of those who wait at a key for what is new to a group; or why they do not any more."""
    found = store.find(key)
    if found is None or found.kind != STREAM:
        return KEY_GONE
    group = find_group(store.collection(Stream, key), name)
    return GROUP_GONE if group is None else Prospect(group.id, _count_new(group))


def _count_new(group: Group) -> int:
    stream = group.stream
    return stream.count - stream.place(min(group.last + 1, ID_MAX)) if _has_new(group) else 0


CALLS: Final[dict[bytes, Handler]] = {b"XREADGROUP": _xreadgroup}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
