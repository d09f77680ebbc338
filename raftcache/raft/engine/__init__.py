"""Corrections to pysyncobj 0.3.17: the engine keeps its word (docs/decisions/0001-engine.md).

As shipped the engine loses acknowledged writes. These layers restore the rules of Raft by small
overrides that filter or complete a message and then delegate to the layer below, down to the
parent. Every layer's class is named SyncObj like the parent, because Python mangles private names
with the class name: so `self.__x` is the parent's private `__x`, `super().__x` the next layer's.
camelCase names are the parent's, snake_case names are ours.

    engine        ticks and steps, and what a message's term means; what replica.py sees
    checking      digests of the state, compared between replicas
    installing    snapshots from a leader                                   rules 3, 4, 15
    reading       ReadIndex, leases                                         rule 9
    applying      entries to the state machine, the end of every proposal   rules 8, 12, 13, 14
    replication   appends, acknowledgements, commit, flow control           rules 1, 2, 6, 12, 15
    elections     votes, PreVote, stickiness, check-quorum, transfer        rules 5, 9, 10
    membership    whose votes count, one change at a time                   rule 10
    base          what they share
    pysyncobj     all the rest

What is replaced outright, because filtering cannot reach it: the tick (the parent counts itself
before its own disk has the entry), sending of entries (no flow control), the answer to an append
(no term, no sequence) and applying (one bad entry stopped every node for ever). And because every
write goes through it: what comes of appends, heartbeats and their answers.
"""

from raftcache.raft.engine.base import (
    REGULAR,
    STAMP_SIZE_BYTES,
    Parts,
    last_stamp_ms,
    stamp_ms_of,
)
from raftcache.raft.engine.engine import SyncObj

__all__ = ["REGULAR", "STAMP_SIZE_BYTES", "Parts", "SyncObj", "last_stamp_ms", "stamp_ms_of"]
