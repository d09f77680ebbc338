"""Snapshots: taken beside the service, sent to a lagging peer in chunks, installed whole.

Stands where pysyncobj has its Serializer. The image is written slice by slice: one slice on the
event loop, then its write on the bulk lane, then the next, so that neither the loop nor the log's
fdatasync waits long. A snapshot counts only once it is verified, complete and durable.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

from raftcache.errors import Corrupt
from raftcache.ports import Lane, StateMachine
from raftcache.raft.log import Log
from raftcache.raft.snapshots import (
    RawReader,
    Receiver,
    SnapshotMeta,
    SnapshotStore,
    SnapshotWriter,
)
from raftcache.raft.stock import SERIALIZER_STATE, Node

CHUNK_SIZE_BYTES: Final = 256 << 10
"""One piece of a snapshot on the wire; the next one leaves when it was acknowledged."""

Message = dict[str, Any]
logger = logging.getLogger("raftcache.raft")


class Compactor:
    """One node's snapshots: at most one being taken, one being received, one sent per peer."""

    def __init__(
        self,
        store: SnapshotStore,
        lane: Lane,
        machine: StateMachine,
        describe: Callable[[int, int], SnapshotMeta],
        trailing_entries: int,
        trailing_size_bytes: int,
        on_progress: Callable[[], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """describe(index, term): the header of a snapshot taken of the machine as it is now.

        on_progress is called when something finished on the lane: the engine should tick.
        """
        self._store, self._lane, self._machine = store, lane, machine
        self._describe = describe
        self._trailing_entries, self._trailing_size_bytes = trailing_entries, trailing_size_bytes
        self._on_progress, self._on_fatal = on_progress, on_fatal
        self._taking: Iterator[bytes] | None = None
        self._state = SERIALIZER_STATE.NOT_SERIALIZING
        self._forget_to = 0
        self._senders: dict[Node, _Sender] = {}
        self._incoming: _Incoming | None = None
        self.taken = 0
        self.installed = 0

    # -- taking: what pysyncobj asks of a serializer -----------------------------------------------

    def checkSerializing(self) -> tuple[int, int]:
        """The state of the snapshot being taken; SUCCESS and FAILED are reported once."""
        state = self._state
        if state in (SERIALIZER_STATE.SUCCESS, SERIALIZER_STATE.FAILED):
            self._state = SERIALIZER_STATE.NOT_SERIALIZING
        return state, self._forget_to

    def serialize(self, data: tuple[Any, ...], forget_to: int) -> None:
        """Begin a snapshot of the machine as it is now; the engine calls this between applies.

        data is pysyncobj's: (its own state, last applied entry, the one before, members).
        """
        _, index, term = data[1]
        self._state, self._forget_to = SERIALIZER_STATE.SERIALIZING, forget_to
        self._taking = self._machine.dump()
        meta = self._describe(index, term)
        self._lane.submit(lambda: self._store.writer(meta), self._begun)

    def _begun(self, writer: SnapshotWriter | None, error: Exception | None) -> None:
        if writer is None:
            self._ended(error)
        else:
            self._next_slice(writer)

    def _next_slice(self, writer: SnapshotWriter) -> None:
        assert self._taking is not None
        piece = next(self._taking, None)
        if piece is None:
            self._taking = None
            self._lane.submit(writer.finish, lambda _, error: self._ended(error))
        else:
            self._lane.submit(
                lambda: writer.write(piece),
                lambda _, error: self._ended(error) if error else self._next_slice(writer),
            )

    def _ended(self, error: Exception | None) -> None:
        self._taking = None
        if error is None:
            self.taken += 1
            self._state = SERIALIZER_STATE.SUCCESS
            self._senders.clear()  # what was being sent may be pruned now
            self._lane.submit(self._store.prune, lambda _, e: self._on_fatal(e) if e else None)
            self._on_progress()
        else:  # the log stays as it is, so nothing is lost; a full disk will stop it soon enough
            logger.error("snapshot failed", extra={"error": str(error)})
            self._state = SERIALIZER_STATE.FAILED
            self._on_fatal(error)

    def keep_from(self, log: Log, index: int) -> int:
        """The first index to keep in the log when everything below `index` is in a snapshot."""
        keep, size_bytes = index, 0
        while keep - 1 > log.first_index and index - keep < self._trailing_entries:
            size_bytes += len(log[keep - 1 - log.first_index][0])
            if size_bytes > self._trailing_size_bytes:
                break
            keep -= 1
        return keep

    # -- sending -----------------------------------------------------------------------------------

    def send(self, node: Node, send_chunk: Callable[[Node, Message], None]) -> None:
        """See to it that the newest snapshot is on its way to a peer; calls while it is, do nothing."""
        if node not in self._senders:
            self._senders[node] = sender = _Sender(node, send_chunk)
            self._lane.submit(
                self._store.open_newest, lambda raw, error: self._opened(sender, raw, error)
            )

    def acknowledged(self, node: Node, index: int, offset: int) -> None:
        sender = self._senders.get(node)
        if sender is not None and sender.raw is not None and sender.raw.meta.index == index:
            self._send_from(sender, sender.raw, offset)

    def stop_sending(self, node: Node | None = None) -> None:
        if node is None:
            self._senders.clear()
        else:
            self._senders.pop(node, None)

    def _opened(self, sender: _Sender, raw: RawReader | None, error: Exception | None) -> None:
        if error is not None:
            self._on_fatal(error)
        elif raw is None or self._senders.get(sender.node) is not sender:
            self._senders.pop(sender.node, None)
        else:
            sender.raw = raw
            logger.info("sending snapshot", extra={"to": sender.node.id, "index": raw.meta.index})
            self._send_from(sender, raw, 0)

    def _send_from(self, sender: _Sender, raw: RawReader, offset: int) -> None:
        def read(data: bytes | None, error: Exception | None) -> None:
            if error is not None:
                self._on_fatal(error)
            elif data is not None and self._senders.get(sender.node) is sender:
                last = offset + len(data) >= raw.size_bytes
                chunk = {"index": raw.meta.index, "index_term": raw.meta.term, "offset": offset}
                sender.send_chunk(sender.node, chunk | {"data": data, "last": last})
                if last:
                    del self._senders[sender.node]

        self._lane.submit(lambda: raw.read(offset, CHUNK_SIZE_BYTES), read)

    # -- receiving -----------------------------------------------------------------------------------

    def receive(
        self,
        chunk: Message,
        acknowledge: Callable[[int], None],
        install: Callable[[int, int, Callable[[], None]], None],
    ) -> None:
        """Take one chunk; acknowledge(next offset), or after the last one install(index, term, load).

        A chunk out of order is dropped, and the sender told where to go on from.
        """
        if chunk["offset"] == 0:
            if self._incoming is not None:
                self._incoming.abandoned = True
            self._incoming = _Incoming(chunk["index"], chunk["index_term"])
        incoming = self._incoming
        if incoming is None or incoming.index != chunk["index"]:
            acknowledge(0)
            return
        if incoming.offset != chunk["offset"]:
            return
        incoming.offset += len(chunk["data"])
        data, last, offset = chunk["data"], chunk["last"], incoming.offset

        def work() -> list[bytes]:
            if incoming.receiver is None:
                incoming.receiver = self._store.receive(incoming.index, incoming.index_term)
            slices = incoming.receiver.write(data)
            if last:
                incoming.receiver.finish()
            return slices

        def done(slices: list[bytes] | None, error: Exception | None) -> None:
            if incoming.abandoned:
                return
            if error is not None or slices is None:
                self._incoming = None
                logger.error("snapshot refused", extra={"error": str(error)})
                if not isinstance(error, Corrupt):
                    self._on_fatal(error or AssertionError("no slices"))
                return
            if incoming.loader is None:
                incoming.loader = self._machine.loader()
            for piece in slices:
                incoming.loader.feed(piece)
            if last:
                self._incoming = None
                self.installed += 1
                install(incoming.index, incoming.index_term, incoming.loader.install)
                self._lane.submit(self._store.prune, lambda _, e: self._on_fatal(e) if e else None)
            else:
                acknowledge(offset)
            self._on_progress()

        self._lane.submit(work, done)


class _Sender:
    """A snapshot on its way to one peer."""

    def __init__(self, node: Node, send_chunk: Callable[[Node, Message], None]) -> None:
        self.node, self.send_chunk = node, send_chunk
        self.raw: RawReader | None = None


class _Incoming:
    """A snapshot on its way from a leader."""

    def __init__(self, index: int, index_term: int) -> None:
        self.index, self.index_term = index, index_term
        self.offset = 0
        self.receiver: Receiver | None = None
        self.loader: Any = None
        self.abandoned = False
