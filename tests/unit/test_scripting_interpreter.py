"""What a script may do, what it may not, and how much of it; beside Redis: tests/differential."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from raftcache.command.values import Failure, Members, Pairs, Value, Verbatim
from raftcache.service.scripting.answers import (
    ANSWER_TOO_LARGE,
    ANSWERED_SIZE_BYTES_MAX,
    GIVEN_TOO_LARGE,
    sha_of,
)
from raftcache.service.scripting.cjson import DEPTH_MAX
from raftcache.service.scripting.interpreter import (
    CHAINED_MAX,
    NO_MEMORY,
    REPLY_ELEMENTS_MAX,
    TOO_LONG,
    TOO_MANY,
    TOO_MANY_REPEATS,
    Interpreter,
)
from raftcache.service.scripting.library import (
    SCRIPT_SIZE_BYTES_MAX,
    SCRIPTS_MAX,
    SCRIPTS_SIZE_BYTES_MAX,
    TOO_LARGE,
    Library,
    Script,
    script_of,
)
from tests.support.raw_http import HandClock

SHA = "0" * 40


class Run:
    """Scripts, one after the other, in one interpreter."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, bytes]] = []
        self.calls: list[list[bytes]] = []
        self.answers: dict[bytes, Value] = {}
        self.clock = HandClock()
        self.interpreter = Interpreter(
            lambda level, text: self.logged.append((level, text)), self.clock.monotonic_s
        )

    def __call__(self, source: str, *arguments: bytes, keys: Sequence[bytes] = ()) -> Value:
        """What the script answers."""
        self.interpreter.allow()
        chunk = self.interpreter.compile(source.encode())
        if isinstance(chunk, Failure):
            return chunk
        _, value = self.interpreter.run(chunk, SHA, keys, arguments, self._perform)
        return value

    def _perform(self, call: list[bytes]) -> Value:
        self.calls.append(call)
        if call[0] == b"TAKE":
            self.clock.now_s += float(call[1])
        return self.answers.get(call[0], "OK")


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.mark.parametrize(
    "source",
    [
        "while true do end",
        "return ('a'):rep(1000):find(('a*'):rep(30) .. 'b')",
        "return pcall(string.gsub, ('a'):rep(28), ('a?'):rep(28) .. ('a'):rep(28) .. 'b', '')",
        "return string.match(('a'):rep(1e5), '^(.-)(.-)b', '1')",
        "return ('a'):rep(1e5):gsub(('a'):rep(1e4) .. 'b', '')",
        "return ('('):rep(1e5):find('%b()')",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(error) end",
        "while true do xpcall(error, function() while true do end end) end",
        "local function f() return f() end return f()",
        "for _ = 1, 1e9 do redis.pcall('PING') end",
        "return setmetatable({}, {__index = function() while true do end end}).x",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "string.gsub('x', '.', function() while true do end end)",
        "load(function() while true do end end)",
        "coroutine.wrap(function() while true do end end)()",
        "for _ in coroutine.wrap(function() while true do coroutine.yield(1) end end) do end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do coroutine.create(function() end) end",
        "local function f() while true do pcall(coroutine.wrap(f)) end end f()",
        "local function f() while true do coroutine.resume(coroutine.create(f)) end end f()",
        "while true do coroutine.wrap(function() for _ = 1, 90 do end end)() end",
    ],
)
def test_a_script_without_an_end(run: Run, source: str) -> None:
    assert run(source) == TOO_LONG
    assert run("return 1") == 1
    assert not run.interpreter.is_spent


