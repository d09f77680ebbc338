"""What is done together: calls and scripts, in their order, all or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from raftcache.command.call_table import SPECS, find, fits
from raftcache.command.calls import CALLS_INTRODUCED, SINCE_MAX, Call
from raftcache.command.limits import BATCH_SIZE_BYTES_MAX, VALUE_SIZE_BYTES_MAX
from raftcache.command.once import Once
from raftcache.command.values import NIL_ARRAY, Failure, Value, pack_values
from raftcache.service.kv import Kv
from raftcache.service.pipeline import Wrote
from raftcache.service.redis import PUBLISHING
from raftcache.service.scripting.interpreter import Chunk, Interpreter
from raftcache.service.scripting.library import SCRIPTS_MAX, Script
from raftcache.service.wording import MISTAKE, values_of
from raftcache.state.redis.rehearsal import Rehearsal
from raftcache.state.redis.stream_reads import would_wait

CALLS_PER_ACT_MAX: Final = 10_000
"""That scripts of one act may make, those that only read among them: about 50 ms."""

assert CALLS_PER_ACT_MAX <= SINCE_MAX

DEEDS_SIZE_BYTES_MAX: Final = BATCH_SIZE_BYTES_MAX + VALUE_SIZE_BYTES_MAX
"""Of all arguments of the calls that change something: they travel in one entry of the log."""

_TOO_MANY_CALLS: Final = Failure(f"ERR a script makes at most {CALLS_PER_ACT_MAX} calls")
_TOO_MANY_DEEDS: Final = Failure(f"ERR a script changes something by at most {SINCE_MAX} calls")
_TOO_MANY_KEYS: Final = Failure(f"ERR a script names at most {SINCE_MAX} keys in its calls")
_TOO_LARGE: Final = Failure(f"ERR a script writes at most {DEEDS_SIZE_BYTES_MAX} bytes")

NOT_REMEMBERED: Final = Failure(
    "ERR what is answered to a numbered call is remembered, and a line of it is no UTF-8"
)
_NOT_FROM_SCRIPTS: Final = Failure("ERR This Redis command is not allowed from script")
_UNKNOWN: Final = Failure("ERR Unknown Redis command called from script")
_ARITY: Final = Failure("ERR Wrong number of args calling Redis command from script")
_READ_ONLY: Final = Failure("ERR Write commands are not allowed from read-only scripts.")
_NO_SUCH_DATABASE: Final = Failure("ERR DB index is out of range")

LOG_LEVELS: Final = (logging.DEBUG, logging.DEBUG, logging.INFO, logging.WARNING)
"""Of Redis' levels."""

logger = logging.getLogger("raftcache.scripts")


class ScriptCall(Struct, frozen=True):
    """One run of a script. is_read_only: if it changes something, that is its error."""

    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[bytes]
    is_read_only: bool = False


Part: TypeAlias = Call | ScriptCall | Failure
"""Of an act: a call of data, a script, or what is wrong with one: that is its answer."""


class Act(Struct, frozen=True, eq=False):
    """What one client asks for.

    watched: keys with the revisions that they must still have; else the answer is NIL_ARRAY.
    done: called once, with a value for each part, or with a Failure if nothing was done.
    wrote: told of what was changed before that.
    once: of one that is done once: another with the same is answered as the first one was.
    """

    parts: Sequence[Part]
    done: Callable[[Value], None]
    watched: Mapping[bytes, int] = {}
    wrote: Wrote | None = None
    once: Once | None = None

    @property
    def goes_alone(self) -> bool:
        """Whether what is changed must be its own: it is remembered, or told to its client."""
        return self.once is not None or self.wrote is not None

    @property
    def needs_round(self) -> bool:
        """Whether its scripts needed one when they were last looked at; no promise."""
        return all(type(part) is ScriptCall and part.script.needs_round for part in self.parts)

    def note(self, *, needs_round: bool) -> None:
        """What came of its scripts, and those with them."""
        for part in self.parts:
            if isinstance(part, ScriptCall):
                part.script.needs_round = needs_round

    def answer(self, value: Value) -> None:
        """Tell the client."""
        try:
            self.done(value)
        except Exception:  # one caller's fault must not silence the others
            logger.exception("unexpected error")


