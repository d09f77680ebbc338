"""The front doors of a node, composed: what serves them, and the order of their ends."""

from typing import Final

SHUTTING_DOWN: Final = "this node is shutting down"
"""Those who wait here are told."""
