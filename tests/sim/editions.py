"""Members of two versions, in one cluster: the newer ones know a kind of command that is new.

The future is played: Touch, which no other client of the simulator uses, is taken for a kind that
the next version of the commands brought. A member of today's version says so when it greets, and
cannot apply it. It is upgraded by a restart, never downgraded. Where Redis clients are played, the
newer version is that which brought the newest calls, and the older one that before.

The past is played too: the older ones do not know that members may serve Redis clients. They say
nothing of it, read nothing of it, and so drop it from the configurations that they write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from msgspec.structs import replace

from raftcache.command import versions, words
from raftcache.command.codec import decode, version_needed
from raftcache.command.words import Command, Once, Touch
from raftcache.raft import members
from raftcache.raft.members import Configuration
from raftcache.raft.members import Member as Record

if TYPE_CHECKING:
    from tests.sim.member import Host, Member

NEWER: Final = versions.COMMANDS + 1
"""The next version; see Profile.upgrades_to."""

NEW_KIND_CHANCE: Final = 0.3


class _Running:
    """Whose code runs: all members share the modules."""

    is_older = False


@contextmanager
def played() -> Iterator[None]:
    """While this lasts, the new kind is one, and what is new of members is unknown to the older."""

    def read(rightly: Any) -> Any:
        def read(stored: Any) -> Configuration | None:
            configuration: Configuration | None = rightly(stored)
            if configuration is None or not _Running.is_older:
                return configuration
            return without_addresses(configuration)

        return read

    with (
        mock.patch.dict(words.INTRODUCED, {Touch: NEWER}),
        mock.patch.object(members, "decode", read(members.decode)),
        mock.patch.object(members, "from_builtins", read(members.from_builtins)),
    ):
        yield


def play(member: Host) -> None:
    """From now on it is this member's code that runs ..."""
    _Running.is_older = is_older(member)


def stop() -> None:
    """... and now nobody's."""
    _Running.is_older = False


def address(member: Host) -> str:
    """Where it serves Redis clients."""
    return "" if is_older(member) else f"{member.name}:6400"


def heard_by(member: Host, said: Record) -> Record:
    """What a member makes of a greeting."""
    return replace(said, resp="") if is_older(member) else said


def seen_by(member: Host, configuration: Configuration) -> Configuration:
    """What a member makes of it."""
    return without_addresses(configuration) if is_older(member) else configuration


def is_older(member: Host) -> bool:
    return member.commands_version < member.world.profile.upgrades_to


def without_addresses(configuration: Configuration) -> Configuration:
    if not any(m.resp for m in configuration.members):
        return configuration
    kept = tuple(replace(m, resp="") for m in configuration.members)
    return replace(configuration, members=kept)


def new_command(key: bytes, once: Once) -> Command:
    return Touch(key, once=once)


def needed_by(batch: bytes) -> int:
    """The version that a node must have to apply these commands."""
    needed = (version_needed(command) for command in decode(batch))
    return max(needed, default=versions.COMMANDS_FIRST)


def begins_with(member: Member) -> int:
    """The version that this member has on the first day; drawn only where it matters."""
    profile = member.world.profile
    if not profile.upgrade_rate:
        return versions.COMMANDS
    older, newer = profile.upgrades_to - 1, profile.upgrades_to
    return member.world.chance.choice((older, older, newer))


def meets(member: Member, batch: bytes) -> None:
    """Before a member applies it: an older raftcache could not even decode it."""
    if is_older(member) and needed_by(batch) > member.commands_version:
        member.world.fail("met a command it does not know", f"{member.name}: {batch!r}")
