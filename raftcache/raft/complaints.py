"""Warnings about peers, each once in a while, so that a stranger who comes again fills no disk."""

from __future__ import annotations

import logging
import math
from typing import Final

from raftcache.ports import Clock

LOG_AGAIN_S: Final = 600.0
"""The same complaint about the same peer is logged once in so many seconds."""

LOGGED_MAX: Final = 1024
"""Complaints remembered for that, since strangers choose their own names."""

logger = logging.getLogger("raftcache.raft")


class Complaints:
    """Remembers what was logged lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logged_s: dict[tuple[str, str], float] = {}

    def log(self, event: str, peer: str, reason: str, **fields: str) -> None:
        """Log a warning, unless the same was logged a short while ago."""
        now_s, key = self._clock.monotonic_s(), (peer, f"{event}: {reason}")
        if now_s - self._logged_s.get(key, -math.inf) < LOG_AGAIN_S:
            return
        if len(self._logged_s) >= LOGGED_MAX:
            self._logged_s.clear()
        self._logged_s[key] = now_s
        logger.warning(event, extra={"peer": peer, "reason": str(reason), **fields})
