"""A pipeline of Redis commands: its stages, its order, and how refusals are worded."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec

import pytest

from raftcache.command import codec
from raftcache.command.calls import CALLS_MAX, Call, Calls
from raftcache.command.limits import BATCH_WIDTH_MAX
from raftcache.command.values import NIL_ARRAY, Failure, Members, Value
from raftcache.command.words import Put, Tick
from raftcache.errors import (
    BadRequest,
    NotLeader,
    OutOfDisk,
    OutOfMemory,
    Overloaded,
    RaftcacheError,
    Unknown,
)
from raftcache.service.gathering import GATHERED_MAX
from raftcache.service.kv import Want
from raftcache.service.redis import RedisService
from raftcache.service.wording import NOT_BEGUN, OUT_OF_MEMORY, WRONG_TYPE
from raftcache.state.redis.execute import TOO_LARGE
from raftcache.state.redis.store import BYTES_READ_MAX
from tests.support.fake_kv import FakeKv

P = ParamSpec("P")


def on_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **named: P.kwargs) -> None:
        async def inner() -> None:
            await test(*args, **named)

        asyncio.run(inner())

    return run


class Dice:
    def random(self) -> float:
        return 0.5

    def token(self, size_bytes: int) -> bytes:
        return b"\1" * size_bytes


@pytest.fixture
def kv() -> FakeKv:
    return FakeKv()


def service(kv: FakeKv, loop: asyncio.AbstractEventLoop) -> RedisService:
    async def echo(call: Call, _token: bytes) -> Value:
        await asyncio.sleep(0)
        return call[1]

    async def wait(call: Call, _token: bytes) -> Value:
        await loop.create_future()
        raise AssertionError

    async def fail(call: Call, _token: bytes) -> Value:
        raise Overloaded("full")

    async def enclose(call: Call, _token: bytes) -> Value:
        return [[call[1]]]

    alone = {b"KEYS": echo, b"BLPOP": wait, b"SCAN": fail, b"XREAD": enclose}
    return RedisService(kv, kv.machine, Dice(), loop, 1000, alone)


def proposed(kv: FakeKv) -> list[Calls]:
    return [command for command in kv.commands if isinstance(command, Calls)]


def lines(*texts: str) -> list[Call]:
    return [tuple(word.encode() for word in text.split()) for text in texts]


async def run(
    redis: RedisService, *texts: str, tokens: Sequence[bytes] | None = None
) -> list[Value]:
    answered: asyncio.Future[list[Value]] = asyncio.get_running_loop().create_future()
    redis.run(lines(*texts), answered.set_result, tokens=tokens)
    return await answered


async def run_all(redis: RedisService, *texts: str) -> list[Value]:
    """As who has taken what is told goes on with the others."""
    values: list[Value] = []
    while len(values) < len(texts):
        values += await run(redis, *texts[len(values) :])
    return values


@on_loop
async def test_reads_share_one_round_and_no_entry(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    assert await run(redis, "GET a", "EXISTS a", "TYPE a") == [None, 0, "none"]
    assert (len(kv.wants), kv.commands) == (1, [])


@on_loop
async def test_a_pipeline_with_a_write_is_one_proposal_with_its_reads(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    assert await run(redis, "GET a", "SET a 1", "GET a", "INCR a") == [None, "OK", b"1", 2]
    (command,) = kv.commands
    assert isinstance(command, Calls)
    assert (len(command.calls), command.atomic, command.dice) == (4, False, 0)
    assert kv.wants == []


@on_loop
async def test_what_stands_alone_divides_a_pipeline_and_keeps_its_place(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    assert await run(redis, "SET a 1", "KEYS x", "GET a", "SCAN 0", "GET a") == [
        "OK",
        b"x",
        b"1",
        Failure("TRYAGAIN full"),
        b"1",
    ]


@on_loop
async def test_reads_that_take_long_go_one_by_one_and_not_through_the_log(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    asked = ["SET a ab", "SET b b", "LCS a b", "LCS a a", "SET a b", "LCS a b LEN", "GET a"]
    assert await run(redis, *asked) == ["OK", "OK", b"b", b"ab", "OK", 1, b"b"]
    written = [[call[0] for call in word.calls] for word in proposed(kv)]
    assert written == [[b"SET", b"SET"], [b"SET"]]
    assert len(kv.machine.call(lines("LCS a b", "LCS a b", "GET a"), 0)) == 1


@on_loop
async def test_what_may_store_and_does_not_is_a_read(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    await run(redis, "RPUSH l 2 1", "GEOADD g 0 0 here")
    kv.commands.clear()
    near = ["GEORADIUS g 0 0 1 km", "GEORADIUSBYMEMBER g here 1 km"]
    assert await run(redis, "SORT l", *near) == [[b"1", b"2"], [b"here"], [b"here"]]
    assert (kv.commands, len(kv.wants)) == ([], 1)
    stored = [*[f"{each} STORE to" for each in ("SORT l", *near)], "SORT l storE to LIMIT 0 1"]
    assert [(await run(redis, each))[0] for each in stored] == [2, 1, 1, 1]
    assert await run(redis, "SORT l", "SET a 1") == [[b"1", b"2"], "OK"]
    assert len(kv.commands) == 5


@on_loop
async def test_a_long_pipeline_is_several_proposals(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    assert await run(redis, *["INCR a"] * (CALLS_MAX + 1)) == list(range(1, CALLS_MAX + 2))
    sizes = [len(word.calls) for word in proposed(kv)]
    assert sizes == [CALLS_MAX, 1]


@on_loop
async def test_calls_share_an_entry_as_far_as_they_are_not_too_wide(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.service.width.BATCH_WIDTH_MAX", 10)
    monkeypatch.setattr("raftcache.service.pipeline.COMMON_WIDTH_MAX", 0)
    redis = service(kv, asyncio.get_running_loop())
    await run(redis, "RPUSH l " + " ".join("abcd"), f"SET s {'s' * 999}", "SADD m a b")
    kv.commands.clear(), kv.widths.clear()
    asked = ["LREM l 0 x", "LPOP l", "LREM l 0 y", "SADD n a", "LREM l 0 z", "GET s", "SUNION m m"]
    assert await run(redis, *asked) == [0, b"a", 0, 1, 0, b"s" * 999, Members([b"a", b"b"])]
    sizes = [len(word.calls) for word in proposed(kv)]
    said = 2  # to the same list, before the second one: it may be longer by that
    assert (sizes, kv.widths) == ([4, 3], [4 + 4 + said, 3 + 1 + 4])


@on_loop
async def test_a_call_that_is_too_wide_goes_alone_and_reads_before_a_write_not_at_all(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.service.width.BATCH_WIDTH_MAX", 3)
    monkeypatch.setattr("raftcache.service.pipeline.COMMON_WIDTH_MAX", 0)
    redis = service(kv, asyncio.get_running_loop())
    await run(redis, "RPUSH l a b c d")
    kv.commands.clear(), kv.widths.clear()
    asked = ["LRANGE l 0 0", "INCR n", "LREM l 0 x", "INCR n", "RPOP l", "RPOP l 1", "INCR n"]
    assert await run(redis, *asked) == [[b"a"], 1, 0, 2, b"d", [b"c"], 3]
    names = [[call[0] for call in word.calls] for word in proposed(kv)]
    assert names == [[b"INCR"], [b"LREM"], [b"INCR", b"RPOP"], [b"RPOP", b"INCR"]]
    assert (kv.widths, len(kv.wants)) == ([0, 4, 0, 3], 1)


@on_loop
async def test_a_pipeline_may_read_more_than_an_entry_does(kv: FakeKv) -> None:
    """A long bitmap of which many bits are set one after the other."""
    limit = 1 << 20
    redis = RedisService(kv, kv.machine, Dice(), asyncio.get_running_loop(), limit, {})
    count = BYTES_READ_MAX // limit + 1
    asked = [f"SETBIT b {limit * 8 - 1} 1", *[f"SETBIT b {bit} 1" for bit in range(count)]]
    assert await run_all(redis, *asked, "BITCOUNT b") == [0] * (count + 1) + [count + 1]


@on_loop
@pytest.mark.parametrize("asked", ["GET b", "GETEX b PERSIST", "MGET b n", "SET b a NX GET"])
async def test_a_pipeline_may_be_answered_more_than_an_entry_reads(kv: FakeKv, asked: str) -> None:
    """What else it does, or others do with it, is not refused for that."""
    limit = 1 << 20
    redis = RedisService(
        kv, kv.machine, Dice(), asyncio.get_running_loop(), limit, {}, gathers=True
    )
    await run(redis, f"SET b {'b' * limit}")
    kv.widths.clear()
    long = run_all(redis, "SET n 1", *[asked] * (BYTES_READ_MAX // limit + 1), "APPEND b c")
    others = run(redis, "SET m 1", "GET m")
    (_, *values, last), theirs = await asyncio.gather(long, others)
    assert not any(isinstance(value, Failure) for value in values)
    assert isinstance(last, Failure), "the value is as long as it may be"
    assert theirs == ["OK", b"1"]
    assert max(kv.widths) <= BATCH_WIDTH_MAX
    assert sum(kv.widths) > BYTES_READ_MAX >> 10, "the cluster is told how much that is"


@on_loop
async def test_width_is_counted_by_what_a_call_looks_at(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    kib, loop = "k" * 1024, asyncio.get_running_loop()
    monkeypatch.setattr("raftcache.service.pipeline.COMMON_WIDTH_MAX", 0)
    redis = RedisService(kv, kv.machine, Dice(), loop, 1 << 20, {}, gathers=True)
    await run(redis, f"SET s {kib * 9}", f"RPUSH l {f'{kib} ' * 4}", f"HSET h a {kib * 5} b 1 c 1")
    await run(redis, f"SADD m {kib} a b")
    for asked, width in {
        "EXPIRE s 100": 9,
        "PERSIST s": 9,
        "GETBIT s 1": 9,
        "EXPIRE l 100": 0,
        "RENAME l l": 0,
        "LINDEX l 2": 1,
        "LPOP l": 1,
        "LPOP l 2": 3,
        "HGET h a": 5,
        "HMGET h a b a": 10,
        "HGET h b": 0,
        "HGET l a": 0,
        "SRANDMEMBER m -700": 700,
        "SRANDMEMBER m 2": 3,
        "SPOP m": 0,
        "HRANDFIELD h -5": 8,
    }.items():
        kv.widths.clear()
        await asyncio.gather(run(redis, "INCR n", asked))
        assert kv.widths == [width], asked


@on_loop
@pytest.mark.parametrize(
    "asked", ["SETBIT b 7 1", "APPEND b x", "GETSET b x", "BITFIELD b SET u8 0 1"]
)
async def test_a_pipeline_of_short_strings_is_one_entry(kv: FakeKv, asked: str) -> None:
    """However many calls go for the same one."""
    redis = service(kv, asyncio.get_running_loop())
    await run_all(redis, *[asked] * 900)
    assert len(proposed(kv)) == 1


@on_loop
async def test_a_pipeline_takes_more_large_elements_than_an_entry_reads(kv: FakeKv) -> None:
    size, loop = 1 << 20, asyncio.get_running_loop()
    redis = RedisService(kv, kv.machine, Dice(), loop, size, {}, gathers=True)
    count = BYTES_READ_MAX // size + 1
    for key in ("l", "m"):
        for _ in range(count):
            await run(redis, f"RPUSH {key} {'x' * size}")
    values = await run_all(redis, *["LPOP l"] * count, *["RPOPLPUSH m n"] * count, "LLEN n")
    assert [value for value in values if isinstance(value, Failure)] == []
    assert values[-1] == count


@on_loop
async def test_what_is_gathered_in_one_turn_is_as_wide_as_one_entry(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.service.gathering.BATCH_WIDTH_MAX", 10)
    redis = RedisService(kv, kv.machine, Dice(), asyncio.get_running_loop(), 1000, {}, gathers=True)
    await run(redis, "RPUSH l a b c d")
    kv.widths.clear()
    await asyncio.gather(*[run(redis, "LREM l 0 x", "INCR n") for _ in range(5)])
    assert kv.widths == [8, 8, 4]


@on_loop
async def test_a_transaction_and_a_numbered_call_tell_how_wide_they_are(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    await run(redis, "RPUSH l a b c d", f"SET s {'s' * 999}")
    kv.widths.clear()
    await run(redis, "LREM l 0 x", tokens=[b"token"])
    answered: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
    redis.transact(lines("LREM l 0 x", "INCR n", "SETBIT s 0 1"), {}, answered.set_result)
    assert await answered == [0, 1, 0]
    assert kv.widths == [4, 4 + 1]


@on_loop
async def test_wide_calls_of_one_turn_do_not_go_together_with_those_of_others(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.service.pipeline.COMMON_WIDTH_MAX", 3)
    redis = RedisService(kv, kv.machine, Dice(), asyncio.get_running_loop(), 1000, {}, gathers=True)
    await run(redis, "RPUSH l a b c d", "RPUSH m a b c")
    kv.commands.clear(), kv.widths.clear()
    asked = ("LREM l 0 x", "LREM m 0 x", "LREM l 0 y", "INCR n")
    assert await asyncio.gather(*[run(redis, each) for each in asked]) == [[0], [0], [0], [1]]
    sizes = [len(word.calls) for word in proposed(kv)]
    assert (sizes, kv.widths) == ([1, 1, 2], [4, 4, 3])


@on_loop
async def test_dice_are_thrown_for_those_who_choose_only(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    await run(redis, "SPOP a")
    await run(redis, "SADD a b")
    dice = [word.dice for word in proposed(kv)]
    assert dice[0] > 0
    assert dice[1] == 0


@on_loop
async def test_a_read_of_an_overdue_key_commits_a_tick_first(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    kv.write(Put(b"a", b"1", ttl_ms=100), lambda _: None)
    kv.time_ms += 100
    assert await run(redis, "EXISTS a", "GET a") == [0, None]
    assert kv.commands[1:] == [Tick()]


@on_loop
async def test_a_wait_that_is_cancelled_answers_nothing(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    answers: list[list[Value]] = []
    cancel = redis.run(lines("BLPOP a 0", "SET a 1"), answers.append)
    await asyncio.sleep(0)
    cancel()
    await asyncio.sleep(0)
    assert (answers, kv.commands) == ([], [])


@on_loop
async def test_a_transaction_depends_on_what_it_watches(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    seen: list[list[int] | Failure] = []
    ended: list[Value] = []
    await run(redis, "SET a 1")
    redis.revisions([b"a", b"b"], seen.append)
    assert seen == [[1, ~1]]
    watched = {b"a": 1, b"b": ~1}
    redis.transact(lines("INCR a", "GET a"), watched, ended.append)
    redis.transact(lines("INCR a"), watched, ended.append)
    redis.transact([], watched, ended.append)
    redis.transact([], {b"b": 0}, ended.append)
    redis.transact([], {b"b": ~1}, ended.append)
    redis.transact([], {}, ended.append)
    assert ended == [[2, b"2"], NIL_ARRAY, NIL_ARRAY, [], [], []]


@on_loop
async def test_a_watched_key_that_came_and_went_is_not_as_it_was(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    ended: list[Value] = []

    async def come_and_go(watches: Sequence[str]) -> None:
        seen: list[list[int] | Failure] = []
        keys = [key.encode() for key in watches]
        redis.revisions(keys, seen.append)
        await run(redis, "SET b 1")
        await run(redis, "DEL b")
        assert isinstance(seen[0], list)
        redis.transact(lines("INCR n"), dict(zip(keys, seen[0], strict=True)), ended.append)

    await come_and_go(["b"])
    await come_and_go(["a", "b"])
    await come_and_go(["a"])
    kv.commands_version = 3  # not all voters can tell
    await come_and_go(["b"])
    assert ended == [NIL_ARRAY, NIL_ARRAY, [1], [2]]


@on_loop
async def test_numbered_calls_behind_one_without_an_answer_are_not_begun(kv: FakeKv) -> None:
    """They would be done before it, if all are sent again."""
    redis = service(kv, asyncio.get_running_loop())
    texts, tokens = ("INCR a", "INCR b", "GET b", "INCR c"), (b"t:1", b"t:2", b"", b"t:3")
    kv.holding = True
    answered: asyncio.Future[list[Value]] = asyncio.get_running_loop().create_future()
    redis.run(lines(*texts), answered.set_result, tokens=tokens)
    kv.release(0)
    kv.error = Unknown("who knows")
    kv.release(0)
    kv.error = None
    kv.release()
    unknown = Failure("UNKNOWN the outcome: who knows")
    assert await answered == [1, unknown, None, NOT_BEGUN]
    assert await run(redis, *texts, tokens=tokens) == [1, 1, b"1", 1]


@on_loop
async def test_many_numbered_calls_that_are_answered_at_once(kv: FakeKv) -> None:
    """None of them is begun within another: nobody had an answer, when there was no leader."""
    redis = service(kv, asyncio.get_running_loop())
    texts, tokens = ["INCR a"] * 2000, [b"t:%d" % number for number in range(2000)]
    kv.error = NotLeader("none")
    first, *others = await run(redis, *texts, tokens=tokens)
    assert first == Failure("CLUSTERDOWN none")
    assert others == [NOT_BEGUN] * 1999
    kv.error = None
    assert await run(redis, *texts, tokens=tokens) == list(range(1, 2001))


@on_loop
async def test_what_is_an_answer_for_good_holds_nothing_up(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    await run(redis, "SADD s x")
    values = await run(redis, "INCR s", "INCR a", tokens=(b"t:1", b"t:2"))
    assert values == [WRONG_TYPE, 1]


@on_loop
async def test_a_numbered_call_is_applied_once(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    texts, tokens = ("INCR a", "GET a", "INCR a"), (b"t:1", b"", b"t:2")
    assert await run(redis, *texts, tokens=tokens) == [1, b"1", 2]
    assert await run(redis, *texts, tokens=tokens) == [1, b"2", 2]
    (wrong,) = await run(redis, "INCR b", tokens=(b"t:1",))
    assert wrong == Failure("ERR this idempotency number stands for another command")
    ended: list[Value] = []
    for _ in range(2):
        redis.transact(lines("INCR a"), {}, ended.append, b"t:3")
    assert ended == [[3], [3]]


@on_loop
async def test_a_numbered_transaction_that_answers_too_much(kv: FakeKv) -> None:
    """Each of its calls has an answer, though what is remembered is one for all."""
    redis = service(kv, asyncio.get_running_loop())
    ended: list[Value] = []
    await run(redis, f"SET a {'x' * 900}")
    for _ in range(2):
        redis.transact(lines("SET b 1", *["GET a"] * 400), {}, ended.append, b"t:1")
    assert ended == [[TOO_LARGE] * 401] * 2
    assert await run(redis, "EXISTS b") == [0]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotLeader("no leader"), "CLUSTERDOWN no leader"),
        (Overloaded("full"), "TRYAGAIN full"),
        (Unknown("lost"), "UNKNOWN the outcome: lost"),
        (BadRequest("odd"), "ERR odd"),
        (OutOfMemory("full"), OUT_OF_MEMORY.text),
        (OutOfDisk("no room"), "MISCONF no room"),
    ],
)
@on_loop
async def test_a_refusal_answers_every_call_of_its_stage(
    kv: FakeKv, error: RaftcacheError, text: str
) -> None:
    redis = service(kv, asyncio.get_running_loop())
    kv.error = error
    assert await run(redis, "SET a 1", "GET a") == [Failure(text)] * 2
    assert await run(redis, "GET a") == [Failure(text)]
    assert await run(redis, "GET a", "EXISTS a") == [Failure(text)] * 2
    ended: list[object] = []
    redis.transact(lines("GET a"), {}, ended.append)
    redis.revisions([b"a"], ended.append)
    assert ended == [Failure(text)] * 2
    assert kv.wants == [Want()] * 3


@on_loop
async def test_a_message_is_answered_by_how_many_it_reaches_here() -> None:
    kv, loop = FakeKv(), asyncio.get_running_loop()
    redis = RedisService(
        kv, kv.machine, Dice(), loop, 1000, {}, receivers=lambda call: len(call[1])
    )
    answers = await run(redis, "PUBLISH news 1", "DEL nothing", "SPUBLISH ab 2", "INCR a")
    assert answers == [4, 0, 2, 1]
    done: list[Value] = []
    redis.transact(lines("DEL nothing", "PUBLISH news 1"), {}, done.append)
    redis.transact(lines("PUBLISH news 1", "DEL a"), {b"a": 7}, done.append)
    assert done == [[0, 4], NIL_ARRAY]


@on_loop
async def test_who_asks_is_told_the_revisions_of_what_it_wrote() -> None:
    kv, told = FakeKv(), list[tuple[int, int]]()
    redis = service(kv, asyncio.get_running_loop())

    def wrote(first: int, last: int) -> None:
        told.append((first, last))

    def ask(*texts: str, tokens: Sequence[bytes] | None = None) -> None:
        redis.run(lines(*texts), lambda values: None, tokens=tokens, wrote=wrote)

    ask("SET a 1", "GET a", "INCR a")
    ask("GET a")
    ask("DEL nothing")
    ask("INCR a", "GET a", tokens=[b"t", b""])
    ask("INCR a", "GET a", tokens=[b"t", b""])  # again: it was told
    done: list[Value] = []
    redis.transact(lines("SET a 1", "SET b 1"), {}, done.append, wrote=wrote)
    redis.transact(lines("SET a 1"), {b"a": 7}, done.append, wrote=wrote)
    assert told == [(1, 2), (3, 3), (4, 4)]


@on_loop
async def test_an_empty_transaction_that_watches_is_refused_as_others_are() -> None:
    kv, done = FakeKv(), list[Value]()
    redis = service(kv, asyncio.get_running_loop())
    kv.error = NotLeader("nobody leads")
    redis.transact((), {b"a": 1}, done.append)
    assert done == [Failure("CLUSTERDOWN nobody leads")]


@on_loop
async def test_a_pipeline_reads_so_much_and_lets_others_have_their_turns(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.redis.execute.TURN_SIZE_BYTES", 500)
    loop = asyncio.get_running_loop()
    redis, turns, value = service(kv, loop), list[int](), "x" * 400
    await run(redis, f"SET a {value}")
    answered: asyncio.Future[list[Value]] = loop.create_future()
    redis.run(lines(*["GET a"] * 6), answered.set_result)
    while not answered.done():
        turns.append(1)
        await asyncio.sleep(0)
    assert await answered == [value.encode()] * 6
    assert len(turns) == 2, "the first slice was read at once"


@on_loop
async def test_what_is_held_of_answers_is_told_before_the_others_are_begun(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.redis.execute.TURN_SIZE_BYTES", 500)
    monkeypatch.setattr("raftcache.service.pipeline.ANSWERS_SIZE_BYTES_MAX", 1500)
    monkeypatch.setattr("raftcache.service.width.BATCH_WIDTH_MAX", 300)
    redis, value = service(kv, asyncio.get_running_loop()), b"x" * 400
    await run(redis, f"SET a {value.decode()}", "RPUSH l" + " x" * 200)
    assert await run(redis, *["GET a"] * 8) == [value] * 4
    # What is written is counted by what the keys hold.
    assert await run(redis, *["LTRIM l 0 -1"] * 3, "INCR n") == ["OK"]
    assert await run(redis, "INCR n") == [1]
    # What stands alone may answer with anything, if it is a list.
    assert await run(redis, "SCAN 0", "GET a") == [Failure("TRYAGAIN full"), value]
    assert await run(redis, "KEYS x", "GET a") == [b"x", value]
    assert await run(redis, "XREAD x", "GET a") == [[[b"x"]]]


@on_loop
async def test_writes_of_one_turn_go_together_and_everybody_gets_his_own_answer(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.service.gathering.CALLS_MAX", 4)
    loop = asyncio.get_running_loop()
    redis = RedisService(kv, kv.machine, Dice(), loop, 1000, {}, gathers=True)
    answers: dict[str, list[Value]] = {}
    told: list[tuple[int, int]] = []
    for name, texts in {
        "first": ("SET a 1", "INCR a"),
        "reader": ("GET a",),
        "second": ("INCR a", "GET a"),
        "third": ("INCR a", "INCR a"),
    }.items():
        redis.run(lines(*texts), lambda values, name=name: answers.update({name: values}))
    redis.run(lines("INCR b"), lambda values: None, wrote=lambda *range: told.append(range))
    assert set(answers) == {"reader", "first", "second"}, "one that is full does not wait"
    await asyncio.sleep(0)
    assert answers == {"first": ["OK", 2], "reader": [None], "second": [3, b"3"], "third": [4, 5]}
    sizes = [len(word.calls) for word in proposed(kv)]
    assert (sizes, told) == ([4, 1, 2], [(4, 4)])
    kv.error = Unknown("lost")
    assert await asyncio.gather(run(redis, "INCR a"), run(redis, "INCR b", "GET b")) == [
        [Failure("UNKNOWN the outcome: lost")],
        [Failure("UNKNOWN the outcome: lost")] * 2,
    ]


# GETs of many clients.


def asking(redis: RedisService, *names: str) -> dict[str, list[Value]]:
    """What each of them is answered who asks for these keys, as it comes."""
    answers: dict[str, list[Value]] = {}
    for name in names:
        keys = [key.encode() for key in name.split()]
        redis.get(keys, lambda values, name=name: answers.update({name: values}))
    return answers


@on_loop
async def test_gets_of_one_turn_share_a_round(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    await run(redis, "SET a 1", "SET b 2")
    answers = asking(redis, "a", "b a nothing", "nothing")
    assert (answers, kv.wants) == ({}, []), "the round begins when all have asked"
    await asyncio.sleep(0)
    assert answers == {"a": [b"1"], "b a nothing": [b"2", b"1", None], "nothing": [None]}
    assert kv.wants == [Want()]


@on_loop
async def test_who_asks_under_a_round_waits_for_the_next(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    kv.holding = True
    early = asking(redis, "a")
    await asyncio.sleep(0)
    await run_through(kv, "SET a 1")
    late = asking(redis, "a")
    kv.release(0)
    assert (early, late) == ({"a": [b"1"]}, {})
    await asyncio.sleep(0)
    assert (late, kv.held) == ({}, 1)
    kv.release()
    assert late == {"a": [b"1"]}
    assert kv.wants == [Want()] * 2


async def run_through(kv: FakeKv, *texts: str) -> None:
    """Write past a Kv that holds outcomes back."""
    command = Calls(tuple(lines(*texts)), 1000)
    kv.machine.apply(kv.time_ms, codec.batch([codec.encode(command)]))


@on_loop
async def test_a_get_of_what_is_no_plain_string(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    await run(redis, "HSET h f v", "SET old 1 PX 10", "SET young 2 PX 1000", "SET a 3")
    answers = asking(redis, "h a", "young a")
    await asyncio.sleep(0)
    assert answers == {"h a": [WRONG_TYPE, b"3"], "young a": [b"2", b"3"]}
    kv.time_ms += 10
    assert len(kv.commands) == 1
    answers = asking(redis, "young", "old a", "a")
    await asyncio.sleep(0)
    assert answers == {"young": [b"2"], "old a": [None, b"3"], "a": [b"3"]}
    assert kv.commands[1:] == [Tick()], "what is overdue is gone before it counts as gone"


@on_loop
async def test_gets_that_are_refused(kv: FakeKv) -> None:
    redis = service(kv, asyncio.get_running_loop())
    kv.error = NotLeader("nobody leads")
    answers = asking(redis, "a b", "c")
    await asyncio.sleep(0)
    why = Failure("CLUSTERDOWN nobody leads")
    assert answers == {"a b": [why, why], "c": [why]}


async def noting(kv: FakeKv, *before: str) -> tuple[RedisService, list[bytes]]:
    """A service that has done these calls, and the keys that are read from then on."""
    noted: list[bytes] = []
    loop = asyncio.get_running_loop()
    redis = RedisService(kv, kv.machine, Dice(), loop, 1000, {}, noted.append)
    await run(redis, *before)
    noted.clear()
    return redis, noted


class Alone:
    """A reader of one key, who finds what begins with the sign."""

    def __init__(self) -> None:
        self.found_all: list[bytes | None] = []
        self.answers: list[list[Value]] = []

    def found(self, stored: bytes | None) -> bool:
        if stored is None:
            return False
        if stored.endswith(b"!"):
            raise ValueError("a reader's own fault")
        self.found_all.append(stored)
        return True

    def answered(self, values: list[Value]) -> None:
        self.answers.append(values)


@on_loop
async def test_readers_of_one_key_are_answered_each_in_its_way(kv: FakeKv) -> None:
    redis, noted = await noting(kv, "SET a 1", "SET b 2!")
    reader = Alone()
    for key in (b"b", b"a", b"none"):
        redis.get_one((key, reader))
    await asyncio.sleep(0)
    assert reader.found_all == kv.stored([b"a"]), "one's fault is not another's"
    assert reader.answers == [[None]], "there was nothing to find"
    assert noted == [b"a", b"none"]
    kv.error = NotLeader("nobody leads")
    redis.get_one((b"a", reader))
    await asyncio.sleep(0)
    assert reader.answers[1:] == [[Failure("CLUSTERDOWN nobody leads")]]


@on_loop
async def test_so_many_gather_before_they_count_among_those_that_wait(kv: FakeKv) -> None:
    redis, reader = service(kv, asyncio.get_running_loop()), Alone()
    await run(redis, "SET a 1")
    kv.wants.clear()
    for _ in range(GATHERED_MAX + 1):
        redis.get_one((b"a", reader))
    assert (len(kv.wants), len(reader.found_all)) == (1, GATHERED_MAX)
    await asyncio.sleep(0)
    assert (len(kv.wants), len(reader.found_all)) == (2, GATHERED_MAX + 1)
    await asyncio.sleep(0)
    assert len(kv.wants) == 2, "nobody has come since"


@on_loop
async def test_a_glance_may_answer_by_what_is_stored(kv: FakeKv) -> None:
    redis, noted = await noting(kv, "SET a 1", "SET b 2")
    glances: list[list[bytes] | None] = []
    answers: list[list[Value]] = []

    def glance(stored: Sequence[bytes | None]) -> bool:
        glances.append(redis.plain_values(stored))
        return glances[-1] is not None

    for names in (b"ab", b"ac"):
        redis.get([names[:1], names[1:]], answers.append, glance)
    await asyncio.sleep(0)
    assert glances == [[b"1", b"2"], None]
    assert answers == [[b"1", None]], "there was nothing to see of the second"
    assert noted == [b"a", b"b", b"a", b"c"]


@on_loop
async def test_one_who_cannot_bear_its_answer_does_not_keep_others_from_theirs(kv: FakeKv) -> None:
    loop = asyncio.get_running_loop()
    redis = RedisService(kv, kv.machine, Dice(), loop, 1000, {}, gathers=True)

    def fail(values: list[Value]) -> None:
        raise ZeroDivisionError

    redis.get([b"a"], fail)
    read = asking(redis, "a")
    redis.write(lines("SET a 1"), 5, fail)
    written: list[Value] = []
    redis.write(lines("INCR a"), 5, written.append)
    await asyncio.sleep(0)
    assert read.keys() == {"a"}
    assert written == [[2]]


@on_loop
async def test_accesses_are_counted() -> None:
    kv, told = FakeKv(), list[bytes]()
    loop = asyncio.get_running_loop()
    redis = RedisService(kv, kv.machine, Dice(), loop, 1000, {}, told.append)
    await run(redis, "SET a 1", "HSET h f v")
    asking(redis, "a b", "h a")
    await asyncio.sleep(0)
    assert told == [b"a", b"b", b"h", b"a"]


@on_loop
async def test_long_values_are_copied_in_several_turns(
    kv: FakeKv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.lookup.TURN_SIZE_BYTES", 500)
    monkeypatch.setattr("raftcache.state.redis.execute.TURN_SIZE_BYTES", 500)
    redis, value = service(kv, asyncio.get_running_loop()), "x" * 400
    await run(redis, f"SET a {value}")
    answers = asking(redis, "a", "a a a a")
    await asyncio.sleep(0)
    assert answers == {"a": [value.encode()]}
    await asyncio.sleep(0)
    assert answers["a a a a"] == [value.encode()] * 4
