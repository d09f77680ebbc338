"""The quick way in against the parser and the session: the same bytes, the same answers."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftcache.command.calls import CALLS_MAX
from raftcache.command.limits import BATCH_SIZE_BYTES_MAX, KEY_SIZE_BYTES_MAX
from raftcache.config import Limits
from raftcache.metrics import RespCounters
from raftcache.server.resp import connection as connections
from raftcache.server.resp.caching import Caching
from raftcache.server.resp.client import Clients
from raftcache.server.resp.connection import Connection
from raftcache.server.resp.greetings import Greetings
from raftcache.server.resp.manners import Manners
from raftcache.server.resp.port import Port
from raftcache.server.resp.quick import cut_get, cut_gets, cut_set, cut_sets
from raftcache.server.resp.subscribing import Subscribing
from raftcache.server.resp.table import CallTable
from raftcache.server.resp.transactions import Transactions
from raftcache.service.pubsub import PubSub
from raftcache.service.redis import RedisService
from raftcache.service.tracking import Tracking
from tests.model.test_resp_wire import SIGNS, cut, read_by_reference
from tests.support.fake_kv import FakeKv
from tests.support.resp_wire import packed
from tests.support.watching import HandLoop
from tests.unit.test_redis_service import Dice

PLACES = st.lists(st.integers(0, 1 << 16), max_size=6)
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), SIGNS), max_size=3)

# The bytes.

WORDS = st.sampled_from((b"GET", b"get", b"SET", b"set", b"Get", b"INCR"))
NAMES = st.binary(max_size=12) | st.sampled_from(
    (
        b"",
        b"k",
        b"k" * 9,
        b"k" * 10,
        b"a\r\nb",
        b"\r\n",
        b"$1",
        b"x\r\n*2\r\n$3\r\nGET\r\n$1\r\ny",
        b"x\r\n$1\r\ny",
        b"x\r\n$1\r\ny\r\n*3\r\n$3\r\nSET\r\n$1\r\nz",
        b"k" * KEY_SIZE_BYTES_MAX,
        b"k" * (KEY_SIZE_BYTES_MAX + 1),
    )
)


def pipelines(words: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Mostly of one kind of call, for only those are cut."""
    call = st.builds(lambda word, rest: packed([word, *rest]), words, st.lists(NAMES, max_size=3))
    return st.lists(call, max_size=6).map(b"".join)


ONE_KIND = WORDS.flatmap(
    lambda word: st.integers(1, 3).flatmap(
        lambda size: st.lists(
            st.lists(NAMES, min_size=size, max_size=size).map(lambda rest: packed([word, *rest])),
            max_size=6,
        ).map(b"".join)
    )
)


