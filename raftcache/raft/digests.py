"""Digests of the state at the same index on every node, and what it means when they differ. Pure.

Equal entries make equal states. So replicas whose digests differ at one index do not hold the same
state: a flipped bit in memory, or a mistake of ours. What a majority of the voters agrees on counts
as right; the others must not answer anybody any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DIGESTS_REMEMBERED_MAX: Final = 4096
"""Of the last entries applied: seconds of the heaviest load, for nodes that lag behind others."""

DIGEST_SIZE_BYTES: Final = 8


class Digests:
    """The digest of one node's state after each of its last entries."""

    def __init__(self, index: int, digest: int) -> None:
        """index: the last entry applied, or covered by the snapshot."""
        self._last_index = index
        self._digests: deque[int] = deque((digest,), DIGESTS_REMEMBERED_MAX)

    def note(self, index: int, digest: int) -> None:
        """An entry was applied; or a snapshot was installed, if the index does not follow."""
        assert index > self._last_index
        if index != self._last_index + 1:
            self._digests.clear()
        self._last_index = index
        self._digests.append(digest)

    def at(self, index: int) -> int | None:
        """The digest at an index; None if it is not reached, or no longer remembered."""
        back = self._last_index - index
        return self._digests[-1 - back] if 0 <= back < len(self._digests) else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison came to. right: None if no majority agrees on one digest."""

    right: int | None
    wrong: frozenset[str]
    """Who differs from what is right; everybody, if nobody knows what that is."""


def judge(reports: Mapping[str, int], voters: frozenset[str]) -> Verdict:
    """Compare digests of the same index, by member; not all of them need to have reported."""
    votes: dict[int, int] = {}
    for name, digest in reports.items():
        votes[digest] = votes.get(digest, 0) + (name in voters)
    right = next((d for d, count in votes.items() if count * 2 > len(voters)), None)
    if len(votes) <= 1:
        return Verdict(right, frozenset())
    return Verdict(right, frozenset(n for n, digest in reports.items() if digest != right))
