"""A consistent backup, as the client takes it: one file, from start to end, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import aiohttp
from yarl import URL

from raftcache.client.calling import Calling
from raftcache.client.streams import CONNECT_TIMEOUT_S, accepted, broke_off
from raftcache.errors import RaftcacheError, Refused, Unknown

SILENCE_S: Final = 120.0
"""A node may have to take a snapshot before the first byte of a backup comes."""


class BrokenOff(Refused):
    """A backup came to an end before it was whole."""


class BackupCalls(Calling):
    """A part of RaftcacheClient."""

    async def backup(self, take: Callable[[bytes, int], object]) -> None:
        """Have a consistent backup in pieces, take(piece, size of all of it), from any endpoint.

        Raises Refused if no endpoint begins one, or if it breaks off half way: then begin anew.
        """
        last: RaftcacheError = Refused("there are no endpoints")
        for endpoint in self.endpoints:
            try:
                return await self._backup(endpoint, take)
            except BrokenOff:
                raise
            except Unknown as error:  # that is of writes
                last = Refused(error.detail)
            except RaftcacheError as error:
                last = error
        raise last

    async def _backup(self, endpoint: str, take: Callable[[bytes, int], object]) -> None:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S
        )
        begun = False
        try:
            url = URL(f"{endpoint}/v1/snapshot", encoded=True)
            async with self._http.get(url, timeout=timeout, allow_redirects=False) as response:
                await accepted(endpoint, response)
                if response.content_length is None:
                    raise Refused(f"{endpoint} answers like no raftcache node")
                async for piece in response.content.iter_any():
                    begun = True
                    take(piece, response.content_length)
        except (aiohttp.ClientError, TimeoutError) as e:
            raise (BrokenOff if begun else Refused)(broke_off(endpoint, e)) from None
