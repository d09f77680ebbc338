"""Data directories of earlier versions, and of later ones, on real processes.

tests/fixtures/data-v1.tar.gz was made by
`python -m tests.fixtures.make tests/fixtures/data-v1.tar.gz`; data-v2, whose log has segments of
format 2, in the same way.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from raftcache.cli.local import LocalNode
from tests.fixtures import make, newer
from tests.support.cluster import PATIENCE_S, Cluster, until

pytestmark = pytest.mark.cluster

NOWHERE = "http://127.0.0.1:9"
"""The data knows its cluster: nobody is asked."""


class Old(Cluster):
    """One node on the data directory of an earlier version."""

    def __init__(self, folder: Path, version: int) -> None:
        super().__init__(folder, 1, make.OPTIONS)
        make.unpack(self.nodes[make.NODE].folder, version)

    def _command(self, node: LocalNode) -> list[str]:
        command = super()._command(node)
        at = command.index("--cluster")
        return [*command[:at], "--join", NOWHERE, *command[at + 2 :]]


@pytest.mark.parametrize("version", [1, 2])
def test_a_node_starts_on_the_data_of_an_earlier_version_and_goes_on(
    tmp_path: Path, version: int
) -> None:
    with Old(tmp_path, version) as cluster:
        name = cluster.start_all()
        assert {key: cluster.read(name, key) for key in make.KEYS} == make.KEYS
        assert cluster.read(name, make.LASTING[0]) == make.LASTING[1]
        assert cluster.read(name, make.COUNTER[0]) == make.COUNTER[1]
        assert cluster.read(name, "once") == "second"
        assert cluster.read(name, make.SHORT[0]) is None, "its minute is long over"
        assert cluster.read(name, make.DELETED) is None
        status = cluster.status(name)
        assert status is not None
        members = {m["name"]: m["voter"] for m in status["members"]}
        assert members == {make.NODE: True, make.LEARNER: False}

        revision = status["revision"]
        for i in range(2 * make.SNAPSHOT_ENTRIES):
            cluster.write(name, f"new:{i}", f"{i}")
        before = cluster.settled()
        assert before["revision"] >= revision + 2 * make.SNAPSHOT_ENTRIES
        until(lambda: "took a snapshot" in cluster.said(name), "no snapshot")
        cluster.kill(name)
        cluster.start_all()
        assert cluster.settled()["digest"] == before["digest"]
        assert {key: cluster.read(name, key) for key in make.KEYS} == make.KEYS
        assert cluster.read(name, "new:7") == "7"


@pytest.mark.parametrize("change", newer.CHANGES.values(), ids=newer.CHANGES)
def test_a_node_refuses_to_start_on_what_a_newer_version_wrote(
    tmp_path: Path, change: Callable[[Path], str]
) -> None:
    cluster = Old(tmp_path, 1)
    node = cluster.nodes[make.NODE]
    said = change(node.folder)
    before = {path: path.read_bytes() for path in node.folder.glob("*/*")}
    done = subprocess.run(
        cluster._command(node), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in node.folder.glob("*/*")} == before
