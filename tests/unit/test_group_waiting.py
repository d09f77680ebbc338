"""XREADGROUP: who is served when something comes, and what those who wait are told at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from raftcache.command.calls import CallsSince
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.values import NIL_ARRAY, Entries, Failure, Value
from raftcache.errors import NotLeader, Unknown
from raftcache.service.blocking import Blocking
from raftcache.service.redis import RedisService
from raftcache.service.wording import WRONG_TYPE
from raftcache.state.redis.group_reads import GIVEN_WAITING_MAX, GROUP_GONE, KEY_GONE
from tests.support.fake_kv import FakeKv
from tests.unit import test_blocking
from tests.unit.test_blocking import answer, turns, words
from tests.unit.test_redis_service import Dice, on_loop, run
from tests.unit.test_scripts import Node

SIZE_MAX = 1 << 20

READ = "XREADGROUP GROUP g {} COUNT {} BLOCK 0 STREAMS s >"


class Room(test_blocking.Room):
    """Consumers of a group who wait at one node."""

    def __init__(self, kv: FakeKv) -> None:
        super().__init__(kv, SIZE_MAX)
        self.write("XGROUP CREATE s g 0 MKSTREAM")
        kv.commands.clear()

    def write(self, *lines: str, atomic: bool = False) -> None:
        """What somebody else writes."""
        calls = tuple(map(words, lines))
        holding, self.kv.holding = self.kv.holding, False
        self.kv.write(CallsSince(calls, SIZE_MAX, atomic, since=INTEGER_MAX), lambda _: None)
        self.kv.commands.pop()
        self.kv.holding = holding

    def add(self, *numbers: int, key: str = "s") -> None:
        self.write(*[f"XADD {key} {number}-0 f v" for number in numbers])

    @property
    def places(self) -> float:
        return self.blocking.gauges()["places_in_lines"]


@asynccontextmanager
async def room() -> AsyncIterator[Room]:
    made = Room(FakeKv())
    yield made
    made.blocking.stop("the test is over")
    await turns()
    assert made.places == 0
    assert made.blocking._names == made.blocking._lines == {}
    assert made.kv.machine.history.listeners == []


def given(*numbers: int, key: bytes = b"s") -> Entries:
    return Entries([(key, [[b"%d-0" % number, [b"f", b"v"]] for number in numbers])])


@on_loop
async def test_what_is_there_is_given_at_once() -> None:
    async with room() as here:
        here.add(1, 2, 3)
        assert await answer(here.wait(READ.format("a", 2))) == given(1, 2)
        assert await answer(here.wait("XREADGROUP GROUP g b STREAMS s >")) == given(3)
        assert here.kv.wants == []
        assert await answer(here.wait("XREADGROUP GROUP g a STREAMS s 0")) == given(1, 2)
        assert await answer(here.wait("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0")) == given()
        assert [type(each) for each in here.kv.commands] == [CallsSince] * 4


@on_loop
async def test_who_finds_nothing_costs_the_log_nothing() -> None:
    async with room() as here:
        assert await answer(here.wait("XREADGROUP GROUP g a STREAMS s >")) is NIL_ARRAY
        assert await answer(here.wait("XREADGROUP GROUP g a BLOCK 1 STREAMS s >")) is NIL_ARRAY
        waiting = here.wait(READ.format("a", 1))
        await turns()
        assert here.places == 1
        here.write(
            "SET other x", "XGROUP CREATECONSUMER s g z", "XACK s g 1", "XGROUP CREATE s h 0"
        )
        await turns()
        assert not waiting.done()
        assert here.written == []


@on_loop
async def test_who_waits_for_many_streams_looks_at_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thrice was 100 µs for each, of up to 30,000; what is found changes only in another turn."""
    async with room() as here:
        count, seen, look = 50, [], here.blocking._look
        here.write(*[f"XGROUP CREATE s{number} g 0 MKSTREAM" for number in range(count)])
        monkeypatch.setattr(here.blocking, "_look", lambda reader: seen.append(1) or look(reader))
        keys = " ".join(f"s{number}" for number in range(count))
        waiting = here.wait(f"XREADGROUP GROUP g a BLOCK 0 STREAMS {keys} {'> ' * count}")
        await turns()
        assert len(seen) <= count + 2
        here.add(1, key="s7")
        assert await answer(waiting) == given(1, key=b"s7")


