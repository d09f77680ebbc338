"""The client's ranges and transactions against the real front door and state machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from raftcache.client import Entry, RaftcacheClient, Status, SyncClient, Txn, TxnResult
from raftcache.command.words import Put
from raftcache.errors import BadRequest, Compacted, NotFound, NotLeader, Refused, TooLarge
from tests.support.raw_http import Served, run, serving
from tests.unit.test_http_ranges import apply

Test = Callable[[RaftcacheClient, Served], Awaitable[None]]
KEYS = (b"a", b"a/1", b"a/2", b"b", b"\xff&")


def play(test: Test) -> None:
    async def inner() -> None:
        async with serving() as served:
            apply(served, *[Put(key, key, "text/plain") for key in KEYS])
            url = f"http://127.0.0.1:{served.server.listening.port}"
            async with RaftcacheClient([url], timeout_s=3.0) as client:
                await test(client, served)

    run(inner())


async def keys(client: RaftcacheClient, **asked: Any) -> list[bytes]:
    return [entry.key async for entry in client.range(**asked)]


def test_a_range_pages_by_itself_at_one_revision() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        listing = client.range(page_keys=2)
        first = await anext(listing)
        assert first == Entry(b"a", b"a", "text/plain", 1, 1, 1, None)
        await client.put(b"a/3", b"new")
        await client.delete(b"b")
        assert [entry.key async for entry in listing] == list(KEYS[1:])
        assert await keys(client) == [b"a", b"a/1", b"a/2", b"a/3", b"\xff&"]
        assert await keys(client, prefix=b"a/") == [b"a/1", b"a/2", b"a/3"]
        assert await keys(client, prefix=b"\xff") == [b"\xff&"]
        assert await keys(client, start=b"a/2", end=b"\xff") == [b"a/2", b"a/3"]
        bare = [entry.value async for entry in client.range(keys_only=True, consistency="stale")]
        assert bare == [b""] * 5
        assert await client.count() == 5
        assert await client.count(prefix=b"a/", consistency="lease") == 3

    play(test)


def test_a_use_is_noted() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        touched = await client.touch(b"a")
        assert (touched.status, touched.applied) == (Status.UNCHANGED, True)
        assert not (await client.touch(b"absent")).applied

    play(test)


def test_a_range_is_deleted_by_name() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        done = await client.delete_range(prefix=b"a/", idempotency_key="t")
        assert (done.status, done.number, done.revision) == (Status.DELETED, 2, 6)
        again = await client.delete_range(prefix=b"a/", idempotency_key="t")
        assert (again.number, again.replayed) == (2, True)
        assert (await client.delete_range(start=b"c", end=b"d")).status is Status.MISSING
        for asked in ({}, {"prefix": b""}, {"start": b"a", "end": b""}):
            with pytest.raises(BadRequest, match="must say which keys"):
                await client.delete_range(**asked)
        with pytest.raises(BadRequest, match="everything excludes"):
            await client.delete_range(prefix=b"a", everything=True)
        with pytest.raises(BadRequest, match="not both"):
            await client.delete_range(prefix=b"a", start=b"a")
        assert (await client.delete_range(everything=True)).number == 3
        assert await client.count() == 0

    play(test)


def test_a_transaction_answers_for_each_operation() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        txn = Txn().when(b"a", "value", "=", b"a").when(b"x", "exists", "=", False)
        txn.then.put(b"n", b"41", ttl_ms=1000, content_type="a/b").incr(b"n").append(b"a", b"!")
        txn.then.get(b"n").get(b"none").range(prefix=b"a/", limit=1, keys_only=True).count()
        txn.then.expire(b"a", 500).touch(b"a").persist(b"a").delete(b"none")
        txn.then.delete_range(prefix=b"a/")
        txn.otherwise.get(b"a")
        done = await client.txn(txn)
        n = Entry(b"n", b"42", "a/b", 6, 6, 1, 1000)
        listed = Entry(b"a/1", b"", "text/plain", 2, 2, 1, None)
        assert (done.succeeded, done.revision, done.replayed) == (True, 6, False)
        assert done.results == (
            TxnResult(created=True, version=1),
            TxnResult(42),
            TxnResult(2),
            TxnResult(entries=(n,)),
            TxnResult(),
            TxnResult(entries=(listed,), more=True),
            TxnResult(6),
            TxnResult(ttl_ms=500),
            TxnResult(ttl_ms=500),
            TxnResult(),
            TxnResult(0),
            TxnResult(2),
        )
        assert done.results[3].entry == n
        assert done.results[4].entry is None
        other = await client.txn(txn)
        assert (other.succeeded, other.results[0].entry is not None) == (False, True)

    play(test)


def test_a_transaction_is_applied_once() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        txn = Txn()
        txn.then.incr(b"n")
        first = await client.txn(txn, idempotency_key="t")
        again = await client.txn(txn, idempotency_key="t")
        assert (again.results, again.replayed) == (first.results, True)

    play(test)


@pytest.mark.parametrize(
    ("add", "error", "why"),
    [
        (lambda b: b.touch(b"x"), NotFound, r"success\[1\]: there is no such key"),
        (lambda b: b.incr(b"b"), BadRequest, r"success\[1\]: the value is no signed"),
        (lambda b: b.put(b"large", bytes(17000)).get(b"large"), TooLarge, r"success\[2\]: what it"),
        (lambda b: b.expire(b"a", 0), BadRequest, r"success\[1\]: ttl='0ms' is not from 1 ms"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(
    add: Callable[[Any], object], error: type[Exception], why: str
) -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        txn = Txn()
        add(txn.then.put(b"a", b"changed"))
        with pytest.raises(error, match=why):
            await client.txn(txn)
        assert served.kv.machine.revision == len(KEYS)

    play(test)


def test_a_compare_is_of_one_kind() -> None:
    with pytest.raises(BadRequest, match="version is not compared with bytes"):
        Txn().when(b"a", "version", "=", b"1")
    with pytest.raises(BadRequest, match="value is not compared with int"):
        Txn().when(b"a", "value", "=", 1)
    with pytest.raises(BadRequest, match="must not be empty"):
        Txn().when(b"", "value", "=", b"1")


def test_a_listing_that_is_forgotten_says_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 0)

    async def test(client: RaftcacheClient, served: Served) -> None:
        page = await client.page(limit=1)
        await client.put(b"c", b"")
        with pytest.raises(Compacted) as caught:
            await client.page(limit=1, after=page.after)
        assert caught.value.oldest_revision == 6

    play(test)


def test_nobody_who_can_answer_is_a_refusal() -> None:
    async def test(client: RaftcacheClient, served: Served) -> None:
        served.kv.error = NotLeader("nobody")
        with pytest.raises(Refused):
            await client.count()

    play(test)


@contextmanager
def served_aside() -> Iterator[str]:
    """The URL of a front door on a thread of its own."""
    urls: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving() as served:
            apply(served, *[Put(key, key) for key in KEYS])
            urls.append(f"http://127.0.0.1:{served.server.listening.port}")
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield urls[0]
    finally:
        over.set()
        thread.join()


def test_the_blocking_client_has_the_same_calls() -> None:
    with served_aside() as url, SyncClient([url]) as client:
        assert [entry.key for entry in client.range(page_keys=2)] == list(KEYS)
        for entry in client.range(page_keys=1):
            assert entry.key == b"a"
            break
        unfinished = client.range(page_keys=1)
        assert next(unfinished).key == b"a"
        assert client.count(prefix=b"a") == 3
        assert client.page(limit=1).after is not None
        txn = Txn()
        txn.then.delete_range(start=b"b").get(b"a")
        assert client.txn(txn).results[0].number == 2
        assert client.delete_range(everything=True).number == 3
    unfinished.close()  # type: ignore[attr-defined]
