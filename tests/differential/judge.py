"""Whether two replies to one call say the same, and the differences that are meant.

Most replies must be equal as they came, sign by sign. Some commands promise less: their rule stands
in RULES, by name. A difference that raftcache means is an entry of DIFFERENCES, which names the
paragraph of docs/REDIS.md that tells it to users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.differential.grammar import EVERY_CURSOR, FAR_DIGITS
from tests.support.resp_wire import Call, Reply

NOW_MS: Final = 5_000
"""By how much two answers about the time that is left may differ: a shared machine may pause."""

Rule: TypeAlias = Callable[[Call, Reply, Reply], bool]


def name_of(call: Call) -> str:
    return call[0].upper().decode(errors="replace") if call else ""


def same(_call: Call, left: Reply, right: Reply) -> bool:
    return left == right


def in_any_order(_call: Call, left: Reply, right: Reply) -> bool:
    """A collection without an order: the same elements as often."""
    return _unordered(left, 1) == _unordered(right, 1)


def same_length(_call: Call, left: Reply, right: Reply) -> bool:
    """Some of a collection without an order."""
    if isinstance(left[1], list) and isinstance(right[1], list):
        return left[0] == right[0] and len(left[1]) == len(right[1])
    return left == right


def pairs_in_any_order(_call: Call, left: Reply, right: Reply) -> bool:
    """The same with pairs, which RESP2 sends as a flat array."""
    return _unordered(left, 2) == _unordered(right, 2)


def about_now(call: Call, left: Reply, right: Reply) -> bool:
    """Times that are counted from now may be a little apart; what is no such time must be equal."""
    if left[0] != ":" or right[0] != ":" or min(left[1], right[1]) < 0:
        return left == right
    tolerance = NOW_MS if name_of(call).startswith("P") else NOW_MS // 1000
    return abs(left[1] - right[1]) <= tolerance


def same_scores(_call: Call, left: Reply, right: Reply) -> bool:
    """The sign of a zero is not kept: told under "Sets and sorted sets"; and of a distance the last
    digit may be another: told under "Places"."""
    return _rounded(left) == _rounded(right)


def _rounded(reply: Reply) -> Reply:
    sign, content = reply
    if isinstance(content, list):
        return sign, [_rounded(each) for each in content]
    is_long = isinstance(content, bytes) and LONG_FRACTION.fullmatch(content)
    content = b"%.14g" % float(content) if is_long else content
    return sign, b"0" if content == b"-0" else content


LONG_FRACTION: Final = re.compile(rb"[0-9]+\.[0-9]{8,}(e-[0-9]+)?")


def same_in_capitals(_call: Call, left: Reply, right: Reply) -> bool:
    """An error names the command in capitals, in Redis as the call does: told under "Places"."""
    if left[0] == right[0] == "-":
        return bool(left[1].upper() == right[1].upper())
    return left == right


def same_registers(_call: Call, left: Reply, right: Reply) -> bool:
    """Of a HyperLogLog, without its estimate: told under "HyperLogLogs"."""
    return _uncounted(left) == _uncounted(right)


def _uncounted(reply: Reply) -> Reply:
    sign, content = reply
    is_sketch = isinstance(content, bytes) and content.startswith(b"HYLL")
    return (sign, content[:8] + content[16:]) if is_sketch else reply


def same_kind(_call: Call, left: Reply, right: Reply) -> bool:
    """What differs from server to server, or grows with time: only its kind."""
    return left[0] == right[0] and (left[0] != "-" or left == right)


def _unordered(reply: Reply, width: int) -> Any:
    sign, content = reply
    if sign == "%":
        return sign, sorted(content)
    if sign not in ("*", "~") or content is None:
        return reply
    if len(content) % width:
        return sign, content
    return sign, sorted(tuple(content[i : i + width]) for i in range(0, len(content), width))


def same_but_times(_call: Call, left: Reply, right: Reply) -> bool:
    """What tells when entries of a stream were given, or consumers seen: a little apart."""
    if left[0] != right[0] or type(left[1]) is not type(right[1]):
        return False
    if not isinstance(left[1], list):
        return left == right
    one, other = (_flat(reply) for reply in (left, right))
    if len(one) != len(other):
        return False
    return all(
        same_but_times(_call, *pair)
        or (_is_time(one, place) and about_now((b"PTTL",), *pair) and pair[0][0] == ":")
        for place, pair in enumerate(zip(one, other, strict=True))
    )


def _flat(reply: Reply) -> list[Reply]:
    sign, content = reply
    return [each for pair in content for each in pair] if sign == "%" else content


def _is_time(parts: list[Reply], place: int) -> bool:
    """In [id, (name,) time, number] or behind its name."""
    signs = "".join(sign for sign, _ in parts)
    is_pending = signs in ("$$::", "$::") and place == len(parts) - 2
    return is_pending or (place > 0 and parts[place - 1][1] in (b"idle", b"seen-time"))


def same_names(_call: Call, left: Reply, right: Reply) -> bool:
    """What a server says of itself: its values may be others."""
    if left[0] not in "*%" or left[0] != right[0]:
        return left == right
    if left[0] == "%":
        return [key for key, _ in left[1]] == [key for key, _ in right[1]]
    return left[1][::2] == right[1][::2]


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("SMEMBERS", "SUNION", "SINTER", "SDIFF", "KEYS"), in_any_order),
    **dict.fromkeys(("HKEYS", "HVALS"), in_any_order),
    "HGETALL": pairs_in_any_order,
    **dict.fromkeys(("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"), about_now),
    "GET": same_registers,
    **dict.fromkeys(("GEOSEARCH", "GEOSEARCHSTORE"), same_in_capitals),
    **dict.fromkeys(("XPENDING", "XINFO"), same_but_times),
    "HELLO": same_names,
    "TIME": same_kind,
}
"""By the command's name; all others: the same. Picks by chance and scans: see play."""

