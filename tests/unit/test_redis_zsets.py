"""Sorted sets: what each command answers and leaves, as redis-server 7.0.15 does."""

from __future__ import annotations

import math
import struct
from collections import Counter
from itertools import pairwise

import pytest

from raftcache.command.limits import INTEGER_MAX, INTEGER_MIN
from raftcache.command.values import NIL_ARRAY, Failure, Pairs, Value
from raftcache.state.machine import Machine
from raftcache.state.redis.parsing import NOT_FLOAT, NOT_INTEGER, NOT_POSITIVE, SYNTAX, WRONG_TYPE
from raftcache.state.redis.store import ELEMENTS_READ_MAX, ROWS_TOUCHED_MAX
from raftcache.state.redis.zset_rows import pack_score, unpack_score
from raftcache.state.rows import NAME_SIZE_BYTES_MAX
from tests.unit.test_notes import Heard
from tests.unit.test_redis_core import calls, values

INF = math.inf
NO_SCORE = Failure("ERR min or max is not a float")
NO_MEMBER = Failure("ERR min or max not valid string range item")
NOT_COMPATIBLE = Failure("ERR GT, LT, and/or NX options at the same time are not compatible")


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    calls(
        made,
        "ZADD z 1 a 2 b 2 c 3.5 d",
        "ZADD y 10 b 20 c 30 e",
        "ZADD w 0 a 0 b 0 c 0 d",
        "ZADD ends -inf low inf high",
        "SADD s a b x",
        "SET str v",
    )
    return made


