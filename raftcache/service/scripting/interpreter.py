"""Lua 5.1 with Redis' world in it (prelude.lua), and no way out of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Final, TypeAlias

from lupa.lua51 import LuaError, LuaRuntime

from raftcache.command.call_table import REDIS_VERSION
from raftcache.command.values import RESP2, RESP3, Failure, Value
from raftcache.service.scripting import structs
from raftcache.service.scripting.answers import (
    ANSWER_TOO_LARGE,
    ANSWERED_SIZE_BYTES_MAX,
    GIVEN_SIZE_BYTES_MAX,
    GIVEN_TOO_LARGE,
    Lua,
    Unfit,
    as_bytes,
    as_text,
    number_text,
    sha_of,
    weight_bytes,
)
from raftcache.service.scripting.bits import BIT
from raftcache.service.scripting.cjson import decode_json, encode_json
from raftcache.service.scripting.cmsgpack import RESULTS_MAX, pack, unpack
from raftcache.service.scripting.library import SCRIPT_SIZE_BYTES_MAX
from raftcache.service.scripting.tables import from_lua, to_lua

Chunk: TypeAlias = Any
"""A script that was read; of one interpreter."""

Perform: TypeAlias = Callable[[list[bytes]], Value]
"""Answers a command that a script calls."""

MEMORY_SIZE_BYTES_MAX: Final = 64 << 20
"""Of all that scripts hold; the next ones find it empty."""

_MEMORY_SPARE_BYTES: Final = 1 << 20
"""Lua may fill this beside it, so that Python still finds some."""

CHUNKS_SIZE_BYTES_MAX: Final = 16 << 20
"""Of all that were read and are kept; with more of them the interpreter is spent, too."""

MEMORY_KEPT_SIZE_BYTES: Final = 8 << 20
"""When a script has left more behind, it is cleared away at once."""

STEPS_MAX: Final = 10_000_000
"""Instructions of Lua that scripts may take in one turn of the loop: about 60 ms."""

TIME_S_MAX: Final = 1.0
"""The same in time, for some steps take long: those that read JSON, or make a long string."""

_STEPS_PER_LOOK: Final = 1_000
"""Then the time is looked at: which takes as long as some 100 steps."""

LOOKS_MAX: Final = STEPS_MAX // _STEPS_PER_LOOK

PATTERN_REPEATS_MAX: Final = 1_000
"""Items of a pattern that may be repeated: for each the matcher calls itself, and a stack of 8 MiB
is full after some 50,000."""

MATCHER_STEPS_MAX: Final = 50_000_000
"""That Lua's own matcher may have to take: half a second. What may take more is matched in Lua, in
steps that count (patterns.lua)."""

COMPARED_BYTES_MAX: Final = 1_000_000_000
"""That Lua's own search for a text may have to compare: a tenth of a second."""

MATCHER_STEPS_FEW: Final = 500_000
"""Of those that take more, each looks at the time."""

CHAINED_MAX: Final = 10_000
"""Of `and`, `or`, `elseif` and `break` in a script: what they take grows as their square."""

REPLY_ELEMENTS_MAX: Final = 100_000
"""Values that a script may answer with, tables among them."""

REPLY_DEPTH_MAX: Final = 128
"""Of tables in tables in what it answers."""

VERSION_NUMBER: Final = int.from_bytes(map(int, REDIS_VERSION.split(b".")), "big")
"""Of the Redis whose world it is."""

LEVELS: Final = (0, 1, 2, 3)
"""Of what scripts log: debug, verbose, notice, warning."""

TOO_LONG: Final = Failure(
    f"ERR a script takes at most {STEPS_MAX} steps, and {TIME_S_MAX:g} s: nothing of it was done"
)
TOO_MANY: Final = Failure(f"ERR a script answers with at most {REPLY_ELEMENTS_MAX} values")
TOO_MANY_REPEATS: Final = Failure(
    f"ERR a pattern has at most {PATTERN_REPEATS_MAX} items that may be repeated"
)
NO_MEMORY: Final = Failure(
    f"ERR a script may hold {MEMORY_SIZE_BYTES_MAX} bytes: nothing of it was done"
)
NOT_ARGUMENTS: Final = Failure("ERR Lua redis lib command arguments must be strings or integers")
NO_ARGUMENTS: Final = Failure("ERR Please specify at least one argument for this redis lib call")
NOT_A_VERSION: Final = Failure("ERR RESP version must be 2 or 3.")
LOG_ARGUMENTS: Final = Failure("ERR redis.log() requires two arguments or more.")
LOG_LEVEL: Final = Failure("ERR Invalid debug level.")

_LUA_NO_MEMORY: Final = b"not enough memory"
_FILES: Final = resources.files(__package__)
_PATTERNS: Final = _FILES.joinpath("patterns.lua").read_bytes()
_GUARDS: Final = _FILES.joinpath("guards.lua").read_bytes()
_PRELUDE: Final = _FILES.joinpath("prelude.lua").read_bytes()