@pytest.mark.parametrize(
    "source",
    [
        "string.find(long, many)",
        "string.match(long, many)",
        "string.gsub(long, many, '')",
        "string.gmatch(long, many)",
        "long:find(many)",
        "('x').match(long, many)",
        "coroutine.wrap(function() return long:match(many) end)()",
    ],
)
def test_a_pattern_that_would_take_more_stack_than_there_is(run: Run, source: str) -> None:
    """For each item that may be repeated Lua's matcher calls itself: it ended the process."""
    for item in ("a?", "a*", "a+", "a-"):
        many = f"local long, many = ('a'):rep(200000), ('{item}'):rep(200000) "
        refused = run(f"{many} return ({source})")
        assert isinstance(refused, Failure)
        assert refused.text.startswith(TOO_MANY_REPEATS.text)
    assert run("local s = ('a?'):rep(2000) return {s:find(s, 1, true)}") == [1, 4000]
    assert run("return {('a'):rep(999):find(('a?'):rep(999))}") == [1, 999]


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ("-2^31, 0", None),
        ("2^31", None),
        ("1, 2^31", None),
        ("-1, 2^31 - 2", None),
        ("1, 8000", None),
        ("0/0", []),
        ("1, 0/0", []),
        ("3, 2", []),
        ("2", [2, 3]),
        ("'2', 3.0", [2, 3]),
        ("0, 4", [0, 1, 2, 3, 0]),
    ],
)
def test_places_that_are_no_integers_of_c_are_unpacked(
    run: Run, places: str, found: list[Value] | None
) -> None:
    """With them the process ended."""
    source = f"local function all(...) local r = {{}} for i = 1, select('#', ...) do r[i] = \
        (select(i, ...)) or 0 end return r end return all(unpack({{1, 2, 3}}, {places}))"
    unpacked = run(source)
    if found is None:
        assert isinstance(unpacked, Failure)
        assert "too many results to unpack" in unpacked.text
    else:
        assert unpacked == found


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("unpack()", "bad argument #1 to 'unpack' (table expected, got no value)"),
        ("table.sort()", "bad argument #1 to 'sort' (table expected, got no value)"),
        ("table.sort({2, 1}, function() error('mine') end)", "mine"),
        ("unpack({}, {})", "bad argument #2 to 'unpack' (number expected, got table)"),
        ("unpack({}, -2^31, 0)", "too many results to unpack"),
        ("string.find()", "bad argument #1 to 'find' (string expected, got no value)"),
        ("string.match('a', {})", "bad argument #2 to 'match' (string expected, got table)"),
        ("string.match('a', '(')", "unfinished capture"),
        ("string.gsub('a', '%', '')", "malformed pattern (ends with '%')"),
        ("string.gsub('a', '.', '%2')", "invalid capture index"),
        ("string.gsub('a', '.', function() error('mine') end)", "mine"),
    ],
)
def test_what_is_wrong_with_an_argument_is_said_of_who_gave_it(
    run: Run, source: str, why: str
) -> None:
    wrong = run(f"\nlocal found = {source} return found")
    assert isinstance(wrong, Failure)
    assert wrong.text.startswith(f"ERR user_script:2: {why} script: ")
    raised = run("return {pcall(string.gsub, 'a', '.', function() error({err = 'E mine'}) end)}")
    assert raised == [None, b"E mine"]


def test_sorting_takes_as_long_as_a_script_may(run: Run) -> None:
    """Nothing of it is a step that is counted: a loop of them stood a node still for 10 s."""
    source = "for _ = 1, 200 do table.sort({3, 1, 2}) end return redis.sha1hex('')"
    assert run(source) == sha_of(b"")
    asked = iter([0.0] * 20)
    run.interpreter._now_s = lambda: next(asked, math.inf)
    run.interpreter.until_s = 1.0
    chunk = run.interpreter.compile(source.encode())
    assert run.interpreter.run(chunk, SHA, [], [], run._perform) == (False, TOO_LONG)


@pytest.mark.parametrize("word", ["and", "or", "elseif", "break"])
def test_a_source_whose_reading_would_take_long(run: Run, word: str) -> None:
    """Lua walks a list for each of these words: a million of them stood a node still for hours."""
    each = {"elseif": "elseif a then ", "break": "do break end "}.get(word, f"a {word} ")
    begin, end = {"elseif": ("if a then ", "end"), "break": ("while a do ", "end")}.get(
        word, ("return ", "a")
    )
    refused = run(f"{begin}{each * (CHAINED_MAX + 1)}{end}")
    assert isinstance(refused, Failure)
    assert "more than 10000 of and, or, elseif and break" in refused.text
    load = f" local source = '{begin}' .. ('{each}'):rep(tonumber(ARGV[1])) .. '{end}' "
    pieces = "local left = {source} local function next_piece() return table.remove(left) end "
    for how in ("loadstring(source)", "load(next_piece)"):
        why = run(f"{load}{pieces}return (select(2, {how}))", b"18000")
        assert why == b"more than 10000 of and, or, elseif and break"
        assert run(f"{load}{pieces}return type({how})", b"1000") == b"function"


