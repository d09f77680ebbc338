"""`txn --interactive`: what is typed becomes a transaction; a wrong line is named."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from raftcache.cli import exits
from raftcache.cli.txn import OPERATIONS
from tests.unit.test_cli import out, run
from tests.unit.test_client_ranges import served_aside


@pytest.fixture(autouse=True)
def _served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with served_aside() as url:
        monkeypatch.setenv("RAFTCACHE_ENDPOINTS", url)
        yield


def typed(text: str, *args: str) -> tuple[int, dict[str, object]]:
    done = run("txn", "-i", *args, stdin=text.encode())
    assert done.stderr == ""
    return done.exit_code, json.loads(done.stdout)


def test_compares_and_both_branches() -> None:
    text = """\
value a = a
revision b > 0
exists "no such" = false

put 'a b' "it's" 90s
incr n
incr n -3
get a
count a/
range a/
delete a
delete-range a/
append b !
expire b 5m
persist b
touch b

get b
"""
    code, answer = typed(text, "--idempotency-key", "t")
    assert (code, answer["succeeded"]) == (0, True)
    results = answer["results"]
    assert isinstance(results, list)
    assert len(results) == 12
    assert [results[i] for i in (1, 2, 4)] == [{"value": 1}, {"value": -2}, {"count": 2}]
    assert out("get", "a b") == "it's"
    assert typed(text, "--idempotency-key", "t") == (0, answer)
    code, answer = typed("value a = a\n\nput c 1\n\nget b")
    assert (code, answer["succeeded"]) == (exits.NOT_SO, False)


def test_any_bytes() -> None:
    typed("\n" + r"put \xff\\x00 'a\xffb'")
    assert out("range", "--prefix", "\udcff\\") == "%FF%5Cx00\ta\\xffb\n"


def test_nothing_typed_is_a_transaction_too() -> None:
    code, answer = typed("")
    assert (code, answer["results"]) == (0, [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("value a =", "line 1: a compare is TARGET KEY OP VALUE"),
        ("size a = 1", "line 1: 'size' is none of revision, "),
        ("value a == 1", "line 1: '==' is none of =, !="),
        ("version a = one", "line 1: invalid literal"),
        ("exists a = yes", "line 1: 'yes' is none of false, true"),
        ("value '' = x", "line 1: a key must not be empty"),
        ("value 'a = x", "line 1: No closing quotation"),
        ("\nput a", "line 2: an operation is one of:\n  put KEY VALUE [TTL]\n"),
        ("\nget a b", "line 2: an operation is one of:"),
        ("\nswap a b", "line 2: an operation is one of:"),
        ("\nput a b 5x", "line 2: "),
        ("\n\nincr a x", "line 3: "),
        ("\ndelete-range ''", "line 2: prefix, start or end must say which keys"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_done(text: str, why: str) -> None:
    done = run("txn", "-i", stdin=f"{text}\nput z z\n\nput z z".encode())
    assert done.exit_code == exits.USAGE
    assert why in done.stderr
    assert out("range", "--count") == "5\n"


def test_either_a_file_or_lines() -> None:
    assert run("txn").exit_code == exits.USAGE
    assert run("txn", "-i", "-").exit_code == exits.USAGE


def test_help_names_every_operation() -> None:
    said = out("txn", "--help")
    assert all(f"{name} {usage}" in said for name, (usage, _) in OPERATIONS.items())


def test_on_a_terminal_a_wrong_line_may_be_typed_again() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "raftcache", "txn", "-i"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        os.write(ours, b"vlue a = a\nvalue a = a\n\nput a typed\n\n\n")
        said, asked = process.communicate(timeout=60)
    os.close(ours)
    assert json.loads(said)["succeeded"] is True
    first, mistake, *rest = asked.splitlines()
    assert (first, rest) == ("compares, then an empty line:", ["if all of them hold:", "if not:"])
    assert mistake.startswith("'vlue' is none of revision, ")
    assert mistake.endswith("; once more:")
    assert out("get", "a") == "typed"
