"""Elections: PreVote, stickiness, votes per node, check-quorum, transfer (rules 5, 9, 10)."""

from __future__ import annotations

from typing import Final

from raftcache.raft.engine import membership
from raftcache.raft.engine.base import CANDIDATE, FOLLOWER, LEADER, Parts
from raftcache.raft.messages import Message
from raftcache.raft.stock import Node, SyncObjConf

TURN_S: Final = 0.05
"""When the leader's process has ended, voters stand for election one by one, in order of their
names: so long after each other, which is longer than most elections take. Then no two of them
stand at once, and split the votes."""

STALL_HEARTBEATS: Final = 2
"""A node that took no turn for so long has stood still: turns come twice in a heartbeat."""


LAG_ENTRIES_MAX: Final = 2_000
"""A node that has more of what is committed yet to apply lags: as leader it could answer nobody
until it has. As a rule it has just started, and reads its log: 10,000 entries a second and more."""

LAG_WAIT_S: Final = 3.0
"""So long it leaves it to others to stand for election, who can do better, if they can."""


class SyncObj(membership.SyncObj):
    """Who leads."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        self.__votes: set[Node] = set()
        self.__pre_votes: set[Node] | None = None  # who granted the running pre-vote
        self.__pre_won = self.__forced = False
        self.__asked_by: dict[Node, Message] = {}  # for pre-votes, while a leader is heard
        self.__turn_s = parts.clock.monotonic_s()
        self.__listens_first = True
        self.__lags_until_s = 0.0  # 0.0 if it has not stayed away since a leader was heard
        self.__transfer_to: Node | None = None
        self.__transfer_until_s = 0.0
        self.__lease_void_term = -1  # a transfer was tried in it: its target may yet force a vote
        # The parent's, declared for the type checker only.
        self.__raftElectionDeadline: float
        self.__transferInProgress: bool
        super().__init__(name, conf, parts)
        self.__handlers |= {
            "pre_vote": self.__on_pre_vote,
            "pre_vote_ok": self.__on_pre_vote_ok,
            "request_vote": self.__on_request_vote,
            "response_vote": self.__on_response_vote,
        }

    def __hear_leader(self, node: Node, message: Message) -> None:
        super().__hear_leader(node, message)
        self.__pre_votes, self.__pre_won = None, False
        self.__asked_by.clear()
        self.__listens_first, self.__lags_until_s = True, 0.0

    def __hears_leader(self) -> bool:
        """A live leader is known here: this node is one with a quorum, or heard one just now.

        Who is gone is heard no more; what was promised to it holds all the same (see leader_gone).
        """
        since = self.__clock() - self.__conf.raftMinTimeout
        if self.__raftState == LEADER:
            return self.__is_majority(self.__live(since))
        heard_s = self.__promised_s if self.__leader_gone else self.__heard_s
        return bool(heard_s > since)

    @property
    def is_lost(self) -> bool:
        """No leader is heard here; one that this node's log does not know yet may turn up."""
        return self.__raftState != LEADER and not self.__hears_leader()

    def peer_gone(self, node: Node) -> None:
        """Nobody listens any more where this peer was: if it led, waiting for it is of no use.

        That is no proof: a firewall says the same of a leader that lives. So no promise rests on
        it. A voter breaks none that it made; and who leads is for a majority to say, as always.
        """
        if self.__raftState == LEADER or node != self.__heard_from:
            return
        self.__leader_gone = True
        if self.__hurries:
            ahead = sum(voter.id < self.__selfNode.id for voter in self.__voters - {node})
            free_s = max(self.__clock(), self.__promised_s + self.__conf.raftMinTimeout)
            due_s = free_s + ahead * TURN_S
            self.__raftElectionDeadline = min(self.__raftElectionDeadline, due_s)
        asked, self.__asked_by = self.__asked_by, {}
        for candidate, message in asked.items():  # who saw it first
            self.__on_pre_vote(candidate, message)

    @property
    def __hurries(self) -> bool:
        """The leader has gone, and nobody has come to stand in its place yet."""
        return self.__leader_gone and self.__heard_term == self.__raftCurrentTerm

    def __goes_first(self, node: Node) -> bool:
        """Of two that ask for pre-votes in haste, with equal logs: else they split the votes."""
        asks = self.__pre_votes is not None or self.__pre_won
        return bool(self.__hurries and asks and self.__selfNode.id < node.id)

    def __give_way(self) -> None:
        """To who was just granted a pre-vote."""
        if self.__hurries:
            self.__pre_votes, self.__pre_won = None, False
            self.__raftElectionDeadline = self.__clock() + TURN_S * len(self.__voters)

    def __next_deadline(self, now_s: float) -> float:
        """When to stand again if nothing comes of it; soon, if others have yet to see the end."""
        asks_first = not (self.__forced or self.__pre_won)
        if self.__hurries and asks_first and now_s < self.__heard_s + self.__conf.raftMaxTimeout:
            return now_s + TURN_S * len(self.__voters)  # after everybody's turn
        return float(now_s + self.__generateRaftTimeout())

    def __setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Somebody else stands already: in such haste this node would only come between."""
        overtaken = term > self.__raftCurrentTerm and votedForNodeId is None
        super().__setCurrentTerm(term, votedForNodeId)
        if overtaken and self.__leader_gone:
            self.__raftElectionDeadline = self.__clock() + self.__generateRaftTimeout()

    def __stood_still(self, now_s: float) -> bool:
        """This node was away, not its leader: what that sent meanwhile may be yet to be read.

        So it listens for a heartbeat before it stands; but once only, however slow this node is.
        """
        away_s, self.__turn_s = now_s - self.__turn_s, now_s
        heartbeat_s = self.__conf.appendEntriesPeriod
        waits = not (self.__leader_gone or self.__pre_won or self.__transferInProgress)
        if not (waits and self.__listens_first and away_s > STALL_HEARTBEATS * heartbeat_s):
            return False
        self.__listens_first = False
        self.__raftElectionDeadline = max(self.__raftElectionDeadline, now_s + heartbeat_s)
        return True

    def __lags(self, now_s: float) -> bool:
        """Another voter would serve sooner; but if none comes to lead in time, this one must."""
        if self.__transferInProgress or self.__pre_won or not self.__voters:
            return False
        if self.__raftCommitIndex - self.__raftLastApplied <= LAG_ENTRIES_MAX:
            return False
        self.__lags_until_s = self.__lags_until_s or now_s + LAG_WAIT_S
        if now_s >= self.__lags_until_s:
            return False
        self.__raftElectionDeadline = now_s + self.__conf.appendEntriesPeriod  # then look again
        return True

    def __elect(self, now_s: float) -> None:
        """Raft 5.2, in front of it a pre-vote (dissertation 9.6) unless the leader asked for it."""
        if self.__stood_still(now_s) or self.__raftElectionDeadline >= now_s or self.__lags(now_s):
            return
        self.__listens_first = True
        asks = self.__votes_itself and (not self.__voters or self.__connectedToAnyone())
        if not asks:  # nobody to ask, or no voter; and it cannot be following anyone
            if self.__raftLeader is not None:
                self.__forget_leader()
            return
        self.__forced, self.__transferInProgress = self.__transferInProgress, False
        self.__raftElectionDeadline = self.__next_deadline(now_s)
        if not (self.__forced or self.__pre_won):
            self.__pre_vote()
            return
        self.__pre_won, self.__votes = False, set()
        self.__forget_leader()
        self.__setState(CANDIDATE)
        self.__setCurrentTerm(self.__raftCurrentTerm + 1, self.__selfNode.id)
        self.__ask_all("request_vote", self.__raftCurrentTerm)
        self.__count_votes()

    def __pre_vote(self) -> None:
        self.__forget_leader()
        self.__pre_votes = set()
        self.__ask_all("pre_vote", self.__raftCurrentTerm + 1)
        self.__count_pre_votes()

    def __ask_all(self, kind: str, term: int) -> None:
        last, configuration = self.__raftLog[-1], self.configuration
        request = {"type": kind, "term": term, "last_log_index": last[1], "last_log_term": last[2]}
        request["version"] = configuration.version
        for node in sorted(self.__voters, key=lambda n: n.id):
            voter = configuration.get(node.id)
            assert voter is not None
            self.__transport.send(node, request | {"voter_id": voter.id})

    def __on_pre_vote(self, node: Node, message: Message) -> None:
        last = self.__raftLog[-1]
        term, theirs = message["term"], (message["last_log_term"], message["last_log_index"])
        if term <= self.__raftCurrentTerm:
            self.__transport.send(node, {"type": "term", "term": self.__raftCurrentTerm})
        mine = (last[2], last[1])
        up_to_date = theirs >= mine and self.__may_vote(message)
        if term < self.__raftCurrentTerm or not up_to_date:
            return
        if self.__hears_leader():
            self.__asked_by[node] = message
        elif theirs != mine or not self.__goes_first(node):
            granted = self.__with_time({"type": "pre_vote_ok", "term": term})
            self.__transport.send(node, granted)
            self.__give_way()

    def __with_time(self, message: Message) -> Message:
        """To a candidate: who leads next may have restarted, and have heard no leader since."""
        time = self.__parts.time
        return message | {"now": time.now_ms() if time.is_known else 0}

    def __hear_time(self, message: Message) -> None:
        if now_ms := message.get("now"):  # older voters do not say
            self.__parts.time.told(now_ms)

    def __on_pre_vote_ok(self, node: Node, message: Message) -> None:
        self.__hear_time(message)
        current = message["term"] == self.__raftCurrentTerm + 1
        if self.__pre_votes is not None and current:
            self.__pre_votes.add(node)
            self.__count_pre_votes()

    def __count_pre_votes(self) -> None:
        assert self.__pre_votes is not None
        if self.__elects(self.__pre_votes):
            self.__pre_votes, self.__pre_won = None, True
            self.__raftElectionDeadline = float("-inf")  # elect on the next tick

    def __on_request_vote(self, node: Node, message: Message) -> None:
        """Rule 5: a voter that hears a live leader refuses (dissertation 4.2.3)."""
        term = message["term"]
        voted_before = self.__votedForNodeId == node.id and term == self.__raftCurrentTerm
        # Also in the current term: it may have come by another message than a vote.
        if not (voted_before or message["force"]) and self.__hears_leader():
            return
        if voted_before and self.__raftState == FOLLOWER:  # the first answer may be lost
            self.__transport.send(node, {"type": "response_vote", "term": term})
            return
        if term > self.__raftCurrentTerm:
            self.__forget_leader()
        if self.__may_vote(message):
            super().__onMessageReceived(node, message)

    def __may_vote(self, message: Message) -> bool:
        """Rule 10: a node whose data is new may have voted, and acknowledged, in an earlier life.

        So it votes only for a candidate that knows this very data; or before the first change of
        the configuration, for until then nothing was acknowledged (see engine.py, the tick).
        """
        return bool(message["voter_id"] == self.__parts.myself.id or message["version"] == 0)

    def __on_response_vote(self, node: Node, message: Message) -> None:
        """Rule 5: votes are counted per node, not per message; and only those of voters."""
        self.__hear_time(message)
        if message["term"] == self.__raftCurrentTerm and self.__raftState == CANDIDATE:
            self.__votes.add(node)
            self.__count_votes()

    def __count_votes(self) -> None:
        """Its own counts when it is on the disk, as those of others do.

        Who needs no other would else send entries of a term that its next life may lead again.
        """
        if self.__elects(self.__votes) and not self.__raftLog.has_pending:
            self.__onBecomeLeader()

    def __elects(self, granted: set[Node]) -> bool:
        """A majority; in the first election of a cluster all voters.

        Before it nobody's data is known. A member that lost its disk looks like one that was never
        started, and with another that nobody reached yet it would elect a leader with an empty log
        beside the one that holds all that was acknowledged.
        """
        if self.configuration.version == 0:
            return self.__voters <= granted
        return self.__is_majority(granted)

    def __onBecomeLeader(self) -> None:
        self.__transfer_to, self.__transfer_until_s = None, 0.0  # of an earlier leadership
        self.tick_due = True
        super().__onBecomeLeader()

    def __check_quorum(self, now_s: float) -> None:
        """Rule 9: a leader that a majority does not answer steps down by itself."""
        since = now_s - self.__conf.leaderFallbackTimeout
        if not self.__is_majority(self.__live(since)):
            self.__setState(FOLLOWER)
            self.__forget_leader()

    def transfer(self, to: str | None, timeout_s: float) -> bool:
        """Leader only: stop taking proposals, and hand over once the target has everything.

        The target is `to`, or the follower that has the most. False if there is none. If it is
        not done within timeout_s, this node goes on as leader.
        """
        candidates = [n for n in self.__sorted_others() if n in self.__voters]
        candidates = [n for n in candidates if n in self.__connectedNodes]
        candidates = [n for n in candidates if to is None or n.id == to]
        if self.__raftState != LEADER or not candidates:
            return False
        self.__transfer_to = max(candidates, key=lambda n: self.__raftMatchIndex[n])
        self.__transfer_until_s = self.__clock() + timeout_s
        self.__lease_void_term = self.__raftCurrentTerm
        self.__step_due = True
        return True

    @property
    def transfer_until_s(self) -> float:
        """When the last transfer that was begun here is, or was, to be given up."""
        return self.__transfer_until_s

    def __hand_over(self, now_s: float) -> None:
        """Rule 10: transfer once the target has everything; proposals wait meanwhile."""
        target = self.__transfer_to
        leads = self.__raftState == LEADER and target in self.__voters  # not removed meanwhile
        if not leads or now_s > self.__transfer_until_s:
            self.__transfer_to = None
        elif self.__raftMatchIndex[target] == self.__raftLog.last_index:
            self.transferLeadership(target)
