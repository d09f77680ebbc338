"""Versions: nothing newer is guessed at, links speak the lower one, commands wait for every voter.

See docs/decisions/0003-versions.md. tests/fixtures/data-v1.tar.gz was made by
`python -m tests.fixtures.make tests/fixtures/data-v1.tar.gz`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from raftcache.command import codec, versions, words
from raftcache.command.calls import Calls, CallsAnswered, CallsRehearsed, CallsSince
from raftcache.command.clients import ClientLeave, ClientRegister, Registering
from raftcache.command.leasing import Leasing, Locking
from raftcache.command.replies import Reply
from raftcache.command.words import Number, Once, Put, Touch
from raftcache.config import Storage
from raftcache.errors import BadConfig, Conflict, Fatal, NotLeader
from raftcache.raft import members
from raftcache.raft.assembly import restore
from raftcache.raft.datadir import read_identity
from raftcache.raft.engine import REGULAR, STAMP_SIZE_BYTES
from raftcache.raft.engine.base import stamp_ms_of
from raftcache.raft.greetings import Refusal, common_version
from raftcache.raft.members import Change, Configuration, Member
from raftcache.raft.shipping import Receiving
from raftcache.raft.snapshots import SnapshotStore
from raftcache.raft.stock import Node
from raftcache.service.kv import KvService
from raftcache.state.image import Loader
from raftcache.state.machine import Machine
from raftcache.system import SystemDisk
from tests.fixtures import make, newer
from tests.support.lanes import PromptLane
from tests.support.memory_disk import MemoryDisk
from tests.support.sim_bench import MEMBERS, MYSELF, Ours, voter
from tests.unit.seats import hello, on_both_loops, seat, started, until, wire


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return make.unpack(tmp_path, 1)


def start_on(disk: SystemDisk) -> None:
    """As a node does."""
    read_identity(disk)
    restore(disk, Machine(), Storage())


# -- data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", newer.CHANGES.values(), ids=newer.CHANGES)
def test_what_a_newer_version_wrote_is_refused_by_name(
    data_dir: Path, change: Callable[[Path], str]
) -> None:
    said = change(data_dir)
    with pytest.raises(BadConfig, match=f"{said}: run the"):
        start_on(SystemDisk(data_dir))


def test_a_header_of_a_newer_segment_that_is_damaged_is_not_called_newer(data_dir: Path) -> None:
    segment = newer.only(data_dir, "wal/*.seg")
    with segment.open("r+b") as file:
        file.seek(7)
        file.write(b"\x02")
    with pytest.raises(Fatal, match="its header is bad"):
        restore(SystemDisk(data_dir), Machine(), Storage())


def test_the_data_of_version_1_is_read_whole(data_dir: Path) -> None:
    disk, machine = SystemDisk(data_dir), Machine()
    identity = read_identity(disk)
    assert identity is not None
    assert identity.node == make.NODE
    restored = restore(disk, machine, Storage())
    assert restored.applied_index > make.SNAPSHOT_ENTRIES
    assert 0 < machine.count < len(make.KEYS), "the log has keys that the snapshot has not"
    for entry in restored.log[:]:
        if entry.index > restored.applied_index and entry.command[:1] == REGULAR:
            machine.apply(stamp_ms_of(entry.command), entry.command[1 + STAMP_SIZE_BYTES :])
    assert restored.wal is not None
    restored.wal.close()

    held = {key: machine.get(key.encode()) for key in make.KEYS}
    assert {key: item and item.value.decode() for key, item in held.items()} == make.KEYS
    for key, value in (make.LASTING, make.SHORT):
        item = machine.get(key.encode())
        assert item is not None
        assert item.value.decode() == value
        assert item.deadline_ms > machine.now_ms
    assert machine.get(make.DELETED.encode()) is None
    counter = machine.get(make.COUNTER[0].encode())
    assert counter is not None
    assert counter.value.decode() == make.COUNTER[1]
    sessions = machine._state.sessions
    assert all(sessions.find(token, machine.now_ms) is not None for token in make.TOKENS)

    known = restored.configuration
    assert known is not None
    assert [(m.name, m.voter) for m in known.members] == [(make.NODE, True), (make.LEARNER, False)]
    assert known.removed == (make.REMOVED_ID,)
    assert known.members[0].id == identity.member_id
    assert known.commands_version == 1


# -- snapshots from a newer leader -----------------------------------------------------------------


@pytest.mark.parametrize("change", [newer.newer_snapshot, newer.newer_image])
def test_a_newer_leaders_snapshot_is_refused_without_asking_for_it_again(
    data_dir: Path, change: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    said_of_it = change(data_dir).partition("has")[2]
    path = newer.only(data_dir, "snapshots/*.snap")
    index, term = (int(part) for part in path.stem.split("-"))
    said: list[object] = []
    receiving = Receiving(
        SnapshotStore(disk := MemoryDisk()), PromptLane(), Machine(), lambda: None, said.append
    )
    chunk = {"index": index, "index_term": term, "offset": 0, "data": path.read_bytes()}
    receiving.receive(chunk | {"last": False}, said.append, lambda *_: said.append("installed"))
    assert said == []
    assert [r for r in caplog.records if said_of_it in vars(r).get("why", "")]
    assert disk.names("snapshots") == []


def test_an_image_that_is_damaged_is_asked_for_again() -> None:
    class Refusing(Loader):
        def feed(self, data: bytes) -> None:
            raise self._corrupt("for the test")

    machine = Machine()
    machine.loader = lambda: Refusing(machine._adopt)  # type: ignore[method-assign]
    said: list[object] = []
    receiving = Receiving(
        SnapshotStore(MemoryDisk()), PromptLane(), machine, lambda: None, said.append
    )
    file = newer.snapshot_of(Machine())
    chunk = {"index": 7, "index_term": 1, "offset": 0, "data": file, "last": False}
    receiving.receive(chunk, said.append, lambda *_: said.append("installed"))
    assert said == [0]


def test_a_node_that_cannot_use_what_it_installs_stops() -> None:
    """As where a snapshot says that the cluster uses more than this node knows (simulator, profile
    upgrades, seed 20047): half of it is in place by then.
    """
    too_old = BadConfig("run the newer raftcache")

    def install(*_: object) -> None:
        raise too_old

    fatal: list[Exception] = []
    machine = Machine()
    receiving = Receiving(
        SnapshotStore(MemoryDisk()), PromptLane(), machine, lambda: None, fatal.append
    )
    file = newer.snapshot_of(machine)
    chunk = {"index": 7, "index_term": 1, "offset": 0, "data": file, "last": True}
    receiving.receive(chunk, lambda offset: None, install)
    assert fatal == [too_old]


# -- the protocol ----------------------------------------------------------------------------------


class _OlderMember(msgspec.Struct, frozen=True, array_like=True):
    """As members were before they had an address for Redis clients."""

    name: str
    id: str
    raft: str
    http: str
    voter: bool
    commands_version: int


def test_an_address_that_older_nodes_do_not_know_is_dropped_unread() -> None:
    ours = replace(MEMBERS.members[1], resp="n2:6400")
    written = msgspec.msgpack.encode(ours)
    theirs = msgspec.msgpack.decode(written, type=_OlderMember)
    back = msgspec.msgpack.decode(msgspec.msgpack.encode(theirs), type=Member)
    assert back == replace(ours, resp="")
    assert msgspec.convert(msgspec.to_builtins(ours), _OlderMember) == theirs


@on_both_loops
async def test_the_greeting_of_an_older_node_says_nothing_of_redis_clients() -> None:
    n1, greeted = seat("n1"), list[Member]()
    n1.links.greeted = greeted.append
    older, newer_one = hello(incarnation=1), hello(incarnation=2, resp="n2:6400")
    del older["resp"]
    async with started(n1):
        n1.links.addNode(Node("n2"))
        for said in (older, newer_one):
            body = msgspec.msgpack.encode(said)
            async with wire(n1.address) as peer:
                await peer.write(len(body).to_bytes(4, "little") + body)
                assert (await peer.next())["type"] == "hello"
    assert [m.resp for m in greeted] == ["", "n2:6400"]


@pytest.mark.parametrize(
    ("ours", "theirs", "spoken"),
    [((1, 1), (1, 2), 1), ((1, 2), (1, 1), 1), ((1, 2), (1, 2), 2), ((1, 1), (2, 3), None)]
    + [((2, 3), (1, 1), None), ((2, 3), (1, 2), 2)],
)
def test_a_link_speaks_the_highest_version_that_both_know(
    monkeypatch: pytest.MonkeyPatch,
    ours: tuple[int, int],
    theirs: tuple[int, int],
    spoken: int | None,
) -> None:
    monkeypatch.setattr(versions, "PROTOCOL_MIN", ours[0])
    monkeypatch.setattr(versions, "PROTOCOL_MAX", ours[1])
    assert common_version(hello(version_min=theirs[0], version_max=theirs[1])) == spoken


@on_both_loops
async def test_a_peer_of_another_version_gets_the_lower_one_or_a_reason() -> None:
    n1, greeted = seat("n1"), list[Member]()
    n1.links.greeted = greeted.append
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as later:
            await later.greet(version_min=90, version_max=91, commands_version=9)
            refused = await later.next()
            assert (refused["type"], refused["reason"]) == ("refused", Refusal.VERSION)
            await later.ends()
        assert greeted == []
        async with wire(n1.address) as newer_one:
            await newer_one.greet(version_min=1, version_max=90, commands_version=5)
            answer = await newer_one.next()
            assert (answer["version_min"], answer["version_max"]) == (1, versions.PROTOCOL_MAX)
            assert answer["commands_version"] == versions.COMMANDS
            await until(lambda: n1.up)
            (connection,) = (c for c in n1.links._connections if c.name == "n2")
            assert connection.version == versions.PROTOCOL_MAX
        assert [m.commands_version for m in greeted] == [5]


# -- commands --------------------------------------------------------------------------------------


class _Replica:
    """Takes everything; says that all voters know the commands up to a version."""

    def __init__(self, commands_version: int) -> None:
        self.commands_version, self.is_full = commands_version, False
        self.proposed = 0
        self.configuration = configuration(1, learner=1)
        self.configuration_is_committed = True

    def propose(
        self, command: bytes, done: Callable[[Reply], None], weight: int = 1, width: int = 0
    ) -> None:
        self.proposed += 1


@pytest.mark.parametrize("known", [1, 2])
def test_a_newer_kind_of_command_waits_until_every_voter_knows_it(
    monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setitem(words.INTRODUCED, Touch, 2)
    replica, outcomes = _Replica(known), list[object]()
    kv = KvService(replica, Machine(), None, 1 << 20, 10)  # type: ignore[arg-type]
    kv.write(Put(b"key", b"value"), outcomes.append)
    assert replica.proposed == 1
    kv.write(Touch(b"key"), outcomes.append)
    assert replica.proposed == known
    if known == 1:
        (refusal,) = outcomes
        assert isinstance(refusal, Conflict)
        assert refusal.definite
        assert "version 2" in refusal.detail
        assert "upgrade" in refusal.detail
        replica.configuration_is_committed = False
        kv.write(Touch(b"key"), outcomes.append)
        assert isinstance(outcomes[-1], NotLeader), "to be tried again"
        replica.configuration_is_committed = True
        unheard = replace(voter("n1"), id="")
        replica.configuration = Configuration(1, (unheard, voter("n2")))
        kv.write(Touch(b"key"), outcomes.append)
        assert isinstance(outcomes[-1], NotLeader), "to be tried again"


def test_numbers_wait_until_every_voter_knows_them() -> None:
    replica, outcomes = _Replica(5), list[object]()
    kv = KvService(replica, Machine(), None, 1 << 20, 10)  # type: ignore[arg-type]
    numbered = Put(b"key", b"value", once=Once(Number(1, 1, 1), bytes(16)))
    for command in (numbered, ClientRegister(), ClientLeave(1)):
        kv.write(command, outcomes.append)
    assert [type(outcome) for outcome in outcomes] == [Conflict] * 3
    kv.write(replace(numbered, once=Once(b"key", bytes(16))), outcomes.append)
    assert replica.proposed == 1
    replica.commands_version = 6
    kv.write(numbered, outcomes.append)
    assert replica.proposed == 2


def test_a_transaction_needs_what_its_operations_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(words.INTRODUCED, Touch, 3)
    touch, put = Touch(b"key"), Put(b"key", b"value")
    assert codec.version_needed(words.Txn((), (put,))) == 2
    assert codec.version_needed(words.Txn((), (put,), (words.Get(b"key"), touch))) == 3
    assert codec.version_needed(put) == 1


def configuration(*known: int, learner: int) -> Configuration:
    """Voters n1, n2, ... that know these versions, and n9."""
    voters = [replace(voter(f"n{i}"), commands_version=v) for i, v in enumerate(known, 1)]
    late = replace(voter("n9"), voter=False, commands_version=learner)
    return Configuration(1, (*voters, late))


def test_the_clusters_version_is_the_lowest_of_its_voters() -> None:
    assert configuration(2, 3, 2, learner=1).commands_version == 2
    assert configuration(1, 3, 3, learner=3).commands_version == 1
    assert members.NOBODY.commands_version == versions.COMMANDS_FIRST


def test_a_learner_that_knows_less_than_the_log_may_hold_is_not_promoted() -> None:
    with pytest.raises(Conflict, match=r"knows commands of version 1.* of 2: upgrade it first"):
        members.apply(configuration(2, 2, learner=1), Change("promote", "n9"))
    unheard = configuration(2, 2, learner=1)
    unheard = Configuration(1, (*unheard.members[:-1], replace(unheard.members[-1], id="")))
    with pytest.raises(Conflict, match="n9 does not answer: it has never been heard of"):
        members.apply(unheard, Change("promote", "n9"))
    promoted = members.apply(configuration(2, 2, learner=2), Change("promote", "n9"))
    assert promoted.commands_version == 2


def test_what_a_member_knows_never_goes_back() -> None:
    claim = Change("claim", "n1", "n1-data", commands_version=3)
    claimed = members.apply(configuration(2, 3, learner=1), claim)
    assert claimed.commands_version == 3
    assert members.apply(claimed, replace(claim, commands_version=1)) == claimed


def test_a_configuration_of_an_earlier_raftcache_knows_the_first_commands() -> None:
    old = members.to_builtins(MEMBERS)
    for member in old[1]:
        del member[-1]
    assert members.from_builtins(old).commands_version == versions.COMMANDS_FIRST


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ours]:
    """A leader that knows commands of version 2."""
    monkeypatch.setattr("tests.support.sim_bench.MYSELF", replace(MYSELF, commands_version=2))
    logging.disable(logging.CRITICAL)
    bench = Ours()
    bench.connect()
    bench.win()
    acknowledge(bench)
    yield bench
    logging.disable(logging.NOTSET)


def acknowledge(bench: Ours) -> None:
    for peer in bench.peers:
        bench.acknowledge(peer, bench.term, bench.engine.last_index + 1)
    bench.turn()


def test_a_newer_kind_may_be_used_once_all_have_greeted_with_it_and_that_is_committed(
    bench: Ours,
) -> None:
    for peer in bench.peers:
        assert bench.replica.commands_version == 1
        bench.engine.greeted(replace(voter(peer), commands_version=2))
        bench.turn()
        assert bench.replica.commands_version == 1, "in the log, but not committed"
        acknowledge(bench)
    assert bench.replica.commands_version == 2
    bench.engine.greeted(replace(voter("n2"), commands_version=1))
    bench.turn()
    acknowledge(bench)
    assert bench.replica.commands_version == 2


@pytest.mark.parametrize("known", [2, 3])
def test_a_node_that_knows_less_than_the_cluster_uses_stops_and_says_so(
    bench: Ours, known: int
) -> None:
    later = tuple(replace(voter(n), commands_version=known) for n in ("n1", "n2", "n3"))
    entry = (members.encode(Configuration(5, later)), bench.engine.last_index + 1, bench.term + 1)
    bench.feed(
        "n2",
        type="append_entries",
        term=bench.term + 1,
        prevLogIdx=bench.engine.last_index,
        prevLogTerm=bench.term,
        entries=[entry],
    )
    stopped = [type(error) for error in bench.fatal]
    assert stopped == ([BadConfig] if known == 3 else [])
    assert all("run the newer raftcache" in str(error) for error in bench.fatal)


def test_every_kind_of_command_has_the_version_that_brought_it() -> None:
    later = {kind: v for kind, v in words.INTRODUCED.items() if v > versions.COMMANDS_FIRST}
    kinds = (
        words.Txn,
        words.DeleteRange,
        words.LeasedPut,
        *get_args(Leasing),
        *get_args(Locking),
        *get_args(words.Keeping),
    )
    of_calls = {Calls: 3, CallsSince: 4, CallsAnswered: 4, CallsRehearsed: 5}
    of_clients = dict.fromkeys(get_args(Registering), 6)
    assert later == dict.fromkeys(kinds, 2) | of_calls | of_clients
    assert versions.COMMANDS == 6


def test_a_number_needs_the_version_that_brought_it() -> None:
    keyed, numbered = Once(b"t", bytes(16)), Once(Number(1, 1, 1), bytes(16))
    for kind in (partial(words.Put, b"k", b"v"), words.Txn, partial(words.DeleteRange, b"", b"")):
        before, plain = codec.version_needed(kind()), codec.version_needed(kind(once=keyed))
        assert before == plain < 6
        assert codec.version_needed(kind(once=numbered)) == 6


def test_a_number_is_no_key_to_an_older_node() -> None:
    """Which would remember nothing of it, and do it again: it cannot read it at all."""

    class OlderOnce(Struct, array_like=True, frozen=True):
        token: bytes
        fingerprint: bytes

    numbered = msgspec.msgpack.encode(Once(Number(1, 1, 1), bytes(16)))
    with pytest.raises(msgspec.ValidationError, match="bytes"):
        msgspec.msgpack.decode(numbered, type=OlderOnce)


def test_a_call_needs_the_version_that_brought_it() -> None:
    add, ack, other = (b"XADD", b"s"), (b"XACK", b"s"), (b"SET", b"a")
    since = partial(CallsSince, size_bytes_max=9, atomic=True)
    answered = partial(CallsAnswered, size_bytes_max=9, atomic=True)
    assert codec.version_needed(Calls((other,), 9)) == 3
    for kind in (since, answered):
        needed = [codec.version_needed(kind((call, other))) for call in (other, add, ack)]
        assert needed == [4, 4, 5]
