"""GET /v1/snapshot: a backup as one file, from start to end, or visibly cut off.

The length is announced, so that every client sees whether it got all of it; and the file's own
last frame says so again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from aiohttp import hdrs, web

from raftcache.server.connection import SERVER
from raftcache.server.routes import OCTETS, Parameter, Response, Route, RouteTable
from raftcache.server.shapes import RETRY_AFTER, TEXT, problem
from raftcache.server.status import OPERATING

SNAPSHOT: Final = Route(
    "GET",
    "/v1/snapshot",
    OPERATING,
    "Back up",
    """
A consistent backup of all that the cluster holds, as one file with its length announced.
A client that takes it slower than 256 KiB/s, after a minute of grace, is cut off.
""",
    (
        Response(
            200,
            "The file.",
            {},
            OCTETS,
            (
                Parameter("Content-Disposition", "A name for it.", TEXT, "header", required=True),
                Parameter("ETag", "Its revision, quoted.", TEXT, "header", required=True),
            ),
        ),
        problem(429, "This node serves two backups already.", RETRY_AFTER),
        problem(503, "No leader is known here just now, or the node could not write it."),
    ),
    """
curl -o backup.rcb 'http://127.0.0.1:7401/v1/snapshot'
""",
)

PIECE_SIZE_BYTES: Final = 256 << 10
"""Read and sent at once; the next is read when the client has taken most of it."""

RATE_MIN_BYTES_PER_S: Final = 256 << 10
GRACE_S: Final = 60.0
"""A client that is slower than this rate, after so long a grace, is cut off: what it reads takes up
disk space on the node."""

logger = logging.getLogger("raftcache.http")


class Backup(Protocol):
    """One backup, being read."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> int: ...
    async def read(self, offset_bytes: int, size_bytes: int) -> bytes: ...
    def close(self) -> None: ...


class Backups(Protocol):
    """Where backups come from; raises what HTTP is to answer."""

    async def open(self) -> Backup: ...


class BackupRoutes:
    """Serves the route; grace_s and rate_min_bytes_per_s: how long one answer may take."""

    def __init__(
        self,
        backups: Backups,
        grace_s: float = GRACE_S,
        rate_min_bytes_per_s: int = RATE_MIN_BYTES_PER_S,
    ) -> None:
        self._backups, self._grace_s = backups, grace_s
        self._rate_min_bytes_per_s = rate_min_bytes_per_s

    def add_to(self, table: RouteTable) -> None:
        table.add(SNAPSHOT, self.get)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with the file of a backup."""
        SNAPSHOT.query(request)
        backup = await self._backups.open()
        try:
            return await self._send(request, backup)
        finally:
            backup.close()

    async def _send(self, request: web.Request, backup: Backup) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "application/octet-stream"
        response.content_length = backup.size_bytes
        response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{backup.name}"'
        response.headers[hdrs.SERVER] = SERVER
        response.headers[hdrs.ETAG] = f'"{backup.revision}"'
        await response.prepare(request)
        patience_s = self._grace_s + backup.size_bytes / self._rate_min_bytes_per_s
        try:
            async with asyncio.timeout(patience_s):
                for offset_bytes in range(0, backup.size_bytes, PIECE_SIZE_BYTES):
                    await response.write(await backup.read(offset_bytes, PIECE_SIZE_BYTES))
                await response.write_eof()
        except (TimeoutError, OSError) as error:
            self._cut_off(request, error)
        return response

    def _cut_off(self, request: web.Request, error: Exception) -> None:
        """The status was sent long ago: only the end of the connection can tell the client."""
        why = str(error) or "the client is too slow"
        logger.warning("a backup was cut off", extra={"why": why, "client": request.remote})
        if request.transport is not None:
            request.transport.abort()
