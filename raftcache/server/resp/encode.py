"""Values as bytes of the Redis protocol, version 2 or 3, and as Redis words them.

Almost every reply is a string, an integer, OK or null: those are written here and now, and
everything else by the table below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

from raftcache.command.values import (
    RESP2,
    RESP3,
    Digits,
    Entries,
    Failure,
    Members,
    NilArray,
    Pairs,
    Value,
    Verbatim,
    double_text,
)

_LOST: Final = ("UNKNOWN ", "CLUSTERDOWN ")

OK: Final = b"+OK\r\n"


class Pushes(Struct, frozen=True):
    """An answer that is several messages, each of which answers nothing by itself."""

    messages: list[list[Value]]


_Out: TypeAlias = list[bytes]
_Write: TypeAlias = Callable[[Any, _Out, int], None]

_SMALL: Final = 1024
_HEADS: Final = [b"$%d\r\n" % size for size in range(_SMALL)]
_INTEGERS: Final = [b":%d\r\n" % number for number in range(_SMALL)]
_NULLS: Final = {RESP2: b"$-1\r\n", RESP3: b"_\r\n"}
_NULL_ARRAYS: Final = {RESP2: b"*-1\r\n", RESP3: b"_\r\n"}
_LINE: Final = str.maketrans("\r\n", "  ")


def encode(value: Value, protocol: int) -> bytes:
    """One reply."""
    return encode_all((value,), protocol)


def encode_all(values: Sequence[Value], protocol: int) -> bytes:
    """Replies, one after the other."""
    if len(values) == 1 and type(value := values[0]) is bytes:
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if values and values[0] == "OK" and values.count("OK") == len(values):
        return OK * len(values)
    out: _Out = []
    _write_all(values, out, protocol)
    return b"".join(out)


class LostCall(Exception):
    """There is no answer to a call: the connection is to end in its place."""


def encode_answered(values: Sequence[Value], protocol: int) -> bytes:
    """As encode_all, if the cluster has answered all; raises LostCall."""
    if any(type(each) is Failure and each.text.startswith(_LOST) for each in values):
        raise LostCall
    return encode_all(values, protocol)


def encode_push(values: list[Value], protocol: int) -> bytes:
    """A message that answers nothing; protocol 2 has arrays for it, in the place of a reply."""
    mark = b">" if protocol == RESP3 else b"*"
    return mark + b"%d\r\n" % len(values) + encode_all(values, protocol)


def _write_all(values: Iterable[Value], out: _Out, protocol: int) -> None:
    append = out.append
    for value in values:
        kind = type(value)
        if kind is bytes:
            size = len(value)
            append((_HEADS[size] if size < _SMALL else b"$%d\r\n" % size) + value + b"\r\n")
        elif value is None:
            append(_NULLS[protocol])
        elif kind is str:
            append(OK if value == "OK" else b"+%b\r\n" % _line(value))
        elif kind is int:
            append(_INTEGERS[value] if 0 <= value < _SMALL else b":%d\r\n" % value)
        else:
            _WRITERS[kind](value, out, protocol)


def _line(text: str) -> bytes:
    """What cannot be in a line becomes blanks, as in Redis."""
    return text.translate(_LINE).encode(errors="surrogateescape")


def _write_failure(value: Failure, out: _Out, protocol: int) -> None:
    out.append(b"-%b\r\n" % _line(value.text))


def _write_null_array(value: NilArray, out: _Out, protocol: int) -> None:
    out.append(_NULL_ARRAYS[protocol])


def _write_boolean(value: bool, out: _Out, protocol: int) -> None:
    if protocol == RESP3:
        out.append(b"#t\r\n" if value else b"#f\r\n")
    else:
        out.append(b":1\r\n" if value else b":0\r\n")


def _write_digits(text: bytes, out: _Out, protocol: int) -> None:
    out.append(b",%b\r\n" % text if protocol == RESP3 else b"$%d\r\n%b\r\n" % (len(text), text))


def _write_array(value: list[Value], out: _Out, protocol: int) -> None:
    out.append(b"*%d\r\n" % len(value))
    _write_all(value, out, protocol)


def _write_map(value: dict[Value, Value], out: _Out, protocol: int) -> None:
    size = len(value)
    out.append(b"%%%d\r\n" % size if protocol == RESP3 else b"*%d\r\n" % (2 * size))
    for pair in value.items():
        _write_all(pair, out, protocol)


def _write_set(value: Members, out: _Out, protocol: int) -> None:
    size = len(value.members)
    out.append(b"~%d\r\n" % size if protocol == RESP3 else b"*%d\r\n" % size)
    _write_all(value.members, out, protocol)


def _write_pairs(value: Pairs, out: _Out, protocol: int) -> None:
    size = len(value.pairs)
    out.append(b"*%d\r\n" % (size if protocol == RESP3 else 2 * size))
    for pair in value.pairs:
        if protocol == RESP3:
            out.append(b"*2\r\n")
        _write_all(pair, out, protocol)


def _write_entries(value: Entries, out: _Out, protocol: int) -> None:
    size = len(value.pairs)
    out.append(b"%%%d\r\n" % size if protocol == RESP3 else b"*%d\r\n" % size)
    for pair in value.pairs:
        if protocol == RESP2:
            out.append(b"*2\r\n")
        _write_all(pair, out, protocol)


def _write_pushes(value: Pushes, out: _Out, protocol: int) -> None:
    out.extend([encode_push(message, protocol) for message in value.messages])


def _write_verbatim(value: Verbatim, out: _Out, protocol: int) -> None:
    text = value.text
    if protocol == RESP3:
        out.append(b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text))
    else:
        out.append(b"$%d\r\n%b\r\n" % (len(text), text))


_WRITERS: Final[dict[type, _Write]] = {
    Failure: _write_failure,
    NilArray: _write_null_array,
    bool: _write_boolean,
    float: lambda value, out, protocol: _write_digits(double_text(value), out, protocol),
    Digits: lambda value, out, protocol: _write_digits(value.text, out, protocol),
    list: _write_array,
    tuple: _write_array,
    dict: _write_map,
    Members: _write_set,
    Pairs: _write_pairs,
    Entries: _write_entries,
    Pushes: _write_pushes,
    Verbatim: _write_verbatim,
}
