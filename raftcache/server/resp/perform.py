"""Doing one call that is answered by a room; whatever goes wrong becomes its answer."""

from __future__ import annotations

import logging

from raftcache.command.values import Value
from raftcache.errors import RaftcacheError
from raftcache.server.resp.client import Client
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import Done, Entry
from raftcache.service.wording import MISTAKE, failure_of

logger = logging.getLogger("raftcache.resp")


def perform(
    entry: Entry, client: Client, call: Request, done: Done, *, may_wait: bool = True
) -> None:
    """Let the room of a call answer it; done is called once, later or at once. Raises nothing."""
    value: Value
    try:
        if entry.ask is not None and (may_wait or entry.answer is None):
            entry.ask(client, call, done)
            return
        assert entry.answer is not None, "a call of data"
        value = entry.answer(client, call)
    except RaftcacheError as error:
        value = failure_of(error)
    except Exception:
        logger.exception("unexpected error")
        value = MISTAKE
    done(value)
