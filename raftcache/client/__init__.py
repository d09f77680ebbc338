"""The client: endpoints, retries, idempotency keys. A stranger to the server."""

from raftcache.client.blocking import SyncClient
from raftcache.client.client import NO_DEADLINE, Consistency, RaftcacheClient
from raftcache.client.endpoints import endpoints_from
from raftcache.client.members import Members
from raftcache.client.replies import Digest, Found, Member, NodeStatus, Written
from raftcache.command.words import Status

__all__ = [
    "NO_DEADLINE",
    "Consistency",
    "Digest",
    "Found",
    "Member",
    "Members",
    "NodeStatus",
    "RaftcacheClient",
    "Status",
    "SyncClient",
    "Written",
    "endpoints_from",
]
