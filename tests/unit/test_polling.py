"""Busy polling: how long a loop is kept awake, and when not."""

from __future__ import annotations

from collections.abc import Callable

from raftcache.raft.polling import BUSY_POLL_S, RESTS_MAX, BusyPoll


class _Hands:
    """A loop whose turns and a clock whose time go by hand, and something that is awaited."""

    def __init__(self) -> None:
        self.now_s, self.is_awaited = 0.0, False
        self._ready: list[Callable[[], None]] = []
        self.poll = BusyPoll(self, self, lambda: self.is_awaited)  # type: ignore[arg-type]

    def monotonic_s(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._ready.append(callback)

    def turn(self) -> bool:
        """Whether the loop would not have gone to sleep before it."""
        ready, self._ready = self._ready, []
        assert len(ready) <= 1, "one look in a turn is enough"
        for callback in ready:
            callback()
        return bool(ready)

    def waits(self, takes_s: float) -> bool:
        """Whether a wait of so many seconds is polled for, at least at first."""
        self.is_awaited, begun_s = True, self.now_s
        self.poll.begin()
        is_polled = self.turn()
        while self.now_s < begun_s + takes_s:
            self.now_s += BUSY_POLL_S / 8
            self.turn()
        self.is_awaited = False
        self.turn()
        assert not self.turn(), "the loop sleeps when nothing is awaited"
        return is_polled


def test_the_loop_is_awake_until_what_is_awaited_has_come() -> None:
    hands = _Hands()
    hands.is_awaited = True
    hands.poll.begin()
    assert all(hands.turn() for _ in range(20))
    hands.is_awaited = False
    assert hands.turn(), "it sees this"
    assert not hands.turn()
    assert all(hands.waits(BUSY_POLL_S / 2) for _ in range(3 * RESTS_MAX)), "every time"


def test_another_wait_begins_while_one_is_polled_for() -> None:
    hands = _Hands()
    hands.is_awaited = True
    hands.poll.begin()
    for _ in range(10):
        hands.now_s += BUSY_POLL_S / 2
        hands.poll.begin()
        assert hands.turn()
        assert hands.turn()
    hands.now_s += BUSY_POLL_S
    assert hands.turn()
    assert not hands.turn(), "its time is over"


def test_waits_that_are_too_long_are_slept_through_and_more_of_them_each_time() -> None:
    hands = _Hands()

    def rests() -> int:
        """How many waits in a row are slept through, up to one that is polled for in vain."""
        return next(n for n in range(1000) if hands.waits(2 * BUSY_POLL_S))

    assert [rests() for _ in range(10)] == [0, 1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert RESTS_MAX == 64
    while not hands.waits(BUSY_POLL_S / 2):
        pass  # at last it is polled for one that is short enough
    assert [rests() for _ in range(4)] == [0, 1, 2, 4]
