"""The roll of members: which data a node must have to be who it says it is. Pure.

Links ask it whom to talk to, and the engine whose word counts; both by the latest configuration in
this node's log, committed or not.
"""

from __future__ import annotations

from collections.abc import Collection

from raftcache.raft.greetings import Refusal
from raftcache.raft.members import Configuration


class Roll:
    """What a configuration says of data; empty before the first one."""

    def __init__(self) -> None:
        self.version = 0
        """Of the configuration; said in greetings."""
        self._member_ids: dict[str, str] = {}
        self._removed_ids: Collection[str] = ()

    def set_members(self, configuration: Configuration) -> None:
        """This one counts from now on."""
        self.version = max(0, configuration.version)
        self._member_ids = {member.name: member.id for member in configuration.members}

    def set_removed(self, member_ids: Collection[str]) -> None:
        """Nodes with this data were removed for good."""
        self._removed_ids = member_ids

    def is_other(self, name: str, member_id: str) -> bool:
        """Whether the configuration has other data for this member; a new one's may be any."""
        return self._member_ids.get(name) not in (None, "", member_id)

    def refusal(self, name: str, member_id: str, version: int) -> Refusal | None:
        """Why not to talk to who greets with this data, at this version of the configuration.

        Who knows a later configuration than this node may rightly have other data: its name began
        anew while this node was away, and it may even be the leader that tells it so. Until then
        its word does not count (`is_other`).
        """
        if member_id and member_id in self._removed_ids:
            return Refusal.REMOVED
        if self.is_other(name, member_id) and version <= self.version:
            return Refusal.OTHER_DATA
        return None
