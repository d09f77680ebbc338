"""Commands on sorted sets."""

from __future__ import annotations

from typing import Final

ROWS: Final = """
= sorted-set
BZMPOP -5 numkeys@2 write blocking movablekeys
  Remove and return members with scores in a sorted set or block until one is available
  7.0.0: O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of
    elements in the sorted set, and M being the number of elements popped
BZPOPMAX -3 1,-2,1 write noscript blocking fast
  Remove and return the member with the highest score from one or more sorted sets, or block
    until one is available
  5.0.0: O(log(N)) with N being the number of elements in the sorted set
BZPOPMIN -3 1,-2,1 write noscript blocking fast
  Remove and return the member with the lowest score from one or more sorted sets, or block
    until one is available
  5.0.0: O(log(N)) with N being the number of elements in the sorted set
ZADD -4 1,1,1 write denyoom fast
  Add one or more members to a sorted set, or update its score if it already exists
  1.2.0: O(log(N)) for each item added, where N is the number of elements in the sorted set
ZCARD 2 1,1,1 readonly fast
  Get the number of members in a sorted set
  1.2.0: O(1)
ZCOUNT 4 1,1,1 readonly fast
  Count the members in a sorted set with scores within the given values
  2.0.0: O(log(N)) with N being the number of elements in the sorted set
ZDIFF -3 numkeys@1 readonly movablekeys
  Subtract multiple sorted sets
  6.2.0: O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets,
    N is the size of the first set, and K is the size of the result set
ZDIFFSTORE -4 1,1,1 numkeys@2 write denyoom movablekeys
  Subtract multiple sorted sets and store the resulting sorted set in a new key
  6.2.0: O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets,
    N is the size of the first set, and K is the size of the result set
ZINCRBY 4 1,1,1 write denyoom fast
  Increment the score of a member in a sorted set
  1.2.0: O(log(N)) where N is the number of elements in the sorted set
ZINTER -3 numkeys@1 readonly movablekeys
  Intersect multiple sorted sets
  6.2.0: O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the
    number of input sorted sets and M being the number of elements in the resulting sorted set
ZINTERCARD -3 numkeys@1 readonly movablekeys
  Intersect multiple sorted sets and return the cardinality of the result
  7.0.0: O(N*K) worst case with N being the smallest input sorted set, K being the number of
    input sorted sets
ZINTERSTORE -4 1,1,1 numkeys@2 write denyoom movablekeys
  Intersect multiple sorted sets and store the resulting sorted set in a new key
  2.0.0: O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the
    number of input sorted sets and M being the number of elements in the resulting sorted set
ZLEXCOUNT 4 1,1,1 readonly fast
  Count the number of members in a sorted set between a given lexicographical range
  2.8.9: O(log(N)) with N being the number of elements in the sorted set
ZMPOP -4 numkeys@1 write movablekeys
  Remove and return members with scores in a sorted set
  7.0.0: O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of
    elements in the sorted set, and M being the number of elements popped
ZMSCORE -3 1,1,1 readonly fast
  Get the score associated with the given members in a sorted set
  6.2.0: O(N) where N is the number of members being requested
ZPOPMAX -2 1,1,1 write fast
  Remove and return members with the highest scores in a sorted set
  5.0.0: O(log(N)*M) with N being the number of elements in the sorted set, and M being the
    number of elements popped
ZPOPMIN -2 1,1,1 write fast
  Remove and return members with the lowest scores in a sorted set
  5.0.0: O(log(N)*M) with N being the number of elements in the sorted set, and M being the
    number of elements popped
ZRANDMEMBER -2 1,1,1 readonly
  Get one or multiple random elements from a sorted set
  6.2.0: O(N) where N is the number of elements returned
ZRANGE -4 1,1,1 readonly
  Return a range of members in a sorted set
  1.2.0: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements returned
ZRANGEBYLEX -4 1,1,1 readonly
  Return a range of members in a sorted set, by lexicographical range
  2.8.9: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements being returned
ZRANGEBYSCORE -4 1,1,1 readonly
  Return a range of members in a sorted set, by score
  1.0.5: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements being returned
ZRANGESTORE -5 1,2,1 write denyoom
  Store a range of members from sorted set into another key
  6.2.0: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements stored into the destination key
ZRANK 3 1,1,1 readonly fast
  Determine the index of a member in a sorted set
  2.0.0: O(log(N))
ZREM -3 1,1,1 write fast
  Remove one or more members from a sorted set
  1.2.0: O(M*log(N)) with N being the number of elements in the sorted set and M the number of
    elements to be removed
ZREMRANGEBYLEX 4 1,1,1 write
  Remove all members in a sorted set between the given lexicographical range
  2.8.9: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements removed by the operation
ZREMRANGEBYRANK 4 1,1,1 write
  Remove all members in a sorted set within the given indexes
  2.0.0: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements removed by the operation
ZREMRANGEBYSCORE 4 1,1,1 write
  Remove all members in a sorted set within the given scores
  1.2.0: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements removed by the operation
ZREVRANGE -4 1,1,1 readonly
  Return a range of members in a sorted set, by index, with scores ordered from high to low
  1.2.0: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements returned
ZREVRANGEBYLEX -4 1,1,1 readonly
  Return a range of members in a sorted set, by lexicographical range, ordered from higher to
    lower strings.
  2.8.9: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements being returned
ZREVRANGEBYSCORE -4 1,1,1 readonly
  Return a range of members in a sorted set, by score, with scores ordered from high to low
  2.2.0: O(log(N)+M) with N being the number of elements in the sorted set and M the number of
    elements being returned
ZREVRANK 3 1,1,1 readonly fast
  Determine the index of a member in a sorted set, with scores ordered from high to low
  2.0.0: O(log(N))
ZSCAN -3 1,1,1 readonly
  Incrementally iterate sorted sets elements and associated scores
  2.8.0: O(1) for every call
ZSCORE 3 1,1,1 readonly fast
  Get the score associated with the given member in a sorted set
  1.2.0: O(1)
ZUNION -3 numkeys@1 readonly movablekeys
  Add multiple sorted sets
  6.2.0: O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M
    being the number of elements in the resulting sorted set
ZUNIONSTORE -4 1,1,1 numkeys@2 write denyoom movablekeys
  Add multiple sorted sets and store the resulting sorted set in a new key
  2.0.0: O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M
    being the number of elements in the resulting sorted set
"""
