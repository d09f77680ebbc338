"""Values of commands as values of Lua, and the other way round, as Redis 7.0 translates them."""

from __future__ import annotations

import math
from typing import Final

from lupa.lua51 import lua_type

from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN
from raftcache.command.values import (
    NIL_ARRAY,
    RESP3,
    Digits,
    Entries,
    Failure,
    Members,
    Pairs,
    Value,
    Verbatim,
    double_text,
)
from raftcache.service.scripting.answers import Lua, as_bytes, as_text

NO_NAMES: Final = Failure("ERR a map that a script answers with has tables as names")


def to_lua(value: Value, protocol: int) -> Lua:
    """What redis.call gives a script for the answer to a command.

    protocol: 2, unless the script has called redis.setresp(3).
    """
    is_new = protocol == RESP3
    match value:
        case bool():
            return value if is_new else int(value)
        case int() | bytes():
            return value
        case None:
            return None if is_new else False
        case str():
            return {b"ok": as_bytes(value)}
        case Failure(text):
            return {b"err": as_bytes(text)}
        case float():
            return {b"double": value} if is_new else double_text(value)
        case Digits(text):
            return {b"double": float(text)} if is_new else text
        case Verbatim(text):
            return {b"verbatim_string": {b"string": text, b"format": b"txt"}} if is_new else text
        case list() | tuple():
            return [to_lua(each, protocol) for each in value]
        case _:
            return _many(value, protocol)


def _many(value: Value, protocol: int) -> Lua:
    """What older protocols have as flat arrays."""
    is_new = protocol == RESP3
    match value:
        case Members(members) if is_new:
            return {b"set": {to_lua(each, protocol): True for each in members}}
        case Members(members):
            return [to_lua(each, protocol) for each in members]
        case Pairs(pairs) if is_new:
            return [[to_lua(each, protocol) for each in pair] for pair in pairs]
        case Pairs(pairs):
            return [to_lua(each, protocol) for pair in pairs for each in pair]
        case Entries(pairs) if is_new:
            return {
                b"map": {to_lua(name, protocol): to_lua(each, protocol) for name, each in pairs}
            }
        case Entries(pairs):
            return [[to_lua(each, protocol) for each in pair] for pair in pairs]
        case dict() if is_new:
            items = [
                (to_lua(name, protocol), to_lua(each, protocol)) for name, each in value.items()
            ]
            return {b"map": dict(items)}
        case dict():
            return [to_lua(each, protocol) for pair in value.items() for each in pair]
        case _:
            assert value is NIL_ARRAY, value
            return None if is_new else False


def from_lua(value: Lua, protocol: int) -> Value:
    """What a script's result is answered as; tables as `plain` of the prelude made them."""
    match value:
        case bytes():
            return value
        case bool():
            return (value if protocol == RESP3 else 1) if value or protocol == RESP3 else None
        case int() | float():
            return _integer(value)
        case None:
            return None
    assert lua_type(value) == "table", value
    parts = [value[place] for place in range(1, len(value) + 1)]
    match value[0]:
        case b"err":
            return Failure(as_text(parts[0]))
        case b"ok":
            return as_text(parts[0])
        case b"double":
            return float(parts[0])
        case b"verbatim_string":
            return Verbatim(parts[0])
        case b"big_number":
            return parts[0]
    values = [from_lua(each, protocol) for each in parts]
    match value[0]:
        case b"map":
            return _map(values[::2], values[1::2])
        case b"set":
            return Members(values)
        case _:
            return values


def _map(names: list[Value], values: list[Value]) -> Value:
    if any(isinstance(name, (list, dict, Members)) for name in names):
        return NO_NAMES
    return dict(zip(names, values, strict=True))


def _integer(number: float) -> int:
    """Without what is behind the point; what has no place among integers is the smallest one."""
    if not math.isfinite(number) or not INTEGER_MIN <= (whole := int(number)) <= INTEGER_MAX:
        return INTEGER_MIN
    return whole
