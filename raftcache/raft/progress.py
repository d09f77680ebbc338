"""What must hold of one node from each of its turns to the next, whatever its peers say.

Figure 3 of the Raft paper, as far as one node can see it; always on, for it costs a few comparisons
a turn. A node for which it does not hold stops: going on could only tell somebody what is not so.
(The rest is looked at where it happens: acknowledgements in engine/replication.py, truncation in
engine/base.py, applying in engine/applying.py, digests in engine/checking.py.)
"""

from __future__ import annotations

from typing import TypeAlias

from raftcache.errors import Fatal

Seen: TypeAlias = tuple[int, str | None, int, int, int]
"""The term and its leader, what is committed and applied, and the end of the log."""


class Progress:
    """How far a node has come in this life."""

    def __init__(self) -> None:
        self._seen: Seen = (0, None, 0, 0, 0)
        self._leader: str | None = None  # of its term, as soon as it is known

    def check(self, seen: Seen) -> None:
        """Before what was done leaves this node. Raises Fatal, with the numbers."""
        if seen == self._seen:
            return
        last_term, _, last_commit_index, last_applied_index, _ = self._seen
        self._seen = term, leader, commit_index, applied_index, last_index = seen
        if term < last_term:
            raise Fatal(f"the term went back from {last_term} to {term}")
        if commit_index < last_commit_index:
            raise Fatal(f"the commit index went back from {last_commit_index} to {commit_index}")
        if applied_index < last_applied_index:
            raise Fatal(f"the applied index went back from {last_applied_index} to {applied_index}")
        if not applied_index <= commit_index <= last_index:
            raise Fatal(f"applied {applied_index}, committed {commit_index}, log to {last_index}")
        if term > last_term:
            self._leader = None
        if leader != self._leader and leader is not None:
            if self._leader is not None:
                raise Fatal(f"two leaders in term {term}: {self._leader} and {leader}")
            self._leader = leader
