"""Redis commands in the state machine: revisions, undoing, collections, images."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from msgspec.structs import replace

from raftcache.command.call_table import SPECS, fault
from raftcache.command.calls import (
    CALLS_MAX,
    Call,
    Calls,
    CallsAnswered,
    CallsRehearsed,
    CallsSince,
)
from raftcache.command.limits import (
    INTEGER_MAX,
    TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX,
    VALUE_SIZE_BYTES_MAX,
)
from raftcache.command.replies import CallsReply, Collection, Status
from raftcache.command.values import (
    DEPTH_MAX,
    NIL_ARRAY,
    Failure,
    Members,
    Pairs,
    Value,
    Verbatim,
    pack_values,
    unpack_values,
)
from raftcache.command.words import Once, Put, SetQuota, Tick
from raftcache.errors import Corrupt
from raftcache.service.scripting.interpreter import REPLY_DEPTH_MAX
from raftcache.state import tombstones
from raftcache.state.history import Kind
from raftcache.state.items import SET
from raftcache.state.machine import Machine
from raftcache.state.redis import collection, execute
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.rehearsal import Rehearsal
from raftcache.state.redis.store import ROWS_TOUCHED_MAX, Store
from raftcache.state.rows import ROWS_FREED_PER_ENTRY
from tests.unit.test_machine import at, do

SIZE_BYTES_MAX = 1000

packed = msgspec.msgpack.encode


class Bag(collection.Collection):
    """The simplest collection there can be."""

    KIND = SET

    def add(self, name: bytes) -> bool:
        is_new = self._put(name, b"") is None
        self.count += is_new
        return is_new

    def drop(self, name: bytes) -> bool:
        was = self._remove(name) is not None
        self.count -= was
        return was

    def all(self) -> list[bytes]:
        return list(self._names(0, self.count))


def _bag(store: Store, args: tuple[bytes, ...]) -> Value:
    bag = store.collection(Bag, args[0])
    return sum([bag.add(name) for name in args[1:]])


def _unbag(store: Store, args: tuple[bytes, ...]) -> Value:
    bag = store.collection(Bag, args[0])
    return sum([bag.drop(name) for name in args[1:]])


def _bagged(store: Store, args: tuple[bytes, ...]) -> Value:
    return store.collection(Bag, args[0]).all()


def _spoil(store: Store, args: tuple[bytes, ...]) -> Value:
    _bag(store, args)
    store.settle()
    store.set_string(b"other", b"spoilt")
    raise Refuse("ERR after all")


def _crash(store: Store, args: tuple[bytes, ...]) -> Value:
    _bag(store, args)
    raise IndexError


def _starve(store: Store, args: tuple[bytes, ...]) -> Value:
    _bag(store, args)
    raise MemoryError


@pytest.fixture(autouse=True)
def _bags(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made = {b"BAG": _bag, b"UNBAG": _unbag, b"BAGGED": _bagged, b"SPOIL": _spoil, b"CRASH": _crash}
    made[b"STARVE"] = _starve
    for name, handler in made.items():
        monkeypatch.setitem(execute.HANDLERS, name, handler)
    return iter(())


@pytest.fixture
def machine() -> Machine:
    return Machine()


def calls(machine: Machine, *lines: str, **how: object) -> CallsReply:
    words = tuple(tuple(word.encode() for word in line.split()) for line in lines)
    reply = do(machine, Calls(words, SIZE_BYTES_MAX, **how))  # type: ignore[arg-type]
    assert isinstance(reply, CallsReply)
    return reply


def values(machine: Machine, *lines: str, **how: object) -> list[Value]:
    return list(calls(machine, *lines, **how).values)


def copy(machine: Machine) -> Machine:
    other = Machine()
    loader = other.loader()
    for piece in machine.dump():
        loader.feed(piece)
    loader.install()
    assert other.digest == machine.digest
    assert b"".join(other.dump()) == b"".join(machine.dump())
    return other


def test_calls_answer_in_order_and_each_takes_a_revision(machine: Machine) -> None:
    assert values(machine, "SET a 1", "INCR a", "GET a", "GET b", "NONE") == [
        "OK",
        2,
        b"2",
        None,
        Failure("ERR unknown command 'NONE'"),
    ]
    assert machine.revision == 2


def test_an_atomic_one_takes_one_revision_and_goes_on_behind_a_failure(machine: Machine) -> None:
    reply = calls(machine, "SET a x", "INCR a", "SPOIL bag m", "BAG bag n", atomic=True)
    assert reply.status is Status.SUCCEEDED
    assert reply.values == (
        "OK",
        Failure("ERR value is not an integer or out of range"),
        Failure("ERR after all"),
        1,
    )
    assert machine.revision == 1
    assert machine.get(b"other") is None
    assert values(machine, "BAGGED bag") == [[b"n"]]
    found = machine.get(b"bag")
    assert isinstance(found, Collection)
    assert found.type == "set"
    position = machine.history.position_after(0)
    assert position is not None
    events = machine.history.read(position, 10)
    assert events is not None
    assert [(event.kind, event.key, event.revision) for event in events] == [
        (Kind.PUT, b"a", 1),
        (Kind.PUT, b"bag", 1),
    ]


@pytest.mark.parametrize("failing", ["SPOIL bag p q", "CRASH bag p q", "SPOIL other p"])
def test_a_call_that_fails_changes_nothing(machine: Machine, failing: str) -> None:
    calls(machine, "BAG bag m n", "SET other 1")
    before = b"".join(machine.dump())
    (value,) = values(machine, failing)
    assert isinstance(value, Failure)
    next_id = machine._state.rows.next_id
    if failing.startswith("SPOIL other"):
        assert value.text.startswith("WRONGTYPE")
    assert b"".join(machine.dump()) == before
    assert machine._state.rows.next_id == next_id


def test_watched_keys_must_be_as_they_were(machine: Machine) -> None:
    at(machine, 1000, Put(b"a", b"1"), Put(b"b", b"2", ttl_ms=500))
    watched = ((b"a", 1), (b"b", 2), (b"c", 0))
    assert values(machine, "SET a 2", atomic=True, watched=watched) == ["OK"]
    reply = calls(machine, "SET a 3", atomic=True, watched=watched)
    assert (reply.status, reply.values) == (Status.FAILED, (NIL_ARRAY,))
    at(machine, 1500, Tick())
    assert values(machine, "SET a 3", atomic=True, watched=((b"b", 2),)) == [NIL_ARRAY]
    found = machine.get(b"a")
    assert found is not None
    assert found.value == b"2"


def absent_since(machine: Machine, since: int, *keys: bytes) -> bool:
    """Whether a transaction is done that depends on keys which were absent at a revision."""
    watched = tuple((key, 0) for key in keys)
    reply = do(machine, CallsSince((), SIZE_BYTES_MAX, True, watched, since=since))
    assert reply.status in (Status.SUCCEEDED, Status.FAILED)
    return reply.status is Status.SUCCEEDED


def test_a_key_that_came_and_went_was_not_absent_all_the_time(machine: Machine) -> None:
    calls(machine, "SET a 1")
    assert absent_since(machine, 1, b"b", b"c")
    calls(machine, "SET b 1", "DEL b")
    assert not absent_since(machine, 1, b"b", b"c")
    assert absent_since(machine, 1, b"c")
    assert absent_since(machine, 2, b"b"), "what goes was there before, and is seen to go"
    calls(machine, "SET c 1", "DEL c", atomic=True)
    assert not absent_since(machine, machine.revision - 1, b"c"), "within one transaction"
    assert absent_since(machine, machine.revision, b"b", b"c")
    assert not absent_since(machine, machine.revision, b"a"), "it is there"


def test_a_key_whose_time_was_over_is_absent_before_it_is_removed(machine: Machine) -> None:
    at(machine, 1000, Put(b"a", b"1", ttl_ms=500))
    assert absent_since(machine, 1, b"b")
    at(machine, 1500, Tick())
    assert absent_since(machine, 1, b"a")
    at(machine, 1500, Put(b"a", b"1", ttl_ms=500))
    at(machine, 2000, Tick())
    assert not absent_since(machine, 2, b"a")


def test_nothing_is_known_of_what_went_before_anybody_asked(machine: Machine) -> None:
    calls(machine, "SET a 1", "DEL a", "SET a 1")
    before = b"".join(machine.dump())
    assert before[8] == 1
    assert not absent_since(machine, 1, b"z"), "it cannot tell"
    assert b"".join(machine.dump())[8] == 4
    assert absent_since(machine, machine.revision, b"z")
    other = copy(machine)
    for each in (machine, other):
        calls(each, "SET z 1", "DEL z")
        assert not absent_since(each, 3, b"z")
    assert machine.digest == other.digest


def test_what_is_undone_leaves_no_tombstone(machine: Machine) -> None:
    calls(machine, "SADD other x")
    assert absent_since(machine, machine.revision, b"new")
    before = b"".join(machine.dump())
    (value,) = values(machine, "SPOIL new x")
    assert isinstance(value, Failure)
    assert b"".join(machine.dump()) == before
    assert absent_since(machine, machine.revision, b"new")


def test_another_key_of_its_place_is_taken_for_an_absent_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A needless refusal, which is allowed; it is never done though the key was there."""
    monkeypatch.setattr(tombstones, "place_of", lambda key: 0)
    assert absent_since(machine, 0, b"b")
    calls(machine, "SET a 1", "SET a 2", "DEL a", "SET c 1")
    assert not absent_since(machine, 1, b"b")
    assert absent_since(machine, 2, b"b")


