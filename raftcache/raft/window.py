"""Flow control: how much may be on its way to one peer before it has answered (rule 15)."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_SIZE_BYTES_MAX: Final = 4 << 20
"""Enough to keep a fast link busy during one fsync; little enough that no peer starves a turn."""

WINDOW_MESSAGES_MAX: Final = 64
"""Small batches are bounded by number: each one is an answer to wait for."""


class Window:
    """The messages sent to one peer and not yet answered, by their sequence numbers."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, int]] = deque()
        self._size_bytes = 0

    @property
    def is_open(self) -> bool:
        """One more message may go; a single message may be larger than the window."""
        return self._size_bytes < WINDOW_SIZE_BYTES_MAX and len(self._sent) < WINDOW_MESSAGES_MAX

    def sent(self, seq: int, size_bytes: int) -> None:
        assert not self._sent or seq > self._sent[-1][0]
        self._sent.append((seq, size_bytes))
        self._size_bytes += size_bytes

    def answered(self, seq: int) -> None:
        """An answer to `seq` answers everything sent before it: links keep the order."""
        while self._sent and self._sent[0][0] <= seq:
            self._size_bytes -= self._sent.popleft()[1]

    def reset(self) -> None:
        """The link is new, or everything on its way is void."""
        self._sent.clear()
        self._size_bytes = 0
