"""Members of two versions, in one cluster: the newer ones know a kind of command that is new.

The future is played: Touch, which no other client of the simulator uses, is taken for a kind that
the next version of the commands brought. A member of today's version says so when it greets, and
cannot apply it. It is upgraded by a restart, never downgraded.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from raftcache.command import versions, words
from raftcache.command.codec import decode
from raftcache.command.words import Command, Once, Touch

if TYPE_CHECKING:
    from tests.sim.member import Member

OLDER: Final = versions.COMMANDS
NEWER: Final = versions.COMMANDS + 1
NEW_KIND_CHANCE: Final = 0.3


def played() -> AbstractContextManager[Any]:
    """While this lasts, the new kind is one."""
    return mock.patch.dict(words.INTRODUCED, {Touch: NEWER})


def new_command(key: bytes, once: Once) -> Command:
    return Touch(key, once=once)


def needed_by(batch: bytes) -> int:
    """The version that a node must have to apply these commands."""
    return max((words.INTRODUCED[type(command)] for command in decode(batch)), default=OLDER)


def begins_with(member: Member) -> int:
    """The version that this member has on the first day; drawn only where it matters."""
    if not member.world.profile.upgrade_rate:
        return OLDER
    return member.world.chance.choice((OLDER, OLDER, NEWER))


def meets(member: Member, batch: bytes) -> None:
    """Before a member applies it: an older raftcache could not even decode it."""
    if member.commands_version < NEWER and needed_by(batch) > member.commands_version:
        member.world.fail("met a command it does not know", f"{member.name}: {batch!r}")
