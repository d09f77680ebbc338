"""XINFO: what there is to tell of streams, their groups and consumers."""

from __future__ import annotations

from typing import Final

from raftcache.command.integers import wrapped
from raftcache.command.values import Value
from raftcache.state.redis.group_calls import no_group_of
from raftcache.state.redis.parsing import Refuse, integer, wrong_subcommand
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.stream_groups import (
    READ_UNKNOWN,
    Consumer,
    Group,
    all_groups,
    find_group,
    lag,
)
from raftcache.state.redis.stream_rows import ID_MAX, NODE_ENTRIES, Stream, text_of

COUNT_DEFAULT: Final = 10
"""Of entries, and of those pending, that FULL shows."""


def _xinfo(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) < 2:
        raise wrong_subcommand("XINFO", args[0])
    found = store.collection(Stream, args[1])
    if not found.exists:
        raise Refuse("ERR no such key")
    match args[0].upper():
        case b"STREAM":
            return _stream(found, args)
        case b"GROUPS" if len(args) == 2:
            return [_group(group) for group in all_groups(found)]
        case b"CONSUMERS" if len(args) == 3:
            return _consumers(found, args[2])
    raise wrong_subcommand("XINFO", args[0])


def _stream(found: Stream, args: tuple[bytes, ...]) -> Value:
    count = _count_of_full(args)
    nodes = -(-found.count // NODE_ENTRIES)
    told: dict[Value, Value] = {
        b"length": found.count,
        b"radix-tree-keys": nodes,
        b"radix-tree-nodes": nodes + 1,
        b"last-generated-id": text_of(found.last),
        b"max-deleted-entry-id": text_of(found.deleted),
        b"entries-added": found.added,
        b"recorded-first-entry-id": text_of(found.first),
    }
    if count is None:
        ends = [found.entries(0, ID_MAX, 1, reverse=reverse) for reverse in (False, True)]
        first, last = (each[0] if each else None for each in ends)
        told |= {
            b"groups": len(found.group_ids),
            b"first-entry": first,
            b"last-entry": last,
        }
    else:
        told[b"entries"] = found.entries(0, ID_MAX, count)
        told[b"groups"] = [_group_in_full(group, count) for group in all_groups(found)]
    return told


def _count_of_full(args: tuple[bytes, ...]) -> int | None:
    """How many of everything are asked for, 0 for all; None if it is not FULL."""
    options = args[2:]
    if not options:
        return None
    words = [option.upper() for option in options[:2]]
    if words == [b"FULL"] and len(options) == 1:
        return COUNT_DEFAULT
    if words != [b"FULL", b"COUNT"] or len(options) != 3:
        raise wrong_subcommand("XINFO", args[0])
    count = integer(options[2])
    return COUNT_DEFAULT if count < 0 else count


def _group(group: Group) -> Value:
    return {
        b"name": group.name,
        b"consumers": group.consumers,
        b"pending": group.pending,
        b"last-delivered-id": text_of(group.last),
        b"entries-read": _read(group),
        b"lag": lag(group),
    }


def _read(group: Group) -> int | None:
    return None if group.read == READ_UNKNOWN else group.read


def _group_in_full(group: Group, count: int) -> Value:
    most = count or group.pending
    return {
        b"name": group.name,
        b"last-delivered-id": text_of(group.last),
        b"entries-read": _read(group),
        b"lag": lag(group),
        b"pel-count": group.pending,
        b"pending": [
            [text_of(number), group.owner_name(owner), delivered_ms, wrapped(deliveries)]
            for number, owner, delivered_ms, deliveries in group.first(most)
        ],
        b"consumers": [_in_full(group, each, count) for each in group.all_consumers()],
    }


def _in_full(group: Group, consumer: Consumer, count: int) -> Value:
    most = count or consumer.pending
    return {
        b"name": consumer.name,
        b"seen-time": consumer.seen_ms,
        b"pel-count": consumer.pending,
        b"pending": [
            [text_of(each.number), each.delivered_ms, wrapped(each.deliveries)]
            for each in group.first(most, consumer)
        ],
    }


def _consumers(found: Stream, name: bytes) -> Value:
    group = find_group(found, name)
    if group is None:
        raise no_group_of(found.key, name)
    now_ms = found.store.now_ms
    return [
        {
            b"name": each.name,
            b"pending": each.pending,
            b"idle": max(0, now_ms - each.seen_ms),
        }
        for each in group.all_consumers()
    ]


CALLS: Final[dict[bytes, Handler]] = {b"XINFO": _xinfo}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
