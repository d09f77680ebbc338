"""Where nodes run, and where they are reached."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chaos.waiting import Trouble

HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Room for one node; all addresses are host:port.

    raft: where the node listens for its peers; advertised: where they dial it. resp: where it
    serves Redis clients.
    prefix: of the command that starts it. options: of the node, because of where it is.
    """

    http: str
    raft: str
    advertised: str
    resp: str
    prefix: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"http://{self.http}"


def names_of(count: int) -> list[str]:
    return [f"n{i}" for i in range(1, count + 1)]


def local(names: Sequence[str], *, proxied: bool = False) -> dict[str, Place]:
    """On free ports of this host.

    proxied: somebody must listen at `advertised`, and pass on what comes to `raft`.
    """
    ports = iter(_free_ports((4 if proxied else 3) * len(names)))
    places = {}
    for name in names:
        http, raft, resp = (f"{HOST}:{next(ports)}" for _ in range(3))
        places[name] = Place(http, raft, f"{HOST}:{next(ports)}" if proxied else raft, resp)
    return places


def _free_ports(count: int) -> list[int]:
    """From a random one on, below those that systems give to outgoing connections.

    Among those, a client that tries to reach a dead node may be given the node's own port.
    """
    free: list[int] = []
    for port in range(random.randrange(20_000, 31_000), 32_000):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise Trouble("there are not enough free ports")
