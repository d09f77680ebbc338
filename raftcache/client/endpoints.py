"""Where the nodes are, as `--endpoints` and RAFTCACHE_ENDPOINTS have it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from raftcache.errors import BadConfig

ENDPOINTS_DEFAULT: Final = "http://127.0.0.1:7401,http://127.0.0.1:7402,http://127.0.0.1:7403"
"""The nodes of `raftcache demo`."""


def endpoints_from(said: str | None, environ: Mapping[str, str]) -> list[str]:
    """What was said, or RAFTCACHE_ENDPOINTS, or the demo's nodes; raises BadConfig."""
    text = said or environ.get("RAFTCACHE_ENDPOINTS") or ENDPOINTS_DEFAULT
    return [_endpoint(part.strip()) for part in text.split(",")]


def _endpoint(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s]+/?", text):
        raise BadConfig(
            f"the endpoint {text!r} must be the URL of a node, for example http://127.0.0.1:7401; "
            "several are separated by commas"
        )
    return text.rstrip("/")
