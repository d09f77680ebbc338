"""What is done next to the members, how nodes are started, and which network they get."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaos import namespaces
from chaos.cluster import OwnCluster
from chaos.faults import FAULTS
from chaos.faults.members import Step, next_step
from chaos.networks import choose
from chaos.places import local, names_of
from chaos.waiting import Trouble, not_these
from raftcache.client import Member, NodeStatus


def member(name: str, *, voter: bool = True, id: str = "an id") -> Member:
    return Member(name, f"{name}:7500", voter=voter, id=id)


N1, N2, N3 = member("n1"), member("n2"), member("n3")
LEARNER = member("n3", voter=False)


@pytest.mark.parametrize(
    ("members", "lost", "step"),
    [
        ([N1, N2, N3], "", None),
        ([N1, N2], "", Step("wait", "n3")),
        ([N1, N2, LEARNER], "", Step("promote", "n3")),
        ([N1, N2, N3, member("n4")], "", Step("remove", "n4")),
        ([N1, N2, LEARNER, member("n4")], "", Step("promote", "n3")),
        ([N1, N2, member("n3", id="")], "", Step("wait", "n3")),
        ([N1, N2, member("n3", id="lost")], "lost", Step("wait", "n3")),
        ([N1, N2, N3], "lost", None),
    ],
)
def test_one_step_at_a_time(members: list[Member], lost: str, step: Step | None) -> None:
    assert next_step(members, ["n1", "n2", "n3"], lost) == step


def test_the_voters_in_the_end_are_those_of_the_beginning() -> None:
    def said(*members: Member) -> dict[str, NodeStatus]:
        return {"n1": NodeStatus("n1", "leader", "n1", 1, 1, 1, 1, "", members=members)}

    assert not_these(said(N1, N2), ["n2", "n1"]) is None
    for wrong in ((N1,), (N1, N2, N3), (N1, member("n2", voter=False)), (N1, N2, LEARNER)):
        assert "n1 knows the members" in (not_these(said(*wrong), ["n1", "n2"]) or "")


def test_a_newcomer_joins_and_a_founder_founds(tmp_path: Path) -> None:
    places = local(names_of(3))
    cluster = OwnCluster(tmp_path, places, size=2)
    assert cluster.names == ["n1", "n2"]
    assert set(cluster.urls) == {"n1", "n2"}
    command = cluster._command("n2", tmp_path)
    began_with = f"n1={places['n1'].advertised},n2={places['n2'].advertised}"
    assert command[command.index("--cluster") + 1] == began_with
    cluster._joined_at["n2"] = places["n1"].url
    command = cluster._command("n2", tmp_path)
    assert "--cluster" not in command
    assert command[command.index("--join") + 1] == places["n1"].url


def test_who_leaves_leaves_nothing_but_what_it_said(tmp_path: Path) -> None:
    cluster = stand_ins(tmp_path, "exec sleep 1000")
    cluster.start("n1")
    data = cluster.folder("n1") / "data"
    (data / "wal").mkdir(parents=True)
    (data / "meta").touch()
    cluster.leave("n1")
    assert cluster.names == ["n2"]
    assert list(data.iterdir()) == []
    assert (cluster.folder("n1") / "node.log").exists()
    assert cluster.deaths == []
    cluster.join("n1", "n2")
    assert cluster.names == ["n2", "n1"]
    cluster.kill("n1")


@pytest.mark.parametrize("end", ["kill", "stop", "start", "look_after"])
def test_a_node_that_ended_by_itself_is_noticed_whatever_comes_next(
    tmp_path: Path, end: str
) -> None:
    cluster = stand_ins(tmp_path, "echo enough; exit 3")
    cluster.start("n1")
    cluster._processes["n1"].wait()
    getattr(cluster, end)("n1")
    assert cluster.deaths == ["n1 ended by itself with 3; it said: enough"]
    cluster.kill("n1")


def stand_ins(folder: Path, script: str) -> OwnCluster:
    """A cluster whose nodes are this script: the command of a node becomes its arguments."""
    places = local(names_of(2))
    mine = {n: replace(place, prefix=("sh", "-c", script)) for n, place in places.items()}
    return OwnCluster(folder, mine)


def test_the_network_is_chosen_by_what_the_machine_and_the_faults_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    partition, slow = FAULTS["partition"], FAULTS["slow"]
    monkeypatch.setattr(namespaces, "missing", lambda: None)
    assert choose("auto", [partition])[0] == "namespaces"
    assert choose("proxy", [partition])[0] == "proxy"
    assert choose("namespaces", [slow])[0] == "namespaces"
    name, why = choose("auto", [partition, slow])
    assert name == "proxy"
    assert "which slow needs" in why
    monkeypatch.setattr(namespaces, "missing", lambda: "nft is not installed")
    name, why = choose("auto", [partition])
    assert name == "proxy"
    assert "nft is not installed" in why
    with pytest.raises(Trouble, match="nft is not installed"):
        choose("namespaces", [partition])
