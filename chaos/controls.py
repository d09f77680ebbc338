"""Negative controls: runs that break one promise on purpose and must be caught.

A proof that cannot fail is no proof. None of these needs a switch that production lacks: the
promise is broken by asking for less than is then judged. Those that need a broken engine are in
the simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from chaos.run import Plan


class Control(Struct, frozen=True):
    """changes: to the plan, so that it breaks the promise and gives it occasion to show."""

    about: str
    changes: dict[str, Any]


_CROWD: Final[dict[str, Any]] = {"clients": 40, "rate": 800.0}
"""So many that a fault strikes some of them at the very moment that counts."""

CONTROLS: Final = {
    "stale-reads": Control(
        "local reads judged as linearizable",
        {"workloads": ("register",), "faults": ("partition",), "reads": "stale"},
    ),
    "memory": Control(
        "nothing on disk, judged as durable",
        {
            "workloads": ("set",),
            "faults": ("cold",),
            "options": ("--durability", "memory"),
        },
    ),
    "fresh-tokens": Control(
        "retries with a new Idempotency-Key, judged as exactly once",
        {
            "workloads": ("counter",),
            "faults": ("kill", "pause"),
            **_CROWD,
            "fresh_tokens": True,
        },
    ),
    "wall-clock": Control(
        "deadlines kept by the wall clocks of nodes, judged as kept by cluster time",
        {"workloads": ("ttl",), "faults": ("clock",), "wall_deadlines": True},
    ),
    "late-holders": Control(
        "locks whose holders notice the end of their time late, judged as never held twice",
        {"workloads": ("lock",), "faults": ("kill", "pause"), "late_holders": True},
    ),
    "blind-transfers": Control(
        "transfers that write without a compare, judged as if nothing could come between",
        {"workloads": ("bank",), "faults": ("kill",), "blind_transfers": True},
    ),
    "resp-stale-reads": Control(
        "Redis clients that ask for local reads, judged as linearizable",
        {"workloads": ("resp-register",), "faults": ("partition",), "reads": "stale"},
    ),
    "resp-popped-jobs": Control(
        "jobs popped from their queue and not moved, judged as never lost",
        {
            "workloads": ("resp-queue",),
            "faults": ("kill", "pause"),
            **_CROWD,
            "popped_jobs": True,
        },
    ),
    "resp-no-watch": Control(
        "transactions that do not watch what they read, judged as if nothing could come between",
        {"workloads": ("resp-txn",), "faults": ("kill",), "blind_transfers": True},
    ),
    "resp-read-before": Control(
        "scripts that are told what was read before them, judged as if they had read it",
        {"workloads": ("resp-script",), "faults": ("kill",), "blind_transfers": True},
    ),
    "resp-added-again": Control(
        "entries added again when nobody knows whether they were, judged as added once",
        {
            "workloads": ("resp-stream",),
            "faults": ("pause",),
            **_CROWD,
            "fresh_tokens": True,
        },
    ),
    "resp-popped-entries": Control(
        "entries given to consumers who need not acknowledge them, judged as never lost",
        {
            "workloads": ("resp-group",),
            "faults": ("kill", "pause"),
            **_CROWD,
            "popped_jobs": True,
        },
    ),
    "resp-fresh-numbers": Control(
        "pipelines sent again under other numbers, judged as exactly once",
        {
            "workloads": ("resp-pipeline",),
            "faults": ("pause",),
            **_CROWD,
            "fresh_tokens": True,
        },
    ),
}
"""By the names that --control takes."""


def broken(plan: Plan, names: Sequence[str]) -> Plan:
    """This plan with all these promises broken, each of them by clients of its own.

    What is a list, of workloads or of faults, is what any of them names; there are as many clients
    as any of them wants.
    """
    changes: dict[str, Any] = {}
    for name in names:
        for key, value in CONTROLS[name].changes.items():
            if isinstance(value, tuple):
                changes[key] = tuple(dict.fromkeys((*changes.get(key, ()), *value)))
            else:
                changes[key] = max(value, changes.get(key, value))
    return msgspec.structs.replace(plan, **changes)
