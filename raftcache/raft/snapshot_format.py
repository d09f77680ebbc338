"""The bytes of a snapshot: the image of a state machine, and what it is the image of.

A row of frames, each with a tag, the payload's length, and the xxh3 of tag, length and payload:

    RCS1    SnapshotMeta in MessagePack
    CHNK    256 KiB of the image, the last one less; any number of them
    DONE    number of chunks, size of the image, xxh3 of the image

A frame's number seeds its checksum, so that frames out of place do not validate. The bytes depend
on meta and image alone, not on the slices in which the image came. Sans-IO: nothing here knows a
file.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec
from xxhash import xxh3_64

from raftcache.command import versions
from raftcache.errors import Corrupt

CHUNK_SIZE_BYTES: Final = 256 << 10
"""What is verified, and handed to the loader, at once."""

META_SIZE_BYTES_MAX: Final = 1 << 20
"""Thousands of members; a damaged length must not make a reader wait for gigabytes."""

_HEAD, _CHUNK, _DONE = b"RCS1", b"CHNK", b"DONE"
_FRAME: Final = struct.Struct("<4sIQ")
_FIELDS: Final = struct.Struct("<4sI")
_TOTALS: Final = struct.Struct("<QQQ")
_LENGTHS_MAX: Final = {
    _HEAD: META_SIZE_BYTES_MAX,
    _CHUNK: CHUNK_SIZE_BYTES,
    _DONE: _TOTALS.size,
}


class _Version(msgspec.Struct):
    """All that is known of a meta of any version."""

    version: int


class SnapshotMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What an image is the image of.

    index, term: the last entry it covers. members: the member set as of that index, any
    MessagePack value. now_ms: cluster time. digest: of the state, to be compared after loading.
    """

    index: int
    term: int
    cluster_id: str
    now_ms: int
    revision: int = 0
    digest: int = 0
    members: Any = None
    version: int = versions.SNAPSHOT

    @property
    def name(self) -> str:
        """The name of its file."""
        return name_of(self.index, self.term)


def name_of(index: int, term: int) -> str:
    """The name of the file of the snapshot of this entry; sorts by index."""
    return f"{index:016d}-{term:016d}.snap"


class SnapshotEncoder:
    """Sans-IO: slices of an image in, the bytes of the file out."""

    def __init__(self) -> None:
        self._frames = 0
        self._buffer = bytearray()
        self._image = _Totals()

    def begin(self, meta: SnapshotMeta) -> bytes:
        """The first bytes of the file. ValueError if the members take more than the limit."""
        payload = msgspec.msgpack.encode(meta)
        if len(payload) > META_SIZE_BYTES_MAX:
            raise ValueError(f"a snapshot's meta of {len(payload)} bytes is too large")
        return self._frame(_HEAD, payload)

    def add(self, data: bytes) -> bytes:
        """The next slice of the image, of any size; returns what it completes, maybe nothing."""
        self._buffer += data
        frames = bytearray()
        while len(self._buffer) >= CHUNK_SIZE_BYTES:
            frames += self._chunk(bytes(self._buffer[:CHUNK_SIZE_BYTES]))
            del self._buffer[:CHUNK_SIZE_BYTES]
        return bytes(frames)

    def end(self) -> bytes:
        """The image is whole: the last bytes of the file."""
        last = self._chunk(bytes(self._buffer)) if self._buffer else b""
        return last + self._frame(_DONE, self._image.packed())

    def _chunk(self, chunk: bytes) -> bytes:
        self._image.add(chunk)
        return self._frame(_CHUNK, chunk)

    def _frame(self, tag: bytes, payload: bytes) -> bytes:
        assert (self._frames == 0) == (tag == _HEAD)
        assert len(payload) <= _LENGTHS_MAX[tag]
        check = _frame_check(tag, payload, self._frames)
        self._frames += 1
        return _FRAME.pack(tag, len(payload), check) + payload


class SnapshotReader:
    """Sans-IO: the bytes of a snapshot file in, split anywhere; verified parts of the image out.

    Raises Corrupt, with the offset of the bad frame, or BadConfig if a newer raftcache wrote it;
    then the reader is of no more use. Keeps at most one frame.
    """

    def __init__(self, path: str) -> None:
        """path: for the errors only."""
        self.meta: SnapshotMeta | None = None
        """Known after the first frame."""
        self.complete = False
        """Whether the whole image came, with all checksums right."""
        self._path = path
        self._buffer = bytearray()
        self._offset_bytes = 0  # of the buffer in the file
        self._frames = 0
        self._image = _Totals()

    def feed(self, data: bytes) -> list[bytes]:
        """The next bytes of the file; returns the parts of the image that they complete."""
        self._buffer += data
        parts: list[bytes] = []
        while (frame := self._next_frame()) is not None:
            tag, payload = frame
            if tag == _CHUNK:
                self._image.add(payload)
                parts.append(payload)
            elif tag == _HEAD:
                self.meta = self._decode_meta(payload)
            else:
                if payload != self._image.packed():
                    raise self._corrupt("the image is not the one that was written")
                self.complete = True
            self._frames += 1
            self._offset_bytes += _FRAME.size + len(payload)
        return parts

    def end(self) -> SnapshotMeta:
        """There are no more bytes: the meta if the snapshot is whole, else Corrupt."""
        if not self.complete:
            raise self._corrupt("the snapshot is cut off")
        assert self.meta is not None
        return self.meta

    def _next_frame(self) -> tuple[bytes, bytes] | None:
        if self.complete and self._buffer:
            raise self._corrupt("there are bytes after the end of the snapshot")
        if len(self._buffer) < _FRAME.size:
            return None
        tag, length, check = _FRAME.unpack_from(self._buffer)
        expected = (_HEAD,) if self._frames == 0 else (_CHUNK, _DONE)
        if tag not in expected:
            raise self._corrupt(f"{' or '.join(map(repr, expected))} expected, not {tag!r}")
        if length > _LENGTHS_MAX[tag]:
            raise self._corrupt(f"the frame's length, {length}, is above {_LENGTHS_MAX[tag]}")
        end = _FRAME.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_FRAME.size : end])
        if _frame_check(tag, payload, self._frames) != check:
            raise self._corrupt("the frame's checksum does not match")
        del self._buffer[:end]
        return tag, payload

    def _decode_meta(self, payload: bytes) -> SnapshotMeta:
        try:
            version = msgspec.msgpack.decode(payload, type=_Version).version
            versions.refuse_newer(f"the snapshot {self._path}", version, versions.SNAPSHOT)
            meta = msgspec.msgpack.decode(payload, type=SnapshotMeta)
        except msgspec.MsgspecError as e:
            raise self._corrupt(f"the checksum matches, the meta is none: {e}") from e
        if meta.version < 1 or meta.index < 1 or meta.term < 0:
            raise self._corrupt(f"this raftcache cannot use a snapshot with {meta}")
        return meta

    def _corrupt(self, why: str) -> Corrupt:
        return Corrupt(self._path, self._offset_bytes, why)


class _Totals:
    """What the last frame says about the image."""

    def __init__(self) -> None:
        self._chunks = self._size_bytes = 0
        self._check = xxh3_64()

    def add(self, chunk: bytes) -> None:
        self._chunks += 1
        self._size_bytes += len(chunk)
        self._check.update(chunk)

    def packed(self) -> bytes:
        return _TOTALS.pack(self._chunks, self._size_bytes, self._check.intdigest())


def _frame_check(tag: bytes, payload: bytes, number: int) -> int:
    check = xxh3_64(_FIELDS.pack(tag, len(payload)), seed=number)
    check.update(payload)
    return check.intdigest()