@on_loop
async def test_those_who_wait_are_served_in_their_order() -> None:
    async with room() as here:
        waiting = [here.wait(READ.format(f"c{number}", 2)) for number in range(100)]
        await turns()
        for number in range(4):
            here.add(number + 1)
        await turns()
        assert [await answer(each) for each in waiting[:2]] == [given(1, 2), given(3, 4)]
        assert not any(each.done() for each in waiting[2:])
        assert len(here.written) == 2
        here.add(*range(5, 200))
        for place, each in enumerate(waiting[2:], 2):
            expected = (2 * place + 1, 2 * place + 2) if place < 99 else (199,)
            assert await answer(each) == given(*expected)


@on_loop
async def test_groups_do_not_wait_for_each_other() -> None:
    async with room() as here:
        here.write("XGROUP CREATE s h 0", "XGROUP CREATE t g 0 MKSTREAM")
        lines = ("GROUP g a BLOCK 0 STREAMS t s > >", "GROUP h a BLOCK 0 STREAMS s >")
        both = [here.wait(f"XREADGROUP {line}") for line in lines]
        behind = here.wait(READ.format("b", 9))
        await turns()
        assert here.places == 4
        here.add(1)
        assert [await answer(each) for each in both] == [given(1), given(1)]
        await turns()
        assert not behind.done()
        here.add(2, 3)
        assert await answer(behind) == given(2, 3)


@on_loop
async def test_who_comes_while_others_wait_stands_behind_them() -> None:
    async with room() as here:
        first = here.wait(READ.format("a", 1))
        await turns()
        here.kv.holding = True
        here.add(1)
        await turns()
        here.add(2)
        second = here.wait(READ.format("b", 1))
        here.kv.release()
        assert [await answer(each) for each in (first, second)] == [given(1), given(2)]


@on_loop
async def test_what_another_node_was_given_is_not_given_again() -> None:
    async with room() as here:
        waiting = here.wait(READ.format("a", 9))
        await turns()
        here.write("XADD s 1-0 f v", "XREADGROUP GROUP g z STREAMS s >")
        await turns()
        assert not waiting.done()
        here.kv.holding = True
        here.add(2)
        await turns()
        assert not waiting.cancel()  # it may be given something just now
        here.kv.release()
        assert await answer(waiting) == given(2)


@on_loop
async def test_who_has_waited_without_a_count_is_given_what_redis_gives() -> None:
    async with room() as here:
        waiting = here.wait("XREADGROUP NOACK GROUP g a BLOCK 0 STREAMS s >")
        await turns()
        here.add(*range(1, GIVEN_WAITING_MAX + 2))
        found = await answer(waiting)
        assert isinstance(found, Entries)
        assert len(found.pairs[0][1]) == GIVEN_WAITING_MAX
        assert here.kv.machine.call([words("XPENDING s g")], 0) == [[0, None, None, NIL_ARRAY]]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["DEL s"], KEY_GONE),
        (["SET s x"], KEY_GONE),
        (["RENAME s u"], KEY_GONE),
        (["PEXPIRE s 0"], KEY_GONE),
        (["FLUSHALL"], KEY_GONE),
        (["DEL s", "SADD s m"], KEY_GONE),
        (["XGROUP DESTROY s g"], GROUP_GONE),
        (["XGROUP DESTROY s g", "XADD s 1-0 f v"], GROUP_GONE),
        (["XGROUP DESTROY s g", "XGROUP CREATE s g 0", "XADD s 1-0 f v"], GROUP_GONE),
        (["DEL s", "XGROUP CREATE s g 0 MKSTREAM"], GROUP_GONE),
        (["COPY t s REPLACE"], GROUP_GONE),
    ],
)
@on_loop
async def test_who_waits_for_what_is_gone_is_told_so(lines: list[str], told: Failure) -> None:
    async with room() as here:
        here.write("XADD t 1-0 f v")
        waiting = [here.wait(READ.format(name, 1)) for name in "ab"]
        await turns()
        here.write(*lines, atomic=True)
        assert [await answer(each) for each in waiting] == [told, told]
        assert here.written == []


@on_loop
async def test_a_group_that_goes_during_an_attempt() -> None:
    async with room() as here:
        waiting = here.wait(READ.format("a", 1))
        await turns()
        here.kv.holding = True
        here.add(1)
        await turns()
        here.write("XGROUP DESTROY s g")
        here.kv.release()
        assert await answer(waiting) == GROUP_GONE


