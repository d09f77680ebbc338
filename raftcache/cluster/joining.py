"""How a node with an empty data directory comes into a running cluster: it asks a member."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import aiohttp
import msgspec

from raftcache.command import versions
from raftcache.errors import BadConfig, Conflict
from raftcache.raft.members import Configuration, Member

RETRY_S: Final = 0.5
TIMEOUT_S: Final = 60.0
"""After which a node that was to join gives up, and says what it was told last."""

ANSWER_TIMEOUT_S: Final = 10.0
"""For one answer: longer than a change of members takes."""

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
    commands_version: int = versions.COMMANDS_FIRST
    resp: str | None = None


async def join(url: str, myself: Member) -> tuple[str, Configuration]:
    """Become a learner; returns the cluster's id, and the configuration this node is part of.

    Asking again with the same id changes nothing. Tries for TIMEOUT_S while there is no leader or
    another change is in progress. Raises BadConfig with the reason when it is refused for good.
    """
    said, logged = "no answer", ""
    target = f"{url.rstrip('/')}/v1/cluster/members"
    timeout = aiohttp.ClientTimeout(ANSWER_TIMEOUT_S)
    try:
        async with asyncio.timeout(TIMEOUT_S), aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    status, answer = await _ask(session, target, myself)
                except (aiohttp.ClientError, TimeoutError) as error:
                    said = str(error) or "no answer"
                else:
                    if status == 200:
                        return _configuration(url, answer)
                    said = answer.decode(errors="replace")
                    if status not in (Conflict.status, 429, 500, 503):
                        raise BadConfig(f"{url} refused to let {myself.name} join: {said}")
                if said != logged:  # not the same again for a minute, twice a second
                    logger.info("waiting to join", extra={"at": url, "said": said})
                logged = said
                await asyncio.sleep(RETRY_S)
    except TimeoutError:
        raise BadConfig(
            f"could not join at {url} in {TIMEOUT_S:g} s; the last answer was: {said}"
        ) from None


async def _ask(session: aiohttp.ClientSession, target: str, myself: Member) -> tuple[int, bytes]:
    """Without `resp`, which an older member would refuse: the greeting says it soon enough."""
    body = {"name": myself.name, "id": myself.id, "raft": myself.raft, "http": myself.http}
    async with session.post(target, json=body) as reply:
        return reply.status, await reply.read()


def _configuration(url: str, answer: bytes) -> tuple[str, Configuration]:
    try:
        joined = msgspec.json.decode(answer, type=_Joined)
    except msgspec.MsgspecError as error:
        raise BadConfig(f"{url} answers like no raftcache node: {error}") from None
    members = tuple(
        Member(m.name, m.id, m.raft, m.http or "", m.voter, m.commands_version, m.resp or "")
        for m in joined.members
    )
    return joined.cluster_id, Configuration(joined.version, members)
