"""Many keys at a time, as the client asks for them: pages of one revision, counts, deletes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Literal, TypeAlias, TypeVar

from msgspec import Struct

from raftcache.client.calling import Calling
from raftcache.client.paths import (
    KV,
    deleted_range_fields,
    query_of,
    range_fields,
    unescaped,
)
from raftcache.client.replies import Written, decoded, refused
from raftcache.command.limits import PAGE_KEYS_DEFAULT
from raftcache.command.replies import Status

T = TypeVar("T")

Consistency: TypeAlias = Literal["linearizable", "lease", "stale"]
"""How fresh a read is: see docs/CONSISTENCY.md."""


class Entry(Struct, frozen=True):
    """A key and what is kept with it; value is empty where only keys were asked for.

    type: string; or hash, list, set, zset or stream, which only the Redis protocol reads: then it
    has no value here.
    """

    key: bytes
    value: bytes
    content_type: str
    revision: int
    create_revision: int
    version: int
    ttl_ms: int | None
    lease: int | None = None
    type: str = "string"


class Page(Struct, frozen=True):
    """A part of a listing. after: goes into the next call, for the next page; None at the end."""

    revision: int
    entries: tuple[Entry, ...]
    after: str | None


class ItemBody(Struct, frozen=True):
    """An entry as JSON has it."""

    key: str
    revision: int
    create_revision: int
    version: int
    ttl_ms: int | None = None
    lease: int | None = None
    content_type: str | None = None
    value_base64: bytes = b""  # msgspec reads bytes as base64
    type: str = "string"

    def entry(self) -> Entry:
        return Entry(
            unescaped(self.key),
            self.value_base64,
            self.content_type or "",
            self.revision,
            self.create_revision,
            self.version,
            self.ttl_ms,
            self.lease,
            self.type,
        )


class _PageBody(Struct, frozen=True):
    revision: int
    items: tuple[ItemBody, ...]
    after: str | None


class _CountBody(Struct, frozen=True):
    count: int


class _DeletedBody(Struct, frozen=True):
    deleted: int
    revision: int


class RangeCalls(Calling):
    """A part of RaftcacheClient.

    A range is given by a prefix, or by start and end, of which end is not in it; without any it is
    all keys. Keys come in order, byte by byte.
    """

    async def page(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        limit: int = PAGE_KEYS_DEFAULT,
        after: str | None = None,
        keys_only: bool = False,
        consistency: Consistency = "linearizable",
    ) -> Page:
        """The next keys of a listing; all of its pages show the revision of the first.

        Raises Compacted when so much was written since that the node does not know it any more.
        """
        query = range_fields(prefix, start, end) | {"limit": str(limit)}
        query |= {"consistency": consistency, "keys_only": "true" if keys_only else "false"}
        if after is not None:
            query["after"] = after
        body = await self._read(query, _PageBody)
        return Page(body.revision, tuple(item.entry() for item in body.items), body.after)

    async def range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        page_keys: int = PAGE_KEYS_DEFAULT,
        keys_only: bool = False,
        consistency: Consistency = "linearizable",
    ) -> AsyncGenerator[Entry, None]:
        """All keys of the range as they were at one revision, page_keys fetched at a time."""
        after: str | None = None
        while True:
            page = await self.page(
                prefix=prefix,
                start=start,
                end=end,
                limit=page_keys,
                after=after,
                keys_only=keys_only,
                consistency=consistency,
            )
            for entry in page.entries:
                yield entry
            if (after := page.after) is None:
                return

    async def count(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        consistency: Consistency = "linearizable",
    ) -> int:
        """How many keys the range has."""
        query = range_fields(prefix, start, end)
        query |= {"consistency": consistency, "count_only": "true"}
        return (await self._read(query, _CountBody)).count

    async def _read(self, query: Mapping[str, str], shape: type[T]) -> T:
        answer = await self._ask(KV + query_of(query))
        if answer.status != 200:
            raise refused(answer)
        return decoded(answer, shape)

    async def delete_range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        everything: bool = False,
        idempotency_key: str | None = None,
    ) -> Written:
        """Remove all keys of the range in one revision; `number` says how many they were.

        Raises TooLarge if there are too many for one command. All keys go only by everything=True.
        """
        query = deleted_range_fields(prefix, start, end, everything=everything)
        if everything:
            query["all"] = "true"
        answer = await self._send("DELETE", KV + query_of(query), idempotency_key)
        if answer.status != 200:
            raise refused(answer)
        body = decoded(answer, _DeletedBody)
        status = Status.DELETED if body.deleted else Status.MISSING
        return Written(status, body.revision, body.deleted, answer.is_replayed)
