"""CLUSTER, ROLE, and sections of INFO: where the leader is, in the words of Redis Cluster. Pure.

The leader is shown as the master of all slots and the others as its replicas, so that clients that
know clusters talk to it directly, and find the next one after a failover. No node redirects: each
takes any command, whatever its slot.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from raftcache.cluster.group import Group, Peer, hex_id
from raftcache.command.integers import integer_or_none
from raftcache.command.values import Failure, Value, Verbatim
from raftcache.server.resp.words import NOT_INTEGER, help_lines

SLOTS: Final = 16_384

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
    Return the id of the shard, of which there is one.
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


def answer(argv: Sequence[bytes], group: Group) -> Value:
    """To a CLUSTER command of those in _CALLS; argv has its name and the right arity."""
    return _CALLS[argv[1].upper()](argv, group)


def _slots(group: Group) -> Value:
    nodes = [[p.host.encode(), p.port, p.id.encode(), []] for p in _visible(group)]
    return [[0, SLOTS - 1, *nodes]]


def _shards(group: Group) -> Value:
    nodes = [
        {
            b"id": peer.id.encode(),
            b"port": peer.port,
            b"ip": peer.host.encode(),
            b"endpoint": peer.host.encode(),
            b"role": b"master" if peer.id == group.master.id else b"replica",
            b"replication-offset": peer.offset,
            b"health": b"online" if peer.is_linked else b"fail",
        }
        for peer in (group.master, *group.replicas)
    ]
    return [{b"slots": [0, SLOTS - 1], b"nodes": nodes}]


def _visible(group: Group) -> list[Peer]:
    """The master first; replicas that are down are left out, as Redis leaves out failing ones."""
    return [group.master, *(peer for peer in group.replicas if peer.is_linked)]


def _nodes(group: Group) -> Value:
    lines = [_line(peer, group) for peer in (group.master, *group.replicas)]
    return Verbatim("".join(f"{line}\n" for line in lines).encode())


def _line(peer: Peer, group: Group) -> str:
    is_master = peer.id == group.master.id
    flags = ["myself"] if peer.id == group.myself.id else []
    flags.append("master" if is_master else "slave")
    if not peer.is_linked:
        flags.append("fail")
    said = [
        peer.id,
        f"{peer.host}:{peer.port}@{peer.raft_port}",
        ",".join(flags),
        "-" if is_master else group.master.id,
        "0",
        "0",
        str(group.epoch),
        "connected" if peer.is_linked else "disconnected",
    ]
    return " ".join([*said, f"0-{SLOTS - 1}"] if is_master else said)


def _replicas(argv: Sequence[bytes], group: Group) -> Value:
    asked = argv[2].decode(errors="replace")
    if asked == group.master.id:
        return [_line(peer, group).encode() for peer in group.replicas]
    if any(peer.id == asked for peer in group.replicas):
        return Failure("ERR The specified node is not a master")
    return Failure(f"ERR Unknown node {asked[:40]}")


def _links(group: Group) -> Value:
    """One link to each node, both ways; when it was made, and its buffers, are not told."""
    others = (peer for peer in (group.master, *group.replicas) if peer.id != group.myself.id)
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


def _info(group: Group) -> Value:
    known = 1 + len(group.replicas)
    fields = {
        "cluster_state": "ok" if group.has_leader else "fail",
        "cluster_slots_assigned": SLOTS,
        "cluster_slots_ok": SLOTS if group.has_leader else 0,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": 0 if group.has_leader else SLOTS,
        "cluster_known_nodes": known,
        "cluster_size": 1,
        "cluster_current_epoch": group.epoch,
        "cluster_my_epoch": group.epoch,
        "cluster_stats_messages_sent": 0,
        "cluster_stats_messages_received": 0,
        "total_cluster_links_buffer_limit_exceeded": 0,
    }
    return Verbatim("".join(f"{k}:{v}\r\n" for k, v in fields.items()).encode())


_CALLS: Final[dict[bytes, Callable[[Sequence[bytes], Group], Value]]] = {
    b"HELP": lambda argv, group: help_lines(_HELP),
    b"INFO": lambda argv, group: _info(group),
    b"KEYSLOT": lambda argv, group: slot_of(argv[2]),
    b"LINKS": lambda argv, group: _links(group),
    b"MYID": lambda argv, group: group.myself.id.encode(),
    b"MYSHARDID": lambda argv, group: group.id.encode(),
    b"NODES": lambda argv, group: _nodes(group),
    b"REPLICAS": _replicas,
    b"SHARDS": lambda argv, group: _shards(group),
    b"SLAVES": _replicas,
    b"SLOTS": lambda argv, group: _slots(group),
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
