"""The client: endpoints, retries, idempotency keys. A stranger to the server."""

from raftcache.client.blocking import BlockingWatch, SyncClient
from raftcache.client.client import NO_DEADLINE, RaftcacheClient
from raftcache.client.endpoints import endpoints_from
from raftcache.client.holding import Held
from raftcache.client.holding_blocking import BlockingHeld
from raftcache.client.leases import Grant, HeldLease, HeldLock, LeaseState, LockState
from raftcache.client.members import Members
from raftcache.client.near import NearCache
from raftcache.client.near_blocking import BlockingNearCache
from raftcache.client.near_memory import NearStatistics
from raftcache.client.paths import escaped
from raftcache.client.quotas import Quota
from raftcache.client.ranges import Consistency, Entry, Page
from raftcache.client.refills import Refill
from raftcache.client.replies import Digest, Found, Member, NodeStatus, Written
from raftcache.client.txn import Branch, Txn, TxnDone, TxnResult
from raftcache.client.watch import Change, ChangeKind, Changes, Watch
from raftcache.command.replies import Status

__all__ = [
    "NO_DEADLINE",
    "BlockingHeld",
    "BlockingNearCache",
    "BlockingWatch",
    "Branch",
    "Change",
    "ChangeKind",
    "Changes",
    "Consistency",
    "Digest",
    "Entry",
    "Found",
    "Grant",
    "Held",
    "HeldLease",
    "HeldLock",
    "LeaseState",
    "LockState",
    "Member",
    "Members",
    "NearCache",
    "NearStatistics",
    "NodeStatus",
    "Page",
    "Quota",
    "RaftcacheClient",
    "Refill",
    "Status",
    "SyncClient",
    "Txn",
    "TxnDone",
    "TxnResult",
    "Watch",
    "Written",
    "endpoints_from",
    "escaped",
]