RULES_OF_SUBCOMMANDS: Final[dict[tuple[str, str], Rule]] = {
    ("OBJECT", "IDLETIME"): about_now,
    ("OBJECT", "HELP"): same_kind,
    **{(name, "HELP"): same_kind for name in ("ACL", "LATENCY", "MODULE", "SLOWLOG")},
    ("CLIENT", "ID"): same_kind,
    ("CLIENT", "LIST"): same_kind,
    ("COMMAND", "COUNT"): same_kind,
    ("COMMAND", "LIST"): same_kind,
}


SCANS: Final = frozenset(("SCAN", "HSCAN", "SSCAN", "ZSCAN"))


def is_scan(call: Call) -> bool:
    """Whether it is to be followed to its end."""
    return name_of(call) in SCANS and EVERY_CURSOR in call


PLACE_IN_SCRIPT: Final = re.compile(rb"(script: [0-9a-f]{40}, on @user_script)(:\d+)?\.")


def _of_script(call: Call, left: Reply, right: Reply) -> bool:
    """As the call that the script makes; where an error came from may be less exact."""
    return agree(call[3:] or (b"ECHO",), _unplaced(left), _unplaced(right))


def _unplaced(reply: Reply) -> Reply:
    sign, content = reply
    return (sign, PLACE_IN_SCRIPT.sub(rb"\1.", content)) if sign == "-" else reply


def rule_of(call: Call) -> Rule:
    if name_of(call).startswith("EVAL"):
        return _of_script
    if name_of(call) in SCANS and not is_scan(call):
        return same_kind
    if len(call) > 1 and (rule := RULES_OF_SUBCOMMANDS.get((name_of(call), name_of(call[1:])))):
        return rule
    if "SORT" in name_of(call) and _is_unsorted(call):
        return same_length if b"LIMIT" in upper(call) else in_any_order
    return RULES.get(name_of(call), same_scores if name_of(call).startswith("Z") else same)


def upper(call: Call) -> list[bytes]:
    return [word.upper() for word in call]


def _is_unsorted(call: Call) -> bool:
    """Whether SORT has a BY that names no keys: a set then has no order."""
    words = upper(call)
    place = words.index(b"BY") + 1 if b"BY" in words else len(words)
    return place < len(words) and b"*" not in words[place]


def agree(call: Call, left: Reply, right: Reply, queued: Sequence[Call] = ()) -> bool:
    """Whether the replies say the same. queued: for EXEC, the calls of its transaction."""
    if name_of(call) == "EXEC" and left[0] == right[0] == "*" and left[1] and right[1]:
        if len(left[1]) != len(right[1]) or len(left[1]) != len(queued):
            return False
        return all(
            agree(each, one, other) or meant(each, one, other) is not None
            for each, one, other in zip(queued, left[1], right[1], strict=True)
        )
    return rule_of(call)(call, left, right)


