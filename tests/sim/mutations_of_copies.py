"""Our links with one rule taken out of how data that was copied is found out; see mutations.py."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final
from unittest import mock

from raftcache.raft.doorkeeper import Doorkeeper
from raftcache.raft.greetings import Refusal
from tests.sim import stories
from tests.sim.mutation import Mutation

_refusal_rightly: Final = Doorkeeper.refusal


def _believes_what_it_holds() -> AbstractContextManager[Any]:
    """Whoever comes with less than it acknowledged is let in."""

    def refusal(keeper: Doorkeeper, *args: Any) -> Refusal | None:
        found = _refusal_rightly(keeper, *args)
        return None if found is Refusal.LOST else found

    return mock.patch.object(Doorkeeper, "refusal", refusal)


MUTATIONS: Final = (
    Mutation(
        "who lost what it acknowledged is let in",
        _believes_what_it_holds,
        "membership",
        2,
        story=stories.an_older_copy_is_put_back,
    ),
)
