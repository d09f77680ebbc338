"""The near cache over the real front door, hub and state machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from raftcache.client import (
    Change,
    Changes,
    Entry,
    NearCache,
    Page,
    RaftcacheClient,
    SyncClient,
)
from raftcache.client.near_memory import Known
from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.command.words import Put
from raftcache.errors import BadRequest, Refused, TooLarge
from tests.support.raw_http import Served, run, serving, until
from tests.unit.test_client_ranges import served_aside
from tests.unit.test_http_ranges import apply

Test = Callable[[NearCache, RaftcacheClient, Served], Awaitable[None]]


def play(test: Test, **asked: Any) -> None:
    async def inner() -> None:
        async with serving() as served:
            apply(served, Put(b"k", b"1", "text/plain"))
            url = f"http://127.0.0.1:{served.server.listening.port}"
            async with (
                RaftcacheClient([url], timeout_s=3.0) as client,
                client.near_cache(**asked) as near,
            ):
                await test(near, client, served)

    run(inner())


class Reads:
    """The pages that a client is asked for: counted, and held back when told to."""

    def __init__(self, client: RaftcacheClient) -> None:
        self._page, self.count = client.page, 0
        self.here, self.go_on = asyncio.Event(), asyncio.Event()
        self.holds = False
        client.page = self.page  # type: ignore[method-assign]

    async def page(self, **asked: Any) -> Page:
        page = await self._page(**asked)
        if not asked.get("keys_only"):  # which is how it asks for the revision
            self.count += 1
            self.here.set()
            if self.holds:
                await self.go_on.wait()
        return page


def value(entry: Entry | None) -> bytes | None:
    return None if entry is None else entry.value


async def becomes(near: NearCache, key: bytes, expected: bytes | None) -> None:
    while value(await near.get(key)) != expected:  # noqa: ASYNC110 (nobody tells a test)
        await asyncio.sleep(0.002)


def test_it_is_filled_on_a_miss_and_changed_by_events() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        reads = Reads(client)
        assert near.revision == 1
        first = await near.get(b"k")
        assert first == Entry(b"k", b"1", "text/plain", 1, 1, 1, None)
        assert await near.get(b"absent") is None
        assert (await near.get(b"k"), await near.get(b"absent")) == (first, None)
        await client.put(b"k", b"2")
        await client.put(b"absent", b"here")
        await until(lambda: near.revision == 3)
        assert value(await near.get(b"k")) == b"2"
        assert value(await near.get(b"absent")) == b"here"
        await client.delete(b"k")
        await until(lambda: near.revision == 4)
        assert await near.get(b"k") is None
        assert reads.count == 2
        assert (near.statistics.hits, near.statistics.misses) == (5, 2)
        assert near.is_connected
        assert 0 <= near.age_s < 20

    play(test)


def test_an_answer_sent_before_a_write_does_not_overwrite_its_event() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        reads = Reads(client)
        reads.holds = True
        reading = asyncio.create_task(near.get(b"k"))
        await reads.here.wait()
        written = await client.put(b"k", b"2")
        await until(lambda: near.revision == written.revision)
        reads.go_on.set()
        assert value(await reading) == b"2"
        assert value(await near.get(b"k")) == b"2"

        reads.go_on.clear()
        reads.here.clear()
        absent = asyncio.create_task(near.get(b"new"))
        await reads.here.wait()
        written = await client.put(b"new", b"3")
        await until(lambda: near.revision == written.revision)
        reads.go_on.set()
        assert value(await absent) == b"3"
        assert reads.count == 2

    play(test)


def test_one_read_is_enough_for_all_but_those_who_know_better() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        served.replica.state_age_s = 10  # the node ends its watches: no event comes
        await until(lambda: not near.is_connected)
        reads = Reads(client)
        reads.holds = True
        several = [asyncio.create_task(near.get(b"k")) for _ in range(5)]
        await reads.here.wait()
        several[0].cancel()
        written = await client.put(b"k", b"2")
        better = asyncio.create_task(near.get(b"k", at_least=written.revision))
        await asyncio.sleep(0)
        reads.holds = False
        reads.go_on.set()
        assert [value(await one) for one in several[1:]] == [b"1"] * 4
        assert value(await better) == b"2"
        assert reads.count == 2
        assert value(await near.get(b"k")) == b"2", "what was shown is not taken back"
        with pytest.raises(BadRequest, match="has not been yet"):
            await near.get(b"k", at_least=written.revision + 1)

    play(test)


def test_who_is_told_late_is_not_told_less_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between an answer and those who waited for it an event may come, and be shown to others."""

    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        fill, entry = near._memory.fill, Entry(b"k", b"2", "", 9, 1, 2, None)

        def filled(*said: Any) -> Known:
            known = fill(*said)
            near._memory.apply(Changes(9, (Change("put", b"k", entry),)))
            return known

        monkeypatch.setattr(near._memory, "fill", filled)
        assert value(await near.get(b"k")) == b"2"

    play(test)


