"""Blocks on disk: any byte flipped, any sectors torn, any bytes at all.

The tests know the segment only through its bytes. `KINDS` are last blocks of many shapes: within a
sector, over several, full of zeros, ending or beginning at a sector's edge.
"""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.errors import Corrupt
from raftcache.raft import blocks
from raftcache.raft.entries import Block, Entry, Position

SECTOR = blocks.SECTOR_SIZE_BYTES
SIZE = 6 * SECTOR
PATH = "wal/x.seg"


def block_of(index: int, *commands: bytes) -> Block:
    entries = [Entry(command, index + i, 1) for i, command in enumerate(commands)]
    return Block(1, "n1", False, Position(index - 1, 1), entries)


KINDS = {
    "vote": (),
    "small": (b"c",),
    "to the header of the next": (bytes(300),),
    "zeros": (bytes(1300),),
    "one bit in zeros": (bytes(600) + b"\x10" + bytes(700),),
    "marks": (b"\xa5" * 1300,),
    "many": tuple(b"%d" % i * 20 for i in range(30)),
    "a block in a block": (b"rcBK" * 320,),
}


def segment_of(*written: Block, first: int = 7) -> bytearray:
    data = bytearray(SIZE)
    data[:SECTOR] = blocks.encode_segment_header(1, SIZE)
    at = SECTOR
    for sequence, block in enumerate(written, first):
        stored = blocks.place_payload(blocks.encode_payload(block), at, sequence)
        data[at : at + len(stored)] = stored
        at = blocks.align(at + len(stored))
    assert at <= SIZE
    return data


def scan(data: bytes | bytearray, sequence: int | None = 7) -> blocks.Scan:
    return blocks.scan_segment(PATH, bytes(data), sequence)


def scan_or_corrupt(data: bytes | bytearray, sequence: int | None = 7) -> blocks.Scan | Corrupt:
    try:
        return scan(data, sequence)
    except Corrupt as e:
        return e


def contents(found: blocks.Scan) -> list[Block]:
    return [block for _, _, block in found.blocks]


@pytest.mark.parametrize("sequence", [7, None])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(kind: str, sequence: int | None) -> None:
    written = [block_of(1, b"a"), block_of(2, *KINDS[kind]), block_of(9, b"z" * 100)]
    found = scan(segment_of(*written), sequence)
    assert contents(found) == written
    assert [s for _, s, _ in found.blocks] == [7, 8, 9]
    assert found.torn_end is None


def test_an_empty_segment_ends_at_its_first_block() -> None:
    found = scan(segment_of())
    assert (found.blocks, found.end, found.torn_end) == ([], SECTOR, None)


def test_blocks_at_every_distance_from_a_sectors_edge() -> None:
    for size_bytes in range(400, 500):
        commands = b"a" * size_bytes, b"b" * size_bytes, b"c"
        written = [block_of(i, command) for i, command in enumerate(commands, 1)]
        found = scan(segment_of(*written))
        assert contents(found) == written
        for at, sequence, block in found.blocks:
            payload = blocks.encode_payload(block)
            stored = blocks.place_payload(payload, at, sequence)
            assert len(stored) == blocks.stored_size_bytes(len(payload), at)
            assert at % SECTOR <= SECTOR - 32, "no header in two sectors"


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_loses_nothing_silently(kind: str) -> None:
    """Every bit of a segment, in use or not: the same blocks, or Corrupt where the damage is."""
    written = [block_of(1, b"a" * 40), block_of(2, *KINDS[kind])]
    data = segment_of(*written)
    refused = 0
    for position in range(SECTOR, SIZE):
        for bit in range(8):
            data[position] ^= 1 << bit
            found = scan_or_corrupt(data)
            if isinstance(found, Corrupt):
                refused += 1
                assert found.path == PATH
                assert found.offset_bytes <= position
            else:
                assert contents(found) == written
            data[position] ^= 1 << bit
    used = len(bytes(data[SECTOR:]).rstrip(b"\0"))
    assert refused > 8 * (used - 64), "every bit of a block counts"


@pytest.mark.parametrize("before", [40, 400, 470, 480])
@pytest.mark.parametrize("kind", KINDS)
def test_a_torn_last_block_is_cut_or_whole(kind: str, before: int) -> None:
    """Any of the last block's sectors: the blocks before it, and it only if it is whole."""
    first, last = block_of(1, b"a" * before), block_of(2, *KINDS[kind])
    old, new = segment_of(first), segment_of(first, last)
    changed = [s for s in range(0, SIZE, SECTOR) if old[s : s + SECTOR] != new[s : s + SECTOR]]
    for kept in itertools.product([False, True], repeat=len(changed)):
        torn = bytearray(old)
        for sector, is_kept in zip(changed, kept, strict=True):
            if is_kept:
                torn[sector : sector + SECTOR] = new[sector : sector + SECTOR]
        found = scan(torn)
        assert contents(found) == ([first, last] if all(kept) else [first])
        assert (found.torn_end is not None) == (any(kept) and not all(kept))
        if found.torn_end is not None:
            assert_cut_can_be_torn(torn, found, old)


