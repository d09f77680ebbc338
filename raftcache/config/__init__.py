"""What a node is told, frozen; `load` (flags, environment, file) validates it once."""

from raftcache.config.load import advice, load
from raftcache.config.shape import (
    Address,
    ClusterMap,
    Config,
    Durability,
    Eviction,
    Limits,
    LogFormat,
    LostCalls,
    PubSubCounts,
    Storage,
    Timing,
)
from raftcache.config.text import parse_address

__all__ = [
    "Address",
    "ClusterMap",
    "Config",
    "Durability",
    "Eviction",
    "Limits",
    "LogFormat",
    "LostCalls",
    "PubSubCounts",
    "Storage",
    "Timing",
    "advice",
    "load",
    "parse_address",
]
