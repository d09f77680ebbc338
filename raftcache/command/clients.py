"""The commands about clients that number their requests: a part of `words`.

The id of a client is the revision of its registration: it is given once, and never again. So a
request of a client that is not known is one of a client that was forgotten, and never a new one's.
Neither command is applied once: two processes must not share an id, and who leaves has nothing left
to be answered from.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from raftcache.command.once import Once


class ClientRegister(Struct, array_like=True, tag=29, frozen=True):
    """A new client (CREATED); its id, in number, is the revision that this takes."""

    once: Once | None = None


class ClientLeave(Struct, array_like=True, tag=30, frozen=True):
    """Forget a client, and all that was answered to it (DELETED, with count 0 if it was not known).

    Whatever of its requests still comes is refused.
    """

    client: int
    once: Once | None = None


Registering: TypeAlias = ClientRegister | ClientLeave
