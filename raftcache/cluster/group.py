"""The cluster as Redis clients know clusters: a master, its replicas, and who holds what for sure.

The leader is the master, all other members that serve Redis clients are its replicas, learners too.
Offsets are indexes of the log, the epoch is the term.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import sha1

from msgspec import Struct
from msgspec.structs import replace

from raftcache.config import Config, Durability, parse_address
from raftcache.raft.members import Member
from raftcache.raft.replica import Replica, ReplicaStatus


class Peer(Struct, frozen=True):
    """A member that serves Redis clients.

    id: 40 hexadecimal digits, as Redis has ids; from that of its data, so it is stable.
    is_voter: by the latest configuration here; others are learners, or were removed.
    is_linked: this node has a link to it now, or is it.
    offset: what it has of the log for sure, as far as this node knows.
    """

    id: str
    name: str
    host: str
    port: int
    raft_port: int
    is_voter: bool
    is_linked: bool
    offset: int


class Group(Struct, frozen=True):
    """All of them, as this node sees them now.

    id: 40 hexadecimal digits. leader: None while none is known and linked, or if it serves no
        Redis clients; has_leader tells whether there is one all the same.
    replicas: everyone but the master. usable: voters with a link to this node, itself included.
    """

    id: str
    epoch: int
    myself: Peer
    leader: Peer | None
    replicas: tuple[Peer, ...]
    has_leader: bool
    contact_age_s: float
    usable: int
    quorum: int

    @property
    def master(self) -> Peer:
        """Whom to send commands to: without a leader this node, which will know the next one.

        Any node takes any command, so this is only ever the shorter or the longer way.
        """
        return self.leader or self.myself

    @property
    def peers(self) -> tuple[Peer, ...]:
        return self.master, *self.replicas

    @property
    def is_cut_off(self) -> bool:
        """Nobody leads here, and there are too few links to elect somebody: this node cannot tell
        who lives, but serves nobody."""
        return not self.has_leader and self.usable < self.quorum

    @property
    def leads(self) -> bool:
        return self.leader is not None and self.leader.id == self.myself.id


class Copies(Struct, frozen=True):
    """Who has this node's log up to an index, for sure.

    here: on this node's own disk. others: so many other members, or more.
    is_final: this node will not learn of more.
    """

    here: bool
    others: int
    is_final: bool


def hex_id(text: str) -> str:
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


class GroupView:
    """One node's view; every call reads the present, nothing is kept."""

    def __init__(
        self,
        config: Config,
        cluster_id: str,
        myself: Member,
        replica: Replica,
        linked: Callable[[], Collection[str]],
    ) -> None:
        """myself: as this node greets. linked: the names of the peers it has links to now."""
        self._config, self._myself, self._replica = config, myself, replica
        self._id, self._linked = hex_id(cluster_id), linked

    @property
    def knows_leader(self) -> bool:
        """Somebody leads, and has a link to this node; the same as group().has_leader, cheaper."""
        leader = self._replica.leader
        return leader is not None and (leader == self._myself.name or leader in self._linked())

    def names(self) -> set[str]:
        """Of all members that serve Redis clients."""
        return {member.name for member in self._replica.configuration.members if member.resp}

    def group(self) -> Group:
        status, linked = self._replica.status(), {*self._linked(), self._myself.name}
        configuration = self._replica.configuration
        peers = {
            member.name: self._peer(member, status, linked)
            for member in configuration.members
            if member.resp and member.name != self._myself.name
        }
        mine = replace(self._myself, voter=self._myself.name in configuration.voters)
        myself = peers[mine.name] = self._peer(mine, status, linked)
        has_leader = self.knows_leader
        leader = peers.get(status.leader or "") if has_leader else None
        master = leader or myself
        return Group(
            id=self._id,
            epoch=status.term,
            myself=myself,
            leader=leader,
            replicas=tuple(peers[name] for name in sorted(peers) if peers[name] is not master),
            has_leader=has_leader,
            contact_age_s=status.contact_age_s,
            usable=len(configuration.voters & linked),
            quorum=len(configuration.voters) // 2 + 1,
        )

    def _peer(self, member: Member, status: ReplicaStatus, linked: Collection[str]) -> Peer:
        address = parse_address(member.resp)
        if member.name == self._myself.name:
            offset = status.applied_index
        elif member.name == status.leader:
            offset = status.commit_index
        else:
            offset = status.match_indexes.get(member.name, 0)
        return Peer(
            id=hex_id(member.id or member.name),
            name=member.name,
            host=address.host,
            port=address.port,
            raft_port=parse_address(member.raft).port,
            is_voter=member.voter,
            is_linked=member.name in linked,
            offset=offset,
        )

    # -- what is stored where ----------------------------------------------------------------------

    @property
    def is_durable(self) -> bool:
        """What is acknowledged is on stable storage."""
        return self._config.storage.durability is Durability.FSYNC

    @property
    def applied_index(self) -> int:
        """Every write that this node has answered is at or below it."""
        return self._replica.status().applied_index

    def copies(self, index: int) -> Copies:
        """Of an index that this node has applied, so a majority of the voters acknowledged it.

        A leader hears from each member what it has stored. A follower knows of the majority only:
        a quorum, less one if this node may be of it. While a change of the voters is under way
        it was perhaps the quorum of those before, who may have been one fewer.
        """
        status, voters = self._replica.status(), self._replica.configuration.voters
        assert index <= status.applied_index
        is_changing = not self._replica.configuration_is_committed
        may_be_of_it = self._myself.name in voters or is_changing
        certain = max(0, (len(voters) - is_changing) // 2 + 1 - may_be_of_it)
        held = [i for i in status.match_indexes.values() if i >= index]
        return Copies(
            here=status.durable_index >= index,
            others=max(certain, len(held)),
            is_final=status.role != "leader",
        )
