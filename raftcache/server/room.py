"""How much memory clients may take at the HTTP door: of requests that come, of answers that go.

A request is held from its first byte until it is answered, an answer until the client has read it.
Connections have a limit, but 10,000 of them hold 10,000 values; so what they hold together is
counted, beyond the first FREE_SIZE_BYTES of each: a request that wants no more is never refused for
what others hold.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from raftcache.errors import Overloaded

FREE_SIZE_BYTES: Final = 16 << 10
"""Of each connection, that are not counted."""


class Room:
    """Of one port: for what all of its connections hold of one kind."""

    __slots__ = ("_size_bytes_max", "_what", "size_bytes")

    def __init__(self, what: str, size_bytes_max: int) -> None:
        self._what, self._size_bytes_max = what, size_bytes_max
        self.size_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether nobody may come to hold more."""
        return self.size_bytes >= self._size_bytes_max

    def hold(self, counted: int, size_bytes: int) -> int:
        """A connection for which `counted` was counted holds so much; what is counted now."""
        now = max(0, size_bytes - FREE_SIZE_BYTES)
        self.size_bytes += now - counted
        assert self.size_bytes >= 0, "more was given back than was taken"
        return now

    def refusal(self) -> Overloaded:
        """Of whoever wants more all the same."""
        size = f"{self._size_bytes_max} bytes"
        return Overloaded(f"this node holds {size} of {self._what} already", retry_after_s=1.0)


class Requests:
    """What one connection holds of requests that are not answered, in their order.

    Hot ones are given away at once, when they are complete; others wait for the application.
    """

    __slots__ = ("_coming", "_room", "_waiting", "counted")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._coming = 0
        """Of bytes that belong to no request that waits."""
        self._waiting: deque[int] = deque()
        self.counted = 0

    def came(self, size_bytes: int) -> None:
        """More has come."""
        self._coming += size_bytes

    def served(self) -> None:
        """What came last is the service's now, which counts by itself."""
        self._coming = 0

    def queued(self) -> None:
        """What came last is the beginning of a request that waits now, behind the others."""
        self._waiting.append(self._coming)
        self._coming = 0

    def continued(self) -> None:
        """What came last is of the body of the last that waits, or of one that was refused."""
        if self._waiting:
            self._waiting[-1] += self._coming
        self._coming = 0

    def refused(self) -> None:
        """The first that waits is kept no more."""
        if self._waiting:
            self._waiting[0] = 0

    def answered(self) -> None:
        """The first that waits."""
        if self._waiting:
            self._waiting.popleft()

    @property
    def are_many(self) -> bool:
        """Whether one waits behind another."""
        return len(self._waiting) > 1

    def count(self, rest_size_bytes: int = 0) -> bool:
        """Count it, and so much beside it; whether that is too much."""
        held = self._coming + sum(self._waiting) + rest_size_bytes
        self.counted = self._room.hold(self.counted, held)
        return self.counted > 0 and self._room.is_full

    def gone(self) -> None:
        """The connection is."""
        self._coming = 0
        self._waiting.clear()
        self.count()
