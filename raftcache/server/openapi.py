"""GET /v1/openapi.json: the API's own description, made of those of the routes that are served."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import cleandoc
from typing import Any, Final

import msgspec
import orjson
from aiohttp import hdrs, web
from msgspec import Struct
from xxhash import xxh3_64_hexdigest

import raftcache
from raftcache.server.kv_request import is_known, list_header
from raftcache.server.routes import JSON, Parameter, Response, Route, RouteTable
from raftcache.server.shapes import RETRY_AFTER, TEXT, problem
from raftcache.server.status import OPERATING

INTRODUCTION: Final = """
Any node takes any request. Bodies are bytes; answers about a key are JSON unless they are the value
itself. Every error is `application/problem+json` (RFC 9457):

```json
{"type":"urn:raftcache:no-leader","title":"no leader","status":503,
 "detail":"no leader is known at this node","definite":true}
```

`definite` stands in the answers to writes: true when the write certainly did not happen, false when
it may have happened or may yet ([CONSISTENCY.md](CONSISTENCY.md)). `Retry-After` comes with 429 and
503. Query parameters and fields of JSON that a call does not know are refused (400), and so are
those given twice.
"""

ANYWHERE: Final = (
    problem(
        400,
        "The request cannot mean anything: broken percent-encoding, an unknown parameter, a value"
        " out of its limits, a body where none is meant.",
    ),
    problem(408, "The request stopped half way for `--header-timeout`."),
    problem(413, "The body is over `--value-size-max`."),
    problem(414, "The target is over 16 KiB, or a key in it over 1,024 bytes."),
    problem(417, "An `Expect` other than `100-continue`."),
    problem(
        429,
        "The node holds `--pending-size-max` of requests, or of answers that are not read, and this"
        " one takes more than 16 KiB.",
        RETRY_AFTER,
    ),
    problem(431, "A header field is over 8 KiB."),
    problem(503, "The node has as many connections as it may (`--connections-max`).", RETRY_AFTER),
)
"""What every call may answer beside what it describes itself."""

DOCUMENT: Final = Route(
    "GET",
    "/v1/openapi.json",
    OPERATING,
    "This description",
    "All of the above as an OpenAPI 3.1 document, as this node serves it.",
    (
        Response(
            200,
            "The document.",
            {"type": "object", "required": ["openapi", "info", "paths"]},
            headers=(Parameter("ETag", "Of its text.", TEXT, "header", required=True),),
        ),
        Response(304, "`If-None-Match` names it."),
    ),
    """
curl 'http://127.0.0.1:7401/v1/openapi.json'
""",
    (Parameter("If-None-Match", "An ETag that the caller has.", TEXT, "header"),),
    heads=True,
)

_NOT_OF_NAMES: Final = re.compile("[^a-z0-9]+")


class DocumentRoutes:
    """Serves the route; to be added last, for it describes those before it."""

    def add_to(self, table: RouteTable) -> None:
        table.add(DOCUMENT, self.get)
        self._body = orjson.dumps(document(table.routes))
        self._etag = f'"{xxh3_64_hexdigest(self._body)}"'

    async def get(self, request: web.Request) -> web.Response:
        DOCUMENT.query(request)
        headers = {hdrs.ETAG: self._etag, hdrs.CONTENT_TYPE: JSON}
        if is_known(self._etag, list_header(request.headers, hdrs.IF_NONE_MATCH) or ""):
            return web.Response(status=304, headers={hdrs.ETAG: self._etag})
        return web.Response(body=self._body, headers=headers)


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI document of these routes; it is JSON. Their order is kept."""
    structs = [r.body.schema for r in routes if r.body and isinstance(r.body.schema, type)]
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        methods = paths.setdefault(route.path, {})
        methods[route.method.lower()] = _operation(route, route.method)
        if route.heads:
            methods["head"] = _operation(route, "HEAD")
    sections = {route.section.name: route.section for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "raftcache",
            "version": raftcache.__version__,
            "description": cleandoc(INTRODUCTION),
        },
        "tags": [{"name": s.name, "description": cleandoc(s.text)} for s in sections.values()],
        "paths": paths,
        "components": {
            "schemas": _schemas(structs),
            "responses": {str(r.status): _response([r]) for r in ANYWHERE},
        },
    }


def _operation(route: Route, method: str) -> dict[str, Any]:
    own: dict[int, list[Response]] = {}
    for response in route.responses:
        own.setdefault(response.status, []).append(response)
    responses = {str(r.status): {"$ref": f"#/components/responses/{r.status}"} for r in ANYWHERE}
    bare = method == "HEAD"
    responses |= {str(status): _response(same, bare=bare) for status, same in own.items()}
    operation: dict[str, Any] = {
        "tags": [route.section.name],
        "operationId": _NOT_OF_NAMES.sub("_", f"{method}{route.path}".lower()).strip("_"),
        "summary": route.title,
        "description": cleandoc(route.text),
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": dict(sorted(responses.items())),
    }
    if route.body is not None:
        schema = route.body.schema
        content = {"schema": _ref(schema) if isinstance(schema, type) else schema}
        operation["requestBody"] = {
            "description": route.body.text,
            "required": route.body.required,
            "content": {route.body.content_type: content},
        }
    if not bare:
        operation["x-codeSamples"] = [{"lang": "Shell", "source": cleandoc(route.example)}]
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    head = {"name": parameter.name, "in": parameter.place, "required": parameter.required}
    return head | {"description": parameter.text, "schema": parameter.schema}


def _response(same: Sequence[Response], *, bare: bool = False) -> dict[str, Any]:
    """One status; same: what may stand for it, by content type. bare: it answers HEAD."""
    said: dict[str, Any] = {"description": " ".join(response.text for response in same)}
    if headers := [header for response in same for header in response.headers]:
        said["headers"] = {
            h.name: {"description": h.text, "required": h.required, "schema": h.schema}
            for h in headers
        }
    content = {r.content_type: _content(r) for r in same if r.schema is not None}
    return said | {"content": content} if content and not bare else said


def _content(response: Response) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": response.schema}
    return content if response.example is None else content | {"example": response.example}


def _schemas(structs: Sequence[type[Struct]]) -> dict[str, Any]:
    """The schemas of what reads bodies: what is refused and what is described are one thing."""
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    text = orjson.dumps(schemas).replace(b"/schemas/_", b"/schemas/")
    public: dict[str, Any] = orjson.loads(text.replace(b'"title":"_', b'"title":"'))
    return {name.lstrip("_"): schema for name, schema in public.items()}


def _ref(struct: type[Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{struct.__name__.lstrip('_')}"}