class Interpreter:
    """Runs one script after the other; nothing of one is left for the next.

    is_spent: its memory was full, or will soon be; another one has to take its place.
    looks_left, until_s: how much longer scripts may run; see allow.
    """

    def __init__(self, log: Callable[[int, bytes], None], now_s: Callable[[], float]) -> None:
        """log: has what scripts log, with Redis' number for how grave it is. now_s: the time."""
        self.is_spent = False
        self._chunks_size_bytes = 0
        self._log, self._now_s = log, now_s
        self.allow()
        self._perform: Perform = _nobody
        self._protocol = RESP2
        self._lua = LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_handlers=(_deny, _deny),
            max_memory=MEMORY_SIZE_BYTES_MAX + _MEMORY_SPARE_BYTES,
        )
        host = self._host()
        guards = self._lua.execute(_GUARDS, host, self._lua.execute(_PATTERNS))
        self._read, self._run = self._lua.execute(_PRELUDE, host, guards, _STEPS_PER_LOOK)

    def _host(self) -> Lua:
        """What the prelude is given."""
        null = self._lua.execute(b"return newproxy()")
        functions: dict[bytes, Lua] = {
            b"sha1hex": sha_of,
            b"encode_json": encode_json,
            b"decode_json": decode_json(null, self._fitting_table),
            b"pack": pack,
            b"unpack": unpack(self._fitting_table),
            b"pack_struct": structs.pack,
            b"unpack_struct": structs.unpack(self._fitting_table),
            b"size_of_struct": structs.size,
        }
        functions = {name: self._fitting(function) for name, function in functions.items()}
        values = {
            b"call": self._call,
            b"setresp": self._set_protocol,
            b"log": self._note,
            b"is_late": lambda: self._now_s() >= self.until_s,
            b"null": null,
            b"version": REDIS_VERSION,
            b"version_number": VERSION_NUMBER,
            b"elements_max": REPLY_ELEMENTS_MAX,
            b"depth_max": REPLY_DEPTH_MAX,
            b"too_long": as_bytes(TOO_LONG.text),
            b"too_many": as_bytes(TOO_MANY.text),
            b"given_size_bytes_max": GIVEN_SIZE_BYTES_MAX,
            b"too_large": GIVEN_TOO_LARGE,
            b"results_max": RESULTS_MAX,
            b"source_size_bytes_max": SCRIPT_SIZE_BYTES_MAX,
            b"source_too_large": b"more than %d bytes" % SCRIPT_SIZE_BYTES_MAX,
            b"chained_max": CHAINED_MAX,
            b"too_tangled": b"more than %d of and, or, elseif and break" % CHAINED_MAX,
            b"repeats_max": PATTERN_REPEATS_MAX,
            b"steps_log_max": math.log(MATCHER_STEPS_MAX),
            b"compared_bytes_max": COMPARED_BYTES_MAX,
            b"find_text": bytes.find,
            b"few_steps_log": math.log(MATCHER_STEPS_FEW),
            b"too_many_repeats": as_bytes(TOO_MANY_REPEATS.text),
            b"answered_size_bytes_max": ANSWERED_SIZE_BYTES_MAX,
            b"answer_too_large": ANSWER_TOO_LARGE,
        }
        return self._table({**functions, **BIT, **values})

    # Memory. Where Python makes something in Lua there is nobody to hear that it does not fit: the
    # node would stand still, or end. So it is asked for before that.

    def _has_room(self, size_bytes: int) -> bool:
        """Whether so much may be made in Lua; if not, this interpreter is spent."""
        used_bytes = self._lua.get_memory_used
        if not self.is_spent:
            if used_bytes() + size_bytes <= MEMORY_SIZE_BYTES_MAX:
                return True
            self._lua.gccollect()
            if used_bytes() + size_bytes <= MEMORY_SIZE_BYTES_MAX:
                return True
            self.is_spent, self.until_s = True, -math.inf  # whatever the script does about it
        self._lua.set_max_memory(used_bytes() + _MEMORY_SPARE_BYTES)
        return False

    def _table(self, content: Lua) -> Lua:
        """As a table. There must be room for it."""
        return self._lua.table_from(content, recursive=True)

    def _fitting_table(self, content: Lua) -> Lua:
        """The same; Unfit if there is none."""
        if not self._has_room(weight_bytes(content)):
            raise Unfit(as_bytes(NO_MEMORY.text))
        return self._table(content)

    def _fitting(self, function: Callable[..., Lua]) -> Callable[..., Lua]:
        """The same function, whose answer has room; no script is given an error of Python's."""

        def called(*arguments: Lua) -> Lua:
            try:
                made = function(*arguments)
            except LuaError:  # there is no memory
                raise
            except Exception as error:
                return None, b"ERR internal error: %b" % type(error).__name__.encode()
            size_bytes = weight_bytes(made[0] if isinstance(made, tuple) else made)
            return made if self._has_room(size_bytes) else (None, as_bytes(NO_MEMORY.text))

        return called

    # Called by who has a script.

    def allow(self) -> None:
        """From now on scripts may run as long as they may in one turn of the loop, together."""
        self.looks_left, self.until_s = LOOKS_MAX, self._now_s() + TIME_S_MAX

    def successor(self) -> Interpreter:
        """Another one, in which scripts may run as long as in this one."""
        other = Interpreter(self._log, self._now_s)
        other.looks_left, other.until_s = self.looks_left, self.until_s
        return other

    def compile(self, source: bytes) -> Chunk | Failure:
        """Read a script."""
        if not self._has_room(weight_bytes(source)):
            return NO_MEMORY
        try:
            chunk, why = self._read(source)
        except LuaError:
            return self._out_of_memory()
        if chunk is None:
            return Failure(f"ERR Error compiling script (new function): {as_text(why)}")
        return chunk

    def run(
        self,
        chunk: Chunk,
        sha: str,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        perform: Perform,
    ) -> tuple[bool, Value]:
        """Whether a script came to its end, and what it answers: a Failure if it did not.

        perform answers its commands, and raises nothing.
        """
        given = list(keys), list(arguments)
        if not self._has_room(sum(map(weight_bytes, given))):
            return False, NO_MEMORY
        self._perform, self._protocol = perform, RESP2
        try:
            is_done, result, self.looks_left = self._run(
                chunk, *map(self._table, given), self.looks_left
            )
            return self._ended(sha, is_done=is_done, result=result)
        except LuaError:
            return False, self._out_of_memory()
        finally:
            self._perform = _nobody
            if not self.is_spent:
                self._lua.set_max_memory(MEMORY_SIZE_BYTES_MAX + _MEMORY_SPARE_BYTES)
            self._clear()

    def _clear(self) -> None:
        """If a script has left much behind; what stays then is what was read."""
        if self._lua.get_memory_used() > self._chunks_size_bytes + MEMORY_KEPT_SIZE_BYTES:
            self._lua.gccollect()
            self._chunks_size_bytes = self._lua.get_memory_used()
            self.is_spent |= self._chunks_size_bytes > CHUNKS_SIZE_BYTES_MAX

    def _ended(self, sha: str, *, is_done: bool, result: Lua) -> tuple[bool, Value]:
        """What run answers."""
        if self.is_spent:
            return False, NO_MEMORY
        self._lua.set_max_memory(2 * MEMORY_SIZE_BYTES_MAX)  # to look at tables takes some
        if is_done:
            return True, from_lua(result, self._protocol)
        return False, self._failure(sha, result[b"err"], result[b"line"])

    def _failure(self, sha: str, text: Lua, line: Lua) -> Failure:
        """As Redis words it: what, in which script, and where."""
        if type(text) is not bytes:  # what the script has put there
            text = b"ERR unknown error"
        if text.endswith(_LUA_NO_MEMORY):
            return self._out_of_memory()
        what = as_text(text)
        if what in (TOO_LONG.text, TOO_MANY.text):
            return Failure(what)
        # The caller of what failed has left no trace if that was the last thing it did.
        place = "@user_script" if line is None else f"@user_script:{line}"
        return Failure(f"{what} script: {sha}, on {place}.")

    def _out_of_memory(self) -> Failure:
        self.is_spent = True
        return NO_MEMORY

    # Called by scripts.

    def _call(self, *arguments: Lua) -> Lua:
        """redis.pcall; redis.call raises a Failure."""
        call: list[bytes] = []
        for each in arguments:
            if type(each) is bytes:
                call.append(each)
            elif type(each) is int or type(each) is float:
                call.append(number_text(each, 17))
            else:
                return self._given(NOT_ARGUMENTS)
        return self._given(self._perform(call) if call else NO_ARGUMENTS)

    def _given(self, value: Value) -> Lua:
        made = to_lua(value, self._protocol)
        if not self._has_room(weight_bytes(made)):
            made = to_lua(NO_MEMORY, self._protocol)
        return self._table(made) if isinstance(made, (list, dict)) else made

    def _set_protocol(self, version: Lua = None, *others: Lua) -> Lua:
        if version not in (RESP2, RESP3) or others:
            return self._given(NOT_A_VERSION)
        self._protocol = version
        return None

    def _note(self, *arguments: Lua) -> Lua:
        """redis.log: a level, and what is then written in one line."""
        if len(arguments) < 2:
            return self._given(LOG_ARGUMENTS)
        level, *words = arguments
        if level not in LEVELS:
            return self._given(LOG_LEVEL)
        parts = [each if type(each) is bytes else _number_word(each) for each in words]
        self._log(level, b" ".join(part for part in parts if part is not None))
        return None


def _number_word(value: Lua) -> bytes | None:
    """A number as Lua writes it; what else is no string is not logged, as in Redis."""
    is_number = isinstance(value, (int, float)) and type(value) is not bool
    return number_text(value, 14) if is_number else None


def _nobody(call: list[bytes]) -> Value:
    raise AssertionError("no script runs")


def _deny(*_: object) -> Lua:
    raise AttributeError("a script has no objects of Python")
