"""The state machine against its plain reference, and its images against themselves.

The limits are made tiny, so that short runs meet all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from raftcache.command import codec
from raftcache.command.clients import ClientLeave, ClientRegister
from raftcache.command.leasing import (
    LeaseGrant,
    LeaseKeepAlive,
    LeaseRevoke,
    LockAcquire,
    LockKeepAlive,
    LockLeave,
    LockRelease,
    LockStay,
)
from raftcache.command.limits import REVISION_BUMP
from raftcache.command.ranges import is_within
from raftcache.command.replies import Item
from raftcache.command.words import (
    Append,
    Command,
    Compare,
    Delete,
    DeleteQuota,
    DeleteRange,
    Evict,
    Expire,
    Get,
    Increment,
    LeasedPut,
    Number,
    Once,
    Persist,
    Put,
    Range,
    Refill,
    Relation,
    SetQuota,
    Target,
    Tick,
    Touch,
    Txn,
    Vivify,
)
from raftcache.state.history import Event
from raftcache.state.items import read
from raftcache.state.machine import Machine
from tests.model.client_reference import ClientLimits
from tests.model.lease_reference import LeaseLimits
from tests.model.state_reference import Reference
from tests.support.images import check_that_damage_shows, image_of, restored

EXPIRED_MAX, REMEMBERED_MAX, REMEMBERED_MS = 2, 3, 40
RANGE_KEYS_MAX, RESULTS_MAX, RESULTS_REMEMBERED_MAX = 4, 500, 300
QUOTAS_MAX, COUNTED_MAX, REFILLS_MAX = 2, 1, 2
LIMITS = (
    EXPIRED_MAX,
    REMEMBERED_MAX,
    REMEMBERED_MS,
    RANGE_KEYS_MAX,
    RESULTS_MAX,
    RESULTS_REMEMBERED_MAX,
    LeaseLimits(leases_max=3, lease_keys_max=2, places_max=5, queue_max=2, place_ms=8),
    QUOTAS_MAX,
    COUNTED_MAX,
    REFILLS_MAX,
)


CLIENT_LIMITS = {
    "CLIENTS_MAX": ClientLimits.clients_max,
    "CLIENT_REQUESTS_MAX": ClientLimits.pending_max,
    "REQUESTS_NUMBERED_MAX": ClientLimits.numbered_max,
    "CLIENT_IDLE_MS": ClientLimits.idle_ms,
    "CLIENT_SPARED_MS": ClientLimits.spared_ms,
    "CLIENT_HEARD_MS": ClientLimits.heard_ms,
    "REQUESTS_FORGOTTEN_PER_ENTRY_MAX": 1,
}
LEASE_LIMITS = {
    "state.clients": CLIENT_LIMITS,
    "command.checks": {"LEASE_TTL_MS_MIN": 1},
    "state.leases": {"LEASE_TTL_MS_MIN": 1, "LEASE_KEYS_MAX": 2},
    "state.operations": {"LEASE_KEYS_MAX": 2},
    "state.lease_commands": {"LEASES_MAX": 3, "EXPIRED_PER_ENTRY_MAX": EXPIRED_MAX},
    "state.locks": {"LEASE_TTL_MS_MIN": 1, "LOCK_QUEUE_MAX": 2},
    "state.lock_commands": {
        "EXPIRED_PER_ENTRY_MAX": EXPIRED_MAX,
        "LOCK_PLACES_MAX": 5,
        "LOCK_QUEUE_MAX": 2,
        "LOCK_PLACE_MS": 8,
    },
}


@pytest.fixture(autouse=True, scope="module")
def _tiny_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raftcache.state.machine.EXPIRED_PER_ENTRY_MAX", EXPIRED_MAX)
        patch.setattr("raftcache.state.machine._SHED_PER_ENTRY", 2)
        patch.setattr("raftcache.state.sessions.REQUESTS_FORGOTTEN_PER_ENTRY_MAX", 1)
        patch.setattr("raftcache.state.sessions.REQUESTS_REMEMBERED_MAX", REMEMBERED_MAX)
        patch.setattr("raftcache.state.sessions.REQUESTS_REMEMBERED_MS", REMEMBERED_MS)
        patch.setattr("raftcache.state.image.REQUESTS_REMEMBERED_MAX", REMEMBERED_MAX)
        patch.setattr("raftcache.state.keeping.QUOTAS_MAX", QUOTAS_MAX)
        patch.setattr("raftcache.state.quotas.QUOTA_KEYS_COUNTED_PER_ENTRY", COUNTED_MAX)
        patch.setattr("raftcache.state.refills.REFILLS_MAX", REFILLS_MAX)
        patch.setattr("raftcache.state.refills.REFILLS_FORGOTTEN_PER_ENTRY_MAX", 1)
        patch.setattr("raftcache.state.image.SLICE_KEYS_MAX", 2)
        patch.setattr("raftcache.state.image.SLICE_SIZE_BYTES", 100)
        transactions = "raftcache.state.transactions."
        patch.setattr(transactions + "RANGE_KEYS_MAX", RANGE_KEYS_MAX)
        patch.setattr(transactions + "TXN_RESULTS_SIZE_BYTES_MAX", RESULTS_MAX)
        patch.setattr(
            transactions + "TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX", RESULTS_REMEMBERED_MAX
        )
        patch.setattr("raftcache.state.listing.EVENTS_PER_STEP", 2)
        patch.setattr("raftcache.state.listing.WINDOW_KEYS", 2)
        for module, limits in LEASE_LIMITS.items():
            for name, value in limits.items():
                patch.setattr(f"raftcache.{module}.{name}", value)
        yield


KEYS = [b"a", b"b", b"ba", b"c", b"\xff", b"d" * 30]
VALUES = [b"", b"0", b"7", b"-12", b"007", b"+1", b" 1", b"1_0", b"text", b"9223372036854775807"]

keys = st.sampled_from([*KEYS * 4, b""])
values = st.sampled_from(VALUES)
spans = st.integers(1, 30)
preconditions = st.one_of(st.sampled_from([-1] * 5 + [0, -2, -3]), st.integers(1, 25))
onces = st.one_of(
    st.none(),
    st.builds(
        Once,
        st.one_of(
            st.sampled_from([b"t", b"u", b"v", b"w", b""]),
            st.sampled_from([b"t", b"u", b"v", b"w", b""]),
            st.builds(Number, st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)),
        ),
        st.sampled_from([b"f" * 16, b"f" * 16, b"g" * 16]),
    ),
)
common: dict[str, Any] = {"key": keys, "only": preconditions, "once": onces}
revisions = st.integers(0, 20)
"""Ids of leases, tokens, places: the low numbers that a short run has made."""
content_types = st.sampled_from(["", "text/plain"])
ttls = st.one_of(st.none(), spans, st.integers(0, 3))
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Put, value=values, content_type=content_types, ttl_ms=ttls, **common),
    st.builds(Put, key=keys, value=values, ttl_ms=spans),
    st.builds(LeasedPut, value=values, lease=revisions, content_type=content_types, **common),
    st.builds(Delete, **common),
    st.builds(Increment, by=st.sampled_from([1, -1, 0, 5, 2**63 - 1, -(2**63)]), **common),
    st.builds(Append, value=values, size_bytes_max=st.sampled_from([100, 100, 4, 0, -1]), **common),
    st.builds(Expire, ttl_ms=st.integers(-1, 30), **common),
    st.builds(Persist, **common),
    st.builds(Touch, **common),
    st.just(Tick()),
)
ends = st.sampled_from([b"", b"b", b"bb", b"c", b"e", b"\xff", b"\xff\0"])
starts = st.sampled_from([b"", b"a", b"b", b"ba", b"d"])
delete_ranges = st.builds(DeleteRange, start=starts, end=ends)
numbers = [t for t in Target if t not in (Target.VALUE, Target.EXISTS)]
equalities = st.sampled_from([Relation.EQUAL, Relation.NOT_EQUAL])
relations = st.sampled_from(Relation)
compares = st.one_of(
    st.builds(Compare, keys, st.sampled_from(numbers), relations, st.integers(0, 12)),
    st.builds(Compare, keys, st.just(Target.VALUE), relations, value=values),
    st.builds(Compare, keys, st.just(Target.EXISTS), equalities, st.integers(0, 1)),
)
one: dict[str, Any] = {"key": st.sampled_from(KEYS)}
operations = st.one_of(
    st.builds(Put, value=values, content_type=content_types, ttl_ms=ttls, **one),
    st.builds(LeasedPut, value=values, lease=st.integers(1, 5), **one),
    st.builds(Delete, **one),
    st.builds(Increment, by=st.sampled_from([1, -1, 5]), **one),
    st.builds(Append, value=values, size_bytes_max=st.sampled_from([100, 100, 4]), **one),
    st.builds(Expire, ttl_ms=st.integers(-1, 30), **one),
    st.builds(Persist, **one),
    st.builds(Touch, key=keys, only=st.sampled_from([-1] * 5 + [0])),
    st.builds(Get, **one),
    st.builds(Range, starts, ends, limit=st.integers(0, 3), keys_only=st.booleans()),
    st.builds(Range, starts, ends, count_only=st.just(True)),
    delete_ranges,
)
branches = st.lists(operations, max_size=5).map(tuple)
transactions = st.builds(
    Txn, st.lists(compares, max_size=2).map(tuple), branches, branches, once=onces
)
victims = st.tuples(keys, st.one_of(st.integers(1, 12), st.just(0)))
names = st.sampled_from([b"l", b"l", b"m", b""])
waits = st.sampled_from([0, 5, 20, 30])
delays = st.sampled_from([0, 0, 3, 10])
leasing: st.SearchStrategy[Command] = st.one_of(
    st.builds(LeaseGrant, ttl_ms=st.integers(0, 20), once=onces),
    st.builds(LeaseGrant, ttl_ms=st.integers(5, 30)),
    st.builds(LeaseKeepAlive, lease=revisions, once=onces),
    st.builds(LeaseRevoke, lease=revisions, once=onces),
    st.builds(LeasedPut, key=st.sampled_from(KEYS), value=values, lease=st.integers(1, 5)),
)
locking: st.SearchStrategy[Command] = st.one_of(
    st.builds(LockAcquire, names, spans, waits, delays, st.sampled_from([b"", b"me"]), onces),
    st.builds(LockAcquire, st.just(b"l"), spans, waits, delays),
    st.builds(LockStay, names, revisions, onces),
    st.builds(LockLeave, names, revisions, st.integers(0, 1), onces),
    st.builds(LockKeepAlive, names, revisions, onces),
    st.builds(LockRelease, names, revisions, onces),
)
prefixes = st.sampled_from([b"", b"a", b"b", b"ba"])
limits = st.one_of(st.none(), st.integers(-1, 4))
keeping: st.SearchStrategy[Command] = st.one_of(
    st.builds(SetQuota, prefixes, limits, limits.map(lambda n: n and n * 40), onces),
    st.builds(DeleteQuota, prefixes, onces),
    st.builds(Vivify, keys, st.integers(0, 20), st.integers(0, 10), onces),
    st.builds(Vivify, keys, st.integers(5, 20)),
    st.builds(Refill, keys, values, st.integers(0, 12), content_types, ttls, onces),
)
commands = st.one_of(
    commands,
    transactions,
    transactions,
    st.builds(DeleteRange, start=starts, end=ends, once=onces),
    st.builds(Evict, st.lists(victims, max_size=6).map(tuple)),
    leasing,
    locking,
    keeping,
    st.builds(ClientRegister),
    st.builds(ClientLeave, st.integers(0, 5), st.just(None)),
)
entries = st.tuples(st.integers(-3, 12), st.lists(commands, max_size=5))
Log = list[tuple[int, list[Command]]]

# The same for what is kept and refilled alone: few keys, so that quotas are met and tokens guessed.
few = st.sampled_from([b"a", b"b", b"ba"])
small = st.sampled_from([b"", b"7", b"text"])
kept_operations = st.one_of(
    st.builds(Put, few, small),
    st.builds(Delete, few),
    st.builds(Increment, few),
    st.builds(DeleteRange, st.just(b""), st.sampled_from([b"", b"b"])),
)
kept_commands: st.SearchStrategy[Command] = st.one_of(
    kept_operations,
    st.builds(Put, few, small, ttl_ms=st.integers(1, 12)),
    st.builds(Append, few, small, st.just(100)),
    st.builds(Expire, few, st.sampled_from([0, 5])),
    st.builds(Txn, success=st.lists(kept_operations, max_size=4).map(tuple)),
    st.builds(Evict, st.lists(st.tuples(few, st.integers(1, 6)), max_size=3).map(tuple)),
    st.builds(LeaseGrant, st.just(6)),
    st.builds(LeasedPut, few, small, st.integers(1, 3)),
    st.builds(LeaseRevoke, st.integers(1, 3)),
    st.builds(SetQuota, prefixes, st.integers(0, 2), st.none()),
    st.builds(SetQuota, prefixes, st.none(), st.sampled_from([0, 35, 36, 39, 71, 72, 80])),
    st.builds(DeleteQuota, prefixes),
    st.builds(Vivify, few, st.sampled_from([4, 8]), st.sampled_from([0, 6])),
    st.builds(Vivify, few, st.sampled_from([4, 8]), st.sampled_from([0, 6])),
    st.builds(Refill, few, small, st.integers(1, 5)),
)
kept_logs = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 4]), st.lists(kept_commands, max_size=4)), max_size=12
)


picks = st.integers(0, 7)
"""Which of the leases or places that there are: see `aimed`."""
of_keys = st.sampled_from(KEYS)
aims: st.SearchStrategy[Command] = st.one_of(
    st.builds(LeaseGrant, st.integers(3, 20)),
    st.builds(LeaseKeepAlive, picks),
    st.builds(LeaseRevoke, picks),
    st.builds(LeasedPut, of_keys, values, picks),
    st.builds(LeasedPut, of_keys, values, picks),
    st.builds(Txn, st.just(()), st.tuples(operations, operations)),
    st.builds(DeleteRange, starts, ends),
    st.builds(Persist, of_keys),
    st.builds(LockAcquire, names, st.integers(3, 20), waits, delays),
    st.builds(LockAcquire, names, st.integers(3, 20), waits, delays, once=onces),
    st.builds(LockKeepAlive, names, picks),
    st.builds(LockRelease, names, picks),
    st.builds(LockStay, names, picks),
    st.builds(LockLeave, names, picks, st.integers(0, 1)),
)


def aimed(word: Any, reference: Reference) -> Command:
    """The word, about one of the leases or places that the reference has, or made there to be."""
    leases = list(reference.leases)
    places = [(name, place) for _, _, name, place in reference.places()]
    match word:
        case LeaseKeepAlive() | LeaseRevoke() | LeasedPut():
            if not leases:
                return LeaseGrant(20)
            return replace(word, lease=leases[word.lease % len(leases)])
        case LockKeepAlive() | LockRelease() | LockStay() | LockLeave():
            if not places:
                return LockAcquire(b"l", 20)
    if isinstance(word, LockKeepAlive | LockRelease):
        name, place = places[word.token % len(places)]
        return replace(word, name=name, token=max(1, place.token))
    if isinstance(word, LockStay):
        name, place = places[word.place % len(places)]
        return replace(word, name=name, place=place.number)
    if isinstance(word, LockLeave):
        name, place = places[word.place % len(places)]
        return replace(word, name=name, place=place.number, stays=place.stays + word.stays)
    command: Command = word
    return command


leased_entries = st.lists(
    st.tuples(st.integers(-1, 4), st.lists(aims, max_size=4)), min_size=1, max_size=15
)


@st.composite
def leased_logs(draw: st.DrawFn) -> Log:
    """What is said of leases and locks mostly hits some."""
    reference, now_ms, log = Reference(*LIMITS), 1000, Log()
    for step_ms, words in draw(leased_entries):
        now_ms += step_ms
        said: list[Command] = []
        for word in words:
            said.append(aimed(word, reference))
            reference.apply(now_ms, said[-1:])
        log.append((step_ms, said))
    return log


logs: st.SearchStrategy[Log] = st.one_of(st.lists(entries, max_size=25), leased_logs())


def batches(log: Log) -> Iterator[tuple[int, bytes]]:
    """The entries of a log with their cluster times, some of which step back."""
    now_ms = 1000
    for step_ms, words in log:
        now_ms += step_ms
        yield now_ms, codec.batch([codec.encode(word) for word in words])


def run(machine: Machine, log: Log) -> list[list[object]]:
    return [list(machine.apply(now_ms, batch)) for now_ms, batch in batches(log)]


def plain(word: Any) -> Any:
    """Words as tuples, as the reference has them; results without their tags."""
    if isinstance(word, msgspec.Struct):
        return tuple(plain(field) for field in msgspec.structs.astuple(word))
    return tuple(plain(one) for one in word) if isinstance(word, tuple) else word


@settings(max_examples=400, deadline=None)
@given(logs)
def test_it_does_what_the_reference_does(log: Log) -> None:
    check_against_the_reference(log)


@settings(max_examples=400, deadline=None)
@given(kept_logs)
def test_quotas_and_refills_do_what_the_reference_does(log: Log) -> None:
    check_against_the_reference(log)


@settings(max_examples=200, deadline=None)
@given(logs, logs, st.sampled_from([0, 1, 1000, REVISION_BUMP]), st.booleans())
def test_what_begins_with_a_raised_revision_does_what_the_reference_does(
    before: Log, after: Log, bump: int, from_an_image: bool
) -> None:
    """Nothing but numbers changes, no number up to the raised one is given, none is looked up."""
    machine, reference = check_against_the_reference(before)
    machine.raise_revision(bump)
    reference.revision += bump
    raised = machine.revision
    if from_an_image:
        machine = restored(image_of(machine))
    assert machine.digest == restored(image_of(machine)).digest
    assert machine.history.position_after(raised) == machine.history.end
    assert machine.history.position_after(raised - 1) is None
    check_against_the_reference(after, machine, reference)
    position = machine.history.position_after(raised)
    assert position is not None
    new = machine.history.read(position, 1 << 20)
    assert new is not None
    assert all(event.revision > raised for event in new)


def check_against_the_reference(
    log: Log, machine: Machine | None = None, reference: Reference | None = None
) -> tuple[Machine, Reference]:
    """From what these two come to already, or from nothing; and what they come to."""
    machine = machine or Machine()
    reference = reference or Reference(*LIMITS)
    for (now_ms, batch), (_, words) in zip(batches(log), log, strict=True):
        replies = machine.apply(now_ms, batch)
        assert [plain(reply) for reply in replies] == reference.apply(now_ms, words)
        assert machine.revision == reference.revision
        assert machine.now_ms == reference.now
        assert machine.count == len(reference.entries)
        assert machine.next_deadline_ms() == reference.next_deadline()
        for name in (b"l", b"m"):
            assert plain(machine.lock(name)) == reference.view(name)
        for lease in range(1, 21):
            assert (machine.lease(lease) is not None) == reference.lives(lease)
        for quota, count in machine.quotas():
            assert quota.counted_to == reference.counted_to.get(quota.prefix)
            assert (count.keys, count.size_bytes) == reference.counts(quota.prefix)
            assert reference.quotas.keys() == {q.prefix for q, _ in machine.quotas()}
        for key in KEYS:
            item, entry = machine.get(key), reference.get(key)
            assert (item is None) == (entry is None)
            if item is not None and entry is not None:
                assert msgspec.structs.astuple(item) == (
                    entry.value,
                    entry.content_type,
                    entry.created,
                    entry.changed,
                    entry.version,
                    reference.deadline(entry),
                    entry.lease,
                )
    return machine, reference


@settings(max_examples=300, deadline=None)
@given(st.one_of(logs, kept_logs), st.data())
def test_a_restart_from_an_image_changes_nothing(log: Log, data: st.DataObject) -> None:
    """Nothing that an image leaves out may influence what comes later."""
    straight, restarted = Machine(), Machine()
    run(restarted, data.draw(logs, label="what the other machine held before"))
    restored(image_of(straight), into=restarted)
    for now_ms, batch in batches(log):
        if data.draw(st.integers(0, 4)) == 0:
            before = restarted if data.draw(st.booleans()) else None
            restarted = restored(image_of(restarted), into=before)
        assert restarted.apply(now_ms, batch) == straight.apply(now_ms, batch)
        assert restarted.digest == straight.digest
        assert restarted.next_deadline_ms() == straight.next_deadline_ms()
        assert restarted.size_bytes == straight.size_bytes
        assert image_of(restarted) == image_of(straight)


@settings(max_examples=300, deadline=None)
@given(logs, logs, st.data())
def test_a_dump_shows_the_moment_it_was_asked_for(
    before: Log, during: Log, data: st.DataObject
) -> None:
    machine, undisturbed = Machine(), Machine()
    run(machine, before)
    run(undisturbed, before)
    expected = image_of(machine)
    dump = machine.dump()
    slices: list[bytes] = []
    for now_ms, batch in batches(during):
        slices.extend(islice(dump, data.draw(st.integers(0, 2))))
        assert machine.apply(now_ms, batch) == undisturbed.apply(now_ms, batch)
    slices.extend(dump)
    assert b"".join(slices) == expected
    assert image_of(machine) == image_of(undisturbed)


@settings(max_examples=100, deadline=None)
@given(logs, st.data())
def test_an_image_may_be_fed_in_any_pieces(log: Log, data: st.DataObject) -> None:
    machine = Machine()
    run(machine, log)
    image = image_of(machine)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(image)), max_size=10)))
    loader = (other := Machine()).loader()
    for start, end in zip([0, *cuts], [*cuts, len(image)], strict=True):
        loader.feed(image[start:end])
    loader.install()
    assert image_of(other) == image
    assert other.digest == machine.digest


@settings(max_examples=200, deadline=None)
@given(st.one_of(logs, kept_logs), st.data())
def test_a_damaged_image_is_corrupt_or_the_same(log: Log, data: st.DataObject) -> None:
    machine = Machine()
    run(machine, log)
    check_that_damage_shows(machine, data)


@settings(max_examples=200, deadline=None)
@given(st.one_of(logs, kept_logs), st.one_of(logs, kept_logs))
def test_states_are_equal_exactly_when_their_digests_are(one: Log, two: Log) -> None:
    machines = Machine(), Machine()
    run(machines[0], one)
    run(machines[1], two)
    images_equal = image_of(machines[0]) == image_of(machines[1])
    assert (machines[0].digest == machines[1].digest) == images_equal


def as_event(event: Event) -> tuple[Any, ...]:
    """An event as the reference notes it."""
    packed = [p and plain(read(p, 0)) for p in (event.packed, event.previous)]
    return (event.revision, event.kind, event.key, *packed)


@settings(max_examples=300, deadline=None)
@given(logs)
def test_every_change_is_an_event(log: Log) -> None:
    machine, reference, told = Machine(), Reference(*LIMITS), list[int]()
    machine.history.listeners.append(lambda: told.append(machine.history.end))
    for (now_ms, batch), (_, words) in zip(batches(log), log, strict=True):
        before = machine.history.end
        machine.apply(now_ms, batch)
        reference.apply(now_ms, words)
        assert len(told) == (machine.history.end > before), "told once, if at all"
        told.clear()
    events = machine.history.read(0, len(reference.events))
    assert events is not None
    expected = [
        (*event[:3], *(e and dataclasses.astuple(e) for e in event[3:]))
        for event in reference.events
    ]
    assert [as_event(event) for event in events] == expected


def without_end_of_lease(entry: tuple[bytes, Item]) -> tuple[bytes, Item]:
    """A listing tells no deadline of a lease: it may have been renewed since."""
    key, item = entry
    return (key, replace(item, deadline_ms=0)) if item.lease else entry


def told_after(
    entry: tuple[bytes, Item], found: list[tuple[bytes, Item]], ended: set[int]
) -> tuple[bytes, Item]:
    """A lease that has ended since may be told as a deadline of the key's own: when it ended."""
    key, item = entry
    now = dict(found).get(key, item)
    if item.lease in ended and not now.lease and now.deadline_ms:
        return key, replace(item, lease=0, deadline_ms=now.deadline_ms)
    return entry


