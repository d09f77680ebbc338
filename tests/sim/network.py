"""Links between members: in order while they last, late, cut, one-way or for a while not at all.

Whose link has ended looks whether anybody listens at the other end (raft/probe.py). Nobody does
where a process has ended, and a firewall may say the same of one that lives.

A link has an *epoch*, raised when it is cut and when it is made. A message belongs to the epoch it
was sent in, and is lost with it; each end learns of a cut in its own time, and a new link is made
only once both ends know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from pysyncobj.transport import Transport

from raftcache.raft import frames
from raftcache.raft.dialling import Peer
from raftcache.raft.doorkeeper import Doorkeeper
from raftcache.raft.greetings import Identity, Refusal
from raftcache.raft.members import Configuration
from raftcache.raft.members import Member as MemberRecord
from raftcache.raft.messages import HOLDS_ALL
from raftcache.raft.peer import Connection, LinkCounters
from raftcache.raft.roll import Roll
from raftcache.raft.stock import Node
from tests.sim import editions

if TYPE_CHECKING:
    from tests.sim.member import Host
    from tests.sim.world import World

Message: TypeAlias = dict[str, Any]

LATENCY_S_MIN = 0.0005
CALM_DELAY_S_MAX = 0.01
PROBE_S_MAX = 0.01
LONELY_S = 2.0
"""Who has no link for so long dials although it is the other one's turn, or one that refuses."""
DOUBLED = (Refusal.STALE, Refusal.COPY, Refusal.LOST)
"""Who is told so has data that must not be used any more."""


class Greeting(NamedTuple):
    """What a member says when a link is made."""

    member: MemberRecord
    members_version: int
    """Of the latest configuration it knows."""
    frame: Message
    """All of it, as greetings.py has it."""

    @property
    def claim(self) -> tuple[str, str, int]:
        """Its name, its data and the version, as the roll judges them."""
        return self.member.name, self.member.id, self.members_version


class SimLinks(Transport):
    """One member's end of its links: a pysyncobj Transport, by the rules of transport.py."""

    ready = True

    def __init__(self, network: Network, name: str) -> None:
        super().__init__(None, None, [])
        self._network, self._name = network, name
        self._queue: list[tuple[str, int, Message]] = []
        self._linked: set[str] = set()  # the engine knows
        self._greetings: dict[str, Greeting] = {}  # of who is linked
        self.roll = Roll()
        self.peers: dict[str, Peer] = {}
        self.epochs: dict[str, int] = {}
        """peer -> the epoch of the link that this end knows of"""
        self.started = False
        self.greeted: Callable[[MemberRecord], None] = lambda member: None
        self.removed: Callable[[str], None] = lambda why: None
        self.doubled: Callable[[str], None] = lambda why: None
        self.holds: Callable[[], int] = lambda: HOLDS_ALL
        self.acknowledged: Callable[[Node], int] = lambda node: 0
        self.takes_guests: Callable[[], bool] = lambda: False
        self.gone: Callable[[Node], None] = lambda node: None

    def tryGetReady(self) -> None: ...
    def waitReady(self) -> None: ...
    def destroy(self) -> None: ...

    # -- members ---------------------------------------------------------------------------------

    def addNode(self, node: Node) -> None:
        peer = self.peers.setdefault(node.id, Peer(node))
        if peer.guest is not None:
            guest, peer.guest = peer.guest, None
            self.greeted(guest)
        elif self.started:
            self._network.dial(self._name, node.id)

    def dropNode(self, node: Node) -> None:
        if self.epochs.get(node.id) is not None:
            self._network.cut(self._name, node.id)
            self.down(node.id)
        self.peers.pop(node.id, None)

    def set_members(self, configuration: Configuration) -> None:
        self.roll.set_members(configuration)
        for name, hello in list(self._greetings.items()):
            if self.roll.refusal(*hello.claim):
                self._network.cut(self._name, name)
                self.down(name)

    def is_other(self, node: Node) -> bool:
        hello = self._greetings.get(node.id)
        return hello is not None and self.roll.is_other(node.id, hello.member.id)

    def set_removed(self, member_ids: Collection[str]) -> None:
        self.roll.set_removed(member_ids)

    def refusal(self, hello: Greeting, accepted: bool) -> Refusal | None:
        """Why not to talk to who says this; accepted: this end did not dial."""
        dialled = None if accepted else hello.member.name
        doorkeeper = Doorkeeper(self._network.identity(self._name), self.roll, self.peers, 0)
        is_known = hello.member.name in self.peers  # asking reads a clock, which may stall
        return doorkeeper.refusal(hello.frame, dialled, not is_known and self.takes_guests())

    # -- messages --------------------------------------------------------------------------------

    def send(self, node: Node, message: Message) -> bool:
        epoch = self.epochs.get(node.id)
        if epoch is None:
            return False
        self._queue.append((node.id, epoch, message))
        return True

    def flush(self) -> None:
        queue, self._queue = self._queue, []
        for to, epoch, message in queue:
            if self.epochs.get(to) == epoch:
                self._network.carry(self._name, to, epoch, message)

    def up(self, hello: Greeting) -> None:
        """The link of the noted epoch is made, to who said this."""
        name = hello.member.name
        peer = self.peers.get(name) or Peer(self._network.nodes[name], guest=hello.member)
        if peer.guest is None:
            self.greeted(hello.member)
        self.peers[name] = peer
        link = Connection(cast("Any", None), LinkCounters())
        link.greeted_by(hello.frame)
        peer.let_in(link)
        self._greetings[name] = hello
        self._linked.add(name)
        self._onNodeConnected(self._network.nodes[name])

    def down(self, name: str) -> None:
        del self.epochs[name]
        self._greetings.pop(name, None)
        if name in self._linked:
            self._linked.remove(name)
            peer = self.peers[name]
            peer.connection = None
            peer.acknowledged = max(peer.acknowledged, self.acknowledged(peer.node))
            if peer.guest is not None:
                del self.peers[name]
            self._onNodeDisconnected(peer.node)

    def receive(self, sender: str, epoch: int, message: Message) -> bool:
        """False: it came over a link that this end knows to be cut."""
        if self.epochs.get(sender) != epoch:
            return False
        self._onMessageReceived(self._network.nodes[sender], message)
        return True


