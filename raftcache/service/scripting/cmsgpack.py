"""MessagePack for scripts, as lua-cmsgpack has it, which Redis brings along."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from itertools import islice
from typing import Final

import msgpack
from lupa.lua51 import lua_type

from raftcache.command.limits import INTEGER_MAX
from raftcache.service.scripting.answers import (
    READ_SIZE_BYTES_MAX,
    WRITTEN_MAX,
    Answer,
    Given,
    Lua,
    Unfit,
    answer,
)

_LARGE: Final = re.compile(rb"\xcf[\x80-\xff]")
"""What an integer of 64 bits begins with, if it has no sign, and no place among those with one."""

DEPTH_MAX: Final = 16
"""Of tables in tables; deeper ones are nil, as in lua-cmsgpack."""

RESULTS_MAX: Final = 7999
"""Of a function of Lua: its stack has 8000 places."""


def pack(*values: Lua) -> Answer:
    """cmsgpack.pack: all of them, one behind the other."""

    def work() -> bytes:
        if not values:
            raise Unfit(b"bad argument #0 to 'pack' (MessagePack pack needs input.)")
        packer, out, given = msgpack.Packer(use_bin_type=False), list[bytes](), Given()
        for value in values:
            _write(value, packer, out, 1, given)
        return b"".join(out)

    return answer(work)


def _write(value: Lua, packer: msgpack.Packer, out: list[bytes], depth: int, given: Given) -> None:
    if isinstance(value, float):
        out.append(_packed_float(value))
    elif value is None or isinstance(value, (bytes, bool, int)):
        out.append(packer.pack(value))
    elif lua_type(value) == "table" and depth <= DEPTH_MAX:
        _write_table(value, packer, out, depth, given)
    else:
        out.append(packer.pack(None))


def _write_table(
    value: Lua, packer: msgpack.Packer, out: list[bytes], depth: int, given: Given
) -> None:
    if len(out) > WRITTEN_MAX:
        raise Unfit(b"bad argument to 'pack' (too many values)")
    items = dict(given.items(value))
    if items.keys() == set(range(1, len(items) + 1)):  # an empty table too is an array
        parts = [items[place] for place in range(1, len(items) + 1)]
        out.append(packer.pack_array_header(len(parts)))
    else:
        parts = [each for pair in items.items() for each in pair]
        out.append(packer.pack_map_header(len(items)))
    for part in parts:
        _write(part, packer, out, depth + 1, given)


def _packed_float(value: float) -> bytes:
    """In four bytes if they hold it."""
    try:
        short = struct.pack(">f", value)
    except OverflowError:
        short = b""
    if short and struct.unpack(">f", short) == (value,):
        return b"\xca" + short
    return b"\xcb" + struct.pack(">d", value)


def _signed(value: Lua) -> Lua:
    """lua-cmsgpack reads all integers as signed ones."""
    return value - (1 << 64) if type(value) is int and value > INTEGER_MAX else value


def _list_of(values: list[Lua]) -> list[Lua]:
    return list(map(_signed, values))


def _table_of(pairs: list[tuple[Lua, Lua]]) -> dict[Lua, Lua]:
    """A map; ValueError if a name is none that Lua has."""
    for name, _ in pairs:
        if name is None or name != name:  # not a number: Lua would stand still
            raise ValueError("table index is nil or NaN")
    return {_signed(name): _signed(value) for name, value in pairs}


def unpack(to_table: Callable[[Lua], Lua]) -> Callable[..., Answer]:
    """cmsgpack.unpack: all values that stand behind each other, as a table with their number n."""

    def work(data: Lua) -> Lua:
        if type(data) is not bytes:
            raise Unfit(b"bad argument #1 to 'unpack' (string expected)")
        if len(data) > READ_SIZE_BYTES_MAX:
            raise Unfit(b"bad argument #1 to 'unpack' (too long)")
        reader = msgpack.Unpacker(
            raw=True,
            strict_map_key=False,
            max_buffer_size=len(data) + 1,
            object_pairs_hook=_table_of,
            list_hook=_list_of if _LARGE.search(data) else None,
            timestamp=1,  # as a number: no object of Python's
        )
        reader.feed(data)
        try:
            values = _list_of(list(islice(reader, RESULTS_MAX + 1)))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise Unfit(b"Bad data format in input. %b" % str(error).encode()) from None
        if len(values) > RESULTS_MAX:
            raise Unfit(b"too many results to unpack")
        if reader.tell() != len(data):
            raise Unfit(b"Missing bytes in input.")
        return to_table({**dict(enumerate(values, 1)), b"n": len(values)})

    return lambda *data: answer(lambda: work(data[0] if data else None))
