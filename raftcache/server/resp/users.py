"""ACL, as far as it tells: there is one user, default, who may do everything."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from raftcache.command.call_table import SPECS
from raftcache.command.values import Failure, Members, Value
from raftcache.server.resp.client import Client
from raftcache.server.resp.greetings import DEFAULT_USER
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable
from raftcache.server.resp.words import as_text, help_lines, wrong_subcommand

CATEGORIES: Final = (
    b"keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin"
    b" fast slow blocking dangerous connection transaction scripting"
).split()

_HELP: Final = """
ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CAT [<category>]
    List all commands that belong to <category>, or all command categories
    when no category is specified.
GETUSER <username>
    Get the user's details.
LIST
    Show users details in config file format.
USERS
    List all the registered usernames.
WHOAMI
    Return the current connection username.
HELP
    Prints this help.
"""


class Users:
    """The room of these calls. password: of the one user, "" for none."""

    def __init__(self, password: str) -> None:
        secret = password.encode(errors="surrogateescape")
        self._digests = [sha256(secret).hexdigest().encode()] if secret else []

    def add_to(self, table: CallTable) -> None:
        table.add("ACL|CAT", _categories)
        table.add("ACL|GETUSER", self._user)
        table.add("ACL|HELP", lambda client, call: help_lines(_HELP))
        table.add("ACL|LIST", self._list)
        table.add("ACL|USERS", lambda client, call: [DEFAULT_USER])
        table.add("ACL|WHOAMI", lambda client, call: DEFAULT_USER)

    def _list(self, client: Client, call: Request) -> Value:
        secret = b"#" + self._digests[0] if self._digests else b"nopass"
        return [b"user %b on %b ~* &* +@all" % (DEFAULT_USER, secret)]

    def _user(self, client: Client, call: Request) -> Value:
        if call[2] != DEFAULT_USER:
            return None
        return {
            b"flags": Members([b"on"] if self._digests else [b"on", b"nopass"]),
            b"passwords": list(self._digests),
            b"commands": b"+@all",
            b"keys": b"~*",
            b"channels": b"&*",
            b"selectors": [],
        }


def _categories(client: Client, call: Request) -> Value:
    if len(call) == 2:
        return list(CATEGORIES)
    if len(call) > 3:
        return wrong_subcommand(call)
    name = call[2].partition(b"\0")[0]
    wanted = name.lower()
    if wanted not in CATEGORIES:
        return Failure(f"ERR Unknown category '{as_text(name)}'")
    specs = [each for spec in SPECS.values() for each in (spec, *spec.subcommands.values())]
    return [spec.name.encode() for spec in specs if wanted.decode() in spec.categories]
