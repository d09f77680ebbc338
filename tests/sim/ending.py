"""How a cluster ends and another one begins, where a story says so; the rest is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.sim.saving import Saved


@dataclass
class Ending:
    """Of one run.

    left: the nodes that are not lost; a random minority, if there are none. backup: that is
    restored; then somebody restores it with another bump in the place of a member, who is late.
    interrupted: the command is, the first time it is run.
    """

    left: Sequence[str] = ()
    backup: Saved | None = None
    interrupted: bool = False
