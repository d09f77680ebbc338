"""What must hold of Redis' keys in every state that any node comes to.

Money in hashes adds up; a thing is in one place; keys last until their deadline and not beyond; the
rows of collections are those that their keys describe. What clients were told is in the ledger.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from raftcache.command.values import Pairs
from raftcache.state.items import LEASED, ZSET, collections_of, described, read_header
from raftcache.state.redis.stream_rows import rows_of_groups
from raftcache.state.rows import ID_SIZE_BYTES, id_of
from tests.sim import redis_keys
from tests.sim.redis_keys import BANKS, FIELDS, FLEETING, HEAP, PLACES, TOTAL, read

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

ROWS_CHECKED_EVERY: Final = 16


class _Seen(NamedTuple):
    """Of a key that ends, by one life of one member."""

    index: int
    deadline_ms: int


class RedisAudit:
    """Of all members; they are looked at after each batch that they apply."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._opened_at = 0  # a revision at which there was money
        self._fleeting: dict[tuple[str, int, bytes], _Seen] = {}

    def begins_opened(self) -> None:
        """There is money in the state that the cluster begins with."""
        self._opened_at = 1

    def look(self, member: Member, index: int) -> None:
        """At all that a reader could see there now."""
        self._check_money(member)
        for kind in PLACES:
            there = Counter(redis_keys.things(member.machine, kind))
            if twice := [thing for thing, count in there.items() if count > 1]:
                self._world.fail(f"a {kind} is there twice", f"{twice} at {member.name}, {index}")
        self._check_heap(member)
        self._check_fleeting(member, index)
        if index % ROWS_CHECKED_EVERY == 0:
            self.check_rows(member)

    def _check_money(self, member: Member) -> None:
        revision, balances = member.machine.revision, redis_keys.balances(member.machine)
        if balances and not self._opened_at:
            self._opened_at = revision
        opened = balances or (self._opened_at and revision >= self._opened_at)
        if opened and (len(balances) != len(BANKS) * len(FIELDS) or sum(balances) != TOTAL):
            self._world.fail("money does not add up", f"{balances} at {member.name}")

    def _check_heap(self, member: Member) -> None:
        """Its two orders, by member and by score, tell the same."""
        (pairs,) = read(member.machine, (b"ZRANGE", HEAP, b"0", b"-1", b"WITHSCORES"))
        ranks = pairs.pairs if isinstance(pairs, Pairs) else list(pairwise(pairs))[::2]
        members = [name for name, _ in ranks]
        scores = read(member.machine, (b"ZMSCORE", HEAP, *members))[0] if members else []
        order = [(score, name) for name, score in ranks]
        if scores != [score for score, _ in order] or order != sorted(order):
            self._world.fail("a heap is in disorder", f"{ranks} at {member.name}: {scores}")

    def _check_fleeting(self, member: Member, index: int) -> None:
        """Such a key is there until its deadline, which only a later write of it can change."""
        machine = member.machine
        for key in FLEETING:
            item, at = machine.get(key), (member.name, member.life, key)
            if item is not None:
                if item.deadline_ms <= machine.now_ms:
                    detail = f"{item.deadline_ms} <= {machine.now_ms} at {member.name}"
                    self._world.fail("a key outlived its deadline", detail)
                self._fleeting[at] = _Seen(index, item.deadline_ms)
            elif (seen := self._fleeting.pop(at, None)) is not None:
                self._world.count["expired"] += 1
                if seen.index == index - 1 and machine.now_ms < seen.deadline_ms:
                    detail = f"{key!r} at {member.name}: {machine.now_ms} < {seen.deadline_ms}"
                    self._world.fail("a key was gone before its deadline", detail)

    def check_rows(self, member: Member, *, is_last: bool = False) -> None:
        """Those that keys describe are there, and else only those of collections that are gone."""
        state = member.machine._state
        rows, counts, sizes = state.rows, Counter[int](), Counter[int]()
        for name in rows.names(0, len(rows)):
            counts[id_of(name)] += 1
            sizes[id_of(name)] += len(name) - ID_SIZE_BYTES + len(rows.get(name) or b"")
        for key, packed in state.keyspace.span(b"", b""):
            kind = read_header(packed).kind
            if kind <= LEASED:
                continue
            told = described(packed)
            ids = collections_of(packed)
            found = sum(counts.pop(id, 0) for id in ids), sum(sizes[id] for id in ids)
            count = told.count * (2 if kind == ZSET else 1) + rows_of_groups(told.end)
            if found != (count, told.size_bytes):
                detail = f"{key!r} at {member.name}: {told}, and {found}"
                self._world.fail("rows are not as their key says", detail)
        if strays := set(counts) - set(rows.gone):
            self._world.fail("rows without a key", f"{strays} at {member.name}")
        if is_last and rows.gone:
            self._world.fail("rows of what is gone are kept", f"{rows.gone} at {member.name}")
