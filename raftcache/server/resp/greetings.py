"""Who is there, and in which protocol: HELLO, AUTH, PING, SELECT, RESET, QUIT and the like."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from raftcache.command.call_table import REDIS_VERSION
from raftcache.command.integers import integer_or_none
from raftcache.command.values import RESP2, RESP3, Failure, Value
from raftcache.server.resp.client import Client
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable
from raftcache.server.resp.words import NOT_INTEGER, SYNTAX, as_text, is_plain_word

BAD_NAME: Final = Failure("ERR Client names cannot contain spaces, newlines or special characters.")
WRONG_PASSWORD: Final = Failure("WRONGPASS invalid username-password pair or user is disabled.")
NO_PASSWORD: Final = Failure(
    "ERR AUTH <password> called without any password configured for the default user."
    " Are you sure your configuration is correct?"
)
HELLO_FIRST: Final = Failure(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO"
    " <proto> AUTH <user> <pass> option can be used to authenticate the client and select the"
    " RESP protocol version at the same time"
)
DEFAULT_USER: Final = b"default"


class Greetings:
    """The room of these calls.

    password: that clients must say; "" for none. is_leader: whether this node leads.
    """

    def __init__(self, password: str, is_leader: Callable[[], bool]) -> None:
        self._password, self._is_leader = password.encode(errors="surrogateescape"), is_leader

    def add_to(self, table: CallTable) -> None:
        table.add("HELLO", self._hello)
        table.add("AUTH", self._auth)
        table.add("PING", _ping)
        table.add("ECHO", _echo)
        table.add("SELECT", _select)
        table.add("READONLY", _ok)
        table.add("READWRITE", _ok)
        table.add("RESET", self._reset, is_immediate=True)
        table.add("QUIT", _quit, is_immediate=True)

    def _hello(self, client: Client, call: Request) -> Value:
        protocol = client.protocol
        if len(call) > 1:
            version = integer_or_none(call[1])
            if version is None:
                return Failure("ERR Protocol version is not an integer or out of range")
            if version not in (RESP2, RESP3):
                return Failure("NOPROTO unsupported protocol version")
            protocol = version
        wish = _read_options(call[2:])
        if isinstance(wish, Failure):
            return wish
        user, password, name = wish
        if user is not None and not self._is_right(client, user, password):
            return WRONG_PASSWORD
        if not client.is_trusted:
            return HELLO_FIRST
        if name is not None:
            client.name = name
        client.set_protocol(protocol)
        return {
            b"server": b"redis",
            b"version": REDIS_VERSION,
            b"proto": protocol,
            b"id": client.id,
            b"mode": b"standalone",
            b"role": b"master" if self._is_leader() else b"replica",
            b"modules": [],
        }

    def _auth(self, client: Client, call: Request) -> Value:
        if len(call) > 3:
            return SYNTAX
        if len(call) == 2 and not self._password:
            return NO_PASSWORD
        user = call[1] if len(call) == 3 else DEFAULT_USER
        return "OK" if self._is_right(client, user, call[-1]) else WRONG_PASSWORD

    def _is_right(self, client: Client, user: bytes, password: bytes) -> bool:
        """Trust the client if it has said the password; without one, anything is right."""
        if user != DEFAULT_USER:
            return False
        if self._password and not hmac.compare_digest(password, self._password):
            return False
        client.is_trusted = True
        return True

    def _reset(self, client: Client, call: Request) -> Value:
        client.set_protocol(RESP2)
        client.end()
        client.forget()
        client.is_trusted = not self._password
        return "RESET"


def _read_options(
    options: Request,
) -> tuple[bytes | None, bytes, bytes | None] | Failure:
    """User, password and name of a HELLO."""
    user, password, name = None, b"", None
    at = 0
    while at < len(options):
        option, more = options[at].upper(), len(options) - at - 1
        if option == b"AUTH" and more >= 2:
            user, password = options[at + 1 : at + 3]
            at += 3
        elif option == b"SETNAME" and more >= 1:
            name = options[at + 1]
            if not is_plain_word(name):
                return BAD_NAME
            at += 2
        else:
            return Failure(f"ERR Syntax error in HELLO option '{as_text(options[at])}'")
    return user, password, name


def _ping(client: Client, call: Request) -> Value:
    if len(call) > 2:
        return Failure("ERR wrong number of arguments for 'ping' command")
    text = call[1] if len(call) == 2 else None
    if client.protocol == RESP2 and client.listens:
        return [b"pong", text or b""]
    return "PONG" if text is None else text


def _echo(client: Client, call: Request) -> Value:
    return call[1]


def _select(client: Client, call: Request) -> Value:
    number = integer_or_none(call[1])
    if number is None or not -(1 << 31) <= number < 1 << 31:
        return NOT_INTEGER
    return "OK" if number == 0 else Failure("ERR DB index is out of range")


def _ok(client: Client, call: Request) -> Value:
    return "OK"


def _quit(client: Client, call: Request) -> Value:
    client.leave()
    return "OK"
