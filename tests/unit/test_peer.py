"""One connection by itself, without sockets, and the version two nodes agree on."""

from __future__ import annotations

from typing import Any

from raftcache.raft.frames import encode
from raftcache.raft.peer import Connection, LinkCounters, common_version
from tests.unit.seats import hello


def test_the_highest_common_version_is_spoken() -> None:
    assert common_version(hello(version_min=1, version_max=5)) == 1
    assert common_version(hello(version_min=2, version_max=5)) is None


class _Deaf:
    """A transport that goes nowhere."""

    def get_extra_info(self, name: str) -> _Deaf:
        return self

    def setsockopt(self, *_: int) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def writelines(self, frames: list[bytes]) -> None: ...
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
