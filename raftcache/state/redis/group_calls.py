"""Consumer groups of streams: the commands that make them, and those about what is pending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from raftcache.command.integers import integer_or_none, wrapped
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.values import NIL_ARRAY, Value
from raftcache.state import notes
from raftcache.state.redis.parsing import SYNTAX, Refuse, integer, shown, wrong_subcommand
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.stream_groups import (
    GIVEN_MAX,
    GIVEN_SIZE_BYTES,
    READ_UNKNOWN,
    Consumer,
    Group,
    Left,
    Pending,
    create_group,
    destroy_group,
    find_group,
)
from raftcache.state.redis.stream_ids import end_of_range, read_id
from raftcache.state.redis.stream_rows import ID_MAX, Stream, text_of

COUNT_DEFAULT: Final = 100
"""Of entries that XAUTOCLAIM claims."""

LOOKS_PER_CLAIM: Final = 10
"""It looks at so many for each that it may claim."""

CLAIM_LOOKS_MAX: Final = 20_000
"""And at no more, whatever its COUNT: the next one goes on where it ended."""

_COUNT_MAX: Final = INTEGER_MAX // 16
_NO_KEY: Final = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use"
    " the MKSTREAM option to create an empty stream automatically."
)
_CREATE_ARGUMENTS_MAX: Final = 7
_SETID_ARGUMENTS: Final = (4, 6)


def no_group(key: bytes, name: bytes, of: str = "") -> Refuse:
    """A call about a group that is not there, or whose stream is not."""
    return Refuse(f"NOGROUP No such key '{shown(key)}' or consumer group '{shown(name)}'{of}")


def group_of(store: Store, key: bytes, name: bytes) -> Group | None:
    """A group, None if it or its stream is missing; refuses a key of another type."""
    return find_group(store.collection(Stream, key), name)


# XGROUP.


class _Made(Struct):
    """What stands behind the id of a group."""

    makes_stream: bool = False
    read: int = READ_UNKNOWN


def _read_options(subcommand: bytes, args: tuple[bytes, ...]) -> _Made:
    made = _Made()
    name = subcommand.upper()
    rest = list(reversed(args))
    while rest:
        option = rest.pop().upper()
        if name == b"CREATE" and option == b"MKSTREAM":
            made.makes_stream = True
        elif name in (b"CREATE", b"SETID") and option == b"ENTRIESREAD" and rest:
            made.read = integer(rest.pop())
            if made.read < READ_UNKNOWN:
                raise Refuse("ERR value for ENTRIESREAD must be positive or -1")
        else:
            raise wrong_subcommand("XGROUP", subcommand)
    return made


def _xgroup(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) < 3:
        raise Refuse(SYNTAX)
    subcommand, key, name, *more = args
    made = _read_options(subcommand, args[4:])
    stream = store.collection(Stream, key)
    if not (stream.exists or made.makes_stream):
        raise Refuse(_NO_KEY)
    group = find_group(stream, name)
    match subcommand.upper():
        case b"CREATE" if more:
            return _create(stream, args, made)
        case b"DESTROY":
            return _destroy(stream, group)
    if group is None:
        raise no_group_of(key, name)
    match subcommand.upper():
        case b"SETID" if len(args) in _SETID_ARGUMENTS:
            group.last = stream.last if more[0] == b"$" else _any_id(more[0])
            group.read = made.read
            store.notify(notes.STREAM, b"xgroup-setid", key)
            return "OK"
        case b"CREATECONSUMER" if more:
            return _add(group, more[0])
        case b"DELCONSUMER" if more:
            return _discard(group, more[0])
    raise wrong_subcommand("XGROUP", subcommand)


def no_group_of(key: bytes, name: bytes) -> Refuse:
    return Refuse(f"NOGROUP No such consumer group '{shown(name)}' for key name '{shown(key)}'")


def _any_id(text: bytes) -> int:
    if text in (b"-", b"+"):
        return 0 if text == b"-" else ID_MAX
    return read_id(text)


def _create(stream: Stream, args: tuple[bytes, ...], made: _Made) -> Value:
    subcommand, key, name, text = args[:4]
    if len(args) > _CREATE_ARGUMENTS_MAX:
        raise wrong_subcommand("XGROUP", subcommand)
    last = stream.last if text == b"$" else read_id(text)
    if not create_group(stream, name, last, made.read):
        raise Refuse("BUSYGROUP Consumer Group name already exists")
    stream.store.notify(notes.STREAM, b"xgroup-create", key)
    return "OK"


def _destroy(stream: Stream, group: Group | None) -> Value:
    if group is None:
        return 0
    destroy_group(group)
    stream.store.notify(notes.STREAM, b"xgroup-destroy", stream.key)
    return 1


def _add(group: Group, name: bytes) -> Value:
    if group.consumer(name) is not None:
        return 0
    group.create(name)
    return 1


def _discard(group: Group, name: bytes) -> Value:
    consumer = group.consumer(name)
    if consumer is None:
        return 0
    pending = consumer.pending
    group.discard(consumer)
    group.stream.store.notify(notes.STREAM, b"xgroup-delconsumer", group.stream.key)
    return pending


# XACK and XPENDING.


def _xack(store: Store, args: tuple[bytes, ...]) -> Value:
    group = group_of(store, args[0], args[1])
    if group is None:
        return 0
    acknowledged = 0
    for number in [read_id(text) for text in args[2:]]:
        pending = group.at(number)
        if pending is not None:
            group.drop(pending)
            acknowledged += 1
    return acknowledged


def _xpending(store: Store, args: tuple[bytes, ...]) -> Value:
    key, name, *rest = args
    if len(args) == 2:
        group = group_of(store, key, name)
        if group is None:
            raise no_group(key, name)
        return _summary(group)
    if not 3 <= len(rest) <= 6:
        raise Refuse(SYNTAX)
    idle_ms = 0
    if rest[0].upper() == b"IDLE":
        idle_ms = integer(rest[1])
        rest = rest[2:]
        if len(rest) < 3:
            raise Refuse(SYNTAX)
    count = max(0, integer(rest[2]))
    low, high = end_of_range(rest[0], is_end=False), end_of_range(rest[1], is_end=True)
    group = group_of(store, key, name)
    if group is None:
        raise no_group(key, name)
    consumer = None
    if len(rest) > 3:
        consumer = group.consumer(rest[3])
        if consumer is None:
            return []
    return _listed(group, low, high, count, idle_ms, consumer)


def _summary(group: Group) -> Value:
    if not group.pending:
        return [0, None, None, NIL_ARRAY]
    first = next(group.first(1)).number
    having = [each for each in group.all_consumers() if each.pending]
    consumers = [[each.name, b"%d" % each.pending] for each in having]
    return [group.pending, text_of(first), text_of(group.last_pending()), consumers]


def _listed(
    group: Group, low: int, high: int, count: int, idle_ms: int, consumer: Consumer | None
) -> list[Value]:
    now_ms, found = group.stream.store.now_ms, list[Value]()
    for each in group.walk(low, high, consumer, count) if count else ():
        elapsed_ms = now_ms - each.delivered_ms
        if idle_ms and elapsed_ms < idle_ms:
            continue
        name = group.owner_name(each.consumer)
        found.append([text_of(each.number), name, max(0, elapsed_ms), wrapped(each.deliveries)])
        if len(found) == count:
            break
    return found


# XCLAIM and XAUTOCLAIM.


class _Claim(Struct):
    """What an XCLAIM asks for. retries: None to count one more, if its entries are told."""

    consumer: bytes
    idle_ms: int
    numbers: list[int]
    delivered_ms: int
    retries: int | None = None
    forces: bool = False
    just_ids: bool = False
    last: int = 0


def _read_claim(args: Sequence[bytes], now_ms: int) -> _Claim:
    """What follows the group, by Redis' order of questions."""
    idle_ms = integer(args[1], "ERR Invalid min-idle-time argument for XCLAIM")
    claim = _Claim(args[0], max(0, idle_ms), [], now_ms)
    at = 2
    while at < len(args) and (number := id_or_none(args[at])) is not None:
        claim.numbers.append(number)
        at += 1
    rest = list(reversed(args[at:]))
    while rest:
        word = rest.pop()
        option = word.upper()
        if option == b"FORCE":
            claim.forces = True
        elif option == b"JUSTID":
            claim.just_ids = True
        elif option in (b"IDLE", b"TIME", b"RETRYCOUNT") and rest:
            _read_number(claim, option, rest.pop(), now_ms)
        elif option == b"LASTID" and rest:
            claim.last = read_id(rest.pop())
        else:
            raise Refuse(f"ERR Unrecognized XCLAIM option '{shown(word)}'")
    return claim


