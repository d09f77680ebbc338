"""The search against a plain one that tries every order, on small histories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chaos.linearizability import Call, first_inexplicable

Word = tuple[str, int]


def step(value: int, word: Word) -> int | None:
    """A register with compare-and-set: c 12 makes 2 of 1."""
    kind, number = word
    if kind == "w":
        return number
    if kind == "c":
        return number % 10 if value == number // 10 else None
    return value if value == number else None


def has_order(calls: Sequence[Call[Word]]) -> bool:
    """By trying all orders of all subsets that hold every completed call."""
    done = [call for call in calls if call.completed_ns is not None]
    pending = [call for call in calls if call.completed_ns is None]
    subsets = range(1 << len(pending))
    chosen = ([p for i, p in enumerate(pending) if bits >> i & 1] for bits in subsets)
    return any(_explains(order) for some in chosen for order in permutations(done + some))


def _explains(order: Sequence[Call[Word]]) -> bool:
    value: int | None = 0
    for i, call in enumerate(order):
        if any(
            later.completed_ns is not None and later.completed_ns < call.invoked_ns
            for later in order[i + 1 :]
        ):
            return False
        value = step(value or 0, call.word)
        if value is None:
            return False
    return True


def prefix(calls: Sequence[Call[Word]], end: int, last: Call[Word] | None) -> list[Call[Word]]:
    """What was known at `end`; of completions at that very moment, only those before `last`."""
    found = []
    for call in calls:
        known = call.completed_ns is not None and (call.completed_ns < end or call is last)
        if call.invoked_ns <= end:
            found.append(call if known else Call(call.word, call.invoked_ns, None))
    return found


words = st.one_of(
    st.tuples(st.just("w"), st.integers(1, 3)),
    st.tuples(st.just("r"), st.integers(0, 3)),
    st.tuples(st.just("c"), st.sampled_from((1, 12, 21, 23, 31))),
)
spans = st.tuples(st.integers(0, 8), st.integers(0, 5))


@st.composite
def histories(draw: st.DrawFn) -> list[Call[Word]]:
    calls = []
    for word in draw(st.lists(words, max_size=6)):
        begin, length = draw(spans)
        lost = word[0] != "r" and draw(st.integers(0, 3)) == 0
        # Reads need not say that they are reads.
        changes = word[0] != "r" or draw(st.booleans())
        calls.append(Call(word, begin, None if lost else begin + length, changes))
    return calls


@settings(max_examples=400, deadline=None)
@given(histories())
@example([Call(word, 0, 0) for word in (("w", 1), ("c", 12), ("c", 12), ("w", 1))])
@example([Call(("w", 1), 0, None), Call(("r", 1), 1, 2), Call(("r", 0), 3, 4)])
def test_it_finds_what_trying_every_order_finds(calls: list[Call[Word]]) -> None:
    last = first_inexplicable(calls, 0, step)
    assert (last is None) == has_order(calls)
    if last is not None:
        assert last.completed_ns is not None
        assert has_order(prefix(calls, last.completed_ns, None)), "a shorter prefix has no order"
        ends = [c for c in calls if c.completed_ns == last.completed_ns]
        if len(ends) == 1:
            assert not has_order(prefix(calls, last.completed_ns, last))
