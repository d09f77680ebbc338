"""What batches say to those who listen at a node: in order, and nothing of what was not done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raftcache.command.leasing import LeaseGrant, LeaseRevoke
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.command.words import (
    Append,
    Command,
    Delete,
    DeleteRange,
    Evict,
    Expire,
    Increment,
    LeasedPut,
    Once,
    Persist,
    Put,
    Tick,
    Txn,
)
from raftcache.state.machine import Machine
from raftcache.state.notes import Flushed, KeyEvent, Message, Note
from raftcache.state.redis import execute
from raftcache.state.redis.parsing import Refuse
from raftcache.state.redis.store import Store
from tests.unit.test_machine import at, do
from tests.unit.test_redis_core import calls, copy, values

ALL = "g$lshzxen"


def _boast(store: Store, args: tuple[bytes, ...]) -> Value:
    store.notify("$", b"boast", args[0])
    store.tell(Message(b"c", b"boast"))
    raise Refuse("ERR after all")


def _setn(store: Store, args: tuple[bytes, ...]) -> Value:
    store.set_string(args[0], args[1])
    store.notify("$", b"setn", args[0])
    return "OK"


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, handler in {b"BOAST": _boast, b"SETN": _setn}.items():
        monkeypatch.setitem(execute.HANDLERS, name, handler)
    return iter(())


class Heard:
    """A machine, and what it has said."""

    def __init__(self, wanted: str = ALL) -> None:
        self.machine = Machine()
        self.machine.notes.wanted = wanted
        self.told: list[list[Note] | None] = []
        self.machine.note_listeners.append(self.told.append)

    def take(self) -> list[str]:
        """In short: `channel=payload` or `event:key`."""
        assert None not in self.told
        notes = [note for batch in self.told for note in batch or ()]
        self.told.clear()
        return [_short(note) for note in notes]


def do_all(machine: Machine, *commands: Command) -> None:
    at(machine, machine.now_ms, *commands)


def _short(note: Note) -> str:
    if isinstance(note, Flushed):
        return "flushed"
    if isinstance(note, KeyEvent):
        return f"{note.event.decode()}:{note.key.decode()}"
    return f"{note.channel.decode()}{'!' * note.is_sharded}={note.payload.decode()}"


def test_messages_and_events_are_told_in_order_once_a_batch() -> None:
    heard = Heard()
    assert values(heard.machine, "PUBLISH c 1", "SETN a 1", "SPUBLISH c 2") == [0, "OK", 0]
    assert [len(batch or ()) for batch in heard.told] == [4]
    assert heard.take() == ["c=1", "new:a", "setn:a", "c!=2"]
    do(heard.machine, Tick())
    assert heard.told == []


def test_messages_change_nothing() -> None:
    machine = Machine()
    digest = machine.digest
    values(machine, "PUBLISH c 1")
    assert (machine.digest, machine.revision) == (digest, 0)


def test_a_call_that_fails_has_said_nothing() -> None:
    heard = Heard()
    assert isinstance(values(heard.machine, "BOAST a", "PUBLISH c 1")[0], Failure)
    values(heard.machine, "PUBLISH c 2", "BOAST a", "SETN b 1", atomic=True)
    assert heard.take() == ["c=1", "c=2", "new:b", "setn:b"]


def test_a_transaction_that_is_not_done_has_said_nothing() -> None:
    heard = Heard()
    do(heard.machine, Put(b"w", b""))
    heard.take()
    assert values(heard.machine, "PUBLISH c 1", atomic=True, watched=((b"w", 7),)) == [NIL_ARRAY]
    assert heard.take() == []


def test_a_retry_says_nothing_again() -> None:
    heard, once = Heard(), Once(b"t", bytes(16))
    assert values(heard.machine, "PUBLISH c 1", "SETN a 1", atomic=True, once=once) == [0, "OK"]
    assert heard.take() == ["c=1", "new:a", "setn:a"]
    assert values(heard.machine, "PUBLISH c 1", "SETN a 1", atomic=True, once=once) == [0, "OK"]
    assert heard.take() == []


def test_an_answer_too_large_to_be_remembered_says_nothing() -> None:
    heard = Heard()
    calls(heard.machine, *[f"SET k{number} {'x' * 999}" for number in range(20)])
    keys = " ".join(f"k{number}" for number in range(20))
    heard.take()
    answers = values(
        heard.machine, "PUBLISH c 1", f"MGET {keys}", once=Once(b"u", bytes(16)), atomic=True
    )
    assert isinstance(answers[0], Failure)
    assert heard.take() == []


def test_events_that_nobody_wants_are_not_noted() -> None:
    heard = Heard("g")
    values(heard.machine, "SETN a 1")
    do_all(heard.machine, Put(b"a", b"2"), Delete(b"a"))
    assert heard.take() == ["del:a"]
    heard.machine.notes.wanted = ""
    do_all(heard.machine, Put(b"a", b"2"), Delete(b"a"))
    assert heard.told == []


OTHERS: list[tuple[list[Command], list[str]]] = [
    ([Put(b"a", b"1")], ["new:a", "set:a"]),
    ([Put(b"a", b"1"), Put(b"a", b"1")], ["new:a", "set:a", "set:a"]),
    ([Put(b"a", b"1", ttl_ms=9)], ["new:a", "set:a", "expire:a"]),
    ([Increment(b"a", 1), Append(b"a", b"1", size_bytes_max=9)], ["new:a", "set:a", "set:a"]),
    (
        [Put(b"a", b"1"), Expire(b"a", ttl_ms=9), Persist(b"a"), Persist(b"a")],
        ["new:a", "set:a", "expire:a", "persist:a"],
    ),
    ([Put(b"a", b"1"), Delete(b"a"), Delete(b"a")], ["new:a", "set:a", "del:a"]),
    (
        [Put(b"a", b"1"), Txn(success=(Put(b"b", b"1"), Delete(b"a"), Put(b"c", b"1")))],
        ["new:a", "set:a", "new:b", "set:b", "del:a", "new:c", "set:c"],
    ),
    (
        [Put(b"a", b"1"), Put(b"b", b"1"), Evict(((b"a", 1), (b"b", 1)))],
        ["new:a", "set:a", "new:b", "set:b", "evicted:a"],
    ),
]


@pytest.mark.parametrize(("commands", "said"), OTHERS, ids=repr)
def test_other_commands_say_what_calls_would(commands: list[Command], said: list[str]) -> None:
    heard = Heard()
    do_all(heard.machine, *commands)
    assert heard.take() == said


def test_a_flush_is_told_as_one() -> None:
    heard = Heard()
    do_all(heard.machine, Put(b"a", b"1"), Put(b"b", b"1"))
    heard.take()
    values(heard.machine, "FLUSHALL", "FLUSHDB ASYNC", "FLUSHALL nothing")
    assert heard.take() == ["flushed", "flushed"]
    do_all(heard.machine, Put(b"a", b"1"), DeleteRange(b"", b""), DeleteRange(b"", b"x"))
    assert heard.take() == ["new:a", "set:a", "flushed"]


def test_keys_that_expire() -> None:
    heard = Heard("xg$")
    at(heard.machine, 1000, Put(b"a", b"1", ttl_ms=5), Put(b"b", b"1", ttl_ms=5))
    heard.take()
    at(heard.machine, 1005, Tick())
    assert sorted(heard.take()) == ["expired:a", "expired:b"]


def test_a_key_that_goes_with_its_lease() -> None:
    heard = Heard("xg")
    at(heard.machine, 1000, LeaseGrant(500), LeaseGrant(5000))
    do_all(heard.machine, LeasedPut(b"a", b"1", 1), LeasedPut(b"b", b"1", 2))
    at(heard.machine, 1500, Tick())
    do(heard.machine, LeaseRevoke(2))
    assert heard.take() == ["expired:a", "del:b"]


def test_who_listens_learns_that_a_loaded_image_left_something_out() -> None:
    heard = Heard()
    other = copy(heard.machine)
    loader = heard.machine.loader()
    for piece in other.dump():
        loader.feed(piece)
    loader.install()
    assert heard.told == [None]
    heard.told.clear()
    values(heard.machine, "PUBLISH c 1", "SETN a 1")
    assert heard.take() == ["c=1", "new:a", "setn:a"]
