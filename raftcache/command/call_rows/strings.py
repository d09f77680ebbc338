"""Commands on strings, bitmaps and keys of any type."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= string
APPEND 3 1,1,1 write denyoom fast
  Append a value to a key
  2.0.0: O(1)
DECR 2 1,1,1 write denyoom fast
  Decrement the integer value of a key by one
  1.0.0: O(1)
DECRBY 3 1,1,1 write denyoom fast
  Decrement the integer value of a key by the given number
  1.0.0: O(1)
DELEX -2 1,1,1 write fast
  Deletes a string if its value, or the digest of it, is or is not the given one
  8.4.0: O(1) for IFEQ and IFNE, O(N) for IFDEQ and IFDNE where N is the length of the value
DIGEST 2 1,1,1 readonly fast
  Returns the XXH3 digest of a string in hexadecimal
  8.4.0: O(N) where N is the length of the value
GET 2 1,1,1 readonly fast
  Get the value of a key
  1.0.0: O(1)
GETDEL 2 1,1,1 write fast
  Get the value of a key and delete the key
  6.2.0: O(1)
GETEX -2 1,1,1 write fast
  Get the value of a key and optionally set its expiration
  6.2.0: O(1)
GETRANGE 4 1,1,1 readonly
  Get a substring of the string stored at a key
  2.4.0: O(N) where N is the length of the returned string
GETSET 3 1,1,1 write denyoom fast
  Set the string value of a key and return its old value
  1.0.0: O(1)
INCR 2 1,1,1 write denyoom fast
  Increment the integer value of a key by one
  1.0.0: O(1)
INCRBY 3 1,1,1 write denyoom fast
  Increment the integer value of a key by the given amount
  1.0.0: O(1)
INCRBYFLOAT 3 1,1,1 write denyoom fast
  Increment the float value of a key by the given amount
  2.6.0: O(1)
LCS -3 1,2,1 readonly
  Find longest common substring
  7.0.0: O(N*M) where N and M are the lengths of s1 and s2, respectively
MGET -2 1,-1,1 readonly fast
  Get the values of all the given keys
  1.0.0: O(N) where N is the number of keys to retrieve
MSET -3 1,-1,2 write denyoom
  Set multiple keys to multiple values
  1.0.1: O(N) where N is the number of keys to set
MSETEX -4 numkeys@1/2 write denyoom
  Sets several strings with one expiry, if none or all of them exist
  8.4.0: O(N) where N is the number of keys
MSETNX -3 1,-1,2 write denyoom
  Set multiple keys to multiple values, only if none of the keys exist
  1.0.1: O(N) where N is the number of keys to set
PSETEX 4 1,1,1 write denyoom
  Set the value and expiration in milliseconds of a key
  2.6.0: O(1)
SET -3 1,1,1 write denyoom
  Set the string value of a key
  1.0.0: O(1)
SETEX 4 1,1,1 write denyoom
  Set the value and expiration of a key
  2.0.0: O(1)
SETNX 3 1,1,1 write denyoom fast
  Set the value of a key, only if the key does not exist
  1.0.0: O(1)
SETRANGE 4 1,1,1 write denyoom
  Overwrite part of a string at key starting at the specified offset
  2.2.0: O(1), not counting the time taken to copy the new string in place
STRLEN 2 1,1,1 readonly fast
  Get the length of the value stored in a key
  2.2.0: O(1)
SUBSTR 4 1,1,1 readonly
  Get a substring of the string stored at a key
  1.0.0: O(N) where N is the length of the returned string

= bitmap
BITCOUNT -2 1,1,1 readonly
  Count set bits in a string
  2.6.0: O(N)
BITFIELD -2 1,1,1 write denyoom
  Perform arbitrary bitfield integer operations on strings
  3.2.0: O(1) for each subcommand specified
BITFIELD_RO -2 1,1,1 readonly fast
  Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD
  6.0.0: O(1) for each subcommand specified
BITOP -4 2,-1,1 write denyoom
  Perform bitwise operations between strings
  2.6.0: O(N)
BITPOS -3 1,1,1 readonly
  Find first bit set or clear in a string
  2.8.7: O(N)
GETBIT 3 1,1,1 readonly fast
  Returns the bit value at offset in the string value stored at key
  2.2.0: O(1)
SETBIT 4 1,1,1 write denyoom
  Sets or clears the bit at offset in the string value stored at key
  2.2.0: O(1)

= generic
COPY -3 1,2,1 write denyoom
  Copy a key
  6.2.0: O(N) worst case for collections, where N is the number of nested items
DEL -2 1,-1,1 write
  Delete a key
  1.0.0: O(N) where N is the number of keys that will be removed
EXISTS -2 1,-1,1 readonly fast
  Determine if a key exists
  1.0.0: O(N) where N is the number of keys to check
EXPIRE -3 1,1,1 write fast
  Set a key's time to live in seconds
  1.0.0: O(1)
EXPIREAT -3 1,1,1 write fast
  Set the expiration for a key as a UNIX timestamp
  1.2.0: O(1)
EXPIRETIME 2 1,1,1 readonly fast
  Get the expiration Unix timestamp for a key
  7.0.0: O(1)
KEYS 2 readonly +dangerous
  Find all keys matching the given pattern
  1.0.0: O(N) with N being the number of keys in the database, under the assumption that the key
    names in the database and the given pattern have limited length
OBJECT -2
  A container for object introspection commands
  2.2.3: Depends on subcommand
OBJECT|ENCODING 3 2,2,1 readonly
  Inspect the internal encoding of a Redis object
  2.2.3: O(1)
OBJECT|FREQ 3 2,2,1 readonly
  Get the logarithmic access frequency counter of a Redis object
  4.0.0: O(1)
OBJECT|HELP 2 loading stale
  Show helpful text about the different subcommands
  6.2.0: O(1)
OBJECT|IDLETIME 3 2,2,1 readonly
  Get the time since a Redis object was last accessed
  2.2.3: O(1)
OBJECT|REFCOUNT 3 2,2,1 readonly
  Get the number of references to the value of the key
  2.2.3: O(1)
PERSIST 2 1,1,1 write fast
  Remove the expiration from a key
  2.2.0: O(1)
PEXPIRE -3 1,1,1 write fast
  Set a key's time to live in milliseconds
  2.6.0: O(1)
PEXPIREAT -3 1,1,1 write fast
  Set the expiration for a key as a UNIX timestamp specified in milliseconds
  2.6.0: O(1)
PEXPIRETIME 2 1,1,1 readonly fast
  Get the expiration Unix timestamp for a key in milliseconds
  7.0.0: O(1)
PTTL 2 1,1,1 readonly fast
  Get the time to live for a key in milliseconds
  2.6.0: O(1)
RANDOMKEY 1 readonly
  Return a random key from the keyspace
  1.0.0: O(1)
RENAME 3 1,2,1 write
  Rename a key
  1.0.0: O(1)
RENAMENX 3 1,2,1 write fast
  Rename a key, only if the new key does not exist
  1.0.0: O(1)
SCAN -2 readonly
  Incrementally iterate the keys space
  2.8.0: O(1) for every call
SORT -2 1,1,1 write denyoom movablekeys +dangerous +list +set +sortedset -keyspace
  Sort the elements in a list, set or sorted set
  1.0.0: O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the
    number of returned elements
SORT_RO -2 1,1,1 readonly movablekeys +dangerous +list +set +sortedset -keyspace
  Sort the elements in a list, set or sorted set. Read-only variant of SORT.
  7.0.0: O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the
    number of returned elements
TOUCH -2 1,-1,1 readonly fast
  Alters the last access time of a key(s). Returns the number of existing keys specified.
  3.2.1: O(N) where N is the number of keys that will be touched
TTL 2 1,1,1 readonly fast
  Get the time to live for a key in seconds
  1.0.0: O(1)
TYPE 2 1,1,1 readonly fast
  Determine the type stored at key
  1.0.0: O(1)
UNLINK -2 1,-1,1 write fast
  Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking.
  4.0.0: O(1) for each key removed regardless of its size
WAIT 3 noscript +connection -keyspace
  Wait for the synchronous replication of all the write commands sent in the context of the
    current connection
  3.0.0: O(1)
WAITAOF 4 noscript +connection -keyspace
  Waits until the connection's writes are in the logs of so many nodes
  7.2.0: O(1)
"""
