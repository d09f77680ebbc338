"""The quick way past the parser against the parser: the same bytes, however cut, the same answers.

Two front doors get the same stream. One knows refrains; the other gives the parser every byte, one
at a time, since of several the parser forgets the requests before one that it refuses. A smuggled
request would be answered, or change something, at one of them only.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftcache.server import refrains
from raftcache.server.hot import HotConnection
from raftcache.server.outgoing import PIPELINED_MAX
from raftcache.server.refrains import (
    BODY_SIZE_BYTES_MAX,
    HEAD_END,
    LEARNT_MAX,
    REFRAINS_MAX,
    Refrains,
)
from raftcache.state.machine import Machine
from tests.support.raw_http import Served, request, run, serving, until
from tests.support.watching import HandLoop

TURNS = 30
"""Of the loop without an answer, after which none comes: the application needs three or four."""

ENDS_EARLY = re.compile(rb"[^\r]\n\r\n")
"""To the parser a request line without a version may end so, and the head with it."""


class AtOnce(HandLoop):
    """Puts nothing off to the end of a turn."""

    def call_soon(self, callback: Callable[..., object], *args: object) -> object:
        return callback(*args)


AT_ONCE = AtOnce()


class Wire(asyncio.Transport):
    """The server's end of a connection that a test holds the other end of."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_open = self.is_read = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return not self.is_open

    def close(self) -> None:
        self.is_open = False

    abort = close


def answers(sent: bytes) -> list[tuple[int, frozenset[bytes], bytes]]:
    """What was sent, without what tells a hot answer from one of the application."""
    found = []
    while sent:
        head, _, rest = sent.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        fields = dict(each.lower().split(b": ", 1) for each in lines)
        size = int(fields.get(b"content-length", b"0"))
        shown = {n + b": " + v for n, v in fields.items() if n not in (b"date", b"server")}
        found.append((int(line.split(b" ")[1]), frozenset(shown), rest[:size]))
        sent = rest[size:]
    return found


