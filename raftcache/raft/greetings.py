"""Greetings: who a node says it is, and why another may refuse it. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from raftcache.command import versions
from raftcache.raft.frames import encode
from raftcache.raft.members import Member
from raftcache.raft.messages import HOLDS_ALL, MAGIC, Message


class Refusal(StrEnum):
    """Why a link is refused, as said to the peer and to the log."""

    VERSION = "no common protocol version"
    CLUSTER = "another cluster"
    ITSELF = "this node itself"
    ADDRESSEE = "meant for another node"
    UNKNOWN = "not a member"
    DIRECTION = "there is a link already"
    STALE = "a later process was started on this member's data: what this one has is an older copy"
    COPY = "another process runs on this member's data: what this one has is a copy"
    LOST = "its data lacks what it acknowledged: the disk lost that, or an older copy was put back"
    IN_USE = "another process runs on this member's data, or did a moment ago"
    OTHER_DATA = "not the data this member had: it must join again, with an empty folder"
    REMOVED = "removed from the cluster: to come back it must join again, with an empty folder"


@dataclass(frozen=True, slots=True)
class Life:
    """One process that runs, or ran, on a member's data.

    token: drawn at its start; "" of versions that have none.
    """

    member_id: str
    incarnation: int
    token: str

    @classmethod
    def of(cls, hello: Message) -> Life:
        return cls(hello["member_id"], hello["incarnation"], hello.get("life", ""))

    def refusal(self, latest: Life) -> Refusal | None:
        """Why not to talk to this process after the latest one that was greeted; None if it may
        have been started since, on the same data.

        Data that was copied, or put back from a copy, does not know what it acknowledged or voted
        for since: with it a member could vote twice in one term.
        """
        if self.member_id == latest.member_id and self.incarnation < latest.incarnation:
            return Refusal.STALE
        same_start = self.incarnation == latest.incarnation
        return Refusal.COPY if same_start and self.is_double(latest) else None

    def is_double(self, other: Life) -> bool:
        """Another process on the same data, for sure."""
        differ = "" not in (self.token, other.token) and self.token != other.token
        return differ and self.member_id == other.member_id


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node says it is.

    member_id: of its data. raft, http, resp: the addresses it says it can be reached at.
    incarnation: grows with every start of the node; a link of an earlier one never replaces one
        of a later one.
    commands_version: the kinds of commands it can apply (command/versions.py).
    life: of this process alone; see Life.
    """

    name: str
    cluster_id: str
    incarnation: int
    member_id: str = ""
    raft: str = ""
    http: str = ""
    commands_version: int = versions.COMMANDS
    resp: str = ""
    life: str = ""

    def hello(self, to: str, members_version: int = 0, holds: int = HOLDS_ALL) -> bytes:
        """The greeting for the peer that this node means to reach, as a frame."""
        return encode(
            {
                "type": "hello",
                "magic": MAGIC,
                "version_min": versions.PROTOCOL_MIN,
                "version_max": versions.PROTOCOL_MAX,
                "commands_version": self.commands_version,
                "cluster_id": self.cluster_id,
                "name": self.name,
                "incarnation": self.incarnation,
                "members_version": members_version,
                "member_id": self.member_id,
                "raft": self.raft,
                "http": self.http,
                "resp": self.resp,
                "life": self.life,
                "holds": holds,
                "to": to,
            }
        )

    def dials(self, peer: str) -> bool:
        """Of every two nodes the one with the higher name dials, so that there is one link."""
        return self.name > peer

    def refusal(self, hello: Message, dialled: str | None, known: Container[str]) -> Refusal | None:
        """Why not to talk to who sent this hello; None if it is the peer it should be.

        dialled: whom this node meant to reach; None on a connection that it accepted.
        """
        name = hello["name"]
        if common_version(hello) is None:
            return Refusal.VERSION
        if hello["cluster_id"] != self.cluster_id:
            return Refusal.CLUSTER
        if name == self.name:
            return Refusal.ITSELF
        if hello["to"] != self.name or dialled not in (None, name):
            return Refusal.ADDRESSEE
        if name not in known:
            return Refusal.UNKNOWN
        if dialled is None and self.dials(name):
            return Refusal.DIRECTION
        return None


def common_version(hello: Message) -> int | None:
    """The version both sides speak: the lower of the two highest, None if one is too old."""
    version: int = min(versions.PROTOCOL_MAX, hello["version_max"])
    return version if version >= max(versions.PROTOCOL_MIN, hello["version_min"]) else None


def member_of(hello: Message) -> Member:
    """Who greets, by its own word."""
    return Member(
        name=hello["name"],
        id=hello["member_id"],
        raft=hello["raft"],
        http=hello["http"],
        voter=False,
        commands_version=hello["commands_version"],
        resp=hello.get("resp", ""),
    )
