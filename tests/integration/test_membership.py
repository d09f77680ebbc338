"""Members come, go, move and are lost, on real processes: each as an operator would do it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from raftcache.raft.greetings import Refusal
from tests.support.cluster import until
from tests.support.growing import Growing, growing

pytestmark = pytest.mark.cluster

CALM = ("--election-min", "600ms", "--election-max", "1200ms")


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Growing]:
    """n1 to n3 are a cluster; n4 and n5 may join."""
    with growing(tmp_path, 3, 5, *CALM) as cluster:
        yield cluster


def lone_follower(cluster: Growing) -> str:
    return cluster.followers()[0]


# -- by commands -----------------------------------------------------------------------------------


def test_a_cluster_grows_and_shrinks_by_commands(tmp_path: Path) -> None:
    with growing(tmp_path, 1, 3, *CALM) as cluster:
        cluster.write("n1", "key", "value")
        for name in ("n2", "n3"):
            cluster.join(name, at="n1")
            done = cluster.cli("member", "promote", name)
            assert (done.exit_code, done.stdout.split(",")[0]) == (0, f"{name} is a voter")
        again = cluster.cli("member", "promote", "n3")
        assert again.exit_code == 0

        listed = json.loads(cluster.cli("member", "list", "--json").stdout)
        assert listed["committed"]
        assert [(m["name"], m["voter"]) for m in listed["members"]] == [
            ("n1", True),
            ("n2", True),
            ("n3", True),
        ]
        table = cluster.cli("member", "list").stdout.splitlines()
        assert table[0] == f"cluster {listed['cluster_id']}, version {listed['version']}"
        assert table[2].split()[:3] == ["n1", "voter", cluster.raft("n1")]

        assert cluster.cli("leader", "transfer", "n3").stdout == "n3 leads\n"
        assert cluster.cli("leader", "show").stdout == "n3\n"
        assert json.loads(cluster.cli("leader", "show", "--json").stdout)["leader"] == "n3"
        done = cluster.cli("member", "remove", "n3", ask="n3")  # the leader, asked itself
        assert (done.exit_code, done.stdout.split(",")[0]) == (0, "n3 removed"), done.stderr
        cluster.out("n3", Refusal.REMOVED)
        cluster.kill("n3")
        assert set(cluster.members("n1")) == {"n1", "n2"}
        assert cluster.read("n2", "key") == "value"


def test_commands_are_refused_with_the_reason(tmp_path: Path) -> None:
    with growing(tmp_path, 1, 2, *CALM) as cluster:
        added = cluster.cli("member", "add", "n9", "--raft", "127.0.0.1:9", "--json")
        version = json.loads(added.stdout)["version"]
        shown = cluster.cli("status").stdout.splitlines()[-1].split()
        assert shown[:2] + shown[-1:] == ["n9", "learner", "127.0.0.1:9"]
        for args, code, said in (
            (("promote", "n9", "--timeout", "2s"), 3, "n9 does not answer"),
            (("promote", "n9", "--no-wait"), 3, "n9 does not answer"),
            (("promote", "n8"), 1, "there is no member 'n8'"),
            (("remove", "n8"), 1, "there is no member 'n8'"),
            (("remove", "n1"), 3, "n1 is the only voter"),
            (("remove", "n9", "--if-version", "0"), 1, f"has version {version}, not 0"),
            (("add", "n9", "--raft", "127.0.0.1:8"), 3, "there is a member 'n9' already"),
            (("add", "n8", "--raft", "127.0.0.1:9"), 3, "n9 has the Raft address"),
            (("add", "n8", "--raft", "nowhere"), 2, "raft: must be host:port"),
            (("add", "n 8", "--raft", "127.0.0.1:8"), 2, "must be 1 to 64 letters"),
            (("update", "n9"), 2, "say --raft, --http, --resp or more"),
        ):
            done = cluster.cli("member", *args)
            assert (done.exit_code, done.stdout) == (code, ""), args
            assert said in done.stderr
        for name, code, said in (("n9", 3, "a learner"), ("n8", 1, "no member")):
            done = cluster.cli("leader", "transfer", name)
            assert done.exit_code == code
            assert said in done.stderr
        still = json.loads(cluster.cli("member", "list", "--json").stdout)
        assert still["version"] == version, "nothing of that changed anything"
        done = cluster.cli("member", "update", "n9", "--http", "127.0.0.1:10")
        assert done.stdout == f"n9 updated, version {version + 1}\n"
        done = cluster.cli("member", "remove", "n9", "--if-version", str(version + 1))
        assert done.stdout == f"n9 removed, version {version + 2}\n"
        cluster.send("n1", signal.SIGSTOP)
        done = cluster.cli("member", "remove", "n9", "--timeout", "1s")
        assert (done.exit_code, done.stdout) == (4, "")
        assert cluster.cli("leader", "show", "--timeout", "1s").exit_code == 3


# -- learners --------------------------------------------------------------------------------------


def test_a_learner_reads_but_does_not_count(tmp_path: Path) -> None:
    with growing(tmp_path, 1, 2, *CALM) as cluster:
        cluster.write("n1", "before", "it came")
        cluster.join("n2", at="n1")
        assert cluster.read("n2", "before") == "it came"
        cluster.write("n2", "through", "the learner")
        until(
            lambda: cluster.get("n2", "through", "?consistency=stale").body == b"the learner",
            "it does not follow",
        )
        status = cluster.status("n2")
        assert status is not None
        assert (status["role"], status["leader"]) == ("learner", "n1")
        with cluster.suspended("n2"):
            cluster.write("n1", "without", "it")
        cluster.kill("n2")
        cluster.write("n1", "without", "it still")
        assert cluster.change("n1", "DELETE", "/n2").status == 200


# -- removal ---------------------------------------------------------------------------------------


def test_a_removed_node_says_why_serves_nothing_and_disturbs_nobody(trio: Growing) -> None:
    trio.write("n1", "key", "value")
    name = lone_follower(trio)
    others = [n for n in trio.nodes if n in trio.running and n != name]
    assert trio.change(others[0], "DELETE", f"/{name}").status == 200
    trio.out(name, Refusal.REMOVED)
    term = trio.settled(others)["term"]
    for _ in range(2):
        trio.kill(name)
        trio.start(name)
        until(lambda: trio.status(name), "it did not start")
        trio.out(name, Refusal.REMOVED)
    trio.write(others[0], "key", "later")
    assert trio.settled(others)["term"] == term
    assert "removed from the cluster" in trio.said(others[0])


def test_a_dead_member_is_removed_and_no_majority_is_given_away(trio: Growing) -> None:
    first, second = trio.followers()
    leader = trio.leader()
    trio.kill(second)
    refused = trio.change(leader, "DELETE", f"/{first}")
    assert refused.status == 409
    assert refused.json["detail"].endswith(f"not heard of late: {second}")
    assert trio.change(leader, "DELETE", f"/{second}").status == 200
    assert trio.voters(leader) == {leader, first}
    trio.write(first, "key", "value")


def test_force_is_for_those_who_know_who_comes_back(trio: Growing) -> None:
    first, second = trio.followers()
    leader = trio.leader()
    trio.kill(second)
    assert trio.change(leader, "DELETE", f"/{first}").status == 409
    forced = trio.change(leader, "DELETE", f"/{first}?force=true")
    assert forced.status == 503
    assert forced.json["definite"] is False, "without a majority nobody can tell yet"
    trio.start(second)
    until(lambda: trio.status(second), "it did not start")
    trio.write(second, "key", "value")  # whoever leads now, by the old members or by the new


# -- lost and moved --------------------------------------------------------------------------------


def test_a_wiped_node_is_nobody_until_it_joins_anew(trio: Growing) -> None:
    trio.write("n1", "key", "value")
    name = lone_follower(trio)
    others = [n for n in trio.running if n != name]
    known, term = trio.members(others[0])[name]["id"], trio.settled()["term"]
    trio.kill(name)
    trio.wipe(name)
    trio.start(name)  # with --cluster, as it was
    until(lambda: trio.status(name), "it did not start")
    trio.out(name, "it must join again, with an empty folder")
    status = trio.settled(others)
    assert status["term"] == term
    assert trio.members(others[0])[name]["id"] == known

    trio.kill(name)
    trio.wipe(name)
    trio.join(name, at=others[0])
    joined = trio.members(others[0])[name]
    assert joined["id"] not in ("", known)
    assert not joined["voter"]
    assert trio.read(name, "key") == "value"
    trio.promote(name, via=others[0])
    assert trio.voters(name) == {"n1", "n2", "n3"}
    trio.settled()


def is_at(cluster: Growing, name: str, address: str) -> bool:
    raft: str = cluster.members("n2")[name]["raft"]
    return raft == address


def test_a_member_moves_without_becoming_another(trio: Growing) -> None:
    """n1, whom the others dial, and n3, who dials the others; told beforehand, and not."""
    trio.write("n1", "key", "value")
    before = trio.members("n2")
    for name, is_told in (("n1", True), ("n3", True), ("n1", False)):
        address = trio.move(name)
        if is_told:
            done = trio.cli("member", "update", name, "--raft", address)
            assert done.exit_code == 0, done.stderr
            assert trio.members("n2")[name]["raft"] == address
        trio.kill(name)
        trio.start(name)
        trio.ready(name)
        until(partial(is_at, trio, name, address), "its address is not known")
    resp = {name: f"127.0.0.1:{trio.nodes[name].resp_port}" for name in trio.running}
    for name in trio.running:
        until(lambda at=name: trio.served(at) == resp, "where Redis clients go is not known")
    listed = trio.cli("member", "list").stdout.splitlines()[1:]
    heading, *rows = (line.split() for line in listed)
    assert {row[0]: row[heading.index("RESP")] for row in rows} == resp
    trio.settled()
    after = trio.members("n2")
    assert {n: m["id"] for n, m in after.items()} == {n: m["id"] for n, m in before.items()}
    assert trio.voters("n2") == {"n1", "n2", "n3"}


def test_all_members_move_at_once(trio: Growing) -> None:
    """Nobody is left who could be told by `member update`; `--peers` says where they are."""
    trio.write("n1", "key", "value")
    ids = {name: m["id"] for name, m in trio.members("n1").items()}
    names = ("n1", "n2", "n3")
    for name in names:
        trio.kill(name)
    peers = ",".join(f"{name}={trio.move(name)}" for name in names)
    trio.options += ["--peers", peers]
    for name in names:
        trio.start(name)
    trio.leader(names)
    assert trio.read("n2", "key") == "value"

    def is_written_down() -> bool:
        return all(m["raft"] == trio.raft(name) for name, m in trio.members("n3").items())

    until(is_written_down, "the new addresses are not in the configuration")
    assert {name: m["id"] for name, m in trio.members("n1").items()} == ids
    del trio.options[-2:]
    for name in names:
        trio.kill(name)
    for name in names:
        trio.start(name)
    trio.leader(names)
    assert trio.read("n3", "key") == "value"


@pytest.mark.slow
def test_a_node_is_reached_though_all_it_knew_are_gone(trio: Growing) -> None:
    trio.leader()
    trio.kill("n3")
    for name in ("n4", "n5"):
        trio.join(name, at="n1")
        trio.promote(name, via="n1")
    for name in ("n1", "n2"):
        trio.remove(name, via="n5")
        trio.kill(name)
    trio.write("n5", "key", "value")
    trio.start("n3")
    trio.ready("n3")
    assert trio.read("n3", "key") == "value"
    assert trio.voters("n3") == {"n3", "n4", "n5"}
    trio.settled(["n3", "n4", "n5"])
