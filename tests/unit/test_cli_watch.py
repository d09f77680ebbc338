"""`raftcache watch` against fakes: what it prints, what it gives to a command, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.fake_node import FakeNode, fake_cluster_aside, says
from tests.unit.test_cli import out, run

CHANGES = (
    b'event: progress\nid: 3\ndata: {"revision":3}\n\n'
    b'id: 4\ndata: {"revision":4,"changes":['
    b'{"event":"put","key":"a/%FF","value_base64":"MQlc/wo=","content_type":"text/x","revision":4,'
    b'"create_revision":4,"version":1,"ttl_ms":null},'
    b'{"event":"delete","key":"b","previous":{"key":"b","value_base64":"Mg==","content_type":null,'
    b'"revision":2,"create_revision":1,"version":2,"ttl_ms":5}}]}\n\n'
    b'id: 6\ndata: {"revision":6,"changes":[{"event":"expire","key":"c"}]}\n\n'
)


async def changes(node: FakeNode, request: web.Request) -> web.StreamResponse:
    return web.Response(body=CHANGES, content_type="text/event-stream")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNode]:
    with fake_cluster_aside(1) as (node,):
        node.always = changes
        monkeypatch.setenv("RAFTCACHE_ENDPOINTS", node.url)
        yield node


def test_a_line_for_each_change(node: FakeNode) -> None:
    assert out("watch", "--limit", "2") == (
        "4\tput\ta%2F%FF\t1\\t\\\\\\xff\\n\n4\tdelete\tb\n6\texpire\tc\n"
    )
    assert node.seen[0].raw_path == "/v1/watch"


def test_an_object_for_each_revision(node: FakeNode) -> None:
    lines = out("watch", "--limit", "2", "--json", "--prev").splitlines()
    first, second = map(json.loads, lines)
    assert first["revision"] == 4
    put, delete = first["changes"]
    assert (put["event"], put["key"], put["value"]) == ("put", "a%2F%FF", None)
    assert (put["value_base64"], put["content_type"]) == ("MQlc/wo=", "text/x")
    assert (delete["event"], delete["key"], delete["previous"]["value"]) == ("delete", "b", "2")
    assert second == {"revision": 6, "changes": [{"event": "expire", "key": "c"}]}


@pytest.mark.parametrize(
    ("args", "query"),
    [
        (["k/y"], "key=k%2Fy"),
        (["--prefix", "k/"], "prefix=k%2F"),
        (["--start", "a", "--end", "b"], "start=a&end=b"),
        (["--since", "2", "--events", "put,expire"], "events=put,expire&since=2"),
    ],
)
def test_what_it_asks_for(node: FakeNode, args: list[str], query: str) -> None:
    out("watch", "--limit", "1", *args)
    assert node.seen[0].raw_path == f"/v1/watch?{query}"


def test_a_command_for_each_change(node: FakeNode, tmp_path: Path) -> None:
    note = tmp_path / "note"
    names = ("EVENT", "REVISION", "KEY_BASE64", "KEY", "VALUE_BASE64")
    shown = " ".join(f'"$RAFTCACHE_{name}"' for name in names)
    command = f'printf "%s %s %s %s %s %s\\n" {shown} "$(base64)" >> {note}'
    assert out("watch", "--limit", "2", "--exec", command) == ""
    assert note.read_bytes().split(b"\n") == [
        b"put 4 YS// a/\xff MQlc/wo= MQlc/wo=",
        b"delete 4 Yg== b  ",
        b"expire 6 Yw== c  ",
        b"",
    ]


def test_a_command_that_fails_is_reported(node: FakeNode) -> None:
    result = run("watch", "--limit", "1", "--exec", "exit 3")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "raftcache: revision 4, put a%2F%FF: the command ended with 3",
        "raftcache: revision 4, delete b: the command ended with 3",
    ]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["a", "--prefix", "b"], "KEY excludes"),
        (["a", "--end", "b"], "KEY excludes"),
        (["--prefix", "a", "--start", "b"], "--prefix excludes"),
        (["--events", "gone"], "--events 'gone' is none of put, delete, expire, evict"),
        (["--since", "-1"], "--since"),
        (["--prev"], "--prev needs --json"),
    ],
)
def test_usage(node: FakeNode, args: list[str], why: str) -> None:
    result = run("watch", *args)
    assert result.exit_code == 2
    assert why in result.stderr
    assert not node.seen


def test_what_ends_it(node: FakeNode) -> None:
    node.always = says(410, "compacted", oldest_revision=7)
    result = run("watch", "--since", "1")
    assert (result.exit_code, "compacted" in result.stderr) == (2, True)
    node.always = says(503, "no leader", definite=True)
    result = run("watch", "--timeout", "100ms")
    assert result.exit_code == 3