def id_or_none(text: bytes) -> int | None:
    """An id, if it is one: the first argument that is none is an option of XCLAIM."""
    try:
        return read_id(text)
    except Refuse:
        return None


def _read_number(claim: _Claim, option: bytes, text: bytes, now_ms: int) -> None:
    number = integer(text, f"ERR Invalid {option.decode()} option argument for XCLAIM")
    if option == b"RETRYCOUNT":
        claim.retries = number if number >= 0 else None
        return
    delivered_ms = number if option == b"TIME" else now_ms - number
    claim.delivered_ms = delivered_ms if 0 <= delivered_ms <= now_ms else now_ms


def _xclaim(store: Store, args: tuple[bytes, ...]) -> Value:
    group = group_of(store, args[0], args[1])
    if group is None:
        raise no_group(args[0], args[1])
    claim = _read_claim(args[2:], store.now_ms)
    group.last = max(group.last, claim.last)
    claimed: list[Value] = []
    for number in claim.numbers:
        entry, pending = group.stream.entry(number), group.at(number)
        if entry is None:
            if pending is not None:
                group.drop(pending)
            continue
        if pending is None:
            if not claim.forces:
                continue
            deliveries = 1
        elif store.now_ms - pending.delivered_ms < claim.idle_ms:
            continue
        else:
            deliveries = pending.deliveries
        if claim.retries is not None:
            deliveries = claim.retries
        elif not claim.just_ids:
            deliveries += 1
        group.give(number, group.seen(claim.consumer), claim.delivered_ms, deliveries)
        claimed.append(entry[0] if claim.just_ids else entry)
    return claimed


