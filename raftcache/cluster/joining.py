"""How a node with an empty data directory comes into a running cluster: it asks a member."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import aiohttp
import msgspec

from raftcache.errors import BadConfig, Conflict
from raftcache.raft.members import Configuration, Member

RETRY_S: Final = 0.5
TIMEOUT_S: Final = 60.0
"""After which a node that was to join gives up, and says what it was told last."""

logger = logging.getLogger("raftcache.cluster")


class _Joined(msgspec.Struct):
    """The reply of POST /v1/cluster/members, as far as a new member needs it."""

    cluster_id: str
    version: int
    members: list[_JoinedMember]


class _JoinedMember(msgspec.Struct):
    name: str
    id: str
    raft: str
    voter: bool
    http: str | None = None


async def join(url: str, myself: Member) -> tuple[str, Configuration]:
    """Become a learner; returns the cluster's id, and the configuration this node is part of.

    Asking again with the same id changes nothing. Tries for TIMEOUT_S while there is no leader or
    another change is in progress. Raises BadConfig with the reason when it is refused for good.
    """
    said = "no answer"
    body = {"name": myself.name, "id": myself.id, "raft": myself.raft, "http": myself.http}
    target = f"{url.rstrip('/')}/v1/cluster/members"
    async with aiohttp.ClientSession() as session:
        for _ in range(int(TIMEOUT_S / RETRY_S)):
            try:
                async with session.post(target, json=body) as reply:
                    answer = await reply.read()
                    if reply.status == 200:
                        return _configuration(answer)
                    said = answer.decode(errors="replace")
                    if reply.status not in (Conflict.status, 429, 500, 503):
                        raise BadConfig(f"{url} refused to let {myself.name} join: {said}")
            except aiohttp.ClientError as error:
                said = str(error)
            logger.info("waiting to join", extra={"at": url, "said": said})
            await asyncio.sleep(RETRY_S)
    raise BadConfig(f"could not join at {url} in {TIMEOUT_S:g} s; the last answer was: {said}")


def _configuration(answer: bytes) -> tuple[str, Configuration]:
    joined = msgspec.json.decode(answer, type=_Joined)
    members = tuple(Member(m.name, m.id, m.raft, m.http or "", m.voter) for m in joined.members)
    return joined.cluster_id, Configuration(joined.version, members)
