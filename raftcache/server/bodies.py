"""The bodies of requests that the application answers."""

from __future__ import annotations

from typing import cast

from aiohttp import web

from raftcache.server.connection import Connection


async def read_body(request: web.Request) -> bytes:
    """All of it. Raises Overloaded where the door has no room for it, and 413 if it is too large.

    What is still to come then is read by aiohttp and kept by nobody, so that the client, which may
    read only when it has sent all, is told.
    """
    connection, size_bytes_max = cast("Connection", request.protocol), request.client_max_size
    request.content.set_read_chunk_size(size_bytes_max)
    body = bytearray()
    while chunk := await _more(request, connection):
        connection.keep_more()
        body += chunk
        if len(body) > size_bytes_max:
            raise web.HTTPRequestEntityTooLarge(size_bytes_max)
    return bytes(body)


async def _more(request: web.Request, connection: Connection) -> bytes:
    """Nothing at its end. ConnectionError, and not RuntimeError, if the client has left."""
    if connection.transport is None:
        raise ConnectionResetError("the client has gone")
    return await request.content.readany()
