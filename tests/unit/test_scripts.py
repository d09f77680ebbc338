"""Scripts as transactions: over a state machine whose outcomes a test may hold back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from raftcache.command.calls import (
    CALLS_MAX,
    SINCE_MAX,
    Calls,
    CallsAnswered,
    CallsRehearsed,
    CallsSince,
)
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.command.words import INTRODUCED, Once, SetQuota
from raftcache.errors import NotLeader, Unknown
from raftcache.service.scripting import interpreter
from raftcache.service.scripting.acts import (
    CALLS_PER_ACT_MAX,
    NOT_REMEMBERED,
    Act,
    Player,
    ScriptCall,
)
from raftcache.service.scripting.interpreter import (
    NO_MEMORY,
    REPLY_DEPTH_MAX,
    TOO_LONG,
    Interpreter,
)
from raftcache.service.scripting.library import Script
from raftcache.service.scripting.scripts import ATTEMPTS_MAX, TOO_CONTENDED, Scripts
from raftcache.service.scripting.tables import NO_NAMES
from raftcache.service.wording import MISTAKE
from raftcache.state.redis.execute import TOO_LARGE
from raftcache.state.redis.rehearsal import MISUSED, Rehearsal
from raftcache.state.redis.store import ROWS_TOUCHED_MAX
from tests.support.fake_kv import FakeKv
from tests.support.raw_http import until
from tests.unit.test_redis_service import Dice, lines, on_loop

CATCHABLE = ("not allowed", NO_MEMORY.text)
"""Errors that a script may catch, and go on."""

INCREMENT = "return redis.call('INCR', KEYS[1])"


class Node:
    """What runs scripts, over keys of its own."""

    def __init__(self, *, gathers: bool = True) -> None:
        self.kv = FakeKv()
        loop = asyncio.get_running_loop()
        self.player = Player(lambda call: 3, self.kv, lambda: 0.0)
        self.scripts = Scripts(
            self.kv, self.kv.machine, Dice(), loop, 1 << 20, self.player, gathers=gathers
        )
        self.answers: list[Value] = []

    def part(self, source: str, *keys: str, arguments: Sequence[bytes] = ()) -> ScriptCall:
        script = self.scripts.load(source.encode())
        assert isinstance(script, Script), script
        return ScriptCall(script, [key.encode() for key in keys], arguments)

    def begin(self, *parts: Any, **more: Any) -> None:
        self.scripts.run(Act(parts, self.answers.append, **more))

    async def run(self, source: str, *keys: str, arguments: Sequence[bytes] = ()) -> Value:
        """What the one script answers."""
        self.begin(self.part(source, *keys, arguments=arguments))
        [answer] = await self.ended(1)
        return answer[0] if isinstance(answer, list) else answer

    async def ended(self, count: int) -> list[Value]:
        """The answers, once there are so many."""
        await self.until(lambda: len(self.answers) >= count)
        answers, self.answers = self.answers, []
        return answers

    async def until(self, condition: Any) -> None:
        await until(condition)

    def do(self, *texts: str) -> list[Value]:
        """Calls of somebody else, done at once."""
        replies: list[Any] = []
        holding, self.kv.holding = self.kv.holding, False
        self.kv.write(Calls(tuple(lines(*texts)), 1 << 20), replies.append)
        self.kv.holding = holding
        return list(replies[0].values)

    @property
    def proposed(self) -> list[Calls]:
        return [each for each in self.kv.commands if isinstance(each, Calls)]


@on_loop
async def test_a_script_is_one_transaction() -> None:
    node = Node()
    source = "redis.call('SET', KEYS[1], 1) redis.call('GET', 'b') return redis.call('INCR', 'a')"
    assert await node.run(source, "a") == 2
    [word] = node.proposed
    assert word.atomic
    assert word.calls == ((b"SET", b"a", b"1"), (b"INCR", b"a"))
    assert word.watched == ((b"a", 0), (b"b", 0))
    assert node.kv.machine.revision_of(b"a") == 1, "both changes have one revision"


@on_loop
async def test_what_only_reads_is_answered_after_a_round() -> None:
    node = Node()
    node.do("SET a 1")
    node.kv.holding = True
    node.begin(node.part("return redis.call('GET', 'a')"))
    await node.until(lambda: node.kv.held)
    node.do("SET a 2")  # acknowledged before the round is over
    node.kv.release()
    assert await node.ended(1) == [[b"2"]]
    assert len(node.proposed) == 2, "those two"


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("return redis.call('DBSIZE')", 2),
        ("return #redis.call('KEYS', '*')", 2),
        ("return #redis.call('SCAN', 0)[2]", 2),
        ("return redis.call('SORT', 'none', 'BY', 'a*', 'GET', 'x')", []),
    ],
)
def test_what_no_key_guards_is_fresh_beside_those_that_write(source: str, answer: Value) -> None:
    @on_loop
    async def test() -> None:
        node = Node()
        node.kv.holding = True
        node.begin(node.part(INCREMENT, "a"))
        node.begin(node.part(source))
        await node.until(lambda: node.kv.held)
        assert not node.proposed, "a round comes first"
        node.do("SET x 1")  # acknowledged before the round is over
        node.kv.release()
        assert await node.ended(2) == [[1], [answer]]

    test()


@on_loop
async def test_the_oldest_absence_counts() -> None:
    """At revision 0 nothing was there, which is no revision that was left out."""
    node = Node()
    watched = {b"v": ~0, b"w": ~0}
    node.do("SET v 1", "DEL v")
    watched[b"w"] = ~node.kv.machine.revision
    node.begin(node.part(INCREMENT, "a"), watched=watched)
    assert await node.ended(1) == [NIL_ARRAY]


@on_loop
async def test_what_has_only_read_is_not_looked_at_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    played: list[Act] = []
    play = node.player.play

    def counted(act: Act, rehearsal: Rehearsal) -> tuple[Value, bool]:
        played.append(act)
        return play(act, rehearsal)

    monkeypatch.setattr(node.player, "play", counted)
    source = "return redis.call('GET', 'a') and redis.call('SET', 'a', 'mine')"
    for plays in (2, 1, 1):
        assert await node.run(source) is None
        assert len(played) == plays
        played.clear()
    node.do("SET a 1")
    for rounds in (1, 0, 0):  # it writes, and needs none any more
        node.kv.wants.clear()
        assert await node.run(source) == "OK"
        assert (len(played), len(node.kv.wants)) == (1, rounds)
        played.clear()


@on_loop
async def test_what_only_reads_may_have_to_write_after_all() -> None:
    node = Node()
    source = (
        "if redis.call('GET', 'a') == '1' then return redis.call('SET', 'b', 1) end return 'no'"
    )
    node.kv.holding = True
    node.begin(node.part(source))
    await node.until(lambda: node.kv.held)
    node.do("SET a 1")
    node.kv.release()
    assert await node.ended(1) == [["OK"]]
    assert node.do("GET b") == [b"1"]


@on_loop
async def test_it_is_run_again_if_a_key_has_changed() -> None:
    node = Node()
    node.kv.holding = True
    source = "local a = tonumber(redis.call('GET', 'a') or 0) return redis.call('SET', 'b', a + 1)"
    node.begin(node.part(source))
    await node.until(lambda: node.kv.held)
    node.do("SET a 5")
    node.kv.release()
    assert await node.ended(1) == [["OK"]]
    assert node.do("GET b") == [b"6"]


@on_loop
async def test_it_gives_up_when_others_never_stop() -> None:
    node = Node()
    node.kv.holding = True
    node.begin(node.part(INCREMENT, "a"))
    tries = 0
    while not node.answers:
        await node.until(lambda: node.kv.held or node.answers)
        if node.kv.held:
            tries += 1
            node.do("INCR a")
            node.kv.release(0)
    assert await node.ended(1) == [TOO_CONTENDED]
    assert tries == ATTEMPTS_MAX + 1
    assert node.do("GET a") == [b"%d" % tries], "none of its own"


@on_loop
async def test_a_key_that_others_change_does_not_hold_up_the_rest() -> None:
    node = Node()
    node.kv.holding = True
    for number in range(8):
        node.begin(node.part(INCREMENT, f"k{number}"))
    while len(node.answers) < 8:
        await node.until(lambda: node.kv.held or len(node.answers) == 8)
        if node.kv.held:
            node.do("INCR k7")
            node.kv.release(0)
    assert await node.ended(8) == [[1]] * 7 + [TOO_CONTENDED]
    sizes = [len(word.calls) for word in node.proposed if word.atomic]
    assert sizes[:7] == [8, 4, 4, 2, 2, 1, 1]
    assert sum(sizes) < 2 * 8 + 2 * 4 + 2 * 2 + 2 * ATTEMPTS_MAX


@on_loop
async def test_scripts_that_come_meanwhile_go_together() -> None:
    node = Node()
    node.kv.holding = True
    node.begin(node.part(INCREMENT, "a"))
    await node.until(lambda: node.kv.held)
    for _ in range(50):
        node.begin(node.part(INCREMENT, "a"))
    node.kv.release()
    assert [answer[0] for answer in await node.ended(51)] == list(range(1, 52))
    assert [len(word.calls) for word in node.proposed] == [1, 50]


@on_loop
async def test_whose_changes_they_are_is_told_rightly() -> None:
    """Who is not told of its own changes (NOLOOP) must be told of those of others."""
    node = Node()
    wrote: list[tuple[int, int]] = []
    for _ in range(2):
        node.begin(node.part(INCREMENT, "a"))
        node.begin(node.part(INCREMENT, "b"), wrote=lambda *revisions: wrote.append(revisions))
    assert await node.ended(4) == [[1], [1], [2], [2]]
    changes = node.kv.machine.history.read(0, 10)
    assert changes is not None
    assert [(each.revision, each.key) for each in changes] == [
        *((1, b"a"), (2, b"b"), (3, b"a"), (4, b"b")),
    ]
    assert wrote == [(2, 2), (4, 4)]


@on_loop
async def test_where_memory_is_limited_each_goes_by_itself() -> None:
    node = Node(gathers=False)
    for _ in range(5):
        node.begin(node.part(INCREMENT, "a"))
    assert [answer[0] for answer in await node.ended(5)] == list(range(1, 6))
    assert len(node.proposed) == 5


@on_loop
async def test_a_script_that_fails_does_nothing_and_hinders_nobody() -> None:
    node = Node()
    node.begin(node.part(INCREMENT, "a"))
    node.begin(node.part("redis.call('SET', 'b', 1) redis.call('INCR', 'a') error('no')"))
    node.begin(node.part(INCREMENT, "a"))
    first, second, third = await node.ended(3)
    assert (first, third) == ([1], [2])
    assert second[0].text.startswith("ERR user_script:1: no script: ")
    assert node.do("EXISTS b", "GET a") == [0, b"2"]


@on_loop
async def test_a_script_that_returns_an_error_has_done_what_it_did() -> None:
    node = Node()
    assert await node.run("redis.call('SET', 'b', 1) return {err = 'MY way'}") == Failure("MY way")
    assert node.do("GET b") == [b"1"]


@on_loop
async def test_what_one_script_used_up_another_may_use_again() -> None:
    node = Node()
    half = "for i = 1, ARGV[1], 100 do local t = {} for j = 1, 100 do t[j] = i + j end "
    source = half + "redis.call('SADD', KEYS[1], unpack(t)) end return redis.call('SCARD', KEYS[1])"
    many = b"%d" % (ROWS_TOUCHED_MAX * 6 // 10)
    for key in ("a", "b", "c"):
        node.begin(node.part(source, key, arguments=[many]))
    assert await node.ended(3) == [[int(many)]] * 3
    assert len(node.proposed) == 3


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            f"for i = 1, {SINCE_MAX}, 2 do redis.call('MGET', i, i + 1, 'a') end",
            f"names at most {SINCE_MAX}",
        ),
        (
            f"for i = 1, {CALLS_PER_ACT_MAX + 1} do redis.pcall('GET', 'a') end",
            f"makes at most {CALLS_PER_ACT_MAX} calls",
        ),
        ("local s = ('x'):rep(1e6) for i = 1, 6 do redis.call('SET', i, s) end", "writes at most"),
        ("redis.call('SET', 'b', 1) while true do end", TOO_LONG.text),
        ("redis.call('SET', 'b', 1) return ('x'):rep(1e9)", NO_MEMORY.text),
        ("redis.call('SET', 'b', 1) redis.call('WAIT', 1, 1)", "not allowed"),
        ("redis.call('SET', 'b', 1) redis.call('INFO')", "not allowed"),
    ],
)
def test_limits(source: str, why: str) -> None:
    @on_loop
    async def test() -> None:
        node = Node()
        answer = await node.run(source)
        assert isinstance(answer, Failure)
        assert why in answer.text
        if why not in CATCHABLE:
            caught = f"pcall(function() {source} end) redis.call('SET', 'b', 1) return 1"
            assert isinstance(await node.run(caught), Failure)
        assert node.do("EXISTS b", "DBSIZE") == [0, 0]
        assert await node.run(INCREMENT, "a") == 1

    test()


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("redis.setresp(3) return {map = {[{1}] = 2}}", NO_NAMES),
        ("return {verbatim_string = {}}", []),
    ],
)
def test_what_no_protocol_has_is_answered_all_the_same(source: str, answer: Value) -> None:
    @on_loop
    async def test() -> None:
        node = Node()
        assert await node.run(source) == answer

    test()


@on_loop
async def test_a_mistake_here_is_the_answer_to_one_script(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    for place in (Interpreter, Rehearsal):
        with monkeypatch.context() as broken:
            broken.setattr(place, "run" if place is Interpreter else "now", None)
            assert await node.run(INCREMENT, "a") == MISTAKE
        assert await node.run("return redis.call('GET', 'a')") is None
    assert await node.run(INCREMENT, "a") == 1


@pytest.mark.parametrize("is_run", [True, False])
def test_scripts_that_are_kept_take_no_memory_from_others(
    monkeypatch: pytest.MonkeyPatch, is_run: bool
) -> None:
    monkeypatch.setattr(interpreter, "MEMORY_SIZE_BYTES_MAX", 4 << 20)
    monkeypatch.setattr(interpreter, "MEMORY_KEPT_SIZE_BYTES", 1 << 18)
    monkeypatch.setattr(interpreter, "CHUNKS_SIZE_BYTES_MAX", 1 << 19)

    @on_loop
    async def test() -> None:
        node = Node()
        for number in range(150 if is_run else 600):
            source = f"local t = {{{1000 * f'f({number}),'}}} return 1"
            assert isinstance(node.scripts.load(source.encode()), Script)
            if is_run:
                assert "nonexistent" in str(await node.run(source))
                assert await node.run("return #('x'):rep(1e6)") == 1_000_000

    test()


@on_loop
async def test_a_script_may_change_more_than_a_transaction() -> None:
    node = Node()
    node.kv.commands_version = INTRODUCED[CallsRehearsed] - 1
    many = 3 * CALLS_MAX
    source = f"for i = 1, {many} do redis.call('SET', KEYS[1] .. i, i) end return 1"
    node.begin(node.part(INCREMENT, "a"))
    node.begin(node.part(source, "k"))
    node.begin(node.part(INCREMENT, "a"))
    assert await node.ended(3) == [[1], [1], [2]]
    assert [type(each) for each in node.proposed] == [Calls, CallsSince, Calls]
    assert node.do("DBSIZE", f"GET k{many}") == [many + 1, b"%d" % many]
    assert node.kv.machine.revision == 3
    node.kv.commands_version += 1
    drop = f"for i = 1, {many} do redis.call('DEL', KEYS[1] .. i) end return 1"
    assert await node.run(drop, "k") == 1
    assert node.do("DBSIZE") == [1]
    parts = [(b"INCR", b"a")] * 2
    node.begin(*parts, node.part(f"for i = 2, {SINCE_MAX} do redis.call('INCR', 'a') end"))
    assert await node.ended(1) == [
        Failure(f"ERR a script changes something by at most {SINCE_MAX} calls")
    ]
    node.kv.commands_version = 3
    assert await node.run(source, "k") == Failure("ERR an argument is outside its limits")
    assert node.do("DBSIZE", "GET a") == [1, b"2"]


@on_loop
async def test_that_a_quota_is_reached_is_said_of_a_fresh_state() -> None:
    node = Node()
    node.kv.write(SetQuota(b"p:", 0), lambda outcome: None)
    node.kv.holding = True
    source = "redis.pcall('SET', 'p:a', 1) return redis.call('SET', 'b', 1)"
    node.begin(node.part(source))
    await node.until(lambda: node.kv.held)
    assert not node.proposed, "a round comes first"
    node.kv.holding = False
    node.kv.write(SetQuota(b"p:", 1), lambda outcome: None)  # acknowledged before it is over
    node.kv.release()
    assert await node.ended(1) == [["OK"]]
    assert node.do("EXISTS p:a b b") == [3]


@pytest.mark.parametrize("is_numbered", [False, True])
def test_what_no_key_guards_must_not_come_between(is_numbered: bool) -> None:
    """Else a part of the script would be done, and the whole of it answered."""

    @on_loop
    async def test() -> None:
        node = Node()
        once = Once(b"t:1", bytes(16)) if is_numbered else None
        node.kv.write(SetQuota(b"p:", 1), lambda outcome: None)
        node.kv.holding = True
        node.begin(
            node.part("redis.call('SET', 'p:a', 1) redis.call('SET', 'b', 1) return 'all'"),
            once=once,
        )
        await node.until(lambda: node.kv.held)
        node.do("SET p:b 1")  # has the place for itself
        node.kv.release()
        [[answer]] = await node.ended(1)
        assert isinstance(answer, Failure)
        assert "OOM the quota" in answer.text
        assert node.do("EXISTS p:a b") == [0]

    test()


@pytest.mark.parametrize(
    ("calls", "answer", "left"),
    [
        # A deadline that has come removes the key, and what follows makes another one.
        ("{'SET', KEYS[1], 1, 'PXAT', ARGV[1]} {'EXISTS', KEYS[1]}", 0, -2),
        ("{'SET', KEYS[1], 1} {'PEXPIREAT', KEYS[1], ARGV[1]} {'APPEND', KEYS[1], 1}", 1, -1),
        ("{'SET', KEYS[1], 1} {'GETEX', KEYS[1], 'PXAT', ARGV[1]} {'INCR', KEYS[1]}", 1, -1),
        # And what was too early may be late enough.
        ("{'PEXPIRE', 'old', 40, 'GT'}", 1, -2),
    ],
)
def test_time_that_goes_by_is_seen(calls: str, answer: Value, left: int) -> None:
    """Before the log has what was rehearsed; each is answered as it is done in the end."""
    each = calls.replace("} {", "}, {")
    loop = f"for _, call in ipairs({{{each}}}) do value = redis.call(unpack(call)) end"

    @on_loop
    async def test() -> None:
        node = Node()
        node.do("SET old 1 PX 60")
        before_ms = node.kv.time_ms
        node.kv.holding = True
        arguments = [b"%d" % (before_ms + 10)]
        node.begin(node.part(f"local value {loop} return value", "a", arguments=arguments))
        await node.until(lambda: node.kv.held)
        node.kv.time_ms += 30
        node.kv.release()
        [[value]] = await node.ended(1)
        assert value == answer
        assert node.do("PTTL a") == [left]

    test()


@pytest.mark.parametrize(
    ("error", "begins"), [(NotLeader("nobody"), "CLUSTERDOWN"), (Unknown("who knows"), "UNKNOWN")]
)
def test_what_the_cluster_says_is_the_answer(error: Any, begins: str) -> None:
    @on_loop
    async def test() -> None:
        node = Node()
        node.kv.error = error
        for source in (INCREMENT, "return redis.call('GET', 'a')"):
            answer = await node.run(source, "a")
            assert answer.text.startswith(begins)
        node.kv.error = None
        assert await node.run(INCREMENT, "a") == 1

    test()


@on_loop
async def test_a_transaction_with_scripts() -> None:
    node = Node()
    wrote: list[tuple[int, int]] = []
    parts = [(b"SET", b"a", b"5"), node.part(INCREMENT, "a"), (b"INCR", b"b"), Failure("ERR other")]
    node.begin(*parts, wrote=lambda first, last: wrote.append((first, last)))
    assert await node.ended(1) == [["OK", 6, 1, Failure("ERR other")]]
    assert wrote == [(1, 1)]
    # One that fails undoes itself alone.
    fails = node.part("redis.call('INCR', 'a') error('no')")
    node.begin((b"INCR", b"a"), fails, (b"LPUSH", b"a", b"x"), (b"INCR", b"a"))
    [answer] = await node.ended(1)
    assert [answer[0], answer[3]] == [7, 8]
    assert all(isinstance(each, Failure) for each in answer[1:3])


@on_loop
async def test_a_watched_key() -> None:
    node = Node()
    node.do("SET a 1")
    was = node.kv.machine.revision_of(b"a")
    node.begin(node.part(INCREMENT, "a"), watched={b"a": was})
    assert await node.ended(1) == [[2]]
    node.begin(node.part(INCREMENT, "a"), watched={b"a": was})
    assert await node.ended(1) == [NIL_ARRAY]
    # A script that goes with it counts, too.
    now = node.kv.machine.revision_of(b"a")
    node.begin(node.part(INCREMENT, "a"))
    node.begin(node.part(INCREMENT, "a"), watched={b"a": now})
    assert await node.ended(2) == [[3], NIL_ARRAY]
    assert node.do("GET a") == [b"3"]


@on_loop
async def test_a_watched_key_that_was_absent() -> None:
    node = Node()
    for kept in (False, True):
        node.do("SET x 1")
        absent = ~node.kv.machine.revision
        script = node.part(INCREMENT, "a")
        node.begin(script, watched={b"w": absent})
        assert await node.ended(1) == [[1 + kept]]
        node.begin(script, watched={b"w": ~node.kv.machine.revision})
        node.do("SET w 1", "DEL w")  # before it is rehearsed
        assert await node.ended(1) == [NIL_ARRAY]
        node.kv.holding = True
        node.begin(script, watched={b"w": ~node.kv.machine.revision})
        await node.until(lambda: node.kv.held)
        node.do("SET w 1", "DEL w")  # on its way
        node.kv.release()
        assert await node.ended(1) == [NIL_ARRAY]
        # A key that only the script has seen may come and go.
        node.kv.holding = True
        node.begin(script, node.part("return redis.call('EXISTS', 'y')"))
        await node.until(lambda: node.kv.held)
        node.do("SET y 1", "DEL y")
        node.kv.release()
        assert await node.ended(1) == [[2 + kept, 0]]
        node.do(f"SET a {1 + kept}", "DEL b")
        # Another script that goes with it may have made the key, and removed it.
        node.begin(node.part("redis.call('SET', 'w', 1) redis.call('DEL', 'w') return 'gone'"))
        node.begin(script, watched={b"w": ~node.kv.machine.revision})
        assert await node.ended(2) == [[b"gone"], NIL_ARRAY]
        absent = ~node.kv.machine.revision
        node.do("SET w 1")
        node.begin(script, watched={b"w": absent})
        assert await node.ended(1) == [NIL_ARRAY]
        node.do("DEL w")


@on_loop
async def test_keys_that_are_overdue() -> None:
    node = Node()
    node.do("SET a 1 PX 100")
    node.kv.time_ms += 200
    assert await node.run("return redis.call('GET', 'a')") is None
    node.do("SET a 1 PX 100")
    node.kv.time_ms += 200
    source = "if redis.call('EXISTS', 'a') == 1 then redis.call('SET', 'b', 1) end return 1"
    assert await node.run(source) == 1
    assert node.do("EXISTS b") == [0]


@on_loop
async def test_what_else_a_script_may_ask() -> None:
    node = Node()
    assert await node.run("return redis.call('TIME')") == [b"1", b"0"]
    assert await node.run("return {redis.call('PING'), redis.call('ECHO', 'x')}") == ["PONG", b"x"]
    assert await node.run("return redis.call('PUBLISH', 'c', 'm')") == 3
    assert node.proposed[-1].calls == ((b"PUBLISH", b"c", b"m"),)


@on_loop
async def test_a_flush() -> None:
    node = Node()
    node.do("SET a 1", "SET b 2", "SET c 3 PX 100")
    node.kv.time_ms += 200
    source = "redis.call('FLUSHALL') return {redis.call('GET', 'a'), redis.call('INCR', 'c')}"
    assert await node.run(source) == [None, 1]
    assert node.do("DBSIZE", "GET c") == [1, b"1"]


@on_loop
async def test_chance_is_the_same_when_it_is_done() -> None:
    node = Node()
    node.do("SADD s " + " ".join(map(str, range(100))))
    source = """
    local seen = {redis.call('SRANDMEMBER', 's'), redis.call('SPOP', 's'), redis.call('SPOP', 's')}
    redis.call('RPUSH', 'l', unpack(seen))
    return seen
    """
    for _ in range(5):
        node.begin(node.part(source))
    seen = [each for [values] in await node.ended(5) for each in values]
    assert node.do("LRANGE l 0 -1") == [seen]
    popped = [each for place, each in enumerate(seen) if place % 3]
    assert node.do(f"SMISMEMBER s {' '.join(each.decode() for each in popped)}") == [[0] * 10]


# Once.


def once(token: bytes, of: bytes = b"x" * 16) -> Once:
    return Once(token, of)


@on_loop
async def test_a_script_that_is_done_once() -> None:
    node = Node()
    script = node.part(
        "return {redis.call('INCR', 'a'), {ok = 'fine'}, redis.pcall('LPUSH', 'a', 1)}"
    )
    node.begin(script, once=once(b"t:1"))
    first = await node.ended(1)
    assert first[0][0][:2] == [1, "fine"]
    node.do("SET a 10")
    wrote: list[object] = []
    node.begin(script, once=once(b"t:1"), wrote=lambda *revisions: wrote.append(revisions))
    assert await node.ended(1) == first
    assert not wrote
    node.begin(script, once=once(b"t:1", b"y" * 16))
    assert await node.ended(1) == [MISUSED]
    node.begin(script, once=once(b"t:2"))
    assert (await node.ended(1))[0][0][0] == 11


@on_loop
async def test_the_second_attempt_may_overtake_the_first() -> None:
    """Both are on their way: the log does the first, and answers the other as that one."""
    node = Node()
    other = Node()
    other.kv = node.kv
    other.scripts = Scripts(
        node.kv, node.kv.machine, Dice(), asyncio.get_running_loop(), 1 << 20, other.player
    )
    node.kv.holding = True
    for each in (node, other):
        each.begin(each.part(INCREMENT, "a"), once=once(b"t:1"))
    await node.until(lambda: node.kv.held == 2)
    node.kv.release()
    assert await node.ended(1) == await other.ended(1) == [[1]]
    assert node.do("GET a") == [b"1"]


@on_loop
async def test_once_and_out_of_date() -> None:
    """What the log found out of date is not remembered: it is run again."""
    node = Node()
    node.kv.holding = True
    node.begin(node.part(INCREMENT, "a"), once=once(b"t:1"))
    await node.until(lambda: node.kv.held)
    node.do("SET a 7")
    node.kv.release()
    assert await node.ended(1) == [[8]]
    node.begin(node.part(INCREMENT, "a"), once=once(b"t:1"))
    assert await node.ended(1) == [[8]]


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("return redis.call('EXISTS', 'a') == 0 and 'none' or redis.call('INCR', 'a')", b"none"),
        ("return redis.call('DBSIZE') == 1 and 'none' or redis.call('INCR', 'a')", b"none"),
        ("return ARGV[1]", b"7"),
        ("redis.call('INCR', 'l')", "WRONGTYPE"),
    ],
)
def test_once_and_nothing_was_changed(source: str, answer: Value) -> None:
    """That is remembered, too: else it might do something behind what was done after it."""

    @on_loop
    async def test() -> None:
        node = Node()
        node.do("LPUSH l 1")
        answers = list[Value]()
        for _ in range(2):
            node.begin(node.part(source, arguments=[b"7"]), once=once(b"t:1"))
            [[value]] = await node.ended(1)
            answers.append(value)
            node.do("DEL l", "SET a 1", "SET b 1")  # done after the first attempt
        assert answers[0] == answers[1]
        told = answers[0].text if isinstance(answers[0], Failure) else answers[0]
        assert told[: len(answer)] == answer
        assert node.do("GET a") == [b"1"]

    test()


@on_loop
async def test_a_transaction_with_scripts_that_is_done_once() -> None:
    node = Node()
    parts = [(b"SET", b"a", b"5"), node.part(INCREMENT, "a")]
    node.do("SET x 1", "WAIT")
    watched = {b"w": ~node.kv.machine.revision}
    for _ in range(2):
        node.begin(*parts, once=once(b"t:1"), watched=watched)
        assert await node.ended(1) == [["OK", 6]]
        node.do("SET w 1", "DEL w")
    node.begin(*parts, once=once(b"t:2"), watched=watched)
    assert await node.ended(1) == [NIL_ARRAY]


@on_loop
async def test_numbered_scripts_go_one_by_one() -> None:
    node = Node()
    for number in range(3):
        node.begin(node.part(INCREMENT, "a"), once=once(b"t:%d" % number))
        node.begin(node.part(INCREMENT, "a"))
    assert await node.ended(6) == [[number] for number in range(1, 7)]
    assert len(node.proposed) == 6


@on_loop
async def test_what_cannot_be_remembered() -> None:
    node = Node()
    node.begin(node.part("redis.call('INCR', 'a') return {ok = '\\255'}"), once=once(b"t:1"))
    assert await node.ended(1) == [NOT_REMEMBERED]
    node.begin(node.part("redis.call('INCR', 'a') return ('x'):rep(1e6)"), once=once(b"t:2"))
    [[answer]] = await node.ended(1)
    assert "too large to be remembered" in answer.text
    assert node.do("EXISTS a") == [0]


@on_loop
async def test_parts_whose_answers_together_cannot_be_remembered() -> None:
    """Each of them is told so, also when it is asked again."""
    node = Node()
    parts = [node.part("redis.call('INCR', 'a') return ('x'):rep(100)")] * 300
    for _ in range(2):
        node.begin(*parts, once=once(b"t:1"))
        assert await node.ended(1) == [[TOO_LARGE] * 300]
    assert node.do("EXISTS a") == [0]


@on_loop
async def test_the_deepest_answer_is_remembered() -> None:
    node = Node()
    source = "redis.call('INCR', 'a') local t = 1 for _ = 1, 128 do t = {t} end return t"
    for _ in range(2):
        node.begin(node.part(source), once=once(b"t:1"))
        [[answer]] = await node.ended(1)
        assert str(answer) == "[" * REPLY_DEPTH_MAX + "1" + "]" * REPLY_DEPTH_MAX


@on_loop
async def test_an_older_cluster_does_not_remember_scripts() -> None:
    node = Node()
    node.kv.commands_version = INTRODUCED[CallsAnswered] - 1
    node.begin(node.part(INCREMENT, "a"), watched={b"w": ~node.kv.machine.revision})
    assert await node.ended(1) == [[1]]
    assert type(node.proposed[-1]) is Calls
