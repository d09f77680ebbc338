"""Commands on streams."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= stream
XACK -4 1,1,1 write fast
  Marks a pending message as correctly processed, effectively removing it from the pending entries
    list of the consumer group. Return value of the command is the number of messages successfully
    acknowledged, that is, the IDs we were actually able to resolve in the PEL.
  5.0.0: O(1) for each message ID processed.
XADD -5 1,1,1 write denyoom fast
  Appends a new entry to a stream
  5.0.0: O(1) when adding a new entry, O(N) when trimming where N being the number of entries
    evicted.
XAUTOCLAIM -6 1,1,1 write fast
  Changes (or acquires) ownership of messages in a consumer group, as if the messages were delivered
    to the specified consumer.
  6.2.0: O(1) if COUNT is small.
XCLAIM -6 1,1,1 write fast
  Changes (or acquires) ownership of a message in a consumer group, as if the message was delivered
    to the specified consumer.
  5.0.0: O(log N) with N being the number of messages in the PEL of the consumer group.
XDEL -3 1,1,1 write fast
  Removes the specified entries from the stream. Returns the number of items actually deleted,
    that may be different from the number of IDs passed in case certain IDs do not exist.
  5.0.0: O(1) for each single item to delete in the stream, regardless of the stream size.
XGROUP -2
  A container for consumer groups commands
  5.0.0: Depends on subcommand.
XGROUP|CREATE -5 2,2,1 write denyoom
  Create a consumer group.
  5.0.0: O(1)
XGROUP|CREATECONSUMER 5 2,2,1 write denyoom
  Create a consumer in a consumer group.
  6.2.0: O(1)
XGROUP|DELCONSUMER 5 2,2,1 write
  Delete a consumer from a consumer group.
  5.0.0: O(1)
XGROUP|DESTROY 4 2,2,1 write
  Destroy a consumer group.
  5.0.0: O(N) where N is the number of entries in the group's pending entries list (PEL).
XGROUP|HELP 2 loading stale
  Show helpful text about the different subcommands
  5.0.0: O(1)
XGROUP|SETID -5 2,2,1 write
  Set a consumer group to an arbitrary last delivered ID value.
  5.0.0: O(1)
XINFO -2
  A container for stream introspection commands
  5.0.0: Depends on subcommand.
XINFO|CONSUMERS 4 2,2,1 readonly
  List the consumers in a consumer group
  5.0.0: O(1)
XINFO|GROUPS 3 2,2,1 readonly
  List the consumer groups of a stream
  5.0.0: O(1)
XINFO|HELP 2 loading stale
  Show helpful text about the different subcommands
  5.0.0: O(1)
XINFO|STREAM -3 2,2,1 readonly
  Get information about a stream
  5.0.0: O(1)
XLEN 2 1,1,1 readonly fast
  Return the number of entries in a stream
  5.0.0: O(1)
XPENDING -3 1,1,1 readonly
  Return information and entries from a stream consumer group pending entries list, that are
    messages fetched but never acknowledged.
  5.0.0: O(N) with N being the number of elements returned, so asking for a small fixed number of
    entries per call is O(1). O(M), where M is the total number of entries scanned when used with
    the IDLE filter. When the command returns just the summary and the list of consumers is small,
    it runs in O(1) time; otherwise, an additional O(N) time for iterating every consumer.
XRANGE -4 1,1,1 readonly
  Return a range of elements in a stream, with IDs matching the specified IDs interval
  5.0.0: O(N) with N being the number of elements being returned. If N is constant (e.g. always
    asking for the first 10 elements with COUNT), you can consider it O(1).
XREAD -4 readonly blocking movablekeys
  Return never seen elements in multiple streams, with IDs greater than the ones reported by the
    caller for each stream. Can block.
  5.0.0: For each stream mentioned: O(N) with N being the number of elements being returned, it
    means that XREAD-ing with a fixed COUNT is O(1). Note that when the BLOCK option is used, XADD
    will pay O(M) time in order to serve the M clients blocked on the stream getting new data.
XREADGROUP -7 write blocking movablekeys
  Return new entries from a stream using a consumer group, or access the history of the pending
    entries for a given consumer. Can block.
  5.0.0: For each stream mentioned: O(M) with M being the number of elements returned. If M is
    constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1). On
    the other side when XREADGROUP blocks, XADD will pay the O(N) time in order to serve the N
    clients blocked on the stream getting new data.
XREVRANGE -4 1,1,1 readonly
  Return a range of elements in a stream, with IDs matching the specified IDs interval, in reverse
    order (from greater to smaller IDs) compared to XRANGE
  5.0.0: O(N) with N being the number of elements returned. If N is constant (e.g. always asking
    for the first 10 elements with COUNT), you can consider it O(1).
XSETID -3 1,1,1 write denyoom fast
  An internal command for replicating stream values
  5.0.0: O(1)
XTRIM -4 1,1,1 write
  Trims the stream to (approximately if '~' is passed) a certain size
  5.0.0: O(N), with N being the number of evicted entries. Constant times are very small however,
    since entries are organized in macro nodes containing multiple entries that can be released
    with a single deallocation.
"""
