"""How a node asks to be let in, and what it logs meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from raftcache.cluster import joining
from raftcache.raft.members import Member

LET_IN = {
    "cluster_id": "c0ffee",
    "version": 4,
    "members": [{"name": "n4", "id": "data", "raft": "h:1", "voter": False}],
}


def test_the_same_answer_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may wait for a minute, and asks twice a second."""
    monkeypatch.setattr(joining, "RETRY_S", 0.001)
    caplog.set_level(logging.INFO)
    answers = [(409, "alive")] * 5 + [(503, "no leader")] * 5 + [(409, "alive"), (200, "")]

    async def answer(request: web.Request) -> web.Response:
        status, said = answers.pop(0)
        return web.Response(status=status, text=json.dumps(LET_IN) if status == 200 else said)

    async def scenario() -> None:
        app = web.Application()
        app.router.add_post("/v1/cluster/members", answer)
        async with TestServer(app) as server:
            myself = Member("n4", "data", "h:1", "", False)
            cluster, configuration = await joining.join(str(server.make_url("")), myself)
            assert (cluster, configuration.version) == ("c0ffee", 4)

    asyncio.run(scenario())
    waits = [r for r in caplog.records if r.getMessage() == "waiting to join"]
    assert [vars(record)["said"] for record in waits] == ["alive", "no leader", "alive"]
