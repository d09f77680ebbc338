"""What each operation may cost, and how that is judged.

Who makes an operation cheaper lowers its line, or the gain may be lost unseen: so a budget that is
far from what is spent fails, too. Who makes one dearer says in the commit what for.
`scripts/costs --budgets` writes these lines anew, from what is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from tests.costs.measuring import Cost

PYTHON: Final = (3, 11)
"""What CI runs. Every minor version has other instructions, so these hold for one."""

MARGIN: Final = 0.04
"""What a new budget leaves above what was counted."""
UNSPENT_MAX: Final = 0.15
"""The part of a budget that may be left before it must be lowered."""


class Spent(NamedTuple):
    """Of one operation: instructions on the leader and on a follower, blocks and objects that stay
    on all nodes (see measuring.py); as counted, or as allowed."""

    leader: float
    follower: float
    blocks: float
    objects: float


LITTLE: Final = Spent(5, 5, 0.5, 0.5)
"""Of each, what nobody looks at."""

BUDGETS: Final = {
    "HTTP PUT, 1 client": Spent(7_362, 4_260, 12.4, 3.2),
    "HTTP PUT, 64 clients": Spent(1_124, 261, 0.3, 0.1),
    "SET, 1 client": Spent(7_992, 4_523, 12.4, 3.2),
    "SET, 64 clients": Spent(619, 228, 0.3, 0.1),
    "SET, pipeline of 32": Spent(460, 301, 0.5, 0.2),
    "SET, 64 clients, pipeline of 32": Spent(229, 159, 0.1, 0.1),
    "HTTP GET, 1 client": Spent(2_230, 466, 0.1, 0),
    "HTTP GET, 64 clients": Spent(322, 8, 0.1, 0.1),
    "GET, 1 client": Spent(2_100, 466, 0.1, 0),
    "GET, 64 clients": Spent(262, 8, 0.1, 0),
    "GET, pipeline of 32": Spent(70, 15, 0.1, 0),
    "GET, 64 clients, pipeline of 32": Spent(14, 1, 0, 0),
    "apply PUT": Spent(240, 0, 0.1, 0),
    "apply SET": Spent(217, 0, 0.2, 0.2),
    "apply PUT with a key": Spent(785, 0, 1.3, 0),
    "apply PUT with a number": Spent(1_104, 0, 0.1, 0),
}


def spent(cost: Cost) -> Spent:
    leader, follower = (sum(each.values()) for each in (cost.leader, cost.follower))
    return Spent(leader, follower, cost.blocks, cost.objects)


def budget(counted: Spent) -> Spent:
    """A little more than it: whole instructions, and tenths of what stays."""
    leader, follower, blocks, objects = (x * (1 + MARGIN) for x in counted)
    return Spent(math.ceil(leader), math.ceil(follower), _tenths(blocks), _tenths(objects))


def _tenths(number: float) -> float:
    return max(0.0, math.ceil(number * 10) / 10)


def complaints(counted: Mapping[str, Spent], budgets: Mapping[str, Spent]) -> Iterator[str]:
    """What costs more than its budget, and whose budget is far above what it costs."""
    for name, costs in counted.items():
        for what, cost, allowed, little in zip(
            Spent._fields, costs, budgets[name], LITTLE, strict=True
        ):
            if cost > max(allowed, little):
                yield f"dearer: {name}: {what} {cost:,.2f}, budget {allowed:,g}"
            elif allowed - cost > max(allowed * UNSPENT_MAX, little):
                yield f"cheaper: {name}: {what} {cost:,.2f}, budget {allowed:,g}"
