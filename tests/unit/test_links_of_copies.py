"""Two processes with one member's data: a folder that was copied, or put back from a copy.

Each would vote and acknowledge for the same member, and neither knows what the other one did. So
others talk to one of them, and tell the other one, once they are sure, to use its data no more.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from raftcache.raft.greetings import Life, Refusal
from raftcache.raft.messages import HOLDS_ALL
from raftcache.raft.peer import Connection
from raftcache.raft.stock import Node
from raftcache.raft.transport import PROOF_SILENCES
from tests.unit.seats import HASTY, Seat, Wire, on_both_loops, seat, started, until, wire

DATA = "data"


@contextlib.asynccontextmanager
async def listening(one: Seat) -> AsyncIterator[None]:
    async with started(one):
        one.links.addNode(Node("n2"))
        yield


async def answer(
    n1: Seat, incarnation: int, life: str, member_id: str = DATA, holds: int = HOLDS_ALL
) -> str:
    """What n1 says to a process of n2 that comes and goes at once: hello, or why not."""
    async with wire(n1.address) as n2:
        await n2.greet(incarnation=incarnation, life=life, member_id=member_id, holds=holds)
        said = await n2.next()
        await n2.close()
    await until(lambda: not n1.up)
    return str(said.get("reason", said["type"]))


@on_both_loops
async def test_data_that_was_put_back_is_refused_also_when_nobody_else_is_there() -> None:
    n1 = seat("n1")
    async with listening(n1):
        assert await answer(n1, 7, "a") == "hello"
        assert await answer(n1, 6, "b") == Refusal.STALE
        assert await answer(n1, 8, "c") == "hello"
        assert await answer(n1, 7, "a") == Refusal.STALE
        assert await answer(n1, 1, "d", "new data") == "hello", "it began anew"


@on_both_loops
async def test_data_that_lacks_what_it_acknowledged_is_refused() -> None:
    n1 = seat("n1")
    committed = [50]
    n1.links.acknowledged = lambda node: committed[0]
    async with listening(n1):
        assert await answer(n1, 1, "a", holds=1) == "hello", "it has acknowledged nothing yet"
        committed[0] = 0  # another node leads
        assert await answer(n1, 2, "b", holds=49) == Refusal.LOST
        assert await answer(n1, 2, "b", holds=50) == "hello"
        assert await answer(n1, 3, "c") == "hello", "who does not wait for the disk, says nothing"
        assert await answer(n1, 3, "c", holds=49) == Refusal.LOST
        assert await answer(n1, 1, "d", "new data", holds=1) == "hello", "it began anew"
        assert await answer(n1, 2, "e", "new data", holds=1) == "hello"


@on_both_loops
async def test_who_lacks_what_it_acknowledged_is_told_so() -> None:
    n1 = seat("n1")
    n1.links.acknowledged = lambda node: 9
    async with listening(n1):
        for holds in (9, 8):
            n2 = seat("n2", member_id=DATA, incarnation=10 - holds)
            n2.links.holds = lambda: holds  # noqa: B023
            async with started(n2):
                n2.knows(n1)
                await until(lambda: n2.up or n2.doubled)  # noqa: B023
                told = {Refusal.LOST in why for why in n2.doubled}  # once for each link it tried
                assert told == (set() if holds == 9 else {True})


@on_both_loops
async def test_two_processes_that_were_started_from_the_same_data_are_told_apart() -> None:
    n1 = seat("n1")
    async with listening(n1):
        assert await answer(n1, 2, "original") == "hello"
        assert await answer(n1, 2, "copy") == Refusal.COPY
        assert await answer(n1, 2, "original") == "hello", "a new link of the same process"
        assert await answer(n1, 2, "") == "hello", "an older version says no life"


@on_both_loops
async def test_a_process_is_not_replaced_while_its_link_stands() -> None:
    """A later incarnation may be a restart, or a copy; a link to what has ended will end."""
    n1 = seat("n1")
    async with listening(n1):
        async with wire(n1.address) as first, wire(n1.address) as second:
            await first.greet(incarnation=1, life="a", member_id=DATA)
            await until(lambda: n1.up)
            await second.greet(incarnation=2, life="b", member_id=DATA)
            assert (await second.next())["reason"] == Refusal.IN_USE
            assert n1.events == [("up", "n2")]
        await until(lambda: not n1.up)
        assert await answer(n1, 2, "b") == "hello"


@on_both_loops
async def test_who_comes_again_while_the_link_of_another_one_lives_has_a_copy() -> None:
    n1 = seat("n1", pace=HASTY)
    n2 = seat("n2", pace=HASTY, member_id=DATA, life="a")
    async with started(n1, n2):
        n1.links.addNode(Node("n2"))
        n2.knows(n1)
        await until(lambda: n1.up)
        copy = seat("n2", pace=HASTY, incarnation=2, member_id=DATA, life="b")
        async with started(copy):
            copy.knows(n1)
            await until(lambda: copy.doubled)
        assert n1.events == [("up", "n2")], "the link was never in question"
        assert Refusal.COPY in copy.doubled[0]
        assert "n1" in copy.doubled[0], "it says who said so"
        assert n2.doubled == []


@on_both_loops
async def test_a_restart_whose_end_nobody_noticed_is_let_in_after_the_silence() -> None:
    """The machine lost its power: its old link says nothing more, and does not end by itself."""
    n1, again = (
        seat("n1", pace=HASTY),
        seat("n2", pace=HASTY, incarnation=2, member_id=DATA, life="b"),
    )
    async with listening(n1), wire(n1.address) as silent:
        await silent.greet(life="a", member_id=DATA)
        await until(lambda: n1.up)
        async with started(again):
            again.knows(n1)
            await until(lambda: again.up)
            assert n1.counters.silences == 1
            assert again.doubled == []


@pytest.mark.parametrize("dials", ["n1", "n3"], ids=["turn", "not its turn"])
@on_both_loops
async def test_it_does_not_matter_who_dials(dials: str) -> None:
    n2, wires = seat("n2"), list[Wire]()
    async with started(n2):
        n2.links.addNode(Node(dials))
        for incarnation, life, said in ((2, "a", "hello"), (1, "b", Refusal.STALE)):
            async with wire(n2.address) as peer:
                wires.append(peer)
                greeting = {"name": dials, "to": "n2", "member_id": DATA}
                await peer.greet(**greeting, incarnation=incarnation, life=life)
                message = await peer.next()
                assert message.get("reason", message["type"]) == said
            await until(lambda: not n2.up)


def test_a_rival_is_doubted_from_when_it_first_came() -> None:
    link = Connection.__new__(Connection)
    link.rival, link.rival_beats = None, 5
    b, c = Life(DATA, 2, "b"), Life(DATA, 3, "c")
    link.doubt(b)
    assert link.rival_beats == 0
    link.rival_beats = 7
    link.doubt(b)
    assert link.rival_beats == 7
    link.doubt(c)
    assert link.rival_beats == 0


def test_the_proof_takes_longer_than_a_silence_that_nobody_noticed_yet() -> None:
    assert PROOF_SILENCES > 1
