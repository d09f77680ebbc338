"""Patterns of Lua that are matched in Lua (patterns.lua) do what those of C do, errors and all."""

from __future__ import annotations

import random
from importlib import resources
from typing import Any, Final

import pytest
from lupa.lua51 import LuaRuntime

PIECES: Final = (
    *(b"a", b"b", b".", b"%a", b"%d", b"%s", b"%w", b"[ab]", b"[^a]", b"[]a]", b"[a-c]", b"[%d_]"),
    *(b"%.", b"%%", b"*", b"+", b"-", b"?", b"(", b")", b"()", b"^", b"$", b"%b()", b"%bab"),
    *(b"%f[a]", b"%f[^a]", b"%1", b"%2", b"[", b"]", b"%", b"\xff", b"\0", b"_", b"1", b"%0"),
    *(b"(a)", b"(.-)", b"(.*)", b"(a*)", b"[a-", b"%f", b"%b", b"\r", b"[%a-z]", b"[a%-z]"),
)
SUBJECTS: Final = (b"a b c 1 ( ) _ \xff \0 % ] - $ ^ aa ab () .".split(b" "), b" ")
TEXTS: Final = (
    b"",
    b"x",
    b"%0",
    b"%1",
    b"%2",
    b"%%",
    b"<%0>",
    b"%",
    b"a%1b%2",
    b"%9",
    b"%a",
    5,
    1.5,
)
PLACES: Final = (1, 2, 3, -1, -3, 0, 100, -100, 2.7, -2.7)
SPECIALS: Final = b"^$*+?.([%-"

BOTH: Final = b"""
local patterns = ...

local function told(ok, ...)
  local out = {tostring(ok)}
  for place = 1, select("#", ...) do
    local value = select(place, ...)
    out[#out + 1] = type(value) .. ":" .. tostring(value)
  end
  return table.concat(out, "|")
end

local function all_of(gmatch, subject, pattern)
  return told(pcall(function()
    local found = {}
    for a, b, c in gmatch(subject, pattern) do
      found[#found + 1] = tostring(a) .. "," .. tostring(b) .. "," .. tostring(c)
      if #found > 60 then break end
    end
    return table.concat(found, ";")
  end))
end

return function(name, ...)
  if name == "gmatch" then
    return all_of(string.gmatch, ...), all_of(patterns.gmatch, ...)
  end
  return told(pcall(string[name], ...)), told(pcall(patterns[name], ...))
end
"""
REPLACING: Final = b"""
local function replaced(...)
  local first, second = ...
  if second then return nil end
  if first == "a" then return "<a>" elseif first == "b" then return false end
  return first == "" and 7 or {}
end
return replaced, {a = "1", b = 2, c = false}
"""


@pytest.mark.parametrize("seed", range(4))
def test_what_is_matched_in_lua_is_what_c_matches(seed: int) -> None:
    lua: Any = LuaRuntime(encoding=None, unpack_returned_tuples=True)
    folder = resources.files("raftcache.service.scripting")
    both = lua.execute(BOTH, lua.execute(folder.joinpath("patterns.lua").read_bytes()))
    texts = (*TEXTS, *lua.execute(REPLACING))
    dice, subjects = random.Random(seed), (*SUBJECTS[0], SUBJECTS[1])
    for _ in range(2500):
        name = dice.choice((b"find", b"match", b"gmatch", b"gsub", b"gsub"))
        subject = b"".join(dice.choices(subjects, k=dice.randrange(9)))
        pattern = b"".join(dice.choices(PIECES, k=dice.randint(1, 6)))
        more: list[object] = []
        if name == b"gsub":
            more = [dice.choice(texts), dice.choice((0, 1, 2, -1, 1.5, 100))][: dice.randint(1, 2)]
        elif name != b"gmatch" and dice.random() < 0.4:
            more = [dice.choice(PLACES)]
        if name == b"find" and not set(pattern.partition(b"\0")[0]) & set(SPECIALS):
            continue  # it is no pattern: C looks for it as it is
        in_c, in_lua = both(name, subject, pattern, *more)
        assert in_c == in_lua, (name, subject, pattern, more)