def test_scores_sort_as_doubles_do() -> None:
    scores = [-INF, -1e308, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1.0000000000000002, 1e308, INF]
    packed = [pack_score(score) for score in scores]
    assert all(low < high for low, high in pairwise(packed))
    assert [unpack_score(each) for each in packed] == scores
    assert pack_score(-0.0) == pack_score(0.0)
    assert struct.pack(">d", unpack_score(pack_score(-0.0))) == bytes(8)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        # Adding.
        ("ZADD z 1 a 9 b 9 e", 1),
        ("ZADD z CH 1 a 9 b 9 e", 2),
        ("ZADD z NX CH 9 a 9 e", 1),
        ("ZADD z XX CH 9 a 9 e", 1),
        ("ZADD z GT CH 0 a 9 b 9 e", 2),
        ("ZADD z LT CH 0 a 9 b 9 e", 2),
        ("ZADD z INCR 1.5 a", 2.5),
        ("ZADD z NX INCR 1 a", None),
        ("ZADD z XX INCR 1 e", None),
        ("ZADD z GT INCR -1 a", None),
        ("ZADD no XX 1 a", 0),
        ("ZADD no XX INCR 1 a", None),
        ("ZADD z 1 e 2 e 3 e", 1),
        ("ZADD z 0x10 e", 1),
        ("ZINCRBY z 0.1 a", 1.1),
        ("ZINCRBY no -inf a", -INF),
        ("ZINCRBY ends inf low", Failure("ERR resulting score is not a number (NaN)")),
        ("ZADD z nan e", Failure(NOT_FLOAT)),
        ("ZADD z 1 e x f", Failure(NOT_FLOAT)),
        ("ZADD z 1e400 e", Failure(NOT_FLOAT)),
        ("ZADD z 1 e 2", Failure(SYNTAX)),
        ("ZADD z NX CH", Failure(SYNTAX)),
        ("ZADD z NX XX x e", Failure("ERR XX and NX options at the same time are not compatible")),
        ("ZADD z NX GT 1 e", NOT_COMPATIBLE),
        ("ZADD z LT GT 1 e", NOT_COMPATIBLE),
        (
            "ZADD z INCR 1 e 2 f",
            Failure("ERR INCR option supports a single increment-element pair"),
        ),
        ("ZADD str x e", Failure(NOT_FLOAT)),
        ("ZADD str 1 e", Failure(WRONG_TYPE)),
        ("ZINCRBY z NX a", Failure(SYNTAX)),
        # Members.
        ("ZREM z a a x", 1),
        ("ZCARD z", 4),
        ("ZCARD no", 0),
        ("ZSCORE z d", 3.5),
        ("ZSCORE z x", None),
        ("ZSCORE no x", None),
        ("ZMSCORE z a x c", [1.0, None, 2.0]),
        ("ZMSCORE no a", [None]),
        ("ZRANK z c", 2),
        ("ZREVRANK z c", 1),
        ("ZRANK z x", None),
        ("ZREVRANK no x", None),
        # By rank.
        ("ZRANGE z 0 -1", [b"a", b"b", b"c", b"d"]),
        ("ZRANGE z 1 2 WITHSCORES", Pairs([(b"b", 2.0), (b"c", 2.0)])),
        ("ZRANGE z -2 99", [b"c", b"d"]),
        ("ZRANGE z 0 1 REV", [b"d", b"c"]),
        ("ZREVRANGE z 0 0 withscores", Pairs([(b"d", 3.5)])),
        ("ZRANGE z 3 1", []),
        ("ZRANGE z 4 9", []),
        ("ZRANGE z -9 -5", []),
        ("ZRANGE z 0 0 LIMIT 0 -1", [b"a"]),
        ("ZRANGE no 0 -1", []),
        ("ZRANGE z 0 x", Failure(NOT_INTEGER)),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            Failure(
                "ERR syntax error, LIMIT is only supported in combination with either"
                " BYSCORE or BYLEX"
            ),
        ),
        ("ZRANGE z 0 1 LIMIT 0", Failure(SYNTAX)),
        ("ZRANGE z 0 1 REV REV", Failure(SYNTAX)),
        ("ZRANGE z 0 1 BYLEX BYSCORE", Failure(SYNTAX)),
        ("ZREVRANGE z 0 1 REV", Failure(SYNTAX)),
        ("ZRANGE str x 1", Failure(NOT_INTEGER)),
        ("ZRANGE str 0 1", Failure(WRONG_TYPE)),
        # By score.
        ("ZRANGE z (1 2 BYSCORE", [b"b", b"c"]),
        ("ZRANGE z 2 (1 BYSCORE REV", [b"c", b"b"]),
        ("ZRANGEBYSCORE z -inf +inf LIMIT 1 2", [b"b", b"c"]),
        ("ZRANGEBYSCORE z -inf +inf LIMIT 1 -5", [b"b", b"c", b"d"]),
        ("ZRANGEBYSCORE z -inf +inf LIMIT -1 5", []),
        ("ZRANGEBYSCORE z -inf +inf LIMIT 0 0", []),
        ("ZREVRANGEBYSCORE z 9 0 WITHSCORES LIMIT 1 1", Pairs([(b"c", 2.0)])),
        ("ZREVRANGEBYSCORE z 0 9", []),
        ("ZRANGEBYSCORE ends (-inf (inf", []),
        ("ZRANGEBYSCORE ends -inf -1e999", [b"low"]),
        ("ZCOUNT z 2 (3.5", 2),
        ("ZCOUNT z (2 2", 0),
        ("ZCOUNT z 3 1", 0),
        ("ZCOUNT no 3 x", NO_SCORE),
        ("ZCOUNT z nan 1", NO_SCORE),
        ("ZRANGE z a 1 BYSCORE", NO_SCORE),
        ("ZRANGE z a 1 BYSCORE LIMIT x 1", Failure(NOT_INTEGER)),
        # By the members' bytes.
        ("ZRANGE w [b + BYLEX", [b"b", b"c", b"d"]),
        ("ZRANGE w + (b BYLEX REV LIMIT 1 1", [b"c"]),
        ("ZRANGEBYLEX w - (c", [b"a", b"b"]),
        ("ZRANGEBYLEX w (a [c LIMIT 1 5", [b"c"]),
        ("ZREVRANGEBYLEX w [c [a", [b"c", b"b", b"a"]),
        ("ZRANGEBYLEX w (b (b", []),
        ("ZRANGEBYLEX w [b (b", []),
        ("ZRANGEBYLEX w [b [b", [b"b"]),
        ("ZRANGEBYLEX w + -", []),
        ("ZRANGEBYLEX w - -", []),
        ("ZLEXCOUNT w - +", 4),
        ("ZLEXCOUNT w [bb [c", 1),
        ("ZLEXCOUNT no - +", 0),
        ("ZLEXCOUNT w b +", NO_MEMBER),
        ("ZRANGEBYLEX w -- +", NO_MEMBER),
        (
            "ZRANGE w - + BYLEX WITHSCORES",
            Failure("ERR syntax error, WITHSCORES not supported in combination with BYLEX"),
        ),
        # Storing and removing ranges.
        ("ZRANGESTORE str z 1 2", 2),
        ("ZRANGESTORE z z 0 1 REV", 2),
        ("ZRANGESTORE str no 0 -1", 0),
        ("ZRANGESTORE d z 0 1 WITHSCORES", Failure(SYNTAX)),
        ("ZREMRANGEBYRANK z -2 -1", 2),
        ("ZREMRANGEBYRANK z 9 10", 0),
        ("ZREMRANGEBYSCORE z (1 2", 2),
        ("ZREMRANGEBYLEX w (a +", 3),
        ("ZREMRANGEBYSCORE z x 1", NO_SCORE),
        # From an end.
        ("ZPOPMIN z", [b"a", 1.0]),
        ("ZPOPMAX z", [b"d", 3.5]),
        ("ZPOPMIN no", []),
        ("ZPOPMIN z 2", Pairs([(b"a", 1.0), (b"b", 2.0)])),
        ("ZPOPMAX z 9", Pairs([(b"d", 3.5), (b"c", 2.0), (b"b", 2.0), (b"a", 1.0)])),
        ("ZPOPMAX z 0", Pairs([])),
        ("ZPOPMIN str -1", Failure(NOT_POSITIVE)),
        ("ZPOPMIN z 1 1", Failure(SYNTAX)),
        ("ZMPOP 2 no z MIN", [b"z", [[b"a", 1.0]]]),
        ("ZMPOP 2 z y max COUNT 2", [b"z", [[b"d", 3.5], [b"c", 2.0]]]),
        ("ZMPOP 1 no MIN", NIL_ARRAY),
        ("ZMPOP 2 z str MIN", [b"z", [[b"a", 1.0]]]),
        ("ZMPOP 2 no str MIN", Failure(WRONG_TYPE)),
        ("ZMPOP 0 z MIN", Failure("ERR numkeys should be greater than 0")),
        ("ZMPOP 2 z MIN", Failure(SYNTAX)),
        ("ZMPOP 1 z MID", Failure(SYNTAX)),
        ("ZMPOP 1 z MIN COUNT 0", Failure("ERR count should be greater than 0")),
        ("ZMPOP 1 z MIN COUNT 1 COUNT 1", Failure(SYNTAX)),
        ("BZPOPMIN no z 0", [b"z", b"a", 1.0]),
        ("BZPOPMAX z 0.5", [b"z", b"d", 3.5]),
        ("BZPOPMIN no 1", NIL_ARRAY),
        ("BZPOPMIN str -1", Failure("ERR timeout is negative")),
        ("BZPOPMIN z x", Failure("ERR timeout is not a float or out of range")),
        ("BZMPOP 0 1 z MIN COUNT 2", [b"z", [[b"a", 1.0], [b"b", 2.0]]]),
        ("BZMPOP x 1 z MID", Failure(SYNTAX)),
        ("BZMPOP x 1 z MIN", Failure("ERR timeout is not a float or out of range")),
        # Chance.
        ("ZRANDMEMBER no", None),
        ("ZRANDMEMBER no -5", []),
        ("ZRANDMEMBER z 0 WITHSCORES", Pairs([])),
        ("ZRANDMEMBER z 1 WITH", Failure(SYNTAX)),
        ("ZRANDMEMBER z x WITH", Failure(NOT_INTEGER)),
        (f"ZRANDMEMBER z {-INTEGER_MAX} WITHSCORES", Failure("ERR value is out of range")),
        (
            f"ZRANDMEMBER z {INTEGER_MIN}",
            Failure(
                f"ERR value is out of range, value must between {-INTEGER_MAX} and {INTEGER_MAX}"
            ),
        ),
        # Algebra.
        ("ZINTER 2 z y", [b"b", b"c"]),
        ("ZINTER 2 z y WITHSCORES", Pairs([(b"b", 12.0), (b"c", 22.0)])),
        ("ZINTER 2 z s WITHSCORES", Pairs([(b"a", 2.0), (b"b", 3.0)])),
        ("ZINTER 2 z y WEIGHTS 2 -1 WITHSCORES", Pairs([(b"c", -16.0), (b"b", -6.0)])),
        ("ZINTER 2 z y AGGREGATE min WITHSCORES", Pairs([(b"b", 2.0), (b"c", 2.0)])),
        ("ZINTER 2 z no", []),
        (
            "ZUNION 2 y z AGGREGATE MAX WITHSCORES",
            Pairs([(b"a", 1.0), (b"d", 3.5), (b"b", 10.0), (b"c", 20.0), (b"e", 30.0)]),
        ),
        (
            "ZUNION 2 ends ends WEIGHTS 1 -1 WITHSCORES",
            Pairs([(b"high", 0.0), (b"low", 0.0)]),
        ),
        ("ZUNION 1 ends WEIGHTS 0 WITHSCORES", Pairs([(b"high", 0.0), (b"low", 0.0)])),
        ("ZUNION 1 s WITHSCORES", Pairs([(b"a", 1.0), (b"b", 1.0), (b"x", 1.0)])),
        ("ZDIFF 2 z s WITHSCORES", Pairs([(b"c", 2.0), (b"d", 3.5)])),
        ("ZDIFF 3 z no z", []),
        ("ZINTERCARD 2 z y", 2),
        ("ZINTERCARD 2 z y LIMIT 1", 1),
        ("ZUNIONSTORE str 2 z y", 5),
        ("ZINTERSTORE z 2 z y", 2),
        ("ZDIFFSTORE z 2 z z", 0),
        ("ZUNION 0 z", Failure("ERR at least 1 input key is needed for 'zunion' command")),
        ("ZUNION x z", Failure(NOT_INTEGER)),
        ("ZUNION 2 z", Failure(SYNTAX)),
        ("ZUNION 1 str WEIGHT", Failure(WRONG_TYPE)),
        ("ZUNION 1 z WEIGHTS x", Failure("ERR weight value is not a float")),
        ("ZUNION 2 z y WEIGHTS 1", Failure(SYNTAX)),
        ("ZUNION 1 z AGGREGATE avg", Failure(SYNTAX)),
        ("ZDIFF 1 z WEIGHTS 1", Failure(SYNTAX)),
        ("ZUNIONSTORE d 1 z WITHSCORES", Failure(SYNTAX)),
        ("ZINTERCARD 1 z LIMIT -1", Failure("ERR LIMIT can't be negative")),
        ("ZINTERCARD 1 z WITHSCORES", Failure(SYNTAX)),
    ],
)
def test_answers(machine: Machine, line: str, value: Value) -> None:
    digest = machine.digest
    (answered,) = values(machine, line)
    assert answered == value
    assert type(answered) is type(value)
    if isinstance(value, Failure):
        assert machine.digest == digest


