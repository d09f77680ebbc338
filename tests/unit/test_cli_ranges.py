"""`range`, `txn` and the deletion of ranges: what is printed, and every exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftcache.cli import exits
from tests.unit.test_cli import out, run
from tests.unit.test_client_ranges import served_aside


@pytest.fixture(autouse=True)
def _served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with served_aside() as url:
        monkeypatch.setenv("RAFTCACHE_ENDPOINTS", url)
        yield


def test_keys_are_listed_in_order() -> None:
    out("set", "lines", "1\n2\t\\")
    assert out("range") == (
        "a\ta\na%2F1\ta/1\na%2F2\ta/2\nb\tb\nlines\t1\\n2\\t\\\\\n%FF%26\t\\xff&\n"
    )
    assert out("range", "--prefix", "a/", "--keys-only") == "a%2F1\na%2F2\n"
    assert out("range", "--start", "a/2", "--end", "c", "--keys-only") == "a%2F2\nb\n"
    assert out("range", "--limit", "1", "--keys-only") == "a\n"
    assert out("range", "--count", "--prefix", "a") == "3\n"
    assert json.loads(out("range", "--count", "--json")) == {"count": 6}
    first, *_ = out("range", "--json").splitlines()
    assert json.loads(first) == {
        "key": "a",
        "value": "a",
        "value_base64": "YQ==",
        "content_type": "",
        "revision": 1,
        "create_revision": 1,
        "version": 1,
        "ttl_ms": None,
        "lease": None,
        "type": "string",
    }
    (bare,) = out("range", "--json", "--keys-only", "--prefix", "b").splitlines()
    assert json.loads(bare).keys() == json.loads(first).keys() - {"value", "value_base64"}


def test_a_use_is_noted() -> None:
    assert out("touch", "a").startswith("unchanged, revision ")
    assert run("touch", "absent").exit_code == exits.NOT_SO


def test_a_range_is_deleted() -> None:
    assert out("delete", "--prefix", "a/") == "2 deleted, revision 6\n"
    gone = run("delete", "--start", "c", "--end", "d")
    assert (gone.exit_code, gone.stderr) == (exits.NOT_SO, "no such key\n")
    assert json.loads(out("delete", "--end", "b", "--json"))["number"] == 1
    assert out("delete", "--all") == "2 deleted, revision 8\n"


@pytest.mark.parametrize(
    "args",
    [
        ("delete",),
        ("delete", "a", "--prefix", "a"),
        ("delete", "a", "--all"),
        ("delete", "--all", "--if-revision", "1"),
        ("range", "--prefix", "a", "--end", "b"),
        ("range", "--count", "--keys-only"),
        ("range", "--count", "--limit", "1"),
        ("range", "--limit", "0"),
        ("txn",),
        ("txn", "no-such-file"),
    ],
)
def test_what_cannot_be_meant(args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == 2
    assert out("range", "--count") == "5\n"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("delete", "--prefix", ""), "must say which keys"),
        (("delete", "--all", "--prefix", "a"), "everything excludes"),
    ],
)
def test_nobody_deletes_by_a_mistake(args: tuple[str, ...], why: str) -> None:
    done = run(*args)
    assert done.exit_code not in (0, exits.NOT_SO)
    assert why in done.stderr
    assert out("range", "--count") == "5\n"


def test_a_transaction_comes_from_a_file_or_stdin(tmp_path: Path) -> None:
    file = tmp_path / "txn.json"
    file.write_text(
        '{"compare":[{"key":"a","target":"exists","op":"=","value":true}],'
        '"success":[{"op":"put","key":"a","value":"1"},{"op":"incr","key":"a"}],'
        '"failure":[{"op":"get","key":"b"}]}'
    )
    first = json.loads(out("txn", str(file), "--idempotency-key", "t"))
    results = [{"created": False, "version": 2}, {"value": 2}]
    assert first == {"succeeded": True, "revision": 6, "results": results}
    assert json.loads(out("txn", str(file), "--idempotency-key", "t")) == first
    out("delete", "a")
    failed = run("txn", "-", stdin=file.read_bytes())
    assert failed.exit_code == exits.NOT_SO
    answer = json.loads(failed.stdout)
    assert answer["succeeded"] is False
    assert answer["results"][0]["item"]["key"] == "b"
    wrong = run("txn", "-", stdin=b'{"success":[{"op":"get"}]}')
    assert wrong.exit_code not in (0, exits.NOT_SO)
    assert "missing required field `key` - at `$.success[0]`" in wrong.stderr
