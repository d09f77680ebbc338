"""How large, how fast and how faulty a run is: drawn from its seed, within a named profile."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from raftcache.command import versions
from raftcache.command.calls import CALLS_INTRODUCED

NEVER: Final = 1 << 60

TAILS: Final = (0, 2000, 1 << 23)
"""Of commands that are kept in memory: none, a few, all."""

Pick: TypeAlias = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class Profile:
    """Rates are events in a second of virtual time; 0 is never.

    reject_chance: that what a partition blocks is refused, as by a firewall: members that live seem
    to be processes that have ended.
    late_crash: one member restarts when no more writes come: it must catch up without them.
    drift: clocks run at rates within 1 - drift and 1 + drift.
    wall_jump_ms: how far off wall clocks are, and jump: the next leader after all members were down
    begins with its own, so tokens are remembered only as long as they are not too far off.
    stall_chance: that a node stops in the middle of a step (a long collection of garbage, a
    machine that is suspended), each time it reads its clock.
    """

    size: int
    duration_s: float = 21.0
    heal_at_s: float = 14.0
    quiet_from_s: float = 17.0
    # links
    delay_s_max: float = 0.02
    spike_chance: float = 0.0
    reset_rate: float = 0.0
    encode_frames: bool = False
    # faults
    crash_rate: float = 0.0
    partition_rate: float = 0.0
    reject_chance: float = 0.3
    late_crash: bool = False
    pause_rate: float = 0.0
    transfer_rate: float = 0.0
    drift: float = 0.04
    wall_jump_ms: int = 3_600_000
    stall_chance: float = 0.0
    # disks
    disk_failure_rate: float = 0.0
    sync_s_max: float = 0.005
    slow_sync_chance: float = 0.01
    segment_size_bytes: int = 8192
    # room on them: so many segments, if there is an end; others may fill them for a while
    disk_segments: int = 0
    fill_rate: float = 0.0
    # members: of so many names the cluster begins with `size`
    pool: int = 0
    change_rate: float = 0.0
    wipe_rate: float = 0.0
    # versions: some members begin with the one before (see editions.py)
    upgrade_rate: float = 0.0
    upgrades_to: int = versions.COMMANDS + 1
    # keys are evicted, limited and refilled (see keeping.py)
    keeps: bool = False
    # how it ends: "", or its nodes are lost for good, and a new cluster begins (see epochs.py):
    # recover, of one of them; restore, of a backup
    ends: str = ""
    # sizes that are tiny here, so that their limits are met
    snapshot_entries: int = NEVER
    trailing_entries: int = 0
    chunk_size_bytes: int = 2000
    append_size_bytes: int = 1 << 20
    apply_size_bytes: int = 1 << 20
    window_messages: int = 64
    tail_size_bytes: int = 1 << 23
    # clients
    client_gap_s: float = 0.05
    burst_chance: float = 0.05
    burst: int = 30
    sessions: int = 0
    session_gap_s: float = 0.05
    store: int = 0
    store_gap_s: float = 0.05
    redis: int = 0
    redis_gap_s: float = 0.05
    numbered: int = 0
    numbered_gap_s: float = 0.05


def of_seed(seed: int, name: str, chance: random.Random) -> Profile:
    """As drawn, with one of the tails: by the seed's number, which leaves the dice as they were."""
    return replace(draw(name, chance), tail_size_bytes=TAILS[seed % len(TAILS)])


def draw(name: str, chance: random.Random) -> Profile:
    """A profile of this kind; every choice comes from `chance`."""
    pick = chance.choice
    mixed = Profile(
        size=3 if chance.random() < 0.65 else 5,
        delay_s_max=pick((0.005, 0.02, 0.08)),
        spike_chance=pick((0.0, 0.0, 0.02)),
        reset_rate=pick((0.0, 0.4, 2.0)),
        encode_frames=chance.random() < 0.12,
        crash_rate=pick((0.0, 0.15, 0.5)),
        partition_rate=pick((0.0, 0.2, 0.5)),
        late_crash=chance.random() < 0.3,
        pause_rate=pick((0.0, 0.2)),
        transfer_rate=pick((0.0, 0.2)),
        stall_chance=pick((0.0, 3e-5)),
        sync_s_max=pick((0.002, 0.01, 0.05)),
        segment_size_bytes=pick((1024, 8192)),
        snapshot_entries=pick((20, 60, NEVER)),
        trailing_entries=pick((0, 5, 20)),
        chunk_size_bytes=pick((2000, 10_000, 1 << 18)),
        append_size_bytes=pick((200, 2000, 1 << 20)),
        apply_size_bytes=pick((100, 1 << 20)),
        window_messages=pick((1, 3, 64)),
        client_gap_s=pick((0.02, 0.05, 0.2)),
    )
    return _PROFILES[name](mixed, pick)


def _calm(p: Profile, pick: Pick) -> Profile:
    quiet = dict.fromkeys(("reset_rate", "crash_rate", "partition_rate", "stall_chance"), 0.0)
    return replace(p, spike_chance=0.0, pause_rate=0.0, transfer_rate=0.0, **quiet)