def test_a_collection_goes_with_its_key_and_its_rows_are_freed_afterwards(
    machine: Machine,
) -> None:
    names = " ".join(f"m{number:05}" for number in range(ROWS_FREED_PER_ENTRY + 10))
    calls(machine, f"BAG bag {names}", "BAG other x y", "DEL bag")
    rows = machine._state.rows
    assert (len(rows), machine.next_deadline_ms()) == (ROWS_FREED_PER_ENTRY + 12, machine.now_ms)
    other = copy(machine)
    for each in (machine, other):
        do(each, Tick())
        do(each, Tick())
        assert (len(each._state.rows), each.next_deadline_ms()) == (2, None)
    assert machine.digest == other.digest
    assert values(machine, "BAGGED other", "BAGGED bag") == [[b"x", b"y"], []]


@pytest.mark.parametrize("size", [1, ROWS_FREED_PER_ENTRY])
def test_as_many_rows_are_freed_where_an_image_was_loaded(machine: Machine, size: int) -> None:
    """It does not tell which collections without a key have no rows left either."""
    names = [b"m%05d" % number for number in range(3 * ROWS_FREED_PER_ENTRY)]
    bags: list[Call] = [(b"BAG", b"first", *names[:size]), (b"BAG", b"second", *names)]
    do(machine, Calls(tuple(bags), SIZE_BYTES_MAX))
    if size == 1:
        calls(machine, f"UNBAG first {names[0].decode()}")
    calls(machine, "DEL first second")
    others: list[Machine] = []
    for _ in range(5):
        others.append(copy(machine))
        for each in (machine, *others):
            do(each, Tick())
            assert each.digest == machine.digest
            assert each.next_deadline_ms() == machine.next_deadline_ms()
    assert not len(machine._state.rows)


