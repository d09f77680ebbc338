"""Links: how a node reaches its peers. One TCP connection per pair, greeted, kept alive, bounded.

It promises order on one connection and nothing else: any message may be lost with its connection,
and nothing of an old connection is delivered after a new one was announced. Raft repairs the rest.
It authenticates nobody: it only keeps strangers and mistakes apart (docs/decisions).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from raftcache.config import Address, parse_address
from raftcache.errors import BadConfig
from raftcache.ports import Clock, Dice
from raftcache.raft.complaints import Complaints
from raftcache.raft.dialling import Dialler, Peer
from raftcache.raft.doorkeeper import Doorkeeper
from raftcache.raft.frames import BadFrame, encode
from raftcache.raft.greetings import Identity, Life, Refusal, member_of
from raftcache.raft.members import Configuration, Member
from raftcache.raft.messages import HOLDS_ALL, PASSED_ON_SINCE, Message
from raftcache.raft.pace import USUAL, Pace
from raftcache.raft.peer import Connection, LinkCounters
from raftcache.raft.roll import Roll
from raftcache.raft.stock import Node, Transport

HALF_OPEN_MAX: Final = 64
"""Accepted connections that have not greeted yet; the oldest goes when there is one more, so that
strangers who say nothing cannot keep peers out."""

PROOF_SILENCES: Final = 2
"""A link that stands for so many silences after a second process came in its peer's name is one to
a process that lives: one silence may pass before it is noticed, and what was on its way may come
late."""

_ALIVE = encode({"type": "alive"})

_BETWEEN_LINKS: Final = frozenset(("alive", "refused", *PASSED_ON_SINCE))

logger = logging.getLogger("raftcache.raft")


class Links(Transport):  # type: ignore[misc]  # pysyncobj is untyped
    """A pysyncobj Transport on asyncio; everything happens on one loop.

    Calls back setOnNodeConnectedCallback(node), then setOnMessageReceivedCallback(node, message)
    any number of times, then setOnNodeDisconnectedCallback(node), exactly once for each connected.
    `on_activity` is called after a batch of messages was delivered. `send` and `flush` never call
    back; `dropNode`, `set_address` and `stop` may report a disconnection before they return. What
    a callback raises closes the link it was about, and goes to the loop's exception handler.
    """

    def __init__(
        self,
        identity: Identity,
        listen: Address,
        *,
        clock: Clock,
        dice: Dice,
        counters: LinkCounters,
        on_activity: Callable[[], None],
        pace: Pace = USUAL,
        elsewhere: Mapping[str, Address] | None = None,
    ) -> None:
        """elsewhere: by name, where a member may be, beside where the configuration has it."""
        super().__init__(None, None, [])
        self._identity, self._listen, self._pace = identity, listen, pace
        self._counters, self._on_activity = counters, on_activity
        self._peers: dict[str, Peer] = {}
        self._roll = Roll()
        proof_beats = pace.beats(PROOF_SILENCES * pace.silence_timeout_s)
        self._doorkeeper = Doorkeeper(identity, self._roll, self._peers, proof_beats)
        self.greeted: Callable[[Member], None] = lambda member: None
        self.removed: Callable[[str], None] = lambda why: None
        self.doubled: Callable[[str], None] = lambda why: None
        self.holds: Callable[[], int] = lambda: HOLDS_ALL
        self.acknowledged: Callable[[Node], int] = lambda node: 0
        self.takes_guests: Callable[[], bool] = lambda: False
        self.passed_on: dict[str, Callable[[str, Message], None]] = {}
        self.gone: Callable[[Node], None] = lambda node: None
        self._connections: set[Connection] = set()
        self._half_open: dict[Connection, None] = {}  # accepted, not greeted; the oldest first
        self._unflushed: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        complaints = Complaints(clock)
        self._complain = complaints.log
        self._dialler = Dialler(
            self, identity, counters, complaints, dice, pace, self._gone, elsewhere or {}
        )

    # -- start and stop --------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Started and not stopped; the engine does nothing before."""
        return self._server is not None

    @property
    def listening(self) -> Address:
        """Where this node can be reached; the real port where port 0 was asked for."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return Address(host, port)

    @property
    def linked(self) -> frozenset[str]:
        """The peers that this node has a link to now."""
        return frozenset(n for n, peer in self._peers.items() if peer.connection is not None)

    async def start(self) -> None:
        """Listen, and dial the peers known so far. Raises BadConfig if the address is not free."""
        assert self._server is None
        loop = asyncio.get_running_loop()
        host, port = self._listen.host, self._listen.port
        try:
            server = await loop.create_server(self._accept, host, port)
        except OSError as e:
            raise BadConfig(f"cannot listen for peers on {self._listen}: {e.strerror or e}") from e
        self._server = server
        self._timer = loop.call_later(self._pace.beat_s, self._beat)
        for peer in self._peers.values():
            self._redial(peer)

    async def stop(self) -> None:
        """Close everything; on return no task, socket or timer of this object is left."""
        self._close()
        await self._dialler.ended()
        while self._connections:
            await next(iter(self._connections)).closed.wait()

    def destroy(self) -> None:
        """pysyncobj's stop: calls nobody back any more, closes everything, does not wait."""
        self.setOnMessageReceivedCallback(None)
        self.setOnNodeConnectedCallback(None)
        self.setOnNodeDisconnectedCallback(None)
        self._close()

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._timer is not None:
            self._timer.cancel()
        self._server = self._timer = None
        for peer in list(self._peers.values()):
            self._hang_up(peer, "stopping")
        for connection in list(self._connections):
            connection.abort("stopping")

    # -- members ---------------------------------------------------------------------------------

    def addNode(self, node: Node) -> None:
        """Keep a link to this member from now on."""
        assert node.id != self._identity.name
        peer = self._peers.get(node.id)
        if peer is None:
            peer = self._peers[node.id] = Peer(node)
            self._redial(peer)
        elif peer.guest is not None:
            member, peer.guest = peer.guest, None
            self.greeted(member)
            self._redial(peer)

    def dropNode(self, node: Node) -> None:
        """Close the link to this member, and refuse it from now on."""
        peer = self._peers.get(node.id)
        if peer is not None:
            self._hang_up(peer, "no longer a member")
            del self._peers[node.id]

    def set_members(self, configuration: Configuration) -> None:
        """Where to dial the members, and which data each must have.

        A link to who would be refused now is closed; this may report its end before it returns.
        """
        self._roll.set_members(configuration)
        for member in configuration.members:
            if member.name != self._identity.name:
                self.set_address(member.name, parse_address(member.raft))
        for peer in list(self._peers.values()):
            link = peer.connection
            if link is None:
                continue
            link.is_other = self._roll.is_other(peer.node.id, link.life.member_id)
            refusal = self._roll.refusal(peer.node.id, link.life.member_id, link.members_version)
            if refusal is not None:
                self._part(link, refusal)

    def is_other(self, node: Node) -> bool:
        """Whether the peer greeted with other data than the configuration has for it."""
        link = self._connection_to(node)
        return link is not None and link.is_other

    def set_removed(self, member_ids: Collection[str]) -> None:
        """Who comes with this data is told that it was removed."""
        self._roll.set_removed(member_ids)

    def set_address(self, name: str, address: Address) -> None:
        """Where to dial a member from now on; a link that stands is kept."""
        if self._dialler.set_address(name, address):
            peer = self._peers.get(name)
            if peer is not None and peer.connection is None:
                self._hang_up(peer, "its address changed")
                self._redial(peer)

    def _redial(self, peer: Peer) -> None:
        if self.ready:
            self._dialler.dial(peer)

    def _hang_up(self, peer: Peer, why: str) -> None:
        self._dialler.stop(peer)
        if peer.connection is not None:
            self._part(peer.connection, why)

    # -- sending ---------------------------------------------------------------------------------

    def send(self, node: Node, message: Message) -> bool:
        """Queue a message for the next flush. False: there is no link, and it will not be sent."""
        peer = self._peers.get(node)
        if peer is None or (connection := peer.connection) is None:
            return False
        self._unflushed.add(connection)
        return connection.queue(encode(message))

    def pass_on(self, name: str, message: Message) -> bool:
        """Send what engines never see to who has said what becomes of it (`passed_on`, by type).

        It may get lost. False if it is not sent: there is no link, or it is too old.
        """
        connection = self._connection_to(name)
        if connection is None or connection.version < PASSED_ON_SINCE[message["type"]]:
            return False
        connection.send_now(encode(message))
        return True

    def flush(self) -> None:
        """Write what was queued since the last flush: one write for each peer."""
        if self._unflushed:
            for connection in self._unflushed:
                connection.flush()
            self._unflushed.clear()

    def _connection_to(self, name: str) -> Connection | None:
        peer = self._peers.get(name)
        return None if peer is None else peer.connection

    # -- what connections report -----------------------------------------------------------------

    def _accept(self) -> Connection:
        return Connection(self, self._counters)

    def on_open(self, connection: Connection) -> None:
        self._connections.add(connection)
        if not self.ready:
            connection.abort("stopping")
        elif connection.dialled is not None:
            connection.send_now(self._doorkeeper.hello(connection.dialled, self.holds()))
        else:
            self._half_open[connection] = None
            if len(self._half_open) > HALF_OPEN_MAX:
                oldest = next(iter(self._half_open))
                del self._half_open[oldest]
                self._counters.half_open_evictions += 1
                oldest.abort("too many half-open links")

    def on_messages(self, connection: Connection, messages: list[Message]) -> None:
        if connection.name is None:
            self._greet(connection, messages.pop(0))
        peer, delivered = self._peers.get(connection.name or ""), False
        for message in messages:
            if peer is None or peer.connection is not connection:
                break  # dropped by the handler of an earlier message
            if message["type"] in _BETWEEN_LINKS:
                self._take(connection, message)
            else:
                self._onMessageReceived(peer.node, message)
                delivered = True
        if delivered:
            self._on_activity()

    def _take(self, connection: Connection, message: Message) -> None:
        """What the engine never sees."""
        if message["type"] == "refused":
            self._refused(connection, message)
        elif (take := self.passed_on.get(message["type"])) is not None:
            take(str(connection.name), message)

    def on_bad_frame(self, connection: Connection, error: BadFrame) -> None:
        self._counters.bad_frames += 1
        self._complain("bad frame", connection.label, error.detail)
        self._part(connection, "bad frame")

    def on_closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._half_open.pop(connection, None)
        peer = self._peers.get(connection.name or "")
        by_itself = peer is not None and peer.connection is connection
        self._part(connection, connection.why)
        if peer is not None and by_itself and self.ready:
            self._dialler.probe(peer)

    def _gone(self, node: Node) -> None:
        self.gone(node)
        self._on_activity()

    # -- greeting and parting --------------------------------------------------------------------

    def _greet(self, connection: Connection, hello: Message) -> None:
        if hello["type"] == "refused":
            self._refused(connection, hello)
            return
        refusal = self._doorkeeper.refusal(hello, connection.dialled, self.takes_guests())
        if refusal is not None:
            self._refuse(connection, hello, refusal)
            return
        name = hello["name"]
        if connection.dialled is None:
            connection.send_now(self._doorkeeper.hello(name, self.holds()))
        member = member_of(hello)
        peer = self._peers.get(name) or Peer(Node(name), guest=member)
        if peer.guest is None:
            self.greeted(member)
        self._join(connection, peer, hello)

    def _join(self, connection: Connection, peer: Peer, hello: Message) -> None:
        """This is the link to the peer from now on; an older one may be half dead."""
        if peer.connection is not None:
            self._part(peer.connection, "replaced by a newer link")
        self._peers[peer.node.id] = peer  # a guest comes, and goes, with its link
        self._half_open.pop(connection, None)
        connection.greeted_by(hello)
        peer.let_in(connection)
        connection.is_other = self._roll.is_other(peer.node.id, connection.life.member_id)
        self._counters.connects += 1
        fields = {"incarnation": connection.life.incarnation, "version": connection.version}
        logger.info("link up", extra={"peer": peer.node.id, **fields})
        self._onNodeConnected(peer.node)

    def _part(self, connection: Connection, why: str) -> None:
        """Close the connection; if it was the link to a peer, say that there is none now."""
        connection.abort(why)
        self._unflushed.discard(connection)
        peer = self._peers.get(connection.name or "")
        if peer is not None and peer.connection is connection:
            peer.connection = None
            peer.lonely_beats = 0
            peer.acknowledged = max(peer.acknowledged, self.acknowledged(peer.node))
            if peer.guest is not None:
                del self._peers[peer.node.id]
            self._counters.disconnects += 1
            logger.info("link down", extra={"peer": peer.node.id, "reason": why})
            self._onNodeDisconnected(peer.node)

    def _refuse(self, connection: Connection, hello: Message, refusal: Refusal) -> None:
        me, them = self._identity, hello["name"][:100]
        self._counters.refused += 1
        peer = self._peers.get(hello["name"])
        if refusal is Refusal.IN_USE and peer is not None and peer.connection is not None:
            peer.connection.doubt(Life.of(hello))
        detail = (
            f"{them!r} of cluster {hello['cluster_id'][:100]!r} asked for {hello['to'][:100]!r}"
        )
        self._complain("link refused", them, refusal, detail=detail)
        connection.refuse(refusal, f"this is {me.name!r} of cluster {me.cluster_id!r}; {detail}")

    def _refused(self, connection: Connection, message: Message) -> None:
        self._counters.refused_by_peer += 1
        reason, detail = message["reason"][:100], message["detail"][:400]
        self._complain("link refused by peer", connection.label, reason, detail=detail)
        self._part(connection, "refused by the peer")
        if message["reason"] in (Refusal.REMOVED, Refusal.OTHER_DATA):
            self.removed(reason)
        elif message["reason"] in (Refusal.STALE, Refusal.COPY, Refusal.LOST):
            self.doubled(f"{reason} ({connection.label} says so)")

    # -- keep-alive and silence ------------------------------------------------------------------

    def _beat(self) -> None:
        pace = self._pace
        for connection in list(self._connections):
            connection.quiet_beats += 1
            connection.idle_beats += 1
            connection.rival_beats += 1
            greeted = connection.name is not None
            timeout_s = pace.silence_timeout_s if greeted else pace.handshake_timeout_s
            if connection.quiet_beats > pace.beats(timeout_s):
                self._counters.silences += 1
                self._part(connection, "silent" if greeted else "no greeting in time")
            elif greeted and connection.idle_beats >= pace.beats(pace.alive_after_s):
                connection.send_now(_ALIVE)
        self._dialler.beat(self._peers.values())
        self._timer = asyncio.get_running_loop().call_later(pace.beat_s, self._beat)
