"""The network between the nodes as the kernel has it: each node in a namespace of its own.

    this host ── hub, a bridge in a namespace ── n1, n2, ...

Packets are dropped, lost at random or rejected where they come in, by the address of the node that
sent them; clients are on this host and reach every node all the time. Names carry the id of this
process, addresses are of the range for tests of networks (RFC 2544), and a keeper (chaos/keeper.py)
removes all of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from chaos.links import Pair, Weather
from chaos.places import Place
from chaos.waiting import Trouble

SUBNETS: Final = tuple(f"198.18.{i}" for i in range(256))
OUR_HOST: Final = 254
HTTP_PORT: Final = 7400
RAFT_PORT: Final = 7500
RESP_PORT: Final = 6400
TOOLS: Final = ("ip", "nft", "nsenter", "unshare")

TABLE: Final = """
table inet chaos {
    chain input {
        type filter hook input priority 0
    }
}
"""


def missing() -> str | None:
    """Why this machine cannot have it; None if it can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    name = f"raftcache-chaos-{os.getpid()}-probe"
    tries = f"ip netns add {name} && ip netns delete {name}"
    tries += " && ip link add here type veth peer name there && ip link add hub type bridge"
    tries += f" && echo '{TABLE}' | nft -f -"
    tries += " && nft add rule inet chaos input numgen random mod 1000 '<' 1 drop"
    tries += " && nft add rule inet chaos input tcp flags '&' rst == 0 reject with tcp reset"
    probe = subprocess.run(["unshare", "--net", "sh", "-c", tries], capture_output=True, text=True)
    return f"this machine cannot: {probe.stderr.strip()}" if probe.returncode else None


class Namespaces:
    """See links.Network; one at a time in a process. It cannot delay what passes."""

    def __init__(self, names: Sequence[str]) -> None:
        self._prefix = f"raftcache-chaos-{os.getpid()}"
        self._link = f"chaos{os.getpid()}"
        self._subnet = _free_subnet()
        self._hosts = {name: f"{self._subnet}.{i}" for i, name in enumerate(names, 1)}
        self.places = {
            name: Place(
                f"{host}:{HTTP_PORT}",
                f"{host}:{RAFT_PORT}",
                f"{host}:{RAFT_PORT}",
                f"{host}:{RESP_PORT}",
                prefix=("nsenter", f"--net=/run/netns/{self._of(name)}"),
                options=("--insecure",),
            )
            for name, host in self._hosts.items()
        }
        self._cut: Counter[Pair] = Counter()
        self._severed: Counter[Pair] = Counter()
        self._losses: dict[Pair, list[float]] = {(a, b): [] for a in names for b in names if a != b}
        self._changing = asyncio.Lock()

    def _of(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    async def __aenter__(self) -> Namespaces:
        self._keeper = _keeper(self._link, [self._of(name) for name in (*self._hosts, "hub")])
        try:
            self._make()  # in one go: nothing may be made after the keeper was told to remove
        except BaseException:
            self._remove()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        self._remove()

    def _remove(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()

    def _make(self) -> None:
        hub, here = self._of("hub"), f"{self._subnet}.{OUR_HOST}/24"
        _run("ip", "netns", "add", hub)
        _run("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", hub, "link", "set", "bridge", "up")
        self._plug("to-host", self._link, None, here)
        for name, host in self._hosts.items():
            _run("ip", "netns", "add", self._of(name))
            self._plug(f"to-{name}", "eth0", self._of(name), f"{host}/24")
            _run("ip", "-n", self._of(name), "link", "set", "lo", "up")
            _run(*self.places[name].prefix, "nft", "-f", "-", said=TABLE)

    def _plug(self, port: str, link: str, namespace: str | None, address: str) -> None:
        """A cable from the bridge to a namespace, or to this host."""
        hub, there = self._of("hub"), ["-n", namespace] if namespace else []
        cable = ["link", "add", link, "type", "veth", "peer", "name", port, "netns", hub]
        _run("ip", *there, *cable)
        _run("ip", "-n", hub, "link", "set", port, "master", "bridge", "up")
        _run("ip", *there, "address", "add", address, "dev", link)
        _run("ip", *there, "link", "set", link, "up")

    # -- faults ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def cut(self, pairs: Iterable[Pair]) -> AsyncIterator[None]:
        wires = Counter(set(pairs))
        self._cut += wires
        await self._apply(wires)
        try:
            yield
        finally:
            self._cut -= wires
            await self._apply(wires)

    @asynccontextmanager
    async def severed(self, pairs: Iterable[Pair]) -> AsyncIterator[None]:
        both = Counter({direction for a, b in pairs for direction in ((a, b), (b, a))})
        self._severed += both
        await self._apply(both)
        try:
            yield
        finally:
            self._severed -= both
            await self._apply(both)

    @asynccontextmanager
    async def weather(self, pairs: Iterable[Pair], weather: Weather) -> AsyncIterator[None]:
        wires = set(pairs)
        for wire in wires:
            self._losses[wire].append(weather.loss_chance)
        await self._apply(wires)
        try:
            yield
        finally:
            for wire in wires:
                self._losses[wire].remove(weather.loss_chance)
            await self._apply(wires)

    async def _apply(self, changed: Iterable[Pair]) -> None:
        """The rules of everyone who receives on one of these, in a thread of its own."""
        async with self._changing:
            for receiver in sorted({to for _, to in changed}):
                rules = "\n".join(("flush chain inet chaos input", *self._rules(receiver)))
                command = (*self.places[receiver].prefix, "nft", "-f", "-")
                await asyncio.to_thread(_run, *command, said=rules)

    def _rules(self, receiver: str) -> list[str]:
        rules = []
        for sender, host in self._hosts.items():
            pair, rule = (sender, receiver), f"add rule inet chaos input ip saddr {host}"
            if self._cut[pair]:
                rules.append(f"{rule} drop")
            elif self._severed[pair]:
                # The other side rejects likewise: what says so must come through.
                rules.append(f"{rule} tcp flags & rst == 0 reject with tcp reset")
            else:
                losses = self._losses.get(pair, [])
                rules += [
                    f"{rule} numgen random mod 1000 < {round(1000 * loss)} drop"
                    for loss in losses
                    if loss
                ]
        return rules


def _free_subnet() -> str:
    """One that no interface of this host has; two runs at the same time begin to look elsewhere."""
    taken = subprocess.run(["ip", "-4", "-o", "address"], capture_output=True, text=True).stdout
    first = os.getpid() % len(SUBNETS)
    for subnet in (*SUBNETS[first:], *SUBNETS[:first]):
        if f" {subnet}." not in taken:
            return subnet
    raise Trouble("no subnet is free")


def _keeper(link: str, names: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "chaos.keeper", link, *names],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )


def _run(*command: str, said: str | None = None) -> None:
    done = subprocess.run(command, input=said, capture_output=True, text=True)
    if done.returncode:
        raise Trouble(f"{' '.join(command)} failed: {done.stderr.strip()}")
