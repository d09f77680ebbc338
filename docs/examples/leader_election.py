"""Leader election: of many workers one works, and another one goes on when it is gone.

    python docs/examples/leader_election.py alice &
    python docs/examples/leader_election.py bob

Why it is correct. `elect` waits in the fair queue of a lock and keeps it alive; the cluster gives
it to the next when its holder gives it up, or was silent for its time to live. The holder counts
that time from before it last asked, so it stops (the block is cancelled) no later than the cluster
does; but no clock can stop a process that was itself suspended in the middle of a step. So the
lock alone protects nothing, and every write carries the proof: the lock's token, which rises with
every holder. Whoever is elected first puts its token into the fence, unless a higher one is there;
every write then depends on the fence, in one transaction with it. A leader of the past finds a
higher token there and can change nothing, however late it wakes up.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from raftcache.client import RaftcacheClient, Txn
from raftcache.errors import LockLost

FENCE = b"counter/fence"
COUNTER = b"counter/value"


class Deposed(Exception):
    """Somebody else was elected since."""


class Term:
    """What one leader may do while no other was elected after it."""

    def __init__(self, client: RaftcacheClient, token: int) -> None:
        self._client, self.token = client, token
        self._proof = b"%020d" % token  # in the order of bytes as in that of numbers

    async def begin(self) -> None:
        """Keep all leaders of the past out."""
        raise_fence = Txn().when(FENCE, "value", ">", self._proof)
        raise_fence.otherwise.put(FENCE, self._proof)
        if (await self._client.txn(raise_fence)).succeeded:
            raise Deposed

    async def count(self) -> int:
        """The work: here, to count. Nobody else's work comes in between."""
        write = Txn().when(FENCE, "value", "=", self._proof)
        write.then.incr(COUNTER)
        done = await self._client.txn(write)
        if not done.succeeded:
            raise Deposed
        number = done.results[0].number
        assert number is not None
        return number


async def run(
    client: RaftcacheClient,
    name: bytes,
    work: Callable[[Term], Awaitable[None]],
    ttl_ms: int = 5_000,
) -> None:
    """Do the work whenever this worker leads, until the work returns."""
    while True:
        try:
            async with client.elect(b"counter/leader", name, ttl_ms) as seat:
                term = Term(client, seat.token)
                await term.begin()
                return await work(term)
        except (LockLost, Deposed):
            continue


async def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    name = sys.argv[1]

    async def work(term: Term) -> None:
        print(f"{name} leads with token {term.token}", flush=True)
        while True:
            print(f"{name} counts {await term.count()}", flush=True)
            await asyncio.sleep(0.5)

    async with RaftcacheClient() as client:
        await run(client, name.encode(), work)


if __name__ == "__main__":
    asyncio.run(main())
