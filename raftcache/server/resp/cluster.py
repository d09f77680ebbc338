"""CLUSTER, ROLE, and sections of INFO: who is there, in the words of Redis Cluster. Pure.

Who is shown as the master of which slots is decided in shards.py. No node redirects: each takes any
command, whatever its slot.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from raftcache.cluster.group import Group, Peer, hex_id
from raftcache.command.integers import integer_or_none
from raftcache.command.values import Failure, Value, Verbatim
from raftcache.config import ClusterMap
from raftcache.server.resp.shards import SLOTS, Shard, shards
from raftcache.server.resp.words import NOT_INTEGER, help_lines

_SLOT_INVALID: Final = Failure("ERR Invalid slot")
_RANGE_INVALID: Final = Failure("ERR Invalid slot or number of keys")

_HELP: Final = """
CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
COUNTKEYSINSLOT <slot>
    Return the number of keys in <slot>.
GETKEYSINSLOT <slot> <count>
    Return key names in a slot.
INFO
    Return information about the cluster.
KEYSLOT <key>
    Return the hash slot for <key>.
LINKS
    Return information about the links between this node and the others.
MYID
    Return the node id.
MYSHARDID
    Return the id of the shard that this node belongs to.
NODES
    Return the members as this node sees them. Output format:
    <id> <ip:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...
REPLICAS <node-id>
    Return <node-id> replicas.
SHARDS
    Return information about slot range mappings and the nodes associated with them.
SLOTS
    Return information about slots range mappings. Each range is made of:
    start, end, master and replicas IP addresses, ports and ids
HELP
    Prints this help.
