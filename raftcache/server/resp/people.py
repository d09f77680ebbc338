"""CLIENT: who is connected, what each is called, and how to be rid of one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from raftcache.command.integers import integer_or_none
from raftcache.command.values import NIL_ARRAY, Failure, Value, Verbatim
from raftcache.server.resp.client import Client, Clients
from raftcache.server.resp.greetings import BAD_NAME, DEFAULT_USER
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable, Done
from raftcache.server.resp.words import NOT_INTEGER, SYNTAX, as_text, help_lines, is_plain_word

_HELP: Final = """
CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CACHING (YES|NO)
    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.
CONSISTENCY (LINEARIZABLE|LEASE|STALE [<max-staleness-ms>])
    Choose how fresh the reads of this connection are.
GETREDIR
    Return the client ID we are redirecting to when tracking is enabled.
GETNAME
    Return the name of the current connection.
ID
    Return the ID of the current connection.
IDEMPOTENCY (<id> [<next-number>]|OFF)
    Number the writes of this connection, so that each is applied once.
INFO
    Return information about the current client connection.
KILL <ip:port>
    Kill connection made from <ip:port>.
KILL <option> <value> [<option> <value> [...]]
    Kill connections. Options are:
    * ADDR (<ip:port>|<unixsocket>:0)
      Kill connections made from the specified address
    * ID <id>
      Kill the connection of this ID
    * LADDR (<ip:port>|<unixsocket>:0)
      Kill connections made to specified local address
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Kill connections by type.
    * USER <username>
      Kill connections authenticated by <username>.
    * SKIPME (YES|NO)
      Skip killing current connection (default: yes).
LIST [options ...]
    Return information about client connections. Options:
    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)
      Return clients of specified type.
    * ID <id> [<id> ...]
      Return clients of these IDs.
NO-EVICT (ON|OFF)
    Protect current client connection from eviction.
NO-TOUCH (ON|OFF)
    Will not alter what is known of the use of keys.
REPLY (ON|OFF|SKIP)
    Control the replies sent to the current connection.
SETINFO (LIB-NAME|LIB-VER) <value>
    Say what library this connection is made with.
SETNAME <name>
    Assign the name <name> to the current connection.
UNBLOCK <clientid> [TIMEOUT|ERROR]
    Unblock the specified blocked client.
TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]
         [OPTIN] [OPTOUT] [NOLOOP]
    Control server assisted client side caching.
TRACKINGINFO
    Report tracking status for the current connection.
HELP
    Prints this help.
