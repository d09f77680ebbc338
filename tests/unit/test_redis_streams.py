"""Streams at the state: what random calls do not find; see tests/differential for all else."""

from __future__ import annotations

import pytest

from raftcache.command.calls import NEWER_CALLS, Calls, CallsSince
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.replies import CallsReply
from raftcache.command.values import NIL_ARRAY, Entries, Failure, Value
from raftcache.command.words import Tick
from raftcache.errors import Corrupt
from raftcache.state import image, items
from raftcache.state.machine import Machine
from raftcache.state.redis.parsing import TOO_LONG, WRONG_TYPE
from raftcache.state.redis.store import ELEMENTS_READ_MAX, ROWS_TOUCHED_MAX
from raftcache.state.redis.stream_reads import CALLS as READS
from raftcache.state.redis.streams import CALLS as WRITES
from raftcache.state.state import State
from tests.unit.test_machine import at, do
from tests.unit.test_redis_core import copy

SIZE_MAX = 1000

FORMAT_AT = 8
"""In an image."""


def write(machine: Machine, *words: bytes, now_ms: int = 0) -> Value:
    """One call through the log."""
    (reply,) = at(machine, now_ms, CallsSince((words,), SIZE_MAX, since=INTEGER_MAX))
    assert isinstance(reply, CallsReply)
    [value] = reply.values
    return value


def said(machine: Machine, *lines: str, now_ms: int = 0) -> list[Value]:
    return [write(machine, *line.encode().split(), now_ms=now_ms) for line in lines]


def filled(count: int) -> Machine:
    machine = Machine()
    calls = tuple((b"XADD", b"s", b"%d-0" % (n + 1), b"f", b"%d" % n) for n in range(count))
    for start in range(0, count, SIZE_MAX):
        do(machine, CallsSince(calls[start : start + SIZE_MAX], SIZE_MAX, since=INTEGER_MAX))
    return machine


def test_ids_of_the_time_always_rise() -> None:
    machine = Machine()
    assert write(machine, b"XADD", b"s", b"*", b"f", b"v", now_ms=5000) == b"5000-0"
    assert write(machine, b"XADD", b"s", b"*", b"f", b"v", now_ms=5000) == b"5000-1"
    assert write(machine, b"XADD", b"s", b"9000-7", b"f", b"v", now_ms=5001) == b"9000-7"
    assert write(machine, b"XADD", b"s", b"*", b"f", b"v", now_ms=6000) == b"9000-8"
    last = b"9000-18446744073709551615"
    assert write(machine, b"XADD", b"s", last, b"f", b"v") == last
    assert write(machine, b"XADD", b"s", b"*", b"f", b"v", now_ms=8000) == b"9001-0"
    assert write(machine, b"XADD", b"s", b"*", b"f", b"v", now_ms=9500) == b"9500-0"
    other = copy(machine)
    assert write(other, b"XADD", b"s", b"*", b"f", b"v", now_ms=9400) == b"9500-1"


def test_a_stream_without_entries_stays_and_remembers() -> None:
    machine = Machine()
    said(machine, "XADD s 5-1 f v", "XADD s 5-2 f v", "XDEL s 5-2", "XTRIM s MAXLEN 0")
    info = said(copy(machine), "XINFO STREAM s")[0]
    told = ("length", "last-generated-id", "max-deleted-entry-id", "entries-added", "first-entry")
    assert [info[name.encode()] for name in told] == [0, b"5-2", b"5-2", 2, None]
    assert said(machine, "TYPE s", "XLEN s", "XADD s 5-* f v") == ["stream", 0, b"5-3"]
    assert said(machine, "DEL s", "TYPE s", "XADD s 5-* f v") == [1, "none", b"5-0"]


def test_rows_are_freed_when_the_key_goes() -> None:
    machine = filled(20)
    said(machine, "RENAME s t", "COPY t u", "DEL t", "EXPIRE u 1")
    at(machine, 1000, Tick())
    at(machine, 1001, Tick())
    assert len(machine._state.rows) == 0


@pytest.mark.parametrize("stay", [0, 3, 150, 299])
def test_many_entries_are_cut_off(stay: int) -> None:
    machine = filled(300)
    assert said(machine, f"XTRIM s MAXLEN {stay}", "XLEN s") == [300 - stay, stay]
    expected = [b"%d-0" % (n + 1) for n in range(300 - stay, 300)]
    assert [entry[0] for entry in said(copy(machine), "XRANGE s - +")[0]] == expected
    do(machine, Tick())
    assert len(machine._state.rows) == stay
    assert said(machine, "XADD s 300-* f v") == [b"300-1"]


