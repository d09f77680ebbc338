"""More clients than the process may have files open: the log needs some of them, too."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftcache import config, node
from raftcache.cli.local import HOST, LocalNode
from raftcache.errors import BadConfig
from raftcache.system import open_files_max
from tests.support.cluster import PATIENCE_S, Cluster

OPEN_FILES = 240
LEFT = (OPEN_FILES - node.FILES_SPARED) // 2
"""Connections for each of two doors."""

VALUE = "x" * 500_000
VALUES = 40
"""More than two segments of the log hold."""


class Limited(Cluster):
    """Each node may have OPEN_FILES open."""

    def _command(self, node: LocalNode) -> list[str]:
        return ["bash", "-c", f'ulimit -n {OPEN_FILES}; exec "$@"', "-", *super()._command(node)]


@contextlib.contextmanager
def crowd(port: int, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((HOST, port), PATIENCE_S))
            for _ in range(count)
        ]


@pytest.mark.cluster
def test_however_many_clients_come_the_log_goes_on(tmp_path: Path) -> None:
    with Limited(tmp_path, 1, ("--log-format", "json")) as alone:
        alone.start_all()
        (warning,) = [said for said in alone.logged("n1") if said["level"] == "warning"]
        assert (warning["connections_max"], warning["open_files_max"]) == (LEFT, OPEN_FILES)
        place, wire = alone.nodes["n1"], alone.wire("n1")
        with crowd(place.resp_port, OPEN_FILES), crowd(place.http_port, OPEN_FILES):
            for i in range(VALUES):
                wire.send("PUT", f"/v1/kv/{i}", VALUE.encode())
                assert wire.next().status == 201
            assert alone.is_running("n1")
        wire.close()


def settings(folder: Path, *, resp: str | None = None) -> config.Config:
    flags = {"name": "n1", "data-dir": str(folder), "http": "127.0.0.1:1", "raft": "127.0.0.1:2"}
    return config.load({**flags, "cluster": "n1=127.0.0.1:2", "resp": resp}, {})


def test_a_limit_that_is_high_enough_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = settings(tmp_path, resp="127.0.0.1:3")
    wanted = node.FILES_SPARED + 2 * said.limits.connections_max
    monkeypatch.setattr(node, "open_files_max", lambda asked: asked)
    assert node.within_open_files(said) == said
    monkeypatch.setattr(node, "open_files_max", lambda asked: wanted - 1)
    assert node.within_open_files(said).limits.connections_max == said.limits.connections_max - 1


def test_watchers_leave_room_for_others_also_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = settings(tmp_path)
    monkeypatch.setattr(node, "open_files_max", lambda asked: node.FILES_SPARED + 1000)
    fit = node.within_open_files(said)
    assert (fit.limits.connections_max, fit.limits.watchers_max) == (1000, 800)
    assert dataclasses.replace(fit, limits=said.limits) == said
    monkeypatch.setattr(node, "open_files_max", lambda asked: node.FILES_SPARED)
    with pytest.raises(BadConfig, match=r"ulimit -n"):
        node.within_open_files(said)


def test_a_process_allows_itself_what_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"now": (100, 500)}

    def setrlimit(which: int, new: tuple[int, int]) -> None:
        limits["now"] = new

    monkeypatch.setattr(resource, "getrlimit", lambda which: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert open_files_max(50) == 100
    assert open_files_max(300) == 300
    assert open_files_max(900) == 500
    assert limits["now"] == (500, 500)
    limits["now"] = (100, -1)
    assert open_files_max(900) == 900
    limits["now"] = (-1, -1)
    assert open_files_max(900) > 900