def test_a_source_that_a_script_loads_is_no_larger_than_a_script(run: Run) -> None:
    why = run("return (select(2, loadstring((' '):rep(tonumber(ARGV[1])))))", b"300000")
    assert why == b"more than 262144 bytes"
    assert run("return type(loadstring((' '):rep(200000)))") == b"function"


def test_a_script_whose_steps_take_long(run: Run) -> None:
    """Not so many of them: what makes long strings or reads JSON is one step to Lua."""

    source = "for i = 1, 1e4 do redis.pcall('TAKE', ARGV[1]) end return 'all'"
    assert run(source, b"0.00001") == b"all"
    assert run(source, b"0.001") == TOO_LONG
    assert len(run.calls) < 12_000
    assert run("return 1") == 1


@pytest.mark.parametrize(
    "source",
    [
        "return string.rep('x', 1e9)",
        "local t = {} for i = 1, 1e7 do t[i] = {} end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e7 do t[i] = cjson.decode('[[[],[],[]]]') end",
    ],
)
def test_a_script_that_takes_too_much_memory(run: Run, source: str) -> None:
    assert run(source) == NO_MEMORY
    assert run.interpreter.is_spent


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("cjson.encode(t)", "Cannot serialise, too many values"),
        ("cmsgpack.pack(t)", "too many values"),
        ("cjson.decode('[' .. ('0,'):rep(3e6) .. '0]')", "too long"),
        ("cmsgpack.unpack(('\\192'):rep(5e6))", "too long"),
        ("cmsgpack.unpack(('\\192'):rep(1e4))", "too many results to unpack"),
    ],
)
def test_what_is_made_of_little_is_bounded(run: Run, source: str, why: str) -> None:
    """Lua counts neither the time nor the memory that this takes."""
    begin = "local t = {} for i = 1, 15 do t = {t, t, t, t, t, t, t, t} end "
    answer = run(begin + source)
    assert isinstance(answer, Failure)
    assert why in answer.text
    assert not run.interpreter.is_spent


