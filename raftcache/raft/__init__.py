"""Consensus and durability. The only room that imports pysyncobj."""
