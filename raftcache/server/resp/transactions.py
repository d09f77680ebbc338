"""MULTI, EXEC, DISCARD, WATCH, UNWATCH: calls wait at the door, and go through the log at once.

A call of data is done by the log, all of them in one revision, scripts among them; what a door
answers itself is done in its turn, and what it answers stands in its place. WATCH remembers the
revisions of its keys, and EXEC sends them along: the log says whether they are still those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raftcache.command.calls import CALLS_MAX, LONG, LONG_MAX, WATCHED_MAX
from raftcache.command.limits import BATCH_SIZE_BYTES_MAX, VALUE_SIZE_BYTES_MAX
from raftcache.command.values import Failure, Value
from raftcache.server.resp.client import Client, Queue
from raftcache.server.resp.perform import perform
from raftcache.server.resp.reference import Request
from raftcache.server.resp.scripts import RUNNING, ScriptCalls
from raftcache.server.resp.table import NO_REPLY, CallTable, Done, Entry
from raftcache.service.redis import Redis
from raftcache.service.uncounted import are_uncounted
from raftcache.service.wording import NOT_BEGUN, is_open

QUEUE_SIZE_BYTES_MAX: Final[int] = BATCH_SIZE_BYTES_MAX + VALUE_SIZE_BYTES_MAX
"""Of all arguments of a transaction; it travels in one entry of the log."""

QUEUED: Final = "QUEUED"
ABORTED: Final = Failure("EXECABORT Transaction discarded because of previous errors.")
TOO_LONG: Final = Failure("ERR the transaction is too long")
TOO_MANY_LONG: Final = Failure(f"ERR a transaction has at most {LONG_MAX} LCS")


def queued(queue: Queue, call: Request) -> Value:
    """Queue a call; the answer to it."""
    queue.size_bytes += sum(map(len, call))
    queue.long += call[0].upper() in LONG
    if queue.long > LONG_MAX:
        queue.is_broken = True
        return TOO_MANY_LONG
    if len(queue.calls) >= CALLS_MAX or queue.size_bytes > QUEUE_SIZE_BYTES_MAX:
        queue.is_broken = True
        queue.calls.clear()
        return TOO_LONG
    queue.calls.append(call)
    return QUEUED


def refused(client: Client, call: Request, why: Failure) -> Failure:
    """The answer to a call with a fault: it breaks a transaction; EXEC, as in Redis, ends it."""
    if call[0].upper() == b"EXEC":
        client.queue, client.watched = None, {}
        text = why.text.removeprefix("ERR ")
        return Failure(f"EXECABORT Transaction discarded because of: {text}")
    if client.queue is not None:
        client.queue.is_broken = True
    return why


class Transactions:
    """The room of these calls."""

    def __init__(self, redis: Redis, scripts: ScriptCalls | None = None) -> None:
        """scripts: if there are any."""
        self._redis, self._scripts = redis, scripts
        self._table: CallTable

    def add_to(self, table: CallTable) -> None:
        self._table = table
        table.add("MULTI", self._multi, is_immediate=True)
        table.add("DISCARD", self._discard, is_immediate=True)
        table.add_asking("EXEC", self._exec, is_immediate=True)
        table.add_asking("WATCH", self._watch, is_immediate=True)
        table.add("UNWATCH", self._unwatch)

    def _multi(self, client: Client, call: Request) -> Value:
        if client.queue is not None:
            return Failure("ERR MULTI calls can not be nested")
        client.queue = Queue()
        return "OK"

    def _discard(self, client: Client, call: Request) -> Value:
        if client.queue is None:
            return Failure("ERR DISCARD without MULTI")
        client.queue, client.watched = None, {}
        return "OK"

    def _unwatch(self, client: Client, call: Request) -> Value:
        client.watched = {}
        return "OK"

    def _watch(self, client: Client, call: Request, done: Done) -> None:
        keys = [key for key in dict.fromkeys(call[1:]) if key not in client.watched]
        if client.queue is not None:
            done(Failure("ERR WATCH inside MULTI is not allowed"))
        elif len(keys) + len(client.watched) > WATCHED_MAX:
            done(Failure(f"ERR more than {WATCHED_MAX} keys are watched"))
        elif not keys:
            done("OK")
        else:

            def found(revisions: list[int] | Failure) -> None:
                if isinstance(revisions, Failure):
                    done(revisions)
                    return
                client.watched.update(zip(keys, revisions, strict=True))
                done("OK")

            self._redis.revisions(keys, found)

    def _exec(self, client: Client, call: Request, done: Done) -> None:
        queue, watched = client.queue, client.watched
        if queue is None:
            done(Failure("ERR EXEC without MULTI"))
            return
        client.queue, client.watched = None, {}
        if queue.is_broken:
            done(ABORTED)
        else:
            plans = [(self._table.find(call), call) for call in queue.calls]
            known = [(entry, call) for entry, call in plans if isinstance(entry, Entry)]
            assert len(known) == len(plans), "what was queued has become unknown"
            _Execution(self._redis, self._scripts, client, known, done).begin(watched)


class _Execution:
    """One EXEC, while it is done."""

    def __init__(
        self,
        redis: Redis,
        scripts: ScriptCalls | None,
        client: Client,
        plans: list[tuple[Entry, Request]],
        done: Done,
    ) -> None:
        self._redis, self._scripts, self._client, self._done = redis, scripts, client, done
        self._plans = plans
        self._values: list[Value] = []
        self._at = 0
        """Of the next call that a door may have to answer."""
        self._is_waiting = self._is_going = False

    def begin(self, watched: Mapping[bytes, int]) -> None:
        client = self._client
        if client.idempotency is not None and client.idempotency.is_held:
            self._done(NOT_BEGUN)
            return
        data = [call for entry, call in self._plans if entry.is_data]
        if client.before_reads is not None and data:
            client.before_reads(data)
        of_log = [call for entry, call in self._plans if _is_of_log(entry)]
        calls = list(map(tuple, data))
        if len(of_log) > len(data) or are_uncounted(calls):
            assert self._scripts is not None, "nobody has added these calls"
            self._scripts.transact(client, of_log, watched, self._happened)
            return
        token = b"" if client.idempotency is None else client.idempotency.next()
        self._redis.transact(calls, watched, self._happened, token, client.wrote)

    def _happened(self, outcome: Value) -> None:
        """The calls of data are done, or the outcome says why none is."""
        if self._client.idempotency is not None and is_open(outcome):
            self._client.idempotency.is_held = True
        is_all = not isinstance(outcome, list) or len(outcome) == len(self._plans)
        if is_all or self._client.has_gone:  # for whom no door does anything
            self._done(outcome)
            return
        values = iter(outcome)
        self._values = [next(values) if _is_of_log(entry) else NO_REPLY for entry, _ in self._plans]
        self._go_on()

    def _go_on(self) -> None:
        """What doors answer, one after the other; as deep as it is long it must not go."""
        while self._at < len(self._plans):
            (entry, call), self._at = self._plans[self._at], self._at + 1
            if _is_of_log(entry):
                continue
            self._is_waiting = self._is_going = True
            perform(entry, self._client, call, self._answered, may_wait=False)
            self._is_going = False
            if self._is_waiting:
                return
        self._done([value for value in self._values if value is not NO_REPLY])

    def _answered(self, value: Value) -> None:
        self._values[self._at - 1] = value
        self._is_waiting = False
        if not self._is_going:
            self._go_on()


def _is_of_log(entry: Entry) -> bool:
    return entry.is_data or entry.name in RUNNING
