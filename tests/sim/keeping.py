"""Keys that are evicted, limited and refilled under faults: what a leader and clients ask for.

Beside what is proposed and counted; every replica must come to the same, which digests tell.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, get_args

from raftcache.command.replies import Reply, Status
from raftcache.command.words import Command, DeleteQuota, Evict, Keeping, Refill, SetQuota, Vivify

if TYPE_CHECKING:
    from tests.sim.member import Member


def keep(member: Member) -> None:
    """One more command, by what this member has applied."""
    world = member.world
    command = _command(member, world.chance)

    def done(outcome: object) -> None:
        if isinstance(outcome, Reply) and outcome.status in (Status.WON, Status.DELETED):
            world.count["won" if outcome.status is Status.WON else "evicted"] += 1

    member.submit(command, done)


def is_counted(command: Any) -> bool:
    """Whether it is of a client who counts what becomes of it."""
    if isinstance(command, get_args(Keeping)):
        return False
    return bool(getattr(command, "key", b"")[:3] == b"key")


def _command(member: Member, chance: random.Random) -> Command:
    key = b"key%d" % chance.randrange(7)
    held, right = member.machine.weigh(key), member.machine.right(key, member.machine.now_ms)
    if right is not None and chance.random() < 0.5:
        return Refill(key, b"0", right.token, ttl_ms=500)
    match chance.randrange(6):
        case 0 | 1 if held is not None:
            return Evict(((key, held[0]),))
        case 2:
            return SetQuota(key[: chance.randrange(5)], keys_max=chance.randrange(8))
        case 3:
            return DeleteQuota(key[: chance.randrange(5)])
        case _:
            return Vivify(key, 300, early_ms=200)
