"""CONFIG and TIME: the settings of this node by the names that Redis has for them.

What is told is true; settings of Redis that have no meaning here are not told. Settings are
changed where the node is started, but for those that are given as changeable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from raftcache.command.globs import GLOB_SIZE_BYTES_MAX, glob
from raftcache.command.values import Failure, Value
from raftcache.config import Config, Durability
from raftcache.metrics import RespCounters
from raftcache.server.resp.client import Client
from raftcache.server.resp.reference import BULK_SIZE_BYTES_MAX, Request
from raftcache.server.resp.reports import OFF
from raftcache.server.resp.sockets import KEEP_ALIVE_S
from raftcache.server.resp.table import CallTable
from raftcache.server.resp.words import SYNTAX, as_text, help_lines

_HELP: Final = """
CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
GET <pattern>
    Return parameters matching the glob-like <pattern> and their values.
SET <directive> <value>
    Set the configuration <directive> to <value>.
RESETSTAT
    Reset statistics reported by the INFO command.
HELP
    Prints this help.
"""


PATTERNS_MAX: Final = 1000
TOO_MANY_PATTERNS: Final = Failure(f"ERR CONFIG GET takes at most {PATTERNS_MAX} patterns")


class Changeable(Struct, frozen=True):
    """A setting that CONFIG SET may change. change raises ValueError, which says what must be."""

    show: Callable[[], str]
    change: Callable[[str], None]


class ConfigurationCalls:
    """The room of these calls. now_ms: the cluster's time."""

    def __init__(
        self,
        config: Config,
        counters: RespCounters,
        now_ms: Callable[[], int],
        changeable: Mapping[str, Changeable],
    ) -> None:
        self._config, self._counters = config, counters
        self._now_ms, self._changeable = now_ms, changeable

    def add_to(self, table: CallTable) -> None:
        table.add("CONFIG|GET", self._get)
        table.add("CONFIG|SET", self._set)
        table.add("CONFIG|RESETSTAT", self._reset)
        table.add("CONFIG|HELP", lambda client, call: help_lines(_HELP))
        table.add("TIME", self._time)

    def _time(self, client: Client, call: Request) -> Value:
        """Of the cluster, in thousandths of a second."""
        seconds, milliseconds = divmod(self._now_ms(), 1000)
        return [b"%d" % seconds, b"%d" % (milliseconds * 1000)]

    def _get(self, client: Client, call: Request) -> Value:
        settings = self._settings()
        if len(call) - 2 > PATTERNS_MAX:
            return TOO_MANY_PATTERNS
        wishes = [glob(p.lower()) for p in call[2:] if len(p) <= GLOB_SIZE_BYTES_MAX]
        return {
            name.encode(): value.encode(errors="surrogateescape")
            for name, value in settings.items()
            if any(matches(name.encode()) for matches in wishes)
        }

    def _set(self, client: Client, call: Request) -> Value:
        pairs = call[2:]
        if len(pairs) % 2:
            return SYNTAX
        names = [as_text(name.lower()) for name in pairs[::2]]
        settings = self._settings()
        for place, name in enumerate(names):
            if name not in settings:
                shown = as_text(pairs[2 * place])
                return Failure(
                    f"ERR Unknown option or number of arguments for CONFIG SET - '{shown}'"
                )
            if name in names[:place]:
                return _failed(name, "duplicate parameter")
            if name not in self._changeable:
                return _failed(name, "can't set immutable config")
        before = [self._changeable[name].show() for name in names]
        for place, (name, value) in enumerate(zip(names, pairs[1::2], strict=True)):
            try:
                self._changeable[name].change(as_text(value))
            except ValueError as error:
                for done, old in zip(names[:place], before, strict=False):
                    self._changeable[done].change(old)
                return _failed(name, str(error))
        return "OK"

    def _reset(self, client: Client, call: Request) -> Value:
        self._counters.reset()
        return "OK"

    def _settings(self) -> dict[str, str]:
        config, limits = self._config, self._config.limits
        assert config.resp is not None
        output = limits.resp_output_size_bytes_max
        settings = {
            "appendfsync": "always" if config.storage.durability is Durability.FSYNC else "no",
            "appendonly": "no" if config.storage.durability is Durability.MEMORY else "yes",
            "bind": config.resp.host,
            "client-output-buffer-limit": f"normal {output} 0 0 slave 0 0 0 pubsub {output} 0 0",
            "databases": "1",
            "dir": str(config.data_dir),
            "loglevel": {"info": "notice"}.get(config.log_level, config.log_level),
            "maxclients": str(limits.connections_max),
            "maxmemory": str(limits.memory_size_bytes_max),
            "maxmemory-policy": str(limits.eviction),
            "min-replicas-to-write": "0",
            "port": str(config.resp.port),
            "proto-max-bulk-len": str(min(limits.value_size_bytes_max, BULK_SIZE_BYTES_MAX)),
            "replica-read-only": "no",
            "requirepass": config.resp_password,
            "save": "",
            "slave-read-only": "no",
            **OFF,
            "tcp-keepalive": str(KEEP_ALIVE_S),
            "timeout": str(round(limits.resp_idle_timeout_s)),
            "tls-port": "0",
        }
        for name, setting in self._changeable.items():
            settings[name] = setting.show()
        return dict(sorted(settings.items()))


def _failed(name: str, why: str) -> Failure:
    return Failure(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
