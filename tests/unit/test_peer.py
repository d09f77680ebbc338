"""The parts of links that need no sockets: one connection, versions, waits between dials."""

from __future__ import annotations

from typing import Any

from raftcache.command.versions import PROTOCOL_MAX
from raftcache.raft.frames import encode
from raftcache.raft.greetings import common_version
from raftcache.raft.pace import Backoff, Pace
from raftcache.raft.peer import Connection, LinkCounters
from tests.unit.seats import SeededDice, hello


def test_the_highest_common_version_is_spoken() -> None:
    assert common_version(hello(version_min=1, version_max=1)) == 1
    newer = PROTOCOL_MAX + 1
    assert common_version(hello(version_min=1, version_max=newer)) == PROTOCOL_MAX
    assert common_version(hello(version_min=newer, version_max=newer)) is None


def test_redials_slow_down_within_bounds_and_start_afresh_after_a_link() -> None:
    pace = Pace(redial_min_s=0.05, redial_max_s=1.0)
    backoff = Backoff(pace, SeededDice())
    spans_s = [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    waits_s = [backoff.next_s() for _ in spans_s]
    assert all(s / 2 <= w <= s for s, w in zip(spans_s, waits_s, strict=True))
    assert len(set(waits_s[-3:])) == 3, "the same span, but never the same wait"
    backoff.reset()
    assert backoff.next_s() <= 0.05


class _Deaf:
    """A transport that goes nowhere."""

    def get_extra_info(self, name: str) -> _Deaf:
        return self

    def setsockopt(self, *_: int) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, frames: bytes) -> None: ...
    def abort(self) -> None: ...


class _Silent:
    """An owner that only notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.told.append(name)


def test_a_closed_connection_hears_nothing_and_ends_once() -> None:
    owner = _Silent()
    connection = Connection(owner, LinkCounters())
    connection.connection_made(_Deaf())  # type: ignore[arg-type]
    connection.data_received(encode(hello()))
    connection.abort("enough")
    connection.data_received(encode({"type": "term", "term": 1}))
    connection.connection_lost(None)
    connection.connection_lost(None)
    assert owner.told == ["on_open", "on_messages", "on_closed"]
    assert connection.why == "enough"


def test_a_connection_that_sends_is_not_idle() -> None:
    connection = Connection(_Silent(), LinkCounters())
    connection.connection_made(_Deaf())  # type: ignore[arg-type]
    connection.idle_beats = 5
    connection.flush()
    assert connection.idle_beats == 5, "there was nothing to send"
    connection.send_now(encode({"type": "alive"}))
    assert connection.idle_beats == 0
