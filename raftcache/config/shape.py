"""The settings of one node, frozen, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Durability(StrEnum):
    """When a write counts as stored on a node."""

    FSYNC = "fsync"
    """After fdatasync: survives a power cut. The default."""
    OS = "os"
    """After write: survives a crash of the process, not of the machine."""
    MEMORY = "memory"
    """At once, nothing on disk: survives only while a majority of the processes does."""


class LostCalls(StrEnum):
    """What a Redis client gets for a call that found no leader, or whose outcome is unknown."""

    ERROR = "error"
    """CLUSTERDOWN or UNKNOWN: it can tell them apart. The default."""
    CLOSE = "close"
    """The end of its connection, as when a Redis dies: libraries know how to live with that."""


class ClusterMap(StrEnum):
    """Whom Redis Cluster clients are shown as the masters of the slots."""

    LEADER = "leader"
    """The leader, of all of them; the others are its replicas. The default."""
    SPREAD = "spread"
    """Every voter that this node has a link to, of its share."""


class PubSubCounts(StrEnum):
    """Of which nodes' subscribers PUBSUB tells."""

    NODE = "node"
    """Those of the node that is asked, as in Redis Cluster, whose clients add up. The default."""
    CLUSTER = "cluster"
    """Those of all nodes, as clients expect that know one Redis."""


class LogFormat(StrEnum):
    HUMAN = "human"
    JSON = "json"


class Eviction(StrEnum):
    """What gives way when the memory limit is reached."""

    NOEVICTION = "noeviction"
    """Nothing: writes that need more are refused."""
    ALLKEYS_LRU = "allkeys-lru"
    """What was used least recently."""
    ALLKEYS_LFU = "allkeys-lfu"
    """What is used least often; the past counts less and less."""
    ALLKEYS_SIEVE = "allkeys-sieve"
    """What was not used between two visits of a hand: SIEVE, of NSDI 2024."""
    VOLATILE_TTL = "volatile-ttl"
    """Of the keys with a deadline, what would go first anyway."""


@dataclass(frozen=True, slots=True)
class Address:
    """host:port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. heartbeat < election_min / 3; election_min < election_max."""

    heartbeat_s: float = 0.06
    election_min_s: float = 0.4
    election_max_s: float = 0.8
    request_timeout_s: float = 5.0
    shutdown_timeout_s: float = 10.0
    check_period_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a node takes on before it answers 413, 414, 429 or 503."""

    value_size_bytes_max: int = 1 << 20
    """1 MiB, as etcd (1.5 MiB a request), ZooKeeper and memcached (1 MiB) have it."""
    connections_max: int = 10_000
    writes_pending_max: int = 20_000
    reads_pending_max: int = 50_000
    pending_size_bytes_max: int = 256 << 20
    """Of writes that wait, of HTTP requests that come, of answers that go to them: each."""
    watchers_max: int = 8_000
    """Each takes a connection; the rest of them is for others."""
    header_timeout_s: float = 10.0
    """From the first byte of a request to the last of its headers and body, if nothing moves."""
    keepalive_timeout_s: float = 600.0
    resp_idle_timeout_s: float = 0.0
    """For a Redis client that neither calls nor listens; 0 for ever, as in Redis."""
    resp_output_size_bytes_max: int = 32 << 20
    """What may wait to be read by one Redis client, before it is cut off."""
    memory_size_bytes_max: int = 0
    """Of the state and its history, as counted; 0 for no limit."""
    eviction: Eviction = Eviction.NOEVICTION
    resp_lost_calls: LostCalls = LostCalls.ERROR


@dataclass(frozen=True, slots=True)
class Storage:
    """When the log is compacted, and how much is kept."""

    durability: Durability = Durability.FSYNC
    segment_size_bytes: int = 64 << 20
    snapshot_entries: int = 100_000
    """A snapshot is taken after so many entries ..."""
    snapshot_log_size_bytes: int = 256 << 20
    """... or so many bytes of log, whichever comes first."""
    trailing_entries: int = 5_000
    """Entries kept behind a snapshot, so that a short absence needs no snapshot."""


@dataclass(frozen=True, slots=True)
class Config:
    """One node's settings.

    members: name -> Raft address of the initial cluster, this node included; empty with `join`.
    peers: name -> Raft address, where else to look for members than where they are known to be.
    resp: where the Redis protocol is served; None if it is not, and then resp_advertise is too.
    notify_keyspace_events: letters of Redis, without A, which stands for several.
    resp_password: what Redis clients must say first; "" for nothing.
    resp_cluster_map: what Redis Cluster clients are told; should be the same on all nodes.
    resp_pubsub_counts: whom PUBSUB counts; the same.
    """

    name: str
    data_dir: Path
    http: Address
    raft: Address
    http_advertise: Address
    raft_advertise: Address
    resp: Address | None = None
    resp_advertise: Address | None = None
    notify_keyspace_events: str = ""
    resp_password: str = ""
    resp_cluster_map: ClusterMap = ClusterMap.LEADER
    resp_pubsub_counts: PubSubCounts = PubSubCounts.NODE
    members: dict[str, Address] = field(default_factory=dict)
    peers: dict[str, Address] = field(default_factory=dict)
    join: str | None = None
    insecure: bool = False
    timing: Timing = Timing()
    limits: Limits = Limits()
    storage: Storage = Storage()
    log_format: LogFormat = LogFormat.HUMAN
    log_level: str = "info"
