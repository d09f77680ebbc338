"""Applying: entries to the state machine, and the end of every proposal (rules 8, 12, 13, 14)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from raftcache.command.limits import ENTRY_SIZE_BYTES_MAX
from raftcache.errors import Fatal
from raftcache.raft.engine import replication
from raftcache.raft.engine.base import LEADER, REGULAR, STAMP_SIZE_BYTES, Parts, stamp_ms_of
from raftcache.raft.members import MEMBERSHIP
from raftcache.raft.messages import Message
from raftcache.raft.stock import FAIL_REASON, Node, SyncObjConf

APPLY_SIZE_BYTES_MAX: Final = 256 << 10
"""Entries applied in one turn, so that a long log does not hold up heartbeats."""

APPLY_ENTRIES_MAX: Final = 64
"""The same for small entries: thousands of them are as much work as one that is large."""

APPLY_S_MAX: Final = 0.01
"""The same for entries of a few bytes that are as much work as thousands; one is, at least."""


class SyncObj(replication.SyncObj):
    """What was proposed, and what became of it."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        self.__applied_term = 0
        super().__init__(name, conf, parts)
        self.__handlers["apply_command"] = self.__on_apply_command

    @property
    def is_behind(self) -> bool:
        """Committed entries wait to be applied: tick again."""
        return bool(self.__raftLastApplied < self.__raftCommitIndex)

    def propose(self, batch: bytes, done: Callable[[Any, int], None]) -> None:
        """Append a batch to the replicated log; done(replies, FAIL_REASON) exactly once."""
        self._applyCommand(REGULAR + batch, done)
        self.__step_due = True

    def __append_proposals(self) -> None:
        """Leader only: stamp what was proposed with the time it is now, and append all of it.

        In place of the parent's, which stops after a while: what it left would be stamped twice.
        """
        log, term, stamp = self.__raftLog, self.__raftCurrentTerm, b""
        while self.__commandsQueue:
            command, callback = self.__commandsQueue.popleft()
            stamp = stamp or self.__parts.time.stamp_ms().to_bytes(STAMP_SIZE_BYTES, "little")
            index = log.last_index + 1
            log.add(REGULAR + stamp + command[1:], index, term)
            if isinstance(callback, tuple):  # a follower's: it waits for the entry by itself
                node, request_id = callback
                place = {"request_id": request_id, "log_idx": index, "log_term": term}
                self.__transport.send(node, {"type": "apply_command_response"} | place)
            else:
                self.__commandsWaitingCommit[index].append((term, callback))

    def __on_apply_command(self, node: Node, message: Message) -> None:
        command = message["command"]
        if self.__raftState != LEADER:
            error = FAIL_REASON.NOT_LEADER
        elif command[:1] != REGULAR or len(command) > ENTRY_SIZE_BYTES_MAX:
            error = FAIL_REASON.REQUEST_DENIED
        else:
            self._applyCommand(command, (node, message["request_id"]))
            self.__step_due = True
            return
        super().__callErrCallback(error, (node, message["request_id"]))

    def __applyLogEntries(self) -> None:
        """Rule 8: applying is total, and what cannot be applied stops this node by its index."""
        log, size_bytes = self.__raftLog, 0
        last = min(self.__raftCommitIndex, self.__raftLastApplied + APPLY_ENTRIES_MAX)
        is_one = last == self.__raftLastApplied + 1
        until_s = 0.0 if is_one else self.__clock() + APPLY_S_MAX
        while self.__raftLastApplied < last and size_bytes < APPLY_SIZE_BYTES_MAX:
            command, index, term = log.kept_at(self.__raftLastApplied + 1)
            replies = self.__apply(command, index)
            self.__raftLastApplied = index
            self.__parts.digests.note(index, self.__parts.machine.digest)
            size_bytes += len(command)
            if term > self.__applied_term:
                self.__discard_older(term)
            for waiting_term, callback in self.__commandsWaitingCommit.pop(index, ()):
                if waiting_term == term:
                    callback(replies, FAIL_REASON.SUCCESS)
                else:
                    callback(None, FAIL_REASON.DISCARDED)
            if not is_one and self.__clock() >= until_s:
                break

    def __apply(self, command: bytes, index: int) -> Sequence[object] | None:
        if command[:1] != REGULAR:
            if command[:1] == MEMBERSHIP:
                self.__apply_configuration(index)
            return None
        stamp_ms = stamp_ms_of(command)
        self.__parts.time.applied(stamp_ms)
        try:
            return self.__parts.machine.apply(stamp_ms, command[1 + STAMP_SIZE_BYTES :])
        except Exception as e:
            raise Fatal(f"entry {index} cannot be applied: {type(e).__name__}: {e}") from e

    def __discard_older(self, term: int) -> None:
        """An entry of this term is committed: no proposal of an older term can follow it."""
        self.__applied_term = term
        for index, waiting in list(self.__commandsWaitingCommit.items()):
            older = [callback for t, callback in waiting if t < term]
            waiting[:] = [w for w in waiting if w[0] >= term]
            if not waiting and index > self.__raftLastApplied:
                del self.__commandsWaitingCommit[index]
            for callback in older:
                callback(None, FAIL_REASON.DISCARDED)