@pytest.mark.parametrize(
    ("options", "removed"),
    [
        ("MAXLEN ~ 240", 0),
        ("MAXLEN ~ 200", 0),
        ("MAXLEN ~ 150", 100),
        ("MAXLEN ~ 1", 200),
        ("MAXLEN ~ 0", 250),
        ("MAXLEN ~ 0 LIMIT 249", 200),
        ("MAXLEN ~ 0 LIMIT 99", 0),
        ("MAXLEN ~ 0 LIMIT 0", 250),
        ("MINID ~ 101", 100),
        ("MINID ~ 100", 0),
        ("MINID ~ 251", 250),
        ("MINID 100", 99),
    ],
)
def test_entries_go_in_hundreds_as_in_redis_where_that_is_enough(
    options: str, removed: int
) -> None:
    """As a redis-server answers."""
    assert said(filled(250), f"XTRIM s {options}") == [removed]


def test_limits() -> None:
    count = ROWS_TOUCHED_MAX + 500
    machine = filled(count)
    whole = Failure(f"ERR one call changes at most {ROWS_TOUCHED_MAX} elements")
    half = ROWS_TOUCHED_MAX // 2
    assert write(machine, b"XDEL", b"s", *[b"%d" % n for n in range(1, count)]) == whole
    assert said(machine, "XLEN s") == [count]
    assert said(machine, "XADD s MAXLEN ~ 0 * f v", "XLEN s") == [
        b"%d-1" % count,
        count + 1 - (ROWS_TOUCHED_MAX - 100),
    ]
    assert said(machine, f"XTRIM s MAXLEN {half // 10}", "XLEN s")[1] == half // 10
    assert write(machine, b"XADD", b"s", b"*", b"f", b"v" * SIZE_MAX) == Failure(TOO_LONG)
    assert write(machine, b"XADD", b"", b"*", b"f", b"v") == Failure(
        "ERR a key has 1 to 1024 bytes, this one 0"
    )
    assert said(machine, "XRANGE s - + COUNT 1")[0] != []
    assert count < ELEMENTS_READ_MAX


def test_types_are_told_apart() -> None:
    machine = Machine()
    said(machine, "XADD s 1-1 f v", "SET t v")
    for line in ("GET s", "LLEN s", "HGETALL s", "ZCARD s", "SORT s", "XADD t * f v", "XLEN t"):
        assert said(machine, line) == [Failure(WRONG_TYPE)]
    assert said(machine, "XREAD STREAMS s t 0 0", "XREAD STREAMS s 0") == [
        Failure(WRONG_TYPE),
        Entries([(b"s", [[b"1-1", [b"f", b"v"]]])]),
    ]
    assert said(machine, "XREAD BLOCK 0 STREAMS s $") == [NIL_ARRAY]
    assert said(machine, "OBJECT ENCODING s", "SCAN 0 TYPE stream") == [b"stream", [b"0", [b"s"]]]


# Versions.


def test_all_of_them_are_known_by_name() -> None:
    assert READS.keys() | WRITES.keys() <= NEWER_CALLS


def test_calls_that_older_nodes_know_do_not_know_streams() -> None:
    """So that all have the same state, whoever proposes what."""
    machine = Machine()
    for atomic in (False, True):
        words = ((b"XADD", b"s", b"*", b"f", b"v"), (b"XLEN", b"s"), (b"SET", b"a", b"b"))
        reply = do(machine, Calls(words, SIZE_MAX, atomic))
        assert isinstance(reply, CallsReply)
        unknown = [Failure(f"ERR unknown command '{name}'") for name in ("XADD", "XLEN")]
        assert list(reply.values) == [*unknown, "OK"]
    assert b"".join(machine.dump())[FORMAT_AT] < image.TOMBSTONES_SINCE


def test_an_image_with_a_stream_is_of_format_4() -> None:
    machine = Machine()
    said(machine, "XADD s 1-1 f v")
    assert b"".join(machine.dump())[FORMAT_AT] == image.TOMBSTONES_SINCE == 4
    assert said(copy(machine), "XLEN s") == [1]


def test_an_older_image_has_none() -> None:
    state = State(revision=1)
    described = items.Descriptor(state.rows.take_id(), 0, 0, bytes(items.STREAM_END_SIZE_BYTES))
    packed = items.pack(1, 1, 0, 1, b"", described.pack(), kind=items.STREAM)
    state.keyspace.put(b"s", packed, 0, None)
    data = b"".join(image.dump(state))
    assert data[FORMAT_AT] == 3
    with pytest.raises(Corrupt, match="a stream in an image of format 3"):
        Machine().loader().feed(data)
