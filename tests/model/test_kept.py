"""Answers that are kept, against those that are written down anew: whatever happens to the keys.

Each door is asked for the same keys in two ways: as nearly all clients ask, which may be answered
by what was kept, and so that it cannot be.
"""

from __future__ import annotations

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftcache.command.calls import Calls
from raftcache.command.leasing import LeaseGrant
from raftcache.command.words import Command, Delete, Expire, LeasedPut, Persist, Put, Tick
from raftcache.server.kept import ANSWER_SIZE_BYTES_MAX, KEPT_MAX, KEPT_SIZE_BYTES_MAX, Kept
from tests.support.fake_kv import FakeKv
from tests.support.raw_http import Client, Served, request, run, serving
from tests.support.redis_door import redis_door
from tests.support.resp_wire import packed

KEYS = (b"a", b"b", b"c")
LEASE, TTL_MS = 1, 1000
TIME, SWEEP = "time passes", "what is kept is let go"

keys = st.sampled_from(KEYS)
values = st.sampled_from([b"1", b"22", b"v" * 64, b"v" * ANSWER_SIZE_BYTES_MAX])
commands = st.one_of(
    st.builds(Put, keys, values, st.sampled_from(["", "text/plain"])),
    st.builds(Put, keys, values, st.just(""), st.just(TTL_MS)),
    st.builds(LeasedPut, keys, values, st.just(LEASE)),
    st.builds(Delete, keys),
    st.builds(Expire, keys, st.just(TTL_MS)),
    st.builds(Persist, keys),
    st.builds(lambda key: Calls(((b"HSET", key, b"f", b"v"),), 1 << 20), keys),
)
steps = st.lists(st.one_of(commands, st.sampled_from([TIME, SWEEP])), max_size=20)


def do(kv: FakeKv, step: Command | str, kept: Kept) -> None:
    if step == SWEEP:
        kept.clear()
        return
    if step == TIME:
        kv.time_ms += TTL_MS // 2
    kv.write(Tick() if isinstance(step, str) else step, lambda outcome: None)


def begin(kv: FakeKv) -> None:
    """LEASE is there, since this takes the first revision."""
    kv.write(LeaseGrant(3 * TTL_MS), lambda outcome: None)


@settings(deadline=None)
@given(steps)
def test_over_http(steps: list[Command | str]) -> None:
    async def test() -> None:
        async with serving() as served:
            client, kept = await served.connect(), kept_by(served)
            begin(served.kv)
            await client.ask(request("GET", "/v1/kv/a"))  # from here on such ones are known
            for step in steps:
                do(served.kv, step, kept)
                for key in KEYS:
                    await same_over_http(client, key.decode())

    run(test())


def kept_by(served: Served) -> Kept:
    assert served.server._port is not None
    return served.server._port.gets.kept


async def same_over_http(client: Client, key: str) -> None:
    parsed = await client.ask(request("GET", f"/v1/kv/{key}", headers={"X-Other": "1"}))
    for _ in range(2):
        assert (await client.ask(request("GET", f"/v1/kv/{key}"))).plain == parsed.plain


def test_over_http_the_hint_to_the_leader_is_the_present_one() -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            served.kv.write(Put(b"a", b"1"), lambda outcome: None)
            for url in ("", "http://one:1", "http://two:2", ""):
                served.server._leader_url = lambda url=url: url
                answer = await client.ask(request("GET", "/v1/kv/a"))
                while answer.headers.get("x-raftcache-leader", "") != url:
                    answer = await client.ask(request("GET", "/v1/kv/a"))
                assert answer.body == b"1"

    run(test())


@example([Put(key, b"the value of " + key) for key in KEYS])
@settings(deadline=None)
@given(steps)
def test_over_redis(steps: list[Command | str]) -> None:
    async def test() -> None:
        async with redis_door() as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            begin(door.kv)
            for step in steps:
                do(door.kv, step, door.kept)
                for some in (KEYS[:1], KEYS[:2], KEYS):
                    await same_over_redis(reader, writer, some)
            writer.close()
            await writer.wait_closed()

    run(test())


async def same_over_redis(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, some: tuple[bytes, ...]
) -> None:
    async def ask(data: bytes) -> list[bytes]:
        writer.write(data)
        return [await reply(reader) for _ in some]

    inline = await ask(b"".join(b"GET %b\r\n" % key for key in some))
    for _ in range(3):
        assert await ask(b"".join(packed([b"GET", key]) for key in some)) == inline


async def reply(reader: asyncio.StreamReader) -> bytes:
    """A string, a null or an error, as it came."""
    line = await reader.readline()
    size = int(line[1:]) if line.startswith(b"$") else -1
    return line if size < 0 else line + await reader.readexactly(size + 2)


def test_no_more_are_kept_than_there_is_room_for() -> None:
    kept = Kept()
    for number in range(KEPT_MAX + 1):
        kept.add(b"%d" % number, b"answer")
    assert kept.get(b"%d" % (KEPT_MAX - 1)) == b"answer"
    assert kept.get(b"%d" % KEPT_MAX) is None
    kept.sweep()
    assert kept.get(b"0") is None
    kept.add(b"long", b"v" * (ANSWER_SIZE_BYTES_MAX + 1))
    assert kept.get(b"long") is None
    kept.add(b"0", b"answer")
    kept.sweep()
    assert kept.get(b"0") == b"answer", "there was room"


def test_no_more_bytes_are_kept_than_there_is_room_for() -> None:
    kept, size_bytes, number = Kept(), 0, 0
    answer = b"v" * ANSWER_SIZE_BYTES_MAX
    kept.add(b"0", answer)
    while kept.get(b"%d" % number) is not None:
        size_bytes += len(b"%d" % number) + len(answer)
        kept.add(b"%d" % number, answer)  # which takes no room
        number += 1
        kept.add(b"%d" % number, answer)
    assert KEPT_SIZE_BYTES_MAX * 0.99 < size_bytes <= KEPT_SIZE_BYTES_MAX
    kept.sweep()
    assert kept.get(b"0") is None
