"""Answers that come piece by piece: what backups and watches share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import aiohttp

from raftcache.client.replies import Answer, error_of, refused
from raftcache.errors import RaftcacheError, Refused

CONNECT_TIMEOUT_S: Final = 1.0


class Streams(ABC):
    """What a part of RaftcacheClient needs, whose answers are no single piece."""

    endpoints: Sequence[str]
    _timeout_s: float

    @property
    @abstractmethod
    def _preferred(self) -> int:
        """The endpoint that answered last."""

    @property
    @abstractmethod
    def _http(self) -> aiohttp.ClientSession: ...

    @abstractmethod
    def _pause_s(self, attempt: int, error: RaftcacheError) -> float:
        """Before the next attempt, when so many have failed, the last one like this."""


async def accepted(endpoint: str, response: aiohttp.ClientResponse) -> None:
    """Return once an answer begins that is a success; raise what any other one stands for."""
    if response.status == 200:
        return
    answer = Answer(endpoint, response.status, response.headers, await response.read())
    if (error := error_of(answer)) is not None:
        raise error
    if response.status >= 400:
        raise refused(answer)
    raise Refused(f"{endpoint} answers like no raftcache node")


def broke_off(endpoint: str, error: BaseException) -> str:
    return f"{endpoint} broke off: {str(error) or type(error).__name__}"
