"""The composition root: makes the parts of one node, starts them in order, stops them in reverse.

Start: lock the data directory, read back the log, load the newest snapshot, make the engine, listen
to the peers, and only then listen to clients. Stop: hand leadership over while peers still hear
us, finish requests in flight, then end the log; so that nobody is refused who could be served.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from typing import Final

import uvloop

from raftcache.cluster.status import NodeStatus
from raftcache.command.limits import VALUE_SIZE_BYTES_MAX
from raftcache.config import Config, Durability, LogFormat
from raftcache.errors import BadConfig, Fatal, RaftcacheError
from raftcache.raft import stock
from raftcache.raft.clustertime import ClusterTime
from raftcache.raft.compaction import Compactor
from raftcache.raft.datadir import DataDir, cluster_id_of
from raftcache.raft.engine import STAMP_SIZE_BYTES, Parts, SyncObj
from raftcache.raft.entries import Block
from raftcache.raft.log import Log
from raftcache.raft.outbox import Outbox
from raftcache.raft.replica import Replica
from raftcache.raft.snapshots import SnapshotMeta, SnapshotStore
from raftcache.raft.transport import Links
from raftcache.raft.wal import Wal
from raftcache.server.http import HttpServer
from raftcache.service.expiry import Expiry
from raftcache.service.kv import KvService
from raftcache.state.machine import Machine
from raftcache.system import (
    SystemClock,
    SystemDice,
    SystemDisk,
    ThreadLane,
    configure_logging,
)

EXIT_STOPPED: Final = 0
EXIT_BAD_CONFIG: Final = 2
EXIT_FATAL: Final = 70
"""As sysexits.h has it: an internal error; the log's last line says which."""

logger = logging.getLogger("raftcache.node")


def run(config: Config) -> int:
    """Run one node until SIGTERM or SIGINT; blocking. Returns the exit code of the process."""
    configure_logging(config.log_format is LogFormat.JSON, config.log_level)
    try:
        return uvloop.run(_serve(config))
    except BadConfig as error:
        logger.error("cannot start", extra={"why": error.detail})
        return EXIT_BAD_CONFIG
    except Fatal as error:
        logger.error("cannot start", extra={"why": error.detail, "error": type(error).__name__})
        return EXIT_FATAL


async def _serve(config: Config) -> int:
    node = Node(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.ask_to_stop)
    try:
        await node.start()
        error = await node.wait()
    finally:
        await node.stop()
    return EXIT_STOPPED if error is None else EXIT_FATAL


class Node:
    """One member of one cluster, in one process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._stack = contextlib.AsyncExitStack()
        self._replica: Replica | None = None

    def ask_to_stop(self) -> None:
        """Let wait() return; what a signal does."""
        self._end(None)

    async def wait(self) -> Exception | None:
        """Until the node is asked to stop (None) or must stop (the reason)."""
        return await self._ended

    def _end(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(error)
            if error is not None:
                logger.critical("the node must stop", extra={"why": str(error)})
