"""Everything the replicated state machine holds: image.py makes bytes of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from xxhash import xxh3_64_intdigest

from raftcache.command.limits import (
    CLIENTS_MAX,
    LEASES_MAX,
    LOCK_PLACES_MAX,
    QUOTAS_MAX,
    REFILLS_MAX,
    REQUESTS_NUMBERED_MAX,
)
from raftcache.state.clients import Clients
from raftcache.state.keyspace import Keyspace
from raftcache.state.leases import Leases
from raftcache.state.locks import Locks
from raftcache.state.records import pack
from raftcache.state.refills import Refills
from raftcache.state.remembered import RECORD_SIZE_BYTES_MAX
from raftcache.state.rows import Rows
from raftcache.state.sessions import Sessions
from raftcache.state.table import RECORD_SIZE_BYTES_MAX as TABLE_RECORD_SIZE_BYTES_MAX
from raftcache.state.tombstones import STRETCHES, Tombstones

_MOMENT: Final = struct.Struct("<QQQ")
_NEXT_ID: Final = struct.Struct("<Q")
_HAS_GROUPS: Final = xxh3_64_intdigest(b"has_groups")


class Part(NamedTuple):
    """A part of the state that stands before the keys of an image, as records.

    records: all of them, in a canonical order; they never change, others may take their place.
    load: adds the next one, packed, of an image of a store at a revision; why it cannot be one.
    size_bytes_max: of one, packed. pack: how one is.
    """

    records: Callable[[], Sequence[Any]]
    load: Callable[[bytes, int], str | None]
    records_max: int
    size_bytes_max: int = TABLE_RECORD_SIZE_BYTES_MAX
    pack: Callable[[Any], bytes] = pack


class State:
    """Everything an image holds; applied writes and cluster time count from 0.

    has_groups: a stream may have consumer groups, as there was a call that makes one. It says in
    which format an image is written, and follows from the log as all else does.
    """

    __slots__ = (
        "clients",
        "has_groups",
        "keyspace",
        "leases",
        "locks",
        "now_ms",
        "refills",
        "revision",
        "rows",
        "sessions",
        "tombstones",
    )

    def __init__(self, revision: int = 0, now_ms: int = 0, first_record: int = 0) -> None:
        self.revision = revision
        self.now_ms = now_ms
        self.leases = Leases()
        self.locks = Locks()
        self.keyspace = Keyspace(self.leases)
        self.rows = Rows()
        self.sessions = Sessions(first_record)
        self.clients = Clients()
        self.refills = Refills()
        self.tombstones = Tombstones()
        self.has_groups = False

    def tables(self) -> tuple[Part, ...]:
        """In the order of an image: leases and quotas come before the keys that have them.

        Older formats have the first ones: see image.TABLES.
        """
        leases, locks, quotas = self.leases, self.locks, self.keyspace.quotas
        clients = self.clients
        return (
            Part(leases.table.records, leases.load, LEASES_MAX),
            Part(locks.table.records, locks.load, LOCK_PLACES_MAX),
            Part(quotas.records, quotas.load, QUOTAS_MAX),
            Part(self.refills.records, self.refills.load, REFILLS_MAX),
            Part(self.tombstones.records, self.tombstones.load, STRETCHES),
            Part(clients.table.records, clients.load, CLIENTS_MAX),
            Part(
                clients.records,
                clients.load_record,
                REQUESTS_NUMBERED_MAX,
                RECORD_SIZE_BYTES_MAX,
                bytes,
            ),
        )

    @property
    def digest(self) -> int:
        """64 bits over the whole state."""
        moment = _MOMENT.pack(self.revision, self.now_ms, self.sessions.first)
        terms = self.keyspace.digest + self.sessions.digest + xxh3_64_intdigest(moment)
        terms += self.leases.table.digest + self.locks.table.digest
        terms += self.keyspace.quotas.digest + self.refills.digest
        terms += self.tombstones.digest
        if self.rows.next_id > 1:  # else it is as if there were none: so older nodes have it
            terms += self.rows.digest + xxh3_64_intdigest(_NEXT_ID.pack(self.rows.next_id))
        if self.clients.count:  # older nodes have none, so the format may count here
            terms += self.clients.digest + self.has_groups * _HAS_GROUPS
        return terms % (1 << 64)
