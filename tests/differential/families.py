"""Which calls are tried, by family, in the patterns of `grammar` over the words of `pools`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tests.differential.grammar import Strategy, calls, right_calls
from tests.differential.pools import POOLS
from tests.differential.scripted import scripted

STRINGS: Final = """
SET key value [NX|XX] [GET] [EX seconds|PX ms|EXAT at|PXAT at_ms|KEEPTTL]
SET key value [GET] [KEEPTTL] [XX|NX] [NX|GET] [PX ms]
SET key value
GET key
GET key
GETEX key [EX seconds|PX ms|EXAT at|PXAT at_ms|PERSIST] [PERSIST]
GETDEL key
GETSET key value
MGET key+
MSET (key value)+
MSETNX (key value)+
SETNX key value
SETEX key seconds value
PSETEX key ms value
APPEND key value
STRLEN key
GETRANGE key index index
SUBSTR key index index
SETRANGE key offset word
INCR key
DECR key
INCRBY key integer
DECRBY key integer
INCRBYFLOAT key float
LCS key key [LEN] [IDX] [MINMATCHLEN count] [WITHMATCHLEN]
DEL key+
TYPE key
"""

BITMAPS: Final = """
SET key value
SETBIT key bit_offset bit
SETBIT key bit_offset bit
GETBIT key bit_offset
BITCOUNT key [index index] [BYTE|BIT]
BITCOUNT key index index (BYTE|BIT)
BITPOS key bit [index] [index] [BYTE|BIT]
BITPOS key (0|1) [index] [index]
BITPOS key (0|1) index index (BYTE|BIT)
BITOP (AND|OR|XOR) key key+
BITOP NOT key key
BITOP (NOT|DIFF) key key+
BITFIELD key ([OVERFLOW (WRAP|SAT|FAIL|X)] ((SET|INCRBY) bit_type bit_place amount))+
BITFIELD key (SET bit_type bit_place amount|INCRBY bit_type place integer|GET width bit_place)+
BITFIELD key ([OVERFLOW (WRAP|SAT|FAIL)] (SET|INCRBY) width place amount)+
BITFIELD key GET bit_type bit_place
BITFIELD_RO key (GET bit_type bit_place)+
BITFIELD_RO key (GET bit_type bit_place|SET bit_type bit_place integer)
GET key
DEL key
"""

# Where GT and LT matter, times are absolute: of two that are counted from now the order may depend
# on a millisecond.
KEY_CALLS: Final = """
SET key value [EX seconds|PX ms]
MSET (key value)+
RPUSH key word+
SADD key member+
HSET key field word
ZADD key score member
DEL key+
UNLINK key+
EXISTS key+
TYPE key
TOUCH key+
EXPIRE key seconds
EXPIRE key seconds [NX|XX] [NX|XX]
EXPIRE key seconds (GT LT|NX GT|LT NX)
EXPIRE key (-1|=abc) (GT|LT)
PEXPIRE key ms [NX|XX]
EXPIREAT key at [NX|XX|GT|LT] [NX|XX|GT|LT]
PEXPIREAT key at_ms [NX|XX|GT|LT]
TTL key
PTTL key
EXPIRETIME key
PEXPIRETIME key
PERSIST key
RENAME key key
RENAMENX key key
COPY key key [REPLACE] [DB (0|1|=abc)]
KEYS pattern
SCAN all [MATCH pattern] [COUNT count] [TYPE type]
DBSIZE
RANDOMKEY
OBJECT REFCOUNT key
OBJECT IDLETIME key
OBJECT FREQ key
OBJECT (NOTHING|ENCODING) [key] [key]
OBJECT ENCODING key
(FLUSHDB|FLUSHALL) [ASYNC|SYNC|NOW]
SORT key [BY by] [LIMIT index count] [GET got]+ [ASC|DESC] [STORE key]
SORT key [BY by] [LIMIT index count] [GET got]+ [ASC|DESC] ALPHA
SORT key [LIMIT index count] [GET got]+ [ASC|DESC] ALPHA STORE key
SORT_RO key [LIMIT index count] [GET got] [DESC] [ALPHA]
"""

HASHES: Final = """
HSET key (field value)+
HSET key (field value)+
HMSET key (field value)+
HSETNX key field value
HGET key field
HMGET key field+
HGETALL key
HKEYS key
HVALS key
HLEN key
HEXISTS key field
HSTRLEN key field
HDEL key field+
HINCRBY key field integer
HINCRBYFLOAT key field float
HSCAN key all [MATCH pattern] [COUNT count]
HRANDFIELD key [count] [WITHVALUES]
SET key value
TYPE key
"""

LISTS: Final = """
(LPUSH|RPUSH) key word+
(LPUSH|RPUSH) key word+
(LPUSHX|RPUSHX) key word+
(LPOP|RPOP) key [count]
LLEN key
LINDEX key index
LINSERT key (BEFORE|AFTER|NEAR) word word
LSET key index word
LRANGE key index index
LREM key index word
LTRIM key index index
LPOS key word [RANK index] [COUNT count] [MAXLEN count]
LMOVE key key (LEFT|RIGHT|UP) (LEFT|RIGHT)
RPOPLPUSH key key
LMPOP keys (LEFT|RIGHT|UP) [COUNT count]
SORT key [ALPHA] [DESC] [LIMIT index count] [STORE key]
SET key value
DEL key
"""

SETS: Final = """
SADD key member+
SADD key member+
SREM key member+
SCARD key
SISMEMBER key member
SMISMEMBER key member+
SMEMBERS key
SMOVE key key member
SPOP key [count]
SRANDMEMBER key [count]
(SUNION|SINTER|SDIFF) key+
(SUNIONSTORE|SINTERSTORE|SDIFFSTORE) key key+
SINTERCARD keys [LIMIT count]
SSCAN key all [MATCH pattern] [COUNT count]
SORT key [ALPHA] [DESC] [STORE key]
SET key value
DEL key
"""

SORTED_SETS: Final = """
ZADD key (score member)+
ZADD key (score member)+
ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member
ZADD key [NX] [XX] [GT] [LT] [CH] [INCR] (score member)+
ZINCRBY key score member
ZREM key member+
ZCARD key
ZSCORE key member
ZMSCORE key member+
ZRANK key member
ZREVRANK key member
ZCOUNT key score_bound score_bound
ZLEXCOUNT key lex_bound lex_bound
ZRANGE key index index [REV] [WITHSCORES]
ZRANGE key score_bound score_bound BYSCORE [REV] [LIMIT index count] [WITHSCORES]
ZRANGE key lex_bound lex_bound BYLEX [REV] [LIMIT index count] [WITHSCORES]
ZRANGE key index index [BYSCORE] [BYLEX] [LIMIT index count]
ZREVRANGE key index index [WITHSCORES]
(ZRANGEBYSCORE|ZREVRANGEBYSCORE) key score_bound score_bound [WITHSCORES] [LIMIT index count]
(ZRANGEBYLEX|ZREVRANGEBYLEX) key lex_bound lex_bound [LIMIT index count]
ZRANGESTORE key key index index [REV] [BYSCORE]
ZRANGESTORE key key score_bound score_bound BYSCORE [REV] [LIMIT index count]
ZRANGESTORE key key lex_bound lex_bound BYLEX [REV]
ZREMRANGEBYRANK key index index
ZREMRANGEBYSCORE key score_bound score_bound
ZREMRANGEBYLEX key lex_bound lex_bound
(ZPOPMIN|ZPOPMAX) key [count]
ZMPOP keys (MIN|MAX|MID) [COUNT count]
(ZUNION|ZINTER) keys [WEIGHTS float+] [AGGREGATE (SUM|MIN|MAX|AVG)] [WITHSCORES]
(ZUNION|ZINTER) (2 key key) [WEIGHTS (float float)] [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]
(ZUNIONSTORE|ZINTERSTORE) key keys [WEIGHTS float+] [AGGREGATE (SUM|MIN|MAX)]
ZDIFF keys [WITHSCORES]
ZDIFFSTORE key keys
ZINTERCARD keys [LIMIT count]
ZSCAN key all [MATCH pattern] [COUNT count]
ZRANDMEMBER key [count] [WITHSCORES]
SADD key member+
SET key value
DEL key
"""

STREAMS: Final = """
XADD key id (field value)+
XADD key id (field value)+
XADD key [NOMKSTREAM] rising (field value)+
XADD key [NOMKSTREAM] [MAXLEN [~|=] count] [LIMIT count] id field value
XADD key [MINID [~|=] id] [LIMIT count] [NOMKSTREAM] rising field value
XADD key id field value field
XLEN key
XRANGE key id_bound id_bound [COUNT count]
XRANGE key - + [COUNT count]
XREVRANGE key id_bound id_bound [COUNT count]
XREVRANGE key + - [COUNT count]
XDEL key id+
XDEL key id+
XTRIM key (MAXLEN|MINID) [~|=] count [LIMIT count]
XTRIM key MINID [~|=] id [LIMIT count]
XTRIM key MAXLEN [~|=] (0|1|3|=abc) [LIMIT count] [MAXLEN 3]
XREAD [COUNT count] [BLOCK 10] STREAMS key id_read
XREAD [COUNT count] [COUNT count] STREAMS key key id_read id_read
XREAD [COUNT count] (GROUP word word|NOACK|STREAMS) STREAMS key id_read
XREAD BLOCK (-1|=abc|1.5) STREAMS key 0
XREAD (COUNT|BLOCK) STREAMS key key 0
XREAD STREAMS key key id_read
XSETID key id [ENTRIESADDED count] [MAXDELETEDID id]
XINFO STREAM key
XINFO (NOTHING|STREAM) [word] [word]
TYPE key
OBJECT ENCODING key
COPY key key [REPLACE]
RENAME key key
EXPIRE key seconds
SORT key
LLEN key
SET key value
DEL key
"""

# Fewer than seven members in those that are made by chance: see "Places" in docs/REDIS.md.
PLACES: Final = """
GEOADD key (longitude latitude spot)+
GEOADD key (near latitude spot)+
GEOADD key [NX|XX] [CH] [NX] (longitude latitude spot)+
GEOPOS key spot+
GEOHASH key spot+
GEODIST key spot spot [unit]
GEOSEARCH key FROMMEMBER spot BYRADIUS radius unit [ASC|DESC] [COUNT count [ANY]] [WITHDIST]
GEOSEARCH key FROMLONLAT near latitude BYRADIUS radius KM [ASC|DESC] [COUNT count [ANY]] [WITHCOORD]
GEOSEARCH key BYBOX radius radius unit FROMLONLAT longitude latitude [WITHHASH] [WITHDIST] [ASC]
GEOSEARCH key BYBOX radius radius KM FROMMEMBER spot [COUNT count [ANY]] [DESC] [WITHCOORD]
GEOSEARCH key [FROMMEMBER spot] [FROMLONLAT near latitude] [BYRADIUS 9 M] [BYBOX 9 9 M]
GEOSEARCH key FROMMEMBER spot BYRADIUS radius unit [STOREDIST] [ANY] [STORE key]
GEOSEARCHSTORE key key FROMLONLAT near latitude BYRADIUS radius KM [COUNT count [ANY]] [STOREDIST]
GEOSEARCHSTORE key key FROMMEMBER spot BYBOX radius radius unit [STOREDIST] [WITHDIST]
GEORADIUS key longitude latitude radius unit [WITHDIST] [WITHCOORD] [WITHHASH] [COUNT count [ANY]]
GEORADIUS key near latitude radius KM [STORE key|STOREDIST key|WITHDIST] [STORE key] [ASC|DESC]
GEORADIUSBYMEMBER key spot radius unit [STORE key] [COUNT count [ANY]] [STOREDIST key] [DESC]
GEORADIUSBYMEMBER_RO key spot radius unit [ASC|DESC] [COUNT count] [WITHDIST] [STORE key]
GEORADIUS_RO key near latitude radius unit [ASC|DESC] [COUNT count] [WITHCOORD] [STOREDIST key]
ZADD key score spot
ZADD key (-5|1e300|4503599627370496|1e17|-inf|18446744073709551615) spot
ZREM key spot
SET key value
DEL key
"""

SKETCHES: Final = """
PFADD key element+
PFADD key element+
PFADD key [numbers]
PFCOUNT key
PFCOUNT key+
PFMERGE key key+
PFMERGE key [key]
SET key sketch
SET key value
STRLEN key
GET key
COPY key key [REPLACE]
APPEND key word
EXPIRE key seconds
SADD key member
DEL key
"""

GROUPS: Final = """
XADD key rising (field value)+
XADD key rising field value
XADD key id field value
XGROUP CREATE key group id_group [MKSTREAM] [ENTRIESREAD read]
XGROUP CREATE key group 0 [MKSTREAM] [MKSTREAM] [ENTRIESREAD read]
XGROUP SETID key group id_group [ENTRIESREAD read]
XGROUP DESTROY key group
XGROUP CREATECONSUMER key group consumer
XGROUP DELCONSUMER key group consumer
XGROUP (NOTHING|CREATE|SETID|DESTROY|DELCONSUMER) [key] [group] [id_group] [word] [word]
XREADGROUP GROUP group consumer STREAMS key >
XREADGROUP GROUP group consumer COUNT 1 STREAMS key >
XREADGROUP GROUP group consumer [COUNT count] [NOACK] STREAMS key >
XREADGROUP GROUP group consumer [COUNT count] [BLOCK 10] STREAMS key id_read
XREADGROUP [COUNT count] GROUP group consumer [NOACK] STREAMS key key id_read id_read
XREADGROUP GROUP group consumer [BLOCK 10] [NOACK] STREAMS key key (> >|> 0|0 >)
XREADGROUP (NOACK|COUNT 1|GROUP group) [NOACK] [COUNT count] [BLOCK 1] STREAMS key key > >
XACK key group id+
XACK key group id+
XPENDING key group
XPENDING key group [IDLE idle] id_bound id_bound count [consumer]
XPENDING key group - + 10 [consumer]
XPENDING key group [IDLE idle] [-] [+] [count] [word] [word]
XCLAIM key group consumer idle id+ [IDLE idle] [RETRYCOUNT integer] [FORCE] [JUSTID] [LASTID id]
XCLAIM key group consumer idle id+ [TIME at_ms] [JUSTID] [FORCE] [word]
XAUTOCLAIM key group consumer idle id_bound [COUNT count] [JUSTID]
XAUTOCLAIM key group consumer idle - [COUNT (1|2)]
XINFO GROUPS key
XINFO CONSUMERS key group
XINFO STREAM key FULL [COUNT count]
XINFO STREAM key FULL
XINFO STREAM key [FULL] [COUNT] [count]
XDEL key id+
XTRIM key (MAXLEN|MINID) [~|=] count
XSETID key id [ENTRIESADDED count] [MAXDELETEDID id]
COPY key key [REPLACE]
RENAME key key
EXPIRE key seconds
SET key value
DEL key
"""

BLOCKING: Final = """
RPUSH key word+
ZADD key (score member)+
(BLPOP|BRPOP) key+ 0.01
BLMOVE key key (LEFT|RIGHT) (LEFT|RIGHT) 0.01
BLMPOP 0.01 keys (LEFT|RIGHT) [COUNT count]
(BZPOPMIN|BZPOPMAX) key+ 0.01
BZMPOP 0.01 keys (MIN|MAX) [COUNT count]
BLPOP key (-1|=abc|=nan|1e400)
SET key value
DEL key
"""

TRANSACTIONS: Final = """
MULTI
MULTI
EXEC
EXEC
DISCARD
WATCH key+
WATCH key+
UNWATCH
GET key
SET key value
INCR key
RPUSH key word+
LRANGE key index index
HSET key field word
HGETALL key
SMEMBERS key
SADD key member+
ZADD key score member
ZRANGE key index index WITHSCORES
XADD key rising field value
XREAD BLOCK 10 STREAMS key id_read
XRANGE key - +
XGROUP CREATE key group 0 MKSTREAM
XREADGROUP GROUP group consumer BLOCK 10 STREAMS key >
XACK key group id+
DEL key+
EXPIRE key seconds
BLPOP key+ 0.01
NOTHING key
EXISTS key
FLUSHALL
"""

CONNECTIONS: Final = """
PING [word]
ECHO word
SELECT (0|1|16|=abc)
AUTH word [word]
HELLO [2|3|4|=abc] [SETNAME word]
CLIENT (ID|GETNAME|NOTHING) [word]
CLIENT SETNAME word
CLIENT GETNAME
CLIENT NO-EVICT (ON|OFF|X)
CLIENT TRACKING (ON|OFF|X) [REDIRECT count] [BCAST] [PREFIX word] [OPTIN|OPTOUT] [NOLOOP]
CLIENT TRACKING (ON|OFF)
CLIENT CACHING (YES|NO|X)
CLIENT (GETREDIR|TRACKINGINFO|UNBLOCK) [word]
CLIENT KILL (=nobody|ID|ID =abc)
CLIENT LIST (ID 999999|ID =abc|TYPE (=master|=replica|=abc)|=abc)
CLIENT UNBLOCK 0 [TIMEOUT|ERROR|X]
COMMAND (COUNT|GETKEYS|NOTHING|LIST) word
COMMAND GETKEYS GET key
COMMAND GETKEYS XREADGROUP GROUP =streams =b [NOACK] [COUNT 1] STREAMS key [key] 0 0
COMMAND GETKEYS XREAD [COUNT 1] [BLOCK 1] STREAMS key [key] 0 0
CONFIG (GET|NOTHING) =nothing
OBJECT (ENCODING|FREQ|HELP)
XINFO (STREAM|GROUPX|HELP)
XGROUP (CREATE|GROUPX|HELP) [word]
ACL (WHOAMI|USERS|LIST|HELP|NOTHING) [word]
ACL (GETUSER (=default|word)|CAT word)
SLOWLOG (RESET|NOTHING|HELP|GET (0|-2|=abc)) [word]
LATENCY (LATEST|HISTORY|RESET|NOTHING|HELP) [word]
MODULE (LIST|NOTHING|HELP) [word]
WAIT (0|=abc) (0|=abc|-1)
TIME word
READONLY word
CONFIG (SET|GET)
NOTHING key word
GET key word
SUBSCRIBE
(SUBSCRIBE|PSUBSCRIBE|SSUBSCRIBE) word
(UNSUBSCRIBE|PUNSUBSCRIBE|SUNSUBSCRIBE) word
MULTI
DISCARD
WATCH key
EXEC
QUIT
PUBSUB (NUMSUB|NUMPAT|CHANNELS) [word]
RESET
"""


FILLED: Final = {
    "strings": "SET key value\nMSET (key value)+",
    "bitmaps": "SET key value\nSETBIT key bit_offset 1",
    "hashes": "HSET key (field value)+\n" * 4 + "HSET key fields",
    "lists": "RPUSH key word+\n" * 4 + "RPUSH key numbers_again",
    "sets": "SADD key member+\n" * 4 + "SADD key numbers",
    "sorted-sets": "ZADD key (low member)+\n" * 4 + "ZADD key scores",
    "streams": "XADD key rising (field value)+\n" * 4 + "XADD key 5-1 field value",
    "places": "GEOADD key (near near spot)+\n" * 4 + "GEOADD key places",
    "sketches": "PFADD key element+\n" * 3 + "PFADD key numbers\nSET key right_sketch",
    "groups": "XADD key rising (field value)+\n" * 3
    + "XGROUP CREATE key group 0 MKSTREAM\n" * 2
    + "XREADGROUP GROUP group consumer COUNT 2 STREAMS key >\nXADD key 5-1 field value",
    "expiry": "SET key value EX 1000\nEXPIRE key (1000|5000)",
}
"""How examples begin, so that the calls of a family find something: these are never wrong."""


@dataclass(frozen=True)
class Family:
    """What is tried together. clients: connections that take turns."""

    name: str
    beginning: Strategy
    call: Strategy
    clients: int = 1
    weight: float = 1.0
    """Of the examples; families with many rules have more."""


def _family(
    name: str, patterns: str, filled: str = "", clients: int = 1, weight: float = 1.0
) -> Family:
    beginning = right_calls("\n".join(FILLED[each] for each in (filled or name).split()), POOLS)
    return Family(name, beginning, calls(patterns, POOLS), clients, weight)


def _scripts() -> Family:
    """Data calls from within scripts."""
    data = _family("scripts", DATA, ALL, weight=1.5)
    return replace(data, call=scripted(data.call))


ALL: Final = " ".join(FILLED)
DATA_OF_REDIS_2: Final = STRINGS + BITMAPS + KEY_CALLS + HASHES + LISTS + SETS + SORTED_SETS
DATA: Final = DATA_OF_REDIS_2 + STREAMS + GROUPS + PLACES

FAMILIES: Final = {
    family.name: family
    for family in (
        _family("strings", STRINGS, weight=1.5),
        _family("bitmaps", BITMAPS),
        _family("keys", KEY_CALLS, ALL, weight=1.5),
        _family("hashes", HASHES),
        _family("lists", LISTS),
        _family("sets", SETS),
        _family("sorted-sets", SORTED_SETS, weight=2.0),
        _family("streams", STREAMS, weight=1.5),
        _family("places", PLACES, weight=1.5),
        _family("sketches", SKETCHES),
        _family("groups", GROUPS, weight=2.0),
        _family("blocking", BLOCKING, "lists sorted-sets", weight=0.3),
        _family("transactions", TRANSACTIONS, ALL, clients=2),
        _family("connection", CONNECTIONS, "strings"),
        _family("mixed", DATA, ALL, weight=1.5),
        _scripts(),
    )
}
