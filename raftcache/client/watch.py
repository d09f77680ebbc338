"""Watching, as the client does it: a stream that resumes at another node, without gap or repeat."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Final, Literal, TypeAlias, TypeVar

import aiohttp
from msgspec import Struct
from yarl import URL

from raftcache.client.calling import ANSWER_S_MIN, Calling
from raftcache.client.paths import escaped, query_of, range_fields, unescaped
from raftcache.client.ranges import Entry, ItemBody
from raftcache.client.replies import Answer, decoded, error_of
from raftcache.client.sse import Event, EventParser
from raftcache.client.streams import CONNECT_TIMEOUT_S, accepted, broke_off
from raftcache.errors import BadRequest, Compacted, RaftcacheError, Refused, Unknown

WATCH: Final = "/v1/watch"

BEGIN_TIMEOUT_S: Final = 2.0
"""After which a node that does not begin is left for the next."""

SILENCE_S: Final = 15.0
"""The same for one that sends nothing any more: three times what a node lets pass."""

PATIENCE_S: Final = 60.0

ChangeKind: TypeAlias = Literal["put", "delete", "expire", "evict"]

T = TypeVar("T")


class Change(Struct, frozen=True):
    """How one key changed. entry: what it holds now; previous: what it held, if asked for."""

    kind: str
    key: bytes
    entry: Entry | None = None
    previous: Entry | None = None


class Changes(Struct, frozen=True):
    """All changes of one revision that a watch shows.

    lacks_previous: what the keys held before was asked for, and left out, for it is too much.
    """

    revision: int
    changes: tuple[Change, ...]
    lacks_previous: bool = False


class _ChangeBody(Struct, frozen=True):
    event: str
    key: str
    revision: int = 0
    create_revision: int = 0
    version: int = 0
    ttl_ms: int | None = None
    lease: int | None = None
    content_type: str | None = None
    value_base64: bytes | None = None  # msgspec reads bytes as base64
    type: str = "string"
    previous: ItemBody | None = None

    def change(self) -> Change:
        key = unescaped(self.key)
        entry = None
        if self.value_base64 is not None or self.type != "string":
            entry = Entry(
                key,
                self.value_base64 or b"",
                self.content_type or "",
                self.revision,
                self.create_revision,
                self.version,
                self.ttl_ms,
                self.lease,
                self.type,
            )
        previous = None if self.previous is None else self.previous.entry()
        return Change(self.event, key, entry, previous)


class _Body(Struct, frozen=True):
    """Of a change, and of progress, which has none."""

    revision: int
    changes: tuple[_ChangeBody, ...] = ()
    lacks_previous: bool = False


class _Problem(Struct, frozen=True):
    status: int = 503


class Watch:
    """Changes, revision by revision; open it with `async with`, then iterate.

    async with client.watch(prefix=b"user/") as watch:
        async for changes in watch:
            for change in changes.changes:
                print(changes.revision, change.kind, change.key, change.entry)

    Once open, all that is acknowledged from then on will be seen. When its node fails, it goes on
    at another one by itself. Iterating raises Compacted when every node has forgotten
    what comes next, Refused or a subclass when none has answered for patience_s.
    """

    def __init__(
        self,
        client: Calling,
        http: Callable[[], aiohttp.ClientSession],
        query: dict[str, str],
        since: int | None,
        patience_s: float,
    ) -> None:
        self._client, self._http, self._query = client, http, query
        self._patience_s = patience_s
        self.revision = since
        """All that the watch shows up to this revision was given; None before it is open."""
        self.endpoint = ""
        """Where it is just now."""
        self._index = 0
        self._response: aiohttp.ClientResponse | None = None
        self._parser = EventParser()
        self._events: deque[Event] = deque()

    async def __aenter__(self) -> Watch:
        self._index = self._client._preferred
        await self._connect(self._client._timeout_s)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def is_connected(self) -> bool:
        """A node sends what comes next; False while one is looked for."""
        return self._response is not None

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Changes:
        """The changes of the next revision that has any."""
        while not (changes := await self.advance()).changes:
            pass
        return changes

    async def advance(self) -> Changes:
        """As iterating, but it returns with progress too, which has a revision and no changes."""
        while True:
            body = await self._next()
            assert self.revision is not None
            if body.revision > self.revision:
                self.revision = body.revision
                changes = tuple(one.change() for one in body.changes)
                return Changes(body.revision, changes, body.lacks_previous)

    async def _next(self) -> _Body:
        """Of the next change or progress, of whichever node."""
        while True:
            try:
                return self._read(await self._receive())
            except RaftcacheError as error:
                self._close()
                if isinstance(error, BadRequest) and not isinstance(error, Compacted):
                    raise
                self._index += 1
                await self._connect(self._patience_s)

    async def _receive(self) -> Event:
        """The next event of this node; Refused when there is none."""
        while not self._events:
            if self._response is None:
                raise Refused("the watch is not open: use `async with`")
            try:
                piece = await self._response.content.readany()
            except (aiohttp.ClientError, OSError, TimeoutError) as e:
                raise Refused(broke_off(self.endpoint, e)) from None
            if not piece:
                raise Refused(f"{self.endpoint} ended the watch")
            self._events += self._parser.feed(piece)
        return self._events.popleft()

    def _read(self, event: Event) -> _Body:
        if event.kind != "error":
            return decoded(Answer(self.endpoint, 200, {}, event.data), _Body)
        status = decoded(Answer(self.endpoint, 200, {}, event.data), _Problem).status
        raise error_of(Answer(self.endpoint, status, {}, event.data)) or Refused("it was ended")

    async def _connect(self, patience_s: float) -> None:
        """Begin at one endpoint after the other; raises what the last one said, after so long.

        What one node has forgotten another may know: only when all of them have, that is final.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + patience_s
        forgotten: dict[str, Compacted] = {}
        attempt = 0
        while True:
            error = await self._attempt(min(BEGIN_TIMEOUT_S, deadline - now()))
            if error is None:
                return
            if isinstance(error, Compacted):
                forgotten[self.endpoint] = error
            elif isinstance(error, BadRequest):
                raise error
            attempt += 1
            self._index += 1
            pause_s = self._client._pause_s(attempt, error)
            known = len(forgotten) < len(set(self._client.endpoints))
            if known and now() + pause_s < deadline:
                await asyncio.sleep(pause_s)
                if deadline - now() >= ANSWER_S_MIN:
                    continue
            if isinstance(error, Unknown):  # a read: nothing can have happened
                error = Refused(error.detail)
            raise min(forgotten.values(), key=lambda e: e.oldest_revision, default=error)

    async def _attempt(self, timeout_s: float) -> RaftcacheError | None:
        """Why it cannot begin at this endpoint; None if it has begun."""
        try:
            await self._begin(timeout_s)
        except RaftcacheError as error:
            return error
        return None

    async def _begin(self, timeout_s: float) -> None:
        """A stream of this endpoint, up to its first event, which says where it begins."""
        self.endpoint = self._client.endpoints[self._index % len(self._client.endpoints)]
        query = self._query | ({} if self.revision is None else {"since": str(self.revision)})
        url = URL(self.endpoint + WATCH + query_of(query), encoded=True)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S
        )
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http().get(url, timeout=timeout, allow_redirects=False)
                self._parser, self._response = EventParser(), response
                await accepted(self.endpoint, response)
                body = self._read(await self._receive())
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            self._close()
            raise Refused(broke_off(self.endpoint, e)) from None
        except BaseException:
            self._close()
            raise
        if self.revision is None:
            self.revision = body.revision

    def _close(self) -> None:
        self._events.clear()
        response, self._response = self._response, None
        if response is not None:
            response.close()


class WatchCalls(Calling):
    """A part of RaftcacheClient."""

    def watch(
        self,
        *,
        key: bytes | None = None,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        since: int | None = None,
        events: Collection[ChangeKind] | None = None,
        previous: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> Watch:
        """The changes of a key, a prefix, or the keys from start up to end; of all without any.

        since: those after this revision; None for those after all that is acknowledged by the time
        it is open. events: only these kinds. previous: with what keys held before. patience_s: how
        long it looks for a node that goes on with it.
        """
        query = range_fields(prefix, start, end)
        if key is not None:
            if query:
                raise BadRequest("key excludes prefix, start and end")
            query = {"key": escaped(key)}
        if events is not None:
            query["events"] = ",".join(events)
        if previous:
            query["prev"] = "true"
        return Watch(self, lambda: self._http, query, since, patience_s)
