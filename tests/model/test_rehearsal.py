"""A rehearsal leaves no trace, and what comes of it does just what was rehearsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command.call_table import SPECS, fault, find
from raftcache.command.calls import DICED, Call, CallsSince
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.replies import CallsReply, Status
from raftcache.command.values import Failure, Value
from raftcache.command.words import Tick
from raftcache.state.machine import Machine
from raftcache.state.redis.execute import HANDLERS
from raftcache.state.redis.rehearsal import Rehearsal
from tests.differential.families import ALL, DATA, FILLED
from tests.differential.grammar import EVERY_CURSOR, Arguments, calls, right_calls
from tests.differential.pools import POOLS
from tests.unit.test_machine import do

SIZE_MAX: Final = 1 << 20
DICE: Final = 7


def _may_be_rehearsed(call: Arguments) -> bool:
    return fault(call) is None and call[0] in HANDLERS and EVERY_CURSOR not in call


CALL: Final = calls(DATA, POOLS).filter(_may_be_rehearsed)
BEGINNING: Final = right_calls("\n".join(FILLED[each] for each in ALL.split()), POOLS)


class Step(NamedTuple):
    """A call, or with `back` as many steps undone as that; forgets: what was seen, too."""

    call: Call
    back: int = 0
    forgets: bool = False


STEPS: Final = st.lists(
    st.one_of(
        CALL.map(Step),
        CALL.map(Step),
        CALL.map(Step),
        st.builds(Step, st.just((b"PING",)), st.integers(1, 4), st.booleans()),
    ),
    min_size=1,
    max_size=16,
)


class Rehearsed(NamedTuple):
    """What is left of it: values of deeds and of all calls that were not undone."""

    deeds: list[Call]
    seen: dict[bytes, int]
    calls: list[tuple[Call, Value]]


def begun() -> Machine:
    """One that keeps tombstones, as each does that has had streams."""
    machine = Machine()
    do(machine, CallsSince(((b"DBSIZE",),), SIZE_MAX))
    return machine


def rehearse(machine: Machine, steps: Sequence[Step]) -> Rehearsed:
    def play(rehearsal: Rehearsal) -> Rehearsed:
        done: list[tuple[Call, Value]] = []
        moments = [rehearsal.now()]
        for step in steps:
            if step.back:
                place = max(0, len(done) - step.back)
                back = rehearsal.forget_to if step.forgets else rehearsal.undo_to
                back(moments[place])
                del done[place:]
                del moments[place + 1 :]
                continue
            spec = find(step.call)
            assert spec is not None
            done.append((step.call, rehearsal.call(step.call, is_write=spec.is_write)))
            moments.append(rehearsal.now())
        return Rehearsed(rehearsal.deeds, rehearsal.seen, done)

    return machine.rehearse(play, machine.now_ms, SIZE_MAX, DICE)


def picture(machine: Machine) -> tuple[object, ...]:
    """All that a node may tell of its state."""
    return (
        b"".join(machine.dump()),
        machine.digest,
        machine.revision,
        machine.memory_size_bytes,
        machine.count,
        machine.deadline_count,
        machine.soonest(100),
        machine.next_deadline_ms(),
        machine.history.end,
        list(machine.notes.pending),
        list(machine.items()),
    )


def transacted(
    machine: Machine, calls: tuple[Call, ...], seen: Mapping[bytes, int] = MappingProxyType({})
) -> list[Value] | None:
    """The values; None if a key was another."""
    if not calls:
        return []
    watched = tuple(seen.items())
    word = CallsSince(calls, SIZE_MAX, True, watched, DICE, since=INTEGER_MAX)
    reply = do(machine, word)
    assert isinstance(reply, CallsReply)
    return None if reply.status is Status.FAILED else list(reply.values)


@settings(max_examples=300)
@given(st.lists(BEGINNING, max_size=6), STEPS)
def test_a_rehearsal(beginning: list[Call], steps: list[Step]) -> None:
    machine = begun()
    for call in beginning:
        do(machine, CallsSince((call,), SIZE_MAX))
    before = picture(machine)
    dump = machine.dump()
    first = next(dump)
    rehearsed = rehearse(machine, steps)
    assert b"".join((first, *dump)) == before[0], "while a snapshot is taken"
    assert picture(machine) == before

    # Another machine does at once what was not undone, as a transaction would.
    other = begun()
    for call in beginning:
        do(other, CallsSince((call,), SIZE_MAX))
    kept = tuple(call for call, value in rehearsed.calls if type(value) is not Failure)
    values = [value for _, value in rehearsed.calls if type(value) is not Failure]
    assert transacted(other, kept) == values

    pairs = zip(kept, values, strict=True)
    told = [value for call, value in pairs if SPECS[call[0]].is_write or call[0] in DICED]
    assert transacted(machine, tuple(rehearsed.deeds), rehearsed.seen) == told
    for each in (machine, other):
        while each.next_deadline_ms() == each.now_ms:
            do(each, Tick())  # frees the rows of what is gone
    assert b"".join(machine.dump()) == b"".join(other.dump())


@given(st.lists(BEGINNING, min_size=1, max_size=6), STEPS, BEGINNING)
def test_what_was_seen_guards_it(beginning: list[Call], steps: list[Step], late: Call) -> None:
    """If another call changes a key that was named, nothing of it is done."""
    machine = begun()
    for call in beginning:
        do(machine, CallsSince((call,), SIZE_MAX))
    rehearsed = rehearse(machine, steps)
    do(machine, CallsSince((late,), SIZE_MAX))
    are_same = all(machine.revision_of(key) == revision for key, revision in rehearsed.seen.items())
    before = machine.revision, list(machine.items())
    values = transacted(machine, tuple(rehearsed.deeds), rehearsed.seen)
    if rehearsed.deeds:
        assert (values is not None) == are_same
    if values is None:
        assert (machine.revision, list(machine.items())) == before
