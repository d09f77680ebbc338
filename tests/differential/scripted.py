"""Calls from within scripts, and scripts that show what Redis' world of Lua answers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hypothesis import strategies as st

from raftcache.command.call_table import fault, find, keys_of
from tests.differential.grammar import FAR_DIGITS, Arguments, Strategy

_SHOWN: Final = b"""
local function show(value)
  if type(value) ~= 'table' then return type(value) .. ' ' .. tostring(value) end
  local parts = {}
  value.ignore_error_stats_update = nil  -- Redis' own business
  for name, each in pairs(value) do parts[#parts + 1] = tostring(name) .. '=' .. show(each) end
  table.sort(parts)
  return '{' .. table.concat(parts, ', ') .. '}'
end
"""

WRAPPERS: Final = (
    b"return redis.call(unpack(ARGV))",
    b"return redis.pcall(unpack(ARGV))",
    b"redis.setresp(3) return redis.call(unpack(ARGV))",
)
"""Scripts that make the call of their arguments, and answer with what it answers."""

SHOWING: Final = (
    b"return {redis.pcall(unpack(ARGV)), #ARGV, ARGV[1]}",
    b"local ok, value = pcall(redis.call, unpack(ARGV)) return {tostring(ok), value}",
    _SHOWN + b"return show(redis.pcall(unpack(ARGV)))",
    _SHOWN + b"redis.setresp(3) return show(redis.pcall(unpack(ARGV)))",
)
"""The same, and more: or with a text of what the script was given."""

NOT_SHOWN: Final = frozenset(
    # In an order of their own, or counted from now.
    b"KEYS HGETALL HKEYS HVALS SMEMBERS SUNION SINTER SDIFF TTL PTTL EXPIRETIME PEXPIRETIME SORT "
    b"OBJECT".split()
)

NOT_WRAPPED: Final = frozenset(
    # By chance; what raftcache does by itself; and what is listed as a difference.
    b"SPOP SRANDMEMBER HRANDFIELD ZRANDMEMBER RANDOMKEY SCAN HSCAN SSCAN ZSCAN "
    b"DBSIZE OBJECT".split()
)

SCRIPTS: Final = [
    line.replace(b"\\n", b"\n")
    for line in Path(__file__).with_name("scripts.txt").read_bytes().splitlines()
]
"""None ends with an error after it has changed something: see docs/REDIS.md."""

_NUMBERS: Final = st.sampled_from([b"0", b"1", b"1", b"2", b"-1", b"abc", b"99"])
_WORDS: Final = st.lists(st.sampled_from([b"k1", b"k2", b"a", b"7", b""]), max_size=3)


@st.composite
def _plain(draw: st.DrawFn) -> Arguments:
    name = draw(st.sampled_from([b"EVAL", b"EVAL", b"EVAL", b"EVAL_RO"]))
    return (name, draw(st.sampled_from(SCRIPTS)), draw(_NUMBERS), *draw(_WORDS))


@st.composite
def _wrapped(draw: st.DrawFn, call: Strategy) -> Arguments:
    inner = draw(call)
    is_far = any(len(word) >= FAR_DIGITS and word.isdigit() for word in inner)  # see judge
    may_show = inner[0].upper() not in NOT_SHOWN and not is_far
    script = draw(st.sampled_from(WRAPPERS + SHOWING if may_show else WRAPPERS))
    return (draw(st.sampled_from([b"EVAL", b"EVAL", b"EVAL_RO"])), script, b"0", *inner)


def _may_be_compared(call: Arguments) -> bool:
    is_known = find(call) is not None and call[0].upper() not in NOT_WRAPPED
    return is_known and (fault(call) is not None or b"" not in keys_of(call))  # no key here


def scripted(call: Strategy) -> Strategy:
    """Scripts that make such calls, and others; calls to SCRIPT; and such calls themselves."""
    of_scripts = st.sampled_from(
        [
            (b"SCRIPT", b"EXISTS", b"abc"),
            (b"SCRIPT", b"LOAD", b"return 1"),
            (b"SCRIPT", b"LOAD", b"return ("),
            (b"EVALSHA", b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db", b"0"),
            (b"EVALSHA_RO", b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", b"0"),
            (b"EVALSHA", b"f" * 40, b"0"),
            (b"SCRIPT", b"FLUSH"),
            (b"SCRIPT", b"FLUSH", b"X"),
            (b"SCRIPT", b"KILL"),
            (b"MULTI",),
            (b"EXEC",),
            (b"EXEC",),
        ]
    )
    call = call.filter(_may_be_compared)
    return st.one_of(_wrapped(call), _wrapped(call), _plain(), of_scripts, call)
