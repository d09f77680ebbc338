"""Libraries that bring scripts, on three real nodes: each program uses all of them at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from raftcache.cli.local import HOST
from tests.libraries.places import PORTS
from tests.support.cluster import PATIENCE_S, Cluster, running
from tests.support.redis_writers import install, needs_node

pytestmark = pytest.mark.cluster

TURNS: Final = 50
"""Of those who take a lock, before the leader dies, and again afterwards."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.settled()
        yield cluster


@contextmanager
def started(cluster: Cluster, program: str) -> Iterator[subprocess.Popen[str]]:
    ports = ",".join(str(node.resp_port) for node in cluster.nodes.values())
    with subprocess.Popen(
        [sys.executable, "-m", f"tests.libraries.{program}"],
        env={**os.environ, PORTS: ports},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "program", ["locks", "limiting", "celery_jobs", "dramatiq_jobs", "rq_jobs"]
)
def test_a_library_works_as_it_comes(cluster: Cluster, program: str) -> None:
    with started(cluster, program) as process:
        said, _ = process.communicate(timeout=3 * PATIENCE_S)
    assert process.returncode == 0, said


@needs_node
@pytest.mark.parametrize("program", ["jobs.mjs", "flows.mjs"])
def test_a_library_for_node_works_as_it_comes(
    cluster: Cluster, program: str, request: pytest.FixtureRequest
) -> None:
    cache = request.config.cache
    assert cache is not None
    places = ",".join(f"{HOST}:{node.resp_port}" for node in cluster.nodes.values())
    done = subprocess.run(
        ["node", program, places],
        cwd=install(cache.mkdir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout


def test_a_lock_is_had_by_one_at_a_time_while_the_leader_dies(cluster: Cluster) -> None:
    cluster.start_all()
    with started(cluster, "locks_failover") as process:
        assert process.stdout is not None
        said = iter(process.stdout)
        for dies in (True, False):
            assert [line for line, _ in zip(said, range(TURNS), strict=False)][-1].strip().isdigit()
            if dies:
                cluster.kill(cluster.leader())
        rest, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, rest
