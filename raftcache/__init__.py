"""raftcache: a strongly consistent, Raft-replicated key-value cache."""

__version__ = "0.1.0"
