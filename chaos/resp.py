"""One Redis client of the load: redis-py, at one node at a time, and what its errors mean.

redis-py sends again by itself what it got no answer to, and calls a connection that it lost during
EXEC a watched key that has changed. Neither may be here: what was sent and not answered is unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    OutOfMemoryError,
    ResponseError,
    TimeoutError,
    TryAgainError,
    WatchError,
)

from raftcache.client import Consistency
from raftcache.errors import RaftcacheError, Refused, Unknown

T = TypeVar("T")

Api: TypeAlias = Any
"""A Redis of redis-py, or a pipeline; their own types do not say what is to be awaited."""

Work = Callable[[Api], Awaitable[T]]

_LOST: Final = (ConnectionError, TimeoutError)
_REFUSED: Final = (ClusterDownError, TryAgainError, OutOfMemoryError)
_FULL_DISKS: Final = "MISCONF"
"""What a refusal begins with that has no class of its own in redis-py."""


class Door:
    """Where one client comes in: it stays at a node until something goes wrong there."""

    def __init__(
        self, addresses: Sequence[str], timeout_s: float, protocol: int, reads: Consistency
    ) -> None:
        """addresses: host:port of all that it knows. protocol: 2 or 3."""
        self._addresses, self._at = addresses, 0
        self._timeout_s, self._protocol, self._reads = timeout_s, protocol, reads
        self._api: Api | None = None

    async def answer(self, work: Work[T]) -> list[T]:
        """As `ask`, in a list: None may be an answer, too."""
        return [await self.ask(work)]

    async def ask(self, work: Work[T]) -> T:
        """Do it once. Raises Refused if it certainly did not happen, Unknown if nobody knows.

        WatchError: a watched key has changed.
        """
        api = self._api or await self._connect()
        try:
            return await work(api)
        except RaftcacheError:
            await self.leave()
            raise
        except (*_LOST, WatchError, ResponseError) as e:
            meant = meaning(e)
            if meant is e:
                raise
            await self.leave()
            raise meant from None

    async def _connect(self) -> Api:
        host, _, port = self._addresses[self._at % len(self._addresses)].rpartition(":")
        api: Api = Redis(
            host=host,
            port=int(port),
            protocol=self._protocol,
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._api = api
        try:
            if self._reads == "linearizable":
                await api.ping()
            else:
                await api.execute_command("CLIENT CONSISTENCY", self._reads)
        except (*_LOST, ResponseError) as e:
            await self.leave()
            raise Refused(f"cannot connect: {e}") from None
        return api

    async def leave(self) -> None:
        """Next time another node is asked."""
        self._at += 1
        await self.aclose()

    async def aclose(self) -> None:
        api, self._api = self._api, None
        if api is not None:
            with suppress(*_LOST):  # so it is closed
                await api.aclose()


def meaning(error: Exception) -> Exception:
    """What an error of redis-py says of the outcome; the error itself if it says more."""
    text = str(error)
    if isinstance(error, _REFUSED) or text.startswith(_FULL_DISKS):
        return Refused(text)
    if isinstance(error, _LOST) or text.startswith("UNKNOWN"):
        return Unknown(text)
    if isinstance(error, WatchError) and "while watching" in text:
        return Unknown(text)
    return error


def worst(answers: Iterable[Any]) -> RaftcacheError | None:
    """Of a pipeline's answers, the error that leaves most open; None if there is none."""
    errors = [meaning(each) for each in answers if isinstance(each, Exception)]
    for error in errors:
        if not isinstance(error, RaftcacheError):
            raise error
    known = [error for error in errors if isinstance(error, RaftcacheError)]
    return min(known, key=lambda error: error.definite, default=None)
