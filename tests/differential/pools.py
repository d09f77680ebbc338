"""What calls are made of, by name: few keys, fields and members, so that calls meet each other.

Arguments are chosen where rules change: nothing, zero, one, minus one, the ends of 64 bits and what
lies beyond, things that are almost numbers, and names that other types have already taken.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from tests.differential.grammar import EVERY_CURSOR, Strategy, counted, pool

INTEGER_MAX: Final = str((1 << 63) - 1)
INTEGER_MIN: Final = str(-(1 << 63))
TOO_LARGE: Final = str(1 << 63)
NO_NUMBERS: Final = ("", "abc", "1.5", " 1", "1 ", "+1", "01", "-0", "1e3", "0x10", TOO_LARGE)

KEYS: Final = pool("k1", "k1", "k1", "k2", "k2", "k3", b"\xff\0\r\n")
WORDS: Final = ("a", "b", "c", "", "abc", b"\0\xff", "1", "A\r\nB")
INTEGERS: Final = ("1", "0", "-1", "10", "-7", INTEGER_MAX, INTEGER_MIN)
IDS: Final = (
    *("0-0", "0-1", "0", "abc", "", "-", "+", "-5", "5-", "1-1-1", "+5", "05-01", "5--0", "5--1"),
    *("(0", "(0-0", "18446744073709551615", "18446744073709551615-18446744073709551615"),
    *(
        "(18446744073709551615-18446744073709551615",
        "18446744073709551616",
        "5-18446744073709551615",
    ),
    *("5-*", "x-*", "9-9", "1-x", "5-1\0x", "1" * 130),
)
FLOATS: Final = (
    *("1", "0", "-1", "1.5", "-2.25", "3.0e5", "0.1", "1e-7", "100000000000000000000"),
    *("inf", "-inf", "+inf", "nan", "1e309", "-0", "5.0", "1.7976931348623157e308", "1e17"),
)
INDEXES: Final = ("0", "1", "-1", "2", "-2", "5", "-5", "100", "-100")
PLACES: Final = ("3", "15", "-15", "120", "599")

SKETCH: Final = b"HYLL\1" + bytes(11) + b"\x7f\xff"
SKETCHES: Final = (
    SKETCH,
    b"HYLL\0" + bytes(10) + b"\x80" + bytes(12288),
    b"HYLL\0" + bytes(10) + b"\x80" + bytes(range(256)) * 48,
    b"HYLL\0\0\0\0\7" + bytes(7) + b"\x41" * 12288,
    b"HYLL\1" + bytes(10) + b"\x80" + b"\x7f\xfe\x8c",
)
"""HyperLogLogs."""

NO_SKETCHES: Final = (
    b"HYLL\1" + bytes(10) + b"\x80" + b"\0",
    b"HYLL\1" + bytes(10) + b"\x80",
    b"HYLL\1" + bytes(10),
    b"HYLL\2" + bytes(11) + b"\x7f\xff",
    b"HYLL\0" + bytes(11) + bytes(12287),
    b"HYLx\1" + bytes(11) + b"\x7f\xff",
)
"""Nearly; those that are corrupt say that they must be counted."""

MANY: Final = st.sampled_from([20, 130, 600])
"""Elements; Redis keeps few in another way than many, and a scan of many has steps."""


def many(*elements: str) -> Strategy:
    """As many elements, each of these words; N is its number, M one of seven."""

    def made(count: int) -> tuple[bytes, ...]:
        return tuple(
            word.replace("N", str(number)).replace("M", str(number % 7)).encode()
            for number in range(count)
            for word in elements
        )

    return MANY.map(made)


POOLS: Final = {
    "key": KEYS,
    "keys": counted(KEYS, pool("0", "-1", "2", "5", "abc")),
    "word": pool(*WORDS),
    "value": pool(*WORDS, *INTEGERS, *NO_NUMBERS, "3.0", "inf", "x" * 70),
    "integer": st.one_of(pool(*INTEGERS), pool(*NO_NUMBERS)),
    "float": st.one_of(pool(*FLOATS), pool(*NO_NUMBERS)),
    "index": st.one_of(
        pool(*INDEXES), pool(*INDEXES, *PLACES), pool(INTEGER_MAX, INTEGER_MIN, *NO_NUMBERS)
    ),
    "count": st.one_of(pool("1", "2", "3", "10", "0", "-1"), pool("-3", *NO_NUMBERS)),
    "seconds": st.one_of(
        pool("100", "1000", "5000"), pool("0", "-1", INTEGER_MAX, "9223372036854775", "abc", "1.5")
    ),
    "ms": st.one_of(
        pool("100000", "1000000", "100500"), pool("0", "-1", INTEGER_MAX, INTEGER_MIN, "abc", "")
    ),
    "at": st.one_of(pool("2000000000", "1999999999"), pool("1", "0", "-1", INTEGER_MAX, "abc")),
    "at_ms": st.one_of(pool("2000000000000", "1999999999999"), pool("1", "0", INTEGER_MAX, "")),
    "offset": st.one_of(pool("0", "1", "3", "10"), pool("-1", "2000000", INTEGER_MAX, "abc")),
    "bit_offset": st.one_of(pool("0", "1", "7", "8", "15", "100"), pool("-1", "4294967296", "abc")),
    "bit": st.one_of(pool("1", "0"), pool("1", "0"), pool("2", "-1", "abc")),
    "bit_type": st.one_of(
        pool("u8", "i8", "u1", "i5", "u16", "i64", "u63"),
        pool("u8", "i8", "u1", "i5", "u16", "i64", "u63"),
        pool("u64", "i65", "u0", "x8", "i"),
    ),
    "bit_place": st.one_of(
        pool("0", "#0", "#1", "1", "5", "100"), pool("-1", "#-1", "#", "abc", "99999999999")
    ),
    "width": pool("u8", "i8", "u1", "i5", "u16", "i64", "u63"),
    "place": pool("0", "#0", "#1", "1", "5", "100"),
    "amount": pool("1", "-1", "100", "200", "-200", INTEGER_MAX, "abc", TOO_LARGE),
    "pattern": st.one_of(
        pool("*", "k*", "k[12]", "?1", "[^k]*", "k1"),
        pool("", "\\k1", "[a-b]", "*c", "[b-a]", "[a"),
    ),
    "field": pool("f1", "f2", "f3", "f1", "f2", "", "1", b"\0\xff"),
    "member": pool("a", "b", "c", "a", "b", "d", "", "1", b"\0\xff"),
    "score": st.one_of(pool("1", "2", "1", "2", "3", "-1", "0"), pool(*FLOATS, *NO_NUMBERS)),
    "score_bound": st.one_of(
        pool("-inf", "+inf", "1", "2", "(1", "(2", "0"),
        pool("(-inf", "3.5", "inf", "abc", "(", "nan"),
    ),
    "lex_bound": pool("-", "+", "[a", "(a", "[b", "(c", "[", "(", "[\xff", "a", "", "--"),
    "rising": pool("1-*", "2-*", "5-*", "5-*", "7-*"),
    "id": st.one_of(
        pool("1-1", "1-2", "2-1", "5-1", "5-2", "5", "6", "7-0", "9-9"),
        pool("1-1", "1-2", "2-1", "5-1", "5-2", "5-*", "0-*", "7-*"),
        pool(*IDS),
    ),
    "id_bound": st.one_of(
        pool("-", "+", "1", "2", "5", "5-1", "(5-1", "(1", "(5", "7"), pool(*IDS, "(-", "(+", "(")
    ),
    "id_read": st.one_of(pool("0", "0-0", "1-1", "2", "5-1", "$"), pool(*IDS, ">", "9")),
    "id_group": st.one_of(
        pool("0", "0", "$", "1-1", "5-1", "5", "9-9"), pool("0", "$", "1", "7"), pool(*IDS)
    ),
    "group": pool("g", "g", "g", "h", ""),
    "consumer": pool("a", "a", "b", "c", ""),
    "idle": pool("0", "0", "50000", "100000", "-1", "abc", INTEGER_MAX, INTEGER_MIN),
    "read": pool("0", "1", "3", "-1", "-2", "abc", INTEGER_MAX),
    "type": pool("string", "list", "set", "zset", "hash", "stream", "none", "LIST"),
    "by": pool("nosort", "w_*", "k*", "k*->f1", "*", ""),
    "got": pool("#", "k*", "k*->f1", "w_*", "*", "k1"),
    "all": pool(EVERY_CURSOR),
    "longitude": st.one_of(
        pool("10", "10.5", "10.001", "13.361389", "-0.1", "11"),
        pool("180", "-180", "179.9", "0", "181", "abc", "nan", "inf", ""),
    ),
    "latitude": st.one_of(
        pool("50", "50.2", "50.0001", "38.115556", "-10", "49"),
        pool("85.05112878", "-85.05112878", "0", "70", "86", "abc", "1e400", ""),
    ),
    "near": pool("10", "10.5", "10.001", "11", "9.9"),
    "spot": pool("a", "b", "c", "a", "b", "d", ""),
    "radius": st.one_of(
        pool("100", "0", "1000", "20000", "30.5", "5000"),
        pool("1e9", "0.001", "-1", "abc", "inf", "nan", "", "1e300"),
    ),
    "unit": st.one_of(pool("km", "km", "m"), pool("ft", "mi", "KM", "x", "")),
    "places": many("1.N5", "5M.5", "N"),
    "element": pool("a", "b", "c", "d", "", "abcdefg", "abcdefgh", "abcdefghi", b"\xff" * 20),
    "sketch": st.one_of(pool(*SKETCHES), pool(*SKETCHES, *NO_SKETCHES, "abc", "1")),
    "right_sketch": pool(*SKETCHES),
    "low": pool("1", "2", "3", "1.5"),
    "numbers": many("N"),
    "numbers_again": many("M"),
    "fields": many("fN", "N"),
    "scores": many("M", "N"),
}
