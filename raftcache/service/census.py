"""Who listens in the whole cluster: every node is asked, when somebody wants to know.

Nothing is sent or kept for those who do not ask. A count is never short in silence: a node that has
a link to this one answers, or it is said that it did not. Not asked are nodes without a link, whose
listeners are about to be cut off or to find another node, and those of a version that does not know
the question; of these only who listens at one itself can tell.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import count
from typing import Final, Protocol, TypeAlias

from raftcache.command.limits import SUBSCRIBERS_TOLD_SIZE_BYTES_MAX
from raftcache.errors import BadRequest, Overloaded, RaftcacheError
from raftcache.ports import Loop, Timer
from raftcache.raft.messages import Message
from raftcache.service.pubsub import PubSub, Scope

QUESTIONS_MAX: Final = 8
"""Under way at one node, so that the answers to all of them leave room on the links for what
matters more; others wait their turn."""

WAITING_MAX: Final = 1024
"""Questions that wait for their turn."""

LOOK_S: Final = 0.05
"""Between two looks whether a link has ended that an answer should come by."""

LOOKS_MAX: Final = 40
"""A node that has not answered by then, after two seconds, has hardly any turns."""

Counts: TypeAlias = dict[bytes, int]
Done: TypeAlias = Callable[[Counts | RaftcacheError], None]

_COST_BYTES: Final = 8
"""Of one name in a message, besides its bytes."""


class Peers(Protocol):
    """The links of this node (raft/transport.py)."""

    @property
    def linked(self) -> Collection[str]: ...

    def pass_on(self, name: str, message: Message) -> bool:
        """False if it was not sent."""
        ...


class _Question:
    """One that is asked. waits: for the answers of these."""

    __slots__ = ("counts", "done", "looks", "message", "number", "waits")

    def __init__(self, number: int, message: Message, counts: Counts, done: Done) -> None:
        self.number, self.message, self.done = number, message, done
        self.counts: Counter[bytes] = Counter(counts)
        self.waits: set[str] = set()
        self.looks = 0


class Census:
    """Asks, and answers, for one node. All methods on the event loop."""

    def __init__(
        self, pubsub: PubSub, peers: Peers, serving: Callable[[], Collection[str]], loop: Loop
    ) -> None:
        """serving: the names of the members that somebody can listen at."""
        self._pubsub, self._peers, self._serving, self._loop = pubsub, peers, serving, loop
        self._numbers = count(1)
        self._asked: dict[int, _Question] = {}
        self._waiting: deque[_Question] = deque()
        self._timer: Timer | None = None

    def of_names(self, scope: Scope, names: Sequence[bytes], done: Done) -> None:
        """done(how many listen to each of these), without those that nobody listens to."""
        self._begin(scope, {"names": list(dict.fromkeys(names))}, done)

    def of_pattern(self, scope: Scope, pattern: bytes, done: Done) -> None:
        """The same of all names that fit it; it has at most GLOB_SIZE_BYTES_MAX."""
        self._begin(scope, {"pattern": pattern}, done)

    def _begin(self, scope: Scope, what: Message, done: Done) -> None:
        message = {"type": "subscribers_ask", "scope": scope.value, **what}
        if not _fits(what.get("names", ())):
            done(BadRequest(f"more than {SUBSCRIBERS_TOLD_SIZE_BYTES_MAX} bytes of names"))
        elif len(self._waiting) >= WAITING_MAX:
            done(Overloaded(f"{WAITING_MAX} questions for who listens wait already"))
        else:
            self._waiting.append(_Question(next(self._numbers), message, {}, done))
            self._go_on()

    def _go_on(self) -> None:
        while self._waiting and len(self._asked) < QUESTIONS_MAX:
            question = self._waiting.popleft()
            question.counts.update(self._here(question.message))
            message = {**question.message, "id": question.number}
            others = set(self._serving()) & set(self._peers.linked)
            question.waits = {name for name in others if self._peers.pass_on(name, message)}
            self._asked[question.number] = question
            self._look_at(question)
        if self._asked and self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        linked = set(self._peers.linked)
        for question in list(self._asked.values()):
            question.waits &= linked
            question.looks += 1
            self._look_at(question)
        self._go_on()

    def _look_at(self, question: _Question) -> None:
        if not question.waits:
            self._end(question, dict(question.counts))
        elif question.looks >= LOOKS_MAX:
            silent = ", ".join(sorted(question.waits))
            self._end(question, Overloaded(f"no answer who listens at {silent}"))

    def _end(self, question: _Question, outcome: Counts | RaftcacheError) -> None:
        if self._asked.pop(question.number, None) is not None:
            question.done(outcome)

    # -- what peers say ----------------------------------------------------------------------------

    def asked(self, peer: str, message: Message) -> None:
        """A question of a peer."""
        counts = self._here(message)
        told = [*counts.items()] if _fits(counts) else None
        reply = {"type": "subscribers_reply", "id": message["id"], "counts": told}
        self._peers.pass_on(peer, reply)

    def told(self, peer: str, message: Message) -> None:
        """The answer of a peer."""
        question, counts = self._asked.get(message["id"]), message["counts"]
        if question is None or peer not in question.waits:
            return
        question.waits.discard(peer)
        if counts is None:
            self._end(question, BadRequest(f"too many names to tell are listened to at {peer}"))
        else:
            question.counts.update(dict(counts))
            self._look_at(question)
        self._go_on()

    def _here(self, message: Message) -> Counts:
        scope, pattern = Scope(message["scope"]), message.get("pattern")
        names = message.get("names", ())
        if pattern is not None:
            names = self._pubsub.channels(scope, pattern)
        counts = {name: self._pubsub.listeners(scope, name) for name in names}
        return {name: number for name, number in counts.items() if number}


def _fits(names: Iterable[bytes]) -> bool:
    return sum(len(name) + _COST_BYTES for name in names) <= SUBSCRIBERS_TOLD_SIZE_BYTES_MAX
