"""A rehearsal leaves no trace, and what comes of it does just what was rehearsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command.call_table import SPECS, fault, find
from raftcache.command.calls import DICED, Call, CallsRehearsed, CallsSince
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.replies import CallsReply, Status
from raftcache.command.values import Failure, Value
from raftcache.command.words import SetQuota, Tick
from raftcache.state.machine import Machine
from raftcache.state.redis.execute import HANDLERS
from raftcache.state.redis.rehearsal import Rehearsal
from tests.differential.families import ALL, DATA, FILLED
from tests.differential.grammar import EVERY_CURSOR, Arguments, calls, right_calls
from tests.differential.pools import POOLS
from tests.unit.test_machine import at, do

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
    """What is left of it, and the values of all calls that were not undone."""

    deeds: list[Call]
    seen: dict[bytes, int]
    digest: int
    calls: list[tuple[Call, Value]]

    @property
    def told(self) -> list[Value]:
        """What was answered where something was done."""
        done = [(call, value) for call, value in self.calls if type(value) is not Failure]
        return [value for call, value in done if SPECS[call[0]].is_write or call[0] in DICED]


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
        return Rehearsed(rehearsal.deeds, rehearsal.seen, rehearsal.digest, done)

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


def transacted(machine: Machine, calls: tuple[Call, ...]) -> list[Value]:
    """The values of calls that nobody has rehearsed."""
    if not calls:
        return []
    reply = do(machine, CallsSince(calls, SIZE_MAX, True, (), DICE, since=INTEGER_MAX))
    assert isinstance(reply, CallsReply)
    return list(reply.values)


def done_again(machine: Machine, rehearsed: Rehearsed) -> list[Value] | None:
    """The values; None if something was otherwise, and so nothing is done."""
    deeds, seen, digest = tuple(rehearsed.deeds), tuple(rehearsed.seen.items()), rehearsed.digest
    if not deeds:
        return []
    word = CallsRehearsed(deeds, SIZE_MAX, True, seen, DICE, None, INTEGER_MAX, b"", digest)
    reply = do(machine, word)
    assert isinstance(reply, CallsReply)
    return None if reply.status is Status.FAILED else list(reply.values)


@settings(max_examples=300, deadline=None)
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

    assert done_again(machine, rehearsed) == rehearsed.told
    for each in (machine, other):
        while each.next_deadline_ms() == each.now_ms:
            do(each, Tick())  # frees the rows of what is gone
    assert b"".join(machine.dump()) == b"".join(other.dump())


@settings(deadline=None)
@given(
    st.lists(BEGINNING, min_size=1, max_size=6),
    STEPS,
    BEGINNING,
    st.sampled_from((0, 0, 1, 100_000)),
    st.sampled_from((None, None, 1, 3)),
)
def test_what_was_seen_guards_it(
    beginning: list[Call], steps: list[Step], late: Call, late_ms: int, keys_max: int | None
) -> None:
    """If another call changes a key that was named, nothing of it is done.

    Nor if time or a quota that comes between would make it another thing than was told.
    """
    machine = begun()
    for call in beginning:
        do(machine, CallsSince((call,), SIZE_MAX))
    rehearsed = rehearse(machine, steps)
    do(machine, CallsSince((late,), SIZE_MAX))
    if keys_max is not None:
        do(machine, SetQuota(b"", keys_max))
    at(machine, machine.now_ms + late_ms, Tick())
    are_same = all(machine.revision_of(key) == revision for key, revision in rehearsed.seen.items())
    before = machine.revision, list(machine.items())
    values = done_again(machine, rehearsed)
    is_guarded = keys_max is None and not late_ms and (b"RANDOMKEY",) not in rehearsed.deeds
    if rehearsed.deeds and is_guarded:
        assert (values is not None) == are_same
    if values is not None:
        assert are_same or not rehearsed.deeds
        pairs = zip(values, rehearsed.told, rehearsed.deeds, strict=True)
        assert all(value == told for value, told, call in pairs if call != (b"RANDOMKEY",))
    else:
        assert (machine.revision, list(machine.items())) == before
