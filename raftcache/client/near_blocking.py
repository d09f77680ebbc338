"""The near cache for code without an event loop: a thread of its own follows the watch."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future
from threading import Thread
from types import TracebackType

from raftcache.client.client import RaftcacheClient
from raftcache.client.near import NearCache
from raftcache.client.near_memory import Known, NearStatistics
from raftcache.client.ranges import Entry
from raftcache.errors import Refused


class BlockingNearCache:
    """As NearCache; open it with `with`. Any thread may ask it, several at a time.

    client: for its thread alone, not opened yet; near: of that client.
    """

    def __init__(self, client: RaftcacheClient, near: NearCache) -> None:
        self._client, self._near = client, near
        self._opened: Future[asyncio.AbstractEventLoop] = Future()
        self._closing = asyncio.Event()
        self._thread = Thread(target=self._run, name="raftcache-near", daemon=True)

    def __enter__(self) -> BlockingNearCache:
        self._thread.start()
        self._opened.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.result().call_soon_threadsafe(self._closing.set)
        self._thread.join()

    @property
    def revision(self) -> int:
        """No answer is older than this; it never goes back while the cluster keeps its data."""
        return self._near.revision

    @property
    def is_connected(self) -> bool:
        """A node sends what changes; False while one is looked for."""
        return self._near.is_connected

    @property
    def age_s(self) -> float:
        """What was acknowledged so long ago is known; above staleness_s_max memory is not asked."""
        return self._near.age_s

    @property
    def statistics(self) -> NearStatistics:
        """What became of it so far."""
        return self._near.statistics

    def get(self, key: bytes, *, at_least: int = 0) -> Entry | None:
        """The key's entry; None if there is no such key.

        Raises BadRequest for a key without the prefix, and for a revision that has not been yet.
        """
        found = self._near.remembered(key, at_least)
        if found is None:
            found = self._near.newest(key, self._read(key, at_least))
        return found.shown(self._near.now_s())

    def _read(self, key: bytes, at_least: int) -> Known:
        read = self._near.read(key, at_least)
        try:
            return asyncio.run_coroutine_threadsafe(read, self._opened.result()).result()
        except (CancelledError, RuntimeError):  # its loop has ended meanwhile
            read.close()
            raise Refused("the near cache was closed") from None

    def _run(self) -> None:
        try:
            asyncio.run(self._follow())
        except BaseException as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)

    async def _follow(self) -> None:
        async with self._client, self._near:
            self._opened.set_result(asyncio.get_running_loop())
            await self._closing.wait()
