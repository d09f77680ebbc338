"""SORT: the elements of a list, set or sorted set, in the order of themselves or of other keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from raftcache.command.values import Value
from raftcache.state.items import HASH, LEASED, LIST, SET, ZSET, described
from raftcache.state.notes import GENERIC
from raftcache.state.notes import LIST as OF_LISTS
from raftcache.state.redis.list_rows import List
from raftcache.state.redis.parsing import SYNTAX, WRONG_TYPE, Refuse, double_or_none, integer
from raftcache.state.redis.sets import Set
from raftcache.state.redis.store import Handler, Store
from raftcache.state.redis.zset_rows import SortedSet
from raftcache.state.rows import prefix_of

NOT_NUMBERS: Final = "ERR One or more scores can't be converted into double"

_SPACE: Final = b" \t\n\v\f\r"


class _Pattern:
    """Finds for an element what stands under another key, or in a field of it (`KEY_*->FIELD`).

    The first star is the element; without one there is nothing to be found.
    """

    def __init__(self, text: bytes) -> None:
        self.is_element = text == b"#"
        self._before, star, rest = text.partition(b"*")
        self.has_star = bool(star)
        self._after, arrow, self._field = rest.partition(b"->")
        if not self._field:
            self._after += arrow

    def look_up(self, store: Store, element: bytes) -> bytes | None:
        if self.is_element:
            return element
        if not self.has_star:
            return None
        found = store.find(self._before + element + self._after)
        if found is None:
            return None
        if self._field:
            if found.kind != HASH:
                return None
            value = store.state.rows.get(prefix_of(described(found.packed).id) + self._field)
            store.count_answer(len(value or b""))
            return value
        if found.kind > LEASED:
            return None
        store.count_answer(found.value_size_bytes)
        return found.value


class _Asked(Struct):
    """What a call asks for. sorts: else all stay in the order that they have."""

    gets: list[_Pattern]
    by: _Pattern | None = None
    offset: int = 0
    count: int = -1
    sorts: bool = True
    is_alpha: bool = False
    is_descending: bool = False
    target: bytes | None = None

    def span(self, size: int) -> tuple[int, int]:
        """Places [start, stop) of the answer among so many elements."""
        start = min(max(self.offset, 0), size)
        return start, size if self.count < 0 else min(size, start + self.count)


def _read(words: Sequence[bytes], *, may_store: bool) -> _Asked:
    """Options in any order; of two alike the last one counts."""
    asked = _Asked(gets=[])
    rest = list(reversed(words))
    while rest:
        option = rest.pop().upper()
        if option in (b"ASC", b"DESC"):
            asked.is_descending = option == b"DESC"
        elif option == b"ALPHA":
            asked.is_alpha = True
        elif option == b"LIMIT" and len(rest) >= 2:
            asked.offset, asked.count = integer(rest.pop()), integer(rest.pop())
        elif option == b"STORE" and may_store and rest:
            asked.target = rest.pop()
        elif option == b"BY" and rest:
            asked.by = _Pattern(rest.pop())
            asked.sorts = asked.sorts and asked.by.has_star
        elif option == b"GET" and rest:
            asked.gets.append(_Pattern(rest.pop()))
        else:
            raise Refuse(SYNTAX)
    return asked


def _elements(store: Store, key: bytes, asked: _Asked) -> list[bytes]:
    """Those of the answer, in its order."""
    found = store.find(key)
    if found is None:
        return []
    if found.kind not in (LIST, SET, ZSET):
        raise Refuse(WRONG_TYPE)
    if found.kind == SET and asked.target is not None and not asked.sorts:
        asked.sorts, asked.is_alpha, asked.by = True, True, None
    size = described(found.packed).count
    start, stop = asked.span(size)
    if asked.sorts:
        elements = _part(store, key, found.kind, 0, size)
        return _sorted(store, elements, asked)[start:stop]
    if asked.is_descending and found.kind != SET:
        return _part(store, key, found.kind, size - stop, size - start)[::-1]
    return _part(store, key, found.kind, start, stop)


def _part(store: Store, key: bytes, kind: int, start: int, stop: int) -> list[bytes]:
    """The elements at these places."""
    if kind == LIST:
        return store.collection(List, key).values(start, stop)
    if kind == SET:
        return store.collection(Set, key).members(start, stop)
    return store.collection(SortedSet, key).members(start, stop)


def _sorted(store: Store, elements: list[bytes], asked: _Asked) -> list[bytes]:
    """By numbers, those that are equal by their bytes; or by bytes, what there is not first."""
    weights: Sequence[bytes | None] = elements
    if asked.by is not None:
        store.count_elements(len(elements))
        weights = [asked.by.look_up(store, element) for element in elements]
    if asked.is_alpha:
        if asked.target is None:
            weights = [weight and _text(weight) for weight in weights]
        keys = [(weight is not None, weight or b"") for weight in weights]
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=asked.is_descending)
        return [elements[place] for place in order]
    numbers = [0.0 if weight is None else _number(weight) for weight in weights]
    pairs = sorted(zip(numbers, elements, strict=True), reverse=asked.is_descending)
    return [element for _, element in pairs]


def _text(value: bytes) -> bytes:
    """As C has it: it ends at the first zero."""
    return value.partition(b"\0")[0]


def _number(value: bytes) -> float:
    """As C's strtod reads it, to the end; nothing at all is 0."""
    text = _text(value)
    number = double_or_none(text.lstrip(_SPACE)) if text else 0.0
    if number is None:
        raise Refuse(NOT_NUMBERS)
    return number


def _answer(store: Store, elements: list[bytes], asked: _Asked) -> list[bytes | None]:
    if not asked.gets:
        return list(elements)
    store.count_elements(len(elements) * len(asked.gets))
    return [pattern.look_up(store, element) for element in elements for pattern in asked.gets]


def _sort(store: Store, args: tuple[bytes, ...], *, may_store: bool) -> Value:
    asked = _read(args[1:], may_store=may_store)
    answer = _answer(store, _elements(store, args[0], asked), asked)
    if asked.target is None:
        return answer
    if answer:
        made = store.replacement(List, asked.target)
        made.push([each or b"" for each in answer], left=False)
        store.notify(OF_LISTS, b"sortstore", asked.target)
    elif store.remove(asked.target):
        store.notify(GENERIC, b"del", asked.target)
    return len(answer)


CALLS: Final[dict[bytes, Handler]] = {
    b"SORT": partial(_sort, may_store=True),
    b"SORT_RO": partial(_sort, may_store=False),
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
