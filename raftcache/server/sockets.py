"""What the socket under a connection is told."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

PROBES: Final = 3
"""Questions of the kernel that nobody answers, after which a connection ends."""


def keep_alive(transport: asyncio.Transport, silence_s: int) -> None:
    """Find out when the client's machine has gone without a word: after twice such a silence."""
    stream: socket.socket | None = transport.get_extra_info("socket")
    if stream is not None and stream.family in (socket.AF_INET, socket.AF_INET6):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, silence_s)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, silence_s // PROBES)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
