"""HyperLogLogs: how many different elements there were, in 12 KiB (see hyperloglog.py)."""

from __future__ import annotations

from typing import Final

from raftcache.command.integers import wrapped
from raftcache.command.values import Value
from raftcache.state.notes import STRING
from raftcache.state.redis.hyperloglog import (
    EMPTY,
    REGISTERS,
    Sketch,
    check,
    count_of,
    estimate,
    highest,
    register_of,
)
from raftcache.state.redis.store import KEEP, Handler, Store

HASHED_BYTES_PER_ELEMENT: Final = 16
"""So many bytes of what is added cost as much as an element that is looked at."""

SKETCH_COST: Final = 250
"""Of a HyperLogLog that is taken apart, in elements that are looked at: up to a quarter of a
millisecond."""


def _find(store: Store, key: bytes) -> bytes | None:
    value = store.string(key)
    if value is not None:
        check(value)
    return value


def _open(store: Store, value: bytes) -> Sketch:
    store.count_elements(SKETCH_COST)
    return Sketch(value)


def _pfadd(store: Store, args: tuple[bytes, ...]) -> Value:
    key, elements = args[0], args[1:]
    store.count_elements(sum(map(len, elements)) // HASHED_BYTES_PER_ELEMENT)
    value = _find(store, key)
    if value is not None and not elements:
        return 0
    sketch = _open(store, EMPTY if value is None else value)
    raised = [sketch.raise_to(*register_of(element)) for element in elements]
    if value is not None and not any(raised):
        return 0
    _put(store, key, sketch)
    return 1


def _put(store: Store, key: bytes, sketch: Sketch) -> None:
    store.set_string(key, sketch.value(), KEEP)
    store.notify(STRING, b"pfadd", key)


def _pfcount(store: Store, args: tuple[bytes, ...]) -> Value:
    if len(args) > 1:
        return estimate(_union(store, args)[0])
    value = _find(store, args[0])
    if value is None:
        return 0
    store.count_elements(SKETCH_COST)
    return wrapped(count_of(value))


def _union(store: Store, keys: tuple[bytes, ...]) -> tuple[bytearray, bool]:
    """The registers of all of them together, and whether any is dense."""
    registers, is_dense = bytearray(REGISTERS), False
    for key in keys:
        value = _find(store, key)
        if value is not None:
            sketch = _open(store, value)
            registers = highest(registers, sketch.registers)
            is_dense = is_dense or sketch.is_dense
    return registers, is_dense


def _pfmerge(store: Store, args: tuple[bytes, ...]) -> Value:
    registers, is_dense = _union(store, args)
    sketch = Sketch(_find(store, args[0]) or EMPTY)
    if is_dense:
        sketch.densify()
    for index, value in enumerate(registers):
        if value > sketch.registers[index]:
            sketch.raise_to(index, value)
    _put(store, args[0], sketch)
    return "OK"


CALLS: Final[dict[bytes, Handler]] = {
    b"PFADD": _pfadd,
    b"PFCOUNT": _pfcount,
    b"PFMERGE": _pfmerge,
}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
