"""The command line against real nodes, as a shell script would use it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_demo import eventually, pids, printed, running_demo

pytestmark = pytest.mark.cluster

EVERY_BYTE = bytes(range(256))


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that all tests of this file share."""
    folder: Path = tmp_path_factory.mktemp("cluster")
    with running_demo(folder):
        eventually(lambda: "DIGEST" in printed(folder))
        state = json.loads((folder / "demo.json").read_text())
        assert len(pids(folder)) == 3
        yield ",".join(node["http"] for node in state["nodes"])


def run(endpoints: str, *args: str, stdin: bytes = b"") -> tuple[int, bytes]:
    command = [sys.executable, "-m", "raftcache", args[0], "--endpoints", endpoints, *args[1:]]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    return done.returncode, done.stdout


def test_values_go_in_and_come_out_byte_for_byte(endpoints: str) -> None:
    assert run(endpoints, "set", "bin", "-", stdin=EVERY_BYTE)[0] == 0
    assert run(endpoints, "get", "bin") == (0, EVERY_BYTE)
    assert run(endpoints, "append", "bin", "-", stdin=b"\n\0") == (0, b"258\n")
    assert run(endpoints, "get", "bin") == (0, EVERY_BYTE + b"\n\0")


@pytest.mark.parametrize("key", [".", "..", "a/../b", "a b?c#d&e%41+", "ä", "-x"])
def test_awkward_keys_stay_themselves(endpoints: str, key: str) -> None:
    assert run(endpoints, "set", "--", key, f"is {key}")[0] == 0
    assert run(endpoints, "get", "--", key) == (0, f"is {key}".encode())
    assert run(endpoints, "delete", "--", key)[0] == 0
    assert run(endpoints, "get", "--", key)[0] == 1


def test_time_to_live(endpoints: str) -> None:
    assert run(endpoints, "set", "t", "1", "--ttl", "1h")[0] == 0
    code, left = run(endpoints, "ttl", "t", "--json")
    assert code == 0
    assert 3_500_000 < json.loads(left)["ttl_ms"] <= 3_600_000
    assert run(endpoints, "persist", "t")[0] == 0
    assert run(endpoints, "ttl", "t") == (0, b"none\n")
    assert run(endpoints, "expire", "t", "1ms")[0] == 0
    eventually(lambda: run(endpoints, "get", "t")[0] == 1)


def test_counters_and_conditions(endpoints: str) -> None:
    assert run(endpoints, "incr", "c", "--by", "41") == (0, b"41\n")
    assert run(endpoints, "incr", "c") == (0, b"42\n")
    assert run(endpoints, "set", "c", "0", "--if-absent")[0] == 1
    assert run(endpoints, "set", "c", "0", "--if-revision", "1000000")[0] == 1
    revision = json.loads(run(endpoints, "get", "c", "--json")[1])["revision"]
    assert run(endpoints, "set", "c", "text", "--if-revision", str(revision))[0] == 0
    assert run(endpoints, "incr", "c")[0] == 2


def test_status_of_every_node(endpoints: str) -> None:
    code, table = run(endpoints, "status")
    assert code == 0
    lines = table.decode().splitlines()
    assert len(lines) == 4
    assert sorted(line.split()[0] for line in lines[1:]) == ["n1", "n2", "n3"]
    assert [line.split()[1] for line in lines[1:]].count("leader") == 1
    code, text = run(endpoints, "status", "--json")
    assert set(json.loads(text)) == set(endpoints.split(","))


def test_watch_ends_well_with_ctrl_c(endpoints: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raftcache", "status", "--watch", "--endpoints", endpoints]
    with (tmp_path / "out").open("w") as out:
        watch = subprocess.Popen([*command, "--interval", "10ms"], stdout=out, stderr=out)
    try:
        eventually(lambda: (tmp_path / "out").read_text().count("DIGEST") >= 2)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 0
        assert "Traceback" not in (tmp_path / "out").read_text()
    finally:
        watch.kill()
        watch.wait()


def test_a_dead_endpoint_is_a_row_and_no_obstacle(endpoints: str) -> None:
    some = f"http://127.0.0.1:1,{endpoints}"
    assert run(some, "set", "d", "1")[0] == 0
    code, table = run(some, "status")
    assert code == 0
    assert b"http://127.0.0.1:1 cannot be reached" in table
    assert run("http://127.0.0.1:1", "set", "d", "1", "--timeout", "300ms")[0] == 3


def quota(endpoints: str, *args: str) -> tuple[int, bytes]:
    command = [sys.executable, "-m", "raftcache", "quota", *args, "--endpoints", endpoints]
    done = subprocess.run(command, capture_output=True, timeout=60)
    return done.returncode, done.stdout


def test_quotas_are_set_listed_and_deleted(endpoints: str) -> None:
    assert run(endpoints, "set", "few/1", "v")[0] == 0
    assert quota(endpoints, "set", "few/", "--keys", "1", "--size", "64KiB") == (0, b"")
    code, listed = quota(endpoints, "list")
    assert code == 0
    assert listed.decode().split() == ["PREFIX", "KEYS", "SIZE", "few%2F", "1/1", "64/64KiB"]
    code, listed = quota(endpoints, "list", "--json")
    (shown,) = json.loads(listed)["quotas"]
    assert shown["prefix"] == "few%2F"
    assert (shown["keys"], shown["keys_max"], shown["size_bytes_max"]) == (1, 1, 65536)
    assert run(endpoints, "set", "few/2", "v")[0] == 3
    assert run(endpoints, "set", "few/1", "w")[0] == 0
    assert quota(endpoints, "delete", "few/") == (0, b"")
    assert quota(endpoints, "delete", "few/", "--json") == (1, b'{"deleted": 0}\n')
    assert run(endpoints, "set", "few/2", "v")[0] == 0
    assert quota(endpoints, "set", "", "--keys", "1000000")[0] == 0
    assert quota(endpoints, "delete", "")[0] == 0


@pytest.mark.parametrize(
    "args", [("set", "p"), ("set", "p", "--keys", "-1"), ("set", "p", "--size", "many"), ("set",)]
)
def test_a_quota_needs_a_limit(endpoints: str, args: tuple[str, ...]) -> None:
    assert quota(endpoints, *args)[0] == 2
