"""The links between nodes, and what can be done to them; a network is one way to do it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from chaos.places import Place

Pair = tuple[str, str]
"""One direction: (from, to)."""


@dataclass(frozen=True)
class Weather:
    """What happens to what passes over a link.

    delay_s, jitter_s: it takes so long, and up to so much longer.
    loss_chance: of each packet, where packets can be lost; elsewhere it looks as if they were:
    stall_chance, stall_s: of each chunk, to take so much longer.
    break_chance: of each chunk, to break the connection.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss_chance: float = 0.0
    stall_chance: float = 0.0
    stall_s: float = 0.0
    break_chance: float = 0.0


class Network(Protocol):
    """Use it with `async with`, around the life of the nodes.

    Whatever is done to its links may be done several times at once; the last who leaves heals.
    """

    @property
    def places(self) -> Mapping[str, Place]:
        """Where the nodes must be for their links to be of this network."""
        ...

    async def __aenter__(self) -> Network: ...

    async def __aexit__(self, *error: object) -> None: ...

    def cut(self, pairs: Iterable[Pair]) -> AbstractAsyncContextManager[None]:
        """These are silent meanwhile; nobody is told."""
        ...

    def severed(self, pairs: Iterable[Pair]) -> AbstractAsyncContextManager[None]:
        """Connections between these break, and none can be made meanwhile; both ends know."""
        ...

    def weather(self, pairs: Iterable[Pair], weather: Weather) -> AbstractAsyncContextManager[None]:
        """What passes meanwhile gets this weather."""
        ...
