"""JSON for scripts, as lua-cjson has it, which Redis brings along."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Final

from lupa.lua51 import lua_type

from raftcache.service.scripting.answers import (
    READ_SIZE_BYTES_MAX,
    WRITTEN_MAX,
    Answer,
    Given,
    Lua,
    Unfit,
    answer,
    number_text,
)

DEPTH_MAX: Final = 1000
"""Of tables in tables, as in lua-cjson."""

SPARSE_MAX: Final = 10
SPARSE_RATIO: Final = 2
"""An array may have so many places more than values, or than values times this."""

_PIECES_MAX: Final = 2 * WRITTEN_MAX
"""Of what is written: each value, and what stands before it."""

_MARKS: Final = {**{char: char for char in '\\"/'}, **dict(zip("\b\f\n\r\t", "bfnrt", strict=True))}
_CONTROLS: Final = {bytes((each,)): b"\\u%04x" % each for each in (*range(32), 127)}
_ESCAPED: Final = {each.encode(): b"\\" + mark.encode() for each, mark in _MARKS.items()}
_ESCAPED.update({each: text for each, text in _CONTROLS.items() if each not in _ESCAPED})
_IS_ESCAPED: Final = re.compile(rb'[\x00-\x1f\x7f"\\/]')


def encode_json(*values: Lua) -> Answer:
    """cjson.encode."""

    def work() -> bytes:
        if len(values) != 1:
            raise Unfit(b"bad argument #1 to 'encode' (expected 1 argument)")
        out: list[bytes] = []
        try:
            _write(values[0], out, 0, Given())
        except RecursionError:
            raise Unfit(b"Cannot serialise, excessive depth") from None
        return b"".join(out)

    return answer(work)


def _write(value: Lua, out: list[bytes], depth: int, given: Given) -> None:
    match value:
        case bytes():
            out.append(_quoted(value))
        case None:
            out.append(b"null")
        case bool():
            out.append(b"true" if value else b"false")
        case int() | float():
            if not math.isfinite(value):
                raise Unfit(b"Cannot serialise number: must not be NaN or Inf")
            out.append(number_text(value, 14))
        case _ if lua_type(value) == "table":
            _write_table(given.items(value), out, depth + 1, given)
        case _ if lua_type(value) == "userdata":  # cjson.null; scripts have no other
            out.append(b"null")
        case _:
            raise Unfit(b"Cannot serialise function: type not supported")


def _quoted(text: bytes) -> bytes:
    if _IS_ESCAPED.search(text):
        for plain, mark in _ESCAPED.items():  # the backslash first, which the others bring along
            text = text.replace(plain, mark)
    return b'"%b"' % text


def _write_table(
    items: Sequence[tuple[Lua, Lua]], out: list[bytes], depth: int, given: Given
) -> None:
    if depth > DEPTH_MAX:
        raise Unfit(b"Cannot serialise, excessive depth (%d)" % depth)
    if len(out) > _PIECES_MAX:
        raise Unfit(b"Cannot serialise, too many values")
    if items and all(type(place) is int and place > 0 for place, _ in items):
        _write_array(dict(items), out, depth, given)
        return
    out.append(b"{")
    for place, (name, value) in enumerate(items):
        if place:
            out.append(b",")
        if type(name) is bytes:
            out.append(_quoted(name))
        elif isinstance(name, (int, float)) and type(name) is not bool:
            out.append(b'"%b"' % number_text(name, 14))
        else:
            raise Unfit(b"Cannot serialise boolean: table key must be a number or string")
        out.append(b":")
        _write(value, out, depth, given)
    out.append(b"}")


def _write_array(values: dict[int, Lua], out: list[bytes], depth: int, given: Given) -> None:
    size = max(values)
    if size > SPARSE_MAX and size > len(values) * SPARSE_RATIO:
        raise Unfit(b"Cannot serialise table: excessively sparse array")
    out.append(b"[")
    for place in range(1, size + 1):
        if place > 1:
            out.append(b",")
        _write(values.get(place), out, depth, given)
    out.append(b"]")


def _text_of(arguments: Sequence[Lua]) -> bytes:
    text = arguments[0] if len(arguments) == 1 else None
    if isinstance(text, (int, float)):
        return number_text(text, 14)
    if type(text) is not bytes:
        raise Unfit(b"bad argument #1 to 'decode' (string expected)")
    if len(text) > READ_SIZE_BYTES_MAX:
        raise Unfit(b"bad argument #1 to 'decode' (too long)")
    return text


def decode_json(null: Lua, to_table: Callable[[Lua], Lua]) -> Callable[..., Answer]:
    """cjson.decode. null: what stands for JSON's; to_table: makes lists and dicts tables."""

    def made(value: Lua) -> Lua:
        match value:
            case str():
                return value.encode(errors="surrogateescape")
            case list():
                return [made(each) for each in value]
            case dict():
                return {made(name): made(each) for name, each in value.items()}
            case None:
                return null
            case _:
                return value

    def work(texts: Sequence[Lua]) -> Lua:
        text = _text_of(texts)
        try:
            value = json.loads(text.decode(errors="surrogateescape"), parse_int=float)
            return to_table(made(value)) if isinstance(value, (list, dict)) else made(value)
        except json.JSONDecodeError as error:
            raise Unfit(b"%b at character %d" % (error.msg.encode(), error.pos + 1)) from None
        except UnicodeEncodeError:
            raise Unfit(b"Expected value but found invalid unicode escape code") from None
        except RecursionError:
            raise Unfit(b"Found too many nested data structures") from None

    return lambda *texts: answer(lambda: work(texts))