@pytest.mark.parametrize(
    ("line", "key", "left"),
    [
        ("ZADD z 3 a -1 d", "z", [(b"d", -1.0), (b"b", 2.0), (b"c", 2.0), (b"a", 3.0)]),
        ("ZADD z GT 0 a 9 b", "z", [(b"a", 1.0), (b"c", 2.0), (b"d", 3.5), (b"b", 9.0)]),
        ("ZREM z a b c d", "z", []),
        ("ZREMRANGEBYRANK z 1 2", "z", [(b"a", 1.0), (b"d", 3.5)]),
        ("ZREMRANGEBYLEX w (a +", "w", [(b"a", 0.0)]),
        ("ZPOPMAX z 3", "z", [(b"a", 1.0)]),
        ("ZMPOP 1 z MIN COUNT 9", "z", []),
        ("ZRANGESTORE str z 1 2", "str", [(b"b", 2.0), (b"c", 2.0)]),
        ("ZRANGESTORE z z (1 (2 BYSCORE", "z", []),
        ("ZINTERSTORE s 2 z s WEIGHTS 1 10", "s", [(b"a", 11.0), (b"b", 12.0)]),
    ],
)
def test_what_is_left(
    machine: Machine, line: str, key: str, left: list[tuple[bytes, float]]
) -> None:
    calls(machine, line)
    assert values(machine, f"ZRANGE {key} 0 -1 WITHSCORES", f"EXISTS {key}") == [
        Pairs(list(left)),
        int(bool(left)),
    ]
    for rank, (member, _) in enumerate(left):
        assert values(machine, f"ZRANK {key} {member.decode()}") == [rank]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ZRANGEBYLEX v [b [d", [b"b", b"d", b"a"]),
        ("ZREVRANGEBYLEX v [d [b", [b"c", b"e"]),
        ("ZLEXCOUNT v [c [e", 4),
        ("ZRANGEBYLEX v - + LIMIT 2 2", [b"a", b"e"]),
        ("ZRANGEBYLEX v [b [d LIMIT 3 9", []),
        ("ZRANGEBYLEX v [b [d LIMIT 4 9", [b"c"]),
        ("ZREVRANGEBYLEX v [d [b LIMIT 1 9", [b"e"]),
        ("ZREVRANGEBYLEX v [d [b LIMIT -1 9", []),
        ("ZLEXCOUNT v [d +", 0),
        ("ZREMRANGEBYLEX v [b [d", 3),
    ],
)
def test_different_scores_are_walked_as_in_a_small_one_of_redis(line: str, value: Value) -> None:
    machine = Machine()
    assert values(machine, "ZADD v 1 b 2 d 3 a 4 e 5 c", line)[1] == value


