"""A Redis service in memory that knows a handful of calls, whose outcomes a test may hold back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain

from raftcache.command.calls import Call
from raftcache.command.values import NIL_ARRAY, Failure, Value
from raftcache.service.gathering import Glance, Reader, ValueDone, ValuesDone
from raftcache.service.kv import LINEARIZABLE, Want
from raftcache.service.pipeline import Wrote


class FakeRedis:
    """Does SET, GET, DEL, MGET and INCR at once.

    holding: while True, outcomes wait for release(). failure: is the outcome of everything instead.
    stages, wants, tokens, transactions: what was asked, in order. cancelled: waits that ended.
    is_taking: while True, no wait can be ended, for something may be taken just then. at_once_max:
    calls that are answered at once; the others of a run are not begun.
    """

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.revisions_of: dict[bytes, int] = {}
        self.revision = 0
        self.holding = self.is_taking = False
        self.at_once_max = 1 << 20
        self.failure: Failure | None = None
        self.stages: list[list[Call]] = []
        self.wants: list[Want] = []
        self.tokens: list[list[bytes] | None] = []
        self.transactions: list[tuple[list[Call], dict[bytes, int], bytes]] = []
        self.cancelled = 0
        self._held: list[Callable[[], None]] = []

    def run(
        self,
        calls: Sequence[Call],
        done: ValuesDone,
        want: Want = LINEARIZABLE,
        tokens: Sequence[bytes] | None = None,
        wrote: Wrote | None = None,
    ) -> Callable[[], bool]:
        self.stages.append(list(calls))
        self.wants.append(want)
        self.tokens.append(None if tokens is None else list(tokens))
        if calls[0][0].startswith(b"B"):
            end = partial(done, [[calls[0][1], b"popped"]])
            self._held.append(end)
            return partial(self._cancel, end)
        end = partial(self._end, calls, done)
        if not self.holding:
            end()
            return _nothing
        self._held.append(end)
        return partial(self._cancel, end)

    def get(self, keys: Sequence[bytes], done: ValuesDone, glance: Glance | None = None) -> None:
        self.run([(b"GET", key) for key in keys], done)

    def get_one(self, asked: tuple[bytes, Reader]) -> None:
        key, reader = asked
        self.run([(b"GET", key)], reader.answered)

    def plain_values(self, stored: Sequence[bytes | None]) -> list[bytes] | None:
        return None

    def write(
        self,
        calls: Sequence[Call],
        size_bytes: int,
        done: ValuesDone,
        wrote: Wrote | None = None,
        width: int = 0,
    ) -> None:
        assert size_bytes >= sum(map(len, chain.from_iterable(calls)))
        self.run(calls, done, wrote=wrote)

    def write_one(self, call: Call, size_bytes: int, done: ValueDone) -> None:
        self.write((call,), size_bytes, lambda values: done(values[0]))

    def _cancel(self, end: Callable[[], None]) -> bool:
        if self.is_taking:
            return False
        if end in self._held:
            self._held.remove(end)
            self.cancelled += 1
        return True

    def _end(self, calls: Sequence[Call], done: ValuesDone) -> None:
        if self.failure is not None:
            done([self.failure] * len(calls))
        else:
            done([self._do(call) for call in calls[: self.at_once_max]])

    def transact(
        self,
        calls: Sequence[Call],
        watched: Mapping[bytes, int],
        done: Callable[[Value], None],
        token: bytes = b"",
        wrote: Wrote | None = None,
    ) -> None:
        self.transactions.append((list(calls), dict(watched), token))

        def end() -> None:
            if self.failure is not None:
                done(self.failure)
            elif any(self.revisions_of.get(key, 0) != at for key, at in watched.items()):
                done(NIL_ARRAY)
            else:
                done([self._do(call) for call in calls])

        if self.holding:
            self._held.append(end)
        else:
            end()

    def revisions(self, keys: Sequence[bytes], done: Callable[[list[int] | Failure], None]) -> None:
        done(self.failure or [self.revisions_of.get(key, 0) for key in keys])

    @property
    def held(self) -> int:
        """How many outcomes wait."""
        return len(self._held)

    def release(self) -> None:
        """Let what is held happen, in order; and what comes later as it comes."""
        self.holding = False
        held, self._held = self._held, []
        for end in held:
            end()

    def release_first(self) -> None:
        """Let what has been held for longest happen, and nothing else."""
        self._held.pop(0)()

    def _do(self, call: Call) -> Value:
        match call:
            case (b"GET", key):
                return self.data.get(key)
            case (b"MGET", *keys):
                return [self.data.get(key) for key in keys]
            case (b"SET", key, value):
                self._put(key, value)
                return "OK"
            case (b"INCR", key):
                number = int(self.data.get(key, b"0")) + 1
                self._put(key, b"%d" % number)
                return number
            case (b"DEL", *keys):
                return sum(self._delete(key) for key in keys)
        return Failure("ERR this fake does not know " + call[0].decode())

    def _put(self, key: bytes, value: bytes) -> None:
        self.revision += 1
        self.revisions_of[key] = self.revision
        self.data[key] = value

    def _delete(self, key: bytes) -> bool:
        self.revisions_of.pop(key, None)
        return self.data.pop(key, None) is not None


def _nothing() -> bool:
    return True
