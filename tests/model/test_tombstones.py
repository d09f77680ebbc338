"""Who watches an absent key learns that it came and went, whatever brought and took it.

A watch is told the truth by looking at all keys after each step. Its question is asked once more of
a copy that was loaded from an image half-way: replicas must agree.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from raftcache.command import codec
from raftcache.command.calls import Calls, CallsSince
from raftcache.command.leasing import LeaseGrant, LeaseRevoke
from raftcache.command.replies import Reply, Status
from raftcache.command.words import (
    Command,
    Delete,
    DeleteRange,
    Evict,
    LeasedPut,
    Put,
    Tick,
    Txn,
)
from raftcache.state.machine import Machine
from raftcache.state.tombstones import place_of

KEYS: Final = (b"a", b"b", b"c")
"""No two of them share a place."""
TTL_MS: Final = 1000
SIZE_BYTES_MAX: Final = 1 << 20
LEASE: Final = 1

keys = st.sampled_from(KEYS)


def calls(*words: bytes, atomic: bool = False) -> Calls:
    return Calls(tuple(tuple(word.split()) for word in words), SIZE_BYTES_MAX, atomic)


def in_one(key: bytes) -> Calls:
    return calls(b"SET %b 1" % key, b"DEL %b" % key, atomic=True)


def in_one_of_http(key: bytes) -> Txn:
    return Txn(success=(Put(key, b"1"), Delete(key)))


BRIEF: Final = (in_one, in_one_of_http)
"""What brings a key and takes it, so that nobody sees it."""

commands = st.one_of(
    st.builds(Put, keys, st.just(b"1")),
    st.builds(Put, keys, st.just(b"1"), st.just(""), st.just(TTL_MS)),
    st.builds(LeasedPut, keys, st.just(b"1"), st.just(LEASE)),
    st.builds(Delete, keys),
    st.just(DeleteRange(b"", b"")),
    st.just(LeaseRevoke(LEASE)),
    st.builds(lambda key: calls(b"SADD %b x" % key), keys),
    st.builds(lambda key: calls(b"SPOP %b" % key), keys),
    st.builds(lambda one, two: calls(b"RENAME %b %b" % (one, two)), keys, keys),
    st.builds(lambda key: calls(b"GETDEL %b" % key, b"SET %b 2 PX 500" % key), keys),
    st.just(calls(b"FLUSHALL")),
)
steps = st.lists(
    st.one_of(
        commands,
        st.tuples(st.sampled_from(BRIEF), keys),
        st.integers(0, TTL_MS),
        st.sampled_from(["watch", "load", "evict"]),
    ),
    max_size=30,
)


class Bench:
    """A machine, a copy of it once there is one, and who watches."""

    def __init__(self) -> None:
        self.machines, self.now_ms = [Machine()], 1000
        self.watches: list[tuple[bytes, int]] = []
        self.came: list[bool] = []
        self.do(LeaseGrant(5 * TTL_MS))
        assert self.is_absent_since(b"a", self.revision)  # from here on they are kept

    @property
    def revision(self) -> int:
        return self.machines[0].revision

    def do(self, command: Command) -> Reply:
        batch = codec.batch([codec.encode(command)])
        replies = [machine.apply(self.now_ms, batch) for machine in self.machines]
        assert replies == replies[:1] * len(replies)
        assert len({machine.digest for machine in self.machines}) == 1
        return replies[0][0]

    def is_absent_since(self, key: bytes, revision: int) -> bool:
        watched = ((key, 0),)
        reply = self.do(CallsSince((), SIZE_BYTES_MAX, True, watched, since=revision))
        return reply.status is Status.SUCCEEDED

    def is_there(self, key: bytes) -> bool:
        return self.machines[0].get(key) is not None

    def look(self, brief: bytes = b"") -> None:
        """Which watched keys are there now, or were a moment ago."""
        for place, (key, _) in enumerate(self.watches):
            self.came[place] |= key == brief or self.is_there(key)

    def step(self, step: Any) -> None:
        if step == "watch":
            absent = [key for key in KEYS if not self.is_there(key)]
            self.watches += [(key, self.revision) for key in absent]
            self.came += [False] * len(absent)
        elif step == "load":
            copy = Machine()
            loader = copy.loader()
            for piece in self.machines[0].dump():
                loader.feed(piece)
            loader.install()
            self.machines[1:] = [copy]
        elif step == "evict":
            revisions = [(key, self.machines[0].revision_of(key)) for key in KEYS]
            self.do(Evict(tuple(revisions)))
        elif isinstance(step, int):
            self.now_ms += step
            self.do(Tick())
            self.look()
        elif isinstance(step, tuple):
            make, key = step
            self.do(make(key))
            self.look(brief=key)
        else:
            self.do(step)
            self.look()


def test_the_keys_share_no_place() -> None:
    assert len(set(map(place_of, KEYS))) == len(KEYS)


@given(steps)
def test_a_watch_is_told_the_truth(steps: list[Any]) -> None:
    bench = Bench()
    for step in steps:
        bench.step(step)
    for (key, revision), came in zip(bench.watches, bench.came, strict=True):
        assert bench.is_absent_since(key, revision) is not came
