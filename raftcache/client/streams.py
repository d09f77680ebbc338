"""Answers that come piece by piece: what backups and watches share."""

from __future__ import annotations

from typing import Final

import aiohttp

from raftcache.client.replies import Answer, error_of, refused
from raftcache.errors import Refused

CONNECT_TIMEOUT_S: Final = 1.0


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