def test_what_is_drawn(machine: Machine) -> None:
    def drawn(line: str, dice: int) -> Value:
        return calls(machine, line, dice=dice).values[0]

    once = Counter(drawn("ZRANDMEMBER z", dice) for dice in range(400))
    assert set(once) == {b"a", b"b", b"c", b"d"}
    assert min(once.values()) > 60
    assert sorted(drawn("ZRANDMEMBER z 9", 3)) == [b"a", b"b", b"c", b"d"]
    assert len(set(drawn("ZRANDMEMBER z 3", 3))) == 3
    repeated = drawn("ZRANDMEMBER z -50 WITHSCORES", 3)
    assert set(repeated.pairs) <= {(b"a", 1.0), (b"b", 2.0), (b"c", 2.0), (b"d", 3.5)}
    assert len(repeated.pairs) == 50


def test_as_many_members_as_one_call_may_change(machine: Machine) -> None:
    pairs = " ".join(f"{number} m{number}" for number in range(ROWS_TOUCHED_MAX))
    assert values(machine, f"ZADD big {pairs}") == [ROWS_TOUCHED_MAX]
    digest = machine.digest
    (value,) = values(machine, f"ZADD big {pairs.replace(' m', '.5 m')} 1 more")
    assert isinstance(value, Failure)
    assert "changes at most" in value.text
    assert machine.digest == digest
    assert values(machine, "ZRANGE big 5000 5001", "ZRANK big m9999", "ZCOUNT big 10 (20") == [
        [b"m5000", b"m5001"],
        9999,
        10,
    ]
    assert values(machine, "ZREMRANGEBYRANK big 0 -1", "EXISTS big") == [ROWS_TOUCHED_MAX, 0]


