"""The mark of a command that is applied at most once; every kind of command may carry one."""

from __future__ import annotations

from msgspec import Struct


class Once(Struct, array_like=True, frozen=True):
    """Marks a command that must be applied at most once, however often it is sent.

    token: the caller's Idempotency-Key, at most TOKEN_SIZE_BYTES_MAX bytes.
    fingerprint: of the request, so that a token reused for another one is refused.
    """

    token: bytes
    fingerprint: bytes
