"""The systems that are measured, by the names that cells use."""

from __future__ import annotations

from scripts.measuring.systems.base import System
from scripts.measuring.systems.etcd import Etcd
from scripts.measuring.systems.raftcache import Raftcache
from scripts.measuring.systems.redis import Redis, RedisPair
from scripts.measuring.systems.zookeeper import ZooKeeper

__all__ = ["KINDS", "System"]

KINDS: dict[str, type[System]] = {
    kind.name: kind for kind in (Raftcache, Etcd, ZooKeeper, Redis, RedisPair)
}
