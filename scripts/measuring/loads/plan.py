"""What a dialect hands to our generator: packets, and answers whose size is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

KEYS = 10_000
VALUE = b"x" * 64


@dataclass(frozen=True)
class Plan:
    """Each packet holds `pipeline` operations, and is answered by exactly `answer_bytes`."""

    packets: Sequence[bytes]
    answer_bytes: int
    is_good: Callable[[bytes], bool]
    """Whether an answer says that every operation of the packet was carried out."""
    greeting: bytes = b""
    greeting_answer_bytes: int = 0
    farewell: bytes = b""
    nudge: bytes = b""
    """Said beside the load again and again, for a server that may sleep over a request."""
