"""Pub/sub for Redis clients: SUBSCRIBE and its like, and PUBSUB. PUBLISH is a call of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias

from raftcache.command.globs import GLOB_SIZE_BYTES_MAX
from raftcache.command.values import Failure, Value
from raftcache.errors import RaftcacheError
from raftcache.server.resp.client import Client
from raftcache.server.resp.encode import Pushes, encode_push
from raftcache.server.resp.reference import Request
from raftcache.server.resp.table import CallTable, Done
from raftcache.server.resp.words import wrong_subcommand
from raftcache.service.census import Census, Counts
from raftcache.service.census import Done as CountsDone
from raftcache.service.pubsub import Delivery, PubSub, Scope
from raftcache.service.wording import failure_of

_SAID: Final = {
    Scope.CHANNEL: (b"subscribe", b"unsubscribe"),
    Scope.PATTERN: (b"psubscribe", b"punsubscribe"),
    Scope.SHARD: (b"ssubscribe", b"sunsubscribe"),
}
"""What the client is told when it begins and ends to listen."""

HELP: Final = (
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
    "HELP",
    "    Prints this help.",
)


class Listener:
    """A client that listens; a Subscriber of the hub."""

    __slots__ = ("_client", "names")

    def __init__(self, client: Client) -> None:
        self._client = client
        self.names: dict[Scope, dict[bytes, None]] = {scope: {} for scope in Scope}

    def deliver(self, delivery: Delivery) -> None:
        protocol, rendered = self._client.protocol, delivery.rendered
        data = rendered.get(protocol)
        if data is None:
            data = rendered[protocol] = encode_push(list(delivery.parts), protocol)
        self._client.push_bytes(data)

    def cut_off(self, why: str) -> None:
        self._client.outlet.cut_off(why)

    def count(self, scope: Scope) -> int:
        """What Redis tells with each change: shard channels, or all others."""
        names = self.names
        if scope is Scope.SHARD:
            return len(names[scope])
        return len(names[Scope.CHANNEL]) + len(names[Scope.PATTERN])

    def show(self) -> None:
        """Tell the client's session how much it listens to."""
        names = self.names
        self._client.subscriptions = len(names[Scope.CHANNEL])
        self._client.patterns = len(names[Scope.PATTERN])
        self._client.shard_subscriptions = len(names[Scope.SHARD])


