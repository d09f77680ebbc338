"""What the writers were told, and whether what is there in the end agrees with it.

Pure. Values count up: the n-th put of a key writes n, and an increment adds 1. Every write has an
Idempotency-Key, and one whose outcome is unknown is repeated with it until it is known; so in the
end each write was acknowledged (exactly once) or refused (it never happened).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Puts:
    """Of one key, by one writer, one after the other."""

    acknowledged: list[int] = field(default_factory=list)
    refused: int = 0
    unknown: int = 0
    """Outcomes that were unknown at first; each is among the others now."""


@dataclass
class Increments:
    """Of one counter; numbers are the values that acknowledgements showed, in any order."""

    numbers: list[int] = field(default_factory=list)
    refused: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class Verdict:
    """Broken promises, counted; `sentences` names each key."""

    lost: int
    duplicates: int
    sentences: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.sentences


def judge(
    puts: dict[str, Puts],
    increments: dict[str, Increments],
    final: dict[str, dict[str, int]],
) -> Verdict:
    """Compare with what every node shows after healing: node -> key -> value, 0 for no key."""
    lost, duplicates = 0, 0
    sentences: list[str] = []
    for node, values in final.items():
        for key, history in puts.items():
            last, now = max(history.acknowledged, default=0), values[key]
            missing = sum(value > now for value in history.acknowledged)
            if missing:
                lost += missing
                sentences.append(f"{key} is {now} on {node}: {last} was acknowledged")
            elif now != last:
                duplicates += 1
                sentences.append(f"{key} is {now} on {node}: put after {last}, yet refused")
        for key, counter in increments.items():
            count, now = len(counter.numbers), values[key]
            if now < count:
                lost += count - now
                sentences.append(f"{key} is {now} on {node}: {count} were acknowledged")
            elif now > count:
                duplicates += now - count
                sentences.append(f"{key} is {now} on {node}: only {count} were acknowledged")
    for key, counter in increments.items():
        if twice := [n for n, times in Counter(counter.numbers).items() if times > 1]:
            lost += len(twice)
            sentences.append(f"{key}: two increments were answered with {twice}")
    return Verdict(lost, duplicates, tuple(sentences))


def longest_gap_s(acknowledged_at: list[float], killed_at: float, until: float) -> float:
    """The longest time without an acknowledgement, from the last one before the kill on.

    acknowledged_at: moments in seconds, in order.
    """
    before = [t for t in acknowledged_at if t <= killed_at][-1:] or [killed_at]
    moments = [*before, *(t for t in acknowledged_at if killed_at < t <= until), until]
    return max(b - a for a, b in pairwise(moments))