@dataclass
class Door:
    """A front door; quick: it may know refrains."""

    served: Served
    quick: bool

    async def play(self, pieces: list[bytes], holds: bool) -> dict[str, Any]:
        """What becomes of a connection that sends these pieces and no more, and of the keys.

        holds: nothing is answered until nothing more is read.
        """
        kv = self.served.kv
        kv.machine = Machine()
        kv.commands.clear()
        kv.holding = holds
        connection, wire = self.connect()
        await asyncio.sleep(0)  # its task begins
        waiting = [piece for piece in pieces if piece]
        await self._settle(connection, wire, waiting)
        read = not waiting
        awaited = read and wire.is_open and connection._awaits_client()
        stays = read and wire.is_open and connection.eof_received()
        while kv.held or (waiting and wire.is_open):
            kv.release()
            await self._settle(connection, wire, waiting)
        told = {
            "answers": answers(wire.sent),
            "commands": list(kv.commands),
            "open": wire.is_open,
            "awaited": awaited,
            "stays": stays,
            "lost": self.quick and connection._steps.is_lost,
        }
        connection.connection_lost(None)
        await asyncio.sleep(0)
        return told

    def connect(self) -> tuple[HotConnection, Wire]:
        port, runner = self.served.server._port, self.served.server._runner
        assert port is not None
        assert runner is not None
        assert runner.server is not None
        connection, wire = HotConnection(port, runner.server), Wire()
        self.served.kv.loop = AT_ONCE  # as what is parsed is answered: then they can be compared
        if not self.quick:
            connection._steps.lose()
        connection.connection_made(wire)
        return connection, wire

    async def _settle(self, connection: HotConnection, wire: Wire, waiting: list[bytes]) -> None:
        """Let happen what will."""
        quiet = 0
        while quiet < TURNS and wire.is_open and (waiting or not connection.is_idle):
            before = len(wire.sent), len(waiting)
            if waiting and wire.is_read and wire.is_open:
                self._hear(connection, wire, waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if before == (len(wire.sent), len(waiting)) else 0

    def _hear(self, connection: HotConnection, wire: Wire, waiting: list[bytes]) -> None:
        piece = waiting.pop(0)
        if self.quick:
            connection.data_received(piece)
            return
        for at in range(len(piece)):
            if not (wire.is_read and wire.is_open):
                waiting.insert(0, piece[at:])
                break
            connection.data_received(piece[at : at + 1])


def one_of_its_faults(told: dict[str, Any]) -> dict[str, Any]:
    """The same, if the parser refuses what has two: which of them it finds, the pieces decide."""
    *others, last = told["answers"] or [None]
    if told["open"] or last is None or last[0] != 400:
        return told
    fields = frozenset(each for each in last[1] if not each.startswith(b"content-length:"))
    return {**told, "answers": [*others, (400, fields)]}


@dataclass
class Pair:
    """The two doors, and the loop that they run on."""

    loop: asyncio.AbstractEventLoop
    quick: Door
    parsed: Door

    def same(self, pieces: list[bytes], holds: bool = False) -> dict[str, Any]:
        async def both() -> tuple[dict[str, Any], dict[str, Any]]:
            return await self.quick.play(pieces, holds), await self.parsed.play(pieces, holds)

        quick, parsed = self.loop.run_until_complete(both())
        del parsed["lost"]
        if quick.pop("lost") or ENDS_EARLY.search(b"".join(pieces)):
            # Then the parser may get more than one request at once, and forget, as said above.
            told = quick["answers"][:-1], quick["commands"]
            answered, done = len(told[0]), len(told[1])
            assert told == (parsed["answers"][:answered], parsed["commands"][:done])
        else:
            assert one_of_its_faults(quick) == one_of_its_faults(parsed)
        return quick

    def teach(self, *heads: bytes) -> None:
        """Let the quick door know how these end, and nothing else."""
        port = self.quick.served.server._port
        assert port is not None
        port.refrains.known.clear()
        for head in heads:
            self.loop.run_until_complete(self.quick.play([head], holds=False))
        assert len(port.refrains.known) == len(heads)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    loop, stack = uvloop.new_event_loop(), contextlib.AsyncExitStack()

    async def start() -> list[Served]:
        return [await stack.enter_async_context(serving()) for _ in range(2)]

    quick, parsed = loop.run_until_complete(start())
    try:
        yield Pair(loop, Door(quick, quick=True), Door(parsed, quick=False))
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of the requests that were served without the parser."""
    seen: list[str] = []
    for name in ("_get", "_put"):
        original: Callable[[HotConnection, Any], None] = getattr(HotConnection, name)

        def counted(
            connection: HotConnection, what: Any, original: Any = original, name: str = name
        ) -> None:
            seen.append(name)
            original(connection, what)

        monkeypatch.setattr(HotConnection, name, counted)
    return seen


# The streams.

AGENT = {"User-Agent": "it", "Accept": "*/*"}
GET = request("GET", "/v1/kv/a")
GET_AS = request("GET", "/v1/kv/b", headers=AGENT)
PUT = request("PUT", "/v1/kv/a", b"hello")
PUT_AS = request("PUT", "/v1/kv/b", b"GET /v1/kv/smuggled HTTP/1.1\r\nHost: test\r\n\r\n", AGENT)
PLAIN = (GET, GET_AS, PUT, PUT_AS)

STREAM = (PUT, GET, PUT_AS, GET_AS, GET, GET, PUT)
BYTES = b"\0\t\n\r #%?A\xff"


@pytest.mark.parametrize(
    ("requests", "holds", "known"),
    [
        (STREAM, False, 7),
        (STREAM, True, 1),  # what is of the other kind waits, and then the application has it
        ((PUT, PUT_AS, PUT), True, 3),
        ((GET, GET_AS, GET), True, 3),
    ],
)
def test_a_stream_cut_anywhere_gets_the_same_answers(
    pair: Pair, unparsed: list[str], requests: tuple[bytes, ...], holds: bool, known: int
) -> None:
    pair.teach(*PLAIN)
    unparsed.clear()
    stream = b"".join(requests)
    whole = pair.same([stream], holds)
    assert len(whole["answers"]) == len(requests)
    ways = ["_get" if each in (GET, GET_AS) else "_put" for each in requests]
    assert unparsed == ways[:known]
    for at in range(1, len(stream)):
        assert pair.same([stream[:at], stream[at:]], holds) == whole, at
    assert pair.same([stream[i : i + 1] for i in range(len(stream))], holds) == whole


@pytest.mark.parametrize("plain", PLAIN)
def test_a_request_with_one_byte_changed_gets_the_same_answers(pair: Pair, plain: bytes) -> None:
    """Changed, left out, or put in; whole requests before and behind."""
    pair.teach(*PLAIN)
    for at in range(len(plain)):
        for byte in [BYTES[i : i + 1] for i in range(len(BYTES))]:
            for rest in (plain[at:], plain[at + 1 :]):
                pair.same([PUT + plain[:at] + byte + rest + GET_AS])
        pair.same([PUT + plain[:at] + plain[at + 1 :] + GET_AS])


KEYS = st.sampled_from(
    ["a", "b", "a/b", "%41", "%2", "a?ttl=1s", "a?", "", "//", "..", "~!$&'()*+,;=:@", "a b", "a#"]
    + ['"', "<", "\\", "^", "`", "{", "|", "é", "\0", "\r\n", "k" * 1024, "k" * 1025]
)
HEADERS = st.sampled_from(
    [{}, {}, {}, AGENT, AGENT]
    + [{name: value} for name, value in (
        ("Connection", "close"),
        ("Connection", "keep-alive"),
        ("Content-Length", "0"),
        ("Content-Length", "5"),
        ("content-length", "00005"),
        ("Content-Type", "text/x"),
        ("Content-Type", "x" * 256),
        ("Content-Encoding", "gzip"),
        ("Expect", "100-continue"),
        ("Host", "again"),
        ("Idempotency-Key", "k"),
        ("If-Match", "*"),
        ("If-None-Match", '"1"'),
        ("If-None-Match", "*"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("X-Unheard", "of"),
        ("X-Long", "x" * 2000),
    )]
)  # fmt: skip
BODIES = st.sampled_from([b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", GET, PUT, b"x" * 20_000])


@st.composite
def one_request(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "GET", "PUT", "PUT", "DELETE", "POST", "get", "CONNECT"]))
    return request(method, "/v1/kv/" + draw(KEYS), draw(BODIES), draw(HEADERS))


NOISE = st.one_of(
    st.sampled_from(
        [b"\r\n", b"\n", b" ", b"\0", b"GET", b"GET ", b"GET /v1/kv/a", b"5\r\nhello\r\n"]
    )
    | st.sampled_from([b"PATCH", b"HTTP/1.1\r\n\r\n", b" HTTP/1.1\r\nHost: test\n\n"])
    | st.sampled_from([request("GET", "/livez"), GET.replace(b"1.1", b"1.0")])
)


def _split(part: bytes) -> tuple[bytes, bytes]:
    head, end, body = part.partition(HEAD_END)
    return head + end, body


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    plain = st.sampled_from(PLAIN)
    near = st.builds(lambda part, key: part.replace(b"/a", b"/" + key.encode()), plain, KEYS)
    parts = draw(st.lists(st.one_of(plain, plain, near, one_request(), NOISE), max_size=12))
    if draw(st.booleans()):  # heads, bodies and what is between them one by one
        return [piece for part in parts for piece in _split(part)], draw(st.booleans())
    stream = bytearray(b"".join(parts))
    for at, byte in draw(
        st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=2)
    ):
        if stream:
            stream[at % len(stream)] = byte
    cuts = draw(st.lists(st.integers(0, 10_000), max_size=6))
    places = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    pieces = [bytes(stream[a:b]) for a, b in pairwise(places)]
    return pieces, draw(st.booleans())


@settings(max_examples=300, deadline=None)
@given(streams())
@example(([PUT[:-1], GET_AS, GET], False))
@example(([GET.replace(b"/a", b"/" + b"k" * 1025)], False))
@example(([*_split(request("PUT", "/v1/kv/a", GET, {"X-Unheard": "of"})), GET], False))
@example(([GET[:-2] + b"X-Unheard: ", GET_AS, GET], False))
@example(([GET * 100 + PUT * 100 + GET_AS], True))
@example(([PUT[:-5], b"hello" + GET, GET], True))
def test_any_stream_gets_the_same_answers(pair: Pair, drawn: tuple[list[bytes], bool]) -> None:
    pieces, holds = drawn
    pair.teach(*PLAIN)
    pair.same(pieces, holds)


# What is learnt, and what is not.


def known_to(served: Served) -> Refrains:
    port = served.server._port
    assert port is not None
    return port.refrains


@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": "*"},
        {"If-Match": "*"},
        {"Idempotency-Key": "k"},
        {"Expect": "100-continue"},
        {"Content-Encoding": "identity"},
        {"Connection": "close"},
        {"Upgrade": "h2c", "Connection": "Upgrade"},
        {"X-Unheard": "of"},
        {"User-Agent": "x" * refrains.REFRAIN_SIZE_BYTES_MAX},
    ],
)
def test_what_might_mean_something_is_not_learnt(headers: dict[str, str]) -> None:
    async def test() -> None:
        async with serving() as served:
            for method, body in (("GET", b""), ("PUT", b"v")):
                client = await served.connect()
                await client.send(request(method, "/v1/kv/a", body, headers))
                await client.receive()
                assert known_to(served).known == {}

    run(test())


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/v1/kv/a", b"body"),
        request("GET", "/v1/kv/a", headers={"Content-Length": "0"}),
        request("GET", "/livez"),
        request("GET", "http://test/v1/kv/a"),
        request("GET", "/v1/kv/a").replace(b"1.1", b"1.0"),
        request("PUT", "/v1/kv/a"),
        request("PUT", "/v1/kv/a", headers={"Content-Length": "0"}),
        request("PUT", "/v1/kv/a", headers={"Transfer-Encoding": "chunked"}) + b"0\r\n\r\n",
        request("PUT", "/v1/kv/a", b"v" * (BODY_SIZE_BYTES_MAX + 1)),
        request("PUT", "/v1/kv/a", b"v", {"Content-Type": "x" * 256}),
        request("DELETE", "/v1/kv/a"),
        request("POST", "/v1/kv/a?op=incr"),
        b"\r\n" + request("GET", "/v1/kv/a"),
    ],
)
def test_what_is_not_plain_is_not_learnt(data: bytes) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await client.ask(data)
            assert known_to(served).known == {}

    run(test())


def test_a_value_over_the_limit_is_refused_each_time() -> None:
    async def test() -> None:
        async with serving(value_size_bytes_max=10) as served:
            client = await served.connect()
            for _ in range(3):
                assert (await client.ask(request("PUT", "/v1/kv/a", b"v" * 10))).status < 300
                assert (await client.ask(request("PUT", "/v1/kv/a", b"v" * 11))).status == 413
            assert len(known_to(served).known) == 1

    run(test())


def test_what_one_connection_learnt_serves_all(unparsed: list[str]) -> None:
    async def test() -> None:
        async with serving() as served:
            for count in range(4):
                client = await served.connect()
                put = await client.ask(request("PUT", f"/v1/kv/{count}", b"v"))
                assert put.status == 201
                assert (await client.ask(request("GET", f"/v1/kv/{count}"))).body == b"v"
            assert unparsed == ["_put", "_get"] * 3

    run(test())


def test_a_type_is_kept_with_the_value(unparsed: list[str]) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            for kind in ("text/x", "text/y", "text/x"):
                await client.ask(request("PUT", "/v1/kv/a", b"v", {"Content-Type": kind}))
                got = await client.ask(request("GET", "/v1/kv/a"))
                assert got.headers["content-type"] == kind
            assert unparsed == ["_get", "_put", "_get"]

    run(test())


def test_a_connection_teaches_only_so_many_and_the_oldest_are_forgotten() -> None:
    async def test() -> None:
        async with serving() as served:
            for i in range(REFRAINS_MAX // LEARNT_MAX + 3):
                client = await served.connect()
                for j in range(LEARNT_MAX + 3):
                    agent = {"User-Agent": f"{i}-{j}"}
                    await client.ask(request("GET", "/v1/kv/a", headers=agent))
                known = list(known_to(served).known)
                assert len(known) == min(REFRAINS_MAX, LEARNT_MAX * (i + 1))
                assert f"{i}-{LEARNT_MAX - 1}\r\n".encode() in known[-1]

    run(test())


def test_a_known_request_whose_body_never_comes_is_a_408() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=4.0) as served:
            client = await served.connect()
            assert (await client.ask(request("PUT", "/v1/kv/a", b"v" * 500))).status == 201
            await client.send(request("PUT", "/v1/kv/a", b"v" * 500)[:-1])
            (connection,) = served.server._port.connections
            await until(lambda: connection._progress is not None and connection._progress[1])
            served.clock.now_s += 5
            response = await client.receive()
            assert response.status == 408
            assert await client.is_closed()
            assert len(served.kv.commands) == 1

    run(test())


def test_many_known_requests_at_once_are_bounded(unparsed: list[str]) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await client.ask(request("PUT", "/v1/kv/a", b"v"))
            served.kv.holding = True
            count = PIPELINED_MAX * 5
            await client.send(request("PUT", "/v1/kv/a", b"v") * count)
            (connection,) = served.server._port.connections
            await until(lambda: connection._buffer_paused)
            assert served.kv.held == PIPELINED_MAX
            served.kv.release()
            versions = [(await client.receive()).json["version"] for _ in range(count)]
            assert versions == list(range(2, count + 2))
            assert unparsed == ["_put"] * count

    run(test())


def test_a_mistake_of_the_service_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with serving() as served:
            client = await served.connect()
            await client.ask(request("GET", "/v1/kv/a"))
            await client.ask(request("PUT", "/v1/kv/b", b"v"))

            def broken(*_: object) -> None:
                raise ZeroDivisionError("secret")

            monkeypatch.setattr(served.kv, "find", broken)
            monkeypatch.setattr(served.kv, "write", broken)
            for data in (request("GET", "/v1/kv/a"), request("PUT", "/v1/kv/a", b"v")):
                response = await client.ask(data)
                assert response.status == 500
                assert b"secret" not in response.body

    run(test())
