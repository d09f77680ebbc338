"""What calls would do to the keys, found by doing and then undoing them.

So a script is run where its client is, before the log has anything of it: what it would change, and
what that rests on, is then one transaction like any other (see service/scripting).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from xxhash import xxh3_64_intdigest

from raftcache.command.call_table import keys_of
from raftcache.command.calls import DICED, Call
from raftcache.command.once import Once
from raftcache.command.replies import CallsReply
from raftcache.command.values import Failure, Value, pack_values
from raftcache.state.changes import Changes, Mark
from raftcache.state.items import Stored
from raftcache.state.redis.store import OVER_QUOTA, Spent, Store
from raftcache.state.redis.streams import with_id

MISUSED: Final = Failure("ERR this idempotency number stands for another command")

_PATTERNED: Final = frozenset((b"SORT", b"SORT_RO"))
"""With BY or GET they read keys that they do not name."""


class Moment(NamedTuple):
    """Where a rehearsal can go back to."""

    changes: Mark
    spent: Spent
    deeds: int
    seen: int


class Rehearsal:
    """Calls are done as they come, in one turn of the loop; the machine undoes them all after it.

    deeds: those of them that have to be done again, in order: they changed something, told
        something, or threw the dice. An id made of the time stands in them as it was made.
    seen: the keys that any of them named, with the revisions they had before, 0 for absent ones.
        While these are the same, with the same dice, the deeds do what they did here, unless a
        quota is in the way, or a deadline has come by then.
    values: what the deeds answered.
    absent_since: the revision after which absent ones among these must not have been there, even
        if they have gone again; None if it does not matter. See CallsSince.
    is_loose: something was read that none of these stands for: it may be as old as this state is.
    has_recalled: an answer was found that was remembered.
    """

    def __init__(self, changes: Changes, store: Store, perform: Callable[[Call], Value]) -> None:
        self._changes, self._store, self._perform = changes, store, perform
        self.deeds: list[Call] = []
        self.values: list[Value] = []
        self.seen: dict[bytes, int] = {}
        self.absent_since: int | None = None
        self.is_loose = self.has_recalled = False
        self._base = changes.state.revision

    def call(self, call: Call, *, is_write: bool) -> Value:
        """Do a call of data; as in a transaction, one that fails changes nothing.

        Its name is in capitals, and it has as many arguments as it needs.
        """
        keys = keys_of(call)
        for key in keys:
            self._see(key)
        self.is_loose |= (not keys and not is_write) or call[0] in _PATTERNED
        store = self._store
        throws, came = store.throws, store.came
        value = self._perform(call)
        if type(value) is Failure:
            store.throws, store.came = throws, came  # what it looked at counts all the same
            self.is_loose |= value.text.startswith(OVER_QUOTA)
        elif is_write or call[0] in DICED:
            self.deeds.append(with_id(call, value))
            self.values.append(value)
        return value

    @property
    def digest(self) -> int:
        """Of what the deeds answered (see CallsRehearsed)."""
        return digest_of(self.deeds, self.values, self._store.came)

    def remembered(self, once: Once) -> CallsReply | Failure | None:
        """What was answered to the request of a token; a Failure if it was another request's."""
        state = self._changes.state
        assert isinstance(once.token, bytes), "clients of Redis have keys, made of their numbers"
        record = state.sessions.find(once.token, state.now_ms)
        if record is None:
            return None
        self.has_recalled = True
        reply = record.first_reply
        if record.fingerprint != once.fingerprint or not isinstance(reply, CallsReply):
            return MISUSED
        return reply

    def is_unchanged(self, key: bytes, revision: int) -> bool:
        """Whether a key is as WATCH found it (see Redis.revisions); or was changed, here too."""
        self._see(key)
        if revision >= 0:
            return self._revision_of(key) == revision
        state = self._changes.state
        if state.tombstones.are_kept:  # the log has to say only what has happened from here on
            since, was_there = self._base, state.tombstones.was_there(key, ~revision)
        else:
            since, was_there = ~revision, False
        if self.absent_since is None or since < self.absent_since:
            self.absent_since = since
        return not (was_there or self._revision_of(key) or self._changes.was_created(key))

    def _see(self, key: bytes) -> None:
        if key not in self.seen:
            self.seen[key] = _revision(self._changes.at_begin(key))

    def _revision_of(self, key: bytes) -> int:
        return _revision(self._changes.find(key))

    def now(self) -> Moment:
        """This moment, for undo_to."""
        return Moment(self._changes.mark(), self._store.spent(), len(self.deeds), len(self.seen))

    def undo_to(self, moment: Moment) -> None:
        """All is as it was; what was seen since stays so, for somebody was told of it."""
        self._changes.undo_to(moment.changes)
        self._store.go_back_to(moment.spent)
        del self.deeds[moment.deeds :], self.values[moment.deeds :]

    def forget_to(self, moment: Moment) -> None:
        """As undo_to, and nobody was told anything."""
        self.undo_to(moment)
        while len(self.seen) > moment.seen:
            self.seen.popitem()


def digest_of(calls: Sequence[Call], values: Sequence[Value], came: int) -> int:
    """64 bits over what calls answered, and how many deadlines had come as they were set.

    The keys that RANDOMKEY finds do not count: nobody vouches for them.
    """
    counted = [
        None if call[0] == b"RANDOMKEY" else value
        for call, value in zip(calls, values, strict=True)
    ]
    return xxh3_64_intdigest(pack_values([came, *counted]))


def _revision(held: Stored | None) -> int:
    return 0 if held is None else held.mod_revision
