"""LCS: what two strings have in common, in its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from raftcache.command.values import Value
from raftcache.state.items import LEASED
from raftcache.state.redis.parsing import SYNTAX, Refuse, integer
from raftcache.state.redis.store import Handler, Store

LCS_SIZE_BYTES_MAX: Final = 64 << 10
"""Of each string."""

LCS_CELLS_MAX: Final = 1 << 27
"""Of the table of both strings, as in Redis, whose table takes 512 MiB then; here a cell is a bit.
Such a call takes about 60 ms, in which a node does nothing else."""


class _Match(NamedTuple):
    """A run of equal bytes: where it begins in each string, and how many they are."""

    first: int
    second: int
    size: int

    def spans(self) -> list[Value]:
        return [[at, at + self.size - 1] for at in (self.first, self.second)]


class _Table:
    """The lengths of the longest common subsequences (LCS) of all beginnings of two strings.

    Kept is one bit for each: whether the LCS becomes longer with the last byte of the second one.
    All bits of a line are made at once from those of the line before, by arithmetic on one large
    number: Hyyrö, Bit-Parallel LCS-Length Computation Revisited (2004).
    """

    def __init__(self, first: bytes, second: bytes) -> None:
        self._first, self._second = first, second
        self._lines: list[bytes] = []
        size = len(second)
        every = still = (1 << size) - 1
        where = {byte: _where(byte, second) for byte in set(first)}
        for byte in first:
            met = still & where[byte]
            still = (still + met | still - met) & every
            self._lines.append((still ^ every).to_bytes(size + 7 >> 3, "little"))
        self.length = size - still.bit_count()

    def matches(self) -> Iterator[_Match]:
        """The runs of one LCS, the last first; of several LCS the one that Redis takes."""
        first, second, lines = self._first, self._second, self._lines
        i, j, size = len(first), len(second), 0
        while i and j:
            if first[i - 1] == second[j - 1]:
                i, j, size = i - 1, j - 1, size + 1
                continue
            if size:
                yield _Match(i, j, size)
                size = 0
            if lines[i - 1][j - 1 >> 3] >> (j - 1 & 7) & 1:
                i -= 1  # it does not need the last byte of the first, but that of the second
            else:
                j -= 1
        if size:
            yield _Match(i, j, size)


def _where(byte: int, text: bytes) -> int:
    """A number whose bits say where the byte stands in the text."""
    marks = bytearray(b"0" * 256)
    marks[byte] = ord("1")
    return int(text[::-1].translate(marks) or b"0", 2)


def _lcs(store: Store, args: tuple[bytes, ...]) -> Value:
    first, second = [_string(store, key) for key in args[:2]]
    options, size_min = _options(args[2:])
    if max(len(first), len(second)) > LCS_SIZE_BYTES_MAX:
        raise Refuse("ERR String too long for LCS")
    if (len(first) + 1) * (len(second) + 1) > LCS_CELLS_MAX:
        raise Refuse("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    table = _Table(first, second)
    if b"IDX" in options:
        found = [match for match in table.matches() if match.size >= size_min]
        return {b"matches": _told(found, b"WITHMATCHLEN" in options), b"len": table.length}
    if b"LEN" in options:
        return table.length
    runs = [first[match.first : match.first + match.size] for match in table.matches()]
    return b"".join(reversed(runs))


def _string(store: Store, key: bytes) -> bytes:
    found = store.find(key)
    if found is None:
        return b""
    if found.kind > LEASED:
        raise Refuse("ERR The specified keys must contain string values")
    return found.value


def _options(words: tuple[bytes, ...]) -> tuple[set[bytes], int]:
    """The flags, and the smallest size of a match that is told."""
    flags, size_min = set[bytes](), 0
    rest = iter(words)
    for word in rest:
        option = word.upper()
        argument = next(rest, None) if option == b"MINMATCHLEN" else None
        if argument is not None:
            size_min = integer(argument)
        elif option in (b"IDX", b"LEN", b"WITHMATCHLEN"):
            flags.add(option)
        else:
            raise Refuse(SYNTAX)
    if {b"IDX", b"LEN"} <= flags:
        raise Refuse("ERR If you want both the length and indexes, please just use IDX.")
    return flags, size_min


def _told(matches: Iterable[_Match], with_sizes: bool) -> list[Value]:
    return [[*match.spans(), match.size] if with_sizes else match.spans() for match in matches]


CALLS: Final[dict[bytes, Handler]] = {b"LCS": _lcs}

LONE: Final[frozenset[bytes]] = frozenset()
"""See execute.LONE."""
