"""One connection to a peer. `transport.py` owns connections.

A connection is dialled or accepted, greeted (each side has said who it is), and then carries
frames in order until it is closed. It decides nothing: what arrives goes to its owner.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Final, Protocol, cast

from raftcache.command.limits import FRAME_SIZE_BYTES_MAX
from raftcache.raft.frames import BadFrame, FrameDecoder, encode
from raftcache.raft.greetings import Life, Refusal, common_version
from raftcache.raft.messages import Message

PEER_BUFFER_SIZE_BYTES_MAX: Final = 32 << 20
"""What may wait for one peer: two frames of the largest size. A peer that is further behind is cut
off, which costs it nothing: Raft sends again what it lacks, from the log and in bounded pieces."""


@dataclass(slots=True)
class LinkCounters:
    """What happened since the node started; plain integers, for the metrics to read."""

    frames_sent: int = 0
    frames_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    connects: int = 0
    disconnects: int = 0
    dials_failed: int = 0
    peers_gone: int = 0
    """Links that ended because the peer's process had, as far as can be seen (probe.py)."""
    refused: int = 0
    """Greetings that this node refused."""
    refused_by_peer: int = 0
    bad_frames: int = 0
    slow_peers: int = 0
    """Links cut because more than PEER_BUFFER_SIZE_BYTES_MAX waited."""
    silences: int = 0
    """Links cut because nothing was heard in time, greetings included."""
    half_open_evictions: int = 0


class Owner(Protocol):
    """What a connection tells its owner, on the loop."""

    def on_open(self, connection: Connection) -> None: ...

    def on_messages(self, connection: Connection, messages: list[Message]) -> None:
        """At least one, in the order they were sent; never after the connection was closed."""
        ...

    def on_bad_frame(self, connection: Connection, error: BadFrame) -> None: ...

    def on_closed(self, connection: Connection) -> None:
        """Exactly once for each on_open, whoever closed it."""
        ...


class Connection(asyncio.Protocol):
    """One TCP connection; `name` is the peer's once it is known, `dialled` if this side dialled.

    version: of the protocol, agreed in the greetings; 0 before. What a newer version added must
    not be sent on a connection that speaks an older one.
    life and members_version: as the peer greeted.
    quiet_beats and idle_beats count the owner's beats since something was heard from the greeted
    peer (before that: since the connection was opened) and since something was sent.
    rival: another process that came in the name of this peer while this link stood, and
    rival_beats how long ago it first did.
    """

    def __init__(self, owner: Owner, counters: LinkCounters, dialled: str | None = None) -> None:
        self.dialled = dialled
        self.name: str | None = None
        self.version = self.members_version = 0
        self.life = Life("", 0, "")
        self.is_other = False
        """Its data is not what the configuration says; whoever knows that says so here."""
        self.is_open = False
        self.why = "closed by the peer"
        self.closed = asyncio.Event()
        self.quiet_beats = self.idle_beats = self.rival_beats = 0
        self.rival: Life | None = None
        self._owner, self._counters = owner, counters
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder()
        self._queue: list[bytes] = []
        self._queued_size_bytes = 0

    @property
    def label(self) -> str:
        """Whom to name in a log line, however little is known."""
        if self.name or self.dialled:
            return str(self.name or self.dialled)
        address = self._transport and self._transport.get_extra_info("peername")
        return str(address[0]) if address else "unknown"

    def greeted_by(self, hello: Message) -> None:
        """It is a link to who said this, which was not refused."""
        version = common_version(hello)
        assert version is not None, "else it is refused"
        self.name, self.version = hello["name"], version
        self.life, self.members_version = Life.of(hello), hello["members_version"]
        self.quiet_beats = 0

    def doubt(self, rival: Life) -> None:
        """Either the process at the other end has ended, and this link will, or there are two."""
        if self.rival != rival:
            self.rival, self.rival_beats = rival, 0

    # -- sending -------------------------------------------------------------------------------

    def queue(self, frame: bytes) -> bool:
        """Take a frame for the next flush. False if it will not be sent; never blocks."""
        if not self.is_open:
            return False
        assert self._transport is not None
        size_bytes = self._queued_size_bytes + len(frame)
        if size_bytes + self._transport.get_write_buffer_size() > PEER_BUFFER_SIZE_BYTES_MAX:
            self._counters.slow_peers += 1
            self.abort("too slow")
            return False
        self._queue.append(frame)
        self._queued_size_bytes = size_bytes
        return True

    def flush(self) -> None:
        """Hand everything queued to the system, in one write."""
        if self._queue and self.is_open:
            assert self._transport is not None
            # One piece is sent now. uvloop keeps several until its round ends: by then the log's
            # thread has been woken for a block, and waits for the interpreter.
            self._transport.write(b"".join(self._queue))
            counters = self._counters
            counters.frames_sent += len(self._queue)
            counters.bytes_sent += self._queued_size_bytes
            self.idle_beats = 0
        self._queue, self._queued_size_bytes = [], 0

    def send_now(self, frame: bytes) -> None:
        self.queue(frame)
        self.flush()

    def refuse(self, refusal: Refusal, detail: str) -> None:
        """Say why, and close."""
        self.send_now(encode({"type": "refused", "reason": refusal, "detail": detail}))
        self.is_open, self.why = False, f"refused: {refusal}"
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: str) -> None:
        """Close at once: nothing that waits is sent, nothing more is received."""
        if self.is_open:
            self.is_open, self.why = False, why
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # A frame is one write: waiting to fill a packet (Nagle) would only delay it.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_open = True
        self._owner.on_open(self)

    def data_received(self, data: bytes) -> None:
        if not self.is_open:
            return
        if self.name is not None:  # a stranger gains no time by sending its hello byte by byte
            self.quiet_beats = 0
        counters = self._counters
        counters.bytes_received += len(data)
        try:
            messages = self._decoder.feed(data)
        except BadFrame as error:
            self._owner.on_bad_frame(self, error)
            return
        counters.frames_received += len(messages)
        if messages:
            self._owner.on_messages(self, messages)

    def connection_lost(self, error: Exception | None) -> None:
        """The end; heard once, however often it is said."""
        if self.closed.is_set():
            return
        if self.is_open and error is not None:
            self.why = str(error) or type(error).__name__
        self.is_open = False
        self.closed.set()
        if self._transport is not None:
            self._owner.on_closed(self)


assert PEER_BUFFER_SIZE_BYTES_MAX >= 2 * FRAME_SIZE_BYTES_MAX
