"""Chooses faults, lets them last a while, heals them, and writes down when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from chaos.faults import Busy, Fault, Field
from chaos.waiting import Trouble

QUIET_S: Final = (0.3, 2.5)
"""Between two faults of a lane: sometimes too short to recover, sometimes long enough."""

HOLD_S: Final = (0.4, 6.0)
"""How long a fault lasts: around the times of elections, of links and of clients."""

LANES: Final = 2
"""So many faults at the same time, at most."""


class Struck(Struct):
    """One fault that happened; nanoseconds on the clock of the history."""

    fault: str
    detail: str
    began_ns: int
    healed_ns: int | None = None


class Nemesis:
    """Strikes from `run` until its time is over; everything is healed when it returns."""

    def __init__(self, field: Field, faults: Sequence[Fault], now_ns: Callable[[], int]) -> None:
        self._field, self._faults, self._now_ns = field, faults, now_ns
        self.struck: list[Struck] = []

    @property
    def active(self) -> list[str]:
        """What is broken just now."""
        return [one.detail for one in self.struck if one.healed_ns is None]

    async def run(self, time_s: float) -> None:
        end_ns = self._now_ns() + int(time_s * 1e9)
        if not self._faults:
            await asyncio.sleep(time_s)
            return
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(LANES):
                    lanes.create_task(self._lane(end_ns))
        except* Trouble as group:
            raise Trouble(str(group.exceptions[0])) from None

    async def _lane(self, end_ns: int) -> None:
        dice = self._field.dice
        while True:
            await self._sleep(dice.uniform(*QUIET_S), end_ns)
            if self._now_ns() >= end_ns:
                return
            weights = [fault.weight for fault in self._faults]
            (fault,) = dice.choices(self._faults, weights)
            try:
                await self._strike(fault, end_ns)
            except Busy:
                continue

    async def _strike(self, fault: Fault, end_ns: int) -> None:
        hold_s = self._field.dice.uniform(*HOLD_S) if fault.holds else 0.0
        began_ns = self._now_ns()
        async with fault.strike(self._field) as detail:
            one = Struck(fault.name, detail, began_ns)
            self.struck.append(one)
            await self._sleep(hold_s, end_ns)
        one.healed_ns = self._now_ns()

    async def _sleep(self, span_s: float, end_ns: int) -> None:
        await asyncio.sleep(max(0.0, min(span_s, (end_ns - self._now_ns()) / 1e9)))
