"""Hashes: a row for each field, with its value."""

from __future__ import annotations

from typing import ClassVar, Final, overload

from raftcache.command.integers import integer_or_none
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.values import Pairs, Value
from raftcache.state import notes
from raftcache.state.items import HASH
from raftcache.state.redis.collection import Collection
from raftcache.state.redis.long_double import added, long_double
from raftcache.state.redis.parsing import (
    SYNTAX,
    Refuse,
    count_to_draw,
    in_range,
    integer,
)
from raftcache.state.redis.store import Handler, Store

_OVERFLOW: Final = "ERR increment or decrement would overflow"


class Hash(Collection):
    """The fields of a key, in the order of their bytes."""

    KIND: ClassVar[int] = HASH

    @overload
    def get(self, field: bytes) -> bytes | None: ...
    @overload
    def get(self, field: bytes, missing: bytes) -> bytes: ...

    def get(self, field: bytes, missing: bytes | None = None) -> bytes | None:
        value = self._get(field)
        return missing if value is None else value

    def set(self, field: bytes, value: bytes) -> bool:
        """Whether the field is new."""
        is_new = self._put(field, value) is None
        self.count += is_new
        return is_new

    def discard(self, field: bytes) -> bool:
        """Whether it was there."""
        if self._remove(field) is None:
            return False
        self.count -= 1
        return True

    def pair_at(self, place: int) -> tuple[bytes, bytes]:
        """A field and its value."""
        field = self._name_at(place)
        self.store.count_answer(len(field))
        return field, self._get(field) or b""

    def fields(self) -> list[bytes]:
        return list(self._names(0, self.count))

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """All fields with their values."""
        return list(self._pairs(0, self.count))


def _hash(store: Store, key: bytes) -> Hash:
    return store.collection(Hash, key)


# Setting.


def _set_pairs(store: Store, args: tuple[bytes, ...], name: str) -> int:
    if not len(args) % 2:
        raise Refuse(f"ERR wrong number of arguments for '{name}' command")
    found = _hash(store, args[0])
    pairs = zip(args[1::2], args[2::2], strict=True)
    created = sum([found.set(field, value) for field, value in pairs])
    store.notify(notes.HASH, b"hset", args[0])
    return created


def _hset(store: Store, args: tuple[bytes, ...]) -> Value:
    return _set_pairs(store, args, "hset")


def _hmset(store: Store, args: tuple[bytes, ...]) -> Value:
    _set_pairs(store, args, "hmset")
    return "OK"


def _hsetnx(store: Store, args: tuple[bytes, ...]) -> Value:
    key, field, value = args
    found = _hash(store, key)
    if found.get(field) is not None:
        return 0
    found.set(field, value)
    store.notify(notes.HASH, b"hset", key)
    return 1


def _hincrby(store: Store, args: tuple[bytes, ...]) -> Value:
    key, field, text = args
    by = integer(text)
    found = _hash(store, key)
    number = integer_or_none(found.get(field, b"0"))
    if number is None:
        raise Refuse("ERR hash value is not an integer")
    total = in_range(number + by, _OVERFLOW)
    found.set(field, b"%d" % total)
    store.notify(notes.HASH, b"hincrby", key)
    return total


def _hincrbyfloat(store: Store, args: tuple[bytes, ...]) -> Value:
    key, field, text = args
    by = long_double(text)
    if isinstance(by, float):
        raise Refuse("ERR value is NaN or Infinity")
    found = _hash(store, key)
    number = long_double(found.get(field, b"0"), "ERR hash value is not a float")
    total = added(number, by)
    found.set(field, total)
    store.notify(notes.HASH, b"hincrbyfloat", key)
    return total


def _hdel(store: Store, args: tuple[bytes, ...]) -> Value:
    found = _hash(store, args[0])
    removed = sum([found.discard(field) for field in args[1:]])
    if removed:
        store.notify(notes.HASH, b"hdel", args[0])
    return removed


# Reading.


def _hget(store: Store, args: tuple[bytes, ...]) -> Value:
    return _hash(store, args[0]).get(args[1])


def _hmget(store: Store, args: tuple[bytes, ...]) -> Value:
    found = _hash(store, args[0])
    return [found.get(field) for field in args[1:]]


def _hgetall(store: Store, args: tuple[bytes, ...]) -> Value:
    return dict(_hash(store, args[0]).pairs())


def _hkeys(store: Store, args: tuple[bytes, ...]) -> Value:
    return _hash(store, args[0]).fields()


def _hvals(store: Store, args: tuple[bytes, ...]) -> Value:
    return [value for _, value in _hash(store, args[0]).pairs()]


def _hlen(store: Store, args: tuple[bytes, ...]) -> Value:
    return _hash(store, args[0]).count


def _hexists(store: Store, args: tuple[bytes, ...]) -> Value:
    return int(_hash(store, args[0]).get(args[1]) is not None)


def _hstrlen(store: Store, args: tuple[bytes, ...]) -> Value:
    return len(_hash(store, args[0]).get(args[1]) or b"")


def _hrandfield(store: Store, args: tuple[bytes, ...]) -> Value:
    count = count_to_draw(args[1]) if len(args) > 1 else None
    with_values = len(args) == 3 and args[2].upper() == b"WITHVALUES"
    if len(args) > 2 and not with_values:
        raise Refuse(SYNTAX)
    if count is not None and with_values and abs(count) > INTEGER_MAX // 2:
        raise Refuse("ERR value is out of range")
    found = _hash(store, args[0])
    if not found.exists:
        return None if count is None else []
    drawn = store.draw(1 if count is None else count, found.count)
    pairs = [found.pair_at(place) for place in drawn]
    if with_values:
        return Pairs(pairs)
    fields = [field for field, _ in pairs]
    return fields[0] if count is None else fields


CALLS: Final[dict[bytes, Handler]] = {
    b"HDEL": _hdel,
    b"HEXISTS": _hexists,
    b"HGET": _hget,
    b"HGETALL": _hgetall,
    b"HINCRBY": _hincrby,
    b"HINCRBYFLOAT": _hincrbyfloat,
    b"HKEYS": _hkeys,
    b"HLEN": _hlen,
    b"HMGET": _hmget,
    b"HMSET": _hmset,
    b"HRANDFIELD": _hrandfield,
    b"HSET": _hset,
    b"HSETNX": _hsetnx,
    b"HSTRLEN": _hstrlen,
    b"HVALS": _hvals,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
