"""Who has which slots, as Redis Cluster clients are told. Pure.

Any node takes any command, whatever its slot, so this only ever decides where clients go first: to
the leader, or each to another voter. What is told is what this node sees now. A node that it has no
link to has no slots, so that who asks any survivor goes to survivors; but a node that is cut off
from a majority itself serves nobody, and gives its slots to the others, whoever of them lives.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from raftcache.cluster.group import Group, Peer, hex_id
from raftcache.config import ClusterMap

SLOTS: Final = 16_384


class Shard(Struct, frozen=True):
    """A master, its slots, of which there may be none, and its replicas.

    id: 40 hexadecimal digits.
    """

    id: str
    master: Peer
    slots: range
    replicas: tuple[Peer, ...] = ()


def shards(group: Group, cluster_map: ClusterMap) -> list[Shard]:
    """Everybody is in one of them, and every slot."""
    if cluster_map is ClusterMap.LEADER:
        return [Shard(group.id, group.master, range(SLOTS), group.replicas)]
    serving = _serving(group)
    share = {peer.id: _share(at, len(serving)) for at, peer in enumerate(serving)}
    head = group.master if group.master in serving else serving[0]
    masters = sorted({*serving, *filter(_is_voter, group.peers)}, key=_name)
    learners = tuple(peer for peer in group.peers if peer not in masters)
    return [
        Shard(
            hex_id(f"{group.id} {master.id}"),
            master,
            share.get(master.id, range(0)),
            learners if master is head else (),
        )
        for master in masters
    ]


def _serving(group: Group) -> list[Peer]:
    """Those who have slots, by name: one at least."""
    voters = [peer for peer in group.peers if peer.is_voter]
    if group.is_cut_off:
        serving = [peer for peer in voters if peer.id != group.myself.id]
    else:
        serving = [peer for peer in voters if peer.is_linked]
    return sorted(serving, key=_name) or [group.master]


def _share(at: int, count: int) -> range:
    return range(at * SLOTS // count, (at + 1) * SLOTS // count)


def _is_voter(peer: Peer) -> bool:
    return peer.is_voter


def _name(peer: Peer) -> str:
    return peer.name
