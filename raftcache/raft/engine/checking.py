"""Checking: do all replicas hold the same state? The leader asks them at one index, on a timer.

Each node remembers the digest after each of its last entries, so nobody stops for it. Who differs
from a majority of the voters is told so by the leader, checks it against what it remembers, and
fences itself: it answers nobody any more, and its data is not used again.
"""

from __future__ import annotations

from raftcache.raft.digests import DIGEST_SIZE_BYTES, judge
from raftcache.raft.engine import installing
from raftcache.raft.engine.base import LEADER, Parts
from raftcache.raft.messages import Message
from raftcache.raft.stock import Node, SyncObjConf


class SyncObj(installing.SyncObj):
    """Whether what was applied came to the same everywhere."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        self.__check_due_s = 0.0
        self.__check: tuple[int, dict[str, int]] | None = None  # leader: index, digests reported
        self.__asked_digest: tuple[Node, int] | None = None  # follower: who asked, for which index
        self.__alarms: dict[str, str] = {}
        self.__checked_index = 0
        super().__init__(name, conf, parts)
        self.__handlers |= {
            "digest_ask": self.__on_digest_ask,
            "digest_reply": self.__on_digest_reply,
            "digest_verdict": self.__on_digest_verdict,
        }

    @property
    def alarms(self) -> dict[str, str]:
        """Leader only: who was found to differ, and has not been found equal since."""
        return self.__alarms if self.__raftState == LEADER else {}

    @property
    def checked_index(self) -> int:
        """Leader only: where all that answered were equal last."""
        return self.__checked_index if self.__raftState == LEADER else 0

    def digest_at(self, index: int) -> int | None:
        """Of the state here; None if it has not come so far, or is no longer remembered."""
        return self.__parts.digests.at(index)

    def __check_states(self, now_s: float) -> None:
        """Part of every tick: answer when asked; on the leader, ask when it is time to."""
        if self.__raftState != LEADER:
            self.__check = None
            self.__answer_digest()
        elif now_s >= self.__check_due_s:
            self.__judge_states()  # with those who did not answer left out
            self.__check_due_s = now_s + self.__parts.check_period_s
            self.__ask_digests()

    # -- the follower's side -----------------------------------------------------------------------

    def __is_from_leader(self, node: Node, message: Message) -> bool:
        return bool(node == self.__raftLeader and message["term"] == self.__raftCurrentTerm)

    def __on_digest_ask(self, node: Node, message: Message) -> None:
        if self.__is_from_leader(node, message):
            self.__asked_digest = (node, message["index"])

    def __answer_digest(self) -> None:
        if self.__asked_digest is None or self.__asked_digest[1] > self.__raftLastApplied:
            return
        (node, index), self.__asked_digest = self.__asked_digest, None
        digest = self.digest_at(index)
        if digest is not None:
            self.__transport.send(node, self.__digest("digest_reply", index, digest))

    def __on_digest_verdict(self, node: Node, message: Message) -> None:
        if not self.__is_from_leader(node, message):
            return
        index, right = message["index"], int.from_bytes(message["digest"], "big")
        mine = self.digest_at(index)
        if mine is not None and mine != right:
            self.__parts.fence(_difference(index, mine, right))

    # -- the leader's side -------------------------------------------------------------------------

    def __ask_digests(self) -> None:
        index = self.__raftLastApplied
        digest = self.digest_at(index)
        assert digest is not None, "the last entry applied is remembered"
        self.__check = (index, {self.__selfNode.id: digest})
        ask = {"type": "digest_ask", "term": self.__raftCurrentTerm, "index": index}
        for node in self.__sorted_others():
            if node in self.__connectedNodes:
                self.__transport.send(node, dict(ask))

    def __on_digest_reply(self, node: Node, message: Message) -> None:
        if not self.__is_current(node, message):
            return
        if self.__check is None or self.__check[0] != message["index"]:
            return
        reports = self.__check[1]
        reports[node.id] = int.from_bytes(message["digest"], "big")
        if len(reports) == len(self.__otherNodes) + 1:
            self.__judge_states()

    def __judge_states(self) -> None:
        if self.__check is None:
            return
        (index, reports), self.__check = self.__check, None
        verdict = judge(reports, self.configuration.voters)
        known = {m.name for m in self.configuration.members}
        self.__alarms = {
            n: why for n, why in self.__alarms.items() if n in known and n not in reports
        }
        for name in sorted(verdict.wrong):
            self.__alarms[name] = _difference(index, reports[name], verdict.right)
            if verdict.right is not None and name != self.__selfNode.id:
                told = self.__digest("digest_verdict", index, verdict.right)
                self.__transport.send(Node(name), told)
        if not verdict.wrong:
            self.__checked_index = index
        elif verdict.right is not None and self.__selfNode.id in verdict.wrong:
            self.__parts.fence(self.__alarms[self.__selfNode.id])

    def __digest(self, kind: str, index: int, digest: int) -> Message:
        body = digest.to_bytes(DIGEST_SIZE_BYTES, "big")
        return {"type": kind, "term": self.__raftCurrentTerm, "index": index, "digest": body}


def _difference(index: int, mine: int, right: int | None) -> str:
    if right is None:
        return f"digest {mine:016x} at index {index}; others differ, and no majority agrees"
    return f"its state differs: digest {mine:016x} at index {index}, a majority has {right:016x}"
