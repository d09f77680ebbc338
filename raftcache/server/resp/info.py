"""INFO: what tools for Redis read of a node. What raftcache does not count is left out."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final, Protocol

from msgspec import Struct

from raftcache.command.call_table import REDIS_VERSION
from raftcache.command.values import Value, Verbatim
from raftcache.config import Config, Durability
from raftcache.metrics import RespCounters
from raftcache.ports import Clock
from raftcache.server.resp.client import Client, Clients
from raftcache.server.resp.cluster import info_replication
from raftcache.server.resp.discovery import View
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable

ALL: Final = (b"all", b"default", b"everything")

DAY_S: Final = 86_400

Facts = Mapping[str, object]


class Stock(Struct, frozen=True):
    """What a node holds. memory_size_bytes: of the state, as the limit on memory counts it."""

    keys: int
    keys_with_deadline: int
    memory_size_bytes: int


class Listening(Protocol):
    """What is counted of those who listen and cache; see their services' gauges."""

    def __call__(self) -> Mapping[str, float]: ...


class InfoCalls:
    """The room of this call."""

    def __init__(
        self,
        config: Config,
        clients: Clients,
        counters: RespCounters,
        view: View,
        stock: Callable[[], Stock],
        listening: Listening,
        clock: Clock,
        now_ms: Callable[[], int],
    ) -> None:
        """now_ms: the cluster's time."""
        self._config, self._clients, self._counters = config, clients, counters
        self._view, self._stock, self._listening = view, stock, listening
        self._clock, self._now_ms = clock, now_ms
        self._started_s = clock.monotonic_s()
        self._sections: Final[dict[bytes, Callable[[], Facts]]] = {
            b"Server": self._server,
            b"Clients": self._people,
            b"Memory": self._memory,
            b"Persistence": self._persistence,
            b"Stats": self._stats,
            b"Replication": lambda: info_replication(view.group()),
            b"CPU": _cpu,
            b"Modules": dict,
            b"Errorstats": dict,
            b"Cluster": lambda: {"cluster_enabled": 1},  # clients that know clusters ask for it
            b"Keyspace": self._keyspace,
        }

    def add_to(self, table: CallTable) -> None:
        table.add("INFO", self._info)

    def _info(self, client: Client, call: Request) -> Value:
        wishes = {word.lower() for word in call[1:]}
        wants_all = not wishes or any(word in wishes for word in ALL)
        return Verbatim(
            b"\r\n".join(
                _rendered(name, facts())
                for name, facts in self._sections.items()
                if wants_all or name.lower() in wishes
            )
        )

    def _server(self) -> Facts:
        assert self._config.resp is not None
        up_s = int(self._clock.monotonic_s() - self._started_s)
        return {
            "redis_version": REDIS_VERSION.decode(),
            "raftcache_version": version("raftcache"),
            "redis_mode": "standalone",
            "os": f"{platform.system()} {platform.release()} {platform.machine()}",
            "arch_bits": 64,
            "process_id": os.getpid(),
            "run_id": self._view.group().myself.id,
            "tcp_port": self._config.resp.port,
            "server_time_usec": self._now_ms() * 1000,
            "uptime_in_seconds": up_s,
            "uptime_in_days": up_s // DAY_S,
            "config_file": "",
        }

    def _people(self) -> Facts:
        clients = list(self._clients)
        return {
            "connected_clients": len(clients),
            "maxclients": self._config.limits.connections_max,
            "blocked_clients": sum(client.is_blocked for client in clients),
            "tracking_clients": sum(client.before_reads is not None for client in clients),
            "pubsub_clients": sum(client.listens for client in clients),
        }

    def _memory(self) -> Facts:
        limits, used = self._config.limits, self._stock().memory_size_bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "used_memory": used,
            "used_memory_human": _human(used),
            "used_memory_rss_peak": peak,
            "used_memory_rss_peak_human": _human(peak),
            "maxmemory": limits.memory_size_bytes_max,
            "maxmemory_human": _human(limits.memory_size_bytes_max),
            "maxmemory_policy": limits.eviction,
        }

    def _persistence(self) -> Facts:
        has_log = self._config.storage.durability is not Durability.MEMORY
        return {
            "loading": 0,
            "async_loading": 0,
            "rdb_bgsave_in_progress": 0,
            "aof_enabled": int(has_log),
            "aof_rewrite_in_progress": 0,
            "aof_last_write_status": "ok",
        }

    def _stats(self) -> Facts:
        since, listening = self._counters.since_reset, self._listening()
        return {
            "total_connections_received": since("connections_accepted"),
            "total_commands_processed": since("calls"),
            "instantaneous_ops_per_sec": round(self._counters.calls_per_s),
            "total_net_input_bytes": since("received_size_bytes"),
            "total_net_output_bytes": since("sent_size_bytes"),
            "rejected_connections": since("connections_refused"),
            "pubsub_channels": int(listening.get("subscribed_channels", 0)),
            "pubsub_patterns": int(listening.get("subscribed_patterns", 0)),
            "pubsubshard_channels": int(listening.get("subscribed_shard_channels", 0)),
            "pubsub_subscriptions": int(listening.get("subscriptions", 0)),
            "tracking_total_keys": int(listening.get("tracked_keys", 0)),
        }

    def _keyspace(self) -> Facts:
        stock = self._stock()
        if not stock.keys:
            return {}
        return {"db0": f"keys={stock.keys},expires={stock.keys_with_deadline},avg_ttl=0"}


def _cpu() -> Facts:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "used_cpu_sys": f"{used.ru_stime:.6f}",
        "used_cpu_user": f"{used.ru_utime:.6f}",
    }


def _rendered(name: bytes, facts: Facts) -> bytes:
    lines = "".join(f"{name}:{fact}\r\n" for name, fact in facts.items())
    return b"# %b\r\n%b" % (name, lines.encode())


def _human(size_bytes: int) -> str:
    """As Redis shows sizes."""
    size = float(size_bytes)
    for unit in "BKMGTP":
        if size < 1024 or unit == "P":
            break
        size /= 1024
    return f"{size_bytes}B" if unit == "B" else f"{size:.2f}{unit}"
