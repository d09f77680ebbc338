"""KEYS, scans with cursors, DBSIZE and flushes, over as many keys as there may be."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from random import Random

import pytest

from raftcache.command.calls import Calls
from raftcache.command.limits import RANGE_KEYS_MAX
from raftcache.command.values import Failure, Value
from raftcache.command.words import Command, DeleteRange, Put, Tick
from raftcache.errors import NotLeader, Unknown
from raftcache.service import cursors, scanning
from raftcache.service.cursors import CURSOR_BITS, Cursors, Place
from raftcache.service.kv import Outcome
from raftcache.service.scanning import (
    AT_ONCE_MAX,
    FLUSH_AT_ONCE_KEYS_MAX,
    FLUSH_KEYS,
    Scanning,
)
from raftcache.state.machine import Machine
from tests.support.fake_kv import FakeKv
from tests.unit.test_redis_service import on_loop

SEED = 7


class Dice:
    """Chance from a seed."""

    def __init__(self) -> None:
        self._dice = Random(SEED)

    def random(self) -> float:
        return self._dice.random()

    def token(self, size_bytes: int) -> bytes:
        return self._dice.randbytes(size_bytes)


@pytest.fixture
def kv() -> FakeKv:
    return FakeKv()


@pytest.fixture
def service(kv: FakeKv) -> Scanning:
    return Scanning(kv, kv.machine, Dice())


def do(kv: FakeKv, line: str) -> None:
    kv.write(Calls((tuple(line.encode().split()),), 1000), lambda _: None)


def fill(kv: FakeKv, count: int, prefix: str = "k") -> list[bytes]:
    names = [f"{prefix}{number:06}" for number in range(count)]
    for start in range(0, count, 1000):
        do(kv, "MSET " + " ".join(f"{name} v" for name in names[start : start + 1000]))
    return [name.encode() for name in names]


async def ask(service: Scanning, line: str) -> Value:
    call = tuple(line.encode().split())
    return await service.calls[call[0]](call)


async def scan(
    service: Scanning, line: str, meanwhile: Callable[[], None] = lambda: None
) -> list[Value]:
    """All that a scan tells; line has {} where the cursor stands."""
    cursor, found = b"0", list[Value]()
    for _ in range(10_000):
        cursor, values = await ask(service, line.format(cursor.decode()))
        found += values
        if cursor == b"0":
            return found
        meanwhile()
    raise AssertionError("it has no end")


@on_loop
async def test_keys_are_those_of_one_moment(kv: FakeKv, service: Scanning) -> None:
    names = fill(kv, 3000)
    asked = asyncio.ensure_future(ask(service, "KEYS *"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not asked.done()
    do(kv, "DEL k002999 k000000")
    do(kv, "SET k002998x v")
    assert await asked == names
    assert await ask(service, "KEYS k00299[89]*") == [b"k002998", b"k002998x"]
    assert await ask(service, "KEYS k000001") == [b"k000001"]
    assert await ask(service, "KEYS x*") == []


@on_loop
async def test_keys_answers_with_so_many(kv: FakeKv, service: Scanning) -> None:
    fill(kv, 300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "KEYS_FOUND_MAX", 299)
        assert isinstance(await ask(service, "KEYS *"), Failure)
        assert len(await ask(service, "KEYS k0002*")) == 100


@on_loop
async def test_a_scan_tells_every_key_once(kv: FakeKv, service: Scanning) -> None:
    names = fill(kv, 1000)
    do(kv, "SADD set m")
    assert await scan(service, "SCAN {} COUNT 7") == [*names, b"set"]
    assert await scan(service, "SCAN {} COUNT 100000") == [*names, b"set"]
    assert await scan(service, "SCAN {} MATCH *99 COUNT 40") == [
        n for n in names if n[-2:] == b"99"
    ]
    assert await scan(service, "SCAN {} TYPE set COUNT 50") == [b"set"]
    first, _ = await ask(service, "SCAN 0")
    assert 0 < int(first) < 1 << CURSOR_BITS


@on_loop
async def test_what_stays_is_told_whatever_comes_and_goes(kv: FakeKv, service: Scanning) -> None:
    names = fill(kv, 400)
    dice = Random(SEED)
    gone = set[bytes]()

    def change() -> None:
        victim = dice.choice(names)
        gone.add(victim)
        do(kv, f"DEL {victim.decode()}")
        do(kv, f"SET k{dice.randrange(400):06}x v")

    found = await scan(service, "SCAN {} COUNT 3", change)
    assert len(found) == len(set(found))
    assert set(names) - gone <= set(found)


@on_loop
async def test_scans_of_elements(kv: FakeKv, service: Scanning) -> None:
    members = [f"m{number:04}" for number in range(1000)]
    do(kv, "SADD s " + " ".join(members))
    do(kv, "ZADD z " + " ".join(f"{number} {member}" for number, member in enumerate(members)))
    do(kv, "SADD small " + " ".join(members[:AT_ONCE_MAX]))
    names = [member.encode() for member in members]
    assert await scan(service, "SSCAN s {} COUNT 9") == names
    assert await scan(service, "SSCAN s {} COUNT 1000000") == names
    pairs = itertools.chain(*((name, b"%d" % number) for number, name in enumerate(names)))
    assert await scan(service, "ZSCAN z {} COUNT 30") == list(pairs)
    assert await scan(service, "ZSCAN z {} MATCH *77 COUNT 30") == [
        each for number in range(77, 1000, 100) for each in (b"m%04d" % number, b"%d" % number)
    ]
    do(kv, "HSET h " + " ".join(f"{member} {member}v" for member in members))
    both = [each for name in names for each in (name, name + b"v")]
    assert await scan(service, "HSCAN h {} COUNT 30") == both
    assert await scan(service, "HSCAN h {} NOVALUES COUNT 300") == names
    cursor, found = await ask(service, "SSCAN small 0 COUNT 1")
    assert (cursor, found) == (b"0", names[:AT_ONCE_MAX])


@on_loop
async def test_a_step_has_so_many_bytes(kv: FakeKv, service: Scanning) -> None:
    do(kv, "SADD s " + " ".join(f"{number:03}{'x' * 900}" for number in range(100)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "PAGE_SIZE_BYTES_MAX", 9000)
        cursor, found = await ask(service, "SSCAN s 0 COUNT 100")
        assert (cursor != b"0", len(found)) == (True, 10)
        assert len(await scan(service, "SSCAN s {} COUNT 100")) == 100


@on_loop
async def test_a_collection_that_goes_ends_its_scan(kv: FakeKv, service: Scanning) -> None:
    do(kv, "SADD s " + " ".join(f"m{number}" for number in range(500)))
    cursor, _ = await ask(service, "SSCAN s 0")
    do(kv, "DEL s")
    assert await ask(service, f"SSCAN s {cursor.decode()}") == [b"0", []]
    do(kv, "SET s v")
    wrong = await ask(service, f"SSCAN s {cursor.decode()}")
    assert isinstance(wrong, Failure)
    assert wrong.text.startswith("WRONGTYPE")


@on_loop
async def test_a_cursor_is_of_one_scan_and_may_be_used_again(kv: FakeKv, service: Scanning) -> None:
    fill(kv, 100)
    do(kv, "SADD s " + " ".join(f"m{number}" for number in range(500)))
    first, _ = await ask(service, "SCAN 0")
    second, values = await ask(service, f"SCAN {first.decode()}")
    assert (await ask(service, f"SCAN {first.decode()}"))[1] == values
    await ask(service, f"SCAN {second.decode()}")
    for line in (f"SCAN {first.decode()}", f"SSCAN s {second.decode()}", "SCAN 1", "ZSCAN none x"):
        refused = await ask(service, line)
        assert isinstance(refused, Failure), line
        assert refused.text.startswith("ERR invalid cursor")
    other = Scanning(kv, kv.machine, Dice())
    assert isinstance(await ask(other, f"SCAN {second.decode()}"), Failure)


def test_the_table_of_cursors_forgets_the_oldest() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cursors, "CURSORS_MAX", 3)
        patch.setattr(cursors, "CURSORS_SIZE_BYTES_MAX", 100)
        table = Cursors(Dice())
        scanned = (b"SCAN",)
        numbers = [table.put(Place(scanned, b"a", 0)) for _ in range(4)]
        assert [table.find(number, scanned) is None for number in numbers] == [True] + [False] * 3
        numbers.append(table.put(Place(scanned, b"a" * 95, 0)))
        assert [table.find(number, scanned) is None for number in numbers] == [True] * 4 + [False]
        assert len(table) == 1
    assert table.find(0, scanned) == Place(scanned)


@on_loop
async def test_the_size_is_without_what_is_overdue(kv: FakeKv, service: Scanning) -> None:
    fill(kv, 10)
    kv.write(Put(b"due", b"", ttl_ms=100), lambda _: None)
    assert await ask(service, "DBSIZE") == 11
    kv.time_ms += 100
    assert await ask(service, "DBSIZE") == 10
    assert kv.commands[-1] == Tick()


@on_loop
async def test_a_flush_is_one_revision_as_long_as_it_may(kv: FakeKv, service: Scanning) -> None:
    fill(kv, 1500)
    before = kv.machine.revision
    assert await ask(service, "FLUSHALL NOW") == Failure("ERR syntax error")
    assert await ask(service, "FLUSHALL ASYNC") == "OK"
    assert (kv.machine.count, kv.machine.revision) == (0, before + 1)
    assert await ask(service, "FLUSHDB") == "OK"


@on_loop
async def test_a_flush_with_a_number_is_done_once(kv: FakeKv, service: Scanning) -> None:
    """Again it would take what came after it, and is remembered as done."""
    do(kv, "SET a 1")
    flush = service.calls[b"FLUSHALL"]
    assert await flush((b"FLUSHALL",), b"t:1") == "OK"
    assert kv.machine.count == 0
    do(kv, "SET b 1")
    assert await flush((b"FLUSHALL",), b"t:1") == "OK"
    assert kv.machine.count == 1
    fill(kv, RANGE_KEYS_MAX)
    answer = await flush((b"FLUSHALL",), b"t:2")
    assert isinstance(answer, Failure)
    assert f"at most {RANGE_KEYS_MAX} keys" in answer.text
    kv.error = Unknown("who knows")
    with pytest.raises(Unknown):
        await flush((b"FLUSHALL",), b"t:3")


@on_loop
async def test_a_larger_flush_removes_what_was_there_in_pieces(
    kv: FakeKv, service: Scanning
) -> None:
    fill(kv, count := FLUSH_AT_ONCE_KEYS_MAX + 500)
    fresh = itertools.count()
    kv.write = _meanwhile(kv, lambda: do_quietly(kv, f"SET a{next(fresh)} v"))  # type: ignore[method-assign]
    assert await ask(service, "FLUSHALL") == "OK"
    left = list(kv.machine.items())
    assert left
    assert all(key.startswith(b"a") for key, _ in left)
    pieces = [command for command in kv.commands if isinstance(command, DeleteRange)]
    assert len(pieces) == math.ceil(count / FLUSH_KEYS)


@on_loop
async def test_a_flush_at_a_node_that_is_behind_removes_what_others_have(
    kv: FakeKv, service: Scanning, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(kv, RANGE_KEYS_MAX + 500)
    monkeypatch.setattr(Machine, "count", 0)
    assert await ask(service, "FLUSHALL") == "OK"
    monkeypatch.undo()
    assert kv.machine.count == 0


@on_loop
async def test_a_flush_that_ends_midway_is_unknown(kv: FakeKv, service: Scanning) -> None:
    fill(kv, count := FLUSH_AT_ONCE_KEYS_MAX + 500)
    left = iter(range(3))

    def break_off() -> None:
        if next(left, None) is None:
            kv.error = NotLeader("gone")

    kv.write = _meanwhile(kv, break_off)  # type: ignore[method-assign]
    with pytest.raises(Unknown, match="some of the keys were removed: gone"):
        await ask(service, "FLUSHALL")
    assert 0 < kv.machine.count < count


def _meanwhile(
    kv: FakeKv, act: Callable[[], None]
) -> Callable[[Command, Callable[[Outcome], None]], None]:
    """A write that something else comes before, if it is of a range."""
    write = kv.write

    def written(command: Command, done: Callable[[Outcome], None]) -> None:
        if isinstance(command, DeleteRange):
            act()
        write(command, done)

    return written


def do_quietly(kv: FakeKv, line: str) -> None:
    FakeKv.write(kv, Calls((tuple(line.encode().split()),), 1000), lambda _: None)
