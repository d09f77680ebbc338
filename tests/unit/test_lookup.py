"""Values of many keys at once, against what the GETs themselves answer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.command import codec
from raftcache.command.calls import Calls
from raftcache.command.leasing import LeaseGrant
from raftcache.command.values import Failure
from raftcache.command.words import Command, LeasedPut, Put
from raftcache.state.machine import Machine

NOW_MS = 1_000
KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])


def call(*words: bytes) -> Calls:
    return Calls((words,), 1 << 20)


WRITES: st.SearchStrategy[Command] = st.one_of(
    st.builds(lambda key, value: call(b"SET", key, value), KEYS, st.binary(max_size=3)),
    st.builds(lambda key, ms: call(b"SET", key, b"x", b"PX", b"%d" % ms), KEYS, st.integers(1, 99)),
    st.builds(lambda key: call(b"RPUSH", key, b"x"), KEYS),
    st.builds(lambda key: call(b"DEL", key), KEYS),
    st.builds(lambda key: Put(key, b"typed", "text/plain"), KEYS),
    st.builds(lambda key: LeasedPut(key, b"leased", 1), KEYS),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(WRITES, max_size=8),
    st.lists(KEYS, min_size=1, max_size=6),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_the_short_way_answers_what_gets_answer(
    writes: list[Command], keys: list[bytes], applied_ms: int, later_ms: int
) -> None:
    machine = Machine()
    machine.apply(NOW_MS, codec.batch([codec.encode(LeaseGrant(50))]))
    machine.apply(NOW_MS, codec.batch(list(map(codec.encode, writes))))
    machine.apply(NOW_MS + applied_ms, codec.batch([codec.TICK]))
    now_ms = NOW_MS + applied_ms + later_ms
    answers = machine.call([(b"GET", key) for key in keys], now_ms)
    found = machine.strings(keys, now_ms)
    items = [machine.get(key) for key in keys]
    overdue = any(item is not None and 0 < item.deadline_ms <= now_ms for item in items)
    if overdue or any(isinstance(answer, Failure) for answer in answers):
        assert found is None
    else:
        assert found == answers
