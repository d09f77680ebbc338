"""Questions to a node while it starts."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def get_json(url: str, body: bytes | None = None) -> dict[str, Any]:
    """The answer's object; nothing where there was none. With a body it is a POST."""
    try:
        with urllib.request.urlopen(url, body, timeout=2) as reply:
            return dict(json.load(reply))
    except OSError:
        return {}


def is_ok(url: str) -> bool:
    """Whether it is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
