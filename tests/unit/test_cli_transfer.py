"""`export` and `import`: what goes out comes in again; files are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftcache.cli import exits, lines
from tests.unit.test_cli import out, run
from tests.unit.test_client_ranges import served_aside


@pytest.fixture(autouse=True)
def _served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with served_aside() as url:
        monkeypatch.setenv("RAFTCACHE_ENDPOINTS", url)
        yield


def test_what_goes_out_comes_in_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out("set", "text", 'ä "quoted"\n', "--ttl", "1h")
    monkeypatch.setattr(lines, "BATCH_KEYS_MAX", 2)
    before = out("range", "--json").splitlines()
    file = tmp_path / "keys"
    said = json.loads(out("export", str(file), "--json"))
    assert said == {"exported": 6, "revision": 6}
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
    objects = [json.loads(line) for line in file.read_text().splitlines()]
    assert objects[0] == {"key": "a", "value": "a"}
    assert objects[-2]["ttl_ms"] <= 3_600_000
    assert objects[-1] == {"key_base64": "/yY=", "value_base64": "/yY="}

    out("delete", "--all")
    assert json.loads(out("import", str(file), "--json")) == {"imported": 6}
    names = ("key", "value_base64")
    for was, is_now in zip(before, out("range", "--json").splitlines(), strict=True):
        assert [json.loads(was)[name] for name in names] == [
            json.loads(is_now)[name] for name in names
        ]
    assert 3_500_000 < json.loads(out("get", "text", "--json"))["ttl_ms"] <= 3_600_000


def test_a_part_and_the_streams() -> None:
    part = run("export", "-", "--prefix", "a/")
    assert part.stderr == ""
    assert part.stdout == '{"key": "a/1", "value": "a/1"}\n{"key": "a/2", "value": "a/2"}\n'
    out("delete", "--all")
    done = run("import", "-", stdin=part.stdout_bytes + b"\n  \n")
    assert (done.exit_code, done.stdout) == (0, "2 keys imported\n")
    assert out("range", "--keys-only") == "a%2F1\na%2F2\n"
    assert run("export", "-", "--start", "a/2", "--end", "b").stdout.count("\n") == 1


def test_many_and_large(tmp_path: Path) -> None:
    large = "x" * (lines.BATCH_SIZE_BYTES + 1)
    file = tmp_path / "keys"
    some = [{"key": f"k{i:04}", "value": large if i % 300 == 7 else "v"} for i in range(1000)]
    file.write_text("".join(json.dumps(one) + "\n" for one in some))
    assert json.loads(out("import", str(file), "--json")) == {"imported": 1000}
    again = run("export", "-", "--prefix", "k").stdout.splitlines()
    assert [json.loads(line)["value"] for line in again] == [one["value"] for one in some]


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("mine")
    done = run("export", str(file))
    assert (done.exit_code, file.read_text()) == (exits.USAGE, "mine")
    done = run("export", str(file), "--force", "--prefix", "a/")
    assert done.stdout == "2 keys exported, as they were at revision 5\n"
    assert file.read_text().count("\n") == 2


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = run("export", str(pipe), "--force")
    assert (done.exit_code, pipe.is_fifo()) == (exits.USAGE, True)
    assert "is no file" in done.stderr


def test_nothing_is_left_of_what_cannot_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.cli.transfer.PAGE_KEYS", 2)
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 0)
    real = lines.written

    def written(line: lines.Line) -> str:
        if line.key == b"a/1":  # somebody writes in the midst of it
            out("set", "b", "new")
        return real(line)

    monkeypatch.setattr("raftcache.cli.transfer.written", written)
    done = run("export", str(tmp_path / "keys"))
    assert done.exit_code == exits.REFUSED
    assert "too much was written meanwhile" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 3 is not as `export` writes it"),
        ('{"key": "k"}', "line 3 is not as `export` writes it: it has neither value"),
        ('{"key": "k", "value": "v", "ttl_ms": "1"}', "ttl_ms is no whole number"),
        ('{"key": "k", "value": "v", "content_type": 1}', "content_type is no text"),
        ('{"key": "", "value": "v"}', "lines 1 to 3: a key must not be empty"),
        ('{"key": "k", "value": "v", "ttl_ms": 0}', "lines 1 to 3: "),
        ("[" * 100_000, "line 3 is not as `export` writes it"),
    ],
)
def test_a_line_that_is_none_is_named(line: str, why: str) -> None:
    text = f'{{"key": "first", "value": "x"}}\n\n{line}\n'
    done = run("import", "-", stdin=text.encode())
    assert done.exit_code == exits.USAGE
    assert why in done.stderr
    assert run("get", "first").exit_code == exits.NOT_SO, "nothing of a batch"


@pytest.mark.parametrize("args", [("export",), ("import",), ("import", "no-such-file")])
def test_what_cannot_be_meant(args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == exits.USAGE
    assert run("export", "-", "--prefix", "a", "--end", "b").exit_code == exits.USAGE
