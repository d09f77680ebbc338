"""Whole nodes in one process and on one loop, below HTTP, on disks that fail when told to.

Each has its own files, threads, sockets and links: everything that node.py puts together, but the
front door. What a test waits for, it waits for with `soon`, never for a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from raftcache.cli.local import HOST, anywhere
from raftcache.command import versions
from raftcache.command.replies import Item
from raftcache.command.words import Command
from raftcache.config import Address, Storage, Timing
from raftcache.errors import RaftcacheError
from raftcache.raft.assembly import assemble, restore
from raftcache.raft.datadir import cluster_id_of, open_data_dir
from raftcache.raft.greetings import Identity as PeerIdentity
from raftcache.raft.members import Member as ClusterMember
from raftcache.raft.members import bootstrap
from raftcache.raft.peer import LinkCounters
from raftcache.raft.transport import Links
from raftcache.service.kv import LINEARIZABLE, KvService, Outcome
from raftcache.state.machine import Machine
from raftcache.system import (
    SystemClock,
    SystemDice,
    SystemDisk,
    SystemFile,
    ThreadLane,
    give_memory_back,
)

PATIENCE_S: Final = 60.0
TIMING: Final = Timing(0.03, election_min_s=0.6, election_max_s=1.2, request_timeout_s=20.0)
STORAGE: Final = Storage(segment_size_bytes=8 << 20)

T = TypeVar("T")


async def soon(look: Callable[[], T | None], otherwise: str) -> T:
    """What look finds, as soon as it is something true; fails after PATIENCE_S."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (got := look()):
        assert time.monotonic() < deadline_s, f"{otherwise} (waited {PATIENCE_S:g} s)"
        await asyncio.sleep(0.005)
    return got


class Faults:
    """What the log on one disk does wrong; threads of the disk read it, the test writes it."""

    def __init__(self) -> None:
        self._sync_may_end = threading.Event()
        self._sync_may_end.set()
        self._error: dict[str, OSError] = {}
        self.syncs_blocked = 0
        self.free_size_bytes: int | None = None
        """What the disk says that there is room for, if not the truth."""

    def block_sync(self) -> None:
        """From now on a sync does not return, until heal()."""
        self._sync_may_end.clear()

    def raise_in(self, call: str, error: OSError) -> None:
        """From now on every "write" or "sync" raises this."""
        self._error[call] = error

    def heal(self) -> None:
        self._error = {}
        self.free_size_bytes = None
        self._sync_may_end.set()
        self.syncs_blocked = 0

    def before(self, call: str) -> None:
        if call == "sync" and not self._sync_may_end.is_set():
            self.syncs_blocked += 1
            self._sync_may_end.wait()
        if call in self._error:
            raise self._error[call]


class FaultyFile(SystemFile):
    """A file of a FaultyDisk."""

    def __init__(self, file: SystemFile, faults: Faults) -> None:
        super().__init__(file._fd)
        self._faults = faults

    def write_at(self, offset_bytes: int, data: bytes) -> None:
        self._faults.before("write")
        super().write_at(offset_bytes, data)

    def sync(self) -> None:
        self._faults.before("sync")
        super().sync()


class FaultyDisk(SystemDisk):
    """The real disk, with faults."""

    def __init__(self, root: Path, faults: Faults) -> None:
        super().__init__(root)
        self._faults = faults

    def free_size_bytes(self) -> int:
        free = self._faults.free_size_bytes
        return super().free_size_bytes() if free is None else free

    def open(self, path: str) -> FaultyFile:
        return FaultyFile(super().open(path), self._faults)

    def create(self, path: str, size_bytes: int = 0) -> FaultyFile:
        return FaultyFile(super().create(path, size_bytes), self._faults)


