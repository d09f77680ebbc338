"""The service of keys over a replica that answers as it is told: what readers get, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from raftcache.command.replies import Item
from raftcache.command.words import Put
from raftcache.errors import NotLeader, Overloaded
from raftcache.service.kv import LINEARIZABLE, KvService, Level, Want
from raftcache.state.machine import Machine
from tests.support.fake_kv import FakeKv
from tests.support.watching import FakeReplica

LEASE = Want(Level.LEASE)
READS_PENDING_MAX = 3


class Replica(FakeReplica):
    """holds: it is the leader, and nobody else can have become it."""

    def __init__(self) -> None:
        super().__init__()
        self.holds = False
        self.waiting: list[Callable[[int | None], None]] = []

    def holds_lease(self) -> bool:
        return self.holds

    def read_index(self, ready: Callable[[int | None], None]) -> None:
        self.asked += 1
        self.waiting.append(ready)

    def confirm(self, index: int | None = 1) -> None:
        waiting, self.waiting = self.waiting, []
        for ready in waiting:
            ready(index)


class Bench:
    """The service, and what is under it."""

    def __init__(self) -> None:
        self.replica, store = Replica(), FakeKv()
        store.write(Put(b"a", b"1"), lambda outcome: None)
        machine: Machine = store.machine
        below = cast("Any", self.replica), machine, cast("Any", store)
        self.kv = KvService(*below, 1 << 20, READS_PENDING_MAX)
        self.answers: list[object] = []

    def read(self, want: Want = LINEARIZABLE) -> None:
        self.kv.read(b"a", want, self.answers.append)

    @property
    def values(self) -> list[bytes]:
        assert all(isinstance(each, Item) for each in self.answers), self.answers
        return [each.value for each in self.answers if isinstance(each, Item)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def fails(answer: object) -> None:
    raise ValueError("a mistake in what a reader does with its answer")


def test_a_read_waits_until_the_state_is_known_to_be_fresh(bench: Bench) -> None:
    bench.read()
    bench.read()
    assert (bench.replica.asked, bench.answers) == (2, [])
    bench.replica.confirm()
    assert bench.values == [b"1", b"1"]


def test_a_reader_that_fails_takes_no_answer_from_the_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.read()
    bench.kv.read(b"a", LINEARIZABLE, fails)
    bench.read()
    bench.replica.confirm()
    assert bench.values == [b"1", b"1"]
    assert [record.message for record in caplog.records] == ["unexpected error"]


def test_one_that_waits_for_a_fresh_state_and_fails_takes_none_either(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.kv.when_fresh(LINEARIZABLE, fails)
    bench.kv.when_fresh(LINEARIZABLE, bench.answers.append)
    bench.replica.confirm()
    assert bench.answers == [None]
    assert [record.message for record in caplog.records] == ["unexpected error"]


def test_nobody_can_confirm_it(bench: Bench) -> None:
    bench.read()
    bench.replica.confirm(None)
    (refusal,) = bench.answers
    assert isinstance(refusal, NotLeader)


def test_more_than_may_wait_are_refused_until_some_are_answered(bench: Bench) -> None:
    for _ in range(READS_PENDING_MAX + 1):
        bench.read()
    (refusal,) = bench.answers
    assert isinstance(refusal, Overloaded)
    bench.kv.when_fresh(LINEARIZABLE, bench.answers.append)
    assert isinstance(bench.answers.pop(), Overloaded)
    bench.answers.clear()
    bench.replica.confirm()
    bench.read()
    bench.replica.confirm()
    assert bench.values == [b"1"] * (READS_PENDING_MAX + 1)


@pytest.mark.parametrize("want", [LINEARIZABLE, LEASE, Want(Level.STALE)])
def test_a_node_that_is_out_of_the_cluster_answers_nobody(bench: Bench, want: Want) -> None:
    bench.replica.expelled, bench.replica.holds = "it was removed", True
    bench.read(want)
    bench.kv.when_fresh(want, bench.answers.append)
    assert all(isinstance(each, NotLeader) for each in bench.answers)
    assert (len(bench.answers), bench.replica.asked) == (2, 0)


def test_a_lease_answers_at_once_and_without_one_there_is_a_round(bench: Bench) -> None:
    bench.replica.holds = True
    bench.read(LEASE)
    assert (bench.replica.asked, bench.values) == (0, [b"1"])
    bench.replica.holds = False
    bench.read(LEASE)
    assert (bench.replica.asked, bench.values) == (1, [b"1"])
    bench.replica.confirm()
    assert bench.values == [b"1", b"1"]


def test_a_stale_read_has_its_bound(bench: Bench) -> None:
    bench.replica.state_age_s = 0.2
    bench.read(Want(Level.STALE, 200))
    assert bench.values == [b"1"]
    bench.answers.clear()
    bench.read(Want(Level.STALE, 199))
    (refusal,) = bench.answers
    assert isinstance(refusal, NotLeader)
    assert "200 ms old" in refusal.detail


def test_who_counts_accesses_is_told_of_keys_whose_stored_bytes_are_asked_for() -> None:
    store, noted = FakeKv(), list[bytes]()
    below = cast("Any", Replica()), store.machine, cast("Any", store)
    kv = KvService(*below, 1 << 20, READS_PENDING_MAX, None, noted.append)
    store.write(Put(b"a", b"1"), lambda outcome: None)
    (packed, nothing) = kv.stored([b"a", b"b"])
    assert nothing is None
    assert packed is not None
    assert (found := kv.plain(packed)) is not None
    assert found.value == b"1"
    assert noted == [b"a", b"b"]
