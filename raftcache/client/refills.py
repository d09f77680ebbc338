"""Reads that refill: of all who miss a key, one in the cluster is told to bring it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from raftcache.client.attempts import Request
from raftcache.client.calling import Calling
from raftcache.client.paths import path_of
from raftcache.client.replies import Answer, Found, Written, found, written
from raftcache.errors import Unknown

ROLE: Final = "X-Raftcache-Vivify"
TOKEN: Final = "X-Raftcache-Vivify-Token"

RIGHT_MS: Final = 30_000
"""How long a right lasts, if nothing else is said."""

Load: TypeAlias = Callable[[], Awaitable[bytes]]
"""Brings a value from where it comes from, which is not the cache."""


class Refill(Struct, frozen=True):
    """What a read is told that may refill its key.

    found: the value, fresh or soon stale; None if there is none.
    role: "hit": it is fresh, nobody is to refill it; "won": the caller is to; "lost": another is.
    token: of the right, for `refill`; 0 unless it was won.
    """

    found: Found | None
    role: Literal["hit", "won", "lost"]
    token: int = 0

    @property
    def won(self) -> bool:
        """The caller, and nobody else, is to bring the value and `refill` the key with it."""
        return self.role == "won"

    @property
    def value(self) -> bytes | None:
        """What was found, without what is kept with it."""
        return None if self.found is None else self.found.value


class RefillCalls(Calling):
    """A part of RaftcacheClient. The rights are those of docs/CONSISTENCY.md, "Refills"."""

    async def get_or_refill(
        self, key: bytes, *, refill_ms: int = RIGHT_MS, early_ms: int = 0, wait_ms: int = 0
    ) -> Refill:
        """Read a key, linearizable; if it is missing or soon stale, ask for the right to refill it.

        refill_ms: how long the right lasts, if it is won: longer than it takes to bring the value.
        early_ms: a key that expires so soon is stale already.
        wait_ms: how long to wait for another's refill, if there is no old value either; comes on
            top of the client's timeout. If the winner lets its right run out, one who waits wins.

        An attempt whose answer is lost may have won, and the next one then loses to it: nobody
        refills the key until that right has run out by itself. That does no harm but the delay. It
        raises Unknown where no attempt was answered, and a right may have been given.
        """
        query: dict[str, str | int] = {"vivify": f"{refill_ms}ms"}
        if early_ms:
            query["early"] = f"{early_ms}ms"
        if wait_ms:
            query["wait"] = f"{wait_ms}ms"
        wait_s = max(0, wait_ms) / 1000
        request = Request("GET", path_of(key, query), wait_s=wait_s, is_claim=True)
        return _refill(await self._call(request))

    async def refill(
        self,
        key: bytes,
        value: bytes,
        token: int,
        *,
        ttl_ms: int | None = None,
        content_type: str | None = None,
        idempotency_key: str | None = None,
    ) -> Written:
        """Put the value by the right that was won, which ends it; PRECONDITION if it is over.

        It is over when its time is, and as soon as anybody writes or deletes the key: the value
        that was brought may be older than that, and is not put.
        """
        headers = {"Content-Type": content_type} if content_type else {}
        query: dict[str, str | int] = {} if ttl_ms is None else {"ttl": f"{ttl_ms}ms"}
        path = path_of(key, {**query, "vivify": token})
        return written(await self._send("PUT", path, idempotency_key, value, headers))

    async def cached(
        self,
        key: bytes,
        load: Load,
        *,
        ttl_ms: int | None = None,
        refill_ms: int = RIGHT_MS,
        early_ms: int = 0,
        wait_ms: int | None = None,
    ) -> bytes | None:
        """The key's value; of all who miss it, one in the cluster calls load() and puts what comes.

        The others get the old value if there is one (see early_ms), or wait for the new one.
        ttl_ms: of what is put; None: it stays. refill_ms, early_ms: see get_or_refill.
        wait_ms: None waits as long as a right lasts, so that one who waits is next if the winner
            does not come; it comes on top of the client's timeout, also where no node answers.
            Returns None when it was not enough: somebody is still at it.

        load() runs at most once in the cluster at a time, if it takes less than refill_ms. What it
        raises is raised here, to the caller that ran it; it gives nothing back: the right runs out
        by itself, and then the next one loads. What it returned is returned even if the right was
        over by then, and it was not put. Errors of the cluster are raised, as by get and put.
        """
        wait_ms = refill_ms if wait_ms is None else wait_ms
        seen = await self.get_or_refill(
            key, refill_ms=refill_ms, early_ms=early_ms, wait_ms=wait_ms
        )
        if not seen.won:
            return seen.value
        value = await load()
        await self.refill(key, value, seen.token, ttl_ms=ttl_ms)
        return value


def _refill(answer: Answer) -> Refill:
    item = found(answer)
    match answer.headers.get(ROLE):
        case "won" if (token := answer.headers.get(TOKEN, "")).isdecimal():
            return Refill(item, "won", int(token))
        case "lost":
            return Refill(item, "lost")
        case None if item is not None:
            return Refill(item, "hit")
    raise Unknown(f"{answer.endpoint} does not say who refills the key: it may be an older node")
