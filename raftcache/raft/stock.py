"""The one door to pysyncobj: a private copy of its engine module, with its hands tied.

The engine reads clock, dice, journal and serializer through names in its own module. We load the
module a second time and replace those names there, so that the stock class stays as it was
shipped (tests run the two side by side) and nothing of ours reaches it by accident.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections import deque
from types import ModuleType
from typing import Any, NoReturn

import pysyncobj.syncobj
from pysyncobj.config import FAIL_REASON, SERIALIZER_STATE, SyncObjConf
from pysyncobj.node import Node as ShippedNode
from pysyncobj.transport import Transport

from raftcache.errors import BadConfig, Fatal
from raftcache.ports import Clock, Dice

__all__ = ["FAIL_REASON", "SERIALIZER_STATE", "Node", "SyncObjConf", "Transport", "engine", "play"]

ENGINE_VERSION = "0.3.17"
"""Every correction was written against this version, line by line; another one is refused."""


class Node(str, ShippedNode):  # type: ignore[misc]  # pysyncobj is untyped
    """A node is its name. As the parent, which it equals; hashed and compared at no cost.

    The engine looks nodes up in its tables many times in every turn.
    """

    __slots__ = ()


class _Queue(deque[Any]):
    """In place of the engine's queue of proposals: one thread needs no lock."""

    def __init__(self, size_max: int) -> None:
        super().__init__()
        self._size_max = size_max

    def put_nowait(self, item: object) -> None:
        if 0 < self._size_max <= len(self):
            raise engine.Queue.Full
        self.append(item)

    def get_nowait(self) -> object:
        if not self:
            raise engine.Queue.Empty
        return self.popleft()


class _NoPickle:
    """In place of the engine's pickle: whoever reached the port could run code through it."""

    @staticmethod
    def dumps(*_: object) -> NoReturn:
        raise Fatal("the engine tried to pickle")

    loads = dumps


class _NoPoller:
    """In place of the engine's poller: sockets belong to the event loop."""

    def poll(self, timeout_s: float) -> None:
        pass


def _private_copy() -> ModuleType:
    found = importlib.metadata.version("pysyncobj")
    if found != ENGINE_VERSION:
        raise BadConfig(f"pysyncobj {found} is installed; raftcache corrects {ENGINE_VERSION} only")
    path = pysyncobj.syncobj.__file__
    spec = importlib.util.spec_from_file_location("pysyncobj._raftcache_syncobj", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


engine: Any = _private_copy()
engine.pickle = _NoPickle
engine.FastQueue = _Queue
engine.createPoller = lambda kind: _NoPoller()
engine.createJournal = lambda log: log  # conf.journalFile holds our Log itself
engine.Serializer = lambda compactor, *rest: compactor  # and conf.fullDumpFile our Compactor


def play(clock: Clock, dice: Dice) -> None:
    """Give the engine its time and its chance; for all nodes of this process."""
    engine.monotonicTime = clock.monotonic_s
    engine.random = dice
