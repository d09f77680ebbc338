"""The network of namespaces: what comes through, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.links import Weather
from chaos.namespaces import Namespaces, missing
from chaos.places import Place

WHY_NOT = missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

PATIENCE_S = 20.0
PORT = 7000
CLONE_NEWNET = 0x40000000

MAKER = """
import asyncio, signal
from chaos.namespaces import Namespaces
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
async def main():
    async with Namespaces(["a"]) as network:
        # Says itself that it is there: one on its way in would be found by nobody.
        await asyncio.create_subprocess_exec(
            *network.places["a"].prefix, "sh", "-c", "echo $$; exec sleep 1000"
        )
        await asyncio.sleep(1000)
asyncio.run(main())
"""


def host_of(place: Place) -> str:
    return place.http.partition(":")[0]


def inside(place: Place, kind: socket.SocketKind) -> socket.socket:
    """A socket that lives where this node would; bound to its address."""
    made: list[socket.socket] = []

    def make() -> None:
        path = place.prefix[1].removeprefix("--net=")
        namespace = os.open(path, os.O_RDONLY)
        try:
            failed = ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET)
        finally:
            os.close(namespace)
        if not failed:
            made.append(socket.socket(socket.AF_INET, kind))

    thread = threading.Thread(target=make)  # which stays there, and ends
    thread.start()
    thread.join()
    (one,) = made
    one.settimeout(PATIENCE_S)
    one.bind((host_of(place), PORT if kind is socket.SOCK_DGRAM else 0))
    return one


class Mouths:
    """a and b, who send each other datagrams."""

    def __init__(self, network: Namespaces) -> None:
        self.sockets = {n: inside(p, socket.SOCK_DGRAM) for n, p in network.places.items()}
        self.hosts = {n: host_of(p) for n, p in network.places.items()}

    def say(self, by: str, to: str, word: bytes) -> None:
        self.sockets[by].sendto(word, (self.hosts[to], PORT))

    def hear(self, name: str) -> bytes:
        return self.sockets[name].recv(100)

    def close(self) -> None:
        for one in self.sockets.values():
            one.close()


async def one_way(network: Namespaces, mouths: Mouths) -> None:
    async with network.cut([("a", "b")]):
        async with network.cut([("a", "b")]):
            pass  # healed once, cut still
        mouths.say("a", "b", b"lost")
        mouths.say("b", "a", b"the other way")
        assert mouths.hear("a") == b"the other way"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"from a client", (mouths.hosts["b"], PORT))
            assert mouths.hear("b") == b"from a client"
    mouths.say("a", "b", b"healed")
    assert mouths.hear("b") == b"healed"


async def loss(network: Namespaces, mouths: Mouths) -> None:
    async with network.weather([("a", "b")], Weather(loss_chance=0.5)):
        for _ in range(400):
            mouths.say("a", "b", b"maybe")
    mouths.say("a", "b", b"the end")
    heard = 0
    while mouths.hear("b") == b"maybe":
        heard += 1
    assert 100 < heard < 300  # ten times the standard deviation


async def broken(network: Namespaces, mouths: Mouths) -> None:
    places = network.places
    with inside(places["b"], socket.SOCK_STREAM) as listener:
        listener.listen()
        address = listener.getsockname()
        with inside(places["a"], socket.SOCK_STREAM) as dialler:
            dialler.connect(address)
            async with network.severed([("b", "a")]):
                dialler.send(b"x")
                with pytest.raises(ConnectionResetError):
                    dialler.recv(1)
                with (
                    inside(places["a"], socket.SOCK_STREAM) as again,
                    pytest.raises(ConnectionRefusedError),
                ):
                    again.connect(address)
        with inside(places["a"], socket.SOCK_STREAM) as again:
            again.connect(address)


@pytest.mark.parametrize("fault", [one_way, loss, broken])
def test_links_are_cut_lossy_or_broken(fault: Callable[[Namespaces, Mouths], object]) -> None:
    async def play() -> None:
        async with Namespaces(["a", "b"]) as network:
            mouths = Mouths(network)
            try:
                await fault(network, mouths)  # type: ignore[misc]
            finally:
                mouths.close()

    asyncio.run(play())
    assert left_by(os.getpid()) == []


def left_by(pid: int) -> list[str]:
    """Namespaces and links that this process made."""
    namespaces = [p.name for p in Path("/run/netns").glob(f"raftcache-chaos-{pid}-*")]
    return namespaces + [p.name for p in Path("/sys/class/net").glob(f"chaos{pid}")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_however_the_maker_ends(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAKER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as maker:
        assert maker.stdout is not None
        sleeper = int(maker.stdout.readline())
        assert len(left_by(maker.pid)) == 3, "a, the hub, and the link"
        maker.send_signal(number)
    deadline_s = time.monotonic() + PATIENCE_S
    while left_by(maker.pid) or runs(sleeper):
        assert time.monotonic() < deadline_s, (left_by(maker.pid), runs(sleeper))
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """A zombie does not: its parent is gone, and whoever comes after that may be slow."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
