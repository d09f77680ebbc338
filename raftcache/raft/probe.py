"""Whether anybody listens at an address. The kernel of a host says at once when nobody does.

It closes the sockets of a process that ends, however that ends; one that is paused, slow or cut off
does not refuse. But others may refuse in its place, a firewall for one: a hint, and no proof.
"""

from __future__ import annotations

import asyncio
import socket
from enum import Enum, auto
from typing import Final, cast

from raftcache.config import Address

PROBE_TIMEOUT_S: Final = 0.5
"""A host that says nothing for so long is not one whose process has ended."""

LINGER_S: Final = 0.05
"""The kernel may yet accept for a process that is about to end; it hangs up sooner than this."""

VISITS_MAX: Final = 3


async def nobody_listens(address: Address) -> bool:
    """Every address that the host's name stands for refuses. Takes PROBE_TIMEOUT_S at most."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            for *_, resolved in found:
                if not await _refuses(str(resolved[0]), address.port):
                    return False
    except (OSError, UnicodeError):  # a TimeoutError is an OSError
        return False
    return bool(found)


async def _refuses(host: str, port: int) -> bool:
    for _ in range(VISITS_MAX):
        welcome = await _Guest().visit(host, port)
        if welcome is not _Welcome.SHOWN_OUT:
            return welcome is _Welcome.REFUSED
    return False


class _Welcome(Enum):
    REFUSED = auto()
    SHOWN_OUT = auto()
    """Let in, and hung up on."""
    KEPT = auto()


class _Guest(asyncio.Protocol):
    """Comes, says nothing, and leaves."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set()

    async def visit(self, host: str, port: int) -> _Welcome:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
            await asyncio.wait_for(self._lost.wait(), LINGER_S)
        except ConnectionRefusedError:
            return _Welcome.REFUSED
        except TimeoutError:
            return _Welcome.KEPT
        finally:
            if self._transport is not None:
                self._transport.abort()
        return _Welcome.SHOWN_OUT
