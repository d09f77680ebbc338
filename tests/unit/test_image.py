"""Images: their bytes, their slices, and everything that may be wrong with one."""

from __future__ import annotations

import struct

import pytest

from raftcache.command.replies import Reply, Status
from raftcache.command.words import Once
from raftcache.errors import BadConfig, Corrupt
from raftcache.state import image, items
from raftcache.state.image import Loader
from raftcache.state.state import State

HEADER_SIZE_BYTES = 52
RECORDS_AT = HEADER_SIZE_BYTES + 2 * 44
"""In the image of `state`, below."""


def put(state: State, key: bytes, value: bytes, deadline_ms: int = 0) -> None:
    state.revision += 1
    packed = items.pack(state.revision, state.revision, deadline_ms, 1, b"", value)
    state.keyspace.put(key, packed, deadline_ms, state.keyspace.find(key))


def load(data: bytes, piece_size_bytes: int = 1 << 20) -> State:
    states: list[State] = []
    loader = Loader(states.append)
    for at in range(0, len(data), piece_size_bytes):
        loader.feed(data[at : at + piece_size_bytes])
    loader.install()
    (state,) = states
    return state


def image_of(state: State) -> bytes:
    return b"".join(image.dump(state))


@pytest.fixture
def state() -> State:
    """Two keys, one with a deadline, and two records."""
    state = State(now_ms=1000, first_record=4)
    put(state, b"b", b"two", 1500)
    put(state, b"a", b"one")
    state.sessions.remember(Once(b"t", b"f" * 16), 900, Reply(Status.CREATED, 1, 1))
    state.sessions.remember(Once(b"u", b"g" * 16), 1000, Reply(Status.CREATED, 2, 1))
    return state


WRITTEN = (
    # header
    "72616674636163680100000002000000000000000100000000000000040000000000000002000000"
    "00000000e803000000000000"
    # a
    "01002500000061020000000000000002000000000000000000000000000000010000000000000001"
    "006f6e65"
    # b
    "0100250000006201000000000000000100000000000000dc05000000000000010000000000000001"
    "0074776f"
    # t
    "210094c40174c41066666666666666666666666666666666cd038497010101000000c2"
    # digest
    "2b1ba46c642b426b"
)


def test_an_image_keeps_its_bytes() -> None:
    """If this fails, the format has changed: give it a new number and keep reading the old one."""
    state = State(now_ms=1000, first_record=4)
    put(state, b"b", b"two", 1500)
    put(state, b"a", b"one")
    state.sessions.remember(Once(b"t", b"f" * 16), 900, Reply(Status.CREATED, 1, 1))
    assert image_of(state).hex() == WRITTEN
    assert load(bytes.fromhex(WRITTEN)).digest == state.digest


def test_an_empty_state_has_an_image() -> None:
    assert load(image_of(State())).digest == State().digest


@pytest.mark.parametrize("piece_size_bytes", [1, 2, 3, 7, 64, 1000])
def test_an_image_loads_from_pieces_of_any_size(state: State, piece_size_bytes: int) -> None:
    loaded = load(image_of(state), piece_size_bytes)
    assert loaded.digest == state.digest
    assert (loaded.revision, loaded.now_ms, loaded.sessions.first) == (2, 1000, 4)
    assert loaded.keyspace.next_deadline_ms() == 1500
    assert loaded.keyspace.size_bytes == state.keyspace.size_bytes
    assert image_of(loaded) == image_of(state)


def test_slices_are_bounded() -> None:
    state = State()
    for i in range(5000):
        put(state, b"%05d" % i, bytes(100))
    put(state, b"large", bytes(300_000))
    for i in range(1000):
        state.sessions.remember(Once(b"%d" % i, b"f" * 16), 0, Reply(Status.CREATED, 1))
    slices = list(image.dump(state))
    sizes = [len(s) for s in slices]
    assert sorted(sizes)[-2] <= image.SLICE_SIZE_BYTES * 1.1
    assert sizes.count(max(sizes)) == 1
    assert max(sizes) < 300_000 + image.SLICE_SIZE_BYTES * 1.1
    assert len(slices) > 10
    assert image_of(load(b"".join(slices), 10_000)) == b"".join(slices)


def test_slices_look_at_a_bounded_number_of_keys() -> None:
    state = State()
    for i in range(image.SLICE_KEYS_MAX * 2 + 1):
        put(state, b"%d" % i, b"")
    assert len(list(image.dump(state))) == 1 + 3 + 1


