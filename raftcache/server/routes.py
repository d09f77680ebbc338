"""What the handlers of the aiohttp application share."""

from __future__ import annotations

from urllib.parse import urlsplit

import orjson
from aiohttp import hdrs, web


def target_of(request: web.Request) -> str:
    """Path and query as they came; without scheme and host, if a proxy left them there."""
    target = request.raw_path
    if target.startswith("/"):
        return target
    parts = urlsplit(target)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def json_response(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), headers={hdrs.CONTENT_TYPE: "application/json"})