def test_a_scan_goes_on_behind_a_name(machine: Machine) -> None:
    calls(machine, "BAG bag n o m", "BAG other x")
    reader = machine._calls._reader
    bag = reader.collection(Bag, b"bag")
    assert bag.names_after(None, 2) == [b"m", b"n"]
    assert bag.names_after(b"m", 5) == bag.names_after(b"mm", 2) == [b"n", b"o"]
    assert bag.names_after(b"o", 2) == bag.names_after(None, 0) == []
    assert reader.collection(Bag, b"none").names_after(None, 2) == []
    reader.forget()


def test_what_takes_the_place_of_a_collection_discards_it(machine: Machine) -> None:
    calls(machine, "BAG bag m", "SET bag v", "BAG due m")
    do(machine, Put(b"due", b"v"))
    do(machine, Tick())
    assert len(machine._state.rows) == 0


def test_an_undone_deletion_gives_a_collection_back(machine: Machine) -> None:
    calls(machine, "BAG bag m n")
    before = machine.digest
    store = machine._calls._store
    machine._changes.begin()
    store.remove(b"bag")
    assert machine._state.rows.gone
    machine._changes.undo()
    assert (machine.digest, machine._state.rows.gone) == (before, [])


def test_the_last_element_takes_the_key_with_it(machine: Machine) -> None:
    calls(machine, "BAG bag m n")
    assert values(machine, "UNBAG bag m x", "UNBAG bag n", "EXISTS bag") == [1, 1, 0]