@dataclass(frozen=True)
class Difference:
    """One that is meant. The first reply is Redis', the second raftcache's.

    paragraph: the heading in docs/REDIS.md under which it is told.
    witness: calls, the last of which shows it.
    is_quick: it shows only at once, so that they go as one pipeline: Redis tidies up meanwhile.
    """

    name: str
    paragraph: str
    holds: Rule
    witness: Sequence[bytes]
    is_quick: bool = False


def ours_says(*beginnings: str) -> Rule:
    """Our reply is an error that begins so, and Redis' another one."""
    texts = tuple(beginning.encode() for beginning in beginnings)
    return lambda _call, redis, ours: ours[0] == "-" and ours[1].startswith(texts) and redis != ours


def far_future(call: Call, redis: Reply, ours: Reply) -> bool:
    """Ours refuses a deadline that no clock of 64 bits reaches."""
    is_far = any(len(word) >= FAR_DIGITS and word.isdigit() for word in call)
    return is_far and ours_says("ERR invalid expire time")(call, redis, ours)


def of_object(subcommand: str) -> Rule:
    """Both answer OBJECT with something of the same kind."""

    def holds(call: Call, redis: Reply, ours: Reply) -> bool:
        asked = name_of(call) == "OBJECT" and name_of(call[1:]) == subcommand
        return asked and redis[0] == ours[0] and None not in (redis[1], ours[1])

    return holds


def counts_expired(call: Call, redis: Reply, ours: Reply) -> bool:
    return name_of(call) == "DBSIZE" and redis[0] == ours[0] == ":" and redis[1] > ours[1]


def beyond_strings(call: Call, redis: Reply, ours: Reply) -> bool:
    """Ours reads zeros where no string can be so long."""
    reads = name_of(call) in ("GETBIT", "BITFIELD_RO")
    return reads and redis[0] == "-" and redis[1].startswith(b"ERR bit offset") and ours[0] != "-"


def orders_equals(call: Call, redis: Reply, ours: Reply) -> bool:
    """SORT of words with equal ones among them: by what is under other keys, or up to a zero."""
    words = {word.upper() for word in call[2:]}
    if not name_of(call).startswith("SORT") or b"ALPHA" not in words:
        return False
    if redis[0] != ours[0] or redis[0] != "*" or len(redis[1]) != len(ours[1]):
        return False
    return b"BY" in words or any(b"\0" in (word or b"") for _, word in redis[1])


DIFFERENCES: Final[tuple[Difference, ...]] = (
    Difference(
        "limits",
        "Limits of keys and calls",
        ours_says("ERR a key has 1 to"),
        [b"SET " + b"k" * 1025 + b" a"],
    ),
    Difference(
        "deadlines",
        "Deadlines in the far future",
        far_future,
        [b"SET k a", b"PEXPIREAT k 9223372036854775807"],
    ),
    Difference("cursors", "Cursors", ours_says("ERR invalid cursor"), [b"SET k a", b"SCAN 7"]),
    Difference("offsets", "Strings and bitmaps", beyond_strings, [b"GETBIT k 8388608"]),
    Difference(
        "encodings",
        "OBJECT",
        of_object("ENCODING"),
        [b"SET k 1", b"APPEND k 2", b"OBJECT ENCODING k"],
    ),
    Difference("references", "OBJECT", of_object("REFCOUNT"), [b"SET k 1", b"OBJECT REFCOUNT k"]),
    Difference(
        "equal words",
        "SORT",
        orders_equals,
        [b"RPUSH k 3 1 4 5 9 2 6 0 8 7", b"SORT k BY w_* ALPHA LIMIT 0 3"],
    ),
    Difference(
        "corrupt sketches",
        "HyperLogLogs",
        ours_says("INVALIDOBJ"),
        [b"PFADD k a b", b"APPEND k x", b"PFADD k c"],
    ),
    Difference(
        "subscribing in MULTI",
        "Pub/sub and caching",
        ours_says("ERR Command not allowed inside a transaction"),
        [b"MULTI", b"SUBSCRIBE c"],
    ),
    Difference(
        "roles of a cluster",
        "Connections and what they tell",
        lambda call, _redis, ours: name_of(call) in ("READONLY", "READWRITE") and ours[0] == "+",
        [b"READONLY"],
    ),
    Difference(
        "expired keys",
        "DBSIZE",
        counts_expired,
        [b"SET k a PXAT 1", b"DBSIZE"],
        is_quick=True,
    ),
)


def meant(call: Call, redis: Reply, ours: Reply) -> Difference | None:
    """The listed difference that this is one of."""
    return next((each for each in DIFFERENCES if each.holds(call, redis, ours)), None)
