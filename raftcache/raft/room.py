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

LOOK_S: Final = 0.5
"""Between two looks; the kernel answers from memory."""

logger = logging.getLogger("raftcache.raft")


class Room:
    """What is left on one node's disk."""

    def __init__(self, disk: Disk, clock: Clock, segment_size_bytes: int) -> None:
        """segment_size_bytes: 0 for a log that is not on the disk, and never short of room."""
        self._disk, self._clock = disk, clock
        self._segment_size_bytes = segment_size_bytes
        self._due_s = float("-inf")
        self.is_short = False
        """What is left is for what is under way, and for what the log says by itself."""

    def look(self) -> None:
        """See how much there is, if it is time; once it is short, more is needed than before."""
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s:
            return
        self._due_s = now_s + LOOK_S
        free, needed = self._disk.free_size_bytes(), SPARED_SEGMENTS + self.is_short
        is_short = free < needed * self._segment_size_bytes
        if is_short != self.is_short:
            self.is_short = is_short
            level, what = (logging.ERROR, "hardly any") if is_short else (logging.INFO, "enough")
            logger.log(level, f"there is {what} room for the log", extra={"free_bytes": free})
