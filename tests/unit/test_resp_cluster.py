"""What Redis clients are told of the cluster: CLUSTER, ROLE, INFO replication, SENTINEL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.crc import key_slot

from raftcache.cluster.group import Copies, Group, GroupView
from raftcache.command import versions
from raftcache.command.call_table import SPECS
from raftcache.command.values import RESP2, RESP3, Failure, Value, Verbatim
from raftcache.config import Address, ClusterMap, Config, Durability, Storage
from raftcache.raft.members import Configuration, Member
from raftcache.raft.replica import ReplicaStatus
from raftcache.server.resp import cluster, sentinel
from raftcache.server.resp.client import Client
from raftcache.server.resp.discovery import DiscoveryCalls
from raftcache.server.resp.encode import encode
from raftcache.server.resp.table import CallTable, Entry
from raftcache.server.resp.waiting import Waits
from raftcache.server.resp.words import NOT_INTEGER

N1: Final = Member("n1", "one", "h1:7500", "h1:7400", True, versions.COMMANDS, "h1:6401")
N2: Final = Member("n2", "two", "h2:7500", "h2:7400", True, versions.COMMANDS, "h2:6402")
N3: Final = Member("n3", "three", "[::1]:7500", "", True, versions.COMMANDS, "[::1]:6403")
N4: Final = Member("n4", "four", "h4:7500", "", False, versions.COMMANDS, "h4:6404")
OLDER: Final = Member("n5", "five", "h5:7500", "", True)
FOUR: Final = Configuration(7, (N1, N2, N3, N4))


class Seen:
    """What a replica says of itself and its group."""

    def __init__(self, me: Member = N1, leader: str | None = "n1", **changes: Any) -> None:
        leads = leader == me.name
        self.me, self.configuration, self.configuration_is_committed = me, FOUR, True
        self.linked = {m.name for m in FOUR.members} - {me.name}
        self.said = ReplicaStatus(
            role="leader" if leads else "follower",
            leader=leader,
            term=9,
            commit_index=50,
            applied_index=49,
            last_index=52,
            match_indexes={"n2": 50, "n3": 48, "n4": 49} if leads else {},
            contact_age_s=0.0,
            durable_index=51,
        )
        self.said = replace(self.said, **changes)

    @property
    def leader(self) -> str | None:
        return self.said.leader

    def status(self) -> ReplicaStatus:
        return self.said

    @property
    def view(self) -> GroupView:
        at = Address("127.0.0.1", 1)
        storage = Storage(durability=Durability.FSYNC)
        config = Config(self.me.name, Path("/"), at, at, at, at, storage=storage)
        replica: Any = self
        return GroupView(config, "c1", self.me, replica, lambda: self.linked)

    @property
    def group(self) -> Group:
        return self.view.group()


def spread(group: Group, *words: str) -> Any:
    """As asked of CLUSTER, where the slots are spread."""
    return cluster.answer([b"CLUSTER", *(w.encode() for w in words)], group, ClusterMap.SPREAD)


def asked(group: Group, *words: str) -> Value:
    argv = [word.encode() for word in words]
    return (cluster if argv[0] == b"CLUSTER" else sentinel).answer(argv, group)


def text(value: Value) -> str:
    assert isinstance(value, Verbatim)
    return value.text.decode()


def ids(*members: Member) -> list[bytes]:
    groups = [Seen(member).group for member in members]
    return [group.myself.id.encode() for group in groups]


# -- keys and slots --------------------------------------------------------------------------------


@given(
    st.one_of(st.binary(max_size=20), st.text("ab{}", max_size=12).map(str.encode)),
)
def test_slots_are_those_of_redis_cluster(key: bytes) -> None:
    assert cluster.slot_of(key) == key_slot(key)


@pytest.mark.parametrize(
    ("key", "slot"),
    [(b"123456789", 12739), (b"foo", 12182), (b"", 0), (b"a{foo}b", 12182), (b"foo{}", 5542)],
)
def test_some_slots_by_heart(key: bytes, slot: int) -> None:
    assert cluster.slot_of(key) == key_slot(key) == slot
    assert asked(Seen().group, "CLUSTER", "KEYSLOT", key.decode()) == slot


def test_the_keys_of_a_slot() -> None:
    keys = [b"b{foo}", b"foo", b"bar", b"a{foo}"]

    def said(*words: str) -> Value:
        return cluster.keys_in_slot([b"CLUSTER", *(w.encode() for w in words)], keys)

    assert said("COUNTKEYSINSLOT", "12182") == 3
    assert said("COUNTKEYSINSLOT", "0") == 0
    assert said("GETKEYSINSLOT", "12182", "2") == [b"a{foo}", b"b{foo}"]
    assert said("COUNTKEYSINSLOT", "16384") == Failure("ERR Invalid slot")
    assert said("GETKEYSINSLOT", "-1", "2") == Failure("ERR Invalid slot or number of keys")
    assert said("GETKEYSINSLOT", "1", "-2") == Failure("ERR Invalid slot or number of keys")
    for wrong in ("x", "01", "1.0", " 1", str(1 << 63)):
        assert said("COUNTKEYSINSLOT", wrong) == NOT_INTEGER
        assert said("GETKEYSINSLOT", "1", wrong) == NOT_INTEGER


# -- the map ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("me", [N1, N2, N4])
def test_all_nodes_show_the_leader_as_the_master_of_all_slots(me: Member) -> None:
    group = Seen(me).group
    ((first, last, *nodes),) = asked(group, "CLUSTER", "SLOTS")
    assert (first, last) == (0, 16383)
    places = [(b"h1", 6401), (b"h2", 6402), (b"::1", 6403), (b"h4", 6404)]
    assert [(host, port) for host, port, _, _ in nodes] == places
    assert [node_id for _, _, node_id, _ in nodes] == ids(N1, N2, N3, N4)
    assert all(len(node_id) == 40 and int(node_id, 16) for _, _, node_id, _ in nodes)
    (shard,) = asked(group, "CLUSTER", "SHARDS")
    assert shard[b"slots"] == [0, 16383]
    assert [n[b"role"] for n in shard[b"nodes"]] == [b"master", b"replica", b"replica", b"replica"]
    assert [n[b"id"] for n in shard[b"nodes"]] == ids(N1, N2, N3, N4)
    assert asked(group, "CLUSTER", "MYID") == ids(me)[0]
    assert "cluster_state:ok\r\n" in text(asked(group, "CLUSTER", "INFO"))


def test_nodes_as_lines() -> None:
    seen = Seen(N2)
    seen.linked = {"n1", "n4"}
    n1, n2, n3, n4 = (one.decode() for one in ids(N1, N2, N3, N4))
    assert text(asked(seen.group, "CLUSTER", "NODES")).splitlines() == [
        f"{n1} h1:6401@7500 master - 0 0 9 connected 0-16383",
        f"{n2} h2:6402@7500 myself,slave {n1} 0 0 9 connected",
        f"{n3} ::1:6403@7500 slave,fail {n1} 0 0 9 disconnected",
        f"{n4} h4:6404@7500 slave {n1} 0 0 9 connected",
    ]
    lines = asked(seen.group, "CLUSTER", "REPLICAS", n1)
    assert [line.split()[0].decode() for line in lines] == [n2, n3, n4]
    not_a_master = asked(seen.group, "CLUSTER", "SLAVES", n2)
    assert not_a_master == Failure("ERR The specified node is not a master")
    assert asked(seen.group, "CLUSTER", "REPLICAS", "x") == Failure("ERR Unknown node x")
    ((_, _, *nodes),) = asked(seen.group, "CLUSTER", "SLOTS")
    assert [port for _, port, _, _ in nodes] == [6401, 6402, 6404], "none that is down"
    links = asked(seen.group, "CLUSTER", "LINKS")
    assert [link[b"node"].decode() for link in links] == [n1, n4]


@pytest.mark.parametrize("gone", ["unknown", "not linked"])
def test_without_a_leader_a_node_shows_itself_so_that_clients_keep_asking(gone: str) -> None:
    seen = Seen(N2, None if gone == "unknown" else "n1")
    if gone == "not linked":
        seen.linked = {"n3", "n4"}
    group = seen.group
    ((_, _, master, *_),) = asked(group, "CLUSTER", "SLOTS")
    assert master[:2] == [b"h2", 6402]
    info = text(asked(group, "CLUSTER", "INFO"))
    assert "cluster_state:fail\r\n" in info
    assert "cluster_slots_ok:0\r\n" in info
    assert cluster.role(group) == [b"slave", b"", 0, b"connect", -1]
    assert cluster.info_replication(group)["master_link_status"] == "down"
    assert asked(group, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "any") is None
    assert asked(group, "SENTINEL", "MASTER", "any")[b"flags"] == b"master,s_down,o_down"


def test_a_leader_of_an_older_version_is_no_master_yet_the_cluster_is_well() -> None:
    seen = Seen(N2, "n5")
    seen.configuration = replace(FOUR, members=(*FOUR.members, OLDER))
    seen.linked = {"n1", "n3", "n5"}
    group = seen.group
    ((_, _, *nodes),) = asked(group, "CLUSTER", "SLOTS")
    assert [port for _, port, _, _ in nodes] == [6402, 6401, 6403]
    assert "cluster_state:ok\r\n" in text(asked(group, "CLUSTER", "INFO"))


def test_a_node_knows_its_own_address_before_the_configuration_does() -> None:
    seen = Seen(N1, None)
    seen.configuration = Configuration(0, (replace(N1, id="", resp=""), replace(N2, resp="")))
    assert (seen.group.myself.host, seen.group.myself.port) == ("h1", 6401)
    assert seen.group.replicas == ()


# -- the map that is spread ------------------------------------------------------------------------

THIRDS: Final = [(0, 5460), (5461, 10921), (10922, 16383)]
HALVES: Final = [(0, 8191), (8192, 16383)]


def owners(group: Group) -> list[tuple[int, int, int]]:
    """First and last slot, and the port of who has them."""
    return [(first, last, nodes[0][1]) for first, last, *nodes in spread(group, "SLOTS")]


def at(ranges: list[tuple[int, int]], *ports: int) -> list[tuple[int, int, int]]:
    return [(*pair, port) for pair, port in zip(ranges, ports, strict=True)]


@pytest.mark.parametrize("me", [N1, N2, N3, N4])
@pytest.mark.parametrize("leader", ["n1", "n3"])
def test_every_voter_has_its_share_whoever_is_asked_and_leads(me: Member, leader: str) -> None:
    group = Seen(me, leader).group
    assert owners(group) == at(THIRDS, 6401, 6402, 6403)
    assert [nodes[0][2] for _, _, *nodes in spread(group, "SLOTS")] == ids(N1, N2, N3)
    learners = {nodes[0][1]: [n[1] for n in nodes[1:]] for _, _, *nodes in spread(group, "SLOTS")}
    leads = {"n1": 6401, "n3": 6403}[leader]
    assert learners == {6401: [], 6402: [], 6403: []} | {leads: [6404]}
    assert spread(group, "MYID") == ids(me)[0]


def test_the_slots_of_who_is_down_go_to_the_others() -> None:
    seen = Seen(N2, "n3")
    seen.linked = {"n3", "n4"}
    assert owners(seen.group) == at(HALVES, 6402, 6403)
    n1, n2, n3, n4 = (one.decode() for one in ids(N1, N2, N3, N4))
    assert text(spread(seen.group, "NODES")).splitlines() == [
        f"{n1} h1:6401@7500 master,fail - 0 0 9 disconnected",
        f"{n2} h2:6402@7500 myself,master - 0 0 9 connected 0-8191",
        f"{n3} ::1:6403@7500 master - 0 0 9 connected 8192-16383",
        f"{n4} h4:6404@7500 slave {n3} 0 0 9 connected",
    ]
    shards = spread(seen.group, "SHARDS")
    assert [shard[b"slots"] for shard in shards] == [[], [0, 8191], [8192, 16383]]
    healths = [[node[b"health"] for node in shard[b"nodes"]] for shard in shards]
    assert healths == [[b"fail"], [b"online"], [b"online", b"online"]]
    assert "cluster_size:2\r\n" in text(spread(seen.group, "INFO"))
    assert "cluster_known_nodes:4\r\n" in text(spread(seen.group, "INFO"))
    assert spread(seen.group, "REPLICAS", n1) == spread(seen.group, "REPLICAS", n2) == []
    assert [line.split()[0].decode() for line in spread(seen.group, "REPLICAS", n3)] == [n4]
    assert isinstance(spread(seen.group, "REPLICAS", n4), Failure)


def test_while_nobody_leads_but_somebody_can_be_elected_the_living_have_the_slots() -> None:
    seen = Seen(N2, None)
    seen.linked = {"n3", "n4"}
    assert owners(seen.group) == at(HALVES, 6402, 6403)
    assert "cluster_state:fail\r\n" in text(spread(seen.group, "INFO"))


def test_who_is_cut_off_gives_its_slots_to_the_others_whoever_of_them_lives() -> None:
    seen = Seen(N2, None)
    seen.linked = {"n4"}
    assert owners(seen.group) == at(HALVES, 6401, 6403)
    flags = [line.split()[2] for line in text(spread(seen.group, "NODES")).splitlines()]
    assert flags == ["master,fail?", "slave", "myself,master", "master,fail?"]
    alone = Seen(N1, None)
    alone.configuration = Configuration(7, (N1,))
    assert owners(alone.group) == [(0, 16383, 6401)], "it is a majority"
    alone.configuration = Configuration(7, (N1, OLDER, replace(OLDER, name="n6")))
    assert owners(alone.group) == [(0, 16383, 6401)], "nobody else serves Redis clients"


def test_members_that_are_removed_or_serve_no_redis_clients_have_no_slots() -> None:
    seen = Seen(N2, "n1")
    seen.configuration = Configuration(8, (N1, N2, N4, OLDER))
    seen.linked = {"n1", "n3", "n4", "n5"}
    assert owners(seen.group) == at(HALVES, 6401, 6402)
    seen = Seen(N3, "n1")
    seen.configuration = Configuration(8, (N1, N2))
    assert owners(seen.group) == at(HALVES, 6401, 6402), "it knows that it was removed"


@given(
    st.sets(st.sampled_from(["n1", "n2", "n3", "n4"])),
    st.sampled_from([None, "n1", "n2", "n3"]),
    st.sampled_from([N1, N2, N3, N4]),
    st.sampled_from(ClusterMap),
)
def test_what_is_told_of_the_cluster_fits_together(
    linked: set[str], leader: str | None, me: Member, cluster_map: ClusterMap
) -> None:
    seen = Seen(me, leader)
    seen.linked = linked - {me.name}
    group = seen.group

    def said(*words: str) -> Any:
        return cluster.answer([b"CLUSTER", *(w.encode() for w in words)], group, cluster_map)

    slots = {nodes[0][2].decode(): (first, last) for first, last, *nodes in said("SLOTS")}
    assert [s for first, last in slots.values() for s in range(first, last + 1)] == [*range(16384)]
    shards = {s[b"nodes"][0][b"id"].decode(): s for s in said("SHARDS")}
    assert {master: tuple(s[b"slots"]) for master, s in shards.items() if s[b"slots"]} == slots
    lines = [line.split() for line in text(said("NODES")).splitlines()]
    assert len(lines) == len({line[0] for line in lines}) == 4
    masters = {line[0]: tuple(line[8:]) for line in lines if "master" in line[2].split(",")}
    assert masters == {m: (f"{slots[m][0]}-{slots[m][1]}",) if m in slots else () for m in shards}
    for master, shard in shards.items():
        replicas = [node[b"id"].decode() for node in shard[b"nodes"][1:]]
        assert [line.split()[0].decode() for line in said("REPLICAS", master)] == replicas
        assert [line[0] for line in lines if line[3] == master] == replicas
    assert [line[0].encode() for line in lines if "myself" in line[2]] == [said("MYID")]
    assert f"cluster_size:{len(slots)}\r\n" in text(said("INFO"))
    assert len(said("MYSHARDID")) == 40


# -- roles -----------------------------------------------------------------------------------------


def test_roles() -> None:
    replicas = [[b"h2", b"6402", b"50"], [b"::1", b"6403", b"48"], [b"h4", b"6404", b"49"]]
    assert cluster.role(Seen(N1).group) == [b"master", 49, replicas]
    assert cluster.role(Seen(N2).group) == [b"slave", b"h1", 6401, b"connected", 49]
    seen = Seen(N1)
    seen.linked = {"n3"}
    assert cluster.role(seen.group) == [b"master", 49, replicas[1:2]]


def test_replication_in_info() -> None:
    fields = cluster.info_replication(Seen(N1).group)
    assert (fields["role"], fields["connected_slaves"]) == ("master", 3)
    assert fields["slave1"] == "ip=::1,port=6403,state=online,offset=48,lag=0"
    assert fields["master_repl_offset"] == 49
    fields = cluster.info_replication(Seen(N3).group)
    assert (fields["role"], fields["master_host"], fields["master_port"]) == ("slave", "h1", 6401)
    assert (fields["master_link_status"], fields["slave_read_only"]) == ("up", 0)
    assert fields["master_repl_offset"] == 50


# -- sentinels -------------------------------------------------------------------------------------


def test_sentinels_answer_to_every_name() -> None:
    group = Seen(N2).group
    for name in ("raftcache", "mymaster", ""):
        assert asked(group, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name) == [b"h1", b"6401"]
        master = asked(group, "SENTINEL", "MASTER", name)
        assert (master[b"name"], master[b"flags"]) == (name.encode(), b"master")
        assert (master[b"num-slaves"], master[b"num-other-sentinels"]) == (b"3", b"3")
        replicas = asked(group, "SENTINEL", "REPLICAS", name)
        assert replicas == asked(group, "SENTINEL", "SLAVES", name)
        assert [r[b"name"] for r in replicas] == [b"h2:6402", b"::1:6403", b"h4:6404"]
        assert [r[b"master-link-status"] for r in replicas] == [b"ok"] * 3
        others = asked(group, "SENTINEL", "SENTINELS", name)
        assert [(o[b"ip"], o[b"port"]) for o in others] == [
            (b"h1", b"6401"),
            (b"::1", b"6403"),
            (b"h4", b"6404"),
        ]
    (listed,) = asked(group, "SENTINEL", "MASTERS")
    assert listed == asked(group, "SENTINEL", "MASTER", "raftcache")
    assert asked(group, "SENTINEL", "MYID") == ids(N2)[0]


def test_sentinels_tell_who_is_down_and_whether_a_leader_can_be_elected() -> None:
    seen = Seen(N2)
    assert asked(seen.group, "SENTINEL", "CKQUORUM", "x").startswith("OK 3 usable Sentinels.")
    seen.linked = {"n4"}
    refused = asked(seen.group, "SENTINEL", "CKQUORUM", "x")
    assert refused.text.startswith("NOQUORUM 1 usable Sentinels.")

    def down(host: str, port: str, epoch: str = "0") -> Value:
        words = ("IS-MASTER-DOWN-BY-ADDR", host, port, epoch, "*")
        return asked(seen.group, "SENTINEL", *words)

    assert down("h1", "6401") == [1, b"*", 0]
    assert down("h2", "6402") == [0, b"*", 0]
    assert down("h9", "6409") == [0, b"*", 0]
    assert down("h1", "x") == down("h1", "6401", "x") == NOT_INTEGER
    replicas = asked(seen.group, "SENTINEL", "REPLICAS", "x")
    assert replicas[0][b"flags"] == b"slave,s_down,disconnected"


@pytest.mark.parametrize("container", ["CLUSTER", "SENTINEL"])
def test_every_subcommand_of_the_table_is_answered_in_both_protocols(container: str) -> None:
    group = Seen(N2).group
    of_keys = {b"COUNTKEYSINSLOT", b"GETKEYSINSLOT"}
    subcommands = SPECS[container.encode()].subcommands
    assert len(subcommands) >= 10
    for name, spec in subcommands.items():
        if name not in of_keys:
            argv = [container.encode(), name.lower(), *[b"1"] * (abs(spec.arity) - 2)]
            value = (cluster if container == "CLUSTER" else sentinel).answer(argv, group)
            assert encode(value, RESP2)
            assert encode(value, RESP3)


# -- questions for the leader while there is none --------------------------------------------------


async def kept(seen: Seen, patience_s: float, *words: str) -> tuple[list[Value], Client]:
    """The answers so far to a question at a node, and who asked."""
    loop, nobody = asyncio.get_running_loop(), cast("Any", None)
    table, client, answers = CallTable(), Client(nobody, 1, "", ""), list[Value]()
    waits = Waits(seen.view, loop)
    DiscoveryCalls(seen.view, waits, nobody, loop, patience_s).add_to(table)
    call = [word.encode() for word in words]
    entry = table.find(call)
    assert isinstance(entry, Entry)
    assert entry.ask is not None
    entry.ask(client, call, answers.append)
    return answers, client


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


QUESTIONS = ["CLUSTER SLOTS", "cluster nodes", "SENTINEL get-master-addr-by-name any"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_for_the_leader_is_kept_until_there_is_one(question: str) -> None:
    async def test() -> None:
        seen = Seen(N2, None)
        answers, client = await kept(seen, 60, *question.split())
        assert answers == []
        assert len(client.at_end) == 1
        seen.said = replace(seen.said, leader="n1")
        await until(lambda: answers)
        assert answers == [asked(seen.group, *question.upper().split())]
        assert client.at_end == []
        at_once, _ = await kept(seen, 60, *question.split())
        assert at_once == answers

    asyncio.run(test())


def test_a_question_is_not_kept_for_long_nor_for_who_has_gone() -> None:
    async def test() -> None:
        seen = Seen(N2, None)
        gone_answers, gone = await kept(seen, 0.001, "CLUSTER", "SLOTS")
        gone.end()
        answers, _ = await kept(seen, 0.002, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "any")
        await until(lambda: answers)
        assert (answers, gone_answers) == ([None], [])

    asyncio.run(test())


# -- copies ----------------------------------------------------------------------------------------


def test_a_leader_counts_who_has_stored_it_learners_too() -> None:
    view = Seen(N1).view
    assert view.copies(48) == Copies(here=True, others=3, is_final=False)
    assert view.copies(49) == Copies(here=True, others=2, is_final=False)
    late = Seen(N1, match_indexes={"n2": 0, "n3": 0, "n4": 0}, durable_index=48)
    assert late.view.copies(49) == Copies(here=False, others=1, is_final=False), "it is committed"


@pytest.mark.parametrize(
    ("me", "voters", "committed", "others"),
    [
        (N2, 3, True, 1),  # the leader has it, or another one; this node may be the second
        (N4, 3, True, 2),  # a learner is not of the majority
        (N2, 2, True, 1),
        (N2, 5, True, 2),
        (N2, 5, False, 2),  # perhaps there were four until now: three of them had it
        (N2, 4, False, 1),  # perhaps there were three
        (N4, 3, False, 1),  # perhaps it was a voter itself, of two
        (N1, 1, True, 0),
    ],
)
def test_a_follower_knows_of_a_majority_and_no_more(
    me: Member, voters: int, committed: bool, others: int
) -> None:
    seen = Seen(me, "n3")
    founders = [N1, N2, N3, replace(OLDER, name="n6"), OLDER]
    chosen = [me, *(m for m in founders if m is not me)] if me is not N4 else founders
    seen.configuration = Configuration(7, tuple(chosen[:voters] + [N4]))
    seen.configuration_is_committed = committed
    assert seen.view.copies(49) == Copies(here=True, others=others, is_final=True)