@settings(max_examples=1000, deadline=None)
@given(ONE_KIND | pipelines(WORDS), CHANGES, st.integers(-3, 3))
@example(b"*2\r\n$3\r\nGET\r\n$0\r\n", [], 0)
@example(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n", [], 0)
def test_what_is_cut_is_what_the_reference_reads(
    data: bytes, changes: list[tuple[int, int]], less: int
) -> None:
    changed = bytearray(data)
    for place, byte in changes if changed else ():
        changed[place % len(changed)] = byte
    data = bytes(changed[:less] if less < 0 else changed)
    key, keys, call, sets = cut_get(data), cut_gets(data), cut_set(data), cut_sets(data)
    assert key is None or [key] == keys
    assert ([call] if call is not None else None) == (sets if sets and len(sets) == 1 else None)
    calls, error = read_by_reference(data)
    if keys is not None:
        assert ([[b"GET", key] for key in keys], None) == ([_upper(c) for c in calls], error)
        assert b"".join(packed(call) for call in calls) == data
    if sets is not None:
        assert ([list(call) for call in sets], None) == ([_upper(c) for c in calls], error)
        assert b"".join(packed(call) for call in calls) == data


def _upper(call: list[bytes]) -> list[bytes]:
    return [call[0].upper(), *call[1:]]


@pytest.mark.parametrize("word", [b"GET", b"get"])
@pytest.mark.parametrize("count", [1, 2, 7, CALLS_MAX, CALLS_MAX + 1])
def test_usual_gets_are_cut(word: bytes, count: int) -> None:
    keys = [b"%d" % number + b"k" * (number % KEY_SIZE_BYTES_MAX) for number in range(count)]
    keys = [key[:KEY_SIZE_BYTES_MAX] for key in keys]
    data = b"".join(packed([word, key]) for key in keys)
    assert cut_gets(data) == (keys if count <= CALLS_MAX else None)
    assert cut_get(data) == (keys[0] if count == 1 and word == b"GET" else None)
    assert cut_sets(data) is None


@pytest.mark.parametrize("word", [b"SET", b"set"])
@pytest.mark.parametrize("count", [1, 2, 7, CALLS_MAX, CALLS_MAX + 1])
def test_usual_sets_are_cut(word: bytes, count: int) -> None:
    calls = [(b"SET", b"%d" % number, b"\r\n$" * number) for number in range(count)]
    calls = [(name, key, value[:100]) for name, key, value in calls]
    data = b"".join(packed([word, *call[1:]]) for call in calls)
    assert cut_sets(data) == (calls if count <= CALLS_MAX else None)
    assert cut_set(data) == (calls[0] if count == 1 else None)
    assert cut_gets(data) is None


def test_what_does_not_fit_into_a_proposal_is_not_cut() -> None:
    fits, too_large = BATCH_SIZE_BYTES_MAX - 100, BATCH_SIZE_BYTES_MAX
    for way in (cut_set, cut_sets):
        assert way(packed([b"SET", b"k", b"x" * fits])) is not None
        assert way(packed([b"SET", b"k", b"x" * too_large])) is None


# The door.


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = ""

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = self.closed or "close"

    def abort(self) -> None:
        self.closed = self.closed or "abort"

    def get_extra_info(self, _name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def play(pieces: list[bytes], password: str, *, gathers: bool) -> tuple[Any, ...]:
    """What a door answers to these, and what else can be seen of them."""
    hand, kv, counters, clients, table = (
        HandLoop(),
        FakeKv(),
        RespCounters(),
        Clients(),
        CallTable(),
    )
    loop = cast("asyncio.AbstractEventLoop", hand)
    kv.loop = hand
    redis = RedisService(kv, kv.machine, Dice(), loop, 1000, {}, gathers=gathers)
    pubsub, tracking = PubSub(kv, kv.machine, loop, ""), Tracking(kv.machine, loop)
    tracking.start()
    rooms = (
        Greetings(password, lambda: True),
        Transactions(redis),
        Subscribing(pubsub),
        Caching(tracking, clients),
        Manners(),
    )
    for room in rooms:
        room.add_to(table)
    port = Port(loop, Limits(), counters, redis, table, clients, has_password=bool(password))
    connection, wire = Connection(port), Wire()
    connection.connection_made(cast("asyncio.Transport", wire))
    for piece in pieces:
        if not wire.closed:
            connection.data_received(piece)
            hand.run()
    session = connection.session
    made = kv.machine.digest, kv.machine.revision
    wants = [want for want, _ in itertools.groupby(kv.wants)]
    told = counters.calls, session.last_call, session.is_busy
    return wire.sent, wire.closed, told, made, wants


def lines(*texts: bytes) -> bytes:
    return b"".join(packed(text.split()) for text in texts)


CALLS = st.sampled_from(
    [
        lines(line)
        for line in (
            *[b"SET a 1", b"SET b 22", b"set a x", b"SET c 333", b"GET a", b"GET b", b"get c"] * 4,
            b"GET",
            b"GET a b",
            b"SET a",
            b"SET a 1 NX",
            b"SET h 1 PX 100",
            b"INCR a",
            b"HSET h f v",
            b"MGET a b",
            b"DEL a",
            b"MULTI",
            b"EXEC",
            b"DISCARD",
            b"WATCH a",
            b"HELLO 3",
            b"HELLO 2",
            b"RESET",
            b"AUTH secret",
            b"CLIENT REPLY OFF",
            b"CLIENT REPLY SKIP",
            b"CLIENT REPLY ON",
            b"CLIENT TRACKING ON",
            b"CLIENT TRACKING ON OPTIN",
            b"CLIENT CACHING YES",
            b"CLIENT TRACKING OFF",
            b"CLIENT IDEMPOTENCY me 1",
            b"CLIENT IDEMPOTENCY OFF",
            b"CLIENT CONSISTENCY STALE",
            b"CLIENT CONSISTENCY LINEARIZABLE",
            b"SUBSCRIBE c",
            b"UNSUBSCRIBE c",
            b"nothing",
        )
    ]
    + [packed([b"SET", b"a", b"x" * 1001]), packed([b"SET", b"", b""]), b"GET a\r\n", b"\r\n"]
)


TRACKED = (b"HELLO 3", b"CLIENT TRACKING ON")
STALE = b"CLIENT CONSISTENCY STALE"
AT_EACH: list[int] = list(range(300))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(CALLS, max_size=30).map(b"".join),
    PLACES,
    CHANGES,
    st.sampled_from(("", "secret")),
    st.booleans(),
)
@example(lines(b"GET a", *TRACKED, b"GET a", b"GET a", b"SET a 2", b"GET a"), AT_EACH, [], "", True)
@example(lines(b"GET a", STALE, b"GET a", b"GET a", b"SET a 2", b"GET a"), AT_EACH, [], "", True)
@example(lines(b"GET a", b"SET a 1 PX 1", b"GET a", b"HSET h f v", b"GET h"), AT_EACH, [], "", True)
def test_the_quick_way_changes_no_answer(
    data: bytes, places: list[int], changes: list[tuple[int, int]], password: str, gathers: bool
) -> None:
    changed = bytearray(data or b"\n")
    for place, byte in changes:
        changed[place % len(changed)] = byte
    pieces = cut(bytes(changed), places)
    quick = play(pieces, password, gathers=gathers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "cut_get", lambda data: None)
        patch.setattr(connections, "cut_gets", lambda data: None)
        patch.setattr(connections, "cut_set", lambda data: None)
        patch.setattr(connections, "cut_sets", lambda data: None)
        assert play(pieces, password, gathers=gathers) == quick


def test_the_quick_way_is_taken() -> None:
    taken: list[str] = []

    def noted(way: Any) -> Any:
        def cutting(data: bytes) -> Any:
            if (found := way(data)) is not None:
                taken.append(way.__name__)
            return found

        return cutting

    hello, subscribe = packed([b"HELLO", b"3"]), packed([b"SUBSCRIBE", b"c"])
    get, write = packed([b"GET", b"a"]), packed([b"SET", b"a", b"1"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "cut_get", noted(cut_get))
        patch.setattr(connections, "cut_gets", noted(cut_gets))
        patch.setattr(connections, "cut_set", noted(cut_set))
        patch.setattr(connections, "cut_sets", noted(cut_sets))
        # The first after anything else shows that all is usual.
        pieces = [hello, get, get, write, write * 2, get * 3, subscribe, get, get]
        sent = play(pieces, "", gathers=True)[0]
    assert taken == ["cut_get", "cut_set", "cut_sets", "cut_gets"]
    assert sent.endswith(b"$1\r\n1\r\n" * 2)


def test_pieces_are_of_any_size() -> None:
    calls = [packed([b"SET", b"k%d" % n, b"v" * n]) for n in range(20)]
    data = b"".join(calls) + b"".join(packed([b"GET", b"k%d" % n]) for n in range(20))
    whole = play([packed([b"GET", b"a"]), data], "", gathers=True)
    for size in (1, 7, 30, 64):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert play([packed([b"GET", b"a"]), *pieces], "", gathers=True)[0] == whole[0]
