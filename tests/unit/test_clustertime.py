"""Cluster time: never back, whatever the wall clocks say; late by a message at most."""

from __future__ import annotations

from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.engine import last_stamp_ms
from raftcache.raft.entries import NO_OP, Entry, Position, Recovered
from raftcache.raft.log import Log


class Clock:
    """Both clocks stand until they are moved, each by itself."""

    def __init__(self) -> None:
        self.now_s, self.now_ms = 100.0, 1_000_000

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return self.now_ms


def test_a_cold_start_takes_the_wall_clock_once() -> None:
    clock = Clock()
    time = ClusterTime(clock, 0)
    time.lead()
    assert time.stamp_ms() == 1_000_000
    clock.now_ms = 5_000_000  # somebody sets the clock
    clock.now_s += 2
    assert time.stamp_ms() == 1_002_000


def test_a_wall_clock_that_was_set_back_moves_nothing_back() -> None:
    time = ClusterTime(Clock(), 9_000_000)
    time.lead()
    assert time.stamp_ms() == 9_000_000


def test_a_new_leader_goes_on_from_what_it_heard() -> None:
    clock = Clock()
    time = ClusterTime(clock, 0)
    time.hear(50)
    clock.now_s += 0.25
    time.lead()
    assert time.stamp_ms() == 300


def test_a_fast_follower_takes_the_leaders_word() -> None:
    clock = Clock()
    time = ClusterTime(clock, 0)
    time.hear(1000)
    clock.now_s += 10
    assert time.now_ms() == 11_000
    time.hear(2000)
    assert time.now_ms() == 2000


def test_stamps_never_fall() -> None:
    clock = Clock()
    time = ClusterTime(clock, 0)
    time.lead()
    first = time.stamp_ms()
    time.hear(10)  # a leader whose clock was late; its entries never reached a majority
    time.lead()
    assert time.stamp_ms() == first
    time.applied(first + 500)
    assert time.stamp_ms() == first + 500


def test_the_last_stamp_of_a_log_is_not_always_in_its_last_entry() -> None:
    stamped = b"\x00" + (77).to_bytes(8, "little") + b"batch"
    rows = [Entry(stamped, 2, 1), Entry(NO_OP, 3, 2)]
    assert last_stamp_ms(Log(Recovered(rows, Position(1, 0)))) == 77
    assert last_stamp_ms(Log(Recovered([], Position(9, 3)))) == 0
    assert last_stamp_ms(Log()) == 0
