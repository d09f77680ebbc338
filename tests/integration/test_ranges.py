"""Transactions and listings on three real processes, while writes go on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import Iterator

import pytest

from raftcache.client import RaftcacheClient, Txn
from raftcache.command.limits import HISTORY_SIZE_BYTES_MAX
from raftcache.errors import Compacted
from tests.support.cluster import Cluster, running

pytestmark = pytest.mark.cluster

NAMES = ("n1", "n2", "n3")
ACCOUNTS, TOTAL = 40, 4000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("ranges")) as cluster:
        yield cluster


def client_of(cluster: Cluster, *names: str) -> RaftcacheClient:
    urls = dict(zip(cluster.nodes, cluster.urls, strict=True))
    return RaftcacheClient([urls[name] for name in names or NAMES], timeout_s=30.0)


def account(i: int) -> bytes:
    return b"account/%03d" % i


async def transfer(client: RaftcacheClient, source: int, target: int, amount: int) -> None:
    txn = Txn().when(account(source), "exists", "=", True)
    txn.then.incr(account(source), -amount).incr(account(target), amount)
    txn.then.put(b"account/~%d" % amount, b"0", ttl_ms=50)
    assert (await client.txn(txn)).succeeded


def test_every_page_of_a_listing_shows_one_revision_while_money_moves(cluster: Cluster) -> None:
    """Pages of three keys, in turn from each node, while every key between them changes."""

    async def test() -> None:
        async with client_of(cluster) as client:
            setup = Txn()
            for i in range(ACCOUNTS):
                setup.then.put(account(i), b"%d" % (TOTAL // ACCOUNTS))
            await client.txn(setup)
            over = asyncio.Event()

            async def move(seed: int) -> int:
                at = seed
                while not over.is_set():
                    await transfer(client, at * 7 % ACCOUNTS, at * 11 % ACCOUNTS, 1 + at % 9)
                    at += 1
                return at - seed

            movers = [asyncio.create_task(move(seed)) for seed in range(4)]
            revisions = [await audit(cluster) for _ in range(10)]
            over.set()
            moved = sum(await asyncio.gather(*movers))
            assert moved > 40, "money moved meanwhile"
            assert revisions == sorted(revisions)
            assert revisions[-1] > revisions[0]

    asyncio.run(test())


async def audit(cluster: Cluster) -> int:
    """The revision at which all accounts together were found to have what they must."""
    clients = [client_of(cluster, name) for name in NAMES]
    total, after, revisions, count = 0, None, set(), 0
    for client in itertools.cycle(clients):
        async with client:
            page = await client.page(prefix=b"account/", limit=3, after=after)
        revisions.add(page.revision)
        total += sum(int(entry.value) for entry in page.entries)
        count += sum(b"~" not in entry.key for entry in page.entries)
        if (after := page.after) is None:
            break
    assert (total, count, len(revisions)) == (TOTAL, ACCOUNTS, 1)
    return revisions.pop()


def test_a_listing_begun_before_a_restart_goes_on_or_is_gone(cluster: Cluster) -> None:
    """What a node knows of the past is what its log tells it after its snapshot."""

    async def page(name: str, after: str | None) -> tuple[list[bytes], str | None]:
        async with client_of(cluster, name) as client:
            page = await client.page(prefix=b"r/", limit=2, after=after)
            return [entry.key for entry in page.entries], page.after

    async def change() -> None:
        async with client_of(cluster) as client:
            await client.delete_range(prefix=b"r/")

    for i in range(5):
        cluster.write("n1", f"r/{i}", "v")
    first, after = asyncio.run(page("n1", None))
    assert first == [b"r/0", b"r/1"]
    asyncio.run(change())
    cluster.send("n2", signal.SIGKILL)
    cluster.exit_code("n2")
    cluster.start_all()
    with contextlib.suppress(Compacted):  # its history begins at its newest snapshot
        assert asyncio.run(page("n2", after))[0] == [b"r/2", b"r/3"]
    assert asyncio.run(page("n3", after))[0] == [b"r/2", b"r/3"]


def test_a_range_is_deleted_everywhere_at_once(cluster: Cluster) -> None:
    for i in range(20):
        cluster.write(NAMES[i % 3], f"gone/{i}", "v")
    cluster.write("n1", "gone", "stays")

    async def test() -> int:
        async with client_of(cluster) as client:
            return (await client.delete_range(prefix=b"gone/")).number

    assert asyncio.run(test()) == 20
    for name in NAMES:
        assert cluster.get(name, "gone/7").status == 404
        assert cluster.read(name, "gone") == "stays"


def test_a_listing_that_waited_too_long_is_gone_on_every_node(cluster: Cluster) -> None:
    """What is replaced meanwhile is more than the history holds."""
    size_bytes = 1 << 20

    async def test() -> None:
        async with client_of(cluster) as client:
            for i in range(5):
                await client.put(b"w/%d" % i, b"v")
            page = await client.page(prefix=b"w/", limit=2)
            for i in range(HISTORY_SIZE_BYTES_MAX // size_bytes + 2):
                await client.put(b"large", bytes((i,)) * size_bytes)
        for name in NAMES:
            async with client_of(cluster, name) as client:
                with pytest.raises(Compacted) as gone:
                    await client.page(prefix=b"w/", limit=2, after=page.after)
                assert gone.value.oldest_revision > page.revision
                again = await client.page(prefix=b"w/", limit=2)
                assert [entry.key for entry in again.entries] == [b"w/0", b"w/1"]

    asyncio.run(test())
