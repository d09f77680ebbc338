"""A script is done as if it were done at once, whatever comes between its rehearsal and the log."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

import pytest

from raftcache.command.calls import Call, CallsSince
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.command.words import Command, SetQuota, Tick
from raftcache.state.machine import Machine
from tests.unit.test_machine import at
from tests.unit.test_redis_service import on_loop
from tests.unit.test_scripts import Node, once

SEEDS: Final = 150
SIZE_MAX: Final = 1 << 20
KEYS: Final = ("a", "b", "p:c", "p:d")

SOURCE: Final = """
local answers = {}
for place, text in ipairs(ARGV) do
  local value = redis.pcall(unpack(cjson.decode(text)))
  if value == false then value = 'nil' end
  if type(value) == 'table' then value = value.err or value.ok or value end
  answers[place] = value
end
return answers
"""

CALLS: Final = """
SET k v; SET k 7 PXAT at; SET k 7 PX ms; SET k 1 NX; SET k 2 XX GET; SET k 3 KEEPTTL; APPEND k x
INCR k; GET k; EXISTS k; DEL k; PEXPIREAT k at; PEXPIREAT k at GT; PEXPIREAT k at LT
PEXPIRE k ms NX; PEXPIRE k ms GT; PEXPIRE k ms LT; PERSIST k; RENAME k k; RENAMENX k k
COPY k k REPLACE; GETEX k PXAT at; GETDEL k; SADD k m; SREM k m; SCARD k; SUNIONSTORE k k k
SDIFFSTORE k k k; RPUSH k 1 2; LPOP k; LLEN k; LRANGE k 0 -1; ZADD k 1 m 2 n
ZRANGESTORE k k 0 0; HSET k f 1; HINCRBY k f 2; MSETNX k 1 k 2; SETRANGE k 2 z; TYPE k
XADD k 5-1 f v; XLEN k
"""
"""Of keys k, times that a key has, and moments at which it is over."""


class Play:
    """One script, with others beside it: their commands in the order in which they were done."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.node = Node()
        self.done: list[tuple[int, Command]] = []

    def call(self) -> list[str]:
        dice, now_ms = self.dice, self.node.kv.time_ms
        line = dice.choice([line for line in CALLS.replace("\n", ";").split(";") if line])
        words = {"k": KEYS, "ms": ("1", "8", "30", "500")}
        words["at"] = tuple(str(now_ms + left_ms) for left_ms in (-5, 5, 15, 40, 1000))
        return [dice.choice(words.get(word, (word,))) for word in line.split()]

    def others(self) -> None:
        """Somebody writes, time goes by, a quota is set."""
        kv, dice = self.node.kv, self.dice
        for _ in range(dice.randrange(3)):
            what = dice.random()
            if what < 0.5:
                self._do(since([self.call()], atomic=False))
            elif what < 0.8:
                kv.time_ms += dice.choice((1, 10, 30))
            else:  # never a larger one, for what was refused is not asked for again
                now = min((quota.keys_max or 0 for quota, _ in kv.machine.quotas()), default=3)
                self._do(SetQuota(b"p:", max(0, now - 1)))

    def _do(self, word: Command) -> None:
        kv = self.node.kv
        holding, kv.holding = kv.holding, False
        kv.write(word, lambda outcome: None)
        kv.holding = holding
        self.done.append((kv.time_ms, word))

    async def answer(self, script: list[list[str]]) -> list[Value]:
        node, kv, dice = self.node, self.node.kv, self.dice
        arguments = [json.dumps(call).encode() for call in script]
        more: dict[str, Any] = {"once": once(b"t:1")} if dice.random() < 0.3 else {}
        kv.holding = True
        node.begin(node.part(SOURCE, arguments=arguments), **more)
        for _ in range(dice.randrange(1, 4)):
            await node.until(lambda: kv.held or node.answers)
            if node.answers:
                break
            self.others()
            kv.release(0)
        kv.release()
        [[values]] = await node.ended(1)
        return list(values)


def since(calls: list[list[str]], *, atomic: bool = True) -> CallsSince:
    words: list[Call] = [tuple(word.encode() for word in call) for call in calls]
    return CallsSince(tuple(words), SIZE_MAX, atomic, since=INTEGER_MAX)


def as_told(value: Value) -> Value:
    match value:
        case Failure(text):
            return text.encode()
        case None:
            return b"nil"
        case str():
            return value.encode()
    return b"nil" if value is NIL_ARRAY else value


def picture(machine: Machine) -> list[tuple[object, ...]]:
    return [(key, item.value, item.deadline_ms) for key, item in machine.items()]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_script_is_done_at_once(seed: int) -> None:
    @on_loop
    async def test() -> None:
        play = Play(seed)
        for _ in range(3):
            play.others()
        script = [play.call() for _ in range(play.dice.randrange(1, 7))]
        values = await play.answer(script)
        machine, now_ms = Machine(), play.node.kv.time_ms
        for then_ms, word in play.done:
            at(machine, then_ms, word)
        reply: Any = at(machine, now_ms, since(script))[0]
        assert list(map(as_told, values)) == list(map(as_told, reply.values)), (script, play.done)
        for each in (machine, play.node.kv.machine):
            at(each, now_ms, Tick())
        assert picture(play.node.kv.machine) == picture(machine), (script, play.done)

    test()
