"""Members that come and go under load; healed, the cluster has its old size again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple

from chaos.faults.base import Busy, Fault, Field
from chaos.waiting import Trouble, leader_now, until
from raftcache.client import Member, Members, RaftcacheClient
from raftcache.errors import Refused, Unknown

SPARES: Final = 2
"""Places beside the nodes': for a newcomer under another name, more than once in a row."""

PATIENCE_S: Final = 180.0
"""For one change, however often other faults get in its way: each of them is healed in seconds."""

CHANGES: Final = "changes of members"
"""Claimed like a node: one change at a time, for each undoes what it does not know of."""

ASK_S: Final = 10.0
RETRY_S: Final = 0.2

Way = Callable[[Field, str, str], AbstractAsyncContextManager[str]]
"""Given who goes and whose name the newcomer bears; may be the same."""


@asynccontextmanager
async def churn(field: Field) -> AsyncIterator[str]:
    """One goes and one comes, in one of the orders that operators have."""
    dice, way = field.dice, field.dice.choice(tuple(WAYS))
    free = [name for name in field.cluster.places if name not in field.names]
    whom = await field.leader() if dice.random() < 0.5 else dice.choice(field.names)
    newcomer = whom if way != "grow" and dice.random() < 0.4 else dice.choice(free)
    if not field.minority and way != "grow":
        raise Busy  # two are no cluster to lose one of
    with field.claim({whom, newcomer, CHANGES}):
        async with WAYS[way](field, whom, newcomer) as detail:
            yield f"members, {way}: {detail}"


@asynccontextmanager
async def grow(field: Field, whom: str, newcomer: str) -> AsyncIterator[str]:
    """A newcomer is made a voter, then one of the others is removed, the leader as well."""
    await _admit(field, newcomer)
    yield f"{newcomer} joins, then {whom} is removed"
    await _remove(field, whom)
    field.cluster.leave(whom)


@asynccontextmanager
async def shrink(field: Field, whom: str, newcomer: str) -> AsyncIterator[str]:
    """One is removed, and goes on running: it must not disturb the others. Then a newcomer."""
    await _remove(field, whom)
    yield f"{whom} is removed, then {newcomer} joins with nothing"
    field.cluster.leave(whom)
    await _admit(field, newcomer)


@asynccontextmanager
async def replace(field: Field, whom: str, newcomer: str) -> AsyncIterator[str]:
    """One dies with all its data; under the same name it takes its own place, with no vote yet."""
    lost = next((m.id for m in (await _view(field)).members if m.name == whom), "")
    field.cluster.leave(whom)
    yield f"{whom} dies with its disk, then {newcomer} joins with nothing"
    if newcomer != whom:
        await _remove(field, whom)
    await _admit(field, newcomer, lost)


WAYS: Final[dict[str, Way]] = {"grow": grow, "shrink": shrink, "replace": replace}


# --- changes ------------------------------------------------------------------------------------


class Step(NamedTuple):
    """What is to be done next: "promote", "remove", or "wait" for who joins by itself."""

    what: str
    name: str


def next_step(members: Collection[Member], voters: Collection[str], lost: str = "") -> Step | None:
    """Towards a cluster of exactly these voters; None if it is there. Pure.

    lost: the id of data that is no more; a member that still has it has yet to join.
    """
    there = {member.name: member for member in members}
    for name in sorted(voters):
        member = there.get(name)
        if member is None or (lost and member.id == lost) or not member.id:
            return Step("wait", name)
        if not member.voter:
            return Step("promote", name)
    for name in sorted(there):
        if name not in voters:
            return Step("remove", name)
    return None


async def _admit(field: Field, name: str, lost: str = "") -> None:
    """On return it is a voter, and has to run from now on."""
    at = field.dice.choice([other for other in field.names if other != name])
    voters = {*field.names, name}
    field.cluster.join(name, at)

    def look_after() -> None:
        if not field.cluster.is_running(name):
            field.cluster.join(name, at)

    await _bring(field, voters, lost, look_after)
    field.cluster.must_run(name)


async def _remove(field: Field, name: str) -> None:
    """On return it is no member any more."""
    await _bring(field, {other for other in field.names if other != name})


async def _bring(
    field: Field,
    voters: Collection[str],
    lost: str = "",
    look_after: Callable[[], None] = lambda: None,
) -> None:
    """Step by step, again and again while steps are refused, or nobody knows what became of one."""
    said, loop = "nothing", asyncio.get_running_loop()
    deadline_s = loop.time() + PATIENCE_S
    while loop.time() < deadline_s:
        look_after()
        view = await _view(field)
        step = next_step(view.members, voters, lost)
        if step is None and view.committed:
            return
        try:
            if step is not None and step.what != "wait":
                await _take(field, step)
                continue
        except (Refused, Unknown) as e:
            said = e.detail
        await asyncio.sleep(RETRY_S)
    raise Trouble(f"members could not be changed to {sorted(voters)}; {step} was answered: {said}")


async def _take(field: Field, step: Step) -> None:
    """Ask any node for it, also the one that it is about."""
    urls = list(field.cluster.urls.values())
    field.dice.shuffle(urls)
    async with RaftcacheClient(urls, timeout_s=ASK_S) as client:
        if step.what == "promote":
            view = await client.promote_member(step.name)
        else:
            view = await client.remove_member(step.name)
    field.members_version = max(field.members_version, view.version)


async def _view(field: Field) -> Members:
    """As the leader knows it, and not older than anything seen before."""

    async def look() -> Members | None:
        leader = await leader_now(field.client, field.names)
        if leader is None:
            return None
        try:
            async with RaftcacheClient([field.cluster.urls[leader]], timeout_s=1.0) as client:
                view = await client.members()
        except (Refused, Unknown):
            return None
        return view if view.version >= field.members_version else None

    view = await until(look, "no leader tells who is a member", PATIENCE_S)
    field.members_version = view.version
    return view


FAULTS: Final = (
    Fault(
        "members",
        "one joins and another is removed, the leader too; the dead are replaced",
        churn,
        weight=2,
        spares=SPARES,
    ),
)