def _membership(p: Profile, pick: Pick) -> Profile:
    """Names come and go, and disks are lost; there is time to begin anew after the healing."""
    return replace(
        p,
        size=3,
        pool=pick((5, 7)),
        change_rate=pick((0.5, 1.0, 2.0)),
        wipe_rate=pick((0.0, 0.1, 0.3)),
        disk_failure_rate=pick((0.0, 0.0, 0.1)),
        heal_at_s=16.0,
        quiet_from_s=23.0,
        duration_s=28.0,
        client_gap_s=pick((0.05, 0.2)),
        sessions=2,
        wall_jump_ms=20_000,
    )


def _ends(p: Profile, pick: Pick, how: str) -> Profile:
    """Until it ends nothing heals."""
    end_s = pick((3.0, 4.5, 6.0, 9.0)) + 1.5 * (how == "restore")  # backups take their time
    times = dict.fromkeys(("heal_at_s", "quiet_from_s"), NEVER)
    return replace(
        p,
        ends=how,
        duration_s=end_s,
        late_crash=False,
        sessions=3,
        snapshot_entries=pick((15, 60, NEVER)),
        crash_rate=pick((0.15, 0.5)),
        partition_rate=pick((0.2, 0.5, 1.0)),
        client_gap_s=pick((0.05, 0.1)),
        wall_jump_ms=20_000,
        pool=7,
        change_rate=pick((0.0, 0.0, 1.0)),
        store=pick((0, 2)),
        redis=pick((0, 3)),
        **times,
    )


def _upgrades(p: Profile, pick: Pick) -> Profile:
    """Members of two versions, upgraded one by one, while some come and go."""
    return replace(
        _membership(p, pick),
        upgrade_rate=pick((0.2, 0.5, 1.0)),
        change_rate=pick((0.2, 0.5)),
        wipe_rate=pick((0.0, 0.1)),
        disk_failure_rate=0.0,
    )


_PROFILES: Final = {
    "mixed": lambda p, pick: p,
    "calm": _calm,
    "single": lambda p, pick: replace(p, size=1, crash_rate=0.5, reset_rate=0.0, transfer_rate=0.0),
    "crashes": lambda p, pick: replace(p, crash_rate=1.0, sync_s_max=0.05),
    "partitions": lambda p, pick: replace(p, partition_rate=1.0, reset_rate=1.0),
    "refusals": lambda p, pick: replace(
        p, partition_rate=1.0, reject_chance=0.9, crash_rate=0.3, delay_s_max=pick((0.005, 0.02))
    ),
    "snapshots": lambda p, pick: replace(
        p, snapshot_entries=15, trailing_entries=3, chunk_size_bytes=2000, crash_rate=0.3
    ),
    "transfers": lambda p, pick: replace(p, transfer_rate=1.0, partition_rate=0.3),
    "disks": lambda p, pick: replace(
        p, disk_failure_rate=pick((0.2, 0.5)), snapshot_entries=pick((15, 60, NEVER))
    ),
    "room": lambda p, pick: replace(
        p,
        disk_segments=pick((6, 7, 8)),
        fill_rate=pick((0.0, 0.3, 1.0)),
        segment_size_bytes=1 << 15,
        snapshot_entries=pick((60, NEVER, NEVER)),
        client_gap_s=pick((0.01, 0.02)),
    ),
    "membership": _membership,
    "upgrades": _upgrades,
    "sessions": lambda p, pick: replace(
        p, sessions=pick((3, 8)), crash_rate=pick((0.15, 0.5)), wall_jump_ms=20_000
    ),
    "numbered": lambda p, pick: replace(
        p,
        numbered=pick((2, 4)),
        numbered_gap_s=pick((0.02, 0.06)),
        pause_rate=pick((0.2, 0.8)),
        crash_rate=pick((0.15, 0.5)),
        snapshot_entries=pick((15, 60, NEVER)),
        wall_jump_ms=20_000,
    ),
    "keeping": lambda p, pick: replace(
        p, keeps=True, crash_rate=pick((0.15, 0.5)), snapshot_entries=pick((15, 60, NEVER))
    ),
    "store": lambda p, pick: replace(
        p, store=pick((2, 4)), store_gap_s=pick((0.02, 0.06)), wall_jump_ms=20_000
    ),
    "redis": lambda p, pick: replace(
        p,
        redis=pick((3, 6)),
        redis_gap_s=pick((0.02, 0.06)),
        crash_rate=pick((0.15, 0.5)),
        snapshot_entries=pick((15, 60, NEVER)),
        wall_jump_ms=20_000,
        upgrade_rate=pick((0.0, 0.0, 1.0)),
        upgrades_to=max(CALLS_INTRODUCED.values()),
    ),
    "recover": lambda p, pick: _ends(p, pick, "recover"),
    "restore": lambda p, pick: _ends(p, pick, "restore"),
    "bursts": lambda p, pick: replace(
        p, burst_chance=0.3, burst=60, client_gap_s=0.03, chunk_size_bytes=1 << 16
    ),
}

NAMES: Final = tuple(_PROFILES)
