"""What the socket under a connection is told, and asked."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

KEEP_ALIVE_S: Final = 300
"""Of silence, after which the kernel asks whether the client's machine is there."""


def keep_alive(transport: asyncio.Transport) -> None:
    """Find out when the client's machine has gone without a word, as Redis does."""
    stream: socket.socket | None = transport.get_extra_info("socket")
    if stream is not None and stream.family in (socket.AF_INET, socket.AF_INET6):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_S)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_S // 3)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def shown(transport: asyncio.Transport, end: str) -> str:
    """host:port of one end."""
    name = transport.get_extra_info(end)
    if not isinstance(name, tuple):
        return "?:0"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