class _Link:
    """What is between two members, whether it is up or not."""

    def __init__(self, a: str, b: str) -> None:
        self.ends = (a, b)
        self.epoch = 0
        self.dialling = False
        self.arrival_s = {a: 0.0, b: 0.0}  # of the last message to this end: the next is no earlier
        self.held: dict[str, list[tuple[str, int, Message]]] = {a: [], b: []}  # while cut off


class Network:
    """All links of one run."""

    def __init__(self, world: World, names: list[str]) -> None:
        self._world, self._names = world, names
        self.nodes = {name: Node(name) for name in names}
        self.hosts: dict[str, Host] = {}
        """Whose process has each address, or had it last."""
        self._blocked: set[tuple[str, str]] = set()
        self._rejected: set[tuple[str, str]] = set()
        self._links: dict[tuple[str, str], _Link] = {}
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                self._links[a, b] = self._links[b, a] = _Link(a, b)

    def record(self, name: str) -> MemberRecord:
        """As this member greets."""
        member = self.hosts[name]
        addresses = f"{name}:7500", f"{name}:7400"
        version, resp = member.commands_version, editions.address(member)
        return MemberRecord(name, member.data_id, *addresses, False, version, resp)

    def identity(self, name: str) -> Identity:
        me, host = self.record(name), self.hosts[name]
        addresses = me.raft, me.http, me.commands_version, me.resp
        life = f"{name}.{host.life}"
        return Identity(name, host.world.cluster_id, host.incarnation, me.id, *addresses, life=life)

    def greeting(self, name: str, to: str) -> Greeting:
        links = self.hosts[name].links
        version = links.roll.version
        frame = self.identity(name).hello(to, version, links.holds())
        said = frames.decode(frame[frames.HEADER_SIZE_BYTES :])
        return Greeting(self.record(name), version, said)

    # -- messages --------------------------------------------------------------------------------

    def carry(self, sender: str, to: str, epoch: int, message: Message) -> None:
        world, link = self._world, self._links[sender, to]
        if link.epoch != epoch:
            return
        chance, profile = world.chance, world.profile
        message = self.hosts[sender].on_wire(message)
        delay_s_max = profile.delay_s_max if world.faulty else CALM_DELAY_S_MAX
        delay_s = chance.uniform(LATENCY_S_MIN, delay_s_max)
        if world.faulty and chance.random() < profile.spike_chance:
            delay_s += chance.uniform(0, 1)
        departure_s = world.schedule.now_s + self.hosts[sender].clock.ahead_s
        link.arrival_s[to] = max(link.arrival_s[to], departure_s + delay_s)
        args = (link, sender, to, epoch, message)
        world.schedule.at(link.arrival_s[to], self._arrive, *args)

    def _arrive(self, link: _Link, sender: str, to: str, epoch: int, message: Message) -> None:
        if link.epoch != epoch:
            return
        if (sender, to) in self._blocked:
            link.held[to].append((sender, epoch, message))
        else:
            self._world.count["messages"] += 1
            self.hosts[to].receive(sender, epoch, message)

    # -- cuts ------------------------------------------------------------------------------------

    def dial_all(self, name: str) -> None:
        """A member has started: make its links."""
        for other in self._names:
            if other != name:
                self._dial(self._links[name, other])

    def dial(self, name: str, other: str) -> None:
        """A member has learnt of another one."""
        self._dial(self._links[name, other])

    def cut_all(self, name: str) -> None:
        """A member has crashed: its peers will notice."""
        for other in self._names:
            if other != name:
                self.cut(name, other)

    def cut(self, a: str, b: str) -> None:
        """End the link, and lose what is on its way; both ends notice, perhaps late."""
        world, link = self._world, self._links[a, b]
        link.epoch += 1
        link.held = {end: [] for end in link.ends}
        for me, peer in (link.ends, link.ends[::-1]):
            late = world.faulty and world.chance.random() < 0.2
            delay_s = world.chance.uniform(0, 1.0 if late else 0.03)
            world.schedule.after(delay_s, self._notice, link, me, peer, link.epoch)

    def _notice(self, link: _Link, me: str, peer: str, epoch: int) -> None:
        world = self._world
        self.hosts[me].link_down(peer, epoch)
        world.schedule.after(world.chance.uniform(0, PROBE_S_MAX), self._probe, me, peer)
        self._dial(link)

    def _probe(self, me: str, peer: str) -> None:
        refused = (me, peer) in self._rejected
        if not refused and not self._blocked & {(me, peer), (peer, me)}:
            refused = not self.hosts[peer].alive
        if refused:
            self.hosts[me].peer_gone(peer)

    def _dial(self, link: _Link, delay_s: float = 0.0) -> None:
        if not link.dialling:
            link.dialling = True
            delay_s += self._world.chance.uniform(0.02, 0.4)
            self._world.schedule.after(delay_s, self._connect, link)

    def _connect(self, link: _Link) -> None:
        link.dialling = False
        a, b = (self.hosts[end] for end in link.ends)
        if not (a.alive and b.alive):
            return  # whoever starts will dial
        epochs = (a.links.epochs.get(b.name), b.links.epochs.get(a.name))
        if epochs == (link.epoch, link.epoch):
            return
        if epochs != (None, None) or self._blocked & {link.ends, link.ends[::-1]}:
            self._dial(link)
            return
        knowing = [m for m, peer in ((b, a.name), (a, b.name)) if peer in m.links.peers]
        if not knowing:
            return  # whoever learns of the other will dial
        if not self._greet(knowing[0], a if knowing[0] is b else b):
            self._dial(link, LONELY_S)
            return
        link.epoch += 1
        link.arrival_s = dict.fromkeys(link.ends, self._world.schedule.now_s)
        a.link_up(self.greeting(b.name, a.name), link.epoch)
        b.link_up(self.greeting(a.name, b.name), link.epoch)

    def _greet(self, dialler: Host, acceptor: Host) -> bool:
        """Each says who it is; whoever is refused for good is told so."""
        refused = dialler
        said = self.greeting(dialler.name, acceptor.name)
        refusal = acceptor.links.refusal(said, accepted=True)
        if refusal is None:
            refused = acceptor
            said = self.greeting(acceptor.name, dialler.name)
            refusal = dialler.links.refusal(said, accepted=False)
        if refusal in (Refusal.REMOVED, Refusal.OTHER_DATA):
            self._world.note("{0} is refused: {1}", refused.name, refusal)
            refused.later(0, refused.links.removed, refusal)
        elif refusal in DOUBLED:
            self._world.doubled(refused.name, refusal, said.frame)
            refused.later(0, refused.links.doubled, refusal)
        return refusal is None

    # -- partitions ------------------------------------------------------------------------------

    def block(self, ways: set[tuple[str, str]]) -> None:
        """Nothing arrives these ways (from, to) until unblock(); it is held, not lost."""
        self._blocked |= ways

    def reject(self, ways: set[tuple[str, str]]) -> None:
        """The same, but whoever dials is refused; links are reset."""
        self._rejected |= ways
        self.block(ways)
        for a, b in sorted({(min(way), max(way)) for way in ways}):
            self.cut(a, b)

    def unblock(self) -> None:
        """What was held arrives at once, before anything that was sent after it."""
        self._blocked, self._rejected = set(), set()
        for i, a in enumerate(self._names):
            for b in self._names[i + 1 :]:
                link = self._links[a, b]
                for to in link.ends:
                    held, link.held[to] = link.held[to], []
                    for sender, epoch, message in held:
                        self._world.schedule.after(
                            0, self._arrive, link, sender, to, epoch, message
                        )