def test_a_dump_has_the_rows_as_they_were_when_it_began(machine: Machine) -> None:
    calls(machine, "BAG bag " + " ".join(f"m{number:04}" for number in range(2000)))
    before = b"".join(machine.dump())
    dump = machine.dump()
    pieces = [next(dump)]
    calls(machine, "UNBAG bag m0000 m1999", "BAG bag m0500x", "DEL bag")
    do(machine, Tick())
    pieces.extend(dump)
    assert b"".join(pieces) == before


def test_an_image_with_rows_that_cannot_be_is_refused(machine: Machine) -> None:
    calls(machine, "BAG bag m n")
    image = b"".join(machine.dump())
    for place in range(12, len(image)):
        broken = bytearray(image)
        broken[place] ^= 0x40
        other = Machine()
        loader = other.loader()
        with pytest.raises(Corrupt):  # noqa: PT012 - either may find it
            loader.feed(bytes(broken))
            loader.install()


def test_a_quota_counts_elements(machine: Machine) -> None:
    do(machine, SetQuota(b"bag", size_bytes_max=200))
    calls(machine, "BAG bag m n")
    (value,) = values(machine, f"BAG bag {'x' * 200}")
    assert isinstance(value, Failure)
    assert value.text.startswith("OOM")
    assert values(machine, "BAGGED bag") == [[b"m", b"n"]]
    do(machine, SetQuota(b"ba", keys_max=5))
    counts = {quota.prefix: count.size_bytes for quota, count in machine.quotas()}
    assert counts[b"ba"] == counts[b"bag"]
    calls(machine, "UNBAG bag m n")
    assert [count.size_bytes for _, count in machine.quotas()] == [0, 0]


def test_one_call_changes_so_many_elements(machine: Machine) -> None:
    names = " ".join(str(number) for number in range(ROWS_TOUCHED_MAX + 1))
    (value,) = values(machine, f"BAG bag {names}")
    assert isinstance(value, Failure)
    assert "10000 elements" in value.text
    assert machine.get(b"bag") is None


def test_a_retry_is_answered_and_not_applied(machine: Machine) -> None:
    once = Once(b"t", bytes(16))
    assert values(machine, "INCR a", once=once) == [1]
    again = calls(machine, "INCR a", once=once)
    assert (again.values, again.replayed) == ((1,), True)
    machine = copy(machine)
    assert values(machine, "INCR a", once=once) == [1]
    long = "x" * (SIZE_BYTES_MAX - 1)
    calls(machine, *[f"SET k{number} {long}" for number in range(20)])
    keys = " ".join(f"k{number}" for number in range(20))
    before = machine.revision
    (value,) = values(machine, f"MGET {keys}", "SET a 7", atomic=True, once=Once(b"u", bytes(16)))[
        :1
    ]
    assert isinstance(value, Failure)
    assert "remembered" in value.text
    assert machine.revision == before
    assert TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX < 20 * SIZE_BYTES_MAX