class Player:
    """Does acts in a rehearsal, with an interpreter for their scripts."""

    def __init__(
        self, receivers: Callable[[Call], int], kv: Kv, now_s: Callable[[], float]
    ) -> None:
        """receivers: how many a message reaches here. now_s: of which scripts may take some."""
        self._receivers, self._kv = receivers, kv
        self._interpreter = Interpreter(_log, now_s)
        self._chunks: dict[Script, Chunk] = {}
        self._size_bytes = 0
        """Of the deeds of this rehearsal."""
        self._begin_act()

    def _begin_act(self) -> None:
        self._calls = 0
        self._over: Failure | None = None
        """The limit that the act has passed: it is over, whatever it does about it."""
        self._has_failed = False

    def begin(self) -> None:
        """Another rehearsal begins."""
        self._interpreter.allow()
        self._size_bytes = 0

    def fault(self, script: Script) -> Failure | None:
        """What is wrong with a script, if it cannot be read."""
        chunk = self._chunk(script)
        return chunk if isinstance(chunk, Failure) else None

    def play(self, act: Act, rehearsal: Rehearsal) -> tuple[Value, bool]:
        """What an act answers, and whether nothing in it failed.

        What failed might not have, had others not come before it in the same rehearsal.
        """
        self._begin_act()
        if act.once is not None and (first := rehearsal.remembered(act.once)) is not None:
            if isinstance(first, Failure):
                return first, True
            return values_of(first, len(act.parts)), True
        for key, revision in act.watched.items():
            if not rehearsal.is_unchanged(key, revision):
                return NIL_ARRAY, True
        values, begin = list[Value](), rehearsal.now()
        for part in act.parts:
            values.append(self._do(part, rehearsal))
            if self._over is not None:
                rehearsal.undo_to(begin)
                return self._over, False
        if act.once is not None and not _can_be_remembered(values):
            rehearsal.undo_to(begin)
            return NOT_REMEMBERED, False
        return values, not self._has_failed

    def _do(self, part: Part, rehearsal: Rehearsal) -> Value:
        if isinstance(part, Failure):
            return part
        if not isinstance(part, ScriptCall):
            return self._call(part, SPECS[part[0]].is_write, rehearsal)
        chunk = self._chunk(part.script)
        if isinstance(chunk, Failure):
            return chunk
        begin, interpreter = rehearsal.now(), self._interpreter

        def perform(call: list[bytes]) -> Value:
            try:
                return self._perform(call, part, rehearsal)
            except Exception:
                logger.exception("unexpected error")
                return MISTAKE

        name, keys, arguments = part.script.sha, part.keys, part.arguments
        try:
            is_done, value = interpreter.run(chunk, name, keys, arguments, perform)
        except Exception:
            logger.exception("unexpected error")
            is_done, value = False, MISTAKE
        if not is_done:
            self._has_failed = True
            rehearsal.undo_to(begin)
        return value

    def _renew(self) -> None:
        if self._interpreter.is_spent:
            self._interpreter, self._chunks = self._interpreter.successor(), {}

    def _chunk(self, script: Script) -> Chunk | Failure:
        """As the interpreter has read it; it keeps as many as the library has scripts."""
        self._renew()
        chunk = self._chunks.pop(script, None)
        if chunk is None:
            chunk = self._interpreter.compile(script.body)
            if self._interpreter.is_spent:  # the others have filled it
                self._renew()
                chunk = self._interpreter.compile(script.body)
        if not isinstance(chunk, Failure):
            self._chunks[script] = chunk
            if len(self._chunks) > SCRIPTS_MAX:
                del self._chunks[next(iter(self._chunks))]
        return chunk

    def _perform(self, call: list[bytes], part: ScriptCall, rehearsal: Rehearsal) -> Value:
        """What a script's call answers, by Redis' order of questions."""
        self._calls += 1
        if self._calls > CALLS_PER_ACT_MAX:
            self._over = _TOO_MANY_CALLS
        if self._over is not None:
            return self._over
        spec = find(call)
        if spec is None:
            return _UNKNOWN
        if not fits(spec, len(call)):
            return _ARITY
        name, call[0] = call[0], call[0].upper()
        if "noscript" in spec.flags:
            return _NOT_FROM_SCRIPTS
        if spec.is_write and (part.is_read_only or part.script.may_write is False):
            return _READ_ONLY
        if would_wait(call):
            return Failure(
                f"ERR {name.decode()} command is not allowed with BLOCK option from scripts"
            )
        if not spec.is_data:
            return self._answer(call)
        return self._call(tuple(call), spec.is_write, rehearsal)

    def _call(self, call: Call, is_write: bool, rehearsal: Rehearsal) -> Value:
        """A call of data."""
        if is_write and (needed := CALLS_INTRODUCED.get(call[0], 0)) > self._kv.commands_version:
            self._has_failed = True
            return Failure(
                f"TRYAGAIN {call[0].decode()} needs commands of version {needed}, which not all"
                " voters know: upgrade every node first"
            )
        value = rehearsal.call(call, is_write=is_write)
        if type(value) is Failure:
            self._has_failed = True
        elif is_write:
            self._size_bytes += sum(map(len, call))
            if value == 0 and call[0] in PUBLISHING:
                value = self._receivers(call)
        if len(rehearsal.seen) > SINCE_MAX:
            self._over = _TOO_MANY_KEYS
        elif len(rehearsal.deeds) > SINCE_MAX:
            self._over = _TOO_MANY_DEEDS
        elif self._size_bytes > DEEDS_SIZE_BYTES_MAX:
            self._over = _TOO_LARGE
        return value

    def _answer(self, call: Sequence[bytes]) -> Value:
        """What else a script may ask for."""
        match call:
            case [b"TIME"]:
                now_ms = self._kv.now_ms()
                return [b"%d" % (now_ms // 1000), b"%d" % (now_ms % 1000 * 1000)]
            case [b"PING"]:
                return "PONG"
            case [b"PING" | b"ECHO", text]:
                return text
            case [b"SELECT", b"0"]:
                return "OK"
            case [b"SELECT", _]:
                return _NO_SUCH_DATABASE
            case _:
                return _NOT_FROM_SCRIPTS


def _can_be_remembered(values: list[Value]) -> bool:
    try:
        pack_values(values)
    except UnicodeEncodeError:  # a script may answer with a line of any bytes
        return False
    return True


def _log(level: int, text: bytes) -> None:
    """What a script logs, in the node's log."""
    logger.log(LOG_LEVELS[level], "a script: %s", text.decode(errors="backslashreplace"))
