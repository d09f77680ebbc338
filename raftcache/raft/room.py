"""Whether the disk has room for more of the log.

A node whose log cannot grow stops. Disks of a cluster fill up alike, and if all nodes stop nobody
reads either; so voters tell their leader before it comes to that, and when fewer than a majority
of them have room, every node refuses what would bring more.
"""

from __future__ import annotations

import logging
from typing import Final

from raftcache.ports import Clock, Disk

SPARED_SEGMENTS: Final = 2
"""Room for so many segments of the log is left by snapshots, and by clients' writes: the one that
the log will need next, and one more, for it goes on while a snapshot grows."""

LOOK_S: Final = 0.1
"""Between two looks; the kernel answers from memory. A quick disk takes 20 MiB meanwhile."""

SNAPSHOT_AGAIN_S: Final = 60.0
"""While there is hardly any room, a snapshot is worth while so often: what it covers of the log is
removed, and so is the one before it. Nothing else that clients may still do makes room."""

logger = logging.getLogger("raftcache.raft")


class Room:
    """What is left on one node's disk."""

    def __init__(self, disk: Disk, clock: Clock, segment_size_bytes: int) -> None:
        """segment_size_bytes: 0 for a log that is not on the disk, and never short of room."""
        self._disk, self._clock = disk, clock
        self._segment_size_bytes = segment_size_bytes
        self._due_s = self._snapshot_due_s = float("-inf")
        self.is_short = False
        """What is left is for what is under way, and for what the log says by itself."""

    @property
    def spared_size_bytes(self) -> int:
        """What a snapshot leaves to the log; nothing while it is short: to be so as a rule it has
        just begun a segment, and nothing else would bring it another one after that.
        """
        return 0 if self.is_short else SPARED_SEGMENTS * self._segment_size_bytes

    @property
    def wants_snapshot(self) -> bool:
        """It is time to try whether one makes room; asked once, it is so no more for a while."""
        if not self.is_short or (now_s := self._clock.monotonic_s()) < self._snapshot_due_s:
            return False
        self._snapshot_due_s = now_s + SNAPSHOT_AGAIN_S
        return True

    def look(self) -> None:
        """See how much there is, if it is time; once it is short, more is needed than before."""
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s:
            return
        self._due_s = now_s + LOOK_S
        free, needed = self._disk.free_size_bytes(), SPARED_SEGMENTS + self.is_short
        is_short = free < needed * self._segment_size_bytes
        if is_short != self.is_short:
            self.is_short, self._snapshot_due_s = is_short, float("-inf")
            level, what = (logging.ERROR, "hardly any") if is_short else (logging.INFO, "enough")
            logger.log(level, f"there is {what} room for the log", extra={"free_bytes": free})
