"""Redis calls that wait: whom they wake, in which order, and how a wait ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

from raftcache.command.call_table import SPECS
from raftcache.command.calls import Call, Calls
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.errors import NotLeader, OutOfMemory, Overloaded, RaftcacheError, Unknown
from raftcache.service import blocking, changed
from raftcache.service.blocking import Blocking
from raftcache.service.redis import RedisService
from raftcache.service.wording import WRONG_TYPE
from raftcache.state.redis import waits
from tests.support.fake_kv import FakeKv
from tests.unit.test_redis_core import SIZE_BYTES_MAX, calls, copy
from tests.unit.test_redis_service import Dice, on_loop

A_LITTLE = "0.02"
LONG_S = 10


class Room:
    """Who waits at one node."""

    def __init__(self, kv: FakeKv, size_bytes_max: int = SIZE_BYTES_MAX) -> None:
        self.kv = kv
        self.blocking = Blocking(kv, kv.machine, asyncio.get_running_loop(), size_bytes_max)
        self.blocking.start()

    def wait(self, line: str) -> asyncio.Future[Value]:
        return self.blocking.call(words(line))

    def write(self, *lines: str) -> None:
        """What somebody else writes."""
        calls(self.kv.machine, *lines)

    @property
    def written(self) -> list[Call]:
        """What the calls here have proposed."""
        return [call for each in self.kv.commands if isinstance(each, Calls) for call in each.calls]


def words(line: str) -> Call:
    return tuple(word.encode() for word in line.split())


@asynccontextmanager
async def room() -> AsyncIterator[Room]:
    made = Room(FakeKv())
    yield made
    made.blocking.stop("the test is over")
    await turns()
    assert made.blocking.gauges() == {"places_in_lines": 0}
    assert made.kv.machine.history.listeners == []


async def turns() -> None:
    """All that is due now has been done."""
    for _ in range(10):
        await asyncio.sleep(0)


async def answer(future: Awaitable[Value]) -> Value:
    return await asyncio.wait_for(future, LONG_S)


@on_loop
async def test_what_is_there_is_taken_at_once() -> None:
    async with room() as here:
        here.write("RPUSH l a b", "ZADD z 1 m 2 n")
        assert await answer(here.wait("BLPOP x l 0")) == [b"l", b"a"]
        assert await answer(here.wait("BRPOP l 0")) == [b"l", b"b"]
        assert await answer(here.wait("BZPOPMAX z l 0")) == [b"z", b"n", 2.0]
        assert here.kv.wants == []


@pytest.mark.parametrize(
    ("line", "push", "found"),
    [
        ("BLPOP x l 0", "RPUSH l a b", [b"l", b"a"]),
        ("BRPOP l x 0", "RPUSH l a b", [b"l", b"b"]),
        ("BLMPOP 0 2 x l RIGHT COUNT 9", "RPUSH l a b", [b"l", [b"b", b"a"]]),
        ("BLMOVE l m LEFT RIGHT 0", "RPUSH l a b", b"a"),
        ("BRPOPLPUSH l m 0", "RPUSH l a b", b"b"),
        ("BZPOPMIN x z 0", "ZADD z 1 m 2 n", [b"z", b"m", 1.0]),
        ("BZPOPMAX z x 0", "ZADD z 1 m 2 n", [b"z", b"n", 2.0]),
        ("BZMPOP 0 2 x z MIN COUNT 2", "ZADD z 1 m 2 n", [b"z", [[b"m", 1.0], [b"n", 2.0]]]),
        ("BLPOP new 0", "RENAME old new", [b"new", b"o"]),
    ],
)
@on_loop
async def test_who_waits_is_woken_by_what_comes(line: str, push: str, found: Value) -> None:
    async with room() as here:
        here.write("RPUSH old o")
        waiting = here.wait(line)
        await turns()
        assert not waiting.done()
        assert here.written == []  # a wait costs the log nothing
        here.write("SET other 1", push)
        assert await answer(waiting) == found


@on_loop
async def test_they_are_served_in_the_order_of_their_coming() -> None:
    async with room() as here:
        waiting = [here.wait(f"BLPOP x{number} l 0") for number in range(200)]
        await turns()
        here.write("RPUSH l " + " ".join(map(str, range(150))))
        for number, each in enumerate(waiting[:150]):
            assert await answer(each) == [b"l", b"%d" % number]
        await turns()
        assert not any(each.done() for each in waiting[150:])
        assert len(here.written) == 150  # no more than there were elements


@on_loop
async def test_who_comes_while_others_wait_stands_behind_them() -> None:
    async with room() as here:
        first, second = here.wait("BLPOP l 0"), here.wait("BLPOP l 0")
        await turns()
        here.kv.holding = True
        here.write("RPUSH l a")
        await turns()
        here.write("RPUSH l b c")
        third = here.wait("BLPOP l 0")
        here.kv.release()
        assert [await answer(each) for each in (first, second, third)] == [
            [b"l", b"a"],
            [b"l", b"b"],
            [b"l", b"c"],
        ]


@on_loop
async def test_one_who_waits_for_several_keys_is_served_once() -> None:
    async with room() as here:
        first, second = here.wait("BLPOP l m l 0"), here.wait("BLPOP m 0")
        await turns()
        here.write("RPUSH l a", "RPUSH m b")
        assert await answer(first) == [b"l", b"a"]
        assert await answer(second) == [b"m", b"b"]
        assert here.blocking.gauges() == {"places_in_lines": 0}


@on_loop
async def test_what_is_handed_on_wakes_the_next() -> None:
    async with room() as here:
        last = here.wait("BLPOP c 0")
        middle = here.wait("BRPOPLPUSH b c 0")
        await turns()
        assert await answer(asyncio.gather(here.wait("BLMOVE a b LEFT LEFT 0.01"))) == [NIL_ARRAY]
        here.write("RPUSH b x")
        assert [await answer(middle), await answer(last)] == [b"x", [b"c", b"x"]]


@on_loop
async def test_who_was_not_fast_enough_keeps_waiting() -> None:
    async with room() as here:
        here.write("RPUSH l a")
        here.kv.holding = True
        first = here.wait("BLPOP l 0")  # sees it, and proposes
        here.write("DEL l")  # but is too late
        here.kv.release()
        await turns()
        assert not first.done()
        here.kv.holding = True
        here.write("RPUSH l b")
        await turns()
        here.write("LPOP l", "RPUSH m z")
        here.kv.release()
        await turns()
        assert not first.done()
        here.write("RPUSH l c")
        assert await answer(first) == [b"l", b"c"]


@on_loop
async def test_keys_of_other_types_are_refused_at_first_and_passed_over_later() -> None:
    async with room() as here:
        here.write("SET s 1", "RPUSH l a")
        assert await answer(here.wait("BLPOP s l 0")) == WRONG_TYPE
        assert await answer(here.wait("BLPOP l s 0")) == [b"l", b"a"]
        assert await answer(here.wait("BZPOPMIN x s 0")) == WRONG_TYPE
        waiting = here.wait("BLPOP k l 0")
        await turns()
        here.write("SET k 1", "RPUSH l b")
        assert await answer(waiting) == [b"l", b"b"]
        waiting = here.wait("BLPOP l 0")
        await turns()
        here.kv.holding = True
        here.write("RPUSH l c")
        await turns()
        here.write("SET l 1")
        here.kv.release()
        await turns()
        assert not waiting.done()
        moving = here.wait("BLMOVE m s LEFT LEFT 0")
        await turns()
        here.write("RPUSH m a")
        assert await answer(moving) == WRONG_TYPE


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("BLPOP s -1", "ERR timeout is negative"),
        ("BRPOP s x", "ERR timeout is not a float or out of range"),
        ("BLMOVE s s UP LEFT x", "ERR syntax error"),
        ("BRPOPLPUSH s s x", "ERR timeout is not a float or out of range"),
        ("BLMPOP x 0 s LEFT", "ERR numkeys should be greater than 0"),
        ("BLMPOP x 1 s LEFT", "ERR timeout is not a float or out of range"),
        ("BZMPOP 0 1 s LEFT", "ERR syntax error"),
        ("BZPOPMAX s -1", "ERR timeout is negative"),
    ],
)
@on_loop
async def test_a_call_that_means_nothing_is_refused_at_once(line: str, text: str) -> None:
    async with room() as here:
        here.write("SET s 1")
        assert await answer(here.wait(line)) == Failure(text)


@on_loop
async def test_a_wait_ends_after_its_time_and_a_fresh_look() -> None:
    async with room() as here:
        assert await answer(here.wait(f"BLPOP l {A_LITTLE}")) == NIL_ARRAY
        assert await answer(here.wait(f"BRPOPLPUSH l m {A_LITTLE}")) == NIL_ARRAY
        assert len(here.kv.wants) == 4  # when it began, and when it ended
        waiting = here.wait(f"BLPOP l {A_LITTLE}")
        await turns()
        here.kv.error = NotLeader("nobody leads")
        with pytest.raises(NotLeader):
            await answer(waiting)


@on_loop
async def test_a_time_that_ends_during_an_attempt_does_not_hide_what_it_took() -> None:
    async with room() as here:
        taker, other = here.wait(f"BLPOP l {A_LITTLE}"), here.wait(f"BLPOP m {A_LITTLE}")
        await turns()
        here.kv.holding = True
        here.write("RPUSH l a", "RPUSH m b")
        await turns()
        here.write("DEL m")
        await asyncio.sleep(2 * float(A_LITTLE))
        assert not taker.done()
        here.kv.release()
        assert await answer(taker) == [b"l", b"a"]
        assert await answer(other) == NIL_ARRAY


@on_loop
async def test_who_has_gone_takes_nothing() -> None:
    async with room() as here:
        gone, next_one = here.wait("BLPOP l m 0"), here.wait("BLPOP l 0")
        await turns()
        gone.cancel()
        here.write("RPUSH l a")
        assert await answer(next_one) == [b"l", b"a"]
        assert here.blocking.gauges() == {"places_in_lines": 0}


@on_loop
async def test_who_is_unblocked_during_an_attempt_is_told_what_it_took() -> None:
    async with room() as here:
        taker, other = here.wait("BLPOP l 0"), here.wait("BLMOVE m o LEFT LEFT 0")
        await turns()
        here.kv.holding = True
        here.write("RPUSH l a", "RPUSH m b", "RPUSH n c")
        first = here.wait("BLPOP n 0")
        await turns()
        here.write("DEL m n")
        assert not any(each.cancel() for each in (taker, other, first))
        here.kv.release()
        assert await answer(taker) == [b"l", b"a"]
        assert await answer(other) == NIL_ARRAY
        assert await answer(first) == NIL_ARRAY
        assert here.blocking.gauges() == {"places_in_lines": 0}


@pytest.mark.parametrize("error", [Unknown("lost"), OutOfMemory("full")])
@on_loop
async def test_an_attempt_that_fails_says_how(error: RaftcacheError) -> None:
    async with room() as here:
        waiting, idle = here.wait("BLPOP l 0"), here.wait("BLPOP m 0")
        await turns()
        here.kv.error = error
        here.write("RPUSH l a")
        with pytest.raises(type(error)):
            await answer(waiting)
        assert not idle.done()


@pytest.mark.parametrize("error", [NotLeader("nobody leads"), Overloaded("busy")])
@on_loop
async def test_an_attempt_that_was_refused_is_made_again(
    error: RaftcacheError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "RETRY_S", 0.01)
    async with room() as here:
        waiting = here.wait("BLPOP l 0")
        await turns()
        here.kv.error = error
        here.write("RPUSH l a")
        await turns()
        assert not waiting.done()
        here.kv.error = None
        assert await answer(waiting) == [b"l", b"a"]


@on_loop
async def test_a_first_attempt_that_fails_says_how() -> None:
    async with room() as here:
        here.kv.error = NotLeader("nobody leads")
        with pytest.raises(NotLeader):
            await answer(here.wait("BLPOP l 0"))
        here.write("RPUSH l a")
        with pytest.raises(NotLeader):
            await answer(here.wait("BLPOP l 0"))


@on_loop
async def test_a_node_that_stops_or_is_late_sends_everybody_away() -> None:
    async with room() as here:
        waiting = [here.wait("BLPOP l m 0"), here.wait("BZPOPMIN l 0")]
        await turns()
        here.blocking.cut_off_all("the state here may be 7 s old")
        for each in waiting:
            with pytest.raises(NotLeader, match="7 s old"):
                await answer(each)
        trying = here.wait("BLPOP l 0")
        await turns()
        here.kv.holding = True
        here.write("RPUSH l a")
        await turns()
        here.blocking.stop("this node stops")
        here.kv.release()
        assert await answer(trying) == [b"l", b"a"]
        with pytest.raises(NotLeader, match="stops"):
            await answer(here.wait("BLPOP l 0"))


@on_loop
async def test_places_in_lines_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "PLACES_MAX", 3)
    async with room() as here:
        waiting = here.wait("BLPOP a b 0")
        await turns()
        with pytest.raises(Overloaded, match="2 places"):
            await answer(here.wait("BLPOP c d 0"))
        waiting.cancel()
        await turns()
        here.write("RPUSH d x")
        assert await answer(here.wait("BLPOP c d 0")) == [b"d", b"x"]


@on_loop
async def test_a_snapshot_wakes_all() -> None:
    async with room() as here:
        waiting = here.wait("BLPOP l 0")
        await turns()
        other = FakeKv()
        calls(other.machine, "SET a 1", "RPUSH l a")
        loader = here.kv.machine.loader()
        for piece in copy(other.machine).dump():
            loader.feed(piece)
        loader.install()
        assert await answer(waiting) == [b"l", b"a"]


@on_loop
async def test_many_events_are_walked_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "EVENTS_PER_TURN", 2)
    async with room() as here:
        waiting = here.wait("BLPOP l 0")
        await turns()
        here.write(*[f"SET k{number} 1" for number in range(9)], "RPUSH l a")
        assert await answer(waiting) == [b"l", b"a"]


@on_loop
async def test_a_pipeline_waits_and_goes_on() -> None:
    async with room() as here:
        loop, kv = asyncio.get_running_loop(), here.kv
        redis = RedisService(kv, kv.machine, Dice(), loop, SIZE_BYTES_MAX, here.blocking.calls)
        told: asyncio.Future[list[Value]] = loop.create_future()
        pipeline = [words(line) for line in ("SET a 1", "BLPOP l 0", "GET a", "BLPOP l 0.01")]
        redis.run(pipeline, told.set_result, tokens=[b"", b"t", b"", b""])
        never: list[list[Value]] = []
        cancel = redis.run([words("BLPOP m 0")], never.append)
        await turns()
        cancel()
        await turns()
        here.write("RPUSH l x", "RPUSH m y")
        assert await answer(told) == ["OK", [b"l", b"x"], b"1", NIL_ARRAY]
        assert not never
        assert await answer(here.wait("BLPOP m 0")) == [b"m", b"y"]


@on_loop
async def test_with_a_token_a_call_takes_once_however_often_it_is_sent() -> None:
    async with room() as here:
        line = words("BLPOP x l 0")
        first, plain = here.blocking.call(line, b"t1"), here.wait("BLPOP l 0")
        other = here.blocking.call(line, b"t2")
        await turns()
        assert not first.done()
        here.write("SET x 1", "RPUSH l a", "DEL x", "RPUSH l b c d")
        found = [await answer(each) for each in (first, plain, other)]
        assert found == [[b"l", b"a"], [b"l", b"b"], [b"l", b"c"]]
        assert await answer(here.blocking.call(line, b"t1")) == [b"l", b"a"]
        here.write("DEL l", "SET x 1")
        assert await answer(here.blocking.call(line, b"t2")) == [b"l", b"c"]
        misused = await answer(here.blocking.call(words("BLPOP l 0"), b"t2"))
        assert isinstance(misused, Failure)
        assert "stands for another command" in misused.text


@on_loop
async def test_an_attempt_with_a_token_that_takes_nothing_is_not_remembered() -> None:
    async with room() as here:
        line = words(f"BLPOP l {A_LITTLE}")
        assert await answer(here.blocking.call(line, b"t")) == NIL_ARRAY
        here.write("SET l 1")
        assert await answer(here.blocking.call(line, b"t")) == WRONG_TYPE
        here.write("DEL l", "RPUSH l a")
        here.kv.error = Unknown("lost")
        with pytest.raises(Unknown):
            await answer(here.blocking.call(line, b"t"))
        here.kv.error = None
        assert await answer(here.blocking.call(line, b"t")) == [b"l", b"a"]
        assert await answer(here.blocking.call(line, b"t")) == [b"l", b"a"]


def test_all_calls_that_wait_are_known() -> None:
    assert {name for name, spec in SPECS.items() if spec.is_blocking and spec.is_data} == {
        *waits.NAMES,
        b"XREAD",
    }