@pytest.mark.parametrize(
    "what",
    [
        "redis.call('SET', unpack(t))",
        "redis.pcall('SET', unpack(t))",
        "redis.log(redis.LOG_NOTICE, unpack(t))",
        "redis.setresp(unpack(t))",
        "struct.pack('c1', unpack(t))",
        "cjson.encode(t)",
        "cjson.encode({{[s] = 1}, {[s] = {t}}})",
        "cmsgpack.pack(t)",
        "cmsgpack.pack(unpack(t))",
        "t",
        "{map = {[t] = t}}",
        "{{{ok = s}, {ok = s}, {ok = s}}, {{err = s}, {err = s}, {big_number = s}, "
        "{verbatim_string = {string = s, format = 'txt'}}, {big_number = s}, s}}",
    ],
)
def test_one_string_in_many_places_is_copied_as_often_as_there_is_room(run: Run, what: str) -> None:
    """Lua has it once: Python would have taken any number of GiB."""
    source = "local s, t = ('x'):rep(%d), {} for i = 1, 100 do t[i] = s end return %s"
    answer = run(source % (ANSWERED_SIZE_BYTES_MAX // 8, what))
    assert isinstance(answer, Failure)
    assert any(why.decode() in answer.text for why in (GIVEN_TOO_LARGE, ANSWER_TOO_LARGE))
    assert (run.calls, run.logged) == ([], [])


def test_as_many_bytes_as_there_is_room_for_are_answered(run: Run) -> None:
    assert run("return #cjson.encode({('x'):rep(1e7), ('/'):rep(1e6)})") == 10**7 + 2 * 10**6 + 7
    assert run("local s = ('x'):rep(1e7) redis.call('SET', s, s:sub(1, 6e6))") is None
    assert [len(word) for word in run.calls[0]] == [3, 10**7, 6 * 10**6]
    assert [len(word) for word in run("local s = ('x'):rep(2e7) return {s, s, s}")] == [
        2 * 10**7
    ] * 3


def test_every_byte_is_written_in_json_as_redis_writes_it(run: Run) -> None:
    marks = {8: b"b", 9: b"t", 10: b"n", 12: b"f", 13: b"r", 34: b'"', 47: b"/", 92: b"\\"}
    for byte in range(256):
        plain = b"\\u%04x" % byte if byte < 32 or byte == 127 else bytes((byte,))
        written = b"\\" + marks[byte] if byte in marks else plain
        assert (
            run("return cjson.encode(ARGV[1])", bytes((byte, 92, 34))) == b'"%b\\\\\\""' % written
        )


@pytest.mark.parametrize(
    "source",
    [
        "struct.unpack('b', 'x', 0/0)",
        "struct.unpack('b', 'x', 1/0)",
        "struct.unpack('b', 'x', -1/0)",
        "struct.unpack('b', 'x', '0x' .. ('f'):rep(400))",
        "struct.pack('d', '0x' .. ('f'):rep(400))",
        "struct.unpack('sc0', '-0x' .. ('f'):rep(400) .. '\\0x')",
        "redis.log(1, setmetatable({}, {__tostring = function() error('x') end}))",
        "redis.log(1, {}, true, nil, 1.5, 'x')",
    ],
)
def test_no_error_of_python_gets_to_a_script(run: Run, source: str) -> None:
    answer = run(f"local _, e = pcall(function() return {source} end) return type(e)")
    assert answer in (b"string", b"nil")
    assert run.logged in ([], [(1, b"")], [(1, b"1.5 x")])


def test_a_mistake_of_a_function_is_an_error_in_the_script(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.service.scripting.structs.bits_of", None)
    answer = run("local _, e = pcall(struct.pack, 'b', 1) return e")
    assert answer == b"ERR internal error: TypeError"


def test_a_table_that_is_deep(run: Run) -> None:
    source = "local t = {{}} for i = 2, {} do t = {{t}} end return #cjson.encode(t)"
    assert run(source.format(200)) == 400
    for depth in (DEPTH_MAX, DEPTH_MAX + 1):
        answer = run(source.format(depth))
        assert isinstance(answer, Failure)
        assert "Cannot serialise, excessive depth" in answer.text


FULL = """
import sys
from raftcache.service.scripting.interpreter import NO_MEMORY, Interpreter

def perform(call):
    made.append(call)
    return b"%d" % len(made) * 300_000 if call == [b"STRING"] else [
        b"%d-%d" % (len(made), number) * 3 for number in range(5_000)
    ]

for source in sys.argv[1:]:
    made = []
    interpreter = Interpreter(print, lambda: 0.0)
    given = [b"%d" % number * 2_000_000 for number in range(10, 30)] if "ARGV" in source else []
    chunk = interpreter.compile(source.encode())
    print(interpreter.run(chunk, "", [], given, perform) == (False, NO_MEMORY))
"""


def test_what_python_makes_in_lua_has_room() -> None:
    """If it has none the process stands still, or ends: so it is one of its own."""
    until_full = "local t = {} for i = 1, 1e6 do t[i] = %s end"
    sources = [
        until_full % "redis.call('STRING')",
        until_full % "redis.call('LIST')",
        until_full % "redis.pcall('STRING')",
        "return cjson.decode('[' .. ('[],'):rep(7e5) .. '0]')",
        "local s = ('x'):rep(1e7) local t = {} for i = 1, 9 do t[i] = cmsgpack.pack(s .. i) end",
        "return #ARGV",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", FULL, *sources], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.split() == ["True"] * len(sources), ended


def test_a_table_has_no_name_that_is_no_number(run: Run) -> None:
    """As above: Lua refuses it where nobody hears that."""
    answer = run(
        "return cmsgpack.unpack(ARGV[1])", b"\x81\xcb" + struct.pack(">d", math.nan) + b"\1"
    )
    assert isinstance(answer, Failure)
    assert "NaN" in answer.text


def test_memory_that_one_script_has_held_is_there_for_the_next(run: Run) -> None:
    for _ in range(20):
        assert run("return #string.rep('x', 1e7)") == 10_000_000
    assert not run.interpreter.is_spent


@pytest.mark.parametrize(
    "source",
    [
        "t = 1",
        "_G.t = 1",
        "rawset(_G, 't', 1)",
        "rawset(redis, 'call', 1)",
        "redis.call = nil",
        "string.format = nil",
        "math.floor = nil",
        "table.concat = nil",
        "cjson.null = 1",
        "setmetatable(_G, {})",
        "setmetatable(redis, {})",
        "getmetatable('').__index = {}",
        "getmetatable(redis).__index = {}",
    ],
)
def test_nothing_is_left_for_the_next_script(run: Run, source: str) -> None:
    assert isinstance(run(source), Failure)
    assert run("return {type(redis.call), ('x'):format(), math.floor(1.5)}") == [
        b"function",
        b"x",
        1,
    ]
    assert "nonexistent global variable 't'" in run("return t").text
    assert isinstance(run("return KEYS[1] + 1", keys=[b"a"]), Failure)
    assert run("return #KEYS") == 0


@pytest.mark.parametrize("name", ["_G", "redis", "string", "table", "math", "cjson", "bit"])
def test_what_goes_by_raw_ways_is_gone_with_its_script(run: Run, name: str) -> None:
    run(f"table.insert({name}, 'one') table.insert({name}, 'two') error()")
    assert run(f"return {{rawget({name}, 1) or 'none', #{name}}}") == [b"none", 0]


NOT_THERE = """
python host debug io os package require module dofile loadfile print getfenv setfenv
newproxy gcinfo
"""


@pytest.mark.parametrize("name", NOT_THERE.split())
def test_there_is_no_way_out(run: Run, name: str) -> None:
    assert f"nonexistent global variable '{name}'" in run(f"return {name}").text


def test_no_object_of_python_can_be_looked_into(run: Run) -> None:
    run.answers[b"GET"] = object()  # as if an error of Python's came through
    seen = run(
        "local ok, e = xpcall(function() return redis.call('GET') end, function(e) return e end) "
        "return {type(e), tostring((pcall(function() return e.args end)))}"
    )
    assert seen == [b"userdata", b"false"]


def test_what_objects_of_python_share_is_not_to_be_had(run: Run) -> None:
    """With it a script would have answered the calls of all that follow, and stopped its clock."""
    run.answers[b"GET"] = object()
    seen = run(
        "local _, e = pcall(redis.call, 'GET') local shared = getmetatable(e) "
        "if shared then shared.__call = function() return 'mine' end end return type(e)"
    )
    assert seen == b"userdata"
    assert run("return redis.call('SET', 'k', 'v')") == "OK"


@pytest.mark.parametrize("data", [b"\xd6\xff" + bytes(4), b"\xd7\xff" + bytes(8)], ids=["4", "8"])
def test_a_time_of_messagepack_is_a_number(run: Run, data: bytes) -> None:
    """An object of Python's got to the script."""
    assert run("return type(cmsgpack.unpack(ARGV[1]))", data) == b"number"
    assert run("return type(cmsgpack.unpack(ARGV[1])[1])", b"\x91" + data) == b"number"


@pytest.mark.parametrize("name", ["__index", "__tostring", "__concat"])
def test_an_error_is_not_asked_what_it_is(run: Run, name: str) -> None:
    source = f"error(setmetatable({{}}, {{{name} = function() while true do end end}}))"
    assert run(source).text.startswith("ERR unknown error script: ")


def test_bytecode_is_not_read(run: Run) -> None:
    assert run("return loadstring(string.char(27) .. 'Lua')") is None
    assert "bytecode" in run("return {select(2, loadstring(string.char(27) .. 'Lua'))}")[0].decode()
    assert isinstance(run.interpreter.compile(b"\x1bLua"), Failure)
    assert "dump" in run("return string.dump(function() end)").text


@pytest.mark.parametrize(
    ("answer", "old", "new"),
    [
        (1, b"number 1", b"number 1"),
        (b"a", b"string a", b"string a"),
        ("OK", b"table ok=OK", b"table ok=OK"),
        (None, b"boolean false", b"nil nil"),
        (1.5, b"string 1.5", b"table double=1.5"),
        (True, b"number 1", b"boolean true"),
        (Verbatim(b"t"), b"string t", b"table verbatim_string=table"),
        ([1, [2]], b"table 1=1 2=table", b"table 1=1 2=table"),
        ({b"a": 1}, b"table 1=a 2=1", b"table map=table"),
        (Members([b"a"]), b"table 1=a", b"table set=table"),
        (Pairs([(b"a", 1)]), b"table 1=a 2=1", b"table 1=table"),
        (Failure("ERR no"), b"table err=ERR no", b"table err=ERR no"),
    ],
)
def test_what_a_script_is_given(run: Run, answer: Value, old: bytes, new: bytes) -> None:
    show = """
    local value, text = redis.pcall('GET'), ''
    if type(value) ~= 'table' then return type(value) .. ' ' .. tostring(value) end
    local names = {}
    for name in pairs(value) do names[#names + 1] = name end
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
    for _, name in ipairs(names) do
      local each = value[name]
      text = text .. ' ' .. name .. '=' .. (type(each) == 'table' and 'table' or tostring(each))
    end
    return 'table' .. text
    """
    run.answers[b"GET"] = answer
    assert run(show) == old
    assert run("redis.setresp(3) " + show) == new
    assert run(show) == old, "the next script has the older protocol again"


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("return {1, 2.9, 'x', true, false, {}}", [1, 2, b"x", 1, None, []]),
        ("return {1, nil, 3}", [1]),
        ("return {ok = 'fine'}", "fine"),
        ("return {err = 'MY way'}", Failure("MY way")),
        ("return {double = 1.5}", 1.5),
        ("return {map = {a = {1}}}", {b"a": [1]}),
        ("return {set = {a = true}}", Members([b"a"])),
        ("return {verbatim_string = {string = 'x', format = 'txt'}}", Verbatim(b"x")),
        ("return {big_number = '12345678901234567890'}", b"12345678901234567890"),
        ("return {1, verbatim_string = {string = 'x'}}", [1]),
        ("return {verbatim_string = {string = 1, format = 'txt'}}", []),
        ("return {1, verbatim_string = 'x'}", [1]),
        ("return {map = {}, verbatim_string = {string = 'x', format = 'txt'}}", Verbatim(b"x")),
        ("return {set = {a = true}, big_number = '1'}", b"1"),
        ("return redis.call", None),
        ("return 2^63", -(1 << 63)),
        ("return setmetatable({1}, {__index = function() return 1 end})", [1]),
    ],
)
def test_what_a_script_answers(run: Run, source: str, value: Value) -> None:
    assert run(source) == value


def test_an_answer_has_limits(run: Run) -> None:
    make = "local t = {} for i = 1, ARGV[1] do t[i] = i end return t"
    assert len(run(make, b"%d" % (REPLY_ELEMENTS_MAX - 1))) == REPLY_ELEMENTS_MAX - 1
    assert run(make, b"%d" % REPLY_ELEMENTS_MAX) == TOO_MANY
    assert "stack limit" in run("local t = {} t[1] = t return t").text


def test_errors_of_commands(run: Run) -> None:
    run.answers[b"GET"] = Failure("WRONGTYPE no")
    assert run("redis.call('GET')") == Failure(f"WRONGTYPE no script: {SHA}, on @user_script:1.")
    assert run("\nlocal x = redis.call('GET') return x").text.endswith("@user_script:2.")
    assert run("return redis.pcall('GET')") == Failure("WRONGTYPE no")
    assert run("return {pcall(redis.call, 'GET')}") == [None, b"WRONGTYPE no"]
    assert run("return 1") == 1


def test_what_is_no_argument(run: Run) -> None:
    for source in ("{}", "true", "nil", "redis.call"):
        assert "must be strings or integers" in run(f"redis.call('GET', {source})").text
    run("redis.call('GET', 1, 1.5, 'x')")
    assert run.calls == [[b"GET", b"1", b"1.5", b"x"]]


def test_a_log(run: Run) -> None:
    assert run("redis.log(redis.LOG_WARNING, 'a', 1, 'b')") is None
    assert run.logged == [(3, b"a 1 b")]


# The library.


def made(source: bytes) -> Script | Failure:
    return script_of(source, sha_of(source).decode())


def test_scripts_are_found_by_their_names() -> None:
    library = Library()
    script = made(b"return 1")
    assert isinstance(script, Script)
    library.add(script)
    name = b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
    assert library.find(name) is library.find(name.upper()) is script
    assert library.find(b"\xff" * 40) is None
    library.flush()
    assert not library.knows(name)


def test_the_library_forgets_what_was_used_longest_ago() -> None:
    library = Library()
    every = [made(b"return %d" % number) for number in range(SCRIPTS_MAX + 1)]
    scripts = [each for each in every if isinstance(each, Script)]
    for script in scripts[:-1]:
        library.add(script)
    assert library.find(scripts[0].sha.encode())
    library.add(scripts[-1])
    assert len(library) == SCRIPTS_MAX
    assert library.knows(scripts[0].sha.encode())
    assert not library.knows(scripts[1].sha.encode())


def test_the_library_has_a_size() -> None:
    library = Library()
    size = SCRIPT_SIZE_BYTES_MAX - 10
    count = SCRIPTS_SIZE_BYTES_MAX // SCRIPT_SIZE_BYTES_MAX
    for number in range(2 * count):
        script = made(b"--%08d" % number + b" " * (size - 10))
        assert isinstance(script, Script)
        library.add(script)
        library.add(script)
    assert len(library) == count
    assert made(b" " * (SCRIPT_SIZE_BYTES_MAX + 1)) == TOO_LARGE


def test_a_first_line_of_its_own() -> None:
    script: Any = made(b"#!lua flags=no-writes,allow-stale\nreturn 1")
    assert script.may_write is False
    assert script.body == b"\nreturn 1"
    script = made(b"#!lua\nreturn 1")
    assert script.may_write
    assert made(b"#!lua") == Failure("ERR Invalid script shebang")


@pytest.mark.parametrize("plain", ["true", "nil"])
def test_a_text_is_found_in_no_time(run: Run, plain: str) -> None:
    """C would compare 10^12 bytes."""
    source = f"return {{ARGV[1]:find(ARGV[2], ARGV[3], {plain})}}"
    subject, text = b"a" * 4_000_000 + b"b", b"a" * 2_000_000
    assert run(source, subject, text + b"c", b"1") == []
    assert run(source, subject, text + b"b", b"-3000000") == [2_000_001, 4_000_001]
    assert run(source, subject, text, b"7.5") == [7, 2_000_006]
    assert run(source, subject, text + b"\0b", b"1") == []
    assert run("return #{('x'):find('x', 1, true)}") == 2


def test_ordinary_patterns_are_lua_s_own_matter(run: Run) -> None:
    """They cost steps only where they might be without end."""
    words = b",".join(b"%d" % number for number in range(50_000))
    assert (
        run("local n = 0 for _ in ARGV[1]:gmatch('[^,]+') do n = n + 1 end return n", words)
        == 50_000
    )
    assert run("return #ARGV[1]:gsub('%d+', '')", words) == 49_999
    assert run("return ARGV[1]:match('^%s*(.-)%s*$')", b"  " + b"w" * 1000) == b"w" * 1000
    pairs = b"&".join(b"k%d=v%d" % (number, number) for number in range(1000))
    source = "local t = {} for k, v in ARGV[1]:gmatch('(%w+)=(%w+)') do t[k] = v end return t.k999"
    assert run(source, pairs) == b"v999"


def test_integers_without_a_sign_are_read_as_if_they_had_one(run: Run) -> None:
    """As lua-cmsgpack does, which Redis brings along; at any depth."""
    most, half = b"\xcf" + b"\xff" * 8, b"\xcf\x80" + bytes(7)
    assert run("return tostring(cmsgpack.unpack(ARGV[1]))", most) == b"-1"
    assert (
        run("return tostring(cmsgpack.unpack(ARGV[1])[1])", b"\x91" + half)
        == b"-9.2233720368548e+18"
    )
    table = b"\x81" + most + b"\x92\1" + most
    assert run("return cmsgpack.unpack(ARGV[1])[-1]", table) == [1, -1]
