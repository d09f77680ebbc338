"""One client of the Redis protocol, as those see it who answer its calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, Protocol

from raftcache.command.calls import Call
from raftcache.command.values import RESP2, Value
from raftcache.server.resp.encode import encode_push
from raftcache.server.resp.reference import Request
from raftcache.service.kv import LINEARIZABLE, Want
from raftcache.service.pipeline import Wrote


class Outlet(Protocol):
    """Where the bytes for a client go."""

    is_paused: bool
    """The client does not read; nothing more should be said, but for what cannot wait."""

    @property
    def is_ending(self) -> bool:
        """Whether it closes when what is being done is answered: the client sends nothing more."""
        ...

    def write(self, data: bytes) -> None:
        """Send it behind what was written before."""
        ...

    def write_soon(self, data: bytes) -> None:
        """The same at the end of this turn of the loop, for there may be more."""
        ...

    def idle(self) -> None:
        """All calls that were taken are answered."""
        ...

    def answer(self, data: bytes) -> None:
        """Send what answers the last of them: as write and idle, in one."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Call it in the next turn of the loop."""
        ...

    def end(self) -> None:
        """Hear nothing more, and close when all that was written has been sent."""
        ...

    def cut_off(self, why: str) -> None:
        """Close at once."""
        ...

    @property
    def unsent_size_bytes(self) -> int: ...

    @property
    def unread_size_bytes(self) -> int: ...


class Nowhere:
    """The Outlet of clients that have gone.

    With their own one they would keep each other alive until Python's collector looks at all there
    is, which takes 30 ms for a million keys.
    """

    is_paused = is_ending = False
    unsent_size_bytes = unread_size_bytes = 0

    def write(self, data: bytes) -> None:
        pass

    def write_soon(self, data: bytes) -> None:
        pass

    def idle(self) -> None:
        pass

    def answer(self, data: bytes) -> None:
        pass

    def soon(self, callback: Callable[[], None]) -> None:
        pass

    def end(self) -> None:
        pass

    def cut_off(self, why: str) -> None:
        pass


NOWHERE: Final = Nowhere()


class Mute(Enum):
    """What CLIENT REPLY asked for."""

    NO = "on"
    ALL = "off"
    NEXT = "skip the next"
    THIS = "skip this"


class Idempotency:
    """The numbers of a connection's writes: a token is the id, a colon and the number.

    is_held: one of them has no answer for good; nothing is done behind it until the client says
        from which number it goes on. awaited: it was a script that this node did not know;
        when that call comes again, by source or by name, it goes on, too.
    """

    __slots__ = ("awaited", "id", "is_held", "number")

    def __init__(self, id: bytes, number: int) -> None:
        self.id, self.number, self.is_held = id, number, False
        self.awaited: Call | None = None

    def await_script(self, call: Call) -> None:
        """It names one that this node does not know; others may, where it has a number."""
        if not self.is_held:
            self.is_held, self.awaited = True, call

    def next(self) -> bytes:
        """The token of the next write."""
        number = self.number
        self.number += 1
        return b"%b:%d" % (self.id, number)


class Queue:
    """What MULTI has queued. is_broken: one of the calls was refused, so EXEC will be.

    long: so many of them are.
    """

    __slots__ = ("calls", "is_broken", "long", "size_bytes")

    def __init__(self) -> None:
        self.calls: list[Request] = []
        self.size_bytes = self.long = 0
        self.is_broken = False


class Client:
    """Who is connected, what was agreed with it, and ways to reach it.

    subscriptions, patterns, shard_subscriptions: how many channels, patterns and shard channels it
        listens to; whoever serves them keeps the numbers. While there are any, RESP2 has few other
        calls.
    before_reads, after_reads: told of the calls of data of a stage before they are run, and when
        they were answered. wrote: told of the first and last revision that a stage made.
    caching: what CLIENT CACHING said of the next call; None for nothing.
    at_end: called once each, when the client has gone or asked for a RESET.
    """

    __slots__ = (
        "active_s",
        "address",
        "after_reads",
        "at_end",
        "before_reads",
        "caching",
        "came_s",
        "id",
        "idempotency",
        "is_blocked",
        "is_trusted",
        "last_call",
        "library",
        "library_version",
        "local_address",
        "mute",
        "name",
        "outlet",
        "patterns",
        "protocol",
        "queue",
        "redirect",
        "shard_subscriptions",
        "subscriptions",
        "want",
        "watched",
        "wrote",
    )

    def __init__(self, outlet: Outlet, id: int, address: str, local_address: str) -> None:
        self.outlet = outlet
        self.id, self.address, self.local_address = id, address, local_address
        self.came_s = self.active_s = 0.0
        self.last_call = b""
        self.library = self.library_version = b""
        self.at_end: list[Callable[[], None]] = []
        self.is_trusted = True
        """Has said the password, if there is one."""
        self.is_blocked = False
        """The call under way waits for something to happen."""
        self.mute = Mute.NO
        self.redirect = -1
        """Whom invalidations go to: an id, 0 for itself, -1 for nobody."""
        self.forget()

    def forget(self) -> None:
        """As after connecting; for RESET. Who is connected stays, and its password is not asked."""
        self.protocol = RESP2
        self.name = b""
        if self.mute is not Mute.THIS:  # the RESET itself is what is not to be answered
            self.mute = Mute.NO
        self.want: Want = LINEARIZABLE
        self.watched: dict[bytes, int] = {}
        """WATCH: keys, and their revisions then."""
        self.queue: Queue | None = None
        """Between MULTI and EXEC."""
        self.idempotency: Idempotency | None = None
        self.subscriptions = self.patterns = self.shard_subscriptions = 0
        self.before_reads: Callable[[list[Request]], None] | None = None
        self.after_reads: Callable[[], None] | None = None
        self.wrote: Wrote | None = None
        self.caching: bool | None = None

    def end(self) -> None:
        """Let go of what others hold for it."""
        at_end, self.at_end = self.at_end, []
        for undo in at_end:
            undo()

    def push(self, values: list[Value]) -> None:
        """Send what answers no call, after all answers given so far."""
        self.push_bytes(encode_push(values, self.protocol))

    def push_bytes(self, data: bytes) -> None:
        """The same, in bytes already."""
        self.outlet.write_soon(data)

    @property
    def has_gone(self) -> bool:
        """Whether its connection has ended: nothing may be agreed with it any more."""
        return self.outlet is NOWHERE

    @property
    def listens(self) -> bool:
        """Whether it listens to anything."""
        return bool(self.subscriptions or self.patterns or self.shard_subscriptions)

    def set_protocol(self, protocol: int) -> None:
        """From the next answer on."""
        self.protocol = protocol

    def unblock(self, value: Value) -> bool:
        """Answer the call that waits for something with value instead; False if none does."""
        return False

    def leave(self) -> None:
        """Take no further calls, and close when the answers given so far have been sent."""
        self.outlet.end()


FIRST_ID: Final = 1


class Clients:
    """All who are connected, by their ids."""

    def __init__(self) -> None:
        self._by_id: dict[int, Client] = {}
        self._next_id = FIRST_ID

    def new_id(self) -> int:
        id, self._next_id = self._next_id, self._next_id + 1
        return id

    def add(self, client: Client) -> None:
        self._by_id[client.id] = client

    def discard(self, client: Client) -> None:
        self._by_id.pop(client.id, None)

    def get(self, id: int) -> Client | None:
        return self._by_id.get(id)

    def __iter__(self) -> Iterator[Client]:
        """In the order of their coming; may change meanwhile."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)
