"""The one door to pysyncobj: this version, a copy of our own, its hands tied."""

from __future__ import annotations

import importlib.metadata

import pysyncobj.syncobj
import pytest
from pysyncobj.node import Node as ShippedNode

from raftcache.errors import BadConfig
from raftcache.raft import stock
from raftcache.raft.stock import Node


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every correction was written against one version, line by line."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.3.18")
    with pytest.raises(BadConfig, match=r"0\.3\.18 is installed; raftcache corrects 0\.3\.17 only"):
        stock._private_copy()


def test_the_engine_is_a_copy_and_the_installed_one_stays_as_it_was() -> None:
    installed = pysyncobj.syncobj
    assert stock.engine.SyncObj is not installed.SyncObj
    for name in ("pickle", "createPoller", "createJournal", "Serializer"):
        assert getattr(stock.engine, name) is not getattr(installed, name), name
    assert installed.pickle.loads(installed.pickle.dumps(["as", "ever"])) == ["as", "ever"]


def test_a_node_of_ours_and_one_as_shipped_are_the_same_key() -> None:
    ours, shipped = Node("n1"), ShippedNode("n1")
    assert ours == shipped
    assert shipped == ours
    assert {ours: 1}[shipped] == {shipped: 1}[ours] == 1
    assert ours != ShippedNode("n2")
    assert (ours.id, str(ours)) == ("n1", "n1")
