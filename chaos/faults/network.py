"""Links that are cut, slow or unreliable; between nodes only, clients reach every node."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from chaos.faults.base import Fault, Field
from chaos.links import Pair, Weather

Names = Sequence[str]


def between(some: Names, others: Names) -> list[Pair]:
    """Both directions."""
    return [pair for a in some for b in others for pair in ((a, b), (b, a))]


def all_pairs(names: Names) -> list[Pair]:
    return [(a, b) for a in names for b in names if a != b]


# --- shapes: which wires are cut ----------------------------------------------------------------


def isolated(one: str, names: Names) -> list[Pair]:
    return between([one], [name for name in names if name != one])


def halves(names: Names, dice: random.Random) -> list[Pair]:
    """A majority here, a minority there."""
    mixed = dice.sample(list(names), len(names))
    return between(mixed[: len(names) // 2], mixed[len(names) // 2 :])


def bridge(names: Names, dice: random.Random) -> list[Pair]:
    """Two halves that see each other only through one node, which sees all."""
    _, *rest = dice.sample(list(names), len(names))
    return between(rest[: len(rest) // 2], rest[len(rest) // 2 :])


def ring(names: Names, dice: random.Random) -> list[Pair]:
    """Every node sees a majority, and no two see the same one (with three nodes: a bridge)."""
    mixed = dice.sample(list(names), len(names))
    reach, size = len(names) // 4 or 1, len(names)
    if size < 5:
        return bridge(names, dice)
    return [
        (mixed[i], mixed[j])
        for i in range(size)
        for j in range(size)
        if min((i - j) % size, (j - i) % size) > reach
    ]


def one_way(one: str, names: Names, dice: random.Random) -> list[Pair]:
    """One node is not heard, or does not hear."""
    out = dice.random() < 0.5
    return [(one, name) if out else (name, one) for name in names if name != one]


SHAPES: Final[dict[str, Callable[[str, Names, random.Random], list[Pair]]]] = {
    "leader isolated": lambda leader, names, dice: isolated(leader, names),
    "one isolated": lambda leader, names, dice: isolated(dice.choice(names), names),
    "halves": lambda leader, names, dice: halves(names, dice),
    "bridge": lambda leader, names, dice: bridge(names, dice),
    "ring": lambda leader, names, dice: ring(names, dice),
    "leader one way": one_way,
    "one way": lambda leader, names, dice: one_way(dice.choice(names), names, dice),
    "all apart": lambda leader, names, dice: all_pairs(names),
}
"""By name: the wires to cut, given the leader, all nodes and dice."""


@asynccontextmanager
async def partition(field: Field) -> AsyncIterator[str]:
    """Silent, or for all to see: connections break, and new ones are refused."""
    shape = field.dice.choice(sorted(SHAPES))
    pairs = SHAPES[shape](await field.leader(), field.names, field.dice)
    loud = "one way" not in shape and field.dice.random() < 0.3
    how = field.network.severed if loud else field.network.cut
    async with how(pairs):
        yield f"partition, {shape}{': connections broken' if loud else ''}"


SLOW: Final = (
    Weather(delay_s=0.02, jitter_s=0.02),
    Weather(delay_s=0.1, jitter_s=0.1),
    Weather(delay_s=0.3, jitter_s=0.2),
)

LOSSY: Final = (
    Weather(loss_chance=0.05, stall_chance=0.05, stall_s=0.2),
    Weather(loss_chance=0.3, stall_chance=0.02, stall_s=1.0),
    Weather(loss_chance=0.15, stall_chance=0.05, stall_s=0.3, break_chance=0.02),
)


@asynccontextmanager
async def slow(field: Field) -> AsyncIterator[str]:
    weather = field.dice.choice(SLOW)
    one = field.dice.choice(field.names)
    whole = field.dice.random() < 0.5
    pairs = all_pairs(field.names) if whole else isolated(one, field.names)
    async with field.network.weather(pairs, weather):
        who = "all" if whole else f"one: {one}"
        yield f"{weather.delay_s * 1000:.0f} ms and more on the links of {who}"


@asynccontextmanager
async def lossy(field: Field) -> AsyncIterator[str]:
    async with field.network.weather(all_pairs(field.names), field.dice.choice(LOSSY)):
        yield "lossy links"


FAULTS: Final = (
    Fault("partition", "links cut: " + ", ".join(SHAPES), partition, weight=2),
    Fault("slow", "links that take 20 to 500 ms", slow, delays=True),
    Fault("lossy", "links that lose packets, or stall and break as if they did", lossy),
)