@on_loop
async def test_who_comes_after_a_group_was_made_anew_waits_for_the_new_one() -> None:
    async with room() as here:
        old = here.wait(READ.format("a", 1))
        await turns()
        here.write("XGROUP DESTROY s g", "XGROUP CREATE s g 0")
        new = here.wait(READ.format("b", 1))
        assert await answer(old) == GROUP_GONE
        here.add(1)
        assert await answer(new) == given(1)


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        (
            "XREADGROUP GROUP none a BLOCK 0 STREAMS s >",
            "NOGROUP No such key 's' or",
        ),
        ("XREADGROUP GROUP g a BLOCK 0 STREAMS s none > >", "NOGROUP No such key 'none'"),
        ("XREADGROUP GROUP g a BLOCK 0 STREAMS s $", "ERR The $ ID is meaningless"),
        ("XREADGROUP GROUP g a BLOCK -1 STREAMS s >", "ERR timeout is negative"),
        ("XREADGROUP GROUP g a BLOCK 0 STREAMS s x", "ERR Invalid stream ID"),
        ("XREADGROUP BLOCK 0 NOACK COUNT 1 STREAMS s >", "ERR Missing GROUP option"),
        ("XREADGROUP GROUP g a BLOCK 0 STREAMS text >", WRONG_TYPE.text),
    ],
)
@on_loop
async def test_what_is_wrong_is_told_at_once(line: str, begins: str) -> None:
    async with room() as here:
        here.write("SET text x")
        refused = await answer(here.wait(line))
        assert refused.text.startswith(begins)
        assert here.written == []


@on_loop
async def test_what_the_cluster_says_is_the_answer() -> None:
    async with room() as here:
        waiting = [here.wait(READ.format(name, 1)) for name in "ab"]
        await turns()
        here.kv.error = NotLeader("nobody")
        here.add(1)
        await turns()
        assert not any(each.done() for each in waiting)  # it did not happen: again, later
        here.kv.error = None
        here.add(1)
        assert await answer(waiting[0]) == given(1)
        here.kv.error = Unknown("who knows")
        with pytest.raises(Unknown):
            await answer(here.wait("XREADGROUP GROUP g a STREAMS s 0"))
        here.kv.error = None


@on_loop
async def test_a_numbered_one_takes_once() -> None:
    async with room() as here:
        call, token = words(READ.format("a", 1)), b"t" * 16
        first = here.blocking.call(call, token)
        await turns()
        assert not first.done()
        here.add(1, 2)
        assert await answer(first) == given(1)
        assert await answer(here.blocking.call(call, token)) == given(1)
        assert await answer(here.blocking.call(call, b"u" * 16)) == given(2)


# How they are proposed.


@on_loop
async def test_in_a_pipeline_and_a_transaction() -> None:
    kv = FakeKv()
    loop = asyncio.get_running_loop()
    blocking = Blocking(kv, kv.machine, loop, SIZE_MAX)
    service = RedisService(kv, kv.machine, Dice(), loop, SIZE_MAX, blocking.calls)
    lines = ("XGROUP CREATE s g 0 MKSTREAM", "XADD s 1-0 f v", "XREADGROUP GROUP g a STREAMS s >")
    found = await run(service, *lines, "XACK s g 1", "XPENDING s g")
    assert found == ["OK", b"1-0", given(1), 1, [0, None, None, NIL_ARRAY]]
    assert [len(each.calls) for each in kv.commands if isinstance(each, CallsSince)] == [2, 1, 1]
    done: list[Value] = []
    block = words("XREADGROUP GROUP g a BLOCK 0 STREAMS s >")
    service.transact([block, words("XINFO GROUPS s")], {}, done.append)
    assert done[0][0] is NIL_ARRAY
    assert done[0][1][0][b"lag"] == 0


@on_loop
async def test_scripts_of_an_older_cluster_know_no_groups() -> None:
    node = Node()
    node.kv.commands_version = 4
    create = node.part("return redis.call('XGROUP', 'CREATE', 's', 'g', '0', 'MKSTREAM')")
    node.begin(create, (b"XADD", b"s", b"1-0", b"f", b"v"))
    [[first, second]] = await node.ended(1)
    assert first.text.startswith("TRYAGAIN XGROUP needs commands of version 5")
    assert second == b"1-0"


@on_loop
async def test_scripts_use_groups_and_do_not_wait() -> None:
    node = Node()
    read = "redis.call('{}', 'GROUP', 'STREAMS', 'a', 'NOACK', 'COUNT', 1, {} 'STREAMS', 's', '>')"
    refused = await node.run("return " + read.format("xreadgroup", "'BLOCK', '0',"))
    assert "xreadgroup command is not allowed with BLOCK option from scripts" in refused.text
    lines = (
        "redis.call('XGROUP', 'CREATE', 's', 'STREAMS', '0', 'MKSTREAM')",
        "redis.call('XADD', 's', '1-0', 'f', 'v')",
        "return " + read.format("XREADGROUP", ""),
    )
    assert await node.run(" ".join(lines)) == [[b"s", [[b"1-0", [b"f", b"v"]]]]]
