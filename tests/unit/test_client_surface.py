"""The two clients are one: the same calls, the same words, and a timeout that every call keeps."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import tomllib
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.json import Decoder

import raftcache
from raftcache import client as door
from raftcache.client import (
    NearCache,
    NodeStatus,
    RaftcacheClient,
    SyncClient,
    Txn,
    Watch,
    replies,
)
from raftcache.errors import BadRequest, RaftcacheError, Refused, Unknown
from tests.support.fake_node import fake_cluster, fake_cluster_aside, hangs, says
from tests.support.raw_http import run

ONLY_ASYNC = {"twin", "is_closed", "remembered", "read", "newest"}
"""What the blocking ones are made of."""

PAIRS = [
    (RaftcacheClient, SyncClient),
    *((kind, getattr(door, f"Blocking{name}")) for name, kind in vars(door).items()
      if f"Blocking{name}" in vars(door)),
]  # fmt: skip


def surface(kind: type) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("kind", "blocking"), PAIRS)
def test_every_call_is_there_twice_with_the_same_words(kind: type, blocking: type) -> None:
    ours, theirs = surface(kind), surface(blocking)
    assert ours.keys() - theirs.keys() <= ONLY_ASYNC
    for name, call in theirs.items():
        if isinstance(call, property):  # of the other it may be an attribute
            assert isinstance(ours.get(name, call), property)
            continue
        assert _parameters(call) == _parameters(ours[name]), name
        assert call.__doc__, name
    if kind is RaftcacheClient:
        assert _parameters(blocking.__init__) == _parameters(kind.__init__)  # type: ignore[misc]


def _parameters(call: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(call).parameters.values())[1:]


def test_there_are_pairs() -> None:
    assert len(PAIRS) >= 4


def test_the_door_is_all_there_is() -> None:
    imported = {
        name for name, what in vars(door).items()
        if not name.startswith("_") and not inspect.ismodule(what)
    }  # fmt: skip
    assert imported == set(door.__all__)


def test_its_types_are_shipped() -> None:
    package = Path(raftcache.__file__).parent
    assert (package / "py.typed").exists()
    project = tomllib.loads((package.parent / "pyproject.toml").read_text())
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["raftcache"]


GIVEN: dict[str, Any] = {
    "key": b"k",
    "value": b"v",
    "prefix": b"k",
    "ttl_ms": 1000,
    "txn": Txn(),
    "body": b"{}",
    "index": 1,
    "name": b"lock",
    "token": 1,
    "lease": 1,
    "raft": "127.0.0.1:1",
    "take": lambda piece, size: None,
    "to": "n2",
    "load": lambda: asyncio.sleep(0, b"v"),
    "wait_ms": 0,
}
NO_ANSWER = 0.15


def calls() -> dict[str, Callable[..., Any]]:
    """All that ask the cluster: coroutines, and listings."""
    found = {
        name: call
        for name, call in surface(RaftcacheClient).items()
        if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
    }
    assert len(found) > 20
    return found


def arguments(call: Callable[..., Any]) -> dict[str, Any]:
    """What it needs, a range where it could be all keys, and no wait on top of the timeout."""
    wanted = inspect.signature(call).parameters.values()
    return {
        one.name: "n1" if (one.name, one.annotation) == ("name", "str") else GIVEN[one.name]
        for one in wanted
        if one.name != "self" and (one.default is one.empty or one.name in ("prefix", "wait_ms"))
    }


async def end_of(work: Coroutine[Any, Any, Any] | AsyncGenerator[Any, None]) -> Any:
    """What comes of it, or why nothing does."""
    try:
        async with asyncio.timeout(20.0):  # far below the client's own, for all attempts
            if inspect.isasyncgen(work):
                return [one async for one in work]
            return await work  # type: ignore[misc]
    except RaftcacheError as error:
        return error


def test_every_call_ends_in_time_when_no_node_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many nodes are silent, and however many attempts that makes."""
    monkeypatch.setattr("raftcache.client.backup.SILENCE_S", NO_ANSWER)  # its own limit

    async def test() -> None:
        async with fake_cluster() as nodes:
            for node in nodes:
                node.always = hangs
            async with RaftcacheClient([node.url for node in nodes], timeout_s=60.0) as client:
                quick = client.within(NO_ANSWER)
                works = {
                    name: end_of(getattr(quick, name)(**arguments(call)))
                    for name, call in calls().items()
                }
                ends = await asyncio.gather(*works.values())
                got = dict(zip(works, ends, strict=True))
            for name, end in got.items():
                answers = end.values() if isinstance(end, dict) else [end]
                assert all(isinstance(one, Refused | Unknown) for one in answers), (name, end)
            writes = ("put", "delete", "incr", "append", "expire", "persist", "delete_range")
            assert all(isinstance(got[name], Unknown) for name in writes), got
            assert isinstance(got["get"], Refused)
            assert isinstance(got["get_or_refill"], Unknown), "a right may have been given"

    run(test())


