"""`--bump-revision` of recover and restore: what it leads to, and what is refused, with why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from raftcache.cli.root import main
from raftcache.command.limits import REVISION_BUMP, REVISION_BUMPED_MAX
from tests.fixtures import make

MEMBERS = "n1=127.0.0.1:7501"
TOO_HIGH = str(REVISION_BUMPED_MAX)
NO_NUMBERS = ("-1", "x", "1.5", "", str(REVISION_BUMPED_MAX + 1), "1e12")


def run(*args: object) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def files(folder: Path) -> dict[str, bytes]:
    every = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in every}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Of a node of the first version."""
    (tmp_path / "old").mkdir()
    return make.unpack(tmp_path / "old", 1)


@pytest.fixture
def backup(data_dir: Path) -> Path:
    """A snapshot is what a backup is."""
    assert recovered(data_dir, "--yes", "--bump-revision", 0)["done"]
    (snapshot,) = (data_dir / "snapshots").iterdir()
    return snapshot


def recovered(data_dir: Path, *more: object) -> Any:
    place = ("recover", "--data-dir", data_dir, "--members", MEMBERS, "--json")
    return json.loads(run(*place, *more).stdout)


def restore(backup: Path, *more: object) -> Result:
    place = ("snapshot", "restore", backup, "--name", "n1", "--cluster", MEMBERS, "--json")
    return run(*place, *more)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "new"
    shutil.rmtree(tmp_path / "new", ignore_errors=True)


def test_recovery_says_what_it_will_raise_the_revision_to(data_dir: Path) -> None:
    before = files(data_dir)
    planned = recovered(data_dir)
    assert planned["new_revision"] == planned["revision"] + REVISION_BUMP
    assert recovered(data_dir, "--bump-revision", 7)["new_revision"] == planned["revision"] + 7
    assert files(data_dir) == before
    assert recovered(data_dir, "--yes")["new_revision"] == planned["new_revision"]
    assert recovered(data_dir)["revision"] == planned["new_revision"]


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_recovery_refuses_what_is_no_such_number(data_dir: Path, number: str) -> None:
    before = files(data_dir)
    wrong = run(
        *("recover", "--data-dir", data_dir, "--members", MEMBERS, "--yes"),
        f"--bump-revision={number}",
    )
    assert wrong.exit_code == 2
    assert "--bump-revision" in wrong.stderr
    assert files(data_dir) == before


def test_recovery_refuses_to_raise_too_high_and_says_what_is_left(data_dir: Path) -> None:
    before, revision = files(data_dir), recovered(data_dir)["revision"]
    place = ("recover", "--data-dir", data_dir, "--members", MEMBERS, "--yes")
    wrong = run(*place, "--bump-revision", TOO_HIGH)
    assert wrong.exit_code == 2
    room = REVISION_BUMPED_MAX - revision
    assert f"the revision is {revision}, and may be raised by 0 to {room}," in wrong.stderr
    assert files(data_dir) == before
    assert run(*place, "--bump-revision", room).exit_code == 0
    full = run(*place)
    assert full.exit_code == 2
    assert "may be raised by 0 to 0," in full.stderr
    assert run(*place, "--bump-revision", 0).exit_code == 0


def test_a_backup_is_restored_with_its_revision_raised(backup: Path, new: Path) -> None:
    verified = json.loads(run("snapshot", "verify", backup, "--json").stdout)
    by_id = dict[str, int]()
    for bump in ((), ("--bump-revision", 7), ("--bump-revision", 0)):
        done = json.loads(restore(backup, "--data-dir", new, *bump).stdout)
        by_id[done["cluster_id"]] = done["new_revision"] - verified["revision"]
        (snapshot,) = (new / "snapshots").iterdir()
        state = json.loads(run("snapshot", "verify", snapshot, "--json").stdout)
        assert state["revision"] == done["new_revision"]
        assert state["keys"] == verified["keys"]
        assert (state["index"], state["term"]) == (verified["index"], verified["term"])
        assert (state["digest"] == verified["digest"]) == (bump[1:] == (0,))
        shutil.rmtree(new)
    assert list(by_id.values()) == [REVISION_BUMP, 7, 0]


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_restoring_refuses_what_is_no_such_number(backup: Path, new: Path, number: str) -> None:
    wrong = restore(backup, "--data-dir", new, f"--bump-revision={number}")
    assert wrong.exit_code == 2
    assert "--bump-revision" in wrong.stderr
    assert not new.exists()


def test_restoring_refuses_to_raise_too_high_and_says_what_is_left(backup: Path, new: Path) -> None:
    revision = json.loads(run("snapshot", "verify", backup, "--json").stdout)["revision"]
    wrong = restore(backup, "--data-dir", new, "--bump-revision", TOO_HIGH)
    assert wrong.exit_code == 2
    room = REVISION_BUMPED_MAX - revision
    assert f"may be raised by 0 to {room}, not by {TOO_HIGH}" in wrong.stderr
    assert files(new) == {}
    assert restore(backup, "--data-dir", new, "--bump-revision", room).exit_code == 0
