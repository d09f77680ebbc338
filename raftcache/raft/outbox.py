"""Persist, then send: the order of effects of one node.

The engine sends through an Outbox. A message that promises something about this node's log or
vote is held until everything the log had recorded by then is on stable storage; all others leave
at once, so that a slow disk holds up neither heartbeats nor reads. One block is written at a time;
what arrives meanwhile goes into the next one, so that one fdatasync serves many.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from raftcache.ports import Lane
from raftcache.raft.entries import Block
from raftcache.raft.log import Log
from raftcache.raft.members import Configuration
from raftcache.raft.messages import Message
from raftcache.raft.places import Place
from raftcache.raft.stock import Node, Transport

PROMISES: Final = frozenset(("next_node_idx", "request_vote", "response_vote"))
"""An acknowledged entry, a candidacy (a vote for oneself) and a vote must survive a crash."""


class Outbox(Transport):  # type: ignore[misc]  # pysyncobj is untyped
    """The engine's transport: the links, behind the disk."""

    def __init__(
        self,
        links: Transport,
        log: Log,
        write: Callable[[Block], Place | None] | None,
        lane: Lane,
        on_durable: Callable[[], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """write: makes a block durable, on the lane, and says where; None: nothing needs to be.

        on_durable is called on the loop when more has become durable. on_fatal is called with an
        error of the disk, or of the engine as it handled a message: from then on nothing is
        delivered, written or sent any more.
        """
        super().__init__(None, None, [])
        self._links, self._log, self._write, self._lane = links, log, write, lane
        self._on_durable, self._on_fatal = on_durable, on_fatal
        self._held: list[tuple[Node, Message]] = []  # depend on what is not even being written
        self._next: list[tuple[Node, Message]] = []  # depend on the block being written
        self._writing: Block | None = None
        self._failed = False
        self.complete: Callable[[Node, Message], Message] = lambda node, message: message
        """Of a message that promises something: what else it says, as of when it was made."""
        self.not_sent: Callable[[Node, Message], None] = lambda node, message: None
        links.setOnNodeConnectedCallback(self._guarded(self._onNodeConnected))
        links.setOnNodeDisconnectedCallback(self._guarded(self._onNodeDisconnected))

    # -- pysyncobj's Transport -----------------------------------------------------------------

    ready = True

    def tryGetReady(self) -> None:
        pass

    def setOnMessageReceivedCallback(self, callback: Callable[[Node, Message], None]) -> None:
        """Straight from the links: it is called for every message."""
        self._links.setOnMessageReceivedCallback(self._guarded(callback))

    def addNode(self, node: Node) -> None:
        self._links.addNode(node)

    def dropNode(self, node: Node) -> None:
        self._links.dropNode(node)

    def set_members(self, configuration: Configuration) -> None:
        """The configuration that counts: where members are, and with which data."""
        self._links.set_members(configuration)

    def is_other(self, node: Node) -> bool:
        """Whether who speaks for this member has other data than the configuration says."""
        return bool(self._links.is_other(node))

    def set_removed(self, member_ids: Collection[str]) -> None:
        """Members with this data were removed for good, and are told so when they greet."""
        self._links.set_removed(member_ids)

    def destroy(self) -> None:
        self._links.destroy()

    def send(self, node: Node, message: Message) -> bool:
        """Send now, or once what it promises is durable. False: it never left this node."""
        if self._failed:
            return False
        if message["type"] in PROMISES:
            message = self.complete(node, message)
            if self._log.has_pending:
                self._held.append((node, message))
                return True
        if self._links.send(node, message):
            return True
        self.not_sent(node, message)
        return False

    def close(self) -> None:
        """From now on nothing is delivered, written or sent any more."""
        self._failed = True
        self._held, self._next = [], []

    # -- the disk --------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing waits for the disk."""
        return self._writing is None and not self._log.has_pending

    def settle(self) -> None:
        """End a turn: push out what may leave, and start writing what it recorded."""
        self._links.flush()
        if self._writing is None and not self._failed:
            block = self._log.take_block()
            if block is not None:
                self._begin(block)

    def _begin(self, block: Block) -> None:
        write = self._write
        if not self._log.has_untaken:  # a large change comes in several blocks: wait for the last
            self._next, self._held = self._held, []
        if write is None:
            self._log.block_durable(block)
            self._release()
            self._on_durable()
            self._links.flush()
            return
        self._writing = block
        self._lane.submit(lambda: write(block), self._written)

    def _written(self, place: Place | None, error: Exception | None) -> None:
        block, self._writing = self._writing, None
        assert block is not None
        if error is not None:
            self._fail(error)
        elif not self._failed:
            self._log.block_durable(block, place)
            self._release()
            self._on_durable()

    def _guarded(self, handle: Callable[..., None]) -> Callable[..., None]:
        """The engine's handler; an error in it ends the node, instead of one link."""

        def guarded(*args: object) -> None:
            if not self._failed:
                try:
                    handle(*args)
                except Exception as error:
                    self._fail(error)

        return guarded

    def _fail(self, error: Exception) -> None:
        self.close()
        self._on_fatal(error)

    def _release(self) -> None:
        due, self._next = self._next, []
        if not self._log.has_pending:  # held while the block was written, and owed nothing more
            due, self._held = due + self._held, []
        for node, message in due:
            if not self._links.send(node, message):
                self.not_sent(node, message)
