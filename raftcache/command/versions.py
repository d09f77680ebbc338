"""The version of everything that outlives a process or travels between two: named here, once.

Whatever changes the meaning of stored or sent bytes raises its number here, and goes on reading
the older ones (docs/decisions/0003-versions.md). What a newer raftcache wrote is never guessed at:
it is refused, which changes nothing.
"""

from __future__ import annotations

from typing import Final

from raftcache.errors import BadConfig

DATA_DIR: Final = 1
"""`meta`, and what is where in a data directory (raft/datadir.py)."""

SNAPSHOT: Final = 1
"""The file around an image (raft/snapshot_format.py)."""

SEGMENT: Final = 2
"""A file of the log, its blocks and entries (raft/blocks.py); one byte, 255 at most. In 2
blocks tell what was committed."""

IMAGE: Final = 7
"""The state as bytes (state/image.py). It is written in the lowest format that can say it, so that
older nodes read it until commands that they cannot apply are used: 2 has replies to transactions
among what is remembered, and tables before the keys: quotas, and rights to refill; 3 has keys whose
values are no strings, their rows, and remembered replies to Redis commands; 4 has tombstones, and
streams; 5 has consumer groups of these; 6 has clients that number their requests, 7 has both."""

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 3
"""What is said between nodes (raft/messages.py): a link speaks the highest that both sides know. 2
has reports of which keys were read, 3 questions for who listens to what."""

COMMANDS: Final = 6
"""The kinds of commands this node can apply (command/words.py); 3 has Redis' ones, 4 those
that depend on keys which were absent, those that write streams, and those that bring the answer to
be remembered; 5 has more calls in these (command/calls.py), and those that were rehearsed; 6 has
clients, and marks that are numbers of theirs. A kind is used only when every voter knows it: the
members' versions are replicated (raft/members.py)."""

COMMANDS_FIRST: Final = 1
"""Every raftcache there ever was knows these."""

assert SEGMENT < 256
assert PROTOCOL_MIN <= PROTOCOL_MAX
assert COMMANDS_FIRST <= COMMANDS


def refuse_newer(what: str, found: int, known: int) -> None:
    """Raise BadConfig if `what` has a version above the one this raftcache knows."""
    if found > known:
        raise BadConfig(
            f"{what} has format {found}, this raftcache knows {known}:"
            " run the newer raftcache that wrote it"
        )
