"""Where the nodes are, as `--endpoints` and RAFTCACHE_ENDPOINTS have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raftcache.config.text import parse_url
from raftcache.errors import BadConfig

ENDPOINTS_DEFAULT: Final = "http://127.0.0.1:7401,http://127.0.0.1:7402,http://127.0.0.1:7403"
"""The nodes of `raftcache demo`."""


def endpoints_from(said: str | None, environ: Mapping[str, str]) -> list[str]:
    """What was said, or RAFTCACHE_ENDPOINTS, or the demo's nodes; raises BadConfig."""
    text = said or environ.get("RAFTCACHE_ENDPOINTS") or ENDPOINTS_DEFAULT
    return [endpoint_from(part.strip()) for part in text.split(",")]


def endpoint_from(text: str) -> str:
    """One of them, without a slash at its end; raises BadConfig."""
    try:
        return parse_url(text)
    except ValueError:
        raise BadConfig(
            f"the endpoint {text!r} must be the URL of a node, for example http://127.0.0.1:7401; "
            "several are separated by commas"
        ) from None
