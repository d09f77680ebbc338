"""Records as images have them: in one way only, so that equal states have equal images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from raftcache.command.codec import UNREADABLE

T = TypeVar("T", bound=Struct)

pack: Final[Callable[[Struct], bytes]] = msgspec.msgpack.Encoder().encode
"""A record's bytes."""


def unpack(decode: Callable[[bytes], T], packed: bytes) -> T | str:
    """The record that decode reads from its bytes; or why they are those of none."""
    try:
        record = decode(packed)
    except UNREADABLE as error:
        return str(error)
    return record if pack(record) == packed else "a record that was not written here"
