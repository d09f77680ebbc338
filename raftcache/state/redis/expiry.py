"""How long keys live: the commands that say it, and those that ask."""

from __future__ import annotations

from functools import partial
from typing import Final

from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN
from raftcache.command.values import Value
from raftcache.state.notes import GENERIC
from raftcache.state.redis.parsing import Refuse, integer
from raftcache.state.redis.store import Handler, Store
from raftcache.state.table import TIME_MS_MAX

_ABSENT: Final = -2
_FOREVER: Final = -1

_CONDITIONS: Final = frozenset((b"NX", b"XX", b"GT", b"LT"))


def _conditions(words: tuple[bytes, ...]) -> frozenset[bytes]:
    """NX, XX, GT and LT, those that go together."""
    for word in words:
        if word.upper() not in _CONDITIONS:
            text = word.partition(b"\0")[0].decode(errors="surrogateescape")
            raise Refuse(f"ERR Unsupported option {text}")
    found = frozenset(word.upper() for word in words)
    if b"NX" in found and len(found) > 1:
        raise Refuse("ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in found and b"LT" in found:
        raise Refuse("ERR GT and LT options at the same time are not compatible")
    return found


def _deadline_ms(text: bytes, unit_ms: int, base_ms: int, command: str) -> int:
    """Unix time; it may have come, and be below 0."""
    number = integer(text) * unit_ms
    if not INTEGER_MIN <= number <= INTEGER_MAX or number + base_ms >= TIME_MS_MAX:
        raise Refuse(f"ERR invalid expire time in '{command}' command")
    return number + base_ms


def _holds(conditions: frozenset[bytes], deadline_ms: int, current_ms: int) -> bool:
    """Whether the present deadline, 0 for none, lets the new one take its place."""
    if current_ms == 0:
        return b"XX" not in conditions and b"GT" not in conditions
    return not (
        b"NX" in conditions
        or (b"GT" in conditions and deadline_ms <= current_ms)
        or (b"LT" in conditions and deadline_ms >= current_ms)
    )


def _expire(
    store: Store, args: tuple[bytes, ...], unit_ms: int, command: str, *, absolute: bool = False
) -> Value:
    """The key gets a deadline of its own, and leaves its lease if it has one."""
    key, time, *_ = args
    conditions = _conditions(args[2:])
    deadline_ms = _deadline_ms(time, unit_ms, 0 if absolute else store.now_ms, command)
    found = store.find(key)
    if found is None or not _holds(conditions, deadline_ms, store.deadline_ms(found)):
        return 0
    if deadline_ms <= 0 or store.has_come(deadline_ms):
        store.remove(key)
        store.notify(GENERIC, b"del", key)
    else:
        store.set_deadline(key, found, deadline_ms)
        store.notify(GENERIC, b"expire", key)
    return 1


def _persist(store: Store, args: tuple[bytes, ...]) -> Value:
    found = store.find(args[0])
    if found is None or not store.deadline_ms(found):
        return 0
    store.set_deadline(args[0], found, 0)
    store.notify(GENERIC, b"persist", args[0])
    return 1


def _told(store: Store, args: tuple[bytes, ...], *, absolute: bool, unit_ms: int) -> Value:
    """A deadline, or what is left until then; of a leased key, those of its lease."""
    found = store.find(args[0])
    if found is None:
        return _ABSENT
    deadline_ms = store.deadline_ms(found)
    if not deadline_ms:
        return _FOREVER
    number_ms = deadline_ms if absolute else max(0, deadline_ms - store.now_ms)
    return (number_ms + unit_ms // 2) // unit_ms


CALLS: Final[dict[bytes, Handler]] = {
    b"EXPIRE": partial(_expire, unit_ms=1000, command="expire"),
    b"EXPIREAT": partial(_expire, unit_ms=1000, command="expireat", absolute=True),
    b"EXPIRETIME": partial(_told, absolute=True, unit_ms=1000),
    b"PERSIST": _persist,
    b"PEXPIRE": partial(_expire, unit_ms=1, command="pexpire"),
    b"PEXPIREAT": partial(_expire, unit_ms=1, command="pexpireat", absolute=True),
    b"PEXPIRETIME": partial(_told, absolute=True, unit_ms=1),
    b"PTTL": partial(_told, absolute=False, unit_ms=1),
    b"TTL": partial(_told, absolute=False, unit_ms=1000),
}

LONE: Final = frozenset(CALLS)
"""See execute.LONE."""
