"""Whether nobody listens at an address: told from real sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from raftcache.config import Address
from raftcache.raft import probe
from raftcache.raft.probe import nobody_listens
from tests.unit.seats import on_both_loops


def free_address() -> Address:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Address(*sock.getsockname())


@on_both_loops
async def test_nobody_listens_where_no_process_has_the_port() -> None:
    assert await nobody_listens(free_address())


@on_both_loops
async def test_a_process_that_never_accepts_listens_all_the_same() -> None:
    """As one that is paused: its kernel accepts for it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        assert not await nobody_listens(Address(*sock.getsockname()))


@on_both_loops
async def test_a_process_that_ends_is_asked_again() -> None:
    """Its port is closed a moment after its links; who was accepted meanwhile is cut off."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        asked = asyncio.ensure_future(nobody_listens(Address(*sock.getsockname())))
        sock.setblocking(False)
        accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
    accepted.close()
    assert await asked


@on_both_loops
async def test_who_hangs_up_on_everybody_is_there() -> None:
    """A proxy before a process that has ended, for one: it may stand before one that has not."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        assert not await nobody_listens(Address(*server.sockets[0].getsockname()[:2]))


@on_both_loops
async def test_a_name_that_nobody_knows_says_nothing() -> None:
    assert not await nobody_listens(Address("nobody.invalid", 1))


@on_both_loops
async def test_it_takes_no_longer_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full backlog: nothing comes back at all."""
    monkeypatch.setattr(probe, "PROBE_TIMEOUT_S", 0.05)
    with socket.socket() as sock, socket.socket() as first:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        first.connect(sock.getsockname())
        assert not await nobody_listens(Address(*sock.getsockname()))
