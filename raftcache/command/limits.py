"""Every limit on what a caller may ask, with its reason; relations are asserted at import.

A limit that an operator may move is a field of `config.Limits` and never exceeds its MAX here.
"""

from __future__ import annotations

from typing import Final

KEY_SIZE_BYTES_MAX: Final = 1024
"""A key is an address, not a document; and every key is held in memory on every node."""

VALUE_SIZE_BYTES_MAX: Final = 4 << 20
"""What an operator may raise the value limit (1 MiB) to: one value still fits in one frame."""

CONTENT_TYPE_SIZE_BYTES_MAX: Final = 255
"""Kept beside the value, with its length in one byte."""

TOKEN_SIZE_BYTES_MAX: Final = 255
"""An Idempotency-Key; UUIDs need 36."""

TTL_MS_MAX: Final = 10 * 365 * 24 * 3600 * 1000
"""Ten years: later is never, and sums of a time and a TTL stay far below 2**63."""

FINGERPRINT_SIZE_BYTES: Final = 16
"""What a token stands for: XXH3, 128 bits."""

INTEGER_MIN: Final = -(1 << 63)
INTEGER_MAX: Final = (1 << 63) - 1
"""Counters are signed 64-bit, as in Redis."""

REVISION_BUMP: Final = 10**12
"""What a cluster that begins with the data of another adds to its revision, unless it is told
otherwise: the lost writes had numbers above what is left, and none of these may be given again.
etcd's 10**9 is enough for the writes of a week at 1,500 a second; this is enough for 115 days at
100,000, and leaves room to do so 4,503 times."""

REVISION_BUMPED_MAX: Final = 1 << 52
"""No bump leads above this: what is an integer in a double, as in JSON, ends at 2**53, and half of
that is left for writes."""

BATCH_SIZE_BYTES_MAX: Final = 1 << 20
"""A batch is closed when it reaches this; one command larger than this travels alone."""

BATCH_WIDTH_MAX: Final = 50_000
"""Elements, or KiB of them, that the calls of one entry may look at, by what the node that takes
them sees (see WIDE): half as many as one call may, unless there is only one. Some 50 ms, in which a
node does nothing else."""

BATCH_COMMANDS_MAX: Final = 4096
"""Bounds the work of one apply: about 10 ms."""

ENTRY_SIZE_BYTES_MAX: Final = BATCH_SIZE_BYTES_MAX + VALUE_SIZE_BYTES_MAX + 4096
"""One log entry: a batch that was almost full, its last command and their framing."""

COMMAND_SIZE_BYTES_MAX: Final = ENTRY_SIZE_BYTES_MAX - 64
"""One command as bytes: alone in a batch, it fits in an entry. A put does, whatever it says; calls
of Redis may say much more than the arguments that are counted as they come."""

FRAME_SIZE_BYTES_MAX: Final = 16 << 20
"""One message between nodes; holds any entry, and rows of entries are bounded below it."""

REQUESTS_REMEMBERED_MAX: Final = 1 << 18
"""Idempotency records. When the table is full of young ones, new tokens are refused (429):
forgetting one early could apply its retry twice."""

REQUESTS_REMEMBERED_MS: Final = 10 * 60 * 1000
"""How long the first reply to an Idempotency-Key is kept, in cluster time."""

REQUESTS_FORGOTTEN_PER_ENTRY_MAX: Final = BATCH_COMMANDS_MAX
"""Dead idempotency records dropped by one entry: no fewer than one entry can add. The rest count
for nothing already."""

CLIENTS_MAX: Final = 1 << 16
"""Clients at a time that number their requests, about 400 bytes each on every node."""

CLIENT_REQUESTS_MAX: Final = 1024
"""So far above the lowest number that it waits for a client may go: what it was answered from there
on is remembered."""

REQUESTS_NUMBERED_MAX: Final = 1 << 18
"""The same of all clients together."""

CLIENT_IDLE_MS: Final = REQUESTS_REMEMBERED_MS
"""A client that is silent for so long, in cluster time, is forgotten, and refused from then on."""

CLIENT_SPARED_MS: Final = 60 * 1000
"""Where there is no room for more, those are forgotten first that have been silent longest; but
nobody who said something within this."""

CLIENT_HEARD_MS: Final = 1000
"""What a client says later than this after what was noted is noted anew."""

EXPIRED_PER_ENTRY_MAX: Final = 1000
"""Overdue keys removed by one entry, so that a million at once do not stop the node; the same for
leases with their keys (but one lease goes whole), and for places of locks. The rest are already
absent to every read and command; the leader ticks until they are gone."""

EVICTED_PER_ENTRY_MAX: Final = 1000
"""Keys forgotten by one entry to make room: as many as may expire by one."""

EVICTED_PER_ENTRY_SIZE_BYTES_MAX: Final = 256 << 10
"""Of the names of those keys: a small part of a batch."""

QUOTAS_MAX: Final = 128
"""Prefixes with quotas; each write looks for its own by the sizes of all prefixes."""

QUOTA_KEYS_COUNTED_PER_ENTRY: Final = 5000
"""Keys counted by one entry for a quota that came after them: about 2 ms."""

