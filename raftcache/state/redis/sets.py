"""Sets: a row for each member, without a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import ClassVar, Final

from raftcache.command.values import Members, Value
from raftcache.state import notes
from raftcache.state.items import SET
from raftcache.state.redis.collection import Collection
from raftcache.state.redis.parsing import SYNTAX, Refuse, at_least, count_to_draw
from raftcache.state.redis.store import Handler, Store

PIECE: Final = 1000
"""Members that an intersection looks at before it finds out whether more are wanted."""


class Set(Collection):
    """The members of a key, in the order of their bytes."""

    KIND: ClassVar[int] = SET

    def has(self, member: bytes) -> bool:
        return self._get(member) is not None

    def add(self, member: bytes) -> bool:
        """Whether it is new."""
        if self.has(member):
            return False
        self._put(member, b"")
        self.count += 1
        return True

    def discard(self, member: bytes) -> bool:
        """Whether it was there."""
        if self._remove(member) is None:
            return False
        self.count -= 1
        return True

    def member_at(self, place: int) -> bytes:
        member = self._name_at(place)
        self.store.count_answer(len(member))
        return member

    def members(self, start: int = 0, stop: int | None = None) -> list[bytes]:
        """Those at these places, or all."""
        return list(self._names(start, self.count if stop is None else min(stop, self.count)))


def intersection(store: Store, sets: Sequence[Set]) -> Iterator[bytes]:
    """Members of all of them; it looks at little more than what is taken from it."""
    smallest, *others = sorted(sets, key=lambda each: each.count)
    for start in range(0, smallest.count, PIECE):
        found = smallest.members(start, start + PIECE)
        for other in others:
            store.count_elements(len(found))
            found = [member for member in found if other.has(member)]
        yield from found


def _union(store: Store, sets: Sequence[Set]) -> Iterable[bytes]:
    """Members of any of them, each once."""
    return dict.fromkeys(member for each in sets for member in each.members())


def _difference(store: Store, sets: Sequence[Set]) -> Iterable[bytes]:
    """Members of the first that are in none of the others: whichever is smaller is walked."""
    first, *others = sets
    if any(other is first for other in others):
        return []
    found = dict.fromkeys(first.members())
    for other in others:
        if other.count < len(found):
            for member in other.members():
                found.pop(member, None)
        else:
            store.count_elements(len(found))
            found = {member: None for member in found if not other.has(member)}
    return found


def _sets(store: Store, keys: Sequence[bytes]) -> list[Set]:
    return [store.collection(Set, key) for key in keys]


def _store(store: Store, key: bytes, members: Iterable[bytes], event: bytes) -> int:
    """Give the key a set of these, whatever it held; none of them, and the key is gone."""
    members = list(members)
    if not members:
        if store.remove(key):
            store.notify(notes.GENERIC, b"del", key)
        return 0
    made = store.replacement(Set, key)
    for member in members:
        made.add(member)
    store.notify(notes.SET, event, key)
    return made.count


# Members.


def _sadd(store: Store, args: tuple[bytes, ...]) -> Value:
    found = store.collection(Set, args[0])
    added = sum([found.add(member) for member in args[1:]])
    if added:
        store.notify(notes.SET, b"sadd", args[0])
    return added


def _srem(store: Store, args: tuple[bytes, ...]) -> Value:
    found = store.collection(Set, args[0])
    removed = sum([found.discard(member) for member in args[1:]])
    if removed:
        store.notify(notes.SET, b"srem", args[0])
    return removed


def _smove(store: Store, args: tuple[bytes, ...]) -> Value:
    source_key, target_key, member = args
    source = store.collection(Set, source_key)
    if not source.exists:
        return 0
    target = store.collection(Set, target_key)
    if source is target:
        return int(source.has(member))
    if not source.discard(member):
        return 0
    store.notify(notes.SET, b"srem", source_key)
    store.settle_key(source_key)
    if target.add(member):
        store.notify(notes.SET, b"sadd", target_key)
    return 1


def _scard(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.collection(Set, args[0]).count


def _sismember(store: Store, args: tuple[bytes, ...]) -> Value:
    return int(store.collection(Set, args[0]).has(args[1]))


def _smismember(store: Store, args: tuple[bytes, ...]) -> Value:
    found = store.collection(Set, args[0])
    return [int(found.has(member)) for member in args[1:]]


def _smembers(store: Store, args: tuple[bytes, ...]) -> Value:
    return Members(store.collection(Set, args[0]).members())


# Chance.


def _spop(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) > 2:
        raise Refuse(SYNTAX)
    count = at_least(args[1], 0) if len(args) == 2 else None
    found = store.collection(Set, args[0])
    if count is None and not found.exists:
        return None
    drawn = store.draw(1 if count is None else count, found.count)
    members = [found.member_at(place) for place in drawn]
    for member in members:
        found.discard(member)
    if members:
        store.notify(notes.SET, b"spop", args[0])
    return members[0] if count is None else Members(members)


def _srandmember(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) > 2:
        raise Refuse(SYNTAX)
    count = count_to_draw(args[1]) if len(args) == 2 else None
    found = store.collection(Set, args[0])
    if not found.exists:
        return None if count is None else []
    drawn = store.draw(1 if count is None else count, found.count)
    members = [found.member_at(place) for place in drawn]
    return members[0] if count is None else members


# Algebra.


def _sinter(store: Store, args: tuple[bytes, ...]) -> Value:
    return Members(list(intersection(store, _sets(store, args))))


def _sinterstore(store: Store, args: tuple[bytes, ...]) -> Value:
    return _store(store, args[0], intersection(store, _sets(store, args[1:])), b"sinterstore")


def _sintercard(store: Store, args: tuple[bytes, ...]) -> Value:
    count = at_least(args[0], 1, "ERR numkeys should be greater than 0")
    if count > len(args) - 1:
        raise Refuse("ERR Number of keys can't be greater than number of args")
    limit, options = 0, args[1 + count :]
    for place in range(0, len(options), 2):
        if options[place].upper() != b"LIMIT" or place + 1 == len(options):
            raise Refuse(SYNTAX)
        limit = at_least(options[place + 1], 0, "ERR LIMIT can't be negative")
    common = intersection(store, _sets(store, args[1 : 1 + count]))
    return sum(1 for _ in islice(common, limit or None))


def _sunion(store: Store, args: tuple[bytes, ...]) -> Value:
    return Members(list(_union(store, _sets(store, args))))


def _sunionstore(store: Store, args: tuple[bytes, ...]) -> Value:
    return _store(store, args[0], _union(store, _sets(store, args[1:])), b"sunionstore")


def _sdiff(store: Store, args: tuple[bytes, ...]) -> Value:
    return Members(list(_difference(store, _sets(store, args))))


def _sdiffstore(store: Store, args: tuple[bytes, ...]) -> Value:
    return _store(store, args[0], _difference(store, _sets(store, args[1:])), b"sdiffstore")


CALLS: Final[dict[bytes, Handler]] = {
    b"SADD": _sadd,
    b"SCARD": _scard,
    b"SDIFF": _sdiff,
    b"SDIFFSTORE": _sdiffstore,
    b"SINTER": _sinter,
    b"SINTERCARD": _sintercard,
    b"SINTERSTORE": _sinterstore,
    b"SISMEMBER": _sismember,
    b"SMEMBERS": _smembers,
    b"SMISMEMBER": _smismember,
    b"SMOVE": _smove,
    b"SPOP": _spop,
    b"SRANDMEMBER": _srandmember,
    b"SREM": _srem,
    b"SUNION": _sunion,
    b"SUNIONSTORE": _sunionstore,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
