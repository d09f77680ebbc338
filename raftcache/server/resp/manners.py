"""CLIENT: how one connection wants to be treated: its replies, its reads, and its writes.

Two are raftcache's own. CONSISTENCY chooses how fresh reads are. IDEMPOTENCY numbers writes: from
then on each call that writes, and each EXEC, has the next number, and with it a token that is
applied once. A client that lost its connection says the same id and the number of its first write
without an answer on another one, and sends what came from there again, in the same order.
"""

from __future__ import annotations

from typing import Final

from raftcache.command.integers import integer_or_none
from raftcache.command.limits import TOKEN_SIZE_BYTES_MAX
from raftcache.command.values import Failure, Value
from raftcache.server.resp.client import Client, Idempotency, Mute
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import NO_REPLY, CallTable
from raftcache.server.resp.words import NOT_INTEGER, SYNTAX
from raftcache.service.kv import Level, Want

ID_SIZE_BYTES_MAX: Final[int] = TOKEN_SIZE_BYTES_MAX - len(f":{(1 << 63) - 1}")
"""With the number, it is a token."""

STALENESS_MS_MAX: Final = 1 << 53

BAD_ID: Final = Failure(f"ERR an idempotency id has 1 to {ID_SIZE_BYTES_MAX} bytes")


class Manners:
    """The room of these calls."""

    def add_to(self, table: CallTable) -> None:
        table.add("CLIENT|REPLY", _reply)
        table.add("CLIENT|NO-EVICT", _switch)
        table.add("CLIENT|NO-TOUCH", _switch)
        table.add("CLIENT|CONSISTENCY", _consistency)
        table.add("CLIENT|IDEMPOTENCY", _idempotency, is_refused_in_multi=True)


def _reply(client: Client, call: Request) -> Value:
    match call[2].upper():
        case b"ON":
            client.mute = Mute.NO
            return "OK"
        case b"OFF":
            client.mute = Mute.ALL
        case b"SKIP":
            if client.mute is not Mute.ALL:
                client.mute = Mute.NEXT
        case _:
            return SYNTAX
    return NO_REPLY


def _switch(client: Client, call: Request) -> Value:
    """Accepted, for clients say it at once; there is nothing here that it would change."""
    return "OK" if call[2].upper() in (b"ON", b"OFF") else SYNTAX


def _consistency(client: Client, call: Request) -> Value:
    levels = {level.value.encode(): level for level in Level}
    level = levels.get(call[2].lower())
    if level is None or len(call) > (4 if level is Level.STALE else 3):
        return SYNTAX
    staleness_ms = None
    if len(call) == 4:
        staleness_ms = integer_or_none(call[3])
        if staleness_ms is None or not 0 <= staleness_ms <= STALENESS_MS_MAX:
            return NOT_INTEGER
    client.want = Want(level, staleness_ms)
    return "OK"


def _idempotency(client: Client, call: Request) -> Value:
    id = call[2]
    if len(call) == 3 and id.upper() == b"OFF":
        client.idempotency = None
        return "OK"
    if not 1 <= len(id) <= ID_SIZE_BYTES_MAX:
        return BAD_ID
    if len(call) > 4:
        return SYNTAX
    number = integer_or_none(call[3]) if len(call) == 4 else 1
    if number is None or not 0 <= number < 1 << 62:
        return NOT_INTEGER
    client.idempotency = Idempotency(id, number)
    return "OK"
