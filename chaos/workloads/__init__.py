"""Loads with a judge each. A new one is a module with a Workload in it, and a line in the table."""

from __future__ import annotations

from typing import Final

from chaos.workloads.bank import Bank
from chaos.workloads.base import Workload
from chaos.workloads.counter import Counter
from chaos.workloads.lock import Locking
from chaos.workloads.register import Register
from chaos.workloads.resp_group import RespGroup
from chaos.workloads.resp_pipeline import RespPipeline
from chaos.workloads.resp_queue import RespQueue
from chaos.workloads.resp_register import RespRegister
from chaos.workloads.resp_script import RespScript
from chaos.workloads.resp_stream import RespStream
from chaos.workloads.resp_txn import RespTxn
from chaos.workloads.stale import Stale
from chaos.workloads.ttl import TimeToLive
from chaos.workloads.unique_set import UniqueSet
from chaos.workloads.watch import Watching

WORKLOADS: Final[dict[str, type[Workload]]] = {
    workload.name: workload
    for workload in (
        Register,
        Counter,
        UniqueSet,
        TimeToLive,
        Stale,
        Watching,
        Locking,
        Bank,
        RespRegister,
        RespQueue,
        RespTxn,
        RespPipeline,
        RespScript,
        RespStream,
        RespGroup,
    )
}
"""By the names that --workload takes."""

__all__ = ["WORKLOADS", "Workload"]
