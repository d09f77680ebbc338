"""GET /v1/openapi.json: valid, and true of the routes that serve."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from raftcache.server.openapi import ANYWHERE, DocumentRoutes, document
from raftcache.server.routes import Response, Route, RouteTable, Section
from tests.support.raw_http import Served, run, serving

PATH = "/v1/openapi.json"


async def served_document(served: Served) -> dict[str, Any]:
    answer = await served.ask("GET", PATH)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json
    return found


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_it_is_openapi_3_1() -> None:
    async def test() -> None:
        async with serving() as served:
            found = await served_document(served)
            assert found["openapi"].startswith("3.1.")
            assert not [e.message for e in OpenAPIV31SpecValidator(found).iter_errors()]
            names = [operation["operationId"] for _, _, operation in operations(found)]
            assert len(names) == len(set(names))

    run(test())


def test_an_etag_spares_the_transfer() -> None:
    async def test() -> None:
        async with serving() as served:
            first = await served.ask("GET", PATH)
            tag = first.headers["etag"]
            again = await served.ask("GET", PATH, headers={"If-None-Match": f'"x", {tag}'})
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
            other = await served.ask("GET", PATH, headers={"If-None-Match": '"x"'})
            assert (other.status, other.body) == (200, first.body)

    run(test())


def test_every_call_says_what_it_answers_and_shows_how_it_is_used() -> None:
    async def test() -> None:
        async with serving() as served:
            for method, path, operation in operations(await served_document(served)):
                assert operation["summary"], path
                assert {"200", "201"} & set(operation["responses"]), path
                assert {str(r.status) for r in ANYWHERE} <= set(operation["responses"]), path
                if method != "HEAD":
                    (sample,) = operation["x-codeSamples"]
                    stem = re.escape(path.partition("{")[0])
                    assert re.search(f"http://127.0.0.1:740[123]{stem}", sample["source"]), path

    run(test())


def test_every_example_of_an_answer_fits_its_schema() -> None:
    async def test() -> None:
        async with serving() as served:
            found, seen = await served_document(served), 0
            for method, path, operation in operations(found):
                for response in operation["responses"].values():
                    for content in response.get("content", {}).values():
                        if "example" in content:
                            seen += 1
                            errors = Draft202012Validator(content["schema"]).iter_errors(
                                content["example"]
                            )
                            assert not [error.message for error in errors], (method, path)
            assert seen > 15

    run(test())


SECTION = Section("Some")
ROUTE = Route("GET", "/v1/x", SECTION, "X", "About x.", (Response(204, "Nothing."),), "curl x")


def test_what_a_route_says_of_a_status_counts_more_than_what_any_may_answer() -> None:
    own = Route("GET", "/v1/y", SECTION, "Y", "", (Response(503, "Mine."),), "curl y")
    found = document([ROUTE, own])["paths"]
    assert found["/v1/y"]["get"]["responses"]["503"] == {"description": "Mine."}
    assert "$ref" in found["/v1/x"]["get"]["responses"]["503"]
    assert "head" not in found["/v1/x"]


def test_one_path_is_not_served_by_two_handlers() -> None:
    table = RouteTable(web.Application().router)

    async def handler(request: web.Request) -> web.StreamResponse:
        raise NotImplementedError

    table.add(ROUTE, handler)
    with pytest.raises(RuntimeError):
        table.add(ROUTE, handler)
    DocumentRoutes().add_to(table)
    assert [route.path for route in table.routes] == ["/v1/x", PATH]
