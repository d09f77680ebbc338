"""What one call sees of the keys, and the only way in which it changes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final, NamedTuple, Protocol, TypeVar

from xxhash import xxh3_64_intdigest

from raftcache.command.limits import KEY_SIZE_BYTES_MAX, LEASE_KEYS_MAX
from raftcache.command.replies import Status
from raftcache.command.values import Value
from raftcache.state.changes import Changes
from raftcache.state.items import LEASED, TYPES, Stored, plain_value
from raftcache.state.notes import NEW, Message
from raftcache.state.redis.parsing import TOO_LONG, WRONG_TYPE, Refuse
from raftcache.state.table import TIME_MS_MAX

Handler = Callable[["Store", tuple[bytes, ...]], Value]
"""Does one call, given its arguments without the name; raises Refuse."""

ROWS_TOUCHED_MAX: Final = 10_000
"""Elements that one call may change: about 60 ms in which a node does nothing else, or twice that
where an element has two rows."""

ELEMENTS_READ_MAX: Final = 100_000
"""Elements, or keys, that one call may look at: as long."""

BYTES_READ_MAX: Final = 64 << 20
"""Of values and names that the calls of one Calls may look at together, or one call that only
reads: what they answer is held in memory, and if it went through the log, on every node."""

OVER_QUOTA: Final = "OOM the quota"
"""How a refusal by a quota begins."""

KEEP: Final = -1
"""A deadline: the one that the key has."""


class Spent(NamedTuple):
    """What calls may still touch, how often the dice were thrown, and deadlines had come."""

    rows_left: int
    elements_left: int
    bytes_left: int
    throws: int
    came: int


class Opened(Protocol):
    """A collection that a call works on (see collection.py)."""

    KIND: ClassVar[int]

    def __init__(self, store: Store, key: bytes, found: Stored | None) -> None: ...
    def take_place_of(self, found: Stored | None) -> None: ...
    def settle(self) -> None: ...


T = TypeVar("T", bound=Opened)


class Store:
    """The keys, for one call at a time.

    now_ms: cluster time. deadlines are in it too, 0 for none; so are Unix times of callers.
    size_bytes_max: of a value. has_newer: NEWER_CALLS may be done. is_reader: what is answered
    is for this node's callers, and never compared with what other nodes answer. is_strict: no other
    node does the same calls just so; see count_answer.
    """

    def __init__(self, changes: Changes, *, reads_only: bool = False) -> None:
        """reads_only: nothing is changed, overdue keys are not removed either."""
        self.changes, self.state, self._notes = changes, changes.state, changes.notes
        self._keyspace = changes.state.keyspace
        self._find = self._peek if reads_only else changes.find
        self.has_newer = self.is_reader = self.is_strict = reads_only
        self._open: dict[bytes, Opened] = {}
        self.size_bytes_max = 0
        self.now_ms = 0
        self._dice = self.throws = self.came = 0
        self.rows_left = ROWS_TOUCHED_MAX
        self.elements_left = ELEMENTS_READ_MAX
        self.bytes_left = BYTES_READ_MAX

    def begin(self, now_ms: int, size_bytes_max: int, dice: int) -> None:
        """What follows is of another Calls."""
        self.now_ms, self.size_bytes_max = now_ms, size_bytes_max
        self._dice, self.throws, self.came = dice, 0, 0
        self.bytes_left = BYTES_READ_MAX
        self.allow_more()

    def allow_more(self) -> None:
        """The next call may touch as much as the one before."""
        self.rows_left, self.elements_left = ROWS_TOUCHED_MAX, ELEMENTS_READ_MAX

    def spent(self) -> Spent:
        """So far, for go_back_to."""
        left = self.rows_left, self.elements_left, self.bytes_left
        return Spent(*left, self.throws, self.came)

    def go_back_to(self, spent: Spent) -> None:
        """What was touched since is undone, and does not count."""
        self.rows_left, self.elements_left, self.bytes_left, self.throws, self.came = spent

    # Keys.

    def _peek(self, key: bytes) -> Stored | None:
        stored = self._keyspace.find(key)
        if stored is not None and self._keyspace.is_overdue(stored, self.state.now_ms):
            return None
        return stored

    def find(self, key: bytes) -> Stored | None:
        """What a key holds, of whatever type; an overdue one is absent."""
        if self._open:
            self.settle_key(key)
        return self._find(key)

    def type_of(self, key: bytes) -> str:
        """As Redis names it; none if the key is absent."""
        found = self.find(key)
        return "none" if found is None else TYPES.get(found.kind, "string")

    def deadline_ms(self, found: Stored) -> int:
        """When the key, or its lease, is over; 0 for never."""
        return found.deadline_ms or self.state.leases.deadline_ms(found.lease)

    def remove(self, key: bytes) -> bool:
        """Remove a key of whatever type; whether it was there."""
        found = self.find(key)
        if found is None:
            return False
        self.changes.remove(key, found)
        return True

    def has_come(self, deadline_ms: int) -> bool:
        """Whether a deadline that is about to be set, 0 for none, is over already.

        Of one in Unix time that is another answer when the same call is done again later.
        """
        has_come = 0 < deadline_ms <= self.now_ms
        self.came += has_come
        return has_come

    def set_deadline(self, key: bytes, found: Stored, deadline_ms: int) -> None:
        """Give an existing key another deadline, 0 for none; one that has come removes it."""
        if self.has_come(deadline_ms):
            self.changes.remove(key, found)
            return
        self._write(key, found, deadline_ms, found.content_type, found.value, kind=found.kind)

    def check_key(self, key: bytes) -> None:
        """Refuse a key that no item may have; before it is written."""
        if not 1 <= len(key) <= KEY_SIZE_BYTES_MAX:
            raise Refuse(f"ERR a key has 1 to {KEY_SIZE_BYTES_MAX} bytes, this one {len(key)}")

    # Strings.

    @property
    def may_run(self) -> bool:
        """Whether strings may be set past this, in a run (see runs.py): nothing is to be told."""
        return not (self._open or self._notes.wanted)

    def string(self, key: bytes) -> bytes | None:
        """The value of a string, None if the key is absent; refuses other types."""
        if not self._open:
            packed = self._keyspace.packed(key)
            value = None if packed is None else plain_value(packed)
            if packed is None or value is not None:
                self.bytes_left -= len(value or b"")
                if self.bytes_left < 0:
                    self.count_bytes(0)
                return value
        found = self.find(key)
        if found is None:
            return None
        if found.kind > LEASED:
            raise Refuse(WRONG_TYPE)
        self.count_bytes(found.value_size_bytes)
        return found.value

    def set_string(self, key: bytes, value: bytes, deadline_ms: int = 0) -> None:
        """Set a key to a string, whatever it held. deadline_ms: KEEP for the one it has.

        With KEEP, content type and lease stay too, as they do for what HTTP appends.
        """
        if not 1 <= len(key) <= KEY_SIZE_BYTES_MAX:
            self.check_key(key)  # looked at here too, for the call costs as much as the look
        if len(value) > self.size_bytes_max:
            raise Refuse(TOO_LONG)
        found, content_type, lease = None, b"", 0
        if deadline_ms == KEEP:
            found = self.find(key)
            deadline_ms = 0 if found is None else found.deadline_ms
            if found is not None and found.kind <= LEASED:
                content_type, lease = found.content_type, found.lease
        is_plain = not (deadline_ms or lease or self._open or self._notes.wanted)
        if is_plain and self.changes.put_plain(key, content_type, value) is not None:
            return
        found = found or self.find(key)
        if self.has_come(deadline_ms):
            if found is not None:
                self.changes.remove(key, found)
            return
        self._write(key, found, deadline_ms, content_type, value, lease=lease)

    def _write(
        self,
        key: bytes,
        found: Stored | None,
        deadline_ms: int,
        content_type: bytes,
        value: bytes,
        *,
        lease: int = 0,
        kind: int = 1,
        is_told: bool = False,
    ) -> None:
        """is_told: that the key is new."""
        assert deadline_ms < TIME_MS_MAX
        kind = kind if kind > LEASED else 1
        write = self.changes.write
        reply = write(key, found, deadline_ms, content_type, value, 0, lease, kind)
        if reply.status > Status.CHANGED:
            raise Refuse(f"{OVER_QUOTA} of the prefix of {reply.number} bytes is reached")
        if found is None and not is_told:
            self.notify(NEW, b"new", key)

    def write_descriptor(
        self, key: bytes, found: Stored | None, deadline_ms: int, kind: int, descriptor: bytes
    ) -> None:
        """Give a key a collection; for collections, which have told that it is new."""
        self._write(key, found, deadline_ms, b"", descriptor, kind=kind, is_told=True)

    def write_like(self, key: bytes, found: Stored | None, model: Stored, value: bytes) -> None:
        """Give a key what another one has: kind, content type, deadline or lease.

        value: of the same kind; so a descriptor, if that is a collection.
        """
        self.check_key(key)
        lease = model.lease
        joins = lease and (found is None or found.lease != lease)
        if joins and len(self.state.leases.keys(lease)) >= LEASE_KEYS_MAX:
            raise Refuse(f"ERR a lease has at most {LEASE_KEYS_MAX} keys")
        kept, kind = model.content_type, model.kind
        self._write(key, found, model.deadline_ms, kept, value, lease=lease, kind=kind)

    # Collections.

    def collection(self, shape: type[T], key: bytes) -> T:
        """The collection of a key, empty if the key is absent; refuses other types.

        Its changes are written to the key when the call is over, or the key is looked at.
        """
        opened = self._open.get(key)
        if opened is not None:
            if isinstance(opened, shape):
                return opened
            self.settle_key(key)
        found = self._find(key)
        if found is not None and found.kind != shape.KIND:
            raise Refuse(WRONG_TYPE)
        made = self._open[key] = shape(self, key, found)
        return made

    def replacement(self, shape: type[T], key: bytes) -> T:
        """An empty collection that replaces whatever the key holds, once something is put into it.

        It has no deadline. As `collection` else.
        """
        found = self.find(key)
        made = self._open[key] = shape(self, key, None)
        made.take_place_of(found)
        return made

    def settle_key(self, key: bytes) -> None:
        """Write what was changed in the collection of a key."""
        opened = self._open.pop(key, None)
        if opened is not None:
            opened.settle()

    def settle(self) -> None:
        """Write what was changed in all of them, in the order in which they were opened."""
        while self._open:
            self.settle_key(next(iter(self._open)))

    def forget(self) -> None:
        """The call failed: its changes are undone."""
        self._open.clear()

    # What is said.

    def notify(self, kind: str, event: bytes, key: bytes) -> None:
        """Something happened to a key, as Redis names it; kind: see notes.py.

        A call that is not undone if it fails (see execute.LONE) says it last.
        """
        if kind in self._notes.wanted:
            self._notes.note(kind, event, key)

    def tell(self, note: Message) -> None:
        """Every node tells those who listen there."""
        self._notes.pending.append(note)

    # Bounds.

    def count_rows(self, count: int = 1) -> None:
        """So many rows are about to be changed."""
        self.rows_left -= count
        if self.rows_left < 0:
            raise Refuse(f"ERR one call changes at most {ROWS_TOUCHED_MAX} elements")

    def count_elements(self, count: int) -> None:
        """So many elements, or keys, are about to be looked at."""
        self.elements_left -= count
        if self.elements_left < 0:
            raise Refuse(
                f"ERR one call looks at up to {ELEMENTS_READ_MAX} elements: scan, or take a range"
            )

    def count_bytes(self, size_bytes: int) -> None:
        """So many bytes are looked at."""
        self.bytes_left -= size_bytes
        if self.bytes_left < 0:
            raise Refuse(f"ERR what is read at once has at most {BYTES_READ_MAX} bytes")

    def count_answer(self, size_bytes: int) -> None:
        """So many bytes are answered, of a kind that entries of the log do not count.

        They never have, and what one node refuses there all must. So calls with much of that do not
        travel as they came: see service/uncounted.py.
        """
        if self.is_strict:
            self.count_bytes(size_bytes)

    # Chance.

    def below(self, count: int) -> int:
        """A number in [0, count), which only the dice of the call decide."""
        self.throws += 1
        return xxh3_64_intdigest(self.throws.to_bytes(8, "big"), self._dice) % count

    def draw(self, count: int, size: int) -> list[int]:
        """Numbers in [0, size): count different ones, or -count that may be the same.

        All of them, if the count is larger. The dice decide the order too.
        """
        if count < 0:
            self.count_elements(-count)
            return [self.below(size) for _ in range(-count)]
        count = min(count, size)
        self.count_elements(count)
        moved: dict[int, int] = {}  # Fisher-Yates, of which only what moved is kept
        drawn = []
        for last in range(size - 1, size - 1 - count, -1):
            place = self.below(last + 1)
            drawn.append(moved.get(place, place))
            moved[place] = moved.get(last, last)
        return drawn