@pytest.mark.parametrize("count", [1, 300, CALLS_MAX])
def test_of_however_many_calls_it_is_remembered_that_they_answer_too_much(
    machine: Machine, count: int
) -> None:
    """Were the error remembered for each of them, no node could apply the entry, ever."""
    long = b"x" * (TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX + 1)
    do(machine, Calls(((b"SET", b"a", long),), VALUE_SIZE_BYTES_MAX))
    word = Calls(((b"GET", b"a"),) * count, SIZE_BYTES_MAX, True, once=Once(b"t", bytes(16)))
    for each in (machine, copy(machine)):
        reply = do(each, word)
        assert isinstance(reply, CallsReply)
        assert reply.status is Status.REPLY_TOO_LARGE
        assert set(reply.values) == {execute.TOO_LARGE}
        assert len(reply.values) == (count if count < 200 else 1)
    assert do(copy(machine), word).replayed


@pytest.mark.parametrize(
    "answers",
    [
        b"",
        b"\xc1",
        packed(1),
        packed(b"abc"),
        packed([[]]),
        packed([["list", ["nothing"]]]),
        packed([["failure"]]),
        packed([["failure", 5]]),
        packed([["verbatim", b"a", b"b"]]),
        packed([["verbatim", "a"]]),
        packed([["digits", 1]]),
        packed([["dict", ["list"], 1]]),
        packed([{}]),
        packed([{(): 1}]),
        packed([msgspec.msgpack.Ext(1, b"x")]),
        b"\x91\xd6\xff\0\0\0\0",
        b"\x91\xcd\0\1",
        b"\x91" + b"\x92\xa4list" * (DEPTH_MAX + 1) + b"\x01",
        b"\x91" + b"\x92\xa4list" * 5000 + b"\x01",
        b"\x91" * 100_000 + b"\x01",
    ],
)
def test_answers_that_nobody_has_packed_are_invalid(machine: Machine, answers: bytes) -> None:
    once, call = Once(b"t", bytes(16)), (b"SET", b"a", b"1")
    for kind in (CallsAnswered, CallsRehearsed):
        word = kind((call,), SIZE_BYTES_MAX, True, once=once, answers=answers)
        assert do(machine, word).status is Status.INVALID


def test_answers_may_be_deeper_than_a_script_makes_them(machine: Machine) -> None:
    value: Value = 1
    for _ in range(DEPTH_MAX):
        value = [value]
    once = Once(b"t", bytes(16))
    packed_value = pack_values([value])
    word = CallsAnswered(((b"SET", b"a", b"1"),), 100, True, once=once, answers=packed_value)
    for each in (machine, copy(machine)):
        reply = do(each, word)
        assert isinstance(reply, CallsReply)
        assert reply.values == (value,)
    assert REPLY_DEPTH_MAX < DEPTH_MAX


def test_an_error_that_is_no_text_is_remembered(machine: Machine) -> None:
    """It repeats what a client sent: were it not packed, no node could apply the entry, ever."""
    once = Once(b"t", bytes(16))
    word = Calls(((b"EXPIRE", b"a", b"10", b"\xff"),), SIZE_BYTES_MAX, once=once)
    first, again = do(machine, word), do(copy(machine), word)
    assert isinstance(first, CallsReply)
    assert isinstance(again, CallsReply)
    assert first.values == again.values == (Failure("ERR Unsupported option \udcff"),)
    assert again.replayed


@pytest.mark.parametrize("odd", [b"\xff", b"9" * 5000, b"\0", b""], ids=len)
def test_whatever_is_asked_can_be_applied(machine: Machine, odd: bytes) -> None:
    """An entry that no node can apply would stop them all, for good."""
    numbered: list[tuple[CallsSince, CallsReply]] = []
    for name in sorted(SPECS.keys() & execute.HANDLERS.keys()):
        arity = SPECS[name].arity
        count = arity - 1 if arity > 0 else 1 - arity  # two more than it needs
        for place in range(count):
            arguments = [b"1"] * count
            arguments[place] = odd
            if fault([name, *arguments]) is not None:
                continue  # the door refuses it: a subcommand that there is not
            once = Once(b"%d" % len(numbered), bytes(16))
            call = (name, *arguments)
            word = CallsSince((call,), SIZE_BYTES_MAX, True, once=once, since=INTEGER_MAX)
            reply = do(machine, word)
            assert isinstance(reply, CallsReply)
            assert "internal error" not in str(reply.values[0]), word
            numbered.append((word, reply))
    later = copy(machine)
    for word, reply in numbered:
        assert do(later, word) == replace(reply, replayed=True)


