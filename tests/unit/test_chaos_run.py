"""The load of a run, without a cluster."""

from __future__ import annotations

import asyncio

import pytest

from chaos.history import History
from chaos.run import Plan, _Load
from chaos.workloads import WORKLOADS
from chaos.workloads.base import Client
from chaos.workloads.register import Register


def test_a_client_that_ends_early_is_a_problem_that_is_told_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Odd(Register):
        async def act(self, client: Client) -> None:
            if client.number == 1:
                raise ValueError("no such answer")

    monkeypatch.setitem(WORKLOADS, "register", Odd)
    plan = Plan(seed=1, time_s=1, workloads=("register",), clients=3, rate=3000.0)

    async def test() -> list[str]:
        load = _Load(plan, History(), ["http://127.0.0.1:1"], {})
        async with load:
            load._tasks = [asyncio.create_task(load._go_on(client)) for client in load._clients]
            await asyncio.wait([load._tasks[1]])
            return await load.stop()

    assert asyncio.run(test()) == [
        "client 1 met what it does not know: ValueError('no such answer')"
    ]
