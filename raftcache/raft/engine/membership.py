"""Membership: whose votes count, and one change at a time (rule 10; dissertation, chapter 4).

A configuration counts from the moment it is in the log, committed or not; when its entry is
truncated, the one before it counts again. Learners are peers like all others, only their votes and
acknowledgements do not count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from raftcache.errors import (
    BadConfig,
    BadRequest,
    Conflict,
    NotFound,
    NotLeader,
    PreconditionFailed,
    RaftcacheError,
    Refused,
    Unknown,
)
from raftcache.raft import members
from raftcache.raft.engine import base
from raftcache.raft.engine.base import LEADER, Parts
from raftcache.raft.members import Change, Configuration, Member, StillLeads
from raftcache.raft.messages import Message
from raftcache.raft.stock import FAIL_REASON, Node, SyncObjConf
from raftcache.raft.window import Window

PROMOTE_LAG_ENTRIES_MAX: Final = 1000
"""A learner may become a voter when it lacks no more than this: a moment's work."""

TRANSFER_TIMEOUTS: Final = 2
"""A transfer that is not done in so many election timeouts is given up."""

ChangeDone: TypeAlias = Callable[[Configuration | RaftcacheError], None]

_REFUSALS: Final[dict[str, type[RaftcacheError]]] = {
    c.__name__: c
    for c in (BadRequest, Conflict, NotFound, NotLeader, PreconditionFailed, StillLeads, Unknown)
}

logger = logging.getLogger("raftcache.raft")


