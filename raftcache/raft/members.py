"""Who belongs to the cluster: the configuration, and the changes it may go through. Pure.

The configuration is replicated: an entry of the log holds a whole one, and the latest in the log
counts, committed or not (Raft dissertation, 4.1). A change adds or removes one voter at most, so
that any two majorities, before and after it, have a node in common. New members begin as learners:
they get the log and do not count.

A member has a stable name and an id, made when its data directory was made. The id is bound to the
name when the member is first heard, or when it is added; whoever comes with another one has lost
its data and must not vote under the old name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from raftcache.command import versions
from raftcache.config import parse_address
from raftcache.errors import BadRequest, Conflict, NotFound, PreconditionFailed

MEMBERSHIP: Final = b"\x02"
"""The first byte of an entry that holds a configuration (pysyncobj's command type)."""

MEMBERS_MAX: Final = 15
"""More voters slow every write and add little; each learner costs the leader a stream."""

REMOVED_REMEMBERED_MAX: Final = 256
"""Ids of removed members, so that they are told so when they come back; the oldest are forgotten,
and then are merely unknown."""


class Member(Struct, frozen=True, array_like=True):
    """One member.

    id: of its data; "" until the member was first heard. raft and http: where to reach it,
    host:port; http is "" until it is known. commands_version: the kinds of commands that it was
    heard to know (command/versions.py); for the same data it never goes back. resp: where it
    serves the Redis protocol, "" if it does not, or is not known to.
    """

    name: str
    id: str
    raft: str
    http: str
    voter: bool
    commands_version: int = versions.COMMANDS_FIRST
    resp: str = ""


class Configuration(Struct, frozen=True, array_like=True):
    """All members, sorted by name, at one version; every change raises the version by one."""

    version: int
    members: tuple[Member, ...]
    removed: tuple[str, ...] = ()

    def get(self, name: str) -> Member | None:
        return next((m for m in self.members if m.name == name), None)

    @property
    def voters(self) -> frozenset[str]:
        return frozenset(m.name for m in self.members if m.voter)

    @property
    def is_claimed(self) -> bool:
        """There are voters, and each has said who it is, and what it knows."""
        return bool(self.voters) and all(m.id for m in self.members if m.voter)

    @property
    def commands_version(self) -> int:
        """The kinds of commands that may be used: those which every voter knows.

        It never goes back from one version to the next, so that whoever finds it in a committed
        configuration may rely on it, and the log holds nothing that a voter cannot apply.
        """
        known = (m.commands_version for m in self.members if m.voter)
        return min(known, default=versions.COMMANDS_FIRST)

    def is_majority(self, names: frozenset[str]) -> bool:
        """Whether these nodes, as far as they are voters, are more than half of them."""
        return len(names & self.voters) * 2 > len(self.voters)


class Change(Struct, frozen=True):
    """One request to change the configuration.

    op: add (as a learner), promote (to voter), remove, update (addresses; "" leaves one as it is),
        claim (bind what a member said when it greeted: id, addresses, version of the commands it
        knows; `resp` exactly as it is, for who serves no Redis clients any more says so with "";
        only leaders make these), or
        transfer, which changes no configuration: the leader is asked to hand over to `name`, or
        to whoever has most if that is "".
    if_version: refused unless the configuration still has this version.
    force: a change that leaves no majority of live voters is made all the same.
    """

    op: Literal["add", "promote", "remove", "update", "claim", "transfer"]
    name: str
    id: str = ""
    raft: str = ""
    http: str = ""
    if_version: int | None = None
    force: bool = False
    commands_version: int = 0
    resp: str = ""


class StillLeads(Conflict):
    """The member to be removed is the leader: it must hand over first."""


NOBODY: Final = Configuration(-1, ())
"""Before the log of a node that joined has told it who the members are."""


def bootstrap(addresses: Mapping[str, str]) -> Configuration:
    """The first configuration, equal on all its members: name -> Raft address, all voters."""
    members = (Member(name, "", raft, "", True) for name, raft in sorted(addresses.items()))
    return Configuration(0, tuple(members))


def encode(configuration: Configuration) -> bytes:
    """The command of the log entry."""
    return MEMBERSHIP + msgspec.msgpack.encode(configuration)


def decode(command: bytes) -> Configuration | None:
    """The configuration in an entry's command; None if the entry holds something else."""
    if command[:1] != MEMBERSHIP:
        return None
    return msgspec.msgpack.decode(memoryview(command)[1:], type=Configuration)


def to_builtins(configuration: Configuration) -> Any:  # noqa: ANN401
    """For the header of a snapshot."""
    return msgspec.to_builtins(configuration)


def from_builtins(stored: Any) -> Configuration:  # noqa: ANN401
    return msgspec.convert(stored, Configuration)


def describe(before: Configuration, after: Configuration) -> str:
    """What changed from one configuration to the next, for people: "n4 promoted"."""
    said = [f"{m.name} removed" for m in before.members if after.get(m.name) is None]
    for member in after.members:
        old = before.get(member.name)
        if old is None or (old.id and old.id != member.id):
            said.append(f"{member.name} added")
        elif member.voter and not old.voter:
            said.append(f"{member.name} promoted")
        elif member != old:
            said.append(f"{member.name} updated")
    return ", ".join(said)


def apply(config: Configuration, change: Change) -> Configuration:
    """The configuration after a change, at the next version.

    Raises NotFound, Conflict, PreconditionFailed or BadRequest, each with the reason. Whether
    enough voters are alive, and a learner has caught up, is the leader's to know, not decided here.
    """
    if change.if_version is not None and change.if_version != config.version:
        raise PreconditionFailed(
            f"the configuration has version {config.version}, not {change.if_version}"
        )
    member = config.get(change.name)
    if change.op == "add":
        return _added(config, member, change)
    if member is None:
        raise NotFound(f"there is no member {change.name!r}")
    if change.op == "promote":
        if member.voter:
            raise Conflict(f"{member.name} is a voter already")
        if member.commands_version < config.commands_version:
            if not member.id:
                raise Conflict(f"{member.name} does not answer: it has never been heard of")
            raise Conflict(
                f"{member.name} knows commands of version {member.commands_version}, the cluster"
                f" may have used those of {config.commands_version}: upgrade it first"
            )
        return _with(config, replace(member, voter=True))
    if change.op == "remove":
        return _removed(config, member)
    if change.op == "claim" and member.id not in ("", change.id):
        raise Conflict(f"{member.name} has another id")
    changed = replace(
        member,
        id=member.id or change.id,
        raft=change.raft or member.raft,
        http=change.http or member.http,
        commands_version=max(member.commands_version, change.commands_version),
        resp=change.resp if change.op == "claim" else change.resp or member.resp,
    )
    _check_address(config, changed)
    return config if changed == member else _with(config, changed)


def _added(config: Configuration, old: Member | None, change: Change) -> Configuration:
    """A new learner; or the same name with new data, which begins anew as a learner."""
    if not (change.name and change.raft):
        raise BadRequest("a new member needs a name and a Raft address")
    if change.id in config.removed:
        raise Conflict("this data belonged to a removed member: begin with an empty folder")
    new = Member(change.name, change.id, change.raft, change.http, False, resp=change.resp)
    if old is not None and old.id == change.id and (change.id or old.raft == change.raft):
        return config  # asked again: it is a member already
    if old is not None and not change.id:
        raise Conflict(f"there is a member {change.name!r} already")
    _check_address(config, new)
    if old is not None:
        return _with(_forgotten(config, old), new)
    if len(config.members) >= MEMBERS_MAX:
        raise Conflict(f"there are {MEMBERS_MAX} members already")
    members = sorted((*config.members, new), key=lambda m: m.name)
    return replace(config, version=config.version + 1, members=tuple(members))


def _removed(config: Configuration, member: Member) -> Configuration:
    if config.voters == {member.name}:
        raise Conflict(f"{member.name} is the only voter")
    members = tuple(m for m in config.members if m.name != member.name)
    config = _forgotten(config, member)
    return replace(config, version=config.version + 1, members=members)


def _forgotten(config: Configuration, member: Member) -> Configuration:
    ids = (*config.removed, member.id) if member.id else config.removed
    return replace(config, removed=ids[-REMOVED_REMEMBERED_MAX:])


def _with(config: Configuration, member: Member) -> Configuration:
    members = tuple(member if m.name == member.name else m for m in config.members)
    return replace(config, version=config.version + 1, members=members)


def _check_address(config: Configuration, member: Member) -> None:
    """An address that nobody can dial would stop every node that reads it from the log."""
    for field in ("raft", "http", "resp"):
        address = getattr(member, field)
        try:
            _ = address and parse_address(address)
        except ValueError as error:
            raise BadRequest(f"{field}: {error}") from None
    for other in config.members:
        if other.name != member.name and other.raft == member.raft:
            raise Conflict(f"{other.name} has the Raft address {member.raft} already")
