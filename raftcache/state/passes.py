"""Walks over names in their order, as these were at one moment, while they change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from sortedcontainers import SortedList

from raftcache.state import items
from raftcache.state.spread import Spread

LEAF_NAMES_MAX: Final = 512
"""To split or to sort so many takes a tenth of a millisecond."""


class Held:
    """What names held, in the order of the names: added anywhere, taken from the front.

    Leaves of few names, as in a B-tree, so that no step is long however many there are: to grow
    one dictionary of three million took 320 ms, to free it 180. And a dictionary of nothing but
    bytes is none that Python's collector walks over.
    """

    __slots__ = ("_firsts", "_leaves")

    def __init__(self) -> None:
        self._leaves: list[dict[bytes, bytes | None]] = [{}]
        self._firsts = [b""]  # of each leaf: no name in it is below

    def __bool__(self) -> bool:
        return bool(self._leaves[0])  # none is empty but one that is alone

    def add(self, name: bytes, held: bytes | None) -> None:
        """None if it was not there. What is kept of the name already stays."""
        at = bisect_right(self._firsts, name) - 1
        leaf = self._leaves[at]
        leaf.setdefault(name, held)
        if len(leaf) > LEAF_NAMES_MAX:
            names = sorted(leaf)
            middle = names[len(names) // 2]
            upper = {each: leaf.pop(each) for each in names[len(names) // 2 :]}
            self._leaves.insert(at + 1, upper)
            self._firsts.insert(at + 1, middle)

    def front(self, count: int) -> set[bytes]:
        """The first names, so many or some more; all, if these are fewer."""
        names: set[bytes] = set()
        for leaf in self._leaves:
            names.update(leaf)
            if len(names) >= count:
                break
        return names

    def pop_first(self, name: bytes) -> bytes | None:
        """What the first name held, which is this one; it is kept no longer."""
        leaf = self._leaves[0]
        held = leaf.pop(name)
        if not leaf and len(self._leaves) > 1:
            del self._leaves[0], self._firsts[1]
        return held


class Pass:
    """One walk over a part of the names, in order, as they and what they held were at one moment.

    Nothing is copied beforehand: the first change since then to a name that was not passed yet
    keeps what it held, so a pass costs only what changes while it lasts. Of items, which tell
    their revision, only what is older than the pass is kept: a younger one shows that by itself.
    """

    __slots__ = ("_current", "_end", "_kept", "_next", "_order", "_revision", "done")

    def __init__(
        self,
        current: Callable[[], dict[bytes, bytes] | Spread],
        order: Iterable[bytes],
        start: bytes,
        end: bytes,
        revision: int | None = None,
    ) -> None:
        """current: where all that is held is now; order: its names, of which [start, end) are
        walked, to the last one if end is empty. revision: if they hold items, the last at that
        moment; every later change takes a higher one.
        """
        self._current = current
        self._order: SortedList = order
        self._next = start  # no name below was not passed
        self._end = end or None
        self._revision = revision
        self._kept = Held()
        self.done = False

    def save(self, name: bytes, old: bytes | None) -> None:
        """A name changes: keep what it held, unless it was passed, or changed since the moment."""
        if name < self._next or not (self._end is None or name < self._end):
            return
        if self._revision is None or (old is not None and items.revision_of(old) <= self._revision):
            self._kept.add(name, old)

    def take(self, count_max: int, size_bytes_max: int) -> list[tuple[bytes, bytes]]:
        """The next names with what they held; ends with the first that passes a limit.

        Empty also when it met nothing but names younger than the pass: `done` tells the end.
        """
        names, kept = self._next_names(count_max + 1)  # one more shows whether this is the end
        current, taken, size_bytes = self._current(), list[tuple[bytes, bytes]](), 0
        for name in names[:count_max]:
            held = self._kept.pop_first(name) if name in kept else self._old(current[name])
            self._next = name + b"\0"
            if held is not None:
                taken.append((name, held))
                size_bytes += len(name) + len(held)
                if size_bytes >= size_bytes_max:
                    break
        else:
            self.done = len(names) <= count_max
        return taken

    def _old(self, held: bytes) -> bytes | None:
        """What a name holds now, of which nothing is kept; None if it is younger than the pass."""
        if self._revision is not None and items.revision_of(held) > self._revision:
            return None
        return held

    def _next_names(self, count: int) -> tuple[list[bytes], set[bytes]]:
        """The next names, present or kept, in order, fewer than asked for if these are all; and
        of which of them something is kept."""
        span = {"minimum": self._next, "maximum": self._end, "inclusive": (True, False)}
        names = list(islice(self._order.irange(**span), count))
        if not self._kept:
            return names, set()
        kept = self._kept.front(count)
        return sorted(kept.union(names))[:count], kept


def pass_over_all(
    current: Callable[[], dict[bytes, bytes] | Spread],
    order: SortedList,
    revision: int | None = None,
) -> Pass:
    """Over all names there are now: those that come behind the last one are not even looked at.

    A pass that did would never end where names are added in their order, and fast.
    """
    last: bytes = order[-1] if order else b""
    return Pass(current, order, b"", last + b"\0", revision)
