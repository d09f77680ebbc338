"""XREAD: what it reads, whom an XADD wakes, how a wait ends; and how streams are proposed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager

import pytest

from raftcache.command.calls import Calls, CallsRehearsed, CallsSince
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.values import NIL_ARRAY, Entries, Failure, Value
from raftcache.errors import NotLeader, Overloaded
from raftcache.service import stream_waiting
from raftcache.service.redis import RedisService
from raftcache.service.stream_waiting import StreamWaiting
from raftcache.service.wording import MISTAKE, WRONG_TYPE
from raftcache.state.redis import stream_reads
from tests.support.fake_kv import FakeKv
from tests.unit.test_blocking import LONG_S, turns, words
from tests.unit.test_redis_service import Dice, on_loop, run
from tests.unit.test_scripts import Node

SIZE_MAX = 1 << 20


class Room:
    """Who waits at one node."""

    def __init__(self, kv: FakeKv) -> None:
        self.kv = kv
        self.noted: list[bytes] = []
        loop = asyncio.get_running_loop()
        self.waiting = StreamWaiting(kv, kv.machine, loop, self.noted.append)
        self.waiting.start()

    def read(self, line: str) -> asyncio.Future[Value]:
        return self.waiting.call(words(line))

    def write(self, *lines: str, atomic: bool = False) -> None:
        """What somebody else writes."""
        calls = tuple(map(words, lines))
        holding, self.kv.holding = self.kv.holding, False
        self.kv.write(CallsSince(calls, SIZE_MAX, atomic, since=INTEGER_MAX), lambda _: None)
        self.kv.holding = holding

    def add(self, *ids: str, key: str = "s") -> None:
        self.write(*[f"XADD {key} {each} f v" for each in ids])

    @property
    def places(self) -> float:
        return self.waiting.gauges()["places_at_streams"]


@asynccontextmanager
async def room() -> AsyncIterator[Room]:
    made = Room(FakeKv())
    yield made
    made.waiting.stop("the test is over")
    await turns()
    assert made.places == 0
    assert made.kv.machine.history.listeners == []


async def answer(future: Awaitable[Value]) -> Value:
    return await asyncio.wait_for(future, LONG_S)


def entries(*ids: bytes, key: bytes = b"s") -> tuple[bytes, Value]:
    return key, [[each, [b"f", b"v"]] for each in ids]


@on_loop
async def test_what_is_there_is_told_after_a_round() -> None:
    async with room() as here:
        here.kv.holding = True
        asked = [here.read("XREAD STREAMS s t 0 0"), here.read("XREAD BLOCK 0 STREAMS s t 1 0")]
        await turns()
        here.add("1-1", "1-2")  # acknowledged before the round is over
        here.kv.release()
        assert await answer(asked[0]) == Entries([entries(b"1-1", b"1-2")])
        assert await answer(asked[1]) == Entries([entries(b"1-1", b"1-2")])
        assert here.places == 0
        here.add("7-0", key="t")
        assert await answer(here.read("XREAD COUNT 1 STREAMS t s 0 0")) == Entries(
            [entries(b"7-0", key=b"t"), entries(b"1-1")]
        )
        assert await answer(here.read("XREAD STREAMS s 1-2")) is NIL_ARRAY
        assert here.noted[-3:] == [b"t", b"s", b"s"]


@on_loop
async def test_all_who_wait_are_told_the_same() -> None:
    async with room() as here:
        here.add("1-1")
        asked = [here.read("XREAD BLOCK 0 STREAMS none s 0 $") for _ in range(3)]
        later = here.read("XREAD BLOCK 0 STREAMS s 1-2")
        await turns()
        assert here.places == 7
        here.write("SET other x", "XDEL s 1-1")
        await turns()
        assert not any(each.done() for each in asked)
        here.add("1-2")
        for each in asked:
            assert await answer(each) == Entries([entries(b"1-2")])
        assert not later.done()
        here.add("1-3", "1-4")
        assert await answer(later) == Entries([entries(b"1-3", b"1-4")])


@on_loop
async def test_the_end_is_that_of_a_fresh_state() -> None:
    async with room() as here:
        here.add("1-1")
        here.kv.holding = True
        asked = here.read("XREAD BLOCK 0 STREAMS s $")
        await turns()
        here.add("1-2")
        here.kv.release()
        await turns()
        assert not asked.done(), "the last id is that of the round"
        here.add("1-3")
        assert await answer(asked) == Entries([entries(b"1-3")])


@on_loop
async def test_that_nothing_came_is_said_of_a_fresh_state() -> None:
    async with room() as here:
        assert await answer(here.read("XREAD BLOCK 5 STREAMS s 0")) is NIL_ARRAY
        assert len(here.kv.wants) == 2
        asked = here.read("XREAD BLOCK 1 STREAMS s 0")
        await turns()
        here.kv.error = NotLeader("nobody")
        with pytest.raises(NotLeader):
            await answer(asked)
        with pytest.raises(NotLeader):
            await answer(here.read("XREAD STREAMS s 0"))


@on_loop
async def test_a_key_of_another_type_is_an_error_at_first_and_no_reason_to_go_later() -> None:
    async with room() as here:
        here.write("SET s x")
        assert await answer(here.read("XREAD BLOCK 0 STREAMS s 0")) == WRONG_TYPE
        here.write("DEL s")
        asked = here.read("XREAD BLOCK 0 STREAMS s 0")
        await turns()
        here.write("SET s x")
        await turns()
        here.write("DEL s")
        await turns()
        here.add("1-1")
        assert await answer(asked) == Entries([entries(b"1-1")])


@on_loop
async def test_what_came_and_went_is_not_told() -> None:
    async with room() as here:
        asked = here.read("XREAD BLOCK 0 STREAMS s 0")
        await turns()
        here.write("XADD s 1-1 f v", "XDEL s 1-1", atomic=True)
        await turns()
        assert not asked.done()
        here.add("1-2")
        assert await answer(asked) == Entries([entries(b"1-2")])


@on_loop
async def test_who_goes_is_forgotten() -> None:
    async with room() as here:
        asked = [here.read("XREAD BLOCK 60000 STREAMS s t 0 0") for _ in range(2)]
        await turns()
        assert here.places == 4
        assert asked[0].cancel()
        await turns()
        assert here.places == 2
        here.waiting.cut_off_all("too late")
        with pytest.raises(NotLeader, match="too late"):
            await answer(asked[1])


@on_loop
async def test_when_the_history_has_a_gap_all_look() -> None:
    async with room() as here:
        asked = here.read("XREAD BLOCK 0 STREAMS s 0")
        await turns()
        here.add("1-1")
        here.kv.machine.history.begin_at(here.kv.machine.revision)
        here.write("SET other x")
        assert await answer(asked) == Entries([entries(b"1-1")])


@on_loop
async def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    async with room() as here:
        told = await answer(here.read("XREAD BLOCK -1 STREAMS s 0"))
        assert told == Failure("ERR timeout is negative")
        told = await answer(here.read("XREAD STREAMS s x"))
        assert told == Failure("ERR Invalid stream ID specified as stream command argument")
        monkeypatch.setattr(stream_waiting, "PLACES_MAX", 1)
        with pytest.raises(Overloaded):
            await answer(here.read("XREAD BLOCK 0 STREAMS s t 0 0"))
        monkeypatch.setattr(stream_reads, "behind", lambda *_, **__: 1 // 0)
        assert await answer(here.read("XREAD STREAMS s 0")) == MISTAKE
        here.waiting.stop("the node stops")
        with pytest.raises(NotLeader):
            await answer(here.read("XREAD STREAMS s 0"))


# Proposals.


def redis(kv: FakeKv) -> RedisService:
    loop = asyncio.get_running_loop()
    waiting = StreamWaiting(kv, kv.machine, loop)
    return RedisService(kv, kv.machine, Dice(), loop, SIZE_MAX, waiting.calls, gathers=True)


def proposed(kv: FakeKv) -> Sequence[type[Calls]]:
    return [type(each) for each in kv.commands if isinstance(each, Calls)]


@on_loop
async def test_what_older_nodes_do_not_know_is_proposed_apart() -> None:
    kv = FakeKv()
    service = redis(kv)
    pipelines = (
        ["SET a 1"],
        ["XADD s 1-1 f v", "XLEN s", "GET a"],
        ["SET b 1", "XLEN s"],
        ["XLEN s", "XREAD STREAMS s 0", "GET b"],
    )
    answers = await asyncio.gather(*[run(service, *each) for each in pipelines])
    assert answers[1][:2] == [b"1-1", 1]
    assert answers[2] == ["OK", 1]
    assert sorted(map(str, proposed(kv))) == sorted(map(str, [Calls, CallsSince, CallsSince]))


@on_loop
async def test_numbered_ones_and_transactions_say_what_they_need() -> None:
    kv = FakeKv()
    service = redis(kv)
    line = "XADD s * f v"
    first = await run(service, line, "XLEN s", tokens=(b"t:1", b""))
    assert first == [b"1000-0", 1]
    assert await run(service, line, tokens=(b"t:1",)) == [b"1000-0"]
    ended: list[Value] = []
    service.transact([words(line), words("XREAD BLOCK 0 STREAMS s $")], {}, ended.append)
    service.transact([words(line)], {b"absent": -1}, ended.append, b"t:2")
    service.transact([words("XLEN s")], {b"s": 0}, ended.append)
    assert ended == [[b"1000-1", NIL_ARRAY], [b"1000-2"], NIL_ARRAY]
    assert set(proposed(kv)) == {CallsSince}
    service.transact([words("SET a 1")], {}, ended.append)
    assert proposed(kv)[-1] is Calls


@on_loop
async def test_a_script_says_the_id_that_its_entry_gets() -> None:
    node = Node()
    source = "return redis.call('XADD', KEYS[1], 'MAXLEN', '~', '9', '*', 'f', 'v')"
    node.kv.holding = True
    node.begin(node.part(source, "s"))
    await node.until(lambda: node.kv.held)
    node.kv.time_ms += 77  # the entry has another time
    node.kv.release()
    assert await node.ended(1) == [[b"1000-0"]]
    [word] = node.proposed
    assert type(word) is CallsRehearsed
    assert word.calls == (words("XADD s MAXLEN ~ 9 1000-0 f v"),)
    assert node.kv.machine.call([words("XRANGE s - +")], 0) == [[[b"1000-0", [b"f", b"v"]]]]
    missing = "return redis.call('XADD', 'none', 'NOMKSTREAM', '*', 'f', 'v')"
    assert await node.run(missing) is None


@on_loop
async def test_scripts_of_an_older_cluster_write_no_streams() -> None:
    node = Node()
    node.kv.commands_version = 3
    add = node.part("return redis.call('XADD', 's', '*', 'f', 'v')")
    other = node.part("return redis.call('SET', 'a', 1)")
    node.begin(add)
    node.begin(other)
    node.begin((b"XADD", b"s", b"*", b"f", b"v"), other)
    first, second, third = await node.ended(3)
    assert "upgrade every node first" in first[0].text
    assert second == ["OK"]
    assert third[0].text.startswith("TRYAGAIN XADD needs commands of version 4")
    assert third[1] == "OK"
    assert set(proposed(node.kv)) == {Calls}


@on_loop
async def test_scripts_do_not_wait() -> None:
    node = Node()
    source = "return redis.call('xread', 'BLOCK', '0', 'STREAMS', 's', '0')"
    refused = await node.run(source)
    assert "xread command is not allowed with BLOCK option from scripts" in refused.text
    source = "return redis.call('XREAD', 'COUNT', '1', 'STREAMS', 's', '0')"
    assert await node.run(source) is None
    assert await node.run("redis.call('XADD', 's', '1-1', 'f', 'v') " + source) == [
        [b"s", [[b"1-1", [b"f", b"v"]]]]
    ]
