"""What tools ask for when they start: SLOWLOG, LATENCY and MODULE, which have nothing to tell here.

They answer as a Redis whose slow log and whose latency monitor are switched off, and CONFIG GET
says that they are; /metrics has what is measured.
"""

from __future__ import annotations

from typing import Final

from raftcache.command.integers import integer_or_none
from raftcache.command.values import Failure, Value
from raftcache.server.resp.client import Client
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable
from raftcache.server.resp.words import help_lines, wrong_subcommand

OFF: Final = {
    "latency-monitor-threshold": "0",
    "latency-tracking": "no",
    "slowlog-log-slower-than": "-1",
    "slowlog-max-len": "0",
}
"""As CONFIG GET tells it."""

BAD_COUNT: Final = Failure("ERR count should be greater than or equal to -1")

_SLOWLOG: Final = """
SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
GET [<count>]
    Return nothing: no log is kept.
LEN
    Return 0.
RESET
    Do nothing.
HELP
    Prints this help.
"""

_LATENCY: Final = """
LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
HISTOGRAM [COMMAND ...]
    Return nothing: see /metrics.
HISTORY <event>
    Return nothing: no events are recorded.
LATEST
    Return nothing: no events are recorded.
RESET [<event> ...]
    Return 0.
HELP
    Prints this help.
"""

_MODULE: Final = """
MODULE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
LIST
    Return nothing: there are no modules.
HELP
    Prints this help.
"""


def add_to(table: CallTable) -> None:
    """As a room does."""
    for name in ("LATENCY|HISTORY", "LATENCY|LATEST", "MODULE|LIST"):
        table.add(name, lambda client, call: [])
    for name in ("LATENCY|RESET", "SLOWLOG|LEN"):
        table.add(name, lambda client, call: 0)
    table.add("LATENCY|HISTOGRAM", lambda client, call: {})
    table.add("SLOWLOG|GET", _slowest)
    table.add("SLOWLOG|RESET", lambda client, call: "OK")
    table.add("SLOWLOG|HELP", lambda client, call: help_lines(_SLOWLOG))
    table.add("LATENCY|HELP", lambda client, call: help_lines(_LATENCY))
    table.add("MODULE|HELP", lambda client, call: help_lines(_MODULE))


def _slowest(client: Client, call: Request) -> Value:
    if len(call) > 3:
        return wrong_subcommand(call)
    count = integer_or_none(call[2]) if len(call) == 3 else 0
    return BAD_COUNT if count is None or count < -1 else []
