"""MessagePack for scripts, as lua-cmsgpack has it, which Redis brings along."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgpack
from lupa.lua51 import lua_type

from raftcache.service.scripting.answers import Answer, Lua, Unfit, answer

DEPTH_MAX: Final = 16
"""Of tables in tables; deeper ones are nil, as in lua-cmsgpack."""


def pack(*values: Lua) -> Answer:
    """cmsgpack.pack: all of them, one behind the other."""

    def work() -> bytes:
        if not values:
            raise Unfit(b"bad argument #0 to 'pack' (MessagePack pack needs input.)")
        packer = msgpack.Packer(use_bin_type=False)
        return b"".join([_packed(value, packer, 1) for value in values])

    return answer(work)


def _packed(value: Lua, packer: msgpack.Packer, depth: int) -> bytes:
    if isinstance(value, float):
        return _packed_float(value)
    if value is None or isinstance(value, (bytes, bool, int)):
        return bytes(packer.pack(value))
    if lua_type(value) != "table" or depth > DEPTH_MAX:
        return bytes(packer.pack(None))
    items = dict(value.items())
    if items.keys() == set(range(1, len(items) + 1)):  # an empty table too is an array
        parts = [items[place] for place in range(1, len(items) + 1)]
        head = packer.pack_array_header(len(parts))
    else:
        parts = [each for pair in items.items() for each in pair]
        head = packer.pack_map_header(len(items))
    return bytes(head) + b"".join([_packed(part, packer, depth + 1) for part in parts])


def _packed_float(value: float) -> bytes:
    """In four bytes if they hold it."""
    try:
        short = struct.pack(">f", value)
    except OverflowError:
        short = b""
    if short and struct.unpack(">f", short) == (value,):
        return b"\xca" + short
    return b"\xcb" + struct.pack(">d", value)


def unpack(to_table: Callable[[Lua], Lua]) -> Callable[..., Answer]:
    """cmsgpack.unpack: all values that stand behind each other, as a table with their number n."""

    def work(data: Lua) -> Lua:
        if type(data) is not bytes:
            raise Unfit(b"bad argument #1 to 'unpack' (string expected)")
        reader = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=len(data) + 1)
        reader.feed(data)
        try:
            values = list(reader)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise Unfit(b"Bad data format in input. %b" % str(error).encode()) from None
        if reader.tell() != len(data):
            raise Unfit(b"Missing bytes in input.")
        return to_table({**dict(enumerate(values, 1)), b"n": len(values)})

    return lambda *data: answer(lambda: work(data[0] if data else None))
