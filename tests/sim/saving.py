"""Backups, taken again and again of any node under load, by the code that serves them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from raftcache.cluster import backup_file
from raftcache.cluster.backup import Backups
from raftcache.errors import RaftcacheError
from raftcache.raft.snapshot_format import SnapshotMeta
from tests.sim.coroutines import SimLoop
from tests.sim.member import TIMING

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.world import World

GAP_S: Final = 0.5
PIECE_SIZE_BYTES: Final = 2000


class Saved(NamedTuple):
    """A backup that came whole, and was verified."""

    meta: SnapshotMeta
    data: bytes

    @contextmanager
    def file(self) -> Iterator[Path]:
        """For a while, as the command has it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "backup.snap"
            path.write_bytes(self.data)
            yield path


class Savings:
    """All backups of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loops: list[SimLoop] = []
        self.saved: list[Saved] = []
        world.schedule.at(GAP_S, self._ask)

    def _ask(self) -> None:
        world = self._world
        awake = [m for m in world.members.values() if m.alive]
        if awake:
            self.ask(world.chance.choice(awake))
        world.schedule.after(world.chance.expovariate(1 / GAP_S), self._ask)

    def ask(self, member: Member) -> None:
        """For one, of this node."""
        self._loops.append(SimLoop(member))
        self._loops[-1].run(self._save(member, self._world.clients.floor))

    def end(self) -> None:
        """The clients who save them are gone."""
        for loop in self._loops:
            loop.end()

    async def _save(self, member: Member, acknowledged: int) -> None:
        """acknowledged: the last index that clients know to be committed."""
        try:
            backup = await Backups(member.replica, TIMING.request_timeout_s).open()
        except RaftcacheError:
            self._world.count["backups refused"] += 1
            return
        data = b""
        try:
            while len(data) < backup.size_bytes:
                data += await backup.read(len(data), PIECE_SIZE_BYTES)
        finally:
            backup.close()
        self._world.count["backups"] += 1
        self._world.note("{0} was backed up at {1}", member.name, backup.meta.index)
        saved = Saved(backup.meta, data)
        with saved.file() as path:
            backup_file.verify(path)
        if backup.meta.index < acknowledged:
            detail = f"{member.name}: {backup.meta.index}, acknowledged was {acknowledged}"
            self._world.fail("a backup is stale", detail)
        self.saved.append(saved)
