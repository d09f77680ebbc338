"""SENTINEL: the discovery calls of Redis Sentinel, which every node answers. Pure.

There is one master, the leader, and it answers to every name that is asked for; listed it is called
MASTER_NAME. The other nodes are its replicas, and the other sentinels. While no leader is known it
is objectively down, so that clients ask again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from raftcache.cluster.group import Group, Peer
from raftcache.command.integers import integer_or_none
from raftcache.command.values import Failure, Value
from raftcache.server.resp.words import NOT_INTEGER, help_lines

MASTER_NAME: Final = b"raftcache"

_HELP: Final = """
SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CKQUORUM <master-name>
    Check if a majority of the voters can be reached, so that a leader can be elected.
GET-MASTER-ADDR-BY-NAME <master-name>
    Return the ip and port number of the master, whatever its name.
IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>
    Check if the node at ip:port is down from this node's point of view.
MASTER <master-name>
    Show the state and info of the master.
MASTERS
    Show a list of masters and their state: there is one.
MYID
    Return the ID of the node.
REPLICAS <master-name>
    Show a list of replicas for this master and their state.
SENTINELS <master-name>
    Show a list of the other nodes and their state.
HELP
    Prints this help.
"""


def answer(argv: Sequence[bytes], group: Group) -> Value:
    """To a SENTINEL command of those in _CALLS; argv has its name and the right arity."""
    return _CALLS[argv[1].upper()](argv, group)


def _address(group: Group) -> Value:
    """Null while no leader is known: clients ask another sentinel, or again."""
    leader = group.leader
    return None if leader is None else [leader.host.encode(), b"%d" % leader.port]


def _master(group: Group, name: bytes) -> Value:
    flags = ["master", "s_down", "o_down"] if group.leader is None else ["master"]
    said = _instance(name, group.master, flags)
    more = {
        "role-reported": "master",
        "role-reported-time": 0,
        "config-epoch": group.epoch,
        "num-slaves": len(group.replicas),
        "num-other-sentinels": len(group.replicas),
        "quorum": group.quorum,
        "failover-timeout": 180_000,
        "parallel-syncs": 1,
    }
    return said | _bulks(more)


def _replica(peer: Peer, group: Group) -> Value:
    leader = group.leader
    flags = ["slave"] if peer.is_linked else ["slave", "s_down", "disconnected"]
    said = _instance(f"{peer.host}:{peer.port}".encode(), peer, flags)
    more = {
        "role-reported": "slave",
        "role-reported-time": 0,
        "master-link-down-time": 0,
        "master-link-status": "ok" if leader and peer.is_linked else "err",
        "master-host": leader.host if leader else "?",
        "master-port": leader.port if leader else 0,
        "slave-priority": 100,
        "slave-repl-offset": peer.offset,
        "replica-announced": 1,
    }
    return said | _bulks(more)


def _sentinel(peer: Peer, group: Group) -> Value:
    flags = ["sentinel"] if peer.is_linked else ["sentinel", "s_down", "disconnected"]
    leader = group.leader
    more = {
        "last-hello-message": 0,
        "voted-leader": leader.id if leader else "?",
        "voted-leader-epoch": group.epoch,
    }
    return _instance(peer.id.encode(), peer, flags) | _bulks(more)


def _instance(name: bytes, peer: Peer, flags: Sequence[str]) -> dict[Value, Value]:
    head = {"ip": peer.host, "port": peer.port, "runid": peer.id, "flags": ",".join(flags)}
    pings = {
        "link-pending-commands": 0,
        "link-refcount": 1,
        "last-ping-sent": 0,
        "last-ok-ping-reply": 0,
        "last-ping-reply": 0,
        "down-after-milliseconds": 0,
    }
    return {b"name": name, **_bulks(head | pings)}


def _bulks(fields: Mapping[str, object]) -> dict[bytes, bytes]:
    return {name.encode(): str(value).encode() for name, value in fields.items()}


def _others(group: Group) -> list[Peer]:
    return [p for p in group.peers if p.id != group.myself.id]


def _check_quorum(group: Group) -> Value:
    if group.usable >= group.quorum:
        return (
            f"OK {group.usable} usable Sentinels. Quorum and failover authorization can be reached"
        )
    return Failure(
        f"NOQUORUM {group.usable} usable Sentinels."
        " Not enough available Sentinels to reach the majority and authorize a failover"
    )


def _is_down(argv: Sequence[bytes], group: Group) -> Value:
    port, epoch = integer_or_none(argv[3]), integer_or_none(argv[4])
    if port is None or epoch is None:
        return NOT_INTEGER
    asked = next((p for p in group.peers if (p.host.encode(), p.port) == (argv[2], port)), None)
    return [int(asked is not None and not asked.is_linked), b"*", 0]


_CALLS: Final[dict[bytes, Callable[[Sequence[bytes], Group], Value]]] = {
    b"CKQUORUM": lambda argv, group: _check_quorum(group),
    b"GET-MASTER-ADDR-BY-NAME": lambda argv, group: _address(group),
    b"HELP": lambda argv, group: help_lines(_HELP),
    b"IS-MASTER-DOWN-BY-ADDR": _is_down,
    b"MASTER": lambda argv, group: _master(group, argv[2]),
    b"MASTERS": lambda argv, group: [_master(group, MASTER_NAME)],
    b"MYID": lambda argv, group: group.myself.id.encode(),
    b"REPLICAS": lambda argv, group: [_replica(peer, group) for peer in group.replicas],
    b"SENTINELS": lambda argv, group: [_sentinel(peer, group) for peer in _others(group)],
    b"SLAVES": lambda argv, group: [_replica(peer, group) for peer in group.replicas],
}
