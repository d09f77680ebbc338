"""Snapshots on the wire: sent to a lagging peer in chunks, received, verified and installed whole.

Files are read and written on the bulk lane. One chunk is on its way at a time; the receiver says
where to go on from, so a lost chunk or a restarted transfer needs nothing special.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from raftcache.errors import BadConfig, Corrupt
from raftcache.ports import Lane, Loader, StateMachine
from raftcache.raft.messages import Message
from raftcache.raft.snapshot_format import SnapshotMeta
from raftcache.raft.snapshots import RawReader, Receiver, SnapshotStore
from raftcache.raft.stock import Node

CHUNK_SIZE_BYTES: Final = 256 << 10
"""One piece of a snapshot: its work on the loop is about a millisecond."""

SendChunk: TypeAlias = Callable[[Node, Message], None]
Install: TypeAlias = Callable[[SnapshotMeta, Callable[[], None]], None]
"""install(meta, load): the snapshot is durable; load() puts its state in place."""

logger = logging.getLogger("raftcache.raft")


class _Transfer:
    """A snapshot on its way to one peer; raw is None until the file is open."""

    def __init__(self, node: Node, send_chunk: SendChunk) -> None:
        self.node, self.send_chunk = node, send_chunk
        self.raw: RawReader | None = None


class Sender:
    """The leader's side: at most one transfer to each peer."""

    def __init__(
        self, store: SnapshotStore, lane: Lane, on_fatal: Callable[[Exception], None]
    ) -> None:
        self._store, self._lane, self._on_fatal = store, lane, on_fatal
        self._transfers: dict[Node, _Transfer] = {}

    @property
    def is_busy(self) -> bool:
        """A snapshot is on its way to a peer."""
        return bool(self._transfers)

    def send(self, node: Node, send_chunk: SendChunk) -> None:
        """See that the newest snapshot is on its way to a peer; while it is, nothing more."""
        if node not in self._transfers:
            self._transfers[node] = transfer = _Transfer(node, send_chunk)
            self._lane.submit(
                self._store.open_newest, lambda raw, error: self._opened(transfer, raw, error)
            )

    def acknowledged(self, node: Node, index: int, offset: int) -> None:
        """The peer has everything below this offset of the snapshot of this index."""
        transfer = self._transfers.get(node)
        if transfer is not None and transfer.raw is not None and transfer.raw.meta.index == index:
            self._send_from(transfer, transfer.raw, offset)

    def installed(self, node: Node, match_index: int) -> None:
        """The peer holds everything up to match_index: a transfer of less is over."""
        transfer = self._transfers.get(node)
        if transfer is not None and transfer.raw and transfer.raw.meta.index <= match_index:
            self.stop(node)

    def stop(self, node: Node | None = None) -> None:
        """End the transfer to one peer, or all of them."""
        for stopped in [node] if node is not None else list(self._transfers):
            transfer = self._transfers.pop(stopped, None)
            if transfer is not None and transfer.raw is not None:
                self._close(transfer.raw)

    def _close(self, raw: RawReader) -> None:
        """On the lane, behind the read that may be under way; a pruned file takes up space."""
        self._lane.submit(raw.close, lambda _, e: self._on_fatal(e) if e else None)

    def _is_current(self, transfer: _Transfer) -> bool:
        return self._transfers.get(transfer.node) is transfer

    def _opened(self, transfer: _Transfer, raw: RawReader | None, error: Exception | None) -> None:
        if error is not None:
            self._on_fatal(error)
        elif self._is_current(transfer):
            assert raw is not None, "the log was cut, so there is a snapshot"
            transfer.raw = raw
            fields = {"to": transfer.node.id, "index": raw.meta.index}
            logger.info("sending a snapshot", extra=fields)
            self._send_from(transfer, raw, 0)
        elif raw is not None:
            self._close(raw)

    def _send_from(self, transfer: _Transfer, raw: RawReader, offset: int) -> None:
        def read(data: bytes | None, error: Exception | None) -> None:
            if error is not None:
                self._on_fatal(error)
            elif data is not None and self._is_current(transfer):
                last = offset + len(data) >= raw.size_bytes
                chunk = {"index": raw.meta.index, "index_term": raw.meta.term, "offset": offset}
                transfer.send_chunk(transfer.node, chunk | {"data": data, "last": last})

        self._lane.submit(lambda: raw.read(offset, CHUNK_SIZE_BYTES), read)


