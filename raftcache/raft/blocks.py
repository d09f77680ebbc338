"""How a block of the log lies on disk, and how a torn one is told from a damaged one.

A *segment* is a file of fixed size, all zeros when it is made and never used twice. It begins with
one sector that holds the segment's header; then blocks follow each other, each at a multiple of 32:

    header (32 bytes)   magic, payload length, block sequence, xxh3 of the payload as stored,
                        xxh3 of the header's fields before it
    payload             the Block in MessagePack, with a mark put at its end, and at the start of
                        every sector that it reaches into

The block sequence grows by one from block to block over the whole log, and seeds the payload's
checksum. A block is one write, and is synced before the next one is written.

**The question.** After a crash the last block may be unfinished; it was never acknowledged and is
cut. After damage a block that *was* acknowledged may look unfinished; to cut it would lose it. So:
what can a crash leave, that one flipped bit in a finished block cannot?

A disk writes whole sectors of 512 bytes (any subset of them, in any order, when power fails). A
header never straddles two sectors. So an unfinished block has *at least one sector that is still
zero* within its range. A finished block has none: its first sector holds the header, every other
one starts with the mark (compare the fixups of NTFS). Both have several bits set, so that one
flipped bit cannot clear them; and it matters not what the payload contains, zeros or blocks.

The mark at the end serves where writes stop at any byte: a full disk, a disk of smaller sectors.

From that, with `rest` = everything in the segment after the place in question:

1. Header zero, rest zero: the clean end (or a block of which nothing was written).
2. Header zero, something in the rest. Torn if the header's sector was not written (it is zero up to
   its end) and no header of a higher sequence is in the rest. Else damage.
3. Header neither zero nor valid. A crash leaves it whole or zero, so this is damage; except where
   the rest is zero: no finished block looks so, since a payload is never all zero. (A write that
   stopped in the header, or a stray bit in free space.) Torn.
4. Header valid, payload not. Torn if one of the block's sectors after the first is all zero, or its
   last byte is, and the rest after the block is zero. Else damage.
5. Header and payload valid, but not the next sequence, or no Block: damage.

And a later segment that holds anything turns torn into damage (wal.py): a block is written only
when the one before it had been synced. Bytes between blocks mean nothing and are not judged.

Cutting means writing zeros from the torn place to the last byte that is not zero, and a sync. A
crash in the middle of that leaves some of these sectors zero and the others as they were: again
case 1, 2, 3 or 4, torn, at the same place. So it can be cut again.

What this cannot tell: a whole sector that the disk forgot *after* a sync, in the very last block.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from raftcache.command import versions
from raftcache.errors import Corrupt
from raftcache.raft.entries import Block

SECTOR_SIZE_BYTES: Final = 512
"""What a disk writes as a whole. Disks of 4096 write eight of them as a whole, which is fine."""

ALIGNMENT_BYTES: Final = 32
"""Blocks start at multiples of it."""

BLOCK_SIZE_BYTES_MAX: Final = (1 << 32) - 1
"""What the length in the header can say; Log closes its blocks far below."""

_MAGIC: Final = b"rcBK"
_MARK: Final = b"\xa5"
_HEADER_FIELDS: Final = struct.Struct("<4sIQQ")
_HEADER: Final = struct.Struct("<4sIQQQ")
_SEGMENT: Final = struct.Struct("<8sQQQ")
_SEGMENT_MAGIC: Final = b"rcWAL\0\0"
"""One more byte follows: the version of the format."""

assert _HEADER.size == ALIGNMENT_BYTES
assert SECTOR_SIZE_BYTES % ALIGNMENT_BYTES == 0
assert _MARK[0].bit_count() >= 2, "one flipped bit must not clear the mark"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Block)


def encode_segment_header(number: int, size_bytes: int, version: int = versions.SEGMENT) -> bytes:
    """The first sector of a segment: which one it is, and how large its file must be."""
    magic = _SEGMENT_MAGIC + bytes((version,))
    fields = _SEGMENT.pack(magic, number, size_bytes, 0)[:-8]
    header = fields + xxh3_64_intdigest(fields).to_bytes(8, "little")
    return header.ljust(SECTOR_SIZE_BYTES, b"\0")


def check_segment_header(path: str, number: int, data: bytes) -> int:
    """The format of the segment of this number; raises Corrupt unless data is the whole of it.

    Raises BadConfig if it is one that a newer raftcache wrote.
    """
    header = data[:SECTOR_SIZE_BYTES]
    version = header[len(_SEGMENT_MAGIC)] if len(header) == SECTOR_SIZE_BYTES else 0
    if not header.startswith(_SEGMENT_MAGIC) or version == 0:
        raise Corrupt(path, 0, "this is not a segment of a log")
    if header != encode_segment_header(number, len(data), version):
        raise Corrupt(path, 0, f"this is not the whole of segment {number}, or its header is bad")
    versions.refuse_newer(f"the log segment {path}", version, versions.SEGMENT)
    return version


def encode_payload(block: Block) -> bytes:
    """The payload before it has a place."""
    payload = _encoder.encode(block)
    assert 0 < len(payload) <= BLOCK_SIZE_BYTES_MAX
    return payload


def stored_size_bytes(payload_size_bytes: int, offset_bytes: int) -> int:
    """Bytes from the header to the mark at the end, for a block at this offset."""
    size_bytes = payload_size_bytes + len(_MARK)
    beyond = max(0, size_bytes - _room_in_first_sector(offset_bytes))
    marks = -(-beyond // (SECTOR_SIZE_BYTES - 1))
    return _HEADER.size + size_bytes + marks


def place_payload(payload: bytes, offset_bytes: int, sequence: int) -> bytes:
    """The bytes to write at this offset."""
    assert offset_bytes % ALIGNMENT_BYTES == 0
    room, step = _room_in_first_sector(offset_bytes), SECTOR_SIZE_BYTES - 1
    marked = payload + _MARK
    parts = [marked[:room]]
    parts += [marked[i : i + step] for i in range(room, len(marked), step)]
    stored = _MARK.join(parts)
    check = xxh3_64_intdigest(stored, seed=sequence)
    fields = _HEADER_FIELDS.pack(_MAGIC, len(payload), sequence, check)
    return fields + xxh3_64_intdigest(fields).to_bytes(8, "little") + stored


def align(offset_bytes: int) -> int:
    """The next place where a block may start."""
    return -(-offset_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


@dataclass
class Scan:
    """What a segment holds.

    blocks: offset, sequence and content of each; end: where the next block goes;
    torn_end: the end of what must be cut, from `end` on; None if the segment ends clean.
    version: of its format.
    """

    blocks: list[tuple[int, int, Block]] = field(default_factory=list)
    end: int = SECTOR_SIZE_BYTES
    torn_end: int | None = None
    version: int = versions.SEGMENT

    @property
    def is_empty(self) -> bool:
        return not self.blocks and self.torn_end is None


def scan_segment(path: str, data: bytes, sequence: int | None) -> Scan:
    """Read a whole segment, whose first block has this sequence number (None: not known).

    Raises Corrupt with the file and the offset of the bad block; never another error.
    """
    scan = Scan()
    used = len(data.rstrip(b"\0"))  # everything from here on is zero
    while scan.end < used:
        at = scan.end
        header = _parse_header(data, at)
        if header is None:
            _judge_bad_header(path, data, at, used, sequence)
            break
        if sequence is not None and header.sequence != sequence:
            why = f"block {header.sequence} where {sequence} belongs"
            raise Corrupt(path, at, why)
        stored = data[at + _HEADER.size : header.end]
        if header.end > len(data):
            raise Corrupt(path, at, "the block is longer than its file")
        if xxh3_64_intdigest(stored, seed=header.sequence) != header.check:
            _judge_bad_payload(path, data, at, header.end, used)
            break
        scan.blocks.append((at, header.sequence, _decode(path, at, stored)))
        scan.end = min(align(header.end), len(data))
        sequence = header.sequence + 1
    if scan.end < used:
        scan.torn_end = used
    return scan


@dataclass(frozen=True, slots=True)
class Header:
    """Of a block, which lies from `at` to `end` in the data that its header was found in."""

    at: int
    end: int
    sequence: int
    check: int


def header_at(path: str, data: bytes, at: int, base: int) -> Header:
    """Of the block that begins here in the data, which lie in the segment from base on.

    base is a multiple of a sector's size; the header must be in the data. Raises Corrupt.
    """
    assert base % SECTOR_SIZE_BYTES == 0
    header = _parse_header(data, at)
    if header is None:
        raise Corrupt(path, base + at, "there is no block here any more")
    return header


def read_block(path: str, data: bytes, header: Header, base: int) -> Block:
    """The block of this header, all of which is in the data. Raises Corrupt."""
    stored = data[header.at + _HEADER.size : header.end]
    if xxh3_64_intdigest(stored, seed=header.sequence) != header.check:
        why = "the block is damaged: its checksum does not match"
        raise Corrupt(path, base + header.at, why)
    return _decode(path, base + header.at, stored)


def _parse_header(data: bytes, at: int) -> Header | None:
    if at + _HEADER.size > len(data):
        return None
    magic, length, sequence, check, own_check = _HEADER.unpack_from(data, at)
    fields = data[at : at + _HEADER_FIELDS.size]
    if magic != _MAGIC or own_check != xxh3_64_intdigest(fields):
        return None
    return Header(at, at + stored_size_bytes(length, at), sequence, check)


def _judge_bad_header(path: str, data: bytes, at: int, used: int, sequence: int | None) -> None:
    """Return if the block at this offset is torn (cases 2 and 3), else raise Corrupt."""
    if used <= at + _HEADER.size:
        return  # case 3: nothing after it
    sector_end = at + SECTOR_SIZE_BYTES - at % SECTOR_SIZE_BYTES
    if any(data[at:sector_end]):
        raise Corrupt(path, at, "the block's header is damaged")
    found = data.find(_MAGIC, sector_end)
    while found >= 0:
        later = _parse_header(data, found) if found % ALIGNMENT_BYTES == 0 else None
        if later is not None and later.sequence > (sequence or 0):
            why = f"a block is missing before block {later.sequence} at offset {found}"
            raise Corrupt(path, at, why)
        found = data.find(_MAGIC, found + 1)


def _judge_bad_payload(path: str, data: bytes, at: int, end: int, used: int) -> None:
    """Return if the block between these offsets is torn (case 4), else raise Corrupt."""
    if used > align(end):
        raise Corrupt(path, at, "the block is damaged, and others follow it")
    if data[end - 1] == 0:
        return
    second = at + SECTOR_SIZE_BYTES - at % SECTOR_SIZE_BYTES
    for sector in range(second, end, SECTOR_SIZE_BYTES):
        if not any(data[sector : min(sector + SECTOR_SIZE_BYTES, end)]):
            return
    raise Corrupt(path, at, "the block is damaged: its checksum does not match")


def _decode(path: str, at: int, stored: bytes) -> Block:
    payload = bytearray(stored)
    del payload[_room_in_first_sector(at) :: SECTOR_SIZE_BYTES]  # the marks of sectors
    del payload[-len(_MARK) :]
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as e:
        raise Corrupt(path, at, f"the block's checksum matches, its content is none: {e}") from e


def _room_in_first_sector(offset_bytes: int) -> int:
    """Bytes of payload that fit between the header and the end of its sector."""
    return -(offset_bytes + _HEADER.size) % SECTOR_SIZE_BYTES