def assert_cut_can_be_torn(torn: bytearray, found: blocks.Scan, clean: bytearray) -> None:
    """Zeros over the torn part give the clean segment; half of them, a segment to be cut again."""
    assert found.torn_end is not None
    cut = bytearray(torn)
    cut[found.end : found.torn_end] = bytes(found.torn_end - found.end)
    assert cut == clean
    sectors = range(found.end // SECTOR * SECTOR, found.torn_end, SECTOR)
    for done in itertools.product([False, True], repeat=len(sectors)):
        half = bytearray(torn)
        for sector, is_done in zip(sectors, done, strict=True):
            if is_done:
                half[sector : sector + SECTOR] = cut[sector : sector + SECTOR]
        again = scan(half)
        assert (contents(again), again.end) == (contents(found), found.end)


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_stopped_at_any_byte_is_cut(kind: str) -> None:
    first, last = block_of(1, b"a"), block_of(2, *KINDS[kind])
    old, new = segment_of(first), segment_of(first, last)
    at, end = scan(old).end, len(bytes(new).rstrip(b"\0"))
    for stop in range(at, end):
        found = scan(new[:stop] + bytes(SIZE - stop))
        assert (contents(found), found.end) == ([first], at)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_of_zeros_before_its_payload_is_damage(kind: str) -> None:
    """No disk writes a part of a sector and leaves what is before it."""
    data = segment_of(block_of(1, b"a"), block_of(2, *KINDS[kind]))
    at = scan(data).blocks[-1][0]
    data[at : at + 32] = bytes(32)
    with pytest.raises(Corrupt, match="header is damaged"):
        scan(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_torn_block_before_another_is_damage(kind: str) -> None:
    """Whatever sectors are lost: a block that was followed by another one had been synced."""
    first, middle, last = block_of(1, b"a"), block_of(2, *KINDS[kind]), block_of(99, b"z" * 600)
    old, both = segment_of(first), segment_of(first, middle)
    new = segment_of(first, middle, last)
    end_of_middle = scan(both).end
    lost = [s for s in range(SECTOR, end_of_middle, SECTOR) if s + SECTOR <= end_of_middle]
    for sector in lost:
        damaged = bytearray(new)
        damaged[sector : sector + SECTOR] = old[sector : sector + SECTOR]
        with pytest.raises(Corrupt) as caught:
            scan(damaged)
        assert caught.value.offset_bytes == scan(old).end


def test_a_file_cut_short_at_any_byte_is_corrupt() -> None:
    data = bytes(segment_of(block_of(1, b"a"), block_of(2, b"b" * 2000)))
    for size_bytes in range(SIZE):
        with pytest.raises(Corrupt):
            blocks.check_segment_header(PATH, 1, data[:size_bytes])
        found = scan_or_corrupt(data[:size_bytes])
        assert isinstance(found, blocks.Scan | Corrupt)


def test_a_segment_of_another_number_is_corrupt() -> None:
    blocks.check_segment_header(PATH, 1, bytes(segment_of()))
    with pytest.raises(Corrupt, match="segment 2"):
        blocks.check_segment_header(PATH, 2, bytes(segment_of()))


def test_every_byte_of_a_segments_header_counts() -> None:
    for position in range(SECTOR):
        data = segment_of()
        data[position] ^= 1 << position % 8
        with pytest.raises(Corrupt):
            blocks.check_segment_header(PATH, 1, bytes(data))


def test_a_block_of_another_sequence_is_corrupt() -> None:
    data = segment_of(block_of(1, b"a"))
    with pytest.raises(Corrupt, match="block 7 where 8 belongs"):
        scan(data, 8)


def test_a_block_moved_to_another_place_is_corrupt() -> None:
    """Stale bytes: what follows would be the block of an earlier life of the place."""
    data = segment_of(block_of(1, b"a"), block_of(2, b"b"))
    (first, _, _), (second, _, _) = scan(data).blocks
    data[second : second + 64] = data[first : first + 64]
    with pytest.raises(Corrupt):
        scan(data)


def test_a_checksum_that_matches_no_block_is_corrupt() -> None:
    data = bytearray(SIZE)
    stored = blocks.place_payload(b"\x93 not a block", SECTOR, 7)
    data[SECTOR : SECTOR + len(stored)] = stored
    with pytest.raises(Corrupt, match="content is none"):
        scan(data)


@given(
    junk=st.binary(max_size=2000),
    at=st.integers(0, SIZE // 32),
    sequence=st.sampled_from([7, None]),
)
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_read_or_corrupt(junk: bytes, at: int, sequence: int | None) -> None:
    data = segment_of(block_of(1, b"a" * 600), block_of(2, b"b" * 30))
    position = SECTOR + at * 32
    data[position : position + len(junk)] = junk
    found = scan_or_corrupt(data[:SIZE], sequence)
    assert isinstance(found, blocks.Scan) or found.path == PATH


def test_nothing_but_random_bytes() -> None:
    rng = random.Random(1)
    for _ in range(300):
        with pytest.raises(Corrupt):
            scan(rng.randbytes(SIZE), None)