class Member:
    """One node; it can be stopped and started again on the same data."""

    def __init__(self, name: str, members: dict[str, Address], folder: Path) -> None:
        self.name, self.faults = name, Faults()
        self._members, self._folder = members, folder
        self._undo = contextlib.AsyncExitStack()

    @property
    def address(self) -> Address:
        return self._members[self.name]

    @property
    def cluster_id(self) -> str:
        return cluster_id_of(self._members)

    def greeting(self, incarnation: int, name: str | None = None) -> PeerIdentity:
        """As this node, or another one of its cluster, says who it is."""
        name = name or self.name
        raft = str(self._members[name])
        return PeerIdentity(name, self.cluster_id, incarnation, f"data of {name}", raft)

    async def start(self) -> None:
        """As node.py does it."""
        disk, machine = FaultyDisk(self._folder, self.faults), Machine()
        identity = open_data_dir(disk, self.name, self.cluster_id, f"data of {self.name}")
        restored = restore(disk, machine, STORAGE)
        assert restored.wal is not None
        self._undo.callback(restored.wal.close)
        lanes = [ThreadLane("log"), ThreadLane("bulk")]
        for lane in lanes:
            self._undo.callback(lane.close)
        self._undo.callback(self.faults.heal)  # or a blocked thread would never end
        self.fatal: list[Exception] = []
        self.counters = LinkCounters()
        clock, dice, loop = SystemClock(), SystemDice(), asyncio.get_running_loop()
        links = Links(
            self.greeting(identity.incarnation),
            self.address,
            clock=clock,
            dice=dice,
            counters=self.counters,
            on_activity=lambda: self.replica.heed(),
        )
        self.replica, cluster_time = assemble(
            restored,
            identity,
            bootstrap({name: str(address) for name, address in self._members.items()}),
            ClusterMember(
                self.name, identity.member_id, str(self.address), "", True, versions.COMMANDS
            ),
            machine,
            links,
            TIMING,
            STORAGE,
            10_000,
            1 << 30,
            clock=clock,
            dice=dice,
            loop=loop,
            log_lane=lanes[0],
            bulk_lane=lanes[1],
            release=give_memory_back,
            on_fatal=self.fatal.append,
        )
        self.machine = machine
        self._kv = KvService(self.replica, machine, cluster_time, 1 << 20, 10_000)
        await links.start()
        self._undo.push_async_callback(links.stop)
        self.replica.start()
        self._undo.callback(self.replica.stop)

    async def stop(self) -> None:
        await self._undo.aclose()

    async def write(self, command: Command) -> Outcome:
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._kv.write(command, done.set_result)
        return await done

    async def read(self, key: bytes) -> Item | RaftcacheError | None:
        """Linearizable."""
        done: asyncio.Future[Item | RaftcacheError | None]
        done = asyncio.get_running_loop().create_future()
        self._kv.read(key, LINEARIZABLE, done.set_result)
        return await done

    async def value(self, key: bytes) -> bytes:
        """Of a key that is there."""
        found = await self.read(key)
        assert isinstance(found, Item), found
        return found.value


async def led(members: list[Member]) -> Member:
    """The leader that all of these agree on, once it may answer reads and has met all of them."""

    def agreed() -> Member | None:
        leaders = {m.replica.leader for m in members}
        leader = next((m for m in members if m.replica.is_leader), None)
        return leader if leader is not None and leaders == {leader.name} else None

    leader = await soon(agreed, "no leader")

    def met() -> bool:  # it notes the data of who greets it, by an entry of the log
        known = {m.name: m.id for m in leader.replica.configuration.members}
        return all(known[m.name] for m in members)

    await soon(met, f"{leader.name} has not met all")
    await leader.read(b"anything")
    return leader


async def level(members: list[Member]) -> None:
    """Waits until all have applied the same; their states are equal."""

    def same() -> bool:
        seen = [m.replica.status() for m in members]
        last = max(status.last_index for status in seen)
        return all(status.applied_index == last for status in seen)

    await soon(same, "the members do not come to the same index")
    assert len({m.machine.digest for m in members}) == 1


@contextlib.asynccontextmanager
async def started(folder: Path, *, away: str = "") -> AsyncIterator[list[Member]]:
    """The members of a cluster of three; stopped at the end.

    away: this one takes part in the first election, which wants all, and then stops for good.
    """
    places = {place.name: place for place in anywhere(folder, 3)}
    addresses = {name: Address(HOST, place.raft_port) for name, place in places.items()}
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_nothing_is_accepted_any_more)
        members = [Member(name, addresses, places[name].folder) for name in addresses]
        for member in members:
            stack.push_async_callback(member.stop)
            await member.start()
        if away:
            await led(members)
            await next(m for m in members if m.name == away).stop()
        yield [m for m in members if m.name != away]


async def _nothing_is_accepted_any_more() -> None:
    """Until asyncio has let go of what was dialled as a listener closed: no socket is left open."""

    def accepting() -> set[asyncio.Task[Any]]:
        names = {task: getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks()}
        return {task for task, name in names.items() if name == "_accept_connection2"}

    while tasks := accepting():
        await asyncio.wait(tasks, timeout=PATIENCE_S)
    for _ in range(3):  # what was made then is aborted at once, and its end is told a turn later
        await asyncio.sleep(0)
