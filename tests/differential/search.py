"""Looks for differences: examples by Hypothesis, each difference in its shortest form.

Hypothesis makes the examples, from one seed; shortening is by leaving steps out, which finds the
few calls that matter while the servers run, and needs no second strategy.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from tests.differential.families import Family
from tests.differential.judge import name_of
from tests.differential.play import Differs, Play, Side, Step

STEPS_MIN: Final = 8
STEPS_MAX: Final = 24
BEGINNING_MAX: Final = 5


class Enough(Exception):
    """No more examples, please."""


class Example(NamedTuple):
    """Steps, and how they are sent: in which protocol, and whether as one pipeline."""

    steps: tuple[Step, ...]
    clients: int
    protocol: int
    whole: bool


class Pair(NamedTuple):
    """A redis-server, and what is compared with it."""

    redis: Side
    other: Side

    def play(self, example: Example) -> Differs | None:
        play = Play(self.redis, self.other, example.clients, example.protocol)
        return play.run(example.steps, example.whole)

    def close(self) -> None:
        self.redis.close()
        self.other.close()


@dataclass
class Found:
    """What a search has found: differences that are not meant, by their signs, and what it did."""

    differences: dict[tuple[str, ...], Differs] = field(default_factory=dict)
    meant: Counter[str] = field(default_factory=Counter)
    examples: int = 0
    steps: int = 0

    def __str__(self) -> str:
        told = [f"{' / '.join(signs)}\n{each}" for signs, each in sorted(self.differences.items())]
        return "\n\n".join(told)


def examples_of(family: Family) -> st.SearchStrategy[Example]:
    first = st.lists(st.builds(Step, st.just(0), family.beginning), max_size=BEGINNING_MAX)
    step = st.builds(Step, st.integers(0, family.clients - 1), family.call)
    then = st.lists(step, min_size=STEPS_MIN, max_size=STEPS_MAX)
    steps = st.builds(lambda some, more: (*some, *more), first, then)
    whole = st.booleans() if family.clients == 1 else st.just(False)
    return st.builds(Example, steps, st.just(family.clients), st.sampled_from([2, 3]), whole)


def search(pair: Pair, family: Family, count: int, number: int, enough: int = 1) -> Found:
    """Play count examples of the seed with that number; stop after `enough` differences."""
    found = Found()

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @seed(number)
    @given(examples_of(family))
    def look(example: Example) -> None:
        if len(found.differences) >= enough:
            raise Enough
        found.examples += 1
        found.steps += len(example.steps)
        differs = pair.play(example)
        if differs is None:
            return
        if difference := differs.is_meant:
            found.meant[difference.name] += 1
        elif (signs := signs_of(differs)) not in found.differences:
            found.differences[signs] = shortened(pair.play, example, differs)

    with contextlib.suppress(Enough):
        look()
    return found


def signs_of(differs: Differs) -> tuple[str, ...]:
    """By what differences are told apart: the command, and how each side answers."""
    answers = (
        content.decode(errors="replace") if sign == "-" else sign
        for sign, content in (differs.redis, differs.other)
    )
    return (name_of(differs.step.call), *answers)


def shortened(
    play: Callable[[Example], Differs | None], example: Example, differs: Differs
) -> Differs:
    """The same difference after fewer steps: each is left out if it can be."""
    signs, steps, place = signs_of(differs), list(example.steps), len(example.steps)
    while place := min(place, len(steps)):
        place -= 1
        fewer: Sequence[Step] = [*steps[:place], *steps[place + 1 :]]
        again = play(example._replace(steps=tuple(fewer)))
        if again is not None and signs_of(again) == signs:
            differs, steps = again, list(fewer)
    return differs
