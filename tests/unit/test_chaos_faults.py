"""The shapes of partitions, who may be struck, and that whatever was struck is healed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import nemesis as pace
from chaos.faults import FAULTS, Busy, Fault, Field
from chaos.faults import network as shapes
from chaos.nemesis import Nemesis
from chaos.waiting import Trouble

THREE, FIVE = ["n1", "n2", "n3"], ["n1", "n2", "n3", "n4", "n5"]


def a_field(names: list[str] = THREE) -> Field:
    cluster: Any = SimpleNamespace(names=names)
    nothing: Any = None
    return Field(cluster, nothing, nothing, random.Random(1))


def reach(name: str, names: list[str], cut: list[tuple[str, str]]) -> set[str]:
    """Those who talk with this one both ways, itself included."""
    return {o for o in names if (name, o) not in cut and (o, name) not in cut}


@pytest.mark.parametrize("names", [THREE, FIVE])
@pytest.mark.parametrize("seed", range(5))
def test_shapes_are_what_their_names_say(names: list[str], seed: int) -> None:
    dice, majority = random.Random(seed), len(names) // 2 + 1
    assert reach("n1", names, shapes.isolated("n1", names)) == {"n1"}
    sizes = sorted(len(reach(n, names, shapes.halves(names, random.Random(seed)))) for n in names)
    assert (sizes[0], sizes[-1]) == (len(names) - majority, majority)
    bridged = [len(reach(n, names, cut)) for cut in [shapes.bridge(names, dice)] for n in names]
    assert sorted(bridged)[-1] == len(names), "one sees all"
    assert sorted(bridged)[0] == majority, "the others see a majority, with the bridge"
    ring = shapes.ring(names, dice)
    assert all(len(reach(n, names, ring)) >= majority for n in names)
    if names is FIVE:
        assert len({frozenset(reach(n, names, ring)) for n in names}) == 5
    deaf = shapes.one_way("n1", names, dice)
    assert len(deaf) == len(names) - 1
    assert not {(b, a) for a, b in deaf} & set(deaf)


def test_a_node_is_claimed_by_one_fault_at_a_time() -> None:
    field = a_field()
    with field.claim(["n1", "n2"]):
        with pytest.raises(Busy), field.claim(["n2", "n3"]):
            raise AssertionError("n2 is claimed twice")
        with field.claim(["n3"]):
            pass
    with field.claim(THREE):
        pass


def test_every_fault_says_what_it_does() -> None:
    assert all(fault.name == name and fault.about for name, fault in FAULTS.items())


def test_the_nemesis_strikes_and_heals_all_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "QUIET_S", (0.0, 0.05))
    monkeypatch.setattr(pace, "HOLD_S", (0.0, 0.1))
    active: list[str] = []

    @asynccontextmanager
    async def strike(field: Field) -> AsyncIterator[str]:
        with field.claim([field.dice.choice(THREE)]) as (name,):
            active.append(name)
            try:
                yield f"strike {name}"
            finally:
                active.remove(name)

    async def play() -> Nemesis:
        began_ns = time.monotonic_ns()
        fault = Fault("strike", "a test", strike)
        nemesis = Nemesis(a_field(), [fault], lambda: time.monotonic_ns() - began_ns)
        await nemesis.run(0.5)
        return nemesis

    nemesis = asyncio.run(play())
    assert active == []
    assert nemesis.active == []
    assert len(nemesis.struck) > 2
    assert all(
        one.healed_ns is not None and one.healed_ns >= one.began_ns for one in nemesis.struck
    )


def test_trouble_in_a_lane_is_trouble() -> None:
    @asynccontextmanager
    async def strike(field: Field) -> AsyncIterator[str]:
        raise Trouble("it does not heal")
        yield ""

    async def play() -> None:
        began_ns = time.monotonic_ns()
        fault = Fault("strike", "a test", strike)
        await Nemesis(a_field(), [fault], lambda: time.monotonic_ns() - began_ns).run(4.0)

    with pytest.raises(Trouble, match="it does not heal"):
        asyncio.run(play())