class SyncObj(base.SyncObj):
    """Who belongs to the group."""

    def __init__(self, name: str, conf: SyncObjConf, parts: Parts) -> None:
        self.__configurations = [(parts.applied_index, parts.configuration)]
        self.__voters: frozenset[Node] = frozenset()  # besides this node
        self.__known_voters: frozenset[Node] = frozenset()  # those whose data cannot be lost unseen
        self.__votes_itself = False
        self.__windows: dict[Node, Window] = {}
        self.__asked_changes: dict[int, ChangeDone] = {}
        self.__seen: dict[str, Member] = {name: parts.myself}  # as they greeted; outranked by
        # whatever the configuration says of them later
        super().__init__(name, conf, parts)
        parts.outbox.set_removed(parts.configuration.removed)
        for entry in self.__raftLog[:]:
            if entry.index > parts.applied_index:
                self.__note_entry(entry.command, entry.index)
        self.__use_configuration()
        self.__handlers |= {
            "change_members": self.__on_change_members,
            "change_members_reply": self.__on_change_members_reply,
        }

    # -- what counts -----------------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The one that counts: the latest in the log, committed or not."""
        return self.__configurations[-1][1]

    @property
    def configuration_is_committed(self) -> bool:
        return bool(self.__configurations[-1][0] <= self.__raftCommitIndex)

    def configuration_at(self, index: int) -> Configuration:
        """The one that counted at an index that is still in the log or at its base."""
        return next(c for i, c in reversed(self.__configurations) if i <= index)

    def commands_version(self) -> int:
        """The kinds of commands that may be proposed; by what is committed, so that it stays."""
        return self.configuration_at(self.__raftCommitIndex).commands_version

    @property
    def is_voter(self) -> bool:
        return self.__votes_itself

    def __is_majority(self, nodes: set[Node] | frozenset[Node]) -> bool:
        """Whether these peers, with this node, are more than half of the voters."""
        count = len(self.__voters & nodes) + self.__votes_itself
        return count * 2 > len(self.__voters) + self.__votes_itself

    def __live(self, since_s: float) -> frozenset[Node]:
        """Leader only: the peers that answered since then."""
        heard = self.__lastResponseTime
        return frozenset(n for n in self.__otherNodes if heard.get(n, since_s) > since_s)

    def __note_entry(self, command: bytes, index: int) -> None:
        configuration = members.decode(command)
        if configuration is not None:
            self.__configurations.append((index, configuration))

    def __use_configuration(self) -> None:
        """Let the latest configuration count: peers, their addresses, the voters."""
        configuration = self.configuration
        used, known = configuration.commands_version, self.__parts.myself.commands_version
        if used > known:  # better now than at the entry that cannot be applied
            raise BadConfig(
                f"the cluster uses commands of version {used}, this raftcache knows {known}:"
                " run the newer raftcache"
            )
        mine = self.__selfNode.id
        peers = {Node(m.name): m for m in configuration.members if m.name != mine}
        # An old configuration, met on the way to the present, may not know the leader yet.
        strangers = self.__otherNodes - peers.keys() - {self.__raftLeader}
        for node in sorted(strangers, key=lambda n: n.id):
            self.__drop_peer(node)
        self.__parts.outbox.set_members(configuration)
        for node in peers:
            if node not in self.__otherNodes:
                self.__add_peer(node)
        self.__voters = frozenset(n for n, m in peers.items() if m.voter)
        # Before its first change it knows nobody's data, and nothing is acknowledged.
        begins = configuration.version == 0
        self.__known_voters = frozenset(n for n in self.__voters if begins or peers[n].id)
        self.__votes_itself = mine in configuration.voters

    def __add_peer(self, node: Node) -> None:
        self.__otherNodes.add(node)
        self.__raftNextIndex[node] = self.__raftLog.last_index
        self.__raftMatchIndex[node] = 0
        self.__lastResponseTime[node] = self.__clock()
        self.__windows[node] = Window()
        self.__parts.outbox.addNode(node)

    def __drop_peer(self, node: Node) -> None:
        self.__otherNodes.discard(node)
        self.__parts.outbox.dropNode(node)  # may report the disconnection before it returns
        for table in (self.__raftNextIndex, self.__raftMatchIndex, self.__lastResponseTime):
            table.pop(node, None)
        self.__windows.pop(node, None)
        self.__parts.stop_feeding(node)

    # -- following the log -----------------------------------------------------------------------

    def __note_appended(self, entries: list[Any]) -> None:
        """Entries of a leader are in the log now."""
        before = self.configuration
        for command, index, _ in entries:
            self.__note_entry(command, index)
        if self.configuration is not before:
            for member in self.configuration.members:
                if member != before.get(member.name):
                    self.__outrank(member)
            self.__use_configuration()

    def __outrank(self, member: Member) -> None:
        """What a leader wrote of a member counts, not what that member said before.

        Except for the address that a leader of an older version cannot write down, and drops where
        it stood: the member said it once, and will not say it again before its next link.
        """
        seen = self.__seen.pop(member.name, None)
        if seen is None or not seen.resp or seen.id != member.id:
            return
        if member.resp in ("", seen.resp):
            self.__seen[member.name] = replace(seen, raft="", http="")

    def __deleteEntriesFrom(self, fromIDx: int) -> None:
        super().__deleteEntriesFrom(fromIDx)
        if self.__configurations[-1][0] >= fromIDx:
            self.__configurations = [c for c in self.__configurations if c[0] < fromIDx]
            self.__use_configuration()

    def __install_configuration(self, index: int, configuration: Configuration) -> None:
        """A snapshot took the place of the log up to here."""
        later = [c for c in self.__configurations if c[0] > index]
        self.__configurations = [(index, configuration), *later]
        self.__parts.outbox.set_removed(configuration.removed)
        self.__use_configuration()

    def __apply_configuration(self, index: int) -> None:
        """The entry at this index is committed: what came before it will not be asked for again."""
        self.__parts.outbox.set_removed(self.configuration_at(index).removed)
        base_index = self.__raftLog.first_index
        while len(self.__configurations) > 1 and self.__configurations[1][0] <= base_index:
            del self.__configurations[0]

    # -- changing --------------------------------------------------------------------------------

    def change(self, change: Change, done: ChangeDone) -> None:
        """Change the configuration; done(the new one, committed) or done(why not), exactly once.

        Any node takes the request; a follower sends it on to the leader.
        """
        if self.__raftState == LEADER:
            self.__change(change, done)
        elif self.__raftLeader is None:
            done(NotLeader("no leader is known at this node"))
        else:
            self.__ask_id += 1
            self.__asked_changes[self.__ask_id] = done
            body = msgspec.msgpack.encode(change)
            message = {"type": "change_members", "id": self.__ask_id, "change": body}
            self.__transport.send(self.__raftLeader, message)

    def __change(self, change: Change, done: ChangeDone) -> None:
        try:
            if change.op == "transfer":
                self.__begin_transfer(change.name)
                done(self.configuration)
                return
            configuration = self.__changed(change)
        except RaftcacheError as refusal:
            done(refusal)
            return
        if configuration == self.configuration:
            done(configuration)
        else:
            self.__append_configuration(configuration, done)

    def __begin_transfer(self, to: str) -> None:
        member = self.configuration.get(to)
        if to and member is None:
            raise NotFound(f"there is no member {to!r}")
        if member is not None and not member.voter:
            raise Conflict(f"{to} is a learner: promote it first")
        timeout_s = TRANSFER_TIMEOUTS * self.__conf.raftMaxTimeout
        if to != self.__selfNode.id and not self.transfer(to or None, timeout_s):
            raise Conflict(f"{to} does not answer" if to else "no other voter answers")

    def __changed(self, change: Change) -> Configuration:
        """The configuration after the change, if the leader may make it now."""
        current = self.configuration
        if not self.has_committed_in_term:
            raise NotLeader("the leader has not committed in its term yet")
        if not self.configuration_is_committed:
            said = members.describe(self.__configurations[-2][1], current)
            raise Conflict(f"another change is in progress: {said} (version {current.version})")
        changed, mine = members.apply(current, change), self.__selfNode.id
        heard = self.__live(self.__clock() - self.__conf.raftMaxTimeout)
        if change.op == "add" and changed != current and Node(change.name) in heard | {Node(mine)}:
            raise Conflict(f"a member {change.name!r} is alive, with other data")
        # Whoever has acknowledged nothing yet counts as heard for a while, and may be dead.
        sure = self.__live(self.__clock() - self.__conf.raftMinTimeout) & self.__connectedNodes
        live = frozenset(n.id for n in sure if self.__raftMatchIndex[n])
        if change.op == "promote":
            self.__check_caught_up(Node(change.name), live)
        if not change.force and not changed.is_majority(live | {mine}):
            dead = ", ".join(sorted(changed.voters - live - {mine}))
            raise Conflict(f"no majority of the voters would be alive; not heard of late: {dead}")
        if change.op == "remove" and change.name == mine:
            raise StillLeads("this is the leader: transfer its leadership first")
        return changed

    def __check_caught_up(self, node: Node, live: frozenset[str]) -> None:
        lag = self.__raftLog.last_index - self.__raftMatchIndex[node]
        if lag > PROMOTE_LAG_ENTRIES_MAX:
            raise Conflict(f"{node.id} lacks {lag} entries, at most {PROMOTE_LAG_ENTRIES_MAX} may")
        if node.id not in live:
            raise Conflict(f"{node.id} does not answer")

    def __append_configuration(self, configuration: Configuration, done: ChangeDone) -> None:
        def decided(_: object, reason: int) -> None:
            if reason == FAIL_REASON.SUCCESS:
                done(configuration)
            elif reason == FAIL_REASON.DISCARDED:
                done(NotLeader("a new leader discarded it"))
            else:
                done(Unknown("the leader changed before it was decided"))

        index, term = self.__raftLog.last_index + 1, self.__raftCurrentTerm
        command = members.encode(configuration)
        self.__raftLog.add(command, index, term)
        self.__note_appended([(command, index, term)])
        self.__commandsWaitingCommit[index].append((term, decided))
        self.__step_due = True

    def greeted(self, member: Member) -> None:
        """A peer said who it is and where it is; the leader writes it down when that is news."""
        self.__seen[member.name] = member

    def __claim_members(self) -> None:
        """Leader: bind the ids, and note the addresses, of members as they greeted."""
        if not (self.configuration_is_committed and self.has_committed_in_term):
            return
        claimed = self.__claimed()
        if claimed != self.configuration:
            self.__append_configuration(claimed, lambda outcome: None)

    def __claimed(self) -> Configuration:
        """The next configuration by what members said when they greeted, or the present one."""
        current = claimed = self.configuration
        for m in current.members:
            seen = self.__seen.get(m.name)
            if seen is None or m.id not in ("", seen.id) or _says(m, seen):
                continue
            claim = Change(
                "claim",
                m.name,
                seen.id,
                seen.raft,
                seen.http,
                commands_version=seen.commands_version,
                resp=seen.resp,
            )
            try:
                claimed = members.apply(claimed, claim)
            except RaftcacheError as refusal:
                del self.__seen[m.name]
                logger.warning("greeting ignored", extra={"peer": m.name, "why": refusal.detail})
        if claimed == current:
            return current
        return replace(claimed, version=current.version + 1)

    def __onBecomeLeader(self) -> None:
        """The first leader of a new or restored cluster puts the ids in front of everything else.

        Whoever has any entry of it then also knows whose data counts, and can vote again after a
        crash (see elections.py, __may_vote).
        """
        self.__use_configuration()
        claimed = self.__claimed()
        (begin, first), last = self.__configurations[-1], self.__raftLog.last_index
        if first.version == 0 and begin == last and claimed != first:
            entry = (members.encode(claimed), last + 1, self.__raftCurrentTerm)
            self.__raftLog.add(*entry)
            self.__note_appended([entry])
        super().__onBecomeLeader()

    # -- requests of other nodes -------------------------------------------------------------------

    def __on_change_members(self, node: Node, message: Message) -> None:
        def reply(outcome: Configuration | RaftcacheError) -> None:
            answer: Message = {"type": "change_members_reply", "id": message["id"]}
            if isinstance(outcome, RaftcacheError):
                answer |= {"error": type(outcome).__name__, "detail": outcome.detail, "body": b""}
            else:
                answer |= {"error": "", "detail": "", "body": members.encode(outcome)}
            self.__transport.send(node, answer)

        try:
            change = msgspec.msgpack.decode(message["change"], type=Change)
        except msgspec.MsgspecError as error:
            reply(BadRequest(str(error)))
            return
        if self.__raftState == LEADER:
            self.__change(change, reply)
        else:
            reply(NotLeader("the leader changed"))

    def __on_change_members_reply(self, node: Node, message: Message) -> None:
        done = self.__asked_changes.pop(message["id"], None)
        if done is not None and message["error"]:
            done(_REFUSALS.get(message["error"], Refused)(message["detail"]))
        elif done is not None:
            configuration = members.decode(message["body"])
            assert configuration is not None
            done(configuration)

    def __onLeaderChanged(self) -> None:
        super().__onLeaderChanged()
        asked, self.__asked_changes = self.__asked_changes, {}
        for done in asked.values():
            done(Unknown("the leader changed before it answered"))


def _says(member: Member, seen: Member) -> bool:
    """The configuration has all that this greeting said: asked at every turn of a leader."""
    return (
        member.id == seen.id
        and seen.raft in ("", member.raft)
        and seen.http in ("", member.http)
        and seen.resp == member.resp
        and seen.commands_version <= member.commands_version
    )
