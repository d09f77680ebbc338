"""The leases and locks of an image: their bytes, and everything that may be wrong with them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from msgspec.structs import replace

from raftcache.command.limits import LEASES_MAX, LOCK_PLACES_MAX, QUOTAS_MAX, REFILLS_MAX
from raftcache.errors import BadConfig, Corrupt
from raftcache.state import image, items
from raftcache.state.leases import Lease
from raftcache.state.locks import Place, Role
from raftcache.state.quotas import Quota
from raftcache.state.refills import Right
from raftcache.state.state import State
from raftcache.state.tombstones import STRETCHES, Stretch, Tombstones
from tests.unit.test_image import HEADER_SIZE_BYTES, image_of, load

LEASE = Lease(1, 1500, 500)
HOLDER = Place(3, 1700, b"l", Role.HOLDING, 3, 0, 700, 0, 1000, b"me")
WAITER = Place(4, 1900, b"l", Role.WAITING, 0, 2, 700, 100, 9000, b"")


def put(state: State, lease: int = 0) -> None:
    packed = items.pack(2, 2, 0, 1, b"", b"v", lease)
    state.keyspace.put(b"k", packed, 0, state.keyspace.find(b"k"))


def state_of(*records: Lease | Place) -> State:
    state = State(revision=4, now_ms=1000)
    for record in records:
        if isinstance(record, Lease):
            state.leases.table.put(record)
        else:
            state.locks.put(record)
    return state


@pytest.fixture
def state() -> State:
    """A lease with a key, a lock that is held, and one who waits for it."""
    state = state_of(LEASE, HOLDER, WAITER)
    put(state, lease=1)
    return state


WRITTEN = (
    # header, and how many leases, places, quotas and rights to refill
    "72616674636163680200000001000000000000000000000000000000000000000000000004000000"
    "00000000e80300000000000001000000000000000200000000000000"
    "00000000000000000000000000000000"
    # lease 1
    "08009301cd05dccd01f4"
    # place 3, which holds l
    "16009a03cd06a4c4016c010300cd02bc00cd03e8c4026d65"
    # place 4, which waits
    "14009a04cd076cc4016c000002cd02bc64cd2328c400"
    # k, its lease in the place of the deadline
    "0100230000006b020000000000000002000000000000000100000000000000010000000000000002"
    "0076"
    # digest
)


def test_leases_and_locks_keep_their_bytes(state: State) -> None:
    """If this fails, the format has changed: give it a new number and keep reading the old one."""
    whole = image_of(state)
    assert whole[:-8].hex() == WRITTEN
    loaded = load(whole, 7)
    assert loaded.digest == state.digest
    assert image_of(loaded) == whole
    assert loaded.leases.keys(1) == {b"k"}
    assert loaded.locks.first(b"l") == HOLDER
    assert list(loaded.locks.waiting(b"l")) == [4]
    assert loaded.leases.table.next_deadline_ms() == 1500


@pytest.mark.parametrize("records", [(), (LEASE,), (HOLDER,)])
def test_the_newer_format_is_written_only_for_what_needs_it(records: tuple[Any, ...]) -> None:
    state = state_of(*records)
    put(state)
    assert image_of(state)[8] == (2 if records else 1)
    for record in records:
        if isinstance(record, Lease):
            state.leases.table.remove(record)
        else:
            state.locks.remove(record)
    assert image_of(state)[8] == 1, "an older node can read it again"


def test_a_dump_shows_the_call_whatever_comes_after(state: State) -> None:

    expected = image_of(state)
    dump = image.dump(state)
    state.leases.table.put(replace(LEASE, deadline_ms=2000))
    state.locks.remove(WAITER)
    state.locks.put(replace(HOLDER, role=Role.GONE, token=0))
    assert b"".join(dump) == expected


def test_every_flipped_bit_is_noticed(state: State) -> None:
    whole = image_of(state)
    for at in range(HEADER_SIZE_BYTES, len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            with pytest.raises(Corrupt):
                load(bytes(damaged))


def test_every_missing_end_is_noticed(state: State) -> None:
    whole = image_of(state)
    for size_bytes in range(len(whole)):
        with pytest.raises(Corrupt):
            load(whole[:size_bytes])


def test_an_image_with_tables_is_none_of_the_first_format(state: State) -> None:
    whole = bytearray(image_of(state))
    whole[8] = 1
    with pytest.raises((Corrupt, BadConfig)):
        load(bytes(whole))


@pytest.mark.parametrize(
    ("records", "about"),
    [
        ((replace(LEASE, number=5),), "record 5 after 0 in a store at 4"),
        ((replace(LEASE, deadline_ms=-1),), "a deadline of -1 ms"),
        ((replace(LEASE, ttl_ms=1),), "a lease of 1 ms"),
        ((WAITER,), "place 4 has no sense in its lock"),
        ((HOLDER, replace(HOLDER, number=4, token=4)), "place 4 has no sense in its lock"),
        ((replace(HOLDER, token=2),), "place 3 has token 2"),
        ((replace(HOLDER, token=5),), "place 3 has token 5"),
        ((HOLDER, replace(WAITER, token=4)), "place 4 has token 4"),
        ((replace(HOLDER, name=b""),), "place 3 has a field outside"),
        ((replace(HOLDER, value=bytes(513)),), "place 3 has a field outside"),
        ((replace(HOLDER, ttl_ms=1),), "place 3 has a field outside"),
        ((replace(HOLDER, delay_ms=60_001),), "place 3 has a field outside"),
        ((replace(HOLDER, stays=-1),), "place 3 has a field outside"),
        ((replace(HOLDER, value=bytes(4096)),), "a record of 41[0-9]{2} bytes"),
    ],
)
def test_records_that_cannot_be_are_refused(records: tuple[Lease | Place, ...], about: str) -> None:
    with pytest.raises(Corrupt, match=about):
        load(image_of(state_of(*records)))


def test_numbers_only_rise() -> None:
    whole = image_of(state_of(LEASE, replace(LEASE, number=2)))
    at = HEADER_SIZE_BYTES + 32
    first, second = whole[at : at + 10], whole[at + 10 : at + 20]
    with pytest.raises(Corrupt, match="record 1 after 2"):
        load(whole[:at] + second + first + whole[at + 20 :])


def test_a_key_needs_its_lease_and_a_lease_has_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(LEASE)
    put(state, lease=1)
    state.leases.table.remove(LEASE)
    with pytest.raises(Corrupt, match="a key with lease 1, which there is not"):
        load(image_of(state))
    state.leases.table = state_of(LEASE).leases.table
    monkeypatch.setattr("raftcache.state.leases.LEASE_KEYS_MAX", 0)
    with pytest.raises(Corrupt, match="more than 0 keys"):
        load(image_of(state))


def test_a_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = image_of(state_of(HOLDER, WAITER))
    monkeypatch.setattr("raftcache.state.locks.LOCK_QUEUE_MAX", 0)
    with pytest.raises(Corrupt, match="more than 0 wait"):
        load(whole)


@pytest.mark.parametrize(
    ("table", "count_max"),
    [(0, LEASES_MAX), (1, LOCK_PLACES_MAX), (2, QUOTAS_MAX), (3, REFILLS_MAX), (4, STRETCHES)],
)
def test_no_count_makes_the_loader_wait_for_more_than_a_limit(
    state: State, table: int, count_max: int
) -> None:
    state.tombstones.keep(1)
    whole = bytearray(image_of(state))
    at = HEADER_SIZE_BYTES + 8 * table
    whole[at : at + 8] = struct.pack("<Q", count_max + 1)
    with pytest.raises(Corrupt, match=f"{count_max + 1} records of at most {count_max}"):
        load(bytes(whole))


QUOTA = Quota(b"p", 1, None)
RIGHT = Right(b"k", 2, 1500)


def kept(*records: Quota | Right) -> State:
    """With these as they are, whatever they say."""
    state = State(revision=4, now_ms=1000)
    for record in records:
        if isinstance(record, Quota):
            state.keyspace.quotas._put(record)
        else:
            state.refills.put(record)
    return state


def test_quotas_and_rights_keep_their_bytes() -> None:
    """If this fails, the format has changed: give it a new number and keep reading the old one."""
    state = kept(replace(QUOTA, counted_to=b"q"), replace(QUOTA, prefix=b""), RIGHT)
    whole = image_of(state)
    assert whole[HEADER_SIZE_BYTES:-8].hex() == (
        "0000000000000000000000000000000002000000000000000100000000000000"
        "060094c40001c0c0"
        "090094c4017001c0c40171"
        "080093c4016b02cd05dc"
    )
    loaded = load(whole, 7)
    assert loaded.digest == state.digest
    assert image_of(loaded) == whole
    assert loaded.keyspace.quotas.is_counting
    assert loaded.refills.living(b"k", 1499) == RIGHT


@pytest.mark.parametrize(
    ("records", "about"),
    [
        ((replace(QUOTA, keys_max=None),), "a quota outside its limits"),
        ((replace(QUOTA, keys_max=-1),), "a quota outside its limits"),
        ((replace(QUOTA, prefix=bytes(1025)),), "a quota outside its limits"),
        ((replace(QUOTA, counted_to=bytes(1025)),), "a quota outside its limits"),
        ((replace(RIGHT, key=b""),), "a right outside its limits"),
        ((replace(RIGHT, key=bytes(1025)),), "a right outside its limits"),
        ((replace(RIGHT, token=0),), "a right outside its limits"),
        ((replace(RIGHT, token=5),), "a right outside its limits"),
        ((replace(RIGHT, deadline_ms=-1),), "a right outside its limits"),
    ],
)
def test_quotas_and_rights_that_cannot_be_are_refused(
    records: tuple[Quota | Right, ...], about: str
) -> None:
    with pytest.raises(Corrupt, match=about):
        load(image_of(kept(*records)))


def test_tombstones_keep_their_bytes() -> None:
    """If this fails, the format has changed: give it a new number and keep reading the old one."""
    state = State(revision=400, now_ms=1000)
    state.tombstones.keep(2)
    state.tombstones.note(b"a", 300)
    whole = image_of(state)
    assert (whole[8], len(whole)) == (4, HEADER_SIZE_BYTES + 40 + 64 * (2 + 2048 + 5) + 24)
    at = HEADER_SIZE_BYTES + 40
    assert whole[at : at + 15].hex() == "05089200c50800" + "0200000000000000"
    loaded = load(whole, 777)
    assert (loaded.digest, image_of(loaded)) == (state.digest, whole)
    assert loaded.tombstones.was_there(b"a", 299)
    assert not loaded.tombstones.was_there(b"a", 300)
    assert not loaded.tombstones.was_there(b"b", 2)


GRAVES = bytes(2048)


@pytest.mark.parametrize(
    ("stretches", "about"),
    [
        ((Stretch(1, GRAVES),), "stretch 1 of the tombstones in the place of 0"),
        ((Stretch(0, GRAVES), Stretch(0, GRAVES)), "stretch 0 of the tombstones in the place of 1"),
        ((Stretch(0, GRAVES[:8]),), "stretch 0 of the tombstones in the place of 0"),
        ((Stretch(0, struct.pack("<256Q", *range(256))),), "a tombstone from the future"),
        ((Stretch(0, GRAVES),), "digest .* written as"),
        ((Stretch(0.0, GRAVES),), "Expected `int`"),  # type: ignore[arg-type]
    ],
)
def test_tombstones_that_cannot_be_are_refused(
    stretches: tuple[Stretch, ...], about: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(revision=4, now_ms=1000)
    state.tombstones.keep(4)
    monkeypatch.setattr(Tombstones, "records", lambda _: list(stretches))
    with pytest.raises(Corrupt, match=about):
        load(image_of(state))


@pytest.mark.parametrize(
    ("state", "size", "about"),
    [
        (kept(QUOTA, replace(QUOTA, prefix=b"q")), 9, "quotas out of order"),
        (kept(RIGHT, replace(RIGHT, key=b"l")), 10, "rights to refill out of order"),
    ],
)
def test_quotas_and_rights_stand_in_order(state: State, size: int, about: str) -> None:
    whole, at = image_of(state), HEADER_SIZE_BYTES + 32
    first, second = whole[at : at + size], whole[at + size : at + 2 * size]
    with pytest.raises(Corrupt, match=about):
        load(whole[:at] + second + first + whole[at + 2 * size :])


def test_damaged_quotas_and_rights_are_noticed() -> None:
    whole = image_of(kept(QUOTA, RIGHT))
    for at in range(HEADER_SIZE_BYTES, len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            with pytest.raises(Corrupt):
                load(bytes(damaged))