class _Arrival:
    """A snapshot on its way from a leader."""

    def __init__(self, index: int, index_term: int, loader: Loader) -> None:
        self.index, self.index_term, self.loader = index, index_term, loader
        self.offset = 0  # of the next chunk
        self.is_whole = False  # all of it is here, if not on the disk yet
        self.file: Receiver | None = None  # opened and used on the lane only
        self.meta: SnapshotMeta | None = None  # known when the file is finished

    def write(self, store: SnapshotStore, data: bytes, last: bool) -> list[bytes]:
        """On the lane: put the chunk into the file; returns the slices of the image in it."""
        if self.file is None:
            self.file = store.receive(self.index, self.index_term)
        slices = self.file.write(data)
        if last:
            self.meta = self.file.finish()
        return slices

    def abandon(self) -> None:
        """On the lane: leave nothing behind."""
        if self.file is not None:
            self.file.abort()


class Receiving:
    """The follower's side: at most one snapshot arriving; a new one replaces an unfinished one."""

    def __init__(
        self,
        store: SnapshotStore,
        lane: Lane,
        machine: StateMachine,
        on_progress: Callable[[], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._store, self._lane, self._machine = store, lane, machine
        self._on_progress, self._on_fatal = on_progress, on_fatal
        self._arrival: _Arrival | None = None
        self.installed = 0

    def receive(self, chunk: Message, acknowledge: Callable[[int], None], install: Install) -> None:
        """Take one chunk; then acknowledge(offset of the next), or after the last one install.

        A chunk that does not follow is dropped; one of another snapshot is answered with 0, so
        that its sender begins anew.
        """
        arrival = self._arrival
        if chunk["offset"] == 0:
            self._abandon()
            loader = self._machine.loader()
            arrival = self._arrival = _Arrival(chunk["index"], chunk["index_term"], loader)
        elif arrival is None or arrival.index != chunk["index"]:
            acknowledge(0)
            return
        if arrival.offset == chunk["offset"]:
            arrival.offset += len(chunk["data"])
            arrival.is_whole = chunk["last"]
            next_offset = arrival.offset

            def written(slices: list[bytes] | None, error: Exception | None) -> None:
                if self._arrival is not arrival:
                    return
                error = error or _feed(arrival.loader, slices or [])
                if error is not None:
                    self._refuse(error, acknowledge)
                    return
                if not chunk["last"]:
                    acknowledge(next_offset)
                else:
                    self._finish(arrival, install)
                self._on_progress()

            self._lane.submit(
                lambda: arrival.write(self._store, chunk["data"], chunk["last"]), written
            )

    def give_up(self) -> None:
        """Nobody goes on sending: remove what came, unless that is all. It may be gigabytes, half
        of them in memory, and this node may never be sent a snapshot again.
        """
        if self._arrival is not None and not self._arrival.is_whole:
            self._abandon()

    def stop(self) -> None:
        """Take no more; what came of an unfinished one is removed."""
        self._abandon()

    def _finish(self, arrival: _Arrival, install: Install) -> None:
        self._arrival = None
        self.installed += 1
        assert arrival.meta is not None
        try:
            install(arrival.meta, arrival.loader.install)
        except Exception as error:  # half installed: nothing may be built on that
            self._on_fatal(error)
            return
        logger.info("installed a snapshot", extra={"index": arrival.index})
        self._lane.submit(self._store.prune, lambda _, e: self._on_fatal(e) if e else None)

    def _refuse(self, error: Exception, acknowledge: Callable[[int], None]) -> None:
        """A damaged snapshot is dropped, and its sender begins anew; a bad disk is fatal.

        One that only a newer raftcache can read would be no better the next time: its sender is
        told nothing, and begins anew on the next link, when this node was upgraded.
        """
        self._abandon()
        logger.error("refused a snapshot", extra={"why": str(error)})
        if isinstance(error, Corrupt):
            acknowledge(0)
        elif not isinstance(error, BadConfig):
            self._on_fatal(error)

    def _abandon(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            self._lane.submit(arrival.abandon, lambda _, e: self._on_fatal(e) if e else None)


def _feed(loader: Loader, slices: list[bytes]) -> Exception | None:
    """What is wrong with the image, if anything is."""
    try:
        for piece in slices:
            loader.feed(piece)
    except (Corrupt, BadConfig) as error:
        return error
    return None
