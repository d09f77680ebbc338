"""Redis commands on lists, as redis-server 7.0.15 answers them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command.calls import Calls
from raftcache.command.limits import INTEGER_MIN
from raftcache.command.replies import CallsReply
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.command.words import Tick
from raftcache.state.machine import Machine
from raftcache.state.notes import KeyEvent, Note
from raftcache.state.redis.list_rows import (
    NAME_SIZE_BYTES_MAX,
    PIECE,
    REMOVED_AT_ONCE_MAX,
    List,
    between,
)
from raftcache.state.redis.lists import _RANK_ZERO as RANK_ZERO
from raftcache.state.redis.parsing import NOT_INTEGER, NOT_POSITIVE, SYNTAX, WRONG_TYPE
from raftcache.state.redis.store import Spent, Store
from raftcache.state.rows import ID_SIZE_BYTES
from tests.unit.test_machine import do
from tests.unit.test_redis_core import calls, values


@pytest.fixture
def machine() -> Machine:
    """With a list l of a, b, c, a, and a string s."""
    machine = Machine()
    calls(machine, "RPUSH l a b c a", "SET s 1")
    return machine


def elements(machine: Machine, key: str = "l") -> list[bytes]:
    (value,) = values(machine, f"LRANGE {key} 0 -1")
    assert isinstance(value, list)
    return value


def push_many(machine: Machine, count: int, key: bytes = b"many") -> list[bytes]:
    words = [b"%d" % number for number in range(count)]
    for start in range(0, count, PIECE):
        do(machine, Calls(((b"RPUSH", key, *words[start : start + PIECE]),), 1000))
    return words


def test_both_ends(machine: Machine) -> None:
    assert values(
        machine,
        "LPUSH x a b",
        "RPUSH x c",
        "LPUSHX x d",
        "RPUSHX x e",
        "LPUSHX none d",
        "RPUSHX none d",
        "EXISTS none",
        "LRANGE x 0 -1",
        "LLEN x",
        "LPOP x",
        "RPOP x",
        "LPOP x 2",
        "RPOP x 9",
        "EXISTS x",
        "TYPE l",
    ) == [
        2,
        3,
        4,
        5,
        0,
        0,
        0,
        [b"d", b"b", b"a", b"c", b"e"],
        5,
        b"d",
        b"e",
        [b"b", b"a"],
        [b"c"],
        0,
        "list",
    ]


def test_pops_of_nothing(machine: Machine) -> None:
    nothing = "LPOP x", "LPOP x 0", "RPOP x 3", "LPOP l 0"
    assert values(machine, *nothing) == [None, NIL_ARRAY, NIL_ARRAY, []]


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        (0, 0, "a"),
        (1, 2, "bc"),
        (-2, -1, "ca"),
        (-9, 1, "ab"),
        (2, 9, "ca"),
        (3, 2, ""),
        (4, 9, ""),
        (-9, -8, ""),
    ],
)
def test_ranges(machine: Machine, first: int, last: int, found: str) -> None:
    expected = [each.encode() for each in found]
    assert values(machine, f"LRANGE l {first} {last}", f"LRANGE x {first} {last}") == [expected, []]
    assert values(machine, f"LTRIM l {first} {last}", f"LTRIM x {first} {last}") == ["OK", "OK"]
    assert elements(machine) == expected
    assert values(machine, "EXISTS l") == [int(found != "")]


def test_elements_by_index(machine: Machine) -> None:
    assert values(machine, "LINDEX l 1", "LINDEX l -1", "LINDEX l 4", "LINDEX l -5") == [
        b"b",
        b"a",
        None,
        None,
    ]
    assert values(machine, "LSET l 1 x", "LSET l -1 y", "LRANGE l 0 -1", "LINDEX none x") == [
        "OK",
        "OK",
        [b"a", b"x", b"c", b"y"],
        None,
    ]


def test_insertion(machine: Machine) -> None:
    assert values(
        machine,
        "LINSERT l before a 1",
        "LINSERT l AFTER a 2",
        "LINSERT l BEFORE b 3",
        "LINSERT l BEFORE none 4",
        "LINSERT none BEFORE a 4",
    ) == [5, 6, 7, -1, 0]
    assert elements(machine) == [b"1", b"a", b"2", b"3", b"b", b"c", b"a"]
    assert values(machine, "RPUSH y e", "LINSERT y AFTER e f", "LRANGE y 0 -1") == [
        1,
        2,
        [b"e", b"f"],
    ]


def test_removal(machine: Machine) -> None:
    calls(machine, "RPUSH m a b a b a", "COPY m n", "COPY m o")
    assert values(machine, "LREM m 2 a", "LREM n -2 a", "LREM o 0 a", "LREM l 1 z") == [2, 2, 3, 0]
    assert [elements(machine, key) for key in "mno"] == [
        [b"b", b"b", b"a"],
        [b"a", b"b", b"b"],
        [b"b", b"b"],
    ]
    assert values(machine, f"LREM m {INTEGER_MIN} b", "LREM none 0 a", "LINDEX m 0") == [2, 0, b"a"]


def test_positions(machine: Machine) -> None:
    calls(machine, "RPUSH p a b c 1 2 3 c c")
    assert values(
        machine,
        "LPOS p c",
        "LPOS p c RANK 2",
        "LPOS p c RANK -1",
        "LPOS p c COUNT 2",
        "LPOS p c COUNT 0 RANK -2",
        "LPOS p c COUNT 0 MAXLEN 7",
        "LPOS p c MAXLEN 2",
        "LPOS p z",
        "LPOS p z COUNT 1",
        "LPOS p c RANK 4",
        "LPOS none c",
        "LPOS none c COUNT 1",
        f"LPOS p c RANK {INTEGER_MIN}",
    ) == [2, 6, 7, [2, 6], [6, 2], [2, 6], None, None, [], None, None, [], 7]


def test_moves(machine: Machine) -> None:
    assert values(
        machine,
        "LMOVE l m left RIGHT",
        "LMOVE l m RIGHT LEFT",
        "RPOPLPUSH l m",
        "RPOPLPUSH m m",
        "LMOVE m m LEFT RIGHT",
        "LRANGE m 0 -1",
        "RPOPLPUSH none s",
        "LMOVE l n LEFT LEFT",
        "EXISTS l",
        "RPOPLPUSH n n",
    ) == [b"a", b"a", b"c", b"a", b"a", [b"c", b"a", b"a"], None, b"b", 0, b"b"]


def test_pops_of_the_first_list_that_is_there(machine: Machine) -> None:
    assert values(
        machine,
        "LMPOP 2 none l LEFT",
        "LMPOP 3 none l s RIGHT COUNT 9",
        "LMPOP 1 none LEFT COUNT 2",
    ) == [[b"l", [b"a"]], [b"l", [b"a", b"c", b"b"]], NIL_ARRAY]


def test_calls_that_may_wait_answer_at_once_here(machine: Machine) -> None:
    assert values(
        machine,
        "BLPOP none l s 0",
        "BRPOP l 1.5",
        "BLMPOP 0 2 none l LEFT COUNT 2",
        "BLPOP none 0",
        "BLMPOP 0 1 none RIGHT",
        "BLMOVE none s LEFT LEFT 0",
        "BRPOPLPUSH none s 0",
        "RPUSH l x",
        "BLMOVE l m LEFT LEFT 0",
        "BRPOPLPUSH m l 0",
        atomic=True,
    ) == [
        [b"l", b"a"],
        [b"l", b"a"],
        [b"l", [b"b", b"c"]],
        NIL_ARRAY,
        NIL_ARRAY,
        None,
        None,
        1,
        b"x",
        b"x",
    ]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("LPOP s x", NOT_POSITIVE),
        ("LPOP s -1", NOT_POSITIVE),
        ("RPOP s 1 2", "ERR wrong number of arguments for 'rpop' command"),
        ("LRANGE s x 1", NOT_INTEGER),
        ("LTRIM s 1 x", NOT_INTEGER),
        ("LINDEX l x", NOT_INTEGER),
        ("LSET none x a", "ERR no such key"),
        ("LSET l x a", NOT_INTEGER),
        ("LSET l 4 a", "ERR index out of range"),
        ("LINSERT s foo a b", SYNTAX),
        ("LREM s x a", NOT_INTEGER),
        ("LPOS s a RANK 0", RANK_ZERO),
        ("LPOS s a RANK", SYNTAX),
        ("LPOS s a RANK x COUNT", NOT_INTEGER),
        ("LPOS s a COUNT -1", "ERR COUNT can't be negative"),
        ("LPOS s a MAXLEN x", "ERR MAXLEN can't be negative"),
        ("LPOS s a FOO 1", SYNTAX),
        ("LMOVE s s UP LEFT", SYNTAX),
        ("LMPOP 0 l LEFT", "ERR numkeys should be greater than 0"),
        ("LMPOP 2 l LEFT", SYNTAX),
        ("LMPOP 1 l UP", SYNTAX),
        ("LMPOP 1 l LEFT COUNT", SYNTAX),
        ("LMPOP 1 l LEFT FOO 1", SYNTAX),
        ("LMPOP 1 l LEFT COUNT 0 x", "ERR count should be greater than 0"),
        ("LMPOP 1 l LEFT COUNT 1 COUNT 1", SYNTAX),
        ("BLPOP s x", "ERR timeout is not a float or out of range"),
        ("BLPOP l -1", "ERR timeout is negative"),
        ("BLMOVE s s UP LEFT x", SYNTAX),
        ("BLMOVE s s LEFT LEFT x", "ERR timeout is not a float or out of range"),
        ("BRPOPLPUSH s s x", "ERR timeout is not a float or out of range"),
        ("BLMPOP x 0 l LEFT", "ERR numkeys should be greater than 0"),
        ("BLMPOP -1 1 l LEFT", "ERR timeout is negative"),
    ],
)
def test_what_is_refused_before_anything_changes(machine: Machine, call: str, text: str) -> None:
    digest = machine.digest
    assert values(machine, call) == [Failure(text)]
    assert machine.digest == digest


@pytest.mark.parametrize(
    "call",
    [
        "LPUSH s a",
        "RPUSH s a",
        "LPUSHX s a",
        "LPOP s",
        "RPOP s 0",
        "LLEN s",
        "LRANGE s 0 1",
        "LINDEX s x",
        "LSET s 0 a",
        "LINSERT s BEFORE a b",
        "LREM s 0 a",
        "LTRIM s 0 1",
        "LPOS s a",
        "LMOVE s l LEFT LEFT",
        "LMOVE l s LEFT LEFT",
        "RPOPLPUSH s l",
        "RPOPLPUSH l s",
        "LMPOP 2 s l LEFT",
        "BLPOP s l 0",
        "BLMOVE l s LEFT LEFT 0",
    ],
)
def test_other_types_are_refused(machine: Machine, call: str) -> None:
    digest = machine.digest
    assert values(machine, call) == [Failure(WRONG_TYPE)]
    assert machine.digest == digest


def test_a_name_between_two_is_between_them() -> None:
    low, high = (1 << 62).to_bytes(8, "big"), ((1 << 62) + 1).to_bytes(8, "big")
    names = [low, high]
    for turn in range(200):
        name = between(low, high)
        assert low < name < high
        assert len(name) == 8 or name[-1] != 0
        names.append(name)
        low, high = (name, high) if turn % 3 else (low, name)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("side", ["left", "right"])
def test_elements_move_where_too_many_are_inserted_at_one_place(
    machine: Machine, side: str
) -> None:
    calls(machine, "RPUSH i 1 2 3 4 5 6 7 8")
    pivot = "2" if side == "left" else "7"
    count = 8 * NAME_SIZE_BYTES_MAX
    calls(machine, *[f"LINSERT i BEFORE {pivot} x" for _ in range(count)])
    place = int(pivot) - 1
    expected = [b"%d" % number for number in range(1, 9)]
    expected[place:place] = [b"x"] * count
    assert elements(machine, "i") == expected
    rows = machine._state.rows
    assert max(map(len, rows.names(0, len(rows)))) <= 8 + NAME_SIZE_BYTES_MAX


@pytest.mark.parametrize("call", ["LTRIM many 5 7", "LTRIM many 1 0", "LPOP many 100000"])
def test_where_little_stays_of_many_elements_the_rest_is_freed_afterwards(
    machine: Machine, call: str
) -> None:
    words = push_many(machine, 20_000)
    before = len(machine._state.rows)
    calls(machine, call)
    assert len(machine._state.rows) >= before
    assert elements(machine, "many") == (words[5:8] if call == "LTRIM many 5 7" else [])
    while machine._state.rows.gone:
        do(machine, Tick())
    assert len(machine._state.rows) == 4 + len(elements(machine, "many"))


def test_a_few_are_removed_at_once(machine: Machine) -> None:
    push_many(machine, REMOVED_AT_ONCE_MAX)
    calls(machine, f"LPOP many {REMOVED_AT_ONCE_MAX}")
    assert len(machine._state.rows) == 4


def test_a_search_ends_where_enough_is_found(machine: Machine) -> None:
    push_many(machine, 101_000)
    assert values(machine, "LPOS many 5", "LPOS many 100999 RANK -1", "LREM many 1 7") == [
        5,
        100_999,
        1,
    ]
    (refused,) = values(machine, "LPOS many none")
    assert isinstance(refused, Failure)
    assert "100000 elements" in refused.text


def test_a_call_without_effect_after_a_large_one_changes_nothing(machine: Machine) -> None:
    push_many(machine, 300)
    digest = machine.digest
    assert values(machine, "LMOVE many s LEFT LEFT", "LMPOP 2 s many LEFT COUNT 250") == [
        Failure(WRONG_TYPE),
        Failure(WRONG_TYPE),
    ]
    assert machine.digest == digest


def test_what_is_said_of_lists(machine: Machine) -> None:
    machine.notes.wanted = "lg"
    told: list[Note] = []
    machine.note_listeners.append(lambda notes: told.extend(notes or ()))
    calls(
        machine,
        "LPUSH l x",
        "LREM l 1 z",
        "LREM l 1 x",
        "LSET l 0 y",
        "LINSERT l BEFORE y z",
        "LTRIM l 0 0",
        "RPUSH l x",
        "RPOP l",
        "LMOVE l m LEFT RIGHT",
    )
    on_l = [b"lpush", b"lrem", b"lset", b"linsert", b"ltrim", b"rpush", b"rpop"]
    moved = [KeyEvent(b"rpush", b"m"), KeyEvent(b"lpop", b"l"), KeyEvent(b"del", b"l")]
    assert told == [KeyEvent(event, b"l") for event in on_l] + moved


def test_a_value_is_answered_as_it_is(machine: Machine) -> None:
    call = (b"RPUSH", b"x", b"", b"\0\xff\r\n", b"01")
    reply = do(machine, Calls((call, (b"LRANGE", b"x", b"0", b"-1")), 1000))
    assert isinstance(reply, CallsReply)
    found: Value = reply.values[1]
    assert found == [b"", b"\0\xff\r\n", b"01"]


def _looked_at(
    found: List, reverse: bool, look_max: int, value: bytes
) -> Iterator[tuple[int, bytes]]:
    """As List.search, element by element."""
    for looked, index in enumerate(range(min(found.count, look_max or found.count))):
        place = found.count - 1 - index if reverse else index
        if looked % PIECE == 0:
            found.store.count_elements(min(PIECE, found.count - index))
        name, each = found._name_at(place), found._rows.get(found._prefix + found._name_at(place))
        assert each is not None
        found.store.count_bytes(ID_SIZE_BYTES + len(name) + len(each))
        if each == value:
            yield place, name


@settings(deadline=None)
@given(
    hits=st.sets(st.integers(0, 2 * PIECE + 99), max_size=4),
    count=st.sampled_from([0, 1, 5, PIECE, PIECE + 1, 2 * PIECE + 100]),
    reverse=st.booleans(),
    look_max=st.sampled_from([0, 1, 7, PIECE, PIECE + 3, 9 * PIECE]),
    wanted=st.integers(1, 5),
)
def test_a_search_counts_each_element_up_to_the_last_hit(
    hits: set[int], count: int, reverse: bool, look_max: int, wanted: int
) -> None:
    """What is counted decides what is refused, and so must be the same for every version."""
    machine = Machine()
    words = [b"hit" if number in hits else b"%d" % number for number in range(count)]
    for start in range(0, count, PIECE):
        do(machine, Calls(((b"RPUSH", b"l", *words[start : start + PIECE]),), 1000))

    def look(store: Store) -> tuple[list[tuple[int, bytes]], Spent]:
        found = store.collection(List, b"l")
        seen = list(islice(found.search(b"hit", reverse=reverse, look_max=look_max), wanted))
        return seen, store.spent()

    def look_slowly(store: Store) -> tuple[list[tuple[int, bytes]], Spent]:
        found = store.collection(List, b"l")
        return list(islice(_looked_at(found, reverse, look_max, b"hit"), wanted)), store.spent()

    assert machine.look(0, look) == machine.look(0, look_slowly)
