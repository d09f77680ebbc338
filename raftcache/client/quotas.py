"""Quotas on prefixes, as the client asks for them."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from raftcache.client.calling import Calling
from raftcache.client.paths import escaped, unescaped
from raftcache.client.replies import accepted, decoded

QUOTAS: Final = "/v1/quotas"


class Quota(Struct, frozen=True):
    """What there may be below a prefix, and what there is; None: no limit.

    counting: keys that were there before it are still being counted, and nothing is refused yet.
    """

    prefix: bytes
    keys_max: int | None
    size_bytes_max: int | None
    keys: int
    size_bytes: int
    counting: bool


class _QuotaBody(Struct, frozen=True):
    prefix: str
    keys: int
    size_bytes: int
    keys_max: int | None = None
    size_bytes_max: int | None = None
    counting: bool = False


class _Listed(Struct, frozen=True):
    quotas: tuple[_QuotaBody, ...]


class _Deleted(Struct, frozen=True):
    deleted: int


class QuotaCalls(Calling):
    """A part of RaftcacheClient. The empty prefix is that of all keys."""

    async def quotas(self) -> tuple[Quota, ...]:
        """All of them, by prefix."""
        listed = decoded(accepted(await self._operate("GET", QUOTAS)), _Listed).quotas
        return tuple(
            Quota(
                unescaped(q.prefix), q.keys_max, q.size_bytes_max, q.keys, q.size_bytes, q.counting
            )
            for q in listed
        )

    async def set_quota(
        self, prefix: bytes, *, keys_max: int | None = None, size_bytes_max: int | None = None
    ) -> None:
        """Limit keys, or bytes of keys and values as stored, or both; None: no such limit."""
        limits = {"keys_max": keys_max, "size_bytes_max": size_bytes_max}
        body = msgspec.json.encode({k: v for k, v in limits.items() if v is not None})
        accepted(await self._send("PUT", _path(prefix), None, body))

    async def delete_quota(self, prefix: bytes) -> bool:
        """False if there was none."""
        answer = accepted(await self._send("DELETE", _path(prefix), None))
        return bool(decoded(answer, _Deleted).deleted)


def _path(prefix: bytes) -> str:
    return f"{QUOTAS}/{escaped(prefix) if prefix else ''}"
