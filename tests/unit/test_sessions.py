"""The table of tokens."""

from __future__ import annotations

import msgspec
import pytest

from raftcache.command.limits import REQUESTS_REMEMBERED_MS, TOKEN_SIZE_BYTES_MAX
from raftcache.command.replies import Found, Item, Reply, Status, TxnReply, Wrote
from raftcache.command.words import Once
from raftcache.state.sessions import Record, Sessions

REPLY = Reply(Status.CREATED, 1, 1)
LATER = REQUESTS_REMEMBERED_MS


def remember(sessions: Sessions, token: bytes, now_ms: int) -> None:
    sessions.remember(Once(token, b"f" * 16), now_ms, REPLY)


def packed(token: bytes, applied_ms: int) -> bytes:
    return msgspec.msgpack.encode(Record(token, b"f" * 16, applied_ms, REPLY))


@pytest.fixture
def sessions() -> Sessions:
    """a at 0 ms, b and c at 5 ms."""
    sessions = Sessions()
    for token, now_ms in ((b"a", 0), (b"b", 5), (b"c", 5)):
        remember(sessions, token, now_ms)
    return sessions


def test_a_record_is_found_while_it_lives(sessions: Sessions) -> None:
    assert sessions.find(b"a", LATER - 1) == Record(b"a", b"f" * 16, 0, REPLY)
    assert sessions.find(b"a", LATER) is None
    assert sessions.find(b"b", LATER) is not None
    assert sessions.find(b"x", 0) is None


def test_only_dead_records_are_dropped(sessions: Sessions) -> None:
    sessions.forget(LATER - 1)
    assert (len(sessions), sessions.first) == (3, 0)
    sessions.forget(LATER)
    assert (len(sessions), sessions.first) == (2, 1)
    sessions.forget(LATER + 5)
    assert (len(sessions), sessions.first, sessions.digest) == (0, 3, 0)


def test_a_bounded_number_is_dropped_at_once(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.sessions.REQUESTS_FORGOTTEN_PER_ENTRY_MAX", 2)
    sessions.forget(2 * LATER)
    assert len(sessions) == 1


def test_a_token_outlives_its_dead_record(sessions: Sessions) -> None:
    remember(sessions, b"a", LATER)
    assert len(sessions) == 4
    sessions.forget(LATER)
    record = sessions.find(b"a", LATER)
    assert record is not None
    assert record.applied_ms == LATER
    sessions.forget(2 * LATER)
    assert sessions.find(b"a", LATER) is None


def test_the_table_is_full_of_living_records_only(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.sessions.REQUESTS_REMEMBERED_MAX", 3)
    assert not sessions.make_room(LATER - 1)
    with pytest.raises(AssertionError):
        remember(sessions, b"d", LATER - 1)
    assert sessions.make_room(LATER)
    remember(sessions, b"d", LATER)
    assert (len(sessions), sessions.first) == (3, 1)
    assert not sessions.make_room(LATER)


def test_the_table_is_full_of_so_many_bytes_too(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.sessions.RECORD_SIZE_BYTES_MAX", 100)
    monkeypatch.setattr("raftcache.state.sessions.RECORDS_SIZE_BYTES_MAX", sessions.size_bytes + 99)
    assert not sessions.make_room(LATER - 1)
    assert sessions.make_room(LATER)
    assert (len(sessions), sessions.first) == (2, 1)


def test_the_record_of_a_transaction_has_its_results() -> None:
    sessions, once = Sessions(), Once(b"t", b"f" * 16)
    item = Item(b"v", "text/plain", 1, 2, 2, 0)
    results = (Wrote(REPLY), Found(((b"k", item),), 1, more=True))
    reply = TxnReply(Status.SUCCEEDED, 3, results=results)
    sessions.remember(once, 7, reply)
    other = Sessions()
    assert other.load(sessions.records()[0], 7) is None
    for table in (sessions, other):
        record = table.find(b"t", 7)
        assert record is not None
        assert record.first_reply == reply
        assert table.transactions == 1
    other.forget(7 + LATER)
    assert (other.transactions, other.size_bytes, other.digest) == (0, 0, 0)


def test_records_load_as_they_were(sessions: Sessions) -> None:
    sessions.forget(LATER)
    other = Sessions(sessions.first)
    for record in sessions.records():
        assert other.load(record, LATER) is None
    assert other.digest == sessions.digest
    assert other.records() == sessions.records()


def test_the_order_of_records_is_in_the_digest() -> None:
    one, two = Sessions(), Sessions()
    for sessions, tokens in ((one, [b"a", b"b"]), (two, [b"b", b"a"])):
        for token in tokens:
            remember(sessions, token, 7)
    assert one.digest != two.digest


def test_the_largest_record_fits() -> None:
    sessions = Sessions()
    most = (1 << 62) - 1
    reply = Reply(Status.CREATED, most, most, 1, -most, most)
    sessions.remember(Once(b"t" * TOKEN_SIZE_BYTES_MAX, b"f" * 16), most, reply)
    assert len(sessions) == 1


@pytest.mark.parametrize(
    ("record", "about"),
    [
        (b"", "truncated"),
        (packed(b"d", 8) + b"\x00", "trailing"),
        (packed(b"d", 8).replace(b"\xc4\x01d", b"\xc5\x00\x01d"), "not written here"),
        (b"\x94\xc4\x01d\xc4\x00\x08\x98\x01\x01\x00\x00\x00\x00\xc2" + b"\x91" * 9999, "recurs"),
        (packed(b"d", 11), "a record of 11 ms at 10 ms"),
        (packed(b"d", 4), "out of order"),
        (packed(b"b", 8), "two living records"),
    ],
)
def test_what_can_be_no_record_is_told(sessions: Sessions, record: bytes, about: str) -> None:
    why = sessions.load(record, 10)
    assert why is not None
    assert about in why
    assert len(sessions) == 3


def test_no_more_records_are_loaded_than_fit(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.sessions.REQUESTS_REMEMBERED_MAX", 3)
    assert sessions.load(packed(b"d", 8), 10) == "more than 3 records"
