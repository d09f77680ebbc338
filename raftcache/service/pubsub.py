"""Channels of this node: whoever listens here hears what is published anywhere, in one order.

Promise. From its confirmation on a subscriber is given every message of its channel, in the order
in which they were published, which is the same on all nodes, or it is cut off: by its door, if it
does not read, and by this node, if the state is too old (lateness.py), if a loaded image has left
messages out, or if there is more to deliver than WAITING_SIZE_BYTES_MAX. A message that was
acknowledged before is never delivered, neither does a node that starts deliver old ones again.

How. Messages pass through the log, and are noted when their batch is applied. A subscription begins
once this node has applied all that was acknowledged, and with the notes that come then. Work is
done in turns of STEPS_PER_TURN, or of as many steps as notes wait, so that who publishes pays for
what is delivered; between two turns the loop does other things.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Final, Protocol, TypeAlias

from raftcache.command.calls import Call
from raftcache.command.globs import GLOB_SIZE_BYTES_MAX, Glob, glob
from raftcache.errors import BadRequest, Overloaded, RaftcacheError
from raftcache.ports import Loop
from raftcache.service.kv import LINEARIZABLE, Kv
from raftcache.state.machine import Machine
from raftcache.state.notes import Flushed, KeyEvent, Message, Note

STEPS_PER_TURN: Final = 256
"""Deliveries, or patterns looked at, in one turn of the loop: about a millisecond."""

WAITING_SIZE_BYTES_MAX: Final = 64 << 20
"""Of notes that are not delivered to all who listen; more of them cut everybody off."""

NOTE_COST_BYTES: Final = 200
"""Of one that waits, besides what it says."""

SUBSCRIPTIONS_MAX: Final = 1 << 20
"""Of this node: each costs about half a kilobyte."""

PATTERNS_MAX: Final = 10_000
"""Of this node, different ones: each message is matched with all of them."""

SHOWS_KEY: Final = "K"
SHOWS_EVENT: Final = "E"
"""Of notify-keyspace-events: channels named by keys, and by events."""

logger = logging.getLogger("raftcache.pubsub")


class Scope(Enum):
    """What a subscription names."""

    CHANNEL = "channel"
    PATTERN = "pattern"
    SHARD = "shard channel"


class Delivery:
    """One message as a subscriber is told it; one object for all who are told the same.

    parts: message, channel and payload; pmessage and the pattern first for those of patterns.
    rendered: for the doors, which turn it into bytes once, by the protocol's version.
    """

    __slots__ = ("parts", "rendered")

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.rendered: dict[int, bytes] = {}


class Subscriber(Protocol):
    """One who listens. None of these may call the hub."""

    def deliver(self, delivery: Delivery) -> None: ...

    def cut_off(self, why: str) -> None:
        """It misses messages from here on: its connection must end."""
        ...


Done: TypeAlias = Callable[[RaftcacheError | None], None]

_Listeners: TypeAlias = dict[Subscriber, int]
"""Each with the number of the first note that it may hear."""


class PubSub:
    """All who listen at this node. All methods on the event loop."""

    def __init__(self, kv: Kv, machine: Machine, loop: Loop, key_events: str = "") -> None:
        """key_events: as in `key_events`."""
        self._kv, self._machine, self._loop = kv, machine, loop
        self._names: dict[Scope, defaultdict[bytes, _Listeners]] = {
            scope: defaultdict(dict) for scope in Scope
        }
        self._globs: dict[bytes, Glob] = {}
        self._count = 0
        self._waiting: deque[Note] = deque()
        self._waiting_size_bytes = 0
        self._first = 0  # the number of the first note that waits
        self._steps: Iterator[None] | None = None
        self._turn_due = False
        self._lost = ""
        self._delivered = self._cut_off = 0
        self._key_events = key_events
        machine.note_listeners.append(self._note)

    @property
    def key_events(self) -> str:
        """Which happenings to keys are told here, by the letters of Redis, without A."""
        return self._key_events

    @key_events.setter
    def key_events(self, events: str) -> None:
        self._key_events = events
        self._want()

    def gauges(self) -> dict[str, float]:
        """Numbers for /metrics; names without their prefix."""
        return {
            "subscriptions": self._count,
            "subscribed_channels": len(self._names[Scope.CHANNEL]),
            "subscribed_patterns": len(self._names[Scope.PATTERN]),
            "subscribed_shard_channels": len(self._names[Scope.SHARD]),
            "pubsub_deliveries": self._delivered,
            "subscribers_cut_off": self._cut_off,
        }

    # Subscribing.

    def subscribe(
        self, scope: Scope, names: Sequence[bytes], subscriber: Subscriber, done: Done
    ) -> None:
        """done(None) once it is told all that is published, or done(why it cannot be)."""
        if scope is Scope.PATTERN and max(map(len, names)) > GLOB_SIZE_BYTES_MAX:
            done(BadRequest(f"a pattern has at most {GLOB_SIZE_BYTES_MAX} bytes"))
            return

        def fresh(refused: RaftcacheError | None) -> None:
            refused = refused or self._too_many(scope, names)
            if refused is None:
                self._add(scope, names, subscriber)
            done(refused)

        self._kv.when_fresh(LINEARIZABLE, fresh)

    def _too_many(self, scope: Scope, names: Sequence[bytes]) -> Overloaded | None:
        if self._count + len(names) > SUBSCRIPTIONS_MAX:
            return Overloaded(f"this node has {self._count} subscriptions already")
        if scope is Scope.PATTERN and len(self._globs) + len(names) > PATTERNS_MAX:
            return Overloaded(f"this node has subscriptions of {len(self._globs)} patterns already")
        return None

    def _add(self, scope: Scope, names: Sequence[bytes], subscriber: Subscriber) -> None:
        begin = self._first + len(self._waiting)
        for name in names:
            listeners = self._names[scope][name]
            if subscriber not in listeners:
                listeners[subscriber] = begin
                self._count += 1
            if scope is Scope.PATTERN and name not in self._globs:
                self._globs[name] = glob(name)
        self._want()

    def unsubscribe(self, scope: Scope, names: Sequence[bytes], subscriber: Subscriber) -> None:
        """It is told nothing more of these; names that it does not listen to are ignored."""
        table = self._names[scope]
        for name in names:
            listeners = table.get(name)
            if listeners is None or listeners.pop(subscriber, None) is None:
                continue
            self._count -= 1
            if not listeners:
                del table[name]
                if scope is Scope.PATTERN:
                    del self._globs[name]
        self._want()

    def _want(self) -> None:
        """Ask for notes of what happens to keys, if they are of use to anybody."""
        shown = SHOWS_KEY in self._key_events or SHOWS_EVENT in self._key_events
        wanted = self._key_events if self._count and shown else ""
        self._machine.notes.wanted = wanted.replace(SHOWS_KEY, "").replace(SHOWS_EVENT, "")

    def cut_off_all(self, why: str) -> None:
        """Whoever listens must go to another node, or come again."""
        everybody = {each for table in self._names.values() for of in table.values() for each in of}
        for table in self._names.values():
            table.clear()
        self._globs.clear()
        self._count = 0
        self._want()
        for subscriber in everybody:
            self._end(subscriber, why)
        if everybody:
            logger.warning("all subscribers were cut off", extra={"why": why})

    def _end(self, subscriber: Subscriber, why: str) -> None:
        self._cut_off += 1
        try:
            subscriber.cut_off(why)
        except Exception:  # one subscriber's fault is not the others'
            logger.exception("a subscriber could not be cut off")

    def say(self, channel: bytes, payload: bytes) -> None:
        """A message of this node's own: to those who listen here, and to nobody elsewhere."""
        self._note([Message(channel, payload)])

    # Who listens.

    def receivers(self, call: Call) -> int:
        """How many here a PUBLISH or SPUBLISH reaches: as Redis counts them, of one node."""
        channel = call[1]
        if call[0] == b"SPUBLISH":
            return len(self._names[Scope.SHARD].get(channel, ()))
        count = len(self._names[Scope.CHANNEL].get(channel, ()))
        patterns = self._names[Scope.PATTERN]
        return count + sum([len(patterns[p]) for p, fits in self._globs.items() if fits(channel)])

    def channels(self, scope: Scope, pattern: bytes = b"*") -> list[bytes]:
        """Names that somebody listens to here; pattern: of at most GLOB_SIZE_BYTES_MAX."""
        fits = glob(pattern)
        return [name for name in self._names[scope] if pattern == b"*" or fits(name)]

    def listeners(self, scope: Scope, name: bytes) -> int:
        """How many listen to just this."""
        return len(self._names[scope].get(name, ()))

    # Delivering.

    def _note(self, notes: list[Note] | None) -> None:
        if not self._count:
            return
        if notes is None:
            self._lost = "messages were missed: this node has loaded a snapshot"
        else:
            self._waiting.extend(notes)
            self._waiting_size_bytes += sum(map(_size_bytes, notes))
            if self._waiting_size_bytes > WAITING_SIZE_BYTES_MAX:
                self._lost = f"more than {WAITING_SIZE_BYTES_MAX} bytes wait to be delivered here"
        self._wake()

    def _wake(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        if self._lost:
            self._give_up()
            return
        steps_max = max(STEPS_PER_TURN, len(self._waiting))
        steps = self._steps or self._walk()
        done = sum(1 for _ in islice(steps, steps_max))
        self._steps = steps if done == steps_max else None
        if self._steps is not None:
            self._wake()

    def _give_up(self) -> None:
        why, self._lost = self._lost, ""
        self._first += len(self._waiting)
        self._waiting.clear()
        self._waiting_size_bytes, self._steps = 0, None
        self.cut_off_all(why)

    def _walk(self) -> Iterator[None]:
        while self._waiting:
            note, number = self._waiting[0], self._first
            for message in self._messages(note):
                yield from self._spread(message, number)
            self._waiting.popleft()
            self._first += 1
            self._waiting_size_bytes -= _size_bytes(note)
            yield

    def _messages(self, note: Note) -> Iterator[Message]:
        if isinstance(note, Message):
            yield note
        if not isinstance(note, KeyEvent):
            return
        if SHOWS_KEY in self._key_events:
            yield Message(b"__keyspace@0__:" + note.key, note.event)
        if SHOWS_EVENT in self._key_events:
            yield Message(b"__keyevent@0__:" + note.event, note.key)

    def _spread(self, message: Message, number: int) -> Iterator[None]:
        """To all who listen, one at a step."""
        channel, payload = message.channel, message.payload
        if message.is_sharded:
            delivery = Delivery(b"smessage", channel, payload)
            yield from self._tell(Scope.SHARD, channel, number, delivery)
            return
        delivery = Delivery(b"message", channel, payload)
        yield from self._tell(Scope.CHANNEL, channel, number, delivery)
        for pattern, fits in list(self._globs.items()):
            if fits(channel):
                delivery = Delivery(b"pmessage", pattern, channel, payload)
                yield from self._tell(Scope.PATTERN, pattern, number, delivery)
            yield

    def _tell(self, scope: Scope, name: bytes, number: int, delivery: Delivery) -> Iterator[None]:
        for subscriber in list(self._names[scope].get(name, ())):
            # It may have left meanwhile, or come back.
            begin = self._names[scope].get(name, {}).get(subscriber)
            if begin is None or begin > number:
                continue
            self._delivered += 1
            try:
                subscriber.deliver(delivery)
            except Exception:  # one subscriber's fault is not the others'
                logger.exception("a subscriber could not be told a message")
                self._end(subscriber, "this node made a mistake; its log tells more")
            yield


def _size_bytes(note: Note) -> int:
    if isinstance(note, Flushed):
        return NOTE_COST_BYTES
    if isinstance(note, KeyEvent):
        return NOTE_COST_BYTES + len(note.key) + len(note.event)
    return NOTE_COST_BYTES + len(note.channel) + len(note.payload)
