"""Persist, then send: which messages wait for the disk, and for what of it."""

from __future__ import annotations

from typing import Any

import pytest
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from raftcache.raft import log as log_module
from raftcache.raft.entries import NO_OP, Block
from raftcache.raft.log import Log
from raftcache.raft.outbox import PROMISES, Outbox
from tests.support.lanes import HeldLane

PEER = Node("n2")
PROMISE = {"type": "next_node_idx"}
PING = {"type": "ping"}


class Links(Transport):  # type: ignore[misc]  # pysyncobj is untyped
    """Records what leaves; may be down."""

    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.sent: list[str] = []
        self.is_up = True
        self.flushes = 0

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        if self.is_up:
            self.sent.append(message.get("name", message["type"]))
        return self.is_up

    def flush(self) -> None:
        self.flushes += 1


class Bench:
    """An outbox, and everything around it."""

    def __init__(self, durable: bool = True) -> None:
        self.links, self.lane, self.log = Links(), HeldLane(), Log()
        self.written: list[Block] = []
        self.durable_turns = 0
        self.fatal: list[Exception] = []
        self.disk_error: OSError | None = None
        write = self._write if durable else None
        self.outbox = Outbox(
            self.links, self.log, write, self.lane, self._on_durable, self.fatal.append
        )

    def _write(self, block: Block) -> None:
        if self.disk_error is not None:
            raise self.disk_error
        self.written.append(block)

    def _on_durable(self) -> None:
        self.durable_turns += 1

    def add_entry(self, command: bytes = NO_OP) -> None:
        self.log.add(command, self.log.last_index + 1, 1)

    def send(self, message: dict[str, Any], name: str = "") -> bool:
        return self.outbox.send(PEER, message | ({"name": name} if name else {}))


@pytest.mark.parametrize("kind", sorted(PROMISES))
def test_a_promise_waits_for_what_the_log_had_recorded(kind: str) -> None:
    bench = Bench()
    bench.add_entry()
    assert bench.send({"type": kind})
    bench.outbox.settle()
    assert bench.links.sent == []
    bench.lane.run_one()
    assert bench.links.sent == [kind]
    assert len(bench.written) == 1
    assert bench.durable_turns == 1
    assert bench.log.durable_index == 1


def test_everything_else_leaves_at_once() -> None:
    bench = Bench()
    bench.add_entry()
    bench.send(PING)
    bench.send({"type": "append_entries"})
    assert bench.links.sent == ["ping", "append_entries"]


def test_a_promise_with_nothing_to_wait_for_leaves_at_once() -> None:
    bench = Bench()
    bench.send(PROMISE)
    assert bench.links.sent == ["next_node_idx"]


def test_a_vote_alone_is_something_to_wait_for() -> None:
    bench = Bench()
    bench.log.setCurrentTerm(3, "n2")
    bench.send({"type": "response_vote"})
    bench.outbox.settle()
    assert bench.links.sent == []
    bench.lane.run_one()
    assert bench.links.sent == ["response_vote"]
    assert bench.written[0].voted_for == "n2"


def test_one_block_at_a_time_and_the_rest_in_the_next_one() -> None:
    bench = Bench()
    bench.add_entry()
    bench.send(PROMISE, "first")
    bench.outbox.settle()
    for name in ("second", "third"):
        bench.add_entry()
        bench.send(PROMISE, name)
        bench.outbox.settle()
    assert len(bench.lane.jobs) == 1
    bench.lane.run_one()
    assert bench.links.sent == ["first"]
    bench.outbox.settle()
    bench.lane.run_one()
    assert bench.links.sent == ["first", "second", "third"]
    assert [len(block.entries) for block in bench.written] == [1, 2]
    assert bench.outbox.is_idle


def test_a_promise_made_while_a_block_is_written_waits_for_it() -> None:
    """It depends on that block, though on nothing behind it."""
    bench = Bench()
    bench.add_entry()
    bench.outbox.settle()
    bench.send(PROMISE, "late")
    assert bench.links.sent == []
    bench.lane.run_one()
    assert bench.links.sent == ["late"]


def test_a_large_change_is_durable_when_its_last_block_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "BLOCK_COMMANDS_SIZE_BYTES_MAX", 10)
    bench = Bench()
    for _ in range(3):
        bench.add_entry(b"\x01" * 10)
    bench.send(PROMISE)
    for _ in range(3):
        assert bench.links.sent == []
        bench.outbox.settle()
        bench.lane.run_one()
    assert bench.links.sent == ["next_node_idx"]


def test_without_a_disk_a_turn_makes_it_durable() -> None:
    bench = Bench(durable=False)
    bench.add_entry()
    bench.send(PROMISE)
    bench.outbox.settle()
    assert bench.links.sent == ["next_node_idx"]
    assert bench.log.durable_index == 1
    assert not bench.lane.jobs


def test_a_turn_ends_with_a_flush() -> None:
    bench = Bench()
    bench.outbox.settle()
    assert bench.links.flushes == 1


def test_after_an_error_of_the_disk_nothing_leaves_any_more() -> None:
    bench = Bench()
    bench.add_entry()
    bench.send(PROMISE)
    bench.outbox.settle()
    bench.disk_error = OSError("no space")
    bench.lane.run_one()
    assert bench.fatal == [bench.disk_error]
    assert not bench.send(PING)
    bench.add_entry()
    bench.outbox.settle()
    assert bench.links.sent == []
    assert not bench.lane.jobs


def test_after_an_error_of_the_engine_nothing_is_delivered_any_more() -> None:
    bench = Bench()
    received: list[Any] = []

    def handle(node: Node, message: Any) -> None:
        received.append(message)
        raise ZeroDivisionError

    bench.outbox.setOnMessageReceivedCallback(handle)
    bench.links._onMessageReceived(PEER, PING)
    bench.links._onMessageReceived(PEER, PING)
    assert [type(e) for e in bench.fatal] == [ZeroDivisionError]
    assert received == [PING]
    assert not bench.send(PING)


def test_what_could_not_leave_is_reported_even_when_it_was_held() -> None:
    bench = Bench()
    lost: list[str] = []
    bench.outbox.not_sent = lambda node, message: lost.append(message["type"])
    bench.add_entry()
    bench.send(PROMISE)
    bench.links.is_up = False
    assert not bench.send(PING)
    bench.outbox.settle()
    bench.lane.run_one()
    assert lost == ["ping", "next_node_idx"]


def test_a_promise_is_completed_when_it_is_made_not_when_it_leaves() -> None:
    """It says what was so at the moment it was promised."""
    bench = Bench()
    numbers = iter(range(10))
    bench.outbox.complete = lambda node, message: message | {"name": str(next(numbers))}
    bench.add_entry()
    bench.send(PROMISE)
    bench.send(PROMISE)
    bench.outbox.settle()
    bench.lane.run_one()
    assert bench.links.sent == ["0", "1"]
