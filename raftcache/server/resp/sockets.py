"""What the socket under a connection is told, and asked."""

from __future__ import annotations

import asyncio
from typing import Final

KEEP_ALIVE_S: Final = 300
"""Of silence, after which the kernel asks whether the client's machine is there, as for Redis."""


def shown(transport: asyncio.Transport, end: str) -> str:
    """host:port of one end."""
    name = transport.get_extra_info(end)
    if not isinstance(name, tuple):
        return "?:0"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
