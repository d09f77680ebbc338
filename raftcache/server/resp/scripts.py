"""EVAL, EVALSHA, their read-only forms, and SCRIPT: the service runs what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from raftcache.command.calls import Call
from raftcache.command.integers import integer_or_none
from raftcache.command.once import Once
from raftcache.command.values import Failure, Value
from raftcache.server.resp.client import Client, Idempotency
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable, Done
from raftcache.server.resp.words import NOT_INTEGER, help_lines
from raftcache.service.scripting.acts import Act, ScriptCall
from raftcache.service.scripting.answers import sha_of
from raftcache.service.scripting.library import Script
from raftcache.service.scripting.scripts import Scripts
from raftcache.service.wording import NOT_BEGUN, is_open, once_of

RUNNING: Final = frozenset((b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO"))
"""Calls that run a script; within a transaction they are a part of it."""

_HELP: Final = """
SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
EXISTS <sha1> [<sha1> ...]
    Return information about the existence of the scripts in the script cache.
FLUSH [ASYNC|SYNC]
    Flush the Lua scripts cache of this node.
KILL
    Refused: no script is still running when another call is answered.
LOAD <script>
    Load a script into the scripts cache of this node without executing it.
HELP
    Prints this help.
"""

NO_SCRIPT: Final = Failure("NOSCRIPT No matching script. Please use EVAL.")
NEGATIVE_KEYS: Final = Failure("ERR Number of keys can't be negative")
TOO_MANY_KEYS: Final = Failure("ERR Number of keys can't be greater than number of args")
NOT_READ_ONLY: Final = Failure("ERR Can not execute a script with write flag using *_ro command.")
NOT_BUSY: Final = Failure("NOTBUSY No scripts in execution right now.")
FLUSH_OPTION: Final = Failure("ERR SCRIPT FLUSH only support SYNC|ASYNC option")


class ScriptCalls:
    """The room of these calls."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def add_to(self, table: CallTable) -> None:
        for name in RUNNING:
            table.add_asking(name.decode(), self._eval)
        table.add("SCRIPT|EXISTS", self._exists)
        table.add("SCRIPT|FLUSH", self._flush)
        table.add("SCRIPT|HELP", lambda client, call: help_lines(_HELP))
        table.add("SCRIPT|KILL", lambda client, call: NOT_BUSY)
        table.add("SCRIPT|LOAD", self._load)

    def transact(
        self, client: Client, calls: Sequence[Request], watched: Mapping[bytes, int], done: Done
    ) -> None:
        """As Redis.transact, with scripts among the calls."""
        parts = [self._part(client, call) if call[0] in RUNNING else tuple(call) for call in calls]
        once = None if client.idempotency is None else _once(client.idempotency, calls)
        self._scripts.run(Act(parts, done, watched, client.wrote, once))

    def _part(self, client: Client, call: Request) -> ScriptCall | Failure:
        """What is to be run, or what is wrong with it; its keys count as read."""
        count = integer_or_none(call[2])
        if count is None:
            return NOT_INTEGER
        if count > len(call) - 3:
            return TOO_MANY_KEYS
        if count < 0:
            return NEGATIVE_KEYS
        script = self._script(call)
        if isinstance(script, Failure):
            return script
        is_read_only = call[0].endswith(b"_RO")
        if is_read_only and script.may_write:
            return NOT_READ_ONLY
        keys, arguments = call[3 : 3 + count], call[3 + count :]
        if client.before_reads is not None and keys:
            client.before_reads([[b"EXISTS", *keys]])
        return ScriptCall(script, keys, arguments, is_read_only)

    def _script(self, call: Request) -> Script | Failure:
        if call[0].startswith(b"EVALSHA"):
            return self._scripts.library.find(call[1]) or NO_SCRIPT
        return self._scripts.load(call[1])

    def _eval(self, client: Client, call: Request, done: Done) -> None:
        part, numbers = self._part(client, call), client.idempotency
        if isinstance(part, Failure):
            if part is NO_SCRIPT and numbers is not None and call[0] == b"EVALSHA":
                numbers.await_script(_named(call))
            done(part)
        elif numbers is None or part.is_read_only:
            self._scripts.run(Act((part,), _first(done), wrote=client.wrote))
        elif numbers.is_held and numbers.awaited != _named(call):
            done(NOT_BEGUN)
        else:
            numbers.awaited = None
            once = _once(numbers, [call])
            self._scripts.run(Act((part,), _first(_holding(numbers, done)), {}, client.wrote, once))

    def _load(self, client: Client, call: Request) -> Value:
        script = self._scripts.load(call[2])
        return script if isinstance(script, Failure) else script.sha.encode()

    def _exists(self, client: Client, call: Request) -> Value:
        return [int(self._scripts.library.knows(name)) for name in call[2:]]

    def _flush(self, client: Client, call: Request) -> Value:
        if len(call) > 3 or (len(call) == 3 and call[2].upper() not in (b"SYNC", b"ASYNC")):
            return FLUSH_OPTION
        self._scripts.library.flush()
        return "OK"


def _first(done: Done) -> Callable[[Value], None]:
    """Of the answers to an act of one part, the one; why nothing was done is the answer, too."""
    return lambda answers: done(answers[0] if isinstance(answers, list) else answers)


def _once(numbers: Idempotency, calls: Sequence[Request]) -> Once:
    """The next number stands for these calls; for a script, whether its source came or its name.

    Whatever this node knows: another one may be asked again.
    """
    named = [_named(call) if call[0] in RUNNING else tuple(call) for call in calls]
    return once_of(numbers.next(), tuple(named), atomic=True)


def _named(call: Request) -> Call:
    sha = call[1].lower() if call[0].startswith(b"EVALSHA") else sha_of(call[1])
    return (b"EVALSHA", sha, *call[2:])


def _holding(numbers: Idempotency, done: Done) -> Done:
    """Nothing is done behind what has no answer for good."""

    def told(value: Value) -> None:
        numbers.is_held = is_open(value)
        done(value)

    return told