"""


def slot_of(key: bytes) -> int:
    """Of the part between the first { and the next }, if there is anything between them."""
    _, brace, rest = key.partition(b"{")
    tag, end, _ = rest.partition(b"}")
    return crc_hqx(tag if brace and end and tag else key, 0) % SLOTS


def keys_in_slot(argv: Sequence[bytes], keys: Iterable[bytes]) -> Value:
    """The answer to COUNTKEYSINSLOT or GETKEYSINSLOT, where these are all keys."""
    numbers = [integer_or_none(argument) for argument in argv[2:]]
    if None in numbers:
        return NOT_INTEGER
    slot, *counts = (number for number in numbers if number is not None)
    if not 0 <= slot < SLOTS:
        return _RANGE_INVALID if counts else _SLOT_INVALID
    if counts and counts[0] < 0:
        return _RANGE_INVALID
    found = [key for key in keys if slot_of(key) == slot]
    return sorted(found)[: counts[0]] if counts else len(found)


# -- CLUSTER -----------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """What the answers are made of."""

    group: Group
    shards: Sequence[Shard]


def answer(
    argv: Sequence[bytes], group: Group, cluster_map: ClusterMap = ClusterMap.LEADER
) -> Value:
    """To a CLUSTER command of those in _CALLS; argv has its name and the right arity."""
    return _CALLS[argv[1].upper()](argv, _Seen(group, shards(group, cluster_map)))


def _slots(seen: _Seen) -> Value:
    """Replicas that are down are left out, as Redis leaves out failing ones."""
    return [
        [shard.slots[0], shard.slots[-1], _place(shard.master), *map(_place, _linked(shard))]
        for shard in seen.shards
        if shard.slots
    ]


def _place(peer: Peer) -> Value:
    return [peer.host.encode(), peer.port, peer.id.encode(), []]


def _linked(shard: Shard) -> list[Peer]:
    return [peer for peer in shard.replicas if peer.is_linked]


def _shards(seen: _Seen) -> Value:
    return [
        {
            b"slots": [shard.slots[0], shard.slots[-1]] if shard.slots else [],
            b"nodes": [
                _node(peer, b"replica" if at else b"master", seen.group)
                for at, peer in enumerate((shard.master, *shard.replicas))
            ],
        }
        for shard in seen.shards
    ]


def _node(peer: Peer, role: bytes, group: Group) -> dict[Value, Value]:
    return {
        b"id": peer.id.encode(),
        b"port": peer.port,
        b"ip": peer.host.encode(),
        b"endpoint": peer.host.encode(),
        b"role": role,
        b"replication-offset": peer.offset,
        b"health": b"fail" if _flag_of_failure(peer, group) == "fail" else b"online",
    }


def _nodes(seen: _Seen) -> Value:
    lines = [
        line
        for shard in seen.shards
        for line in (_master_line(shard, seen.group), *_replica_lines(shard, seen.group))
    ]
    return Verbatim("".join(f"{line}\n" for line in lines).encode())


def _master_line(shard: Shard, group: Group) -> str:
    said = _line(shard.master, "master", "-", group)
    return f"{said} {shard.slots[0]}-{shard.slots[-1]}" if shard.slots else said


def _replica_lines(shard: Shard, group: Group) -> list[str]:
    return [_line(peer, "slave", shard.master.id, group) for peer in shard.replicas]


def _line(peer: Peer, role: str, of: str, group: Group) -> str:
    flags = ["myself" if peer.id == group.myself.id else "", role, _flag_of_failure(peer, group)]
    said = [
        peer.id,
        f"{peer.host}:{peer.port}@{peer.raft_port}",
        ",".join(filter(None, flags)),
        of,
        "0",
        "0",
        str(group.epoch),
        "connected" if peer.is_linked else "disconnected",
    ]
    return " ".join(said)


def _flag_of_failure(peer: Peer, group: Group) -> str:
    """Of one that is down; a node that is cut off itself cannot tell, and suspects them only."""
    return "" if peer.is_linked else "fail?" if group.is_cut_off else "fail"


def _replicas(argv: Sequence[bytes], seen: _Seen) -> Value:
    asked = argv[2].decode(errors="replace")
    for shard in seen.shards:
        if asked == shard.master.id:
            return [line.encode() for line in _replica_lines(shard, seen.group)]
    if any(peer.id == asked for peer in seen.group.peers):
        return Failure("ERR The specified node is not a master")
    return Failure(f"ERR Unknown node {asked[:40]}")


def _my_shard(seen: _Seen) -> Value:
    me = seen.group.myself.id
    (mine,) = [s for s in seen.shards if me in {peer.id for peer in (s.master, *s.replicas)}]
    return mine.id.encode()


def _links(group: Group) -> Value:
    """One link to each node, both ways; when it was made, and its buffers, are not told."""
    others = (peer for peer in group.peers if peer.id != group.myself.id)
    return [
        {
            b"direction": b"to" if group.myself.name > peer.name else b"from",
            b"node": peer.id.encode(),
            b"create-time": 0,
            b"events": b"rw",
            b"send-buffer-allocated": 0,
            b"send-buffer-used": 0,
        }
        for peer in others
        if peer.is_linked
    ]


def _info(seen: _Seen) -> Value:
    group = seen.group
    fields = {
        "cluster_state": "ok" if group.has_leader else "fail",
        "cluster_slots_assigned": SLOTS,
        "cluster_slots_ok": SLOTS if group.has_leader else 0,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": 0 if group.has_leader else SLOTS,
        "cluster_known_nodes": len(group.peers),
        "cluster_size": sum(bool(shard.slots) for shard in seen.shards),
        "cluster_current_epoch": group.epoch,
        "cluster_my_epoch": group.epoch,
        "cluster_stats_messages_sent": 0,
        "cluster_stats_messages_received": 0,
        "total_cluster_links_buffer_limit_exceeded": 0,
    }
    return Verbatim("".join(f"{k}:{v}\r\n" for k, v in fields.items()).encode())


_CALLS: Final[dict[bytes, Callable[[Sequence[bytes], _Seen], Value]]] = {
    b"HELP": lambda argv, seen: help_lines(_HELP),
    b"INFO": lambda argv, seen: _info(seen),
    b"KEYSLOT": lambda argv, seen: slot_of(argv[2]),
    b"LINKS": lambda argv, seen: _links(seen.group),
    b"MYID": lambda argv, seen: seen.group.myself.id.encode(),
    b"MYSHARDID": lambda argv, seen: _my_shard(seen),
    b"NODES": lambda argv, seen: _nodes(seen),
    b"REPLICAS": _replicas,
    b"SHARDS": lambda argv, seen: _shards(seen),
    b"SLAVES": _replicas,
    b"SLOTS": lambda argv, seen: _slots(seen),
}


# -- ROLE and INFO -----------------------------------------------------------------------------


def role(group: Group) -> Value:
    """The master with its replicas, or the replica with its master; offsets are log indexes."""
    myself, leader = group.myself, group.leader
    if group.leads:
        linked = [peer for peer in group.replicas if peer.is_linked]
        told = [[p.host.encode(), b"%d" % p.port, b"%d" % p.offset] for p in linked]
        return [b"master", myself.offset, told]
    if leader is None:
        return [b"slave", b"", 0, b"connect", -1]
    return [b"slave", leader.host.encode(), leader.port, b"connected", myself.offset]


def info_replication(group: Group) -> dict[str, Any]:
    """The fields of INFO's section `replication`, in the order of Redis."""
    fields: dict[str, Any] = {"role": "master" if group.leads else "slave"}
    linked = [peer for peer in group.replicas if peer.is_linked] if group.leads else []
    if not group.leads:
        leader = group.leader
        fields |= {
            "master_host": leader.host if leader else "",
            "master_port": leader.port if leader else 0,
            "master_link_status": "up" if leader else "down",
            "master_last_io_seconds_ago": int(group.contact_age_s) if leader else -1,
            "master_sync_in_progress": 0,
            "slave_read_repl_offset": group.myself.offset,
            "slave_repl_offset": group.myself.offset,
            "slave_priority": 100,
            "slave_read_only": 0,
            "replica_announced": 1,
        }
    fields["connected_slaves"] = len(linked)
    for i, peer in enumerate(linked):
        fields[f"slave{i}"] = (
            f"ip={peer.host},port={peer.port},state=online,offset={peer.offset},lag=0"
        )
    return fields | {
        "master_failover_state": "no-failover",
        "master_replid": hex_id(f"{group.id} {group.epoch}"),
        "master_replid2": "0" * 40,
        "master_repl_offset": group.myself.offset if group.leads else group.master.offset,
        "second_repl_offset": -1,
        "repl_backlog_active": 1,
        "repl_backlog_size": 0,
        "repl_backlog_first_byte_offset": 0,
        "repl_backlog_histlen": 0,
    }
