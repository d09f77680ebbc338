"""The command line against fakes: what is printed, byte for byte, and every exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from raftcache.cli import local
from raftcache.cli.root import main
from raftcache.errors import BadConfig
from tests.support.fake_node import FakeNode, breaks_off, fake_cluster_aside, hangs, says

EVERY_BYTE = bytes(range(256))
NO_LEADER = says(503, "no leader", definite=True)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeNode]]:
    with fake_cluster_aside(3) as nodes:
        monkeypatch.setenv("RAFTCACHE_ENDPOINTS", ",".join(n.url for n in nodes))
        yield nodes


def run(*args: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, args, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def out(*args: str, stdin: bytes | None = None) -> str:
    """What a command that succeeds prints."""
    result = run(*args, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_a_day_in_the_life_of_a_key(nodes: list[FakeNode]) -> None:
    assert out("set", "a", "1") == "created, revision 1\n"
    assert out("set", "a", "41", "--ttl", "90s") == "changed, revision 2\n"
    assert out("get", "a") == "41"
    assert out("ttl", "a") == "90s\n"
    assert out("expire", "a", "250ms") == "changed, revision 3\n"
    assert out("ttl", "a") == "250ms\n"
    assert out("persist", "a") == "changed, revision 4\n"
    assert out("persist", "a") == "unchanged, revision 4\n"
    assert out("ttl", "a") == "none\n"
    assert out("incr", "a") == "42\n"
    assert out("incr", "a", "--by", "-2") == "40\n"
    assert out("append", "a", "xyz") == "5\n"
    assert out("delete", "a") == "deleted, revision 7\n"


def test_values_are_any_bytes(nodes: list[FakeNode]) -> None:
    out("set", "bin", "-", stdin=EVERY_BYTE)
    assert run("get", "bin").stdout_bytes == EVERY_BYTE
    out("append", "bin", "-", stdin=b"\xff\n")
    assert run("get", "bin").stdout_bytes == EVERY_BYTE + b"\xff\n"


def test_keys_are_any_bytes(nodes: list[FakeNode]) -> None:
    key = b"\xff/\xc3\xa4 ?"
    out("set", key.decode(errors="surrogateescape"), "v")
    assert list(nodes[0].store.values) == [key]
    assert out("get", key.decode(errors="surrogateescape")) == "v"


def test_json_everywhere(nodes: list[FakeNode]) -> None:
    assert json.loads(out("set", "a", "7", "--json")) == {
        "status": "created",
        "revision": 1,
        "number": 0,
        "replayed": False,
    }
    assert json.loads(out("get", "a", "--json")) == {
        "value": "7",
        "value_base64": "Nw==",
        "content_type": "text/x-test",
        "revision": 1,
        "create_revision": 1,
        "version": 2,
        "ttl_ms": None,
        "served_by": "n1",
        "lease": None,
    }
    assert json.loads(out("ttl", "a", "--json")) == {"ttl_ms": None}
    assert json.loads(out("incr", "a", "--json"))["number"] == 8
    assert json.loads(out("delete", "a", "--json"))["status"] == "deleted"
    for command in (["get"], ["ttl"], ["delete"], ["persist"]):
        gone = run(*command, "a", "--json")
        assert gone.exit_code == 1
        assert json.loads(gone.stdout)["status"] == "missing"
    out("set", "bin", "-", stdin=b"\xff")
    assert json.loads(out("get", "bin", "--json"))["value"] is None
    assert set(json.loads(out("status", "--json"))) == {n.url for n in nodes}


@pytest.mark.parametrize(
    "args", [("get", "a"), ("ttl", "a"), ("delete", "a"), ("expire", "a", "1s"), ("persist", "a")]
)
def test_exit_1_no_such_key(nodes: list[FakeNode], args: tuple[str, ...]) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "no such key\n")


def test_exit_1_the_condition_does_not_hold(nodes: list[FakeNode]) -> None:
    assert run("set", "a", "1", "--if-revision", "3").stderr == (
        "the condition does not hold: there is none\n"
    )
    out("set", "a", "1", "--if-absent")
    for args in (
        ("set", "a", "2", "--if-absent"),
        ("set", "a", "2", "--if-revision", "9"),
        ("delete", "a", "--if-revision", "9"),
    ):
        result = run(*args)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "the condition does not hold: it is at revision 1\n"
    out("set", "a", "2", "--if-revision", "1")


@pytest.mark.parametrize(
    "args",
    [
        ("fly",),
        ("get",),
        ("get", ""),
        ("get", "k" * 1025),
        ("get", "a", "--timeout", "soon"),
        ("get", "a", "--timeout", "1h"),
        ("get", "a", "--endpoints", "127.0.0.1:1"),
        ("get", "a", "--consistency", "perfect"),
        ("set", "a"),
        ("set", "a", "b", "--ttl", "5"),
        ("set", "a", "b", "--if-absent", "--if-revision", "1"),
        ("incr", "a", "--by", "x"),
        ("serve",),
        ("serve", "--heartbeat", "fast"),
        ("demo", "--nodes", "10"),
        ("member", "remove", ""),
        ("member", "promote", "a/b"),
        ("leader", "transfer", ""),
    ],
)
def test_exit_2_usage(nodes: list[FakeNode], args: tuple[str, ...]) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert not nodes[0].seen


def test_exit_2_the_server_finds_it_wrong(nodes: list[FakeNode]) -> None:
    nodes[0].always = says(413, "too large", definite=True)
    result = run("set", "a", "1")
    assert result.exit_code == 2
    assert result.stderr.startswith("raftcache: too large: ")


def test_exit_3_refused(nodes: list[FakeNode]) -> None:
    for node in nodes:
        node.always = NO_LEADER
    for args in (("get", "a"), ("set", "a", "1")):
        result = run(*args, "--timeout", "200ms")
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.startswith("raftcache: no leader: ")


def test_exit_4_unknown(nodes: list[FakeNode]) -> None:
    nodes[0].always = breaks_off
    nodes[1].always = nodes[2].always = NO_LEADER
    result = run("set", "a", "1", "--timeout", "200ms")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("raftcache: outcome unknown: it may have happened")


def test_exit_74_what_cannot_be_written(nodes: list[FakeNode], tmp_path: Path) -> None:
    nowhere = tmp_path / "none" / "keys"
    result = run("export", str(nowhere))
    assert (result.exit_code, result.stderr) == (
        74,
        f"raftcache: {nowhere}.partial: No such file or directory\n",
    )


@pytest.mark.parametrize("args", [["status"], ["status", "--help"], ["--help"], ["--version"]])
@pytest.mark.usefixtures("nodes")
def test_exit_74_an_output_that_is_full(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "raftcache", *args],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (74, "raftcache: No space left on device\n")


def test_it_fails_over_by_itself(nodes: list[FakeNode]) -> None:
    nodes[0].always = breaks_off
    assert out("set", "a", "1") == "created, revision 1\n"


def test_endpoints_win_over_the_environment(nodes: list[FakeNode]) -> None:
    run("get", "a", "--endpoints", nodes[2].url)
    assert [len(n.seen) for n in nodes] == [0, 0, 1]


# --- status -----------------------------------------------------------------------------------


def test_status_has_a_row_for_every_endpoint(nodes: list[FakeNode]) -> None:
    nodes[2].always = NO_LEADER
    header, first, second, third = out("status").splitlines()
    names = "NODE ROLE TERM COMMITTED APPLIED LAG REVISION MEMORY DIGEST HTTP RAFT"
    assert header.split() == names.split()
    place = nodes[0].url.removeprefix("http://")
    shown = ["n1", "leader", "3", "10", "9", "1", "0", "1.5/64MiB", "00ff", place, "127.0.0.1:1"]
    assert first.split() == shown
    assert second.split()[:6] == ["n2", "follower", "3", "10", "9", "?"]
    assert third.startswith(f"?     {nodes[2].url}: no leader")


def test_status_says_who_is_out_and_why(nodes: list[FakeNode]) -> None:
    """Else it would look like a follower that is behind."""

    async def answers(node: FakeNode, request: web.Request) -> web.StreamResponse:
        return web.json_response(node.status() | {"expelled": "removed from the cluster"})

    nodes[1].always = answers
    lines = out("status").splitlines()
    assert lines[2].split()[:2] == ["n2", "out"]
    place = nodes[1].url.removeprefix("http://")
    assert lines[-1] == f"n2 at {place} is out of the cluster: removed from the cluster"


def test_status_exits_with_3_when_nobody_answers(nodes: list[FakeNode]) -> None:
    for node in nodes:
        node.always = hangs
    result = run("status", "--timeout", "100ms")
    assert result.exit_code == 3
    assert "did not answer within" in result.stdout
    assert result.stderr == "raftcache: refused: no node answered\n"


# --- entry points and the demo's ports -----------------------------------------------------------


def test_python_m_raftcache_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raftcache", "--help"], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.startswith(b"Usage: python -m raftcache")
    for code in (b"0  done", b"4  outcome unknown"):
        assert code in done.stdout


def test_serve_says_what_is_wrong_before_anything_starts() -> None:
    result = run("serve", "--name", "n1", "--data-dir", "/nowhere", "--http", "0.0.0.0:7401")
    assert result.exit_code == 2
    assert result.stderr.startswith("raftcache: bad configuration: --raft is missing")


def test_a_taken_port_is_named_with_the_option_that_moves_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("demo", "--dir", str(tmp_path), "--base-http", str(port - 1))
        assert result.exit_code == 2
        assert f"port {port}, HTTP of n1, cannot be used: Address already in use" in result.stderr
        assert "choose others with --base-http" in result.stderr
        assert list(tmp_path.iterdir()) == []


def test_ports_that_overlap_or_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="overlap"):
        local.planned(tmp_path, 3, 7400, 7401, 6400)
    with pytest.raises(BadConfig, match="--base-http 7400 and --base-resp 7398 overlap"):
        local.planned(tmp_path, 3, 7400, 7500, 7398)
    with pytest.raises(BadConfig, match="ports end at 65535"):
        local.planned(tmp_path, 3, 65534, 20000, 6400)
