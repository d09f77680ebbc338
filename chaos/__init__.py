"""Chaos: a black box that breaks a cluster and counts what it lost."""