def test_a_dump_shows_the_call_and_not_the_first_slice(state: State) -> None:
    expected = image_of(state)
    dump = image.dump(state)
    put(state, b"c", b"three")
    state.sessions.remember(Once(b"v", b"f" * 16), 1000, Reply(Status.CREATED, 3))
    state.sessions.forget(10**9)
    state.now_ms += 1
    assert b"".join(dump) == expected


@pytest.mark.parametrize("slices_read", [0, 1, 2])
def test_a_closed_dump_is_over(state: State, slices_read: int) -> None:
    dump = image.dump(state)
    for _ in range(slices_read):
        next(dump)
    dump.close()
    assert image_of(state)


def test_there_is_one_dump_at_a_time(state: State) -> None:
    dump = image.dump(state)
    with pytest.raises(AssertionError):
        image.dump(state)
    assert b"".join(dump) == image_of(state), "the first one goes on"


# Damage.


def test_every_flipped_bit_is_noticed(state: State) -> None:
    whole = image_of(state)
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            with pytest.raises((Corrupt, BadConfig)):  # it may look like one of a newer format
                load(bytes(damaged))


def test_every_missing_end_is_noticed(state: State) -> None:
    whole = image_of(state)
    for size_bytes in range(len(whole)):
        with pytest.raises(Corrupt):
            load(whole[:size_bytes])


def test_bytes_after_the_end_are_noticed(state: State) -> None:
    with pytest.raises(Corrupt, match="after the end"):
        load(image_of(state) + b"\x00")


def test_a_fault_is_reported_with_its_place(state: State) -> None:
    whole = bytearray(image_of(state))
    whole[HEADER_SIZE_BYTES] = 0
    with pytest.raises(Corrupt, match="image, offset 52: a key of 0 bytes"):
        load(bytes(whole), 7)


def forged(state: State, **header: int) -> bytes:
    """An image whose digest is right but whose header says something else."""
    names = ("items", "records", "first", "revision", "now_ms")
    whole = image_of(state)
    fields = dict(zip(names, struct.unpack_from("<5Q", whole, 12), strict=True)) | header
    return whole[:12] + struct.pack("<5Q", *fields.values()) + whole[HEADER_SIZE_BYTES:]


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (b"raftcacx" + bytes(44), "this is no image"),
        (b"raftcach" + bytes(44), "an image of format 0"),
        (forged(State(), now_ms=1 << 62), "cluster time"),
        (forged(State(), records=1 << 40), "1099511627776 records"),
        (forged(State(), items=1 << 60), "ends early|a key of"),
    ],
)
def test_a_header_that_cannot_be_is_refused(data: bytes, about: str) -> None:
    with pytest.raises(Corrupt, match=about):
        load(data)


def test_keys_out_of_order_are_refused() -> None:
    state = State()
    put(state, b"b", b"")
    put(state, b"a", b"")
    whole = image_of(state)
    item_size_bytes = (len(whole) - HEADER_SIZE_BYTES - 8) // 2
    second_at = HEADER_SIZE_BYTES + item_size_bytes
    first, second = whole[HEADER_SIZE_BYTES:second_at], whole[second_at:-8]
    with pytest.raises(Corrupt, match="keys out of order"):
        load(whole[:HEADER_SIZE_BYTES] + second + first + whole[-8:])
    with pytest.raises(Corrupt, match="keys out of order"):
        load(whole[:HEADER_SIZE_BYTES] + first + first + whole[-8:])


def test_an_item_from_the_future_is_refused(state: State) -> None:
    with pytest.raises(Corrupt, match="in a store at 1"):
        load(forged(state, revision=1))


def test_a_record_from_the_future_is_refused(state: State) -> None:
    with pytest.raises(Corrupt, match="a record of 1000 ms at 999 ms"):
        load(forged(state, now_ms=999))


@pytest.mark.parametrize(
    ("at", "size", "about"),
    [
        pytest.param(HEADER_SIZE_BYTES, b"\xff\xff", "a key of 65535", id="key"),
        pytest.param(HEADER_SIZE_BYTES + 2, b"\xff" * 4, "an item of 4294967295", id="item"),
        pytest.param(RECORDS_AT, b"\xff\xff", "a record of 65535", id="record"),
    ],
)
def test_no_size_makes_the_loader_wait_for_more_than_a_limit(
    state: State, at: int, size: bytes, about: str
) -> None:
    whole = bytearray(image_of(state))
    whole[at : at + len(size)] = size
    with pytest.raises(Corrupt, match=about):
        Loader(lambda _: None).feed(bytes(whole))