def test_nobody_joins_a_read_that_is_over() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        page, seen = client.page, []

        async def last(**asked: Any) -> Page:
            got = await page(**asked)
            asyncio.get_running_loop().call_soon(lambda: seen.append(list(near._fills)))
            return got

        client.page = last  # type: ignore[method-assign]
        assert await near.get(b"k")
        assert seen[0] == []

    play(test)


def test_who_is_cancelled_is_not_told_that_it_was_closed() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        reads = Reads(client)
        reads.holds = True
        async with client.near_cache() as other:
            waiting = asyncio.create_task(other.get(b"k"))
            await reads.here.wait()
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    play(test)


def test_cut_off_it_says_so_and_asks_the_cluster() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        await near.get(b"k")
        served.replica.state_age_s = 10
        await until(lambda: not near.is_connected)
        assert value(await near.get(b"k")) == b"1"
        await client.put(b"k", b"2")
        await becomes(near, b"k", b"2")
        revision = near.revision
        await until(lambda: near.age_s > 0.3)
        reads = Reads(client)
        await near.get(b"k")
        assert (reads.count, near.revision) == (1, revision)
        served.kv.error = Refused("nobody leads")
        with pytest.raises(Refused):
            await near.get(b"k")

        served.kv.error = None
        served.replica.state_age_s = 0
        await until(lambda: near.is_connected and near.age_s < 0.3)
        assert near.revision == revision + 1, "it resumed"
        before = reads.count
        assert value(await near.get(b"k")) == b"2"
        assert reads.count == before

    play(test, staleness_s_max=0.3)


def test_it_begins_anew_when_what_comes_next_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 2)
    monkeypatch.setattr("raftcache.client.near.PAUSE_S", 0.01)

    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        await near.get(b"k")
        assert near.statistics.keys == 1
        served.replica.state_age_s = 10
        await until(lambda: not near.is_connected)
        for i in range(9):
            await client.put(b"k", b"%d" % i)
        served.replica.state_age_s = 0
        await until(lambda: near.revision >= 10)
        assert near.is_connected
        assert near.statistics.keys == 0
        assert value(await near.get(b"k")) == b"8"

    play(test)


def test_of_a_prefix() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        longest = b"k" * KEY_SIZE_BYTES_MAX
        assert await near.get(longest) is None
        await client.put(longest, b"x")
        await until(lambda: near.revision == 2)
        assert value(await near.get(longest)) == b"x"
        for key, error in ((b"", BadRequest), (b"other", BadRequest), (longest + b"k", TooLarge)):
            with pytest.raises(error):
                await near.get(key)

    play(test, prefix=b"k")


def test_the_empty_key() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        with pytest.raises(BadRequest):
            await near.get(b"")

    play(test)


@pytest.mark.parametrize(
    "asked",
    [
        {"size_bytes_max": 0},
        {"staleness_s_max": 0.0},
        {"staleness_s_max": float("inf")},
        {"staleness_s_max": float("nan")},
        {"prefix": b"k" * 1025},
    ],
)
def test_what_cannot_be_meant(asked: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        RaftcacheClient(["http://127.0.0.1:9"]).near_cache(**asked)


def test_open_and_closed() -> None:
    async def test(near: NearCache, client: RaftcacheClient, served: Served) -> None:
        unopened = client.near_cache()
        with pytest.raises(Refused, match="not open"):
            await unopened.get(b"k")
        async with client.near_cache() as other:
            await other.get(b"k")
            reads = Reads(client)
            reads.holds = True
            waiting = asyncio.create_task(other.get(b"new"))
            await reads.here.wait()
        with pytest.raises(Refused, match="was closed"):
            await waiting
        with pytest.raises(Refused, match="not open"):
            await other.get(b"k")

    play(test)


def test_blocking_for_several_threads() -> None:
    with (
        served_aside() as url,
        SyncClient([url]) as client,
        client.near_cache(prefix=b"a", size_bytes_max=10_000) as near,
        ThreadPoolExecutor(4) as threads,
    ):
        assert near.is_connected
        assert near.get(b"a") == near.get(b"a")
        assert near.get(b"absent") is None
        assert (near.statistics.hits, near.statistics.misses) == (1, 2)
        revision = client.put(b"a", b"new").revision
        seen = threads.map(lambda key: near.get(key, at_least=revision), [b"a", b"a/1"] * 50)
        assert [value(entry) for entry in seen] == [b"new", b"a/1"] * 50
        assert near.revision <= revision
        assert near.age_s < 20
        assert near.statistics.hits > 50
        with pytest.raises(BadRequest):
            near.get(b"other")
    with pytest.raises(Refused):
        near.get(b"a")


def test_blocking_without_a_cluster() -> None:
    with (
        SyncClient(["http://127.0.0.1:9"], timeout_s=0.1) as client,
        pytest.raises(Refused),
        client.near_cache(),
    ):
        pass
