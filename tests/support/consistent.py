"""Tells schemathesis what OpenAPI cannot say: which parameters go together.

Loaded by it as its hooks. Parts of a case that are meant to be valid are made consistent before
they are sent, so that most of them get through to what they ask for; parts that are meant to be
invalid stay as they are.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import schemathesis
from schemathesis.core import NOT_SET
from schemathesis.core.parameters import ParameterLocation

from raftcache.server.kv_routes import OPERATIONS

EXCLUSIVE = (
    ("ttl", "lease"),
    ("prefix", "start"),
    ("prefix", "end"),
    ("key", "prefix"),
    ("key", "start"),
    ("key", "end"),
    ("count_only", "limit"),
    ("count_only", "after"),
    ("count_only", "keys_only"),
    ("since", "consistency"),
    ("since", "max_staleness"),
    ("all", "prefix"),
    ("all", "start"),
    ("all", "end"),
    ("If-None-Match", "If-Match"),
)
"""The second goes where the first is there."""

_PATHS_OF_LEASES = ("/v1/leases", "/v1/locks")
_tokens = count(1)
_leases: list[int] = []
"""Granted, so that something can be done to them."""


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """The last word on a case."""
    negative = case.meta.is_negative_at if case.meta else lambda place: False
    query = {} if negative(ParameterLocation.QUERY) else case.query or {}
    headers = {} if negative(ParameterLocation.HEADER) else case.headers or {}
    _agree(query)
    _agree(headers)
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = f"token-{next(_tokens)}"
    if "ttl" in query and case.path.startswith(_PATHS_OF_LEASES):
        query["ttl"] = "30s"
    if case.path.startswith("/v1/locks/") and "op" in query:
        _only(query, frozenset({"op", "token"}))
    if case.path == "/v1/leases/{id}" and _leases and not negative(ParameterLocation.PATH):
        case.path_parameters["id"] = _leases[-1]
    if case.path == "/v1/kv/{key}" and "op" in query:
        _only(query, OPERATIONS[query["op"]])
        if query["op"] != "append" and not negative(ParameterLocation.BODY):
            case.body = NOT_SET
        if query["op"] not in ("append", "incr"):
            headers.pop("If-None-Match", None)
    if case.path == "/v1/txn" and not negative(ParameterLocation.BODY):
        for operation in (*case.body.get("success", ()), *case.body.get("failure", ())):
            _give_one_value(operation)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remembers leases."""
    if (case.method, case.path, response.status_code) == ("POST", "/v1/leases", 201):
        _leases.append(response.json()["lease"])


def _agree(given: Any) -> None:
    for stays, goes in EXCLUSIVE:
        if stays in given and goes in given:
            del given[goes]
    if given.get("consistency") != "stale":
        given.pop("max_staleness", None)


def _only(query: Any, known: frozenset[str]) -> None:
    for name in set(query) - known:
        del query[name]


def _give_one_value(operation: Any) -> None:
    if operation.get("op") not in ("put", "append"):
        return
    operation.pop("value_base64", None)
    operation["value"] = operation.get("value") or ""
