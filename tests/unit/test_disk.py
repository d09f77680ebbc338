"""Removing a file frees its blocks in pieces, but never those that somebody else can still read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raftcache.system import FREED_SIZE_BYTES, SystemDisk

SIZE_BYTES = 3 * FREED_SIZE_BYTES + 1


@pytest.fixture
def disk(tmp_path: Path) -> SystemDisk:
    made = SystemDisk(tmp_path)
    file = made.create("large", SIZE_BYTES)
    file.write_at(SIZE_BYTES - 4, b"last")
    file.close()
    return made


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """To what sizes files were cut."""
    cuts, cut = list[int](), os.ftruncate

    def noting(fd: int, size_bytes: int) -> None:
        cuts.append(size_bytes)
        cut(fd, size_bytes)

    monkeypatch.setattr(os, "ftruncate", noting)
    return cuts


def test_a_large_file_is_freed_in_pieces(disk: SystemDisk, cuts: list[int]) -> None:
    disk.remove("large")
    assert not disk.exists("large")
    assert cuts == [SIZE_BYTES - i * FREED_SIZE_BYTES for i in (1, 2, 3)]


def test_who_has_it_open_can_read_it_to_the_end(disk: SystemDisk, cuts: list[int]) -> None:
    """A backup that is under way holds a snapshot that is removed meanwhile."""
    file = disk.open("large")
    disk.remove("large")
    assert cuts == []
    assert file.read_at(SIZE_BYTES - 4, 4) == b"last"
    file.close()


def test_another_name_of_it_keeps_its_bytes(
    disk: SystemDisk, cuts: list[int], tmp_path: Path
) -> None:
    """As `cp --link` makes, of a whole data directory."""
    (tmp_path / "copy").hardlink_to(tmp_path / "large")
    disk.remove("large")
    assert cuts == []
    assert (tmp_path / "copy").stat().st_size == SIZE_BYTES


def test_what_is_not_there_cannot_be_removed(disk: SystemDisk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.remove("other")