def test_a_watch_and_a_near_cache_open_in_time_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raftcache.client.watch.BEGIN_TIMEOUT_S", 60.0)

    async def opening(what: Watch | NearCache) -> None:
        async with what:
            raise AssertionError("it has opened")

    async def test() -> None:
        async with fake_cluster() as nodes:
            for node in nodes:
                node.always = hangs
            async with RaftcacheClient([node.url for node in nodes], timeout_s=60.0) as client:
                quick = client.within(NO_ANSWER)
                for what in (quick.watch(), quick.near_cache()):
                    assert isinstance(await end_of(opening(what)), Refused)

    run(test())


def test_a_blocking_call_ends_in_time_too() -> None:
    with fake_cluster_aside() as nodes:
        for node in nodes:
            node.always = hangs
        with SyncClient([node.url for node in nodes], timeout_s=60.0) as client:
            quick = client.within(NO_ANSWER)
            with pytest.raises(Unknown, match="may have happened"):
                quick.put(b"k", b"v")
            with pytest.raises(Refused):
                list(quick.range())
            assert sum(len(node.seen) for node in nodes) == 2, "the first one took all the time"
            with pytest.raises(BadRequest):
                client.within(0)


def test_a_forked_process_has_no_part_in_the_connections_of_a_blocking_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two processes would read each other's answers from them."""
    with fake_cluster_aside(1) as (node,), SyncClient([node.url]) as client:
        client.put(b"k", b"v")
        asked = len(node.seen)
        with monkeypatch.context() as child:
            child.setattr("os.getpid", lambda: -1)
            for call in (lambda: client.get(b"k"), lambda: list(client.range())):
                with pytest.raises(RuntimeError, match="make one after the fork"):
                    call()
            client.__exit__(None, None, None)  # nor does its end reach them
        assert len(node.seen) == asked
        assert client.get(b"k") is not None


def test_a_blocking_client_in_a_coroutine_is_refused_and_leaves_nothing() -> None:
    with fake_cluster_aside(1) as (node,), SyncClient([node.url]) as client:

        async def test() -> None:
            with pytest.raises(RuntimeError, match="running event loop"):
                client.get(b"k")

        run(test())
        assert client.get(b"k") is None


def test_a_timeout_holds_over_retries_at_nodes_that_answer_with_nothing() -> None:
    async def test() -> None:
        async with fake_cluster() as nodes:
            for node in nodes:
                node.always = says(503, "no leader", definite=True)
            async with RaftcacheClient([node.url for node in nodes], timeout_s=60.0) as client:
                end = await end_of(client.within(NO_ANSWER).put(b"k", b"v"))
                assert isinstance(end, Refused)
                assert sum(len(node.seen) for node in nodes) > 3

    run(test())


def test_a_client_with_another_timeout_is_the_same_client() -> None:
    async def test() -> None:
        async with fake_cluster() as (n1, n2, n3):
            n1.always = hangs
            async with RaftcacheClient([n1.url, n2.url, n3.url], timeout_s=5.0) as client:
                other = client.within(4.0)
                await other.put(b"k", b"v")
                assert isinstance(await client.cluster(), NodeStatus)
                assert len(n1.seen) == 1, "what one learns of a silent node the other knows"
                for timeout_s in (0, -1, 1e9):
                    with pytest.raises(BadRequest):
                        client.within(timeout_s)

    run(test())


def test_what_bodies_look_like_is_learnt_by_one_thread_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """msgspec ends the process where two of them look at a type for the first time."""
    alone, made = threading.Lock(), []

    def make(shape: type) -> Decoder[Any]:
        assert alone.acquire(blocking=False), "two threads at a time"
        time.sleep(0.05)  # so that others would come in between, were they let in
        made.append(shape)
        alone.release()
        return Decoder(shape)

    monkeypatch.setattr(replies, "Decoder", make)

    class Body(msgspec.Struct):
        value: int

    with ThreadPoolExecutor(8) as threads:
        decoders = list(threads.map(lambda _: replies.decoder_of(Body), range(8)))
    assert made == [Body]
    assert {id(decoder) for decoder in decoders} == {id(replies.decoder_of(Body))}
