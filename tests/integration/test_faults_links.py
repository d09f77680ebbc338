"""What may come to a node's Raft port, and who may be silent there: whole nodes go on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from raftcache.command.replies import Reply
from raftcache.command.words import Put
from raftcache.raft.engine.replication import APPEND_SIZE_BYTES_MAX
from raftcache.raft.frames import FrameDecoder, encode
from raftcache.raft.greetings import Identity
from raftcache.raft.messages import Message
from raftcache.raft.window import WINDOW_SIZE_BYTES_MAX
from tests.support.members import PATIENCE_S, Member, led, level, soon, started

ALIVE = encode({"type": "alive"})
VALUE_SIZE_BYTES = 500_000
NOISE = random.Random(7).randbytes(10_000)
STRANGER = Identity("n9", "ffffffffffffffff", 1)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(scenario, 2 * PATIENCE_S))


async def assert_serves(members: list[Member], key: bytes) -> None:
    """Through every member a write, and everywhere the read that follows it."""
    for member in members:
        assert isinstance(await member.write(Put(key, member.name.encode())), Reply)
        for reader in members:
            assert await reader.value(key) == member.name.encode()
        assert member.fatal == []


@pytest.mark.parametrize(
    "garbage",
    [
        NOISE,
        b"\xff\xff\xff\xff" + NOISE,  # a frame of 4 GiB
        struct.pack("<I", 100) + NOISE[:100],
        encode({"type": "alive"}),
        struct.pack("<I", 1 << 20),  # allowed later on, but no greeting
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["noise", "huge", "no MessagePack", "no greeting", "long greeting", "HTTP"],
)
def test_garbage_is_counted_and_cut_off(tmp_path: Path, garbage: bytes) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            term = leader.replica.status().term
            for member in members:
                async with dialled(member) as (reader, writer):
                    writer.write(garbage)
                    await ended(reader)
                assert member.counters.bad_frames == 1
            await assert_serves(members, b"key")
            assert leader.replica.status().term == term

    run(scenario())


def test_half_a_greeting_and_strangers_keep_nobody_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path) as members:
            leader = await led(members)
            async with contextlib.AsyncExitStack() as stack:
                for i in range(100):
                    _, writer = await stack.enter_async_context(dialled(leader))
                    writer.write(STRANGER.hello(leader.name)[: i % 40])
                reader, writer = await stack.enter_async_context(dialled(leader))
                writer.write(STRANGER.hello(leader.name))
                assert b"another cluster" in await ended(reader)
                await soon(lambda: leader.counters.half_open_evictions > 0, "all are kept")
                assert leader.counters.refused == 1
                follower = next(m for m in members if m is not leader)
                await follower.stop()
                await follower.start()  # there is room for its greeting
                await level(members)
                await assert_serves(members, b"key")

    run(scenario())


def test_garbage_behind_a_peers_greeting_costs_only_that_link(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path, away="n3") as members:
            await led(members)
            for member in members:
                async with greeted(member, "n3", 1) as (reader, writer):
                    writer.write(NOISE)
                    await ended(reader)
                assert member.counters.bad_frames == 1
            await assert_serves(members, b"key")

    run(scenario())


def test_a_peer_that_never_reads_is_owed_a_bounded_amount(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with started(tmp_path, away="n3") as members:
            leader = await led(members)
            async with greeted(leader, "n3", 1) as (reader, writer):
                for i in range(40):
                    writer.write(ALIVE)  # it says that it lives, and no more
                    value = bytes([i]) * VALUE_SIZE_BYTES
                    assert isinstance(await leader.write(Put(b"key", value)), Reply)
                assert leader.counters.slow_peers == 0
                # Now it reads all that waits for it, and still acknowledges nothing.
                messages = await until_only_pings(reader)
            size_bytes = sum(
                len(command)
                for message in messages
                if message["type"] == "append_entries"
                for command, _, _ in message["entries"]
            )
            assert size_bytes >= WINDOW_SIZE_BYTES_MAX
            assert size_bytes <= WINDOW_SIZE_BYTES_MAX + APPEND_SIZE_BYTES_MAX
            await level(members)

    run(scenario())


async def until_only_pings(reader: asyncio.StreamReader) -> list[Message]:
    """All messages until the leader has nothing more to send, but that it lives."""
    decoder, messages = FrameDecoder(), list[Message]()
    while len(messages) < 20 or {m["type"] for m in messages[-20:]} != {"ping"}:
        messages += decoder.feed(await reader.read(1 << 20))
    return messages


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def dialled(member: Member) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(member.address.host, member.address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def greeted(member: Member, name: str, incarnation: int) -> AsyncIterator[Streams]:
    """A link to a member under the name of a peer that does not run."""
    async with dialled(member) as (reader, writer):
        connects = member.counters.connects
        writer.write(member.greeting(incarnation, name).hello(member.name))
        await soon(lambda: member.counters.connects > connects, "the greeting was refused")
        yield reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other side closes."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            got += data
    return got
