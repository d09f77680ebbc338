"""Files that are there whole or not at all, and bars that show how far a long work is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from raftcache.errors import BadRequest


@contextmanager
def whole_file(file: Path, force: bool) -> Iterator[IO[bytes]]:
    """A file to write to, which becomes FILE, durably, when the block ends; BadRequest."""
    if file.exists() and not force:
        raise BadRequest(f"{file} is there already: --force replaces it")
    if file.exists() and not file.is_file():
        raise BadRequest(f"{file} is no file")  # a device would be gone
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        partial.replace(file)
        _sync_folder(file.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """On return a file that was renamed in it has its new name for good."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def bar(label: str, length: int, shows: bool) -> Iterator[Callable[..., None]]:
    """advance(by, of how many), to be drawn on standard error."""
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not shows) as drawn:

        def advance(by: int, of: int | None = None) -> None:
            if of is not None:
                drawn.length = of
            drawn.update(by)

        yield advance