@settings(max_examples=300, deadline=None)
@given(logs, logs, logs, st.data())
def test_a_listing_shows_its_revision_whatever_comes_after(
    before: Log, between: Log, during: Log, data: st.DataObject
) -> None:
    """Whether it was begun then and there, or on a node that has gone on since."""
    machine, undisturbed = Machine(), Machine()
    run(machine, before)
    run(undisturbed, before)
    start, end = data.draw(starts), data.draw(ends)
    keys_only = data.draw(st.booleans())
    expected = [
        (key, replace(item, value=b"") if keys_only else item)
        for key, item in map(without_end_of_lease, undisturbed.items())
        if is_within(key, start, end)
    ]
    revision, now_ms = machine.revision, machine.now_ms
    run(machine, between)
    listing = machine.listing(start, end, revision, now_ms, keys_only=keys_only)
    found: list[tuple[bytes, Item]] = []
    for later_ms, batch in batches(during):
        if not listing.done and data.draw(st.booleans()):
            found += listing.take(data.draw(st.integers(1, 3)), 100)
        machine.apply(later_ms, batch)
    while not listing.done:
        found += listing.take(2, 100)
    ended = {item.lease for _, item in expected if machine.lease(item.lease) is None}
    assert found == [told_after(entry, found, ended) for entry in expected]


@settings(max_examples=200, deadline=None)
@given(logs, st.integers(0, 12), st.integers(0, 2000))
def test_a_bounded_history_keeps_whole_revisions(log: Log, count_max: int, size_max: int) -> None:
    bounded, whole = Machine(), Machine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", count_max)
        patch.setattr("raftcache.state.history.HISTORY_SIZE_BYTES_MAX", size_max)
        run(bounded, log)
    run(whole, log)
    assert bounded.history.end == whole.history.end
    first = bounded.history.first_revision
    for revision in range(bounded.revision + 1):
        position = bounded.history.position_after(revision)
        if revision < first:
            assert position is None
            continue
        assert position == whole.history.position_after(revision)
        assert position is not None
        for events_max in (1, 3, 1000):
            read_now = bounded.history.read(position, events_max)
            assert read_now == whole.history.read(position, events_max)
    kept = bounded.history.read(bounded.history.position_after(first) or 0, 1000) or []
    assert len(kept) <= count_max
    assert bounded.history.size_bytes <= size_max
