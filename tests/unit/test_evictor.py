"""The leader's loop that makes room, over a real state machine and a log that a test holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raftcache.command import codec
from raftcache.command.limits import ACCESSES_REPORTED_MAX, EVICTED_PER_ENTRY_MAX
from raftcache.command.words import Delete, Evict, Put
from raftcache.config import Eviction
from raftcache.errors import NotLeader
from raftcache.service.eviction.accesses import NOTES_MAX, Accesses
from raftcache.service.eviction.evictor import REPORT_BEATS, Evictor
from raftcache.service.eviction.shares import policy_of
from raftcache.service.memory import Memory, history_size_bytes_max
from raftcache.state.machine import Machine
from tests.unit.test_machine import at, do

LIMIT = 400_000
VALUE = bytes(1000)


class Rig:
    """One node: what it proposes waits in `proposed` until it is applied or refused."""

    def __init__(self, eviction: Eviction, limit: int = LIMIT) -> None:
        self.machine = Machine(history_size_bytes_max(limit))
        self.policy = policy_of(eviction)
        self.accesses = None if self.policy is None else Accesses()
        cost = 0 if self.policy is None else self.policy.KEY_COST_BYTES
        self.memory = Memory(self.machine, limit, eviction, cost, lambda: 3)
        self.proposed: list[tuple[bytes, Callable[[object], None]]] = []
        self.reports: list[tuple[str, list[tuple[bytes, int]]]] = []
        self.is_leader, self.leader, self.commands_version = True, "n1", 2
        self.evictor = Evictor(
            self.memory,
            self.machine,
            self,  # type: ignore[arg-type]
            self.policy,
            self.accesses,
            lambda to, message: self.reports.append((to, message["keys"])),
            self,  # type: ignore[arg-type]
        )

    def call_later(self, delay: float, callback: Any) -> Any:
        return None

    def propose(self, command: bytes, done: Callable[[object], None], weight: int = 1) -> None:
        self.proposed.append((command, done))

    def beat(self, count: int = 1) -> None:
        for _ in range(count):
            self.evictor.start()

    def settle(self) -> int:
        """Apply what was proposed until nothing is; how many entries that took."""
        entries = 0
        while self.proposed:
            command, done = self.proposed.pop(0)
            (reply,) = self.machine.apply(0, codec.batch([command]))
            done(reply)
            entries += 1
        return entries

    def put(self, *names: str, ttl_ms: int | None = None) -> None:
        at(self.machine, 0, *(Put(name.encode(), VALUE, ttl_ms=ttl_ms) for name in names))

    def fill(self) -> list[str]:
        """New keys up to the high mark, and one more."""
        names: list[str] = []
        while self.memory.used_size_bytes <= self.memory.high_size_bytes:
            names.append(f"key{self.machine.revision:05}")
            self.put(names[-1])
        return names

    @property
    def keys(self) -> set[str]:
        return {key.decode() for key, _ in self.machine.items()}


@pytest.mark.parametrize("eviction", [e for e in Eviction if e.startswith("allkeys")])
def test_above_the_high_mark_it_makes_room_down_to_the_low_one(eviction: Eviction) -> None:
    rig = Rig(eviction)
    names = rig.fill()
    rig.beat()
    assert rig.settle() == 1
    assert rig.memory.used_size_bytes <= rig.memory.low_size_bytes
    assert rig.memory.used_size_bytes > rig.memory.low_size_bytes - 2000, "no more than it must"
    assert set(names[-10:]) <= rig.keys
    assert rig.evictor.evicted == len(names) - rig.machine.count
    rig.beat(3)
    assert not rig.proposed


def test_below_the_high_mark_nothing_happens() -> None:
    rig = Rig(Eviction.ALLKEYS_LRU)
    rig.fill()
    do(rig.machine, Delete(b"key00000"))
    rig.beat(3)
    assert not rig.proposed


def test_only_a_leader_evicts_and_only_what_every_voter_can_apply() -> None:
    rig = Rig(Eviction.ALLKEYS_LRU)
    rig.fill()
    rig.is_leader = False
    rig.beat()
    rig.is_leader, rig.commands_version = True, 1
    rig.beat()
    assert not rig.proposed
    rig.commands_version = 2
    rig.beat()
    assert rig.proposed


def test_one_eviction_is_under_way_at_a_time() -> None:
    rig = Rig(Eviction.ALLKEYS_LRU)
    rig.fill()
    rig.beat(5)
    assert len(rig.proposed) == 1


def test_much_to_evict_goes_in_bounded_entries_one_after_the_other() -> None:
    rig = Rig(Eviction.ALLKEYS_SIEVE, limit=4 << 20)
    rig.is_leader = False
    for start in range(0, 20_000, 1000):
        words = [Put(b"k%06d" % i, b"") for i in range(start, start + 1000)]
        at(rig.machine, 0, *words)
        rig.beat()
    rig.is_leader = True
    rig.beat()
    assert len(rig.proposed) == 1
    (command, _), *_ = rig.proposed
    (evict,) = codec.decode(codec.batch([command]))
    assert isinstance(evict, Evict)
    assert len(evict.victims) == EVICTED_PER_ENTRY_MAX
    assert rig.settle() > 3
    assert rig.memory.used_size_bytes <= rig.memory.low_size_bytes


def test_long_names_are_bounded_too() -> None:
    rig = Rig(Eviction.ALLKEYS_LRU, limit=16 << 20)
    number = 0
    while rig.memory.used_size_bytes <= rig.memory.high_size_bytes:
        do(rig.machine, Put(b"%01024d" % number, b""))
        number += 1
    rig.beat()
    assert rig.settle() >= 2


def test_what_was_read_here_or_elsewhere_stays() -> None:
    rig = Rig(Eviction.ALLKEYS_LRU)
    names = rig.fill()
    assert rig.accesses is not None
    rig.is_leader = False
    rig.beat()
    rig.accesses.note(names[0].encode())
    rig.beat()
    read = [(names[2].encode(), 7), (b"unknown", 1)]
    rig.evictor.merge("n2", {"type": "accesses", "keys": read})
    rig.is_leader = True
    rig.beat()
    rig.settle()
    assert {names[0], names[2]} <= rig.keys
    assert names[1] not in rig.keys


def test_a_key_written_again_meanwhile_stays_and_is_known_anew() -> None:
    rig = Rig(Eviction.ALLKEYS_LRU)
    names = rig.fill()
    rig.beat()
    rig.put(names[0])
    rig.settle()
    assert names[0] in rig.keys
    assert rig.policy is not None
    assert names[0].encode() in rig.policy


def test_after_a_refusal_the_victims_are_known_again() -> None:
    rig = Rig(Eviction.ALLKEYS_SIEVE)
    names = rig.fill()
    rig.beat()
    rig.proposed.pop()[1](NotLeader())
    assert rig.policy is not None
    assert len(rig.policy) == len(names)
    rig.beat()
    rig.settle()
    assert rig.memory.used_size_bytes <= rig.memory.low_size_bytes


def test_volatile_ttl_takes_the_soonest_and_nothing_without_a_deadline() -> None:
    rig = Rig(Eviction.VOLATILE_TTL)
    rig.put("later", ttl_ms=90_000)
    rig.put("soon", ttl_ms=10_000)
    names = rig.fill()
    rig.beat()
    rig.settle()
    assert rig.keys == {*names}, "all with deadlines went, and it is not enough"
    rig.beat(3)
    assert not rig.proposed
    rig.put("another", "one", ttl_ms=10_000)
    rig.beat()
    rig.settle()
    assert rig.keys == {*names}


def test_keys_that_were_there_before_it_are_learned_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raftcache.service.eviction.evictor.KEYS_PER_BEAT_MAX", 10)
    rig = Rig(Eviction.ALLKEYS_LRU)
    names = rig.fill()
    evictor = Evictor(
        rig.memory,
        rig.machine,
        rig,  # type: ignore[arg-type]
        policy := policy_of(Eviction.ALLKEYS_LRU),
        Accesses(),
        lambda to, keys: None,
        rig,  # type: ignore[arg-type]
    )
    assert policy is not None
    rig.is_leader = False
    evictor.start()
    assert len(policy) == 10
    for _ in range(len(names) // 10 + 1):
        evictor.start()
    assert len(policy) == len(names)


def test_after_a_loaded_image_it_learns_anew() -> None:
    rig, other = Rig(Eviction.ALLKEYS_LRU), Rig(Eviction.ALLKEYS_LRU)
    rig.put("old")
    rig.beat()
    other.put("new")
    loader = rig.machine.loader()
    loader.feed(b"".join(other.machine.dump()))
    loader.install()
    rig.beat(2)
    assert rig.policy is not None
    assert b"new" in rig.policy
    rig.fill()
    rig.beat()
    rig.settle()
    assert rig.memory.used_size_bytes <= rig.memory.low_size_bytes, "what is gone is no victim"


def test_a_follower_reports_what_it_read_about_once_a_second() -> None:
    rig = Rig(Eviction.ALLKEYS_LFU)
    rig.is_leader = False
    assert rig.accesses is not None
    for key in (b"a", b"b", b"a"):
        rig.accesses.note(key)
    rig.beat(REPORT_BEATS)
    assert rig.reports == [("n1", [(b"b", 1), (b"a", 2)])]
    rig.beat(2 * REPORT_BEATS)
    assert len(rig.reports) == 1, "nothing was read since"
    rig.is_leader = True
    rig.accesses.note(b"a")
    rig.beat(REPORT_BEATS)
    assert len(rig.reports) == 1, "a leader tells nobody"


def test_a_report_is_bounded_in_keys_and_bytes() -> None:
    accesses = Accesses()
    for number in range(0, 2 * ACCESSES_REPORTED_MAX, NOTES_MAX):
        for each in range(NOTES_MAX):
            accesses.note(b"%d" % (number + each))
        assert len(accesses.take()) == NOTES_MAX
    assert len(accesses.report()) == ACCESSES_REPORTED_MAX
    for number in range(2 * NOTES_MAX):
        accesses.note(b"%01024d" % number)
        accesses.take()
    assert len(accesses.report()) == 256


def test_of_many_reads_between_two_looks_the_latest_are_known() -> None:
    accesses = Accesses()
    for number in range(10 * NOTES_MAX):
        accesses.note(b"%d" % number)
    notes = accesses.take()
    assert len(notes) == NOTES_MAX
    assert notes[-1] == b"%d" % (10 * NOTES_MAX - 1)
    assert accesses.take() == []
