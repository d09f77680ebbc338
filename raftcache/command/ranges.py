"""Ranges of keys: [start, end), an empty end means to the last key there is."""

from __future__ import annotations


def is_within(key: bytes, start: bytes, end: bytes) -> bool:
    """Whether the range has the key."""
    return start <= key and (not end or key < end)


def end_of_prefix(prefix: bytes) -> bytes:
    """Where the range of the keys with a prefix ends, that starts at the prefix itself."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,)) if head else b""
