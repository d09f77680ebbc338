"""What one client's calls mean, in their order, without IO.

Calls are done one pipeline at a time: the connection hands over what has arrived, and nothing more
before all of it is answered. A run of calls of data is one stage, which the service does at once;
other calls are done when they are reached, between stages. So answers are in order by construction,
and no call costs a task or a future.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Final, cast

from raftcache.command.values import Failure, Value, Verbatim
from raftcache.server.resp.client import NOWHERE, Client, Mute, Outlet
from raftcache.server.resp.encode import LostCall, Pushes
from raftcache.server.resp.judging import judge
from raftcache.server.resp.perform import perform
from raftcache.server.resp.port import Port
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import NO_REPLY, Entry
from raftcache.server.resp.transactions import queued, refused
from raftcache.service.kv import LINEARIZABLE
from raftcache.service.wording import is_open

PIPELINE_CALLS_MAX: Final = 1024
"""Calls of one stage."""

STEPS_AT_ONCE: Final = 256
"""Calls of doors, or stages answered at once, that follow each other in one turn of the loop."""

LONG_SIZE: Final = 64
LONG_SIZE_BYTES: Final = 4 << 10
"""An answer of more elements, or of a longer text, takes a turn of the loop to make and to write:
COMMAND, or CLIENT LIST."""

REPLIES_AT_ONCE: Final = 32
"""Replies that are written before looking whether the client still reads."""

OF_HTTP: Final = frozenset((b"POST", b"HOST:"))
"""Who can make a browser send a request must not get further: here is the end, as in Redis."""

_name = itemgetter(0)

logger = logging.getLogger("raftcache.resp")


class Session(Client):
    """A Client whose calls are done."""

    __slots__ = (
        "_at",
        "_calls",
        "_cancel",
        "_checked",
        "_counters",
        "_encode",
        "_is_going",
        "_is_gone",
        "_is_leaving",
        "_is_waiting",
        "_redis",
        "_replies",
        "_rests",
        "_table",
        "_tokens",
        "is_busy",
        "is_usual",
    )

    def __init__(self, outlet: Outlet, id: int, addresses: tuple[str, str], port: Port) -> None:
        """addresses: the client's and ours."""
        super().__init__(outlet, id, *addresses)
        self._redis, self._table, self._counters = port.redis, port.table, port.counters
        self._encode = port.encode
        self._calls: list[Request] = []
        self._tokens: list[bytes] | None = None
        """Of the stage under way."""
        self._at = 0
        """Of the next call that is not begun."""
        self._checked = 0
        """Calls before this place are known not to be all of the plain kind."""
        self._replies: list[Value] = []
        """Not written yet; the client may have stopped reading."""
        self._cancel: Callable[[], bool] | None = None
        """Ends the wait of the stage under way."""
        self._is_going = self._is_waiting = self._is_leaving = self._is_gone = False
        self._rests = False
        """What is answered is much: whether the client reads it is known in another turn."""
        self.is_busy = False
        """Calls that were taken are not all answered."""
        self.is_usual = False
        """Nothing has been agreed with the client that concerns its calls of data, as far as is
        known: it has called nothing else since its last pipeline of the plain kind."""

    # In.

    def take(self, calls: list[Request]) -> None:
        """Do these; only when not busy."""
        assert not self.is_busy, "one pipeline at a time"
        if self._is_leaving:
            return
        self._calls, self._at, self._checked, self._rests = calls, 0, 0, False
        self.last_call = calls[-1][0]
        self._counters.calls += len(calls)
        self.is_busy = True
        if len(calls) > PIPELINE_CALLS_MAX or not self._are_plain(calls):
            self._go_on()
            return
        # The usual pipeline is one stage: no need to look for where it ends.
        self._at, self._is_going = len(calls), True
        self._run(calls, None)
        self._is_going = False
        if not self._is_waiting:
            self._go_on()

    def resume(self) -> None:
        """The client reads again."""
        if not self._is_going:
            self._go_on()
            if not self.is_busy:
                self.outlet.idle()

    def gone(self) -> None:
        """The client has gone: what was begun goes on, but its waits end."""
        self._is_gone = True
        self._calls, self._at, self._replies = [], 0, []
        self.is_busy = False
        if self._is_waiting and self._cancel is not None:
            self._cancel()
        self._cancel = None
        self.end()
        self.outlet = NOWHERE

    def unblock(self, value: Value) -> bool:
        if not self.is_blocked or self._cancel is None or not self._cancel():
            return False
        self._ended([value])
        return True

    def wait_no_more(self) -> None:
        """The client sends nothing more: it has gone, as far as can be told, and must take nothing.

        Unless something may be taken for it just now: that it is told.
        """
        if self._cancel is None or self._cancel():
            self._flush(always=True)
            self.outlet.end()

    def _takes(self) -> bool:
        """Whether the call that waits takes what comes: BLPOP and its like. Others lose nothing if
        they are answered late, and may be owed an answer at once: XREAD, WAIT."""
        return self._calls[self._at - 1][0].startswith(b"B")

    def push_bytes(self, data: bytes) -> None:
        # Even if the client does not read: what was answered before must not come after it.
        self._flush(always=True)
        super().push_bytes(data)

    def set_protocol(self, protocol: int) -> None:
        self._flush()
        super().set_protocol(protocol)

    def leave(self) -> None:
        self._is_leaving = True
        self._calls, self._at = [], 0

    # The order of things.

    def _go_on(self) -> None:
        """Do what can be done now; a callback that comes meanwhile leaves its part to this."""
        self._is_going = True
        try:
            self._flush()
            for _ in range(STEPS_AT_ONCE):
                if self._is_waiting or self.outlet.is_paused or self._at == len(self._calls):
                    break
                if self._rests:
                    self._rest()
                    break
                self._step()
            else:
                if not self._is_waiting:
                    self._rest()
            self._flush()
        finally:
            self._is_going = False
            self.is_busy = self._is_waiting or self._at < len(self._calls) or bool(self._replies)
            if not self.is_busy:
                self._let_go()
        if self._is_leaving and not self._replies:
            self.outlet.end()
        elif self.is_blocked and self.outlet.is_ending and self._takes():
            self.wait_no_more()

    def _let_go(self) -> None:
        """All is done: an idle client holds nothing of what it said last."""
        self._calls, self._at, self._cancel = [], 0, None

    def _rest(self) -> None:
        """Let others have their turn."""
        self._is_waiting, self._cancel = True, None
        self.outlet.soon(self._rested)

    def _rested(self) -> None:
        """Others have had their turn."""
        self._is_waiting = self._rests = False
        if not self._is_gone:
            self.resume()

    def _step(self) -> None:
        calls, at = self._calls, self._at
        if at >= self._checked:
            part = calls[at : at + PIPELINE_CALLS_MAX]
            self._checked = at + len(part)
            if self._are_plain(part):
                self._at = self._checked
                self._run(part, None)
                return
        if self.mute is Mute.NEXT:
            self.mute = Mute.THIS
        if self.queue is None and self._begin_stage():
            return
        self._at += 1
        self._do(calls[at])

    def _are_plain(self, calls: list[Request]) -> bool:
        """Whether these are calls of data, with nothing wrong or special about any of them."""
        if (
            not self.is_trusted
            or self.queue is not None
            or self.mute is not Mute.NO
            or self.idempotency is not None
            or self.caching is not None
            or self.listens
        ):
            return False
        self.is_usual = self.before_reads is None and self.want is LINEARIZABLE
        if len(calls) == 1:
            return (calls[0][0], len(calls[0])) in self._table.plain
        return {*zip(map(_name, calls), map(len, calls), strict=True)} <= self._table.plain

    def _begin_stage(self) -> bool:
        """Run the calls of data that come next; False if there are none."""
        stage: list[Request] = []
        tokens: list[bytes] = []
        is_special = self.mute is Mute.THIS or self.caching is not None
        calls, size = self._calls, 1 if is_special else PIPELINE_CALLS_MAX
        for at in range(self._at, min(self._at + size, len(calls))):
            entry = judge(self, self._table, calls[at])
            if isinstance(entry, Failure) or not entry.is_data:
                break
            if entry.spec.is_blocking:  # alone, so that it can be told what it waits for
                if not stage:
                    stage, tokens, self.is_blocked = [calls[at]], [self._mark(entry)], True
                break
            stage.append(calls[at])
            tokens.append(self._mark(entry))
        if stage:
            self._at += len(stage)
            self._run(stage, tokens if any(tokens) else None)
        return bool(stage)

    def _mark(self, entry: Entry) -> bytes:
        """The token of a call; b"" for none."""
        if self.idempotency is None or not entry.spec.is_write:
            return b""
        return self.idempotency.next()

    def _do(self, call: Request) -> None:
        """One call that is no data, or that is queued or refused."""
        self.is_usual = False
        entry = judge(self, self._table, call)
        if isinstance(entry, Failure) and call[0].upper() in OF_HTTP:
            self.leave()
            self.outlet.cut_off("it speaks HTTP")
        elif isinstance(entry, Failure):
            self._answer(refused(self, call, entry))
        elif self.queue is not None and not entry.is_immediate:
            self._answer(queued(self.queue, call))
        else:
            self._is_waiting, self._cancel = True, None
            self.is_blocked = entry.may_wait
            perform(entry, self, call, self._told)
        if self.caching is not None and self.queue is None and call[0].upper() != b"CLIENT":
            self.caching = None

    def _run(self, stage: list[Request], tokens: list[bytes] | None) -> None:
        if self.before_reads is not None:
            self.before_reads(stage)
            self.caching = None
        self._is_waiting, self._cancel = True, None
        calls = list(map(tuple, stage))
        self._tokens = tokens
        done = partial(self._done, len(calls))
        self._cancel = self._redis.run(calls, done, self.want, tokens, self.wrote)

    # Out.

    def _told(self, value: Value) -> None:
        """The answer to one call."""
        self._is_waiting = self.is_blocked = False
        if self._is_gone:
            return
        if value is not NO_REPLY:
            self._answer(value)
        if self.after_reads is not None:  # EXEC reads, too
            self.after_reads()
        self.resume()

    def _done(self, count: int, values: list[Value]) -> None:
        """The answers to a stage of so many calls, or to the first of them: then the others are the
        next stage."""
        left = count - len(values)
        if left and self._calls:  # else it has gone, or is about to leave
            self._at -= left
            self._rests = True
            if self._tokens is not None and self.idempotency is not None:
                self.idempotency.number -= sum(map(bool, self._tokens[-left:]))
                del self._tokens[-left:]
        self._ended(values)

    def _ended(self, values: list[Value]) -> None:
        """The answers to a stage."""
        self._is_waiting = self.is_blocked = False
        if self._is_gone:
            return
        if self._tokens is not None and self.idempotency is not None:
            pairs = zip(self._tokens, values, strict=True)
            self.idempotency.is_held = any(token and is_open(value) for token, value in pairs)
        if self.mute is not Mute.NO:
            self._unmute()
        elif self._replies:
            self._replies += values
        elif self._at < len(self._calls) or self._is_going or len(values) > REPLIES_AT_ONCE:
            self._replies = values
        else:  # the usual end of a pipeline
            self._replies = values
            self._flush()
            self.is_busy = bool(self._replies)
            self._let_go()
            if self.after_reads is not None:
                self.after_reads()
            if not self.is_busy:
                self.outlet.idle()
            return
        if self.after_reads is not None:
            self.after_reads()
        self.resume()

    def _answer(self, value: Value) -> None:
        if self.mute is Mute.NO or type(value) is Pushes:  # these answer nothing by themselves
            self._replies.append(value)
            self._rests |= _is_long(value)
        self._unmute()

    def _unmute(self) -> None:
        if self.mute is Mute.THIS:
            self.mute = Mute.NO

    def _flush(self, *, always: bool = False) -> None:
        """Write replies while the client reads, or all of them always."""
        replies, outlet = self._replies, self.outlet
        while replies and (always or not outlet.is_paused):
            try:
                if len(replies) <= REPLIES_AT_ONCE:
                    self._replies = []
                    outlet.write(self._encode(replies, self.protocol))
                    return
                data = self._encode(replies[:REPLIES_AT_ONCE], self.protocol)
            except LostCall:
                self._replies = []
                outlet.cut_off("a call has no answer: see --resp-lost-calls")
                return
            except Exception:
                logger.exception("a reply cannot be written")
                outlet.cut_off("a reply that cannot be written")
                return
            del replies[:REPLIES_AT_ONCE]
            outlet.write(data)


def _is_long(value: Value) -> bool:
    if type(value) is Verbatim:
        return len(value.text) > LONG_SIZE_BYTES
    return type(value) in (list, dict) and len(cast("list[Value]", value)) > LONG_SIZE
