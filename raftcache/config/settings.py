"""The table of all settings: what each is called, what it means, how it is read, its range."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from raftcache.config import text
from raftcache.config.shape import (
    ClusterMap,
    Config,
    Durability,
    Eviction,
    Limits,
    LogFormat,
    LostCalls,
    PubSubCounts,
    Storage,
    Timing,
)

TABLES: Final = {"": Config, "timing": Timing, "limits": Limits, "storage": Storage}
"""Of the file, and the dataclass that holds what each says."""

VARIABLES: Final = "RAFTCACHE_"
"""How variables of the environment begin that say settings."""

VALUE_SIZE_BYTES_MAX: Final = 4 << 20
"""As command.limits has it, which stands above this room; a test keeps them equal."""

_LOG_LEVELS: Final = ("debug", "info", "warning", "error")

VALUES_IN_MEMORY_MIN: Final = 20
"""A memory limit has room for so many of the largest values: then what eviction keeps free, a
sixteenth of seven eighths of it, has room for one."""

MEMORY_SIZE_BYTES_MIN: Final = 1 << 20
"""Below, what is kept beside small values would not fit."""

PENDING_SIZE_BYTES_MIN: Final = 16 << 20
"""Some of the largest values."""

SEGMENT_SIZE_BYTES_MIN: Final = 8 << 20
"""A segment of the log holds the largest entry."""

assert PENDING_SIZE_BYTES_MIN > VALUE_SIZE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing an operator may say: `--name`, RAFTCACHE_NAME, or a key of the file.

    table: of the file; "" for its top.
    field: of the dataclass that holds it.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str]
    table: str
    field: str

    @property
    def key(self) -> str:
        """As the file has it."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """As the environment has it."""
        return VARIABLES + self.key.upper()

    @property
    def default(self) -> Any:  # noqa: ANN401 - as many types as settings
        """What the dataclass has; None without one."""
        default = next(f for f in fields(TABLES[self.table]) if f.name == self.field).default
        return None if default is MISSING else default

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return self.parse is text.parse_switch


def _bounded(
    parse: Callable[[str], Any], show: Callable[[Any], str], low: float, high: float
) -> Callable[[str], Any]:
    """parse, which then refuses what is not between low and high."""

    def read(said: str) -> object:
        value = parse(said)
        if not low <= value <= high:
            raise ValueError(f"must be from {show(low)} to {show(high)}")
        return value

    return read


def _choice(choices: Iterable[str]) -> Callable[[str], str]:
    """A reader of one of these; those of an enum become its members."""
    known = {str(choice): choice for choice in choices}

    def read(said: str) -> str:
        if said not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return known[said]

    return read


def _top(
    name: str, help: str, parse: Callable[[str], Any], show: Callable[[Any], str] = str
) -> Setting:
    return Setting(name, help, parse, show, "", name.replace("-", "_"))


def _duration(table: str, name: str, low_s: float, high_s: float, help: str) -> Setting:
    parse = _bounded(text.parse_duration_s, text.show_duration, low_s, high_s)
    return Setting(name, help, parse, text.show_duration, table, name.replace("-", "_") + "_s")


def _size(table: str, name: str, field: str, low: int, high: int, help: str) -> Setting:
    parse = _bounded(text.parse_size_bytes, text.show_size, low, high)
    return Setting(name, help, parse, text.show_size, table, field)


def _count(table: str, name: str, low: int, high: int, help: str) -> Setting:
    parse = _bounded(text.parse_count, str, low, high)
    return Setting(name, help, parse, str, table, name.replace("-", "_"))


SETTINGS: Final = (
    _top("name", "This node's name: letters, digits, '.', '_', '-'.", text.parse_name),
    _top("data-dir", "The folder that holds this node's log.", text.parse_folder),
    _top("http", "host:port to serve HTTP on.", text.parse_address),
    _top("raft", "host:port to serve the other members on.", text.parse_address),
    _top("http-advertise", "Where clients reach it, if not at --http.", text.parse_address),
    _top("raft-advertise", "Where members reach it, if not at --raft.", text.parse_address),
    _top("resp", "host:port to serve Redis clients on; without it none are.", text.parse_address),
    _top("resp-advertise", "Where Redis clients reach it, if not at --resp.", text.parse_address),
    _top(
        "notify-keyspace-events",
        "What happenings to keys this node's Redis subscribers may hear of, as Redis has it: KEA.",
        text.parse_key_events,
        text.show_key_events,
    ),
    _top(
        "resp-password",
        "What Redis clients must say first (AUTH). Better in the file or the environment.",
        text.parse_password,
        text.show_password,
    ),
    _top(
        "resp-cluster-map",
        "Whom Redis Cluster clients take for the masters: leader, or spread over all voters.",
        _choice(ClusterMap),
    ),
    _top(
        "resp-pubsub-counts",
        "Whose subscribers PUBSUB tells of: those of the node that is asked, or of the cluster.",
        _choice(PubSubCounts),
    ),
    Setting(
        "cluster",
        "The members of a new cluster, this one included: n1=host:port,n2=host:port,...",
        text.parse_members,
        text.show_members,
        "",
        "members",
    ),
    Setting(
        "peers",
        "Where the others are now, if all moved at once: n1=host:port,... beside what is known.",
        text.parse_peers,
        text.show_members,
        "",
        "peers",
    ),
    _top("join", "The URL of a member of a running cluster, instead of --cluster.", text.parse_url),
    _top(
        "insecure",
        "Allow addresses that other machines reach; links are not authenticated yet.",
        text.parse_switch,
        text.show_switch,
    ),
    _top("log-format", "human or json.", _choice(LogFormat)),
    _top("log-level", "debug, info, warning or error.", _choice(_LOG_LEVELS)),
    _duration("timing", "heartbeat", 0.005, 10, "Between two messages of the leader."),
    _duration("timing", "election-min", 0.02, 60, "Shortest silence before an election."),
    _duration("timing", "election-max", 0.03, 120, "Longest silence before an election."),
    _duration("timing", "request-timeout", 0.1, 300, "After which a request is given up."),
    _duration("timing", "shutdown-timeout", 0.1, 300, "For requests in flight when stopping."),
    _duration("timing", "check-period", 0.05, 86_400, "Between two comparisons of all states."),
    _size(
        "limits",
        "value-size-max",
        "value_size_bytes_max",
        1,
        VALUE_SIZE_BYTES_MAX,
        "Largest value.",
    ),
    _count("limits", "connections-max", 1, 1_000_000, "Connections at a time, at each door."),
    _count("limits", "writes-pending-max", 1, 1_000_000, "Writes that wait at a time."),
    _count("limits", "reads-pending-max", 1, 1_000_000, "Reads that wait at a time."),
    _size(
        "limits",
        "pending-size-max",
        "pending_size_bytes_max",
        PENDING_SIZE_BYTES_MIN,
        1 << 40,
        "Bytes of writes that wait, of HTTP requests that come, of answers that go, each.",
    ),
    _count("limits", "watchers-max", 1, 1_000_000, "Watches at a time; each has a connection."),
    _duration("limits", "header-timeout", 0.1, 300, "For a request that stops half way."),
    _duration("limits", "keepalive-timeout", 1, 86_400, "For a connection without a request."),
    _duration("limits", "resp-idle-timeout", 0, 86_400, "For an idle Redis client; 0s for ever."),
    _size(
        "limits",
        "resp-output-max",
        "resp_output_size_bytes_max",
        1 << 20,
        1 << 40,
        "What may wait to be read by one Redis client.",
    ),
    Setting(
        "resp-lost-calls",
        "What a Redis client gets if no leader is found, or an outcome is unknown: error or close.",
        _choice(LostCalls),
        str,
        "limits",
        "resp_lost_calls",
    ),
    _size(
        "limits",
        "max-memory",
        "memory_size_bytes_max",
        0,
        1 << 50,
        "Of keys, values and what is kept with them; 0 for no limit. The same on every node.",
    ),
    Setting(
        "eviction",
        "What gives way at --max-memory: noeviction, allkeys-lru, allkeys-lfu, allkeys-sieve or"
        " volatile-ttl.",
        _choice(Eviction),
        str,
        "limits",
        "eviction",
    ),
    Setting(
        "durability",
        "When a write counts as stored: fsync, os or memory.",
        _choice(Durability),
        str,
        "storage",
        "durability",
    ),
    _size(
        "storage",
        "segment-size",
        "segment_size_bytes",
        SEGMENT_SIZE_BYTES_MIN,
        1 << 30,
        "Size of one file of the log.",
    ),
    _count("storage", "snapshot-entries", 1, 10**9, "Entries between two snapshots."),
    _size(
        "storage",
        "snapshot-log-size",
        "snapshot_log_size_bytes",
        SEGMENT_SIZE_BYTES_MIN,
        1 << 40,
        "Size of the log between two snapshots.",
    ),
    _count("storage", "trailing-entries", 0, 10**9, "Entries kept behind a snapshot."),
)
