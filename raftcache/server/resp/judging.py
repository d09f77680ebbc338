"""Whether a call may be done just now: what is wrong with it, or with its client's state."""

from __future__ import annotations

from typing import Final

from raftcache.command.values import RESP2, Failure
from raftcache.server.resp.client import Client
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable, Entry
from raftcache.service.wording import NOT_BEGUN

WHEN_SUBSCRIBED: Final = frozenset(
    (
        b"PING",
        b"PSUBSCRIBE",
        b"PUNSUBSCRIBE",
        b"QUIT",
        b"RESET",
        b"SSUBSCRIBE",
        b"SUBSCRIBE",
        b"SUNSUBSCRIBE",
        b"UNSUBSCRIBE",
    )
)
"""In RESP2 nothing tells a message from a reply."""

NO_AUTH: Final = Failure("NOAUTH Authentication required.")
IN_MULTI: Final = Failure("ERR Command not allowed inside a transaction")


def judge(client: Client, table: CallTable, call: Request) -> Entry | Failure:
    """What becomes of a call, by Redis' order of questions; its name is in capitals then."""
    entry = table.find(call)
    if isinstance(entry, Failure):
        return entry
    if not client.is_trusted and "no_auth" not in entry.spec.flags:
        return NO_AUTH
    if client.queue is not None and entry.is_refused_in_multi:
        return IN_MULTI
    if client.listens and client.protocol == RESP2 and entry.name not in WHEN_SUBSCRIBED:
        return Failure(
            f"ERR Can't execute '{entry.spec.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE /"
            " PING / QUIT / RESET are allowed in this context"
        )
    numbers = client.idempotency
    if numbers is not None and numbers.is_held and client.queue is None:
        return NOT_BEGUN if entry.is_data and entry.spec.is_write else entry
    return entry
