"""Whether an absent key was there after a revision: for those who watch it while it is absent.

A key that goes leaves the revision that it had last in one of PLACES, that of its hash, which keeps
the highest. So one that came after a revision, and has gone again, is always found out. One that
did not may be taken for it, when another key of its place changed after that revision and went.

They are kept from the first question on, not always: nodes that do not know them must have the same
state until then (docs/decisions/0003-versions.md).
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from raftcache.state.records import unpack

PLACES: Final = 1 << 14
"""One absent key is taken for another with a chance of 1 in so many; together 128 KiB."""

_REVISION: Final = struct.Struct("<Q")
_SIZE_BYTES: Final = _REVISION.size * PLACES
_STRETCH_SIZE_BYTES: Final = 2 << 10

STRETCHES: Final = _SIZE_BYTES // _STRETCH_SIZE_BYTES
"""The records of an image."""

_SEED: Final = 0x70B570


class Stretch(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The revisions of some places that follow each other."""

    number: int
    revisions: bytes


_decoder: Final = msgspec.msgpack.Decoder(Stretch)


class Tombstones:
    """Those of one state."""

    __slots__ = ("_digest", "_loaded", "_revisions")

    def __init__(self) -> None:
        self._revisions = bytearray()  # none, or one for each place
        self._digest: int | None = 0  # None: they have changed since
        self._loaded = 0

    @property
    def are_kept(self) -> bool:
        return bool(self._revisions)

    def keep(self, revision: int) -> None:
        """From this revision on, unless they are kept: what was before then counts as there."""
        if not self._revisions:
            self._revisions += _REVISION.pack(revision) * PLACES
            self._digest = None

    def note(self, key: bytes, revision: int) -> None:
        """A key goes that was changed at this revision last."""
        if not self._revisions:
            return
        at = place_of(key)
        if _REVISION.unpack_from(self._revisions, at)[0] < revision:
            _REVISION.pack_into(self._revisions, at, revision)
            self._digest = None

    def was_there(self, key: bytes, revision: int) -> bool:
        """Whether a key that is absent may have been there after a revision; they are kept."""
        last: int = _REVISION.unpack_from(self._revisions, place_of(key))[0]
        return last > revision

    @property
    def digest(self) -> int:
        """0 if none are kept: as if there were no such thing, which older nodes say."""
        if self._digest is None:
            self._digest = xxh3_64_intdigest(self._revisions, _SEED)
        return self._digest

    # For images.

    def records(self) -> list[Stretch]:
        """All of them, or none."""
        size_bytes = _STRETCH_SIZE_BYTES
        starts = range(0, len(self._revisions), size_bytes)
        each = (bytes(self._revisions[at : at + size_bytes]) for at in starts)
        return [Stretch(number, revisions) for number, revisions in enumerate(each)]

    def load(self, packed: bytes, revision: int) -> str | None:
        """See state.Part. What is missing in the end, the digest of the image tells."""
        stretch = unpack(_decoder.decode, packed)
        if isinstance(stretch, str):
            return stretch
        if stretch.number != self._loaded or len(stretch.revisions) != _STRETCH_SIZE_BYTES:
            return f"stretch {stretch.number} of the tombstones in the place of {self._loaded}"
        if any(last > revision for (last,) in _REVISION.iter_unpack(stretch.revisions)):
            return "a tombstone from the future"
        self.keep(0)
        at = stretch.number * _STRETCH_SIZE_BYTES
        self._revisions[at : at + _STRETCH_SIZE_BYTES] = stretch.revisions
        self._digest = None
        self._loaded += 1
        return None


def place_of(key: bytes) -> int:
    """Where the revision of a key's place is."""
    return xxh3_64_intdigest(key) % PLACES * _REVISION.size
