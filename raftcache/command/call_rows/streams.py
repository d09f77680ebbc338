"""Commands on streams."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= stream
XADD -5 1,1,1 write denyoom fast
  Appends a new entry to a stream
  5.0.0: O(1) when adding a new entry, O(N) when trimming where N being the number of entries
    evicted.
XDEL -3 1,1,1 write fast
  Removes the specified entries from the stream. Returns the number of items actually deleted,
    that may be different from the number of IDs passed in case certain IDs do not exist.
  5.0.0: O(1) for each single item to delete in the stream, regardless of the stream size.
XINFO -2
  A container for stream introspection commands
  5.0.0: Depends on subcommand.
XINFO|HELP 2 loading stale
  Show helpful text about the different subcommands
  5.0.0: O(1)
XINFO|STREAM -3 2,2,1 readonly
  Get information about a stream
  5.0.0: O(1)
XLEN 2 1,1,1 readonly fast
  Return the number of entries in a stream
  5.0.0: O(1)
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
