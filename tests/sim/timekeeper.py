"""Cluster time goes at the pace of true time, unless nobody who elects the leader knows it.

Whose process has heard a leader, or has led, knows it: then no wall clock has a say any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

SLACK_MS: Final = 5000
"""A node that stands still reads its clock ahead of what has happened elsewhere."""


class Timekeeper:
    """Of one world: what its leaders stamp entries with, as they do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ahead_ms: float | None = None
        """Of the schedule, at most, however fast a clock may be; None while nobody knows."""
        self._cold_term: int | None = None
        """From it on the next time may be any: who was elected in it knew none, and those who heard
        him go on with his."""

    def elected(self, member: Member) -> None:
        """It leads in a term that is new."""
        engine: Any = member.engine
        votes = {str(node) for node in getattr(engine, "_SyncObj__votes", ())}
        voters = [member, *(self._world.members[name] for name in votes)]
        if not any(_knows(voter) for voter in voters if voter.alive and voter is not member):
            self._cold_term = member.term

    def stamped(self, member: Member, term: int, stamp_ms: int) -> None:
        """A leader has made an entry just now."""
        pace = 1000 * (1 + self._world.profile.drift)
        ahead_ms = stamp_ms - pace * self._world.schedule.now_s
        was_ms = self._ahead_ms
        may_be_any = self._cold_term is not None and term >= self._cold_term
        if may_be_any or was_ms is None:
            self._cold_term = None
            self._world.count["cold starts"] += was_ms is None or ahead_ms > was_ms + SLACK_MS
            self._ahead_ms = max(ahead_ms, ahead_ms if was_ms is None else was_ms)
        elif ahead_ms > was_ms + SLACK_MS:
            detail = f"{ahead_ms - was_ms:.0f} ms at {member.name} in term {term}"
            self._world.fail("cluster time ran ahead", detail)


def _knows(voter: Member) -> bool:
    engine: Any = voter.engine
    return bool(engine._SyncObj__parts.time.is_known)