"""

NO_SUCH_CLIENT: Final = Failure("ERR No such client")
TOO_MANY_FOR_UNBLOCK: Final = Failure(
    "ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP."
)
UNBLOCKED: Final = Failure("UNBLOCKED client unblocked via CLIENT UNBLOCK")

LINES_AT_ONCE: Final = 200
"""Of CLIENT LIST; some 5 ms."""

_TYPES: Final = (b"normal", b"master", b"replica", b"slave", b"pubsub")

_Wish = Callable[[Client], bool]


class People:
    """The room of these calls. now_s: as the connections' own times are."""

    def __init__(self, clients: Clients, now_s: Callable[[], float]) -> None:
        self._clients, self._now_s = clients, now_s

    def add_to(self, table: CallTable) -> None:
        table.add("CLIENT|ID", lambda client, call: client.id)
        table.add("CLIENT|GETNAME", lambda client, call: client.name or None)
        table.add("CLIENT|SETNAME", _set_name)
        table.add("CLIENT|SETINFO", _set_library)
        table.add("CLIENT|INFO", self._info)
        table.add_asking("CLIENT|LIST", self._list)
        table.add("CLIENT|KILL", self._kill)
        table.add("CLIENT|UNBLOCK", self._unblock)
        table.add("CLIENT|GETREDIR", lambda client, call: client.redirect)
        table.add("CLIENT|HELP", lambda client, call: help_lines(_HELP))

    def _info(self, client: Client, call: Request) -> Value:
        return Verbatim(self._line(client))

    def _list(self, client: Client, call: Request, done: Done) -> None:
        """Of thousands some in each turn of the loop."""
        found = self._found(call[2:])
        if isinstance(found, Failure):
            done(found)
            return
        left, lines = iter(found), list[bytes]()

        def go_on() -> None:
            some = list(islice(left, LINES_AT_ONCE))
            lines.extend(self._line(each) for each in some if not each.has_gone)
            if len(some) == LINES_AT_ONCE:
                client.outlet.soon(go_on)  # to nowhere, if it has gone
            else:
                done(Verbatim(b"".join(lines)))

        go_on()

    def _found(self, options: Request) -> list[Client] | Failure:
        """Those that LIST asks for."""
        if len(options) == 2 and options[0].upper() == b"TYPE":
            kind = options[1].lower()
            if kind not in _TYPES:
                return Failure(f"ERR Unknown client type '{as_text(options[1])}'")
            return [each for each in self._clients if _is_of_type(each, kind)]
        if len(options) >= 2 and options[0].upper() == b"ID":
            ids = [integer_or_none(id) for id in options[1:]]
            if None in ids:
                return Failure("ERR Invalid client ID")
            known = [self._clients.get(id) for id in ids if id is not None]
            return [each for each in known if each is not None]
        return SYNTAX if options else list(self._clients)

    def _line(self, client: Client) -> bytes:
        """As Redis 7.0 has it, with the library at the end as 7.2; zeros for what is not kept."""
        now_s, outlet, queue = self._now_s(), client.outlet, client.queue
        facts: dict[str, object] = {
            "id": client.id,
            "addr": client.address,
            "laddr": client.local_address,
            "fd": client.id,
            "name": client.name.decode(),
            "age": max(0, int(now_s - client.came_s)),
            "idle": max(0, int(now_s - client.active_s)),
            "flags": _flags(client),
            "db": 0,
            "sub": client.subscriptions,
            "psub": client.patterns,
            "ssub": client.shard_subscriptions,
            "multi": -1 if queue is None else len(queue.calls),
            "qbuf": outlet.unread_size_bytes,
            "qbuf-free": 0,
            "argv-mem": 0,
            "multi-mem": 0 if queue is None else queue.size_bytes,
            "rbs": 0,
            "rbp": 0,
            "obl": 0,
            "oll": 0,
            "omem": outlet.unsent_size_bytes,
            "tot-mem": outlet.unread_size_bytes + outlet.unsent_size_bytes,
            "events": "r",
            "cmd": client.last_call.decode(errors="replace").lower() or "NULL",
            "user": DEFAULT_USER.decode(),
            "redir": client.redirect,
            "resp": client.protocol,
            "lib-name": client.library.decode(),
            "lib-ver": client.library_version.decode(),
        }
        return " ".join(f"{name}={fact}" for name, fact in facts.items()).encode() + b"\n"

    def _kill(self, client: Client, call: Request) -> Value:
        if len(call) == 3:
            address = as_text(call[2])
            found = [each for each in self._clients if each.address == address]
            if not found:
                return NO_SUCH_CLIENT
            _end(found, client)
            return "OK"
        wishes: list[_Wish] = []
        skips_me, options = True, call[2:]
        for option, value in zip(options[::2], options[1::2], strict=False):
            if option.upper() == b"SKIPME" and value.lower() in (b"yes", b"no"):
                skips_me = value.lower() == b"yes"
                continue
            wish = _wish(option.upper(), value)
            if isinstance(wish, Failure):
                return wish
            wishes.append(wish)
        if len(options) % 2:
            return SYNTAX
        found = [each for each in self._clients if all(wish(each) for wish in wishes)]
        if skips_me:
            found = [each for each in found if each is not client]
        _end(found, client)
        return len(found)

    def _unblock(self, client: Client, call: Request) -> Value:
        how = call[3].upper() if len(call) == 4 else b"TIMEOUT"
        if len(call) > 4:
            return TOO_MANY_FOR_UNBLOCK
        if how not in (b"TIMEOUT", b"ERROR"):
            return Failure("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
        id = integer_or_none(call[2])
        if id is None:
            return NOT_INTEGER
        found = self._clients.get(id)
        value = NIL_ARRAY if how == b"TIMEOUT" else UNBLOCKED
        return int(found is not None and found.unblock(value))


def _set_name(client: Client, call: Request) -> Value:
    if not is_plain_word(call[2]):
        return BAD_NAME
    client.name = call[2]
    return "OK"


def _set_library(client: Client, call: Request) -> Value:
    option, value = call[2].lower(), call[3]
    if option not in (b"lib-name", b"lib-ver"):
        return Failure(f"ERR Unrecognized option '{as_text(call[2])}'")
    if not is_plain_word(value):
        name = as_text(option)
        return Failure(f"ERR {name} cannot contain spaces, newlines or special characters.")
    if option == b"lib-name":
        client.library = value
    else:
        client.library_version = value
    return "OK"


def _flags(client: Client) -> str:
    shown = "P" if client.listens else ""
    shown += "x" if client.queue is not None else ""
    shown += "b" if client.is_blocked else ""
    shown += "t" if client.before_reads is not None else ""
    return shown or "N"


def _is_of_type(client: Client, kind: bytes) -> bool:
    if kind == b"pubsub":
        return client.listens
    return kind == b"normal" and not client.listens


def _wish(option: bytes, value: bytes) -> _Wish | Failure:
    """What one option of KILL asks of a client."""
    match option:
        case b"ID":
            id = integer_or_none(value)
            if id is None or id < 1:
                return Failure("ERR client-id should be greater than 0")
            return lambda client: client.id == id
        case b"TYPE":
            kind = value.lower()
            if kind not in _TYPES:
                return Failure(f"ERR Unknown client type '{as_text(value)}'")
            return lambda client: _is_of_type(client, kind)
        case b"ADDR":
            return lambda client: client.address.encode() == value
        case b"LADDR":
            return lambda client: client.local_address.encode() == value
        case b"USER":
            if value != DEFAULT_USER:
                return Failure(f"ERR No such user '{as_text(value)}'")
            return lambda client: client.is_trusted
    return SYNTAX


def _end(found: list[Client], myself: Client) -> None:
    """Close their connections; one's own when the answer has been sent."""
    for client in found:
        if client is myself:
            client.leave()
        else:
            client.outlet.cut_off("CLIENT KILL")
