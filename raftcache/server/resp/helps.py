"""HELP of OBJECT, MEMORY, XGROUP and XINFO: what these calls of data are for."""

from __future__ import annotations

from typing import Final

from raftcache.server.resp.table import CallTable
from raftcache.server.resp.words import help_lines

_OBJECT: Final = """
OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
ENCODING <key>
    Return how a Redis with default settings would keep the value of <key>.
FREQ <key>
    Refused: how often keys are read is not counted here.
IDLETIME <key>
    Return 0: when keys were read last is not kept here.
REFCOUNT <key>
    Return 1: values are not shared.
HELP
    Prints this help.
"""

_MEMORY: Final = """
MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
USAGE <key> [SAMPLES <count>]
    Return about how many bytes <key> and its value take of each node's memory.
    All elements count, whatever <count> is.
HELP
    Prints this help.
"""

_XINFO: Final = """
XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CONSUMERS <key> <groupname>
    Show consumers of <groupname>.
GROUPS <key>
    Show the stream consumer groups.
STREAM <key> [FULL [COUNT <count>]
    Show information about the stream.
HELP
    Prints this help.
"""

_XGROUP: Final = """
XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CREATE <key> <groupname> <id|$> [option]
    Create a new consumer group. Options are:
    * MKSTREAM
      Create the empty stream if it does not exist.
    * ENTRIESREAD entries_read
      Set the group's entries_read counter (internal use).
CREATECONSUMER <key> <groupname> <consumer>
    Create a new consumer in the specified group.
DELCONSUMER <key> <groupname> <consumer>
    Remove the specified consumer.
DESTROY <key> <groupname>
    Remove the specified group.
SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]
    Set the current group ID and entries_read counter.
HELP
    Prints this help.
"""


def add_to(table: CallTable) -> None:
    """As a room does."""
    table.add("OBJECT|HELP", lambda client, call: help_lines(_OBJECT))
    table.add("MEMORY|HELP", lambda client, call: help_lines(_MEMORY))
    table.add("XGROUP|HELP", lambda client, call: help_lines(_XGROUP))
    table.add("XINFO|HELP", lambda client, call: help_lines(_XINFO))
