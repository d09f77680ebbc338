"""Redis commands on strings: replies, errors and their order, deadlines, counters, LCS."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from raftcache.command.calls import Calls
from raftcache.command.replies import CallsReply, Collection, Item
from raftcache.command.values import Failure, Value
from raftcache.command.words import Put
from raftcache.state.machine import Machine
from raftcache.state.notes import KeyEvent, Note
from raftcache.state.redis import lcs
from raftcache.state.redis.lcs import LCS_SIZE_BYTES_MAX
from raftcache.state.redis.long_double import added, long_double
from raftcache.state.redis.parsing import TOO_LONG, WRONG_TYPE, Refuse
from raftcache.state.redis.store import ROWS_TOUCHED_MAX
from raftcache.state.redis.string_options import digest
from raftcache.state.table import TIME_MS_MAX
from tests.unit.test_machine import at, do

SIZE_BYTES_MAX = 1000
NOW_MS = 1000

WRONG = Failure(WRONG_TYPE)
SYNTAX = Failure("ERR syntax error")
NOT_INTEGER = Failure("ERR value is not an integer or out of range")
NOT_FLOAT = Failure("ERR value is not a valid float")
LONG = Failure(TOO_LONG)


def late(command: str) -> Failure:
    return Failure(f"ERR invalid expire time in '{command}' command")


@pytest.fixture
def machine() -> Machine:
    """At cluster time 1000: s is a set, a is b"v", due is b"5" until 1500."""
    machine = Machine()
    at(machine, NOW_MS)
    run(machine, "SADD s m")
    run(machine, "SET a v")
    run(machine, "SET due 5 PX 500")
    return machine


def run(machine: Machine, line: str | tuple[bytes, ...], size_bytes_max: int = 1000) -> Value:
    """One call of its own; a word "" is an empty argument."""
    words = line if isinstance(line, tuple) else tuple(word.encode() for word in line.split())
    words = tuple(b"" if word == b'""' else word for word in words)
    reply = do(machine, Calls((words,), size_bytes_max))
    assert isinstance(reply, CallsReply)
    return reply.values[0]


def item(machine: Machine, key: str) -> Item:
    found = machine.get(key.encode())
    assert isinstance(found, Item)
    return found


SET_CASES: list[tuple[str, Value, tuple[bytes, int] | None]] = [
    ("SET a w", "OK", (b"w", 0)),
    ("SET a w NX", None, (b"v", 0)),
    ("SET b w NX", "OK", None),
    ("SET b w XX", None, None),
    ("SET a w xx get", b"v", (b"w", 0)),
    ("SET a w NX GET", b"v", (b"v", 0)),
    ("SET b w GET", None, None),
    ("SET s w GET", WRONG, None),
    ("SET s w", "OK", None),
    ("SET a w EX 2", "OK", (b"w", 3000)),
    ("SET a w px 2", "OK", (b"w", 1002)),
    ("SET a w EXAT 2", "OK", (b"w", 2000)),
    ("SET a w PXAT 1001", "OK", (b"w", 1001)),
    ("SET a w EX 2 EX 3", "OK", (b"w", 4000)),
    ("SET a w PXAT 1000", "OK", None),
    ("SET a w EX 0", late("set"), (b"v", 0)),
    ("SET a w EX -1", late("set"), (b"v", 0)),
    ("SET a w EX 9223372036854775807", late("set"), (b"v", 0)),
    (f"SET a w PXAT {TIME_MS_MAX}", late("set"), (b"v", 0)),
    (f"SET a w PXAT {TIME_MS_MAX - 1}", "OK", (b"w", TIME_MS_MAX - 1)),
    ("SET a w EX x", NOT_INTEGER, (b"v", 0)),
    ("SET a w EX 0 GET NX", late("set"), (b"v", 0)),
    ("SET s w GET EX 0", late("set"), None),
    ("SET a w EX", SYNTAX, (b"v", 0)),
    ("SET a w NX XX", SYNTAX, (b"v", 0)),
    ("SET a w EX 1 PX 1", SYNTAX, (b"v", 0)),
    ("SET a w KEEPTTL EX 1", SYNTAX, (b"v", 0)),
    ("SET a w PERSIST", SYNTAX, (b"v", 0)),
    ("SET s w NX NEVER", SYNTAX, None),
    # Redis 8.4
    ("SET a w IFEQ v", "OK", (b"w", 0)),
    ("SET a w IFEQ w", None, (b"v", 0)),
    ("SET b w IFEQ w", None, None),
    ("SET a w IFNE v", None, (b"v", 0)),
    ("SET a w ifne w EX 2 GET", b"v", (b"w", 3000)),
    ("SET a w IFEQ w GET", b"v", (b"v", 0)),
    ("SET b w IFNE x", "OK", None),
    ("SET s w IFNE x", WRONG, None),
    ("SET a w IFEQ", SYNTAX, (b"v", 0)),
    ("SET a w IFEQ v NX", SYNTAX, (b"v", 0)),
    ("SET a w IFEQ v IFNE w", SYNTAX, (b"v", 0)),
    (f"SET a w IFDEQ {digest(b'v').decode().upper()}", "OK", (b"w", 0)),
    (f"SET a w IFDEQ {digest(b'w').decode()}", None, (b"v", 0)),
    (f"SET a w IFDNE {digest(b'w').decode()}", "OK", (b"w", 0)),
    ("SET a w IFDNE abc", Failure("ERR must be exactly 16 hexadecimal characters"), (b"v", 0)),
]


@pytest.mark.parametrize(("line", "reply", "after"), SET_CASES)
def test_set(machine: Machine, line: str, reply: Value, after: tuple[bytes, int] | None) -> None:
    """after: what `a` holds, with its deadline; None if the case is not about `a`."""
    assert run(machine, line) == reply
    if after is not None:
        found = item(machine, "a")
        assert (found.value, found.deadline_ms) == after


def test_a_deadline_that_has_come_takes_the_key_away(machine: Machine) -> None:
    assert run(machine, "SET a w PXAT 999") == "OK"
    assert machine.get(b"a") is None


def test_a_wrong_call_changes_nothing(machine: Machine) -> None:
    before = b"".join(machine.dump())
    for line, reply, _ in SET_CASES:
        if isinstance(reply, Failure):
            assert run(machine, line) == reply
    assert b"".join(machine.dump()) == before


@pytest.mark.parametrize(
    ("line", "deadline_ms"),
    [
        ("SET due 1", 0),
        ("SET due 1 KEEPTTL", 1500),
        ("APPEND due 1", 1500),
        ("SETRANGE due 3 1", 1500),
        ("INCR due", 1500),
        ("DECRBY due 3", 1500),
        ("INCRBYFLOAT due 0.5", 1500),
        ("SETBIT due 1 0", 1500),
        ("BITFIELD due SET u8 0 1", 1500),
        ("GETSET due 1", 0),
        ("MSET due 1", 0),
        ("MSETEX 1 due 1", 0),
        ("MSETEX 1 due 1 KEEPTTL", 1500),
        ("MSETEX 1 due 1 EX 1", 2000),
        ("SETEX due 1 x", 2000),
        ("PSETEX due 1 x", 1001),
        ("BITOP NOT due due", 0),
        ("GETEX due", 1500),
        ("GETEX due PERSIST", 0),
        ("GETEX due EX 1", 2000),
        ("GETEX due PX 1", 1001),
        ("GETEX due EXAT 3", 3000),
        ("GETEX due PXAT 3000", 3000),
    ],
)
def test_what_keeps_a_deadline(machine: Machine, line: str, deadline_ms: int) -> None:
    assert not isinstance(run(machine, line), Failure)
    assert item(machine, "due").deadline_ms == deadline_ms


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("GETEX b EX x", None),
        ("GETEX s EX x", WRONG),
        ("GETEX s EX", SYNTAX),
        ("GETEX a EX x", NOT_INTEGER),
        ("GETEX a EX 0", late("getex")),
        ("GETEX a KEEPTTL", SYNTAX),
        ("GETEX a PERSIST EX 1", SYNTAX),
        ("SETEX a 0 w", late("setex")),
        ("SETEX a x w", NOT_INTEGER),
        ("PSETEX a -1 w", late("psetex")),
        ("SETNX a w", 0),
        ("SETNX b w", 1),
        ("SETNX s w", 0),
        ("GETSET a w", b"v"),
        ("GETSET b w", None),
        ("GETSET s w", WRONG),
        ("GETDEL a", b"v"),
        ("GETDEL b", None),
        ("GETDEL s", WRONG),
        ("GET s", WRONG),
        ("STRLEN a", 1),
        ("STRLEN b", 0),
        ("STRLEN s", WRONG),
        ("MGET a b s due", [b"v", None, None, b"5"]),
        ("MSET a", Failure("ERR wrong number of arguments for 'mset' command")),
        ("MSET a 1 b", Failure("ERR wrong number of arguments for 'mset' command")),
        ("MSETNX a 1 b", Failure("ERR wrong number of arguments for 'msetnx' command")),
        ("MSETNX b 1 a 2", 0),
        ("MSETNX b 1 b 2", 1),
        ("APPEND a w", 2),
        ("APPEND b w", 1),
        ('APPEND b ""', 0),
        ("APPEND s w", WRONG),
        ("SETRANGE a 0 wx", 2),
        ("SETRANGE a 2 w", 3),
        ('SETRANGE a 5 ""', 1),
        ('SETRANGE b 5 ""', 0),
        ("SETRANGE a x w", NOT_INTEGER),
        ("SETRANGE s -1 w", Failure("ERR offset is out of range")),
        ("SETRANGE s 0 w", WRONG),
        ("SETRANGE a 999 w", 1000),
        ("SETRANGE a 1000 w", LONG),
        ("SETRANGE a 9223372036854775807 w", LONG),
        ("DIGEST b", None),
        ("DIGEST s", WRONG),
        ("DELEX b IFEQ v", 0),
        ("DELEX b NEVER v", 0),
        ("DELEX a", 1),
        ("DELEX s", 1),
        ("DELEX a IFEQ", Failure("ERR wrong number of arguments for 'delex' command")),
        ("DELEX b IFEQ v w", Failure("ERR wrong number of arguments for 'delex' command")),
        ("DELEX s NO v", Failure("ERR Key should be of string type if conditions are specified")),
        ("DELEX a NO v", Failure("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE")),
        ("DELEX a ifeq v", 1),
        ("DELEX a IFEQ w", 0),
        ("DELEX a IFNE v", 0),
        ("DELEX a IFNE w", 1),
        (f"DELEX a IFDEQ {digest(b'v').decode()}", 1),
        (f"DELEX a IFDNE {digest(b'v').decode()}", 0),
        ("DELEX a IFDEQ zzzzzzzzzzzzzzzz", 0),
        ("DELEX a IFDEQ 1", Failure("ERR must be exactly 16 hexadecimal characters")),
        ("MSETEX 2 a 1 b 2 NX", 0),
        ("MSETEX 2 b 1 c 2 NX PX 1", 1),
        ("MSETEX 2 a 1 b 2 XX", 0),
        ("MSETEX 2 a 1 due 2 XX", 1),
        ("MSETEX x a 1", Failure("ERR invalid numkeys value")),
        ("MSETEX 0 a 1", Failure("ERR invalid numkeys value")),
        ("MSETEX 2147483648 a 1", Failure("ERR invalid numkeys value")),
        ("MSETEX 2147483647 a 1", Failure("ERR wrong number of key-value pairs")),
        ("MSETEX 1 a 1 NX XX", SYNTAX),
        ("MSETEX 1 a 1 IFEQ 1", SYNTAX),
        ("MSETEX 1 a 1 EX 0", late("msetex")),
    ],
)
def test_replies(machine: Machine, line: str, reply: Value) -> None:
    assert run(machine, line) == reply


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        (0, 3, b"Hell"),
        (0, -1, b"Hello World"),
        (-4, -1, b"orld"),
        (5, 3, b""),
        (5, 5000, b" World"),
        (-5000, 10000, b"Hello World"),
        (0, -100, b"H"),
        (1, -100, b""),
        (-1, -100, b""),
        (-100, -99, b"H"),
        (-100, -101, b""),
        (11, 12, b""),
    ],
)
def test_ranges(machine: Machine, start: int, end: int, part: bytes) -> None:
    run(machine, (b"SET", b"a", b"Hello World"))
    assert run(machine, f"GETRANGE a {start} {end}") == part
    assert run(machine, f"SUBSTR a {start} {end}") == part
    assert run(machine, f"GETRANGE b {start} {end}") == b""


def test_ranges_are_checked_in_the_order_of_redis(machine: Machine) -> None:
    assert run(machine, "GETRANGE s 0 x") == NOT_INTEGER
    assert run(machine, "GETRANGE s 0 1") == WRONG


def test_digests_are_those_of_redis(machine: Machine) -> None:
    for value, text in ((b"hello", b"9555e8555c62dcfd"), (b"v8", b"0cc76dbb41381419")):
        run(machine, (b"SET", b"a", value))
        assert run(machine, "DIGEST a") == text


def test_a_key_may_stand_twice(machine: Machine) -> None:
    assert run(machine, "MSET a 1 a 2") == "OK"
    assert run(machine, "MGET a a") == [b"2", b"2"]


def test_many_keys_are_too_many(machine: Machine) -> None:
    pairs = tuple(b"%d" % number for number in range(2 * ROWS_TOUCHED_MAX + 2))
    for line in ((b"MSET", *pairs), (b"MSETNX", *pairs), (b"MSETEX", b"10001", *pairs)):
        found = run(machine, line)
        assert isinstance(found, Failure)
        assert found.text.startswith("ERR one call changes at most")
    assert machine.get(b"0") is None


def test_reading_one_large_value_again_and_again_has_an_end(machine: Machine) -> None:
    size = 1 << 20
    run(machine, (b"SET", b"a", bytes(size)), size)
    for line in ((b"MGET", *[b"a"] * 65), (b"BITOP", b"OR", b"b", *[b"a"] * 65)):
        found = run(machine, line)
        assert isinstance(found, Failure)
        assert found.text.startswith("ERR what is read at once has at most")


def test_a_value_may_not_become_too_long(machine: Machine) -> None:
    run(machine, (b"SET", b"a", bytes(SIZE_BYTES_MAX)))
    assert run(machine, "APPEND a x") == LONG
    assert item(machine, "a").value == bytes(SIZE_BYTES_MAX)


def test_content_type_and_lease_of_http_stay_with_what_is_changed(machine: Machine) -> None:
    do(machine, Put(b"h", b"1", "text/plain"))
    run(machine, "INCR h")
    assert item(machine, "h").content_type == "text/plain"
    run(machine, "GETEX h EX 1")
    assert item(machine, "h").content_type == "text/plain"
    run(machine, "SET h 1")
    assert item(machine, "h").content_type == ""


def test_a_mistake_in_a_handler_is_an_answer(machine: Machine) -> None:
    """The door never lets such a call through; if one got into the log, no node may stop."""
    assert run(machine, "GET") == Failure("ERR internal error: IndexError")
    assert run(machine, "GET a") == b"v"


# Counters.


@pytest.mark.parametrize(
    ("before", "line", "reply"),
    [
        (None, "INCR n", 1),
        (None, "DECR n", -1),
        (b"10", "INCRBY n -11", -1),
        (b"10", "DECRBY n 11", -1),
        (b"9223372036854775806", "INCR n", (1 << 63) - 1),
        (b"9223372036854775807", "INCR n", Failure("ERR increment or decrement would overflow")),
        (b"-9223372036854775808", "DECR n", Failure("ERR increment or decrement would overflow")),
        (b"0", "DECRBY n -9223372036854775808", Failure("ERR decrement would overflow")),
        (b"0", "INCRBY n 9223372036854775808", NOT_INTEGER),
        (b"0", "INCRBY n 1.5", NOT_INTEGER),
        (b"007", "INCR n", NOT_INTEGER),
        (b"-0", "INCR n", NOT_INTEGER),
        (b" 1", "INCR n", NOT_INTEGER),
        (b"", "INCR n", NOT_INTEGER),
        (b"9223372036854775808", "INCR n", NOT_INTEGER),
        (None, "INCR s", WRONG),
        (None, "INCRBY s x", NOT_INTEGER),
        (None, "INCRBYFLOAT s x", WRONG),
        (b"x", "INCRBYFLOAT n y", NOT_FLOAT),
        (b"", "INCRBYFLOAT n 1", NOT_FLOAT),
        (b"1", "INCRBYFLOAT n nan", NOT_FLOAT),
        (b"1", "INCRBYFLOAT n inf", Failure("ERR increment would produce NaN or Infinity")),
        (b"1", "INCRBYFLOAT n 1e5000", NOT_FLOAT),
        (b"1e4932", "INCRBYFLOAT n 1e4932", Failure("ERR increment would produce NaN or Infinity")),
        (b"10.50", "INCRBYFLOAT n 0.1", b"10.6"),
        (b"5.0e3", "INCRBYFLOAT n 2.0e2", b"5200"),
        (b"3.0e3", "INCRBYFLOAT n -3000", b"0"),
        (None, "INCRBYFLOAT n -0.0", b"0"),
        (b"1", "INCRBYFLOAT n 1e-17", b"1.00000000000000001"),
        (b"0x10", "INCRBYFLOAT n 0x.8p1", b"17"),
        (b"3", "INCRBYFLOAT n 1.1", b"4.1"),
        (b"-498.179", "INCRBYFLOAT n -0.1", b"-498.279"),
    ],
)
def test_counting(machine: Machine, before: bytes | None, line: str, reply: Value) -> None:
    if before is not None:
        run(machine, (b"SET", b"n", before))
    found = run(machine, line)
    assert found == reply
    if not isinstance(found, Failure):
        assert item(machine, "n").value == (found if isinstance(found, bytes) else b"%d" % found)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"+.5", Fraction(1, 2)),
        (b"0x1p-3", Fraction(1, 8)),
        (b"0e99999999999999", 0),
        (b"18446744073709551617", 1 << 64),  # 64 bits: the last one is lost
        (b"36893488147419103235", (1 << 65) + 4),  # the nearest, not the one below
        (b"0." + b"0" * 5000 + b"1e5001", 1),
        (b"1e" + b"0" * 4000 + b"1", 10),
    ],
)
def test_numbers_are_rounded_as_a_long_double_is(text: bytes, number: Fraction) -> None:
    assert long_double(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" 1", b"1 ", b"1e", b"0x", b"--1", b".", b"e5", b"1_0", b"nan", b"1\n"),
        *(b"1e4933", b"-1e999999", b"1e-5000", b"1e-999999999", b"0x1p99999", b"1" * 5120),
    ],
)
def test_what_is_no_number_is_refused(text: bytes) -> None:
    with pytest.raises(Refuse):
        long_double(text)


def test_a_large_sum_has_all_its_digits() -> None:
    text = added(long_double(b"1e4900"), long_double(b"1"))
    assert (len(text), text[:40]) == (4901, b"1000000000000000000027083122306903498332")


# LCS.


def test_lcs(machine: Machine) -> None:
    run(machine, "MSET x ohmytext y mynewtext")
    assert run(machine, "LCS x y") == b"mytext"
    assert run(machine, "LCS x y LEN") == 6
    first, second = [[4, 7], [5, 8]], [[2, 3], [0, 1]]
    assert run(machine, "LCS x y idx") == {b"matches": [first, second], b"len": 6}
    found = run(machine, "LCS x y IDX MINMATCHLEN 4 WITHMATCHLEN")
    assert found == {b"matches": [[*first, 4]], b"len": 6}
    assert run(machine, "LCS x none") == b""
    assert run(machine, "LCS none none IDX") == {b"matches": [], b"len": 0}


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("LCS a s NEVER", Failure("ERR The specified keys must contain string values")),
        ("LCS a a NEVER", SYNTAX),
        ("LCS a a MINMATCHLEN", SYNTAX),
        ("LCS a a MINMATCHLEN x", NOT_INTEGER),
        ("LCS a a MINMATCHLEN -5", b"v"),
        (
            "LCS a a IDX LEN",
            Failure("ERR If you want both the length and indexes, please just use IDX."),
        ),
    ],
)
def test_lcs_options(machine: Machine, line: str, reply: Value) -> None:
    assert run(machine, line) == reply


def test_lcs_is_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    run(machine, (b"SET", b"a", bytes(LCS_SIZE_BYTES_MAX + 1)), 1 << 20)
    assert run(machine, "LCS a due") == Failure("ERR String too long for LCS")
    monkeypatch.setattr(lcs, "LCS_CELLS_MAX", 3)
    run(machine, "SET a v")
    assert run(machine, "LCS a a") == Failure(
        "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
    )


def test_lcs_is_the_one_that_the_whole_table_gives(machine: Machine) -> None:
    """Against the textbook's way, with Redis' choice of several."""
    chance = random.Random(6)
    for _ in range(300):
        letters = chance.choice((2, 3, 9))
        a, b = (
            bytes(chance.randrange(letters) for _ in range(chance.randrange(25))) for _ in range(2)
        )
        run(machine, (b"MSET", b"x", a, b"y", b))
        pairs = [
            (i, j)
            for (low, high), (other, _) in run(machine, "LCS x y IDX")[b"matches"]
            for i, j in reversed(list(zip(range(low, high + 1), range(other, 999), strict=False)))
        ]
        assert pairs == _pairs(a, b), (a, b)
        assert run(machine, "LCS x y") == bytes(a[i] for i, _ in reversed(pairs))


def _pairs(a: bytes, b: bytes) -> list[tuple[int, int]]:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, byte in enumerate(a):
        for j, other in enumerate(b):
            longer = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if byte == other else longer
    i, j, pairs = len(a), len(b), []
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return pairs


# What is said.


@pytest.mark.parametrize(
    ("line", "events"),
    [
        ("SET a w", [b"set"]),
        ("SET a w EX 1", [b"set", b"expire"]),
        ("SET a w NX", []),
        ("SETNX b w", [b"set"]),
        ("SETEX a 1 w", [b"set", b"expire"]),
        ("GETSET a w", [b"set"]),
        ("GETEX a", []),
        ("GETEX a PERSIST", []),
        ("GETEX a EX 1", [b"expire"]),
        ("GETEX a EXAT 1", [b"del"]),
        ("GETEX due PERSIST", [b"persist"]),
        ("GETDEL a", [b"del"]),
        ("DELEX a", [b"del"]),
        ("DELEX a IFEQ w", []),
        ("MSET a 1 b 2", [b"set", b"set"]),
        ("APPEND a w", [b"append"]),
        ("SETRANGE a 0 w", [b"setrange"]),
        ("DECR due", [b"incrby"]),
        ("INCRBYFLOAT due 1", [b"incrbyfloat"]),
        ("SETBIT a 1 1", []),
        ("SETBIT a 1 0", [b"setbit"]),
        ("BITFIELD a GET u8 0", []),
        ("BITFIELD a SET u8 0 1", [b"setbit"]),
        ("BITOP AND b a", [b"set"]),
        ("BITOP AND a b", [b"del"]),
    ],
)
def test_events(machine: Machine, line: str, events: list[bytes]) -> None:
    told: list[Note] = []
    machine.note_listeners.append(lambda notes: told.extend(notes or ()))
    machine.notes.wanted = "g$"
    run(machine, line)
    assert [note.event for note in told if isinstance(note, KeyEvent)] == events


def test_the_set_of_these_tests_is_one(machine: Machine) -> None:
    assert isinstance(machine.get(b"s"), Collection)
