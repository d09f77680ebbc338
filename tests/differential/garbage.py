"""Bytes that are no requests, or almost: what both servers must read alike.

Requests that ask for nothing but PING and ECHO are cut, spliced and altered; headers announce
lengths that are wrong; lines have quotes that do not end.
"""

from __future__ import annotations

import re
from typing import Final

from hypothesis import assume
from hypothesis import strategies as st

from raftcache.server.resp.reference import ARRAY_LENGTH_MAX
from tests.support.resp_wire import packed

GOOD: Final = [
    packed([b"PING"]),
    packed([b"ECHO", b"words"]),
    packed([b"ECHO", b""]),
    packed([b"PING", b"\r\n"]),
    packed([b"NOTHING", b"a", b"b"]),
    b"PING\r\n",
    b"PING words\n",
    b'ECHO "a b\\x41\\n\\"" \r\n',
    b"ECHO 'it\\'s'\r\n",
    b"\r\n",
    b"*0\r\n",
    b"*-1\r\n",
]

LENGTHS: Final = [
    *("0", "1", "2", "3", "-1", "-2", "-10", "+1", "01", " 1", "1 ", "", "abc", "1a", "1.0", "0x1"),
    *("2147483648", "-2147483648", "9223372036854775807", "9223372036854775808"),
    *("99999999999999999999"),
]
LINES: Final = [
    *(b'"', b"'", b'PING "', b"PING 'a\r\n", b'PING "a"b\r\n', b"PING 'a'b\r\n", b'""\r\n'),
    *(b"PING\r", b"PING\rPING\r\n", b"\xff\xfe\r\n", b"PING\t\x0b a \r\n", b" \r\n"),
    *(
        b'PING "\\xZZ"\r\n',
        b'PING "\\t\\q"\r\n',
        b"ping\n",
        b"+OK\r\n",
        b":1\r\n",
        b"$4\r\nPING\r\n",
    ),
    *(b"%1\r\n", b"~1\r\n$4\r\nPING\r\n", b"*1\r\n:1\r\n", b"*1\r\n+PING\r\n", b"*1\r\n*1\r\n"),
    *(b"*1\n$4\nPING\n", b"*1\r\n$4\r\nPINGxx", b"*2\r\n$4\r\nECHO\r\n", b"GET / HTTP/1.1\r\n"),
    *(b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n"),
]

LONG: Final = re.compile(rb"\*(\d{5,10})(?!\d)")

counts: Final = st.sampled_from(LENGTHS).map(str.encode)
sizes: Final = st.sampled_from([*LENGTHS, "2147483647", "600000000"]).map(str.encode)
announced: Final = st.one_of(
    counts.map(lambda count: b"*%b\r\n" % count),
    sizes.map(lambda size: b"$%b\r\n" % size),
    st.builds(lambda count, size: b"*%b\r\n$%b\r\nPING\r\n" % (count, size), counts, sizes),
)
piece: Final = st.one_of(
    st.sampled_from(GOOD),
    st.sampled_from(GOOD),
    st.sampled_from(LINES),
    announced,
    announced,
    st.binary(max_size=8),
)


@st.composite
def garbage(draw: st.DrawFn) -> bytes:
    """Some pieces, and in places a byte too many, too few, or another one.

    There are no zero bytes: Redis waits behind one, for it sees no end of the line. And no arrays
    that are too long for us, but not for Redis.
    """
    data = bytearray(b"".join(draw(st.lists(piece, min_size=1, max_size=6))))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["drop", "add", "change"])):
            case "drop":
                del data[place : place + 1]
            case "add":
                data[place:place] = draw(st.binary(min_size=1, max_size=2))
            case "change":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
    made = bytes(data).replace(b"\0", b"\1")
    assume(not any(ARRAY_LENGTH_MAX < int(n) < 1 << 31 for n in LONG.findall(made)))
    return made
