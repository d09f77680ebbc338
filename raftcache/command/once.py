"""The mark of a command that is applied at most once; every kind of command may carry one."""

from __future__ import annotations

from msgspec import Struct


class Number(Struct, array_like=True, frozen=True):
    """One of a client's requests, which it numbers: RIFL's, and the Raft dissertation's (6.3).

    client: as it was registered (ClientRegister). number: another one for each request.
    pending_from: the client waits for no request with a lower number, its own not among them:
    those are forgotten, and refused for ever. Nodes that know only commands of an older version
    cannot decode it where they expect a key.
    """

    client: int
    number: int
    pending_from: int


class Once(Struct, array_like=True, frozen=True):
    """Marks a command that must be applied at most once, however often it is sent.

    token: the caller's Idempotency-Key, at most TOKEN_SIZE_BYTES_MAX bytes; or the number that a
    client gave it.
    fingerprint: of the request, so that a token reused for another one is refused.
    """

    token: bytes | Number
    fingerprint: bytes

    @property
    def is_numbered(self) -> bool:
        return type(self.token) is Number
