"""How a node sees its cluster: the JSON of GET /v1/cluster, and the named checks of /readyz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from raftcache.config import Config
from raftcache.raft.members import Member
from raftcache.raft.peer import LinkCounters
from raftcache.raft.replica import Replica, ReplicaStatus
from raftcache.state.machine import Machine

BEHIND_ENTRIES_MAX: Final = 1000
"""Committed entries a ready node may still have to apply: a moment's work."""


class NodeStatus:
    """One node's view; every call reads the present, nothing is kept."""

    def __init__(
        self,
        config: Config,
        cluster_id: str,
        replica: Replica,
        machine: Machine,
        links: LinkCounters,
        memory: Callable[[], dict[str, Any]],
        more: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """memory: what the state takes, and its limit. more: gauges of parts above the cluster."""
        self._memory = memory
        self._config, self._cluster_id = config, cluster_id
        self._replica, self._machine, self._links = replica, machine, links
        self._more = more

    def cluster_status(self) -> dict[str, Any]:
        """The fields of design.md, section 9; digest and applied_index belong together."""
        status, machine = self._replica.status(), self._machine
        return {
            "cluster_id": self._cluster_id,
            "node": self._config.name,
            "role": status.role,
            "leader": status.leader,
            "term": status.term,
            "commit_index": status.commit_index,
            "applied_index": status.applied_index,
            "revision": machine.revision,
            "digest": f"{machine.digest:016x}",
            "keys": machine.count,
            "memory": self._memory(),
            "expelled": self._replica.expelled or None,
            "fenced": self._replica.fenced or None,
            "alarms": self._replica.alarms,
            "checked_index": self._replica.checked_index or None,
            "members": [self._member(m, status) for m in self._replica.configuration.members],
        }

    def _member(self, member: Member, status: ReplicaStatus) -> dict[str, Any]:
        mine = member.name == self._config.name
        match = status.last_index if mine else status.match_indexes.get(member.name)
        known = status.role == "leader" and match is not None
        return {
            "name": member.name,
            "raft": member.raft,
            "http": member.http or None,
            "resp": member.resp or None,
            "voter": member.voter,
            "match_index": match if known else None,
            "lag": max(0, status.last_index - match) if known and match is not None else None,
        }

    def leader_url(self) -> str:
        """Where clients reach the leader, if that is another node and known; else ""."""
        leader = self._replica.leader
        member = self._replica.configuration.get(leader or "")
        if member is None or leader == self._config.name or not member.http:
            return ""
        return f"http://{member.http}"

    def readiness(self) -> list[tuple[str, bool, str]]:
        """(check, holds, detail): a node is ready when it can answer a linearizable read."""
        status = self._replica.status()
        patience_s = self._config.timing.election_max_s
        heard = f"last heard a leader {status.contact_age_s:.1f} s ago"
        behind = status.commit_index - status.applied_index
        expelled = self._replica.expelled
        leads = f"{status.leader} leads" if status.leader else self._why_none_leads()
        return [
            ("member", not expelled, expelled or "not told otherwise"),
            ("leader", status.leader is not None, leads),
            ("contact", status.contact_age_s <= patience_s, heard),
            ("applied", behind <= BEHIND_ENTRIES_MAX, f"{behind} entries to apply"),
        ]

    def _why_none_leads(self) -> str:
        if self._replica.configuration.version == 0:
            return "none is known: the first election of a new cluster takes all its members"
        return "none is known"

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics; names without their prefix."""
        status, machine, memory = self._replica.status(), self._machine, self._memory()
        taken, failed = self._replica.snapshots
        return {
            "raft_term": status.term,
            "raft_is_leader": float(status.role == "leader"),
            "raft_commit_index": status.commit_index,
            "raft_applied_index": status.applied_index,
            "raft_last_index": status.last_index,
            "raft_contact_age_seconds": status.contact_age_s,
            "replica_fenced": float(bool(self._replica.fenced)),
            "replica_alarms": len(self._replica.alarms),
            "replica_checked_index": self._replica.checked_index,
            "raft_refuses_writes": float(self._replica.is_full),
            "raft_disk_is_short": float(self._replica.disk_is_short),
            "snapshots_taken": taken,
            "snapshots_failed": failed,
            "store_revision": machine.revision,
            "store_keys": machine.count,
            "store_size_bytes": machine.size_bytes,
            "store_leases": machine.lease_count,
            "store_clients": machine.client_count,
            "store_client_requests": machine.numbered_count,
            "store_idempotency_keys": machine.remembered_count,
            "store_lock_places": machine.lock_place_count,
            "history_first_revision": machine.history.first_revision,
            "history_size_bytes": machine.history.size_bytes,
            "memory_size_bytes": memory["size_bytes"],
            "memory_size_bytes_max": memory["size_bytes_max"] or 0,
            **{f"link_{name}": float(count) for name, count in asdict(self._links).items()},
            **self._more(),
        }
