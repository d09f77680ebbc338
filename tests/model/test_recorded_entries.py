"""What earlier versions wrote to their logs is done as they did it, for ever."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from raftcache.command import codec, versions
from raftcache.state.redis import store
from tests.fixtures import entries
from tests.fixtures.entries import read, replay

FILES = sorted(Path(entries.__file__).parent.glob("entries-v*.xz"))


def test_there_is_a_file_of_the_kinds_that_there_are() -> None:
    assert f"entries-v{versions.COMMANDS}.xz" in [file.name for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_entries_come_to_what_they_came_to_when_they_were_written(file: Path) -> None:
    for number, (entry, _, outcome) in enumerate(replay(read(file))):
        assert outcome == entry.outcome, (
            f"entry {number} is done otherwise, which needs a kind of its own"
            f" (decisions/0003): {codec.decode(entry.batch)!r:.2000}"
        )


def test_another_word_in_an_error_is_noticed() -> None:
    """Under an idempotency key it is remembered: part of the state of every node."""
    with mock.patch.object(store, "WRONG_TYPE", f"{store.WRONG_TYPE}!"):
        played = replay(read(FILES[-1]))
        assert any(outcome != entry.outcome for entry, _, outcome in played)
