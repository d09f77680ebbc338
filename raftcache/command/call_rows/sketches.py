"""Commands on HyperLogLogs."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= hyperloglog
PFADD -2 1,1,1 write denyoom fast
  Adds the specified elements to the specified HyperLogLog.
  2.8.9: O(1) to add every element.
PFCOUNT -2 1,-1,1 readonly
  Return the approximated cardinality of the set(s) observed by the HyperLogLog at key(s).
  2.8.9: O(1) with a very small average constant time when called with a single key. O(N) with N
    being the number of keys, and much bigger constant times, when called with multiple keys.
PFMERGE -2 1,-1,1 write denyoom
  Merge N different HyperLogLogs into a single one.
  2.8.9: O(N) to merge N HyperLogLogs, but with high constant times.
"""