class Subscribing:
    """The room of these calls."""

    def __init__(self, hub: PubSub, census: Census | None = None) -> None:
        """census: if all nodes' subscribers are to be told of."""
        self._hub, self._census = hub, census
        self._listeners: dict[Client, Listener] = {}

    def add_to(self, table: CallTable) -> None:
        for name, scope in (("", Scope.CHANNEL), ("P", Scope.PATTERN), ("S", Scope.SHARD)):
            table.add_asking(
                f"{name}SUBSCRIBE", partial(self._subscribe, scope), is_refused_in_multi=True
            )
            table.add(
                f"{name}UNSUBSCRIBE", partial(self._unsubscribe, scope), is_refused_in_multi=True
            )
        for prefix, scope in (("", Scope.CHANNEL), ("SHARD", Scope.SHARD)):
            self._add(table, f"{prefix}CHANNELS", partial(_channels, scope))
            self._add(table, f"{prefix}NUMSUB", partial(_count, scope))
        self._add(table, "NUMPAT", _count_patterns)
        table.add("PUBSUB|HELP", lambda client, call: list(HELP))

    # Listening.

    def _subscribe(self, scope: Scope, client: Client, call: Request, done: Done) -> None:
        listener, names = self._listener(client), call[1:]

        def subscribed(refused: RaftcacheError | None) -> None:
            if refused is not None:
                done(failure_of(refused))
            elif self._listeners.get(client) is not listener:  # it has gone meanwhile
                self._hub.unsubscribe(scope, names, listener)
                done([])
            else:
                done(self._began(scope, names, listener))

        self._hub.subscribe(scope, names, listener, subscribed)

    def _listener(self, client: Client) -> Listener:
        listener = self._listeners.get(client)
        if listener is None:
            listener = self._listeners[client] = Listener(client)
            client.at_end.append(partial(self._forget, client))
        return listener

    def _began(self, scope: Scope, names: Sequence[bytes], listener: Listener) -> Value:
        said, told = _SAID[scope][0], []
        for name in names:
            listener.names[scope][name] = None
            told.append([said, name, listener.count(scope)])
        listener.show()
        return Pushes(told)

    def _unsubscribe(self, scope: Scope, client: Client, call: Request) -> Value:
        """From all of the scope, if none is named."""
        listener = self._listeners.get(client) or Listener(client)
        names: Sequence[bytes | None] = call[1:] or list(listener.names[scope]) or [None]
        said, told = _SAID[scope][1], []
        for name in names:
            if name is not None and name in listener.names[scope]:
                del listener.names[scope][name]
                self._hub.unsubscribe(scope, [name], listener)
            told.append([said, name, listener.count(scope)])
        listener.show()
        return Pushes(told)

    def _forget(self, client: Client) -> None:
        listener = self._listeners.pop(client)
        for scope, names in listener.names.items():
            self._hub.unsubscribe(scope, list(names), listener)
            names.clear()
        listener.show()

    # Who listens.

    def _add(self, table: CallTable, name: str, tell: Tell) -> None:
        """A call that asks all nodes, if that is wanted; within MULTI it asks this one."""
        here, census = _Here(self._hub), self._census

        def answer(client: Client, call: Request) -> Value:
            told: list[Value] = []
            tell(here, call, told.append)
            return told[0]

        if census is None:
            table.add(f"PUBSUB|{name}", answer)
        else:
            table.add_asking(
                f"PUBSUB|{name}",
                lambda client, call, done: tell(census, call, done),
                within_multi=answer,
            )


# -- who listens -------------------------------------------------------------------------------


class Counted(Protocol):
    """Who tells how many listen to what (service/census.py)."""

    def of_names(self, scope: Scope, names: Sequence[bytes], done: CountsDone) -> None: ...

    def of_pattern(self, scope: Scope, pattern: bytes, done: CountsDone) -> None: ...


Tell: TypeAlias = Callable[[Counted, Request, Done], None]


class _Here:
    """This node alone."""

    def __init__(self, hub: PubSub) -> None:
        self._hub = hub

    def of_names(self, scope: Scope, names: Sequence[bytes], done: CountsDone) -> None:
        done({name: self._hub.listeners(scope, name) for name in names})

    def of_pattern(self, scope: Scope, pattern: bytes, done: CountsDone) -> None:
        self.of_names(scope, self._hub.channels(scope, pattern), done)


def _channels(scope: Scope, counted: Counted, call: Request, done: Done) -> None:
    pattern = call[2] if len(call) == 3 else b"*"
    if len(call) > 3:
        done(wrong_subcommand(call))
    elif len(pattern) > GLOB_SIZE_BYTES_MAX:
        done(Failure(f"ERR a pattern has at most {GLOB_SIZE_BYTES_MAX} bytes"))
    else:
        counted.of_pattern(scope, pattern, _told(done, list))


def _count(scope: Scope, counted: Counted, call: Request, done: Done) -> None:
    def flat(counts: Counts) -> Value:
        return [each for name in call[2:] for each in (name, counts.get(name, 0))]

    counted.of_names(scope, call[2:], _told(done, flat))


def _count_patterns(counted: Counted, call: Request, done: Done) -> None:
    counted.of_pattern(Scope.PATTERN, b"*", _told(done, len))


def _told(done: Done, shape: Callable[[Counts], Value]) -> CountsDone:
    """What becomes of counts, or of why there are none."""
    return lambda got: done(failure_of(got) if isinstance(got, RaftcacheError) else shape(got))
