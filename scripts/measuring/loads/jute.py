"""ZooKeeper's protocol for our generator: as much of it as create, setData, sync and getData take.

Numbers are big-endian, packets and strings have their length in front (zookeeper.jute in its
sources). A request is a number (xid), a type, and what it needs; an answer the number, the zxid, an
error, and what was asked for. A read that is linearizable is a sync and then a getData, sent
together: the server answers the read when it has caught up with the leader.

Until 3.8.1 a server may miss the wake-up for a request, and leaves it until the next one of anybody
comes (ZOOKEEPER-4537): of a client that is alone, for ever. So another session pings.
"""

from __future__ import annotations

import struct

from scripts.measuring.loads.plan import KEYS, VALUE, Plan

CREATE, GET_DATA, SET_DATA, SYNC, PING, CLOSE = 1, 4, 5, 9, 11, -11
ANY_VERSION = -1
ALL_PERMISSIONS = 31
SESSION_TIMEOUT_MS = 30_000
HEAD_BYTES = 4 + 4 + 8 + 4
"""Of an answer: length, xid, zxid, error."""
STAT_BYTES = 68


def path(i: int) -> bytes:
    return b"/k%06d" % i


def plan(operation: str, pipeline: int) -> Plan:
    """FILL (creates every key once), SET, or GET: each one is an answer of its own."""
    if pipeline != 1:
        raise ValueError("ZooKeeper is asked one thing at a time on each connection")
    name = _string(path(0))
    if operation == "FILL":
        acl = struct.pack(">ii", 1, ALL_PERMISSIONS) + _string(b"world") + _string(b"anyone")
        flags = struct.pack(">i", 0)
        packets = [_create(i, acl + flags) for i in range(KEYS)]
        sizes = [HEAD_BYTES + len(name)]
    elif operation == "SET":
        packets = [_set(i) for i in range(KEYS)]
        sizes = [HEAD_BYTES + STAT_BYTES]
    else:
        packets = [_sync_and_get(i) for i in range(KEYS)]
        sizes = [HEAD_BYTES + len(name), HEAD_BYTES + len(_string(VALUE)) + STAT_BYTES]

    def is_good(answer: bytes) -> bool:
        at = 0
        for size in sizes:
            if answer[at : at + 4] != struct.pack(">i", size - 4) or any(answer[at + 16 : at + 20]):
                return False
            at += size
        return True

    return Plan(
        packets,
        sum(sizes),
        is_good,
        greeting=_connect(),
        greeting_answer_bytes=4 + 4 + 4 + 8 + 4 + 16 + 1,
        farewell=_request(CLOSE, b""),
        nudge=_request(PING, b""),
    )


def _connect() -> bytes:
    """Version, last zxid seen, timeout, session (none), password (none), whether to read only."""
    return _packet(struct.pack(">iqiq", 0, 0, SESSION_TIMEOUT_MS, 0) + _string(bytes(16)) + b"\0")


def _create(i: int, rest: bytes) -> bytes:
    return _request(CREATE, _string(path(i)) + _string(VALUE) + rest)


def _set(i: int) -> bytes:
    return _request(SET_DATA, _string(path(i)) + _string(VALUE) + struct.pack(">i", ANY_VERSION))


def _sync_and_get(i: int) -> bytes:
    name = _string(path(i))
    return _request(SYNC, name) + _request(GET_DATA, name + b"\0")


def _request(kind: int, body: bytes) -> bytes:
    return _packet(struct.pack(">ii", 1, kind) + body)


def _packet(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def _string(text: bytes) -> bytes:
    return struct.pack(">i", len(text)) + text