REFILLS_MAX: Final = 1 << 14
REFILLS_FORGOTTEN_PER_ENTRY_MAX: Final = 1000
"""Rights to refill a key, and how many dead ones are dropped by one entry."""

REFILL_MS_MAX: Final = 10 * 60 * 1000
"""How long a right may last: then whoever has it is taken for dead."""

ACCESSES_REPORTED_MAX: Final = 4096
ACCESSES_REPORTED_SIZE_BYTES_MAX: Final = 256 << 10
"""Keys, and bytes of keys, that a node tells the leader in one report of what was read."""

SUBSCRIBERS_TOLD_SIZE_BYTES_MAX: Final = 1 << 20
"""Of names that a node asks another one who listens to, or is told."""

TXN_OPERATIONS_MAX: Final = 128
"""Operations of a transaction, both branches together, as in etcd."""

TXN_COMPARES_MAX: Final = 128

TXN_SIZE_BYTES_MAX: Final = VALUE_SIZE_BYTES_MAX
"""Keys, values and types of one transaction: it travels in one entry, as the largest Put does."""

TXN_RESULTS_SIZE_BYTES_MAX: Final = 4 << 20
"""What a transaction may answer with: one large value, or thousands of small ones."""

TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX: Final = 16 << 10
"""The same under an Idempotency-Key, for every node remembers it: the replies of as many writes as
there can be, and as much again for what was read."""

RESULT_SIZE_BYTES: Final = 64
"""What a result, or an entry of one, counts beside its key, value and type: its numbers."""

RANGE_KEYS_MAX: Final = 10_000
"""Keys that one command may touch by ranges: about 30 ms in which a node does nothing else."""

PAGE_KEYS_MAX: Final = 10_000
PAGE_KEYS_DEFAULT: Final = 1_000
PAGE_SIZE_BYTES_MAX: Final = 1 << 20
"""One page of a listing: so many keys, or so many bytes of keys and values, of which the last may
be more. Whoever wants more asks for the next page."""

LEASE_TTL_MS_MIN: Final = 100
LEASE_TTL_MS_MAX: Final = 24 * 3600 * 1000
"""Of leases and locks: below, keep-alives would be most of the load; above, nobody lives so long
without one."""

LEASES_MAX: Final = 1 << 16
"""Leases at a time, about 400 bytes each on every node."""

LEASE_KEYS_MAX: Final = RANGE_KEYS_MAX
"""Keys of one lease: they go in one revision, and so in one entry."""

LEASES_SHOWN_MAX: Final = 1000
"""Leases, or keys of a lease, that one answer shows."""

LOCK_NAME_SIZE_BYTES_MAX: Final = 255

LOCK_VALUE_SIZE_BYTES_MAX: Final = 512
"""An address and a little more: it says who holds the lock."""

LOCK_PLACES_MAX: Final = 1 << 16
"""Holders, owners followed by a delay, and waiters of all locks together."""

LOCK_QUEUE_MAX: Final = 1000
"""Waiters of one lock: whoever is further back had better ask again later."""

LOCKS_SHOWN_MAX: Final = 1000
"""That one answer shows."""

LOCK_WAIT_MS_MAX: Final = REQUESTS_REMEMBERED_MS // 2
"""A retry must find its place while its Idempotency-Key is remembered."""

LOCK_DELAY_MS_MAX: Final = 60_000
"""As in Consul."""

LOCK_PLACE_MS: Final = 10_000
"""A place in a queue lasts so long without word from the node where its client waits: longer than
an election, and what a killed client costs those behind it."""

HISTORY_EVENTS_MAX: Final = 1 << 18
HISTORY_SIZE_BYTES_MAX: Final = 64 << 20
"""What a node remembers of past changes, for watchers and listings that look back: keys, values
that were replaced, and HISTORY_EVENT_SIZE_BYTES each. The oldest are forgotten first."""

HISTORY_EVENT_SIZE_BYTES: Final = 192
"""What an event costs beside its key and value."""

assert KEY_SIZE_BYTES_MAX + VALUE_SIZE_BYTES_MAX + 4096 < ENTRY_SIZE_BYTES_MAX
assert ENTRY_SIZE_BYTES_MAX * 2 < FRAME_SIZE_BYTES_MAX
assert EVICTED_PER_ENTRY_SIZE_BYTES_MAX + 32 * EVICTED_PER_ENTRY_MAX < BATCH_SIZE_BYTES_MAX
assert TTL_MS_MAX < 1 << 62
assert REVISION_BUMP * 4503 < REVISION_BUMPED_MAX < 1 << 53
assert 2 * TXN_OPERATIONS_MAX * RESULT_SIZE_BYTES <= TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX
assert TXN_RESULTS_SIZE_BYTES_MAX >= VALUE_SIZE_BYTES_MAX
assert REQUESTS_FORGOTTEN_PER_ENTRY_MAX >= BATCH_COMMANDS_MAX
assert CLIENT_HEARD_MS < CLIENT_SPARED_MS < CLIENT_IDLE_MS
