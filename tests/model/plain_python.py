"""Collections as plain Python has them, and how rows are held against them.

A reference knows of no rows, ranks or bytes that sort; what a call changed before it failed comes
back with a copy of everything.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from hypothesis import strategies as st

from raftcache.command.calls import CallsSince
from raftcache.command.replies import CallsReply
from raftcache.command.values import Failure
from raftcache.command.words import Tick
from raftcache.state.machine import Machine
from tests.support.images import image_of, restored
from tests.unit.test_machine import do

Args: TypeAlias = list[bytes]
Words: TypeAlias = tuple[bytes, ...]
Step: TypeAlias = tuple[list[Words], bool, bool]
"""Calls, whether they are one transaction, and whether a dump is under way meanwhile."""

SIZE_MAX = 12
"""Of values and members; a sorted set finds out by its second row, when the first is there."""

Plain = TypeVar("Plain")


class Wrong(Exception):
    """The call fails."""


class Reference(Generic[Plain]):
    """Keys, and what each call does to them. size_max: of values, or members."""

    def __init__(self, size_max: int) -> None:
        self.keys: dict[bytes, Plain] = {}
        self._size_max = size_max

    def do(self, name: str, args: Args) -> object:
        """The answer; raises Wrong, and then nothing has changed."""
        before = copy.deepcopy(self.keys)
        handler: Callable[[Args], object] = getattr(self, "_" + name.lower())
        try:
            return handler(args)
        except (Wrong, ValueError):
            self.keys = before
            raise Wrong from None
        finally:
            empty: tuple[object, ...] = ({}, [], set())
            self.keys = {key: held for key, held in self.keys.items() if held not in empty}

    def _held(self, key: bytes, kind: type) -> Any:
        held: Any = self.keys.setdefault(key, kind())
        if not isinstance(held, kind):
            raise Wrong
        return held

    def _fit(self, value: bytes) -> bytes:
        if len(value) > self._size_max:
            raise Wrong
        return value


R = TypeVar("R", bound=Reference[Any])


def call(name: str, *args: st.SearchStrategy[bytes]) -> st.SearchStrategy[Words]:
    return st.tuples(st.just(name.encode()), *args)


def more(
    name: str, first: st.SearchStrategy[bytes], *each: st.SearchStrategy[bytes]
) -> st.SearchStrategy[Words]:
    """With one to five such at the end."""
    ends = st.lists(st.tuples(*each), min_size=1, max_size=5)
    return st.builds(lambda key, rest: (name.encode(), key, *sum(rest, ())), first, ends)


def steps_of(calls: st.SearchStrategy[Words]) -> st.SearchStrategy[list[Step]]:
    step = st.tuples(st.lists(calls, min_size=1, max_size=4), st.booleans(), st.booleans())
    return st.lists(step, min_size=1, max_size=15)


def or_failure(answered: object, found: Callable[[], object]) -> object:
    """What it should have been; any failure for what is Wrong."""
    try:
        return found()
    except Wrong:
        assert isinstance(answered, Failure), answered
        assert "internal" not in answered.text
        return answered


def hold_against(
    reference: R,
    steps: list[Step],
    size_bytes_max: int,
    dice: int,
    expected: Callable[[R, Words, object], object],
    holds: Callable[[Machine, R], None],
) -> None:
    """Two machines, one of them loaded from dumps now and then, do the steps and hold the same."""
    machine, other = Machine(), Machine()
    for calls, atomic, is_dumped in steps:
        before = b"".join(machine.dump())
        dump = machine.dump() if is_dumped else iter(())
        begun = next(dump, b"")
        command = CallsSince(tuple(calls), size_bytes_max, atomic=atomic, dice=dice)
        reply = do(machine, command)
        assert isinstance(reply, CallsReply)
        for words, answered in zip(calls, reply.values, strict=True):
            assert answered == expected(reference, words, answered), words
        assert do(other, command) == reply
        for each in (machine, other):
            do(each, Tick())  # frees the rows of what is gone
        if is_dumped:
            assert b"".join([begun, *dump]) == before
            other = restored(image_of(machine))
        assert machine.digest == other.digest
        holds(machine, reference)
    assert b"".join(machine.dump()) == b"".join(other.dump())