def test_a_sorted_set_may_be_larger_than_what_one_call_looks_at(machine: Machine) -> None:
    for start in range(0, ELEMENTS_READ_MAX + 1, ROWS_TOUCHED_MAX):
        numbers = range(start, min(start + ROWS_TOUCHED_MAX, ELEMENTS_READ_MAX + 1))
        calls(machine, "ZADD big " + " ".join(f"{number} {number}" for number in numbers))
    assert values(
        machine,
        *("ZCARD big", "ZCOUNT big -inf 99", "ZRANGE big -1 -1", "ZINTERCARD 2 big big LIMIT 2"),
        "ZRANGEBYSCORE big 5 inf LIMIT 7 1",
    ) == [ELEMENTS_READ_MAX + 1, 100, [b"100000"], 2, [b"12"]]
    for line in ("ZRANGE big 0 -1", "ZUNION 1 big", "ZLEXCOUNT big - +"):
        (value,) = values(machine, line)
        assert isinstance(value, Failure)
        assert "looks at up to" in value.text


def test_a_call_that_fails_in_the_middle_changes_nothing(machine: Machine) -> None:
    digest = machine.digest
    member = "x" * NAME_SIZE_BYTES_MAX
    (value,) = values(machine, f"ZADD z 9 a 9 {member}x")
    assert isinstance(value, Failure)
    assert "at most" in value.text
    assert machine.digest == digest
    assert values(machine, f"ZADD z 9 {member}") == [1]


def test_events_are_those_of_redis() -> None:
    heard = Heard("gz")
    for line, events in {
        "ZADD z 1 a 2 b 3 c 4 d": ["zadd:z"],
        "ZADD z NX 1 a": [],
        "ZADD z CH 1 a": [],
        "ZINCRBY z 1 a": ["zincr:z"],
        "ZADD z INCR 0 a": [],
        "ZREM z x a": ["zrem:z"],
        "ZPOPMIN z 0": [],
        "ZPOPMIN z": ["zpopmin:z"],
        "ZPOPMAX z 1": ["zpopmax:z"],
        "ZREMRANGEBYSCORE z 9 9": [],
        "ZUNIONSTORE u 1 z": ["zunionstore:u"],
        "ZRANGESTORE r u 0 -1": ["zrangestore:r"],
        "ZREMRANGEBYRANK r 0 -1": ["zremrangebyrank:r", "del:r"],
        "ZREMRANGEBYLEX u - +": ["zremrangebylex:u", "del:u"],
        "ZADD u 1 a": ["zadd:u"],
        "ZMPOP 1 u MIN": ["zpopmin:u", "del:u"],
        "ZDIFFSTORE z 1 no": ["del:z"],
        "ZADD u 1 a 2 b": ["zadd:u"],
        "BZPOPMAX u 0": ["zpopmax:u"],
    }.items():
        calls(heard.machine, line)
        assert heard.take() == events, line
