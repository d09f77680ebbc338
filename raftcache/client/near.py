"""The near cache: answers from this process's memory, which a watch keeps coherent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Final

from raftcache.client.near_memory import Known, NearMemory, NearStatistics
from raftcache.client.paths import escaped
from raftcache.client.ranges import Entry, RangeCalls
from raftcache.client.watch import Watch, WatchCalls
from raftcache.command.limits import KEY_SIZE_BYTES_MAX
from raftcache.errors import BadRequest, RaftcacheError, Refused

NEAR_SIZE_BYTES_MAX: Final = 64 << 20
STALENESS_S_MAX: Final = 20.0
"""A quiet watch hears of the revision every 5 s: with this, one beat may be lost."""

CONFIRMATIONS: Final = 8
"""In staleness_s_max, the store is asked so often which revision it is at."""

PAUSE_S: Final = 0.5
"""Before a watch that cannot go on is begun anew once more."""


class NearCache:
    """Copies of the entries under a prefix; open it with `async with`, share it between tasks.

    Not linearizable. What it promises instead:

    - **Monotonic**: of a key, no answer is older than one that was given before.
    - **Bounded**: an answer from memory misses nothing that was acknowledged anywhere more than
      staleness_s_max ago. It follows its watch within milliseconds as a rule; while it cannot show
      that its memory is that fresh (its watch is cut off, late, or catching up), it reads from the
      cluster, linearizable, and raises what such a read raises. No clock but this process's
      monotonic one has a part in it.
    - **Known**: every answer is as new as `revision`, or newer. `get(key, at_least=r)` is as new
      as r: with the revision of one's own write it reads that write.
    - **Bounded memory**: size_bytes_max for keys, values and what they cost beside; the least
      recently used go. That a key is absent is remembered too.

    Answers for two keys may be of different revisions. An entry is not answered from memory after
    its time to live. When its node fails, the watch resumes at another one from `revision`; when
    what comes next is forgotten everywhere (410), memory is emptied, and the watch begins anew.
    """

    def __init__(
        self, client: NearCalls, prefix: bytes, memory: NearMemory, confirm_s: float
    ) -> None:
        self._client, self._prefix, self._memory = client, prefix, memory
        self._confirm_s = confirm_s
        self.now_s: Callable[[], float] = lambda: 0.0
        """The clock, once it is open: of any thread."""
        self._watch: Watch | None = None
        self._fills: dict[bytes, asyncio.Task[Known]] = {}
        self._tasks: list[asyncio.Task[None]] = []  # while it is open

    async def __aenter__(self) -> NearCache:
        self.now_s = asyncio.get_running_loop().time
        await self._begin()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._confirm())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        own, self._tasks = self._tasks, []
        for task in (*own, *self._fills.values()):
            task.cancel()
        ends = await asyncio.gather(*own, *self._fills.values(), return_exceptions=True)
        await self._end_watch()
        for end in ends[: len(own)]:
            if isinstance(end, Exception):
                raise end  # a mistake here, after which memory was not asked any more

    @property
    def revision(self) -> int:
        """No answer is older than this; it never goes back while the cluster keeps its data."""
        return self._memory.revision

    @property
    def is_connected(self) -> bool:
        """A node sends what changes; False while one is looked for."""
        return self._watch is not None and self._watch.is_connected

    @property
    def age_s(self) -> float:
        """What was acknowledged so long ago is known; above staleness_s_max memory is not asked."""
        return self.now_s() - self._memory.fresh_s

    @property
    def statistics(self) -> NearStatistics:
        """What became of it so far."""
        return self._memory.statistics

    async def get(self, key: bytes, *, at_least: int = 0) -> Entry | None:
        """The key's entry; None if there is no such key.

        Raises BadRequest for a key without the prefix, and for a revision that has not been yet.
        """
        found = self.remembered(key, at_least)
        if found is None:
            found = self.newest(key, await self.read(key, at_least))
        return found.shown(self.now_s())

    def remembered(self, key: bytes, at_least: int = 0) -> Known | None:
        """What memory may answer with; None if the cluster must be asked. From any thread."""
        if not self._tasks:
            raise Refused("the near cache is not open: use `with`")
        if not key.startswith(self._prefix):
            raise BadRequest(f"the near cache is of keys that begin with {self._prefix!r}")
        return self._memory.lookup(key, self.now_s(), at_least)

    def newest(self, key: bytes, found: Known) -> Known:
        """What was read, or what is known by now. From any thread."""
        return self._memory.newest(key, found)

    # --- reads ----------------------------------------------------------------------------------

    async def read(self, key: bytes, at_least: int) -> Known:
        """What the cluster answers: one read for all who ask meanwhile, unless it is too old."""
        escaped(key)  # or it says why not
        while True:
            task = self._fills.get(key)
            is_own = task is None
            if task is None:
                self._fills[key] = task = asyncio.create_task(self._read(key))
                task.add_done_callback(_look_at)
            try:
                found = await asyncio.shield(task)  # who goes away leaves it to the others
            except asyncio.CancelledError:
                caller = asyncio.current_task()
                if not task.cancelled() or (caller and caller.cancelling()):
                    raise
                raise Refused("the near cache was closed") from None
            if found.as_of >= at_least:
                return found
            if is_own:
                raise BadRequest(f"revision {at_least} has not been yet: it is {found.as_of}")

    async def _read(self, key: bytes) -> Known:
        # A listing of the one key: unlike a read of it, that tells its revision if it is absent.
        longest = len(key) == KEY_SIZE_BYTES_MAX
        bounds = (key, None, None) if longest else (None, key, key + b"\0")
        asked_s = self.now_s()
        self._memory.expect(key)
        try:
            prefix, start, end = bounds
            page = await self._client.page(prefix=prefix, start=start, end=end, limit=1)
            entry = page.entries[0] if page.entries else None
            self._memory.confirm(asked_s, page.revision)
            return self._memory.fill(key, entry, page.revision, asked_s)
        finally:
            self._memory.unexpect(key)
            del self._fills[key]  # at once: who asks from now on may know of something newer

    async def _confirm(self) -> None:
        """Ask for the revision now and then."""
        while True:
            await asyncio.sleep(self._confirm_s)
            asked_s = self.now_s()
            with contextlib.suppress(RaftcacheError):  # then memory grows old
                page = await self._client.page(prefix=self._prefix, limit=1, keys_only=True)
                self._memory.confirm(asked_s, page.revision)

    # --- the watch ------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Forget all, and watch from now on."""
        await self._end_watch()
        asked_s = self.now_s()
        watch = self._client.watch(prefix=self._prefix)
        await watch.__aenter__()
        assert watch.revision is not None
        self._watch = watch
        self._memory.restart(watch.revision, asked_s)

    async def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.__aexit__(None, None, None)

    async def _follow(self) -> None:
        """Keep memory as the watch says, whatever happens to it."""
        while True:
            try:
                if self._watch is None:
                    await self._begin()
                assert self._watch is not None
                changes = await self._watch.advance()
                self._memory.apply(changes)
            except BadRequest:  # its revision is forgotten, or of a cluster that is no more
                await self._end_watch()
                await asyncio.sleep(PAUSE_S)
            except RaftcacheError:  # nobody goes on with it yet
                await asyncio.sleep(PAUSE_S)


def _look_at(task: asyncio.Task[Known]) -> None:
    """An error is not lost unseen when all who asked have gone."""
    if not task.cancelled():
        task.exception()


class NearCalls(RangeCalls, WatchCalls):
    """A part of RaftcacheClient."""

    def near_cache(
        self,
        *,
        prefix: bytes = b"",
        size_bytes_max: int = NEAR_SIZE_BYTES_MAX,
        staleness_s_max: float = STALENESS_S_MAX,
    ) -> NearCache:
        """A cache of the keys with this prefix, kept coherent by a watch: see NearCache.

        It receives every change under the prefix, and asks for the revision eight times in
        staleness_s_max. Below 10 s a quiet prefix is read from the cluster now and then.
        """
        if prefix:
            escaped(prefix)  # or it says why not
        if size_bytes_max < 1 or not 0 < staleness_s_max < float("inf"):
            raise BadRequest("size_bytes_max and staleness_s_max must be above 0")
        memory = NearMemory(size_bytes_max, staleness_s_max)
        return NearCache(self, prefix, memory, staleness_s_max / CONFIRMATIONS)
