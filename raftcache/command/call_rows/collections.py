"""Commands on hashes, lists and sets."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= hash
HDEL -3 1,1,1 write fast
  Delete one or more hash fields
  2.0.0: O(N) where N is the number of fields to be removed
HEXISTS 3 1,1,1 readonly fast
  Determine if a hash field exists
  2.0.0: O(1)
HGET 3 1,1,1 readonly fast
  Get the value of a hash field
  2.0.0: O(1)
HGETALL 2 1,1,1 readonly
  Get all the fields and values in a hash
  2.0.0: O(N) where N is the size of the hash
HINCRBY 4 1,1,1 write denyoom fast
  Increment the integer value of a hash field by the given number
  2.0.0: O(1)
HINCRBYFLOAT 4 1,1,1 write denyoom fast
  Increment the float value of a hash field by the given amount
  2.6.0: O(1)
HKEYS 2 1,1,1 readonly
  Get all the fields in a hash
  2.0.0: O(N) where N is the size of the hash
HLEN 2 1,1,1 readonly fast
  Get the number of fields in a hash
  2.0.0: O(1)
HMGET -3 1,1,1 readonly fast
  Get the values of all the given hash fields
  2.0.0: O(N) where N is the number of fields being requested
HMSET -4 1,1,1 write denyoom fast
  Set multiple hash fields to multiple values
  2.0.0: O(N) where N is the number of fields being set
HRANDFIELD -2 1,1,1 readonly
  Get one or multiple random fields from a hash
  6.2.0: O(N) where N is the number of fields returned
HSCAN -3 1,1,1 readonly
  Incrementally iterate hash fields and associated values
  2.8.0: O(1) for every call
HSET -4 1,1,1 write denyoom fast
  Set the string value of a hash field
  2.0.0: O(1) for each field/value pair added, so O(N) to add N field/value pairs when the
    command is called with multiple field/value pairs
HSETNX 4 1,1,1 write denyoom fast
  Set the value of a hash field, only if the field does not exist
  2.0.0: O(1)
HSTRLEN 3 1,1,1 readonly fast
  Get the length of the value of a hash field
  3.2.0: O(1)
HVALS 2 1,1,1 readonly
  Get all the values in a hash
  2.0.0: O(N) where N is the size of the hash

= list
BLMOVE 6 1,2,1 write denyoom noscript blocking
  Pop an element from a list, push it to another list and return it; or block until one is
    available
  6.2.0: O(1)
BLMPOP -5 numkeys@2 write blocking movablekeys
  Pop elements from a list, or block until one is available
  7.0.0: O(N+M) where N is the number of provided keys and M is the number of elements returned
BLPOP -3 1,-2,1 write noscript blocking
  Remove and get the first element in a list, or block until one is available
  2.0.0: O(N) where N is the number of provided keys
BRPOP -3 1,-2,1 write noscript blocking
  Remove and get the last element in a list, or block until one is available
  2.0.0: O(N) where N is the number of provided keys
BRPOPLPUSH 4 1,2,1 write denyoom noscript blocking
  Pop an element from a list, push it to another list and return it; or block until one is
    available
  2.2.0: O(1)
LINDEX 3 1,1,1 readonly
  Get an element from a list by its index
  1.0.0: O(N) where N is the number of elements to traverse to get to the element at index
LINSERT 5 1,1,1 write denyoom
  Insert an element before or after another element in a list
  2.2.0: O(N) where N is the number of elements to traverse before seeing the value pivot
LLEN 2 1,1,1 readonly fast
  Get the length of a list
  1.0.0: O(1)
LMOVE 5 1,2,1 write denyoom
  Pop an element from a list, push it to another list and return it
  6.2.0: O(1)
LMPOP -4 numkeys@1 write movablekeys
  Pop elements from a list
  7.0.0: O(N+M) where N is the number of provided keys and M is the number of elements returned
LPOP -2 1,1,1 write fast
  Remove and get the first elements in a list
  1.0.0: O(N) where N is the number of elements returned
LPOS -3 1,1,1 readonly
  Return the index of matching elements on a list
  6.0.6: O(N) where N is the number of elements in the list, for the average case
LPUSH -3 1,1,1 write denyoom fast
  Prepend one or multiple elements to a list
  1.0.0: O(1) for each element added, so O(N) to add N elements when the command is called with
    multiple arguments
LPUSHX -3 1,1,1 write denyoom fast
  Prepend an element to a list, only if the list exists
  2.2.0: O(1) for each element added, so O(N) to add N elements when the command is called with
    multiple arguments
LRANGE 4 1,1,1 readonly
  Get a range of elements from a list
  1.0.0: O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest
    end (HEAD or TAIL) for large lists; and N is the number of elements in the specified range
LREM 4 1,1,1 write
  Remove elements from a list
  1.0.0: O(N+M) where N is the length of the list and M is the number of elements removed
LSET 4 1,1,1 write denyoom
  Set the value of an element in a list by its index
  1.0.0: O(N) where N is the length of the list
LTRIM 4 1,1,1 write
  Trim a list to the specified range
  1.0.0: O(N) where N is the number of elements to be removed by the operation
RPOP -2 1,1,1 write fast
  Remove and get the last elements in a list
  1.0.0: O(N) where N is the number of elements returned
RPOPLPUSH 3 1,2,1 write denyoom
  Remove the last element in a list, prepend it to another list and return it
  1.2.0: O(1)
RPUSH -3 1,1,1 write denyoom fast
  Append one or multiple elements to a list
  1.0.0: O(1) for each element added, so O(N) to add N elements when the command is called with
    multiple arguments
RPUSHX -3 1,1,1 write denyoom fast
  Append an element to a list, only if the list exists
  2.2.0: O(1) for each element added, so O(N) to add N elements when the command is called with
    multiple arguments

= set
SADD -3 1,1,1 write denyoom fast
  Add one or more members to a set
  1.0.0: O(1) for each element added, so O(N) to add N elements when the command is called with
    multiple arguments
SCARD 2 1,1,1 readonly fast
  Get the number of members in a set
  1.0.0: O(1)
SDIFF -2 1,-1,1 readonly
  Subtract multiple sets
  1.0.0: O(N) where N is the total number of elements in all given sets
SDIFFSTORE -3 1,-1,1 write denyoom
  Subtract multiple sets and store the resulting set in a key
  1.0.0: O(N) where N is the total number of elements in all given sets
SINTER -2 1,-1,1 readonly
  Intersect multiple sets
  1.0.0: O(N*M) worst case where N is the cardinality of the smallest set and M is the number of
    sets
SINTERCARD -3 numkeys@1 readonly movablekeys
  Intersect multiple sets and return the cardinality of the result
  7.0.0: O(N*M) worst case where N is the cardinality of the smallest set and M is the number of
    sets
SINTERSTORE -3 1,-1,1 write denyoom
  Intersect multiple sets and store the resulting set in a key
  1.0.0: O(N*M) worst case where N is the cardinality of the smallest set and M is the number of
    sets
SISMEMBER 3 1,1,1 readonly fast
  Determine if a given value is a member of a set
  1.0.0: O(1)
SMEMBERS 2 1,1,1 readonly
  Get all the members in a set
  1.0.0: O(N) where N is the set cardinality
SMISMEMBER -3 1,1,1 readonly fast
  Returns the membership associated with the given elements for a set
  6.2.0: O(N) where N is the number of elements being checked for membership
SMOVE 4 1,2,1 write fast
  Move a member from one set to another
  1.0.0: O(1)
SPOP -2 1,1,1 write fast
  Remove and return one or multiple random members from a set
  1.0.0: Without the count argument O(1), otherwise O(N) where N is the value of the passed
    count
SRANDMEMBER -2 1,1,1 readonly
  Get one or multiple random members from a set
  1.0.0: Without the count argument O(1), otherwise O(N) where N is the absolute value of the
    passed count
SREM -3 1,1,1 write fast
  Remove one or more members from a set
  1.0.0: O(N) where N is the number of members to be removed
SSCAN -3 1,1,1 readonly
  Incrementally iterate Set elements
  2.8.0: O(1) for every call
SUNION -2 1,-1,1 readonly
  Add multiple sets
  1.0.0: O(N) where N is the total number of elements in all given sets
SUNIONSTORE -3 1,-1,1 write denyoom
  Add multiple sets and store the resulting set in a key
  1.0.0: O(N) where N is the total number of elements in all given sets
"""