def _xautoclaim(store: Store, args: tuple[bytes, ...]) -> Value:
    key, name, consumer, *rest = args
    idle_ms = max(0, integer(rest[0], "ERR Invalid min-idle-time argument for XAUTOCLAIM"))
    start = end_of_range(rest[1], is_end=False)
    count, just_ids = _read_autoclaim(rest[2:])
    group = group_of(store, key, name)
    if group is None:
        raise no_group(key, name)
    looks_left = min(count * LOOKS_PER_CLAIM, CLAIM_LOOKS_MAX)
    left = Left(min(count, GIVEN_MAX), GIVEN_SIZE_BYTES)
    claimed: list[Value] = []
    deleted: list[Value] = []
    pending: Pending | None = None
    walk = group.walk(start, ID_MAX, most=looks_left + 1)
    for pending in walk:
        if not looks_left or left.is_nothing:
            break
        looks_left -= 1
        entry = group.stream.entry(pending.number)
        if entry is None:
            group.drop(pending)
            deleted.append(text_of(pending.number))
            left.take(())
        elif store.now_ms - pending.delivered_ms >= idle_ms:
            deliveries = pending.deliveries + (not just_ids)
            group.give(pending.number, group.seen(consumer), store.now_ms, deliveries)
            claimed.append(entry[0] if just_ids else entry)
            left.take(entry[1])
    else:
        pending = None
    return [text_of(0 if pending is None else pending.number), claimed, deleted]


def _read_autoclaim(args: Sequence[bytes]) -> tuple[int, bool]:
    """How many may be claimed, and whether only their ids are told."""
    count, just_ids = COUNT_DEFAULT, False
    rest = list(reversed(args))
    while rest:
        option = rest.pop().upper()
        if option == b"COUNT" and rest:
            number = integer_or_none(rest.pop())
            if number is None or not 1 <= number <= _COUNT_MAX:
                raise Refuse("ERR COUNT must be > 0")
            count = number
        elif option == b"JUSTID":
            just_ids = True
        else:
            raise Refuse(SYNTAX)
    return count, just_ids


CALLS: Final[dict[bytes, Handler]] = {
    b"XACK": _xack,
    b"XAUTOCLAIM": _xautoclaim,
    b"XCLAIM": _xclaim,
    b"XGROUP": _xgroup,
    b"XPENDING": _xpending,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
