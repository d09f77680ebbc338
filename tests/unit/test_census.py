"""Who listens in the whole cluster: three nodes whose links are in the test's hand."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from raftcache.command.limits import SUBSCRIBERS_TOLD_SIZE_BYTES_MAX
from raftcache.errors import BadRequest, Overloaded, RaftcacheError
from raftcache.raft.frames import HEADER_SIZE_BYTES, decode, encode
from raftcache.raft.messages import Message
from raftcache.service import census
from raftcache.service.census import Census, Counts
from raftcache.service.pubsub import PubSub, Scope
from tests.support.fake_kv import FakeKv
from tests.support.watching import HandLoop
from tests.unit.test_pubsub import Listener


class Net:
    """Nodes by name; what they say to each other waits until it is delivered."""

    def __init__(self, *names: str) -> None:
        self.loop, self.said = HandLoop(), deque[tuple[str, str, Message]]()
        self.down: set[str] = set()
        self.older: set[str] = set()
        self.nodes = {name: Member(name, self) for name in names}

    def deliver(self, *, but: str = "") -> None:
        """Everything that nobody of this name says, and what comes of it."""
        while self.said:
            sender, receiver, message = self.said.popleft()
            if sender == but:
                continue
            node = self.nodes[receiver].census
            take = {"subscribers_ask": node.asked, "subscribers_reply": node.told}
            take[message["type"]](sender, message)


class Member:
    """A node; its Peers."""

    def __init__(self, name: str, net: Net) -> None:
        self.name, self.net, kv = name, net, FakeKv()
        self.hub = PubSub(kv, kv.machine, net.loop)
        self.census = Census(self.hub, self, lambda: net.nodes, net.loop)
        self.answers: list[Counts | RaftcacheError] = []

    @property
    def linked(self) -> set[str]:
        return {*self.net.nodes} - self.net.down - {self.name}

    def pass_on(self, name: str, message: Message) -> bool:
        if name not in self.linked or name in self.net.older:
            return False
        self.net.said.append((self.name, name, _travelled(message)))
        return True

    def listen(self, *names: bytes, scope: Scope = Scope.CHANNEL) -> None:
        self.hub.subscribe(scope, names, Listener(), lambda refused: None)

    def ask(self, *names: bytes, scope: Scope = Scope.CHANNEL) -> None:
        self.census.of_names(scope, names, self.answers.append)

    def ask_for(self, pattern: bytes, scope: Scope = Scope.CHANNEL) -> None:
        self.census.of_pattern(scope, pattern, self.answers.append)


def _travelled(message: Message) -> Message:
    """As the links carry it."""
    return decode(encode(message)[HEADER_SIZE_BYTES:])


@pytest.fixture
def net() -> Net:
    return Net("n1", "n2", "n3")


@pytest.fixture
def n1(net: Net) -> Any:
    return net.nodes["n1"]


def test_listeners_of_all_nodes_are_added_up(net: Net, n1: Member) -> None:
    for node in net.nodes.values():
        node.listen(b"a")
    net.nodes["n3"].listen(b"a", b"b")
    net.nodes["n2"].listen(b"a", scope=Scope.SHARD)
    n1.ask(b"a", b"b", b"c", b"a")
    n1.ask(b"a", scope=Scope.SHARD)
    assert n1.answers == [], "others are asked"
    net.deliver()
    assert n1.answers == [{b"a": 4, b"b": 1}, {b"a": 1}]


def test_names_that_fit_a_pattern_are_those_of_all_nodes(net: Net, n1: Member) -> None:
    n1.listen(b"x1", b"y")
    net.nodes["n2"].listen(b"x1", b"x2")
    net.nodes["n2"].listen(b"x*", b"y*", scope=Scope.PATTERN)
    net.nodes["n3"].listen(b"x*", scope=Scope.PATTERN)
    n1.ask_for(b"x*")
    n1.ask_for(b"*", Scope.PATTERN)
    net.deliver()
    assert n1.answers == [{b"x1": 2, b"x2": 1}, {b"x*": 2, b"y*": 1}]


def test_a_node_alone_answers_at_once_and_so_does_one_that_others_cannot_answer() -> None:
    alone = Net("n1").nodes["n1"]
    alone.listen(b"a")
    alone.ask(b"a")
    assert alone.answers == [{b"a": 1}]
    net = Net("n1", "n2")
    net.older = {"n2"}
    net.nodes["n1"].ask(b"a")
    assert net.nodes["n1"].answers == [{}], "its version does not know the question"


def test_who_loses_its_link_has_no_listeners(net: Net, n1: Member) -> None:
    n1.listen(b"a")
    net.nodes["n2"].listen(b"a")
    net.nodes["n3"].listen(b"a")
    n1.ask(b"a")
    net.deliver(but="n3")
    assert n1.answers == []
    net.down = {"n3"}
    net.loop.beat()
    assert n1.answers == [{b"a": 2}]


def test_who_does_not_answer_is_named_and_what_it_says_later_is_nobodys(
    net: Net, n1: Member
) -> None:
    n1.ask(b"a")
    net.deliver(but="n3")
    for _ in range(census.LOOKS_MAX):
        assert n1.answers == []
        net.loop.beat()
    (refused,) = n1.answers
    assert isinstance(refused, Overloaded)
    assert "n3" in str(refused)
    n1.census.told("n3", {"type": "subscribers_reply", "id": 1, "counts": [(b"a", 1)]})
    assert len(n1.answers) == 1


def test_what_is_too_much_to_tell_is_refused(net: Net, n1: Member) -> None:
    n1.ask(bytes(SUBSCRIBERS_TOLD_SIZE_BYTES_MAX))
    net.nodes["n2"].listen(*(b"%d" % i + bytes(99_000) for i in range(11)))
    n1.ask_for(b"*")
    net.deliver()
    assert [type(refused) for refused in n1.answers] == [BadRequest, BadRequest]
    assert "n2" in str(n1.answers[1])


def test_questions_wait_their_turn(net: Net, n1: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "WAITING_MAX", 3)
    for _ in range(census.QUESTIONS_MAX + 4):
        n1.ask(b"a")
    assert len(net.said) == 2 * census.QUESTIONS_MAX
    (refused,) = n1.answers
    assert isinstance(refused, Overloaded)
    net.deliver()
    assert n1.answers == [refused, *[{}] * (census.QUESTIONS_MAX + 3)]