@pytest.mark.parametrize("atomic", [False, True])
def test_a_node_without_memory_stops(machine: Machine, atomic: bool) -> None:
    """Were it an answer as other mistakes are, this node would have another state than others."""
    with pytest.raises(MemoryError):
        calls(machine, "STARVE bag m", atomic=atomic)


def test_a_lone_call_without_memory_stops_the_node(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starve(store: Store, args: tuple[bytes, ...]) -> Value:
        raise MemoryError

    monkeypatch.setitem(execute._LONE_HANDLERS, b"GET", starve)
    with pytest.raises(MemoryError):
        calls(machine, "GET a")


@pytest.mark.parametrize("answer", [1 << 64, object()], ids=["number", "object"])
def test_an_answer_that_cannot_be_remembered_is_a_mistake(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, answer: Value
) -> None:
    """It would stop every node, after the calls before it had been done."""
    monkeypatch.setitem(execute.HANDLERS, b"GET", lambda store, args: answer)
    once, before = Once(b"t", bytes(16)), machine.revision
    mistakes = values(machine, "SET a 1", "GET a", atomic=True, once=once)
    assert all(str(mistake.text).startswith("ERR internal error: ") for mistake in mistakes)
    assert machine.revision == before
    assert values(machine, "SET a 1", "GET a", atomic=True, once=once) == mistakes


def test_many_answers_that_cannot_be_remembered(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake is remembered, were it too much for each of them, once for all."""
    monkeypatch.setitem(execute.HANDLERS, b"GET", lambda store, args: 1 << 64)
    once, many = Once(b"t", bytes(16)), ["GET a"] * CALLS_MAX
    mistake = Failure("ERR internal error: OverflowError")
    assert values(machine, *many, atomic=True, once=once) == [mistake]
    assert calls(copy(machine), *many, atomic=True, once=once).replayed


def test_what_cannot_be_packed_was_rehearsed_by_nobody(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(execute.HANDLERS, b"SET", lambda store, args: 1 << 64)
    word = CallsRehearsed(((b"SET", b"a", b"1"),), SIZE_BYTES_MAX, True)
    assert do(machine, word).status is Status.FAILED


def test_a_rehearsal_without_memory_fails(machine: Machine) -> None:
    calls(machine, "BAG bag m")
    before = machine.digest

    def play(rehearsal: Rehearsal) -> list[Value]:
        each = ((b"BAG", b"bag", b"n"), (b"STARVE", b"bag", b"o"), (b"BAGGED", b"bag"))
        return [rehearsal._perform(call) for call in each]

    mistake = Failure("ERR internal error: MemoryError")
    assert machine.rehearse(play, 0, SIZE_BYTES_MAX, 0) == [1, mistake, [b"m", b"n"]]
    assert machine.digest == before


def test_reads_change_nothing(machine: Machine) -> None:
    at(machine, 1000, Put(b"a", b"1", ttl_ms=500), Put(b"b", b"2"))
    digest = machine.digest
    call = [(b"GET", b"a"), (b"GET", b"b"), (b"BAGGED", b"b")]
    found = machine.call(call, 1200)
    assert found[:2] == [b"1", b"2"]
    assert isinstance(found[2], Failure)
    assert machine.digest == digest


def test_values_are_remembered_as_they_are() -> None:
    every: list[Value] = [
        1,
        b"b",
        "OK",
        None,
        1.5,
        True,
        [1, [b"x", NIL_ARRAY]],
        {b"k": [1.0]},
        Failure("ERR x"),
        Failure("ERR \xe9 and \udcff"),
        Members([b"a"]),
        Pairs([(b"m", 2.0)]),
        Verbatim(b"text"),
    ]
    assert list(unpack_values(pack_values(every))) == every
