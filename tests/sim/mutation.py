"""One rule that is taken out of the running process; all of them are in mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tests.sim import epochs
from tests.sim.member import Host, Member
from tests.sim.stories import Story
from tests.sim.world import Result, Tell, World


def happens_anyway(world: World) -> None:
    """No story is told."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is taken out, and where and how soon that shows.

    word: how the command line calls it, if not by its name.
    make: the nodes; ours, or those with the engine as shipped.
    story: what brings it about, where random faults hardly ever do.
    """

    name: str
    apply: Callable[[], AbstractContextManager[Any]]
    profile: str
    seeds: int
    first: int = 1
    word: str = ""
    make: type[Host] = Member
    story: Story = happens_anyway

    @property
    def switch(self) -> str:
        return self.word or self.name.replace(" ", "-")

    @property
    def range(self) -> range:
        """The seeds within which it must be caught."""
        return range(self.first, self.first + self.seeds)

    def run(self, seed: int, profile: str, tell: Tell | None = None) -> Result:
        """Play one seed without this rule."""
        with self.apply():
            world = World(seed, profile, self.make, tell)
            self.story(world)
            return epochs.to_the_end(world)
