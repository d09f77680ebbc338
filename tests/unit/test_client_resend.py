"""A write whose connection broke is unknown, whatever the HTTP library does about it."""

from __future__ import annotations

import asyncio

import pytest

from raftcache.client import RaftcacheClient
from raftcache.errors import Refused, Unknown

CREATED = (
    b'HTTP/1.1 201 Created\r\nETag: "1"\r\nX-Raftcache-Served-By: n1\r\n'
    b'Content-Length: 14\r\n\r\n{"revision":1}'
)
PROBLEM = b'{"type":"urn:raftcache:not-found","title":"not found","status":404}'
NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n"
    b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n%b"
) % (len(PROBLEM), PROBLEM)


async def puts_to_a_node_that_dies(second: str) -> Exception:
    """The first put is answered; the second one is read, and then the node is gone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while line := await reader.readline():
            if line.startswith(b"POST /v1/clients"):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(NOT_FOUND)
                writer.close()
                return
            if line.startswith((b"PUT", b"DELETE", b"POST")):
                seen += 1
            if line == b"\r\n" and seen == 1:
                await reader.readexactly(1)
                writer.write(CREATED)
            elif line == b"\r\n":
                server.close()
                writer.transport.abort()
                return

    seen = 0
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with RaftcacheClient([f"http://127.0.0.1:{port}"], timeout_s=0.3) as client:
        await client.put(b"k", b"1")
        with pytest.raises((Refused, Unknown)) as caught:
            await getattr(client, second)(b"k", *([b"2"] if second != "delete" else []))
        with pytest.raises(Refused):  # nobody is there any more: never sent, so this is definite
            await client.put(b"k", b"3")
    assert seen == 2
    return caught.value


@pytest.mark.parametrize("second", ["put", "delete", "append"])
def test_a_broken_connection_leaves_an_unknown_outcome(second: str) -> None:
    assert isinstance(asyncio.run(puts_to_a_node_that_dies(second)), Unknown)
