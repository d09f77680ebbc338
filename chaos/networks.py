"""Which network the nodes get: the kernel's where the machine allows, a proxy elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from chaos import namespaces
from chaos.faults.base import Fault
from chaos.links import Network
from chaos.namespaces import Namespaces
from chaos.places import local, names_of
from chaos.proxy import Proxy
from chaos.waiting import Trouble

NetworkName = Literal["auto", "namespaces", "proxy"]
NETWORKS: Final[tuple[NetworkName, ...]] = ("auto", "namespaces", "proxy")


def choose(wanted: NetworkName, faults: Sequence[Fault]) -> tuple[NetworkName, str]:
    """namespaces or proxy, and why in a sentence. Raises Trouble for one that cannot be had."""
    if wanted == "proxy":
        return "proxy", "links through a proxy, as asked for"
    why_not = namespaces.missing()
    if wanted == "namespaces":
        if why_not is not None:
            raise Trouble(f"no network namespaces: {why_not}")
        return "namespaces", "links between network namespaces, as asked for"
    delayed = [fault.name for fault in faults if fault.delays]
    if why_not is None and delayed:
        why_not = f"packets cannot be delayed there, which {', '.join(delayed)} needs"
    if why_not is not None:
        return "proxy", f"links through a proxy; no network namespaces: {why_not}"
    return "namespaces", "links between network namespaces"


def made(name: NetworkName, nodes: int, seed: int) -> Network:
    """With a place for each of so many nodes."""
    if name == "namespaces":
        return Namespaces(names_of(nodes))
    return Proxy(local(names_of(nodes), proxied=True), seed)
