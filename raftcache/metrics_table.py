"""What the numbers of /metrics mean: those that only grow, until the process ends, and all others.

By the names that the parts of a node give them. A number that grows is a counter for Prometheus,
and its name there ends in `_total`, behind its unit if it has one.
"""

from __future__ import annotations

from typing import Final

COUNTERS: Final[dict[str, tuple[str, str]]] = {
    "evicted_keys": ("evicted_keys", "Keys that this node, as the leader, chose to be evicted."),
    "invalidated_early": (
        "invalidated_early",
        "Keys forgotten for those who cached them, who were told so, because the table was full.",
    ),
    "invalidations": ("invalidations", "Keys that clients which cached them were told to forget."),
    "link_bad_frames": ("link_bad_frames", "Links closed because of bytes that were no frame."),
    "link_bytes_received": ("link_received_bytes", "Bytes received from other nodes."),
    "link_bytes_sent": ("link_sent_bytes", "Bytes sent to other nodes."),
    "link_connects": ("link_connects", "Links to other nodes that began."),
    "link_dials_failed": ("link_dials_failed", "Attempts to reach another node that failed."),
    "link_disconnects": ("link_disconnects", "Links to other nodes that ended."),
    "link_frames_received": ("link_frames_received", "Messages received from other nodes."),
    "link_frames_sent": ("link_frames_sent", "Messages sent to other nodes."),
    "link_half_open_evictions": (
        "link_half_open_evictions",
        "Connections closed before they greeted, because more came.",
    ),
    "link_peers_gone": ("link_peers_gone", "Links that ended with the process of the other node."),
    "link_refused": ("link_refused", "Greetings of other nodes that this one refused."),
    "link_refused_by_peer": ("link_refused_by_peer", "Greetings that other nodes refused."),
    "link_silences": ("link_silences", "Links closed because nothing was heard in time."),
    "link_slow_peers": ("link_slow_peers", "Links closed because too much waited to be sent."),
    "memory_writes_refused": (
        "memory_writes_refused",
        "Writes that got 507 or 429 at the memory limit.",
    ),
    "pubsub_deliveries": ("pubsub_deliveries", "Messages sent to subscribers."),
    "snapshots_failed": ("snapshots_failed", "Snapshots that could not be written."),
    "snapshots_taken": ("snapshots_taken", "Snapshots taken, so that the log could be cut."),
    "subscribers_cut_off": (
        "subscribers_cut_off",
        "Subscribers cut off, because their node could not go on.",
    ),
    "watch_deliveries": ("watch_deliveries", "Events sent to watchers."),
    "watchers_cut_off": ("watchers_cut_off", "Watchers that read too little for too long."),
}
"""Of each the name that Prometheus adds `_total` to, and what it says."""

GAUGES: Final[dict[str, str]] = {
    "eviction_keys_known": "Keys that the eviction policy knows.",
    "history_first_revision": "All changes after this revision are known, and can be watched.",
    "history_size_bytes": "Of the history of changes, as counted for the memory limit.",
    "memory_size_bytes": "Of the state and its history, as counted for the memory limit.",
    "memory_size_bytes_max": "The memory limit; 0 if there is none.",
    "places_at_streams": "Redis calls that wait for an entry of a stream, for each of their keys.",
    "places_in_lines": "Redis calls that wait for an element, for each of their keys.",
    "raft_applied_index": "Entries of the log up to this index are in the state.",
    "raft_commit_index": "Entries up to this index are committed, as far as this node knows.",
    "raft_contact_age_seconds": "Since a leader was heard; 0 on a leader that a majority answers.",
    "raft_disk_is_short": "1 if this node's disk has hardly any room for more of the log.",
    "raft_is_leader": "1 if this node leads.",
    "raft_last_index": "Of the last entry in this node's log.",
    "raft_refuses_writes": "1 if too few voters have room on their disks: clients get 507.",
    "raft_term": "The highest term that this node knows.",
    "replica_alarms": "Replicas known to differ; more than 0 needs an operator.",
    "replica_checked_index": "Where the leader found all replicas equal last; 0 elsewhere.",
    "replica_fenced": "1 if this node's data must not be used any more.",
    "store_client_requests": "First replies to numbered requests that are remembered.",
    "store_clients": "Clients that number their requests.",
    "store_idempotency_keys": "First replies to idempotency keys that are remembered.",
    "store_keys": "Keys in the state.",
    "store_leases": "Leases in the state.",
    "store_lock_places": "Holders of locks, and those who wait for one.",
    "store_revision": "The revision of the state.",
    "store_size_bytes": "Of keys and values.",
    "subscribed_channels": "Different channels that Redis clients have subscribed to.",
    "subscribed_patterns": "Different patterns that Redis clients have subscribed to.",
    "subscribed_shard_channels": "Different channels of SSUBSCRIBE, the same.",
    "subscriptions": "Channels and patterns that Redis clients have subscribed to.",
    "tracked_keys": "Keys that Redis clients cache.",
    "trackers": "Redis clients that cache.",
    "watchers": "Watches open.",
    "watchers_behind": "Watches that are catching up, or wait for their clients to read.",
}
