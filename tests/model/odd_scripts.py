"""Scripts that call whatever they can reach with odd arguments: none may end the process.

    python -m tests.model.odd_scripts --seed 1 --scripts 10000

prints each script before it is run if it is told to (--trace): the last one is the one at fault.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final
from unittest import mock

from raftcache.command.values import Failure, Value
from raftcache.service.scripting import interpreter
from raftcache.service.scripting.interpreter import Interpreter

PATIENCE_S: Final = 60
"""With one script, by which it is over, or never."""

DEPTH_MAX: Final = 3

_BELOW: Final = {
    "string": "byte char find format gfind gmatch gsub len lower match rep reverse sub upper",
    "table": "concat foreach foreachi getn insert maxn remove setn sort",
    "math": "abs ceil exp floor fmod frexp ldexp log max min modf pow random randomseed sqrt",
    "bit": "tobit tohex bnot band bor bxor lshift rshift arshift rol ror bswap",
    "struct": "pack unpack size",
    "cmsgpack": "pack unpack",
    "cjson": "encode decode",
    "coroutine": "create resume running status wrap yield",
    "redis": "call pcall sha1hex error_reply status_reply log setresp",
}
_ALONE: Final = [
    "assert",
    "collectgarbage",
    "error",
    "getmetatable",
    "ipairs",
    "load",
    "loadstring",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
]
FUNCTIONS: Final = (
    *_ALONE,
    *(f"{place}.{name}" for place, names in _BELOW.items() for name in names.split()),
)

VALUES: Final = r"""
nil
true
false
0
1
-1
2
100
1e5
2^31-1
2^31
-2^31
2^32
2^53
-2^53
1e308
-1e308
0/0
1/0
-1/0
0.5
''
'a'
'abc'
'1'
('a'):rep(1e5)
('a?'):rep(900)
('a*'):rep(1e6)
'%b()'
'%f[a]'
'^(.-)$'
'(()())'
'%s%q%d'
'%99.99f'
'%1'
'[^a'
'[%'
'\0\255'
'i4s'
'>i8<d!8c0'
{}
{1, 2, 3}
{a = 1}
many
own
meta
routine
function() return 1 end
function(...) return ... end
function() error('x') end
function(a) return tostring(a) end
function(a) return redis.call(a, 1) end
function(...) return coroutine.yield(...) end
coroutine.wrap(function(...) return string.gsub(..., '.', coroutine.yield) end)
coroutine.create(function() return pcall(redis.pcall, 'GET', 'k') end)
redis
string
cjson.null
KEYS
'return ...'
('('):rep(300)
'\27Lua'
""".strip().splitlines()

TEXTS: Final = tuple(value for value in VALUES if value[0] in "('")

_BEGIN: Final = """
local many, own = {}, {}
for place = 1, 50 do many[place] = place end
own[1], own.x = own, many
local function yes() return true end
local meta = setmetatable({}, {
  __index = function(_, name) return name end, __newindex = yes, __call = yes, __lt = yes,
  __le = yes, __eq = yes, __len = function() return 5 end, __concat = function() return 'c' end,
  __tostring = function() return 'm' end,
})
local routine = coroutine.create(function(...) while true do coroutine.yield(...) end end)
"""


class OddScripts:
    """Makes and runs them."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._interpreter = Interpreter(lambda level, text: None, time.monotonic)

    def script(self) -> str:
        calls = [self._call(1) for _ in range(self._dice.choice((1, 2, 4)))]
        lines = [f"found = {{pcall(function() return {call} end)}}" for call in calls]
        return "\n".join((_BEGIN, "local found", *lines, "return #found"))

    def _call(self, depth: int) -> str:
        dice, function = self._dice, self._dice.choice(FUNCTIONS)
        pool = TEXTS if function.startswith("string.") else VALUES
        count = dice.choice((0, 1, 1, 2, 2, 3, 4))
        return f"{function}({', '.join(self._value(pool, depth) for _ in range(count))})"

    def _value(self, pool: Sequence[str], depth: int) -> str:
        luck = self._dice.random()
        if luck < 0.3 and depth < DEPTH_MAX:
            return self._call(depth + 1)
        return self._dice.choice(pool if luck < 0.8 else VALUES)

    def run(self, source: str) -> Value:
        """What it answers; by then it has come to an end."""
        if self._interpreter.is_spent:
            self._interpreter = self._interpreter.successor()
        self._interpreter.allow()
        chunk = self._interpreter.compile(source.encode())
        if isinstance(chunk, Failure):
            return chunk
        _, value = self._interpreter.run(chunk, "odd", [b"key"], [], self._perform)
        return value

    def _perform(self, call: list[bytes]) -> Value:
        return self._dice.choice(("OK", 1, b"value", None, [1, b"x"], Failure("ERR no")))


def play(seed: int, scripts: int, *, is_told: bool = False) -> None:
    """Run so many; a process that ends, or waits for good, has failed."""
    odd = OddScripts(seed)
    for _ in range(scripts):
        source = odd.script()
        if is_told:
            print(source, flush=True)
        signal.alarm(PATIENCE_S)
        value = odd.run(source)
        signal.alarm(0)
        assert "internal error" not in str(value), (value, source)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scripts", type=int, default=10_000)
    parser.add_argument("--trace", action="store_true", help="print each before it is run")
    parser.add_argument("--control", action="store_true", help="patterns have no limit: it ends")
    args = parser.parse_args(argv)
    limits = {"PATTERN_REPEATS_MAX": 1 << 30, "MATCHER_STEPS_MAX": math.inf}
    with contextlib.ExitStack() as patches:
        for name, limit in limits.items() if args.control else ():
            patches.enter_context(mock.patch.object(interpreter, name, limit))
        play(args.seed, args.scripts, is_told=args.trace)
    print(f"{args.scripts} scripts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
