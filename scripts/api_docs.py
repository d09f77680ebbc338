"""docs/API.md, written from the document that a node serves at /v1/openapi.json.

Nothing is said here but how a description becomes Markdown; what it says stands beside the routes.
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from raftcache.cli.local import LocalCluster, anywhere

PAGE = Path(__file__).parent.parent / "docs" / "API.md"
PATIENCE_S = 30.0
JSON_WIDTH_MAX = 80
"""Characters of an example that stays on one line."""

Json = dict[str, Any]


def page(document: Json) -> str:
    """The whole page."""
    lines = [
        "# HTTP API, version 1",
        "<!-- written by scripts/api-docs from the routes' own descriptions: change those -->",
        document["info"]["description"],
        *_anywhere(document),
    ]
    for tag in document["tags"]:
        lines += [f"## {tag['name']}", tag["description"]]
        operations = list(_operations(document, tag["name"]))
        for heading, operation in operations:
            lines += _call(document, heading, operation)
        lines += _headers(operation for _, operation in operations)
    return "\n\n".join(line for line in lines if line) + "\n"


def _operations(document: Json, tag: str) -> Iterator[tuple[str, Json]]:
    """Those of a section, in order, each with its heading; HEAD stands beside GET."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"] and method != "head":
                also = "`GET`, `HEAD" if method == "get" and "head" in methods else ""
                call = f"{also or '`' + method.upper()} {path}`"
                yield f"### {operation['summary']}: {call}", operation


def _anywhere(document: Json) -> list[str]:
    rows = [(status, r["description"]) for status, r in document["components"]["responses"].items()]
    return ["Any call may answer:", _table(("status", "when"), rows)]


def _call(document: Json, heading: str, operation: Json) -> list[str]:
    own = {s: r for s, r in operation["responses"].items() if "$ref" not in r}
    parameters = [
        (_placed(p), _kind(p["schema"]) + (", required" if p["required"] else ""), p["description"])
        for p in operation["parameters"]
    ]
    (sample,) = operation["x-codeSamples"]
    return [
        heading,
        operation["description"],
        _table(("parameter", "is", "means"), parameters),
        _body(document, operation),
        _table(("status", "when"), [(s, _answer(s, r)) for s, r in own.items()]),
        *_examples(own.values()),
        f"```sh\n{sample['source']}\n```",
    ]


def _placed(parameter: Json) -> str:
    name, place = parameter["name"], parameter["in"]
    return f"`{name}`" if place == "query" else f"`{name}` ({place})"


def _kind(schema: Json) -> str:
    if "enum" in schema:
        kind = " or ".join(f"`{one}`" for one in schema["enum"])
    elif "title" in schema:
        kind = f"a {schema['title']}"
    elif schema.get("type") == "integer":
        kind = "a number" + _span(schema.get("minimum"), schema.get("maximum"))
    else:
        kind = "text" + _span(schema.get("minLength"), schema.get("maxLength"), " characters")
    return kind + (f", default `{schema['default']}`" if "default" in schema else "")


def _span(least: int | None, most: int | None, unit: str = "") -> str:
    if most is None or most > 1 << 32:
        return "" if not least or least < 0 else f" from {least:,}{unit}"
    return f" from {least or 0:,} to {most:,}{unit}"


def _body(document: Json, operation: Json) -> str:
    body = operation.get("requestBody")
    if body is None:
        return ""
    ((kind, content),) = body["content"].items()
    text = f"Body (`{kind}`{'' if body['required'] else ', may be empty'}): {body['description']}"
    if "$ref" in content["schema"]:
        schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        fields = [f"`{f}`{'' if f in schema['required'] else '?'}" for f in schema["properties"]]
        text += f" Fields (`?`: may be left out): {', '.join(fields)}."
    return text


def _answer(status: str, response: Json) -> str:
    """What it means; problems have their headers in the table of all headers only."""
    headers = response.get("headers", {}) if status < "400" else {}
    names = ", ".join(f"`{name}`" for name in headers)
    return response["description"] + (f" Headers: {names}." if names else "")


def _examples(responses: Iterable[Json]) -> Iterator[str]:
    for response in responses:
        for kind, content in response.get("content", {}).items():
            if "example" in content and kind == "application/json":
                yield f"```json\n{_json(content['example'])}\n```"
                return


def _json(example: object) -> str:
    line = json.dumps(example, separators=(",", ":"))
    return line if len(line) <= JSON_WIDTH_MAX else json.dumps(example, indent=1)


def _headers(operations: Iterable[Json]) -> list[str]:
    """What the headers of a section's answers mean, each once."""
    means = {
        name: header["description"]
        for operation in operations
        for response in operation["responses"].values()
        for name, header in response.get("headers", {}).items()
    }
    rows = [(f"`{name}`", text) for name, text in means.items()]
    return ["Headers of these answers:", _table(("header", "means"), rows)] if rows else []


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """ "" without any rows."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "| --- " * len(head) + "|", *lines])


def served() -> Json:
    """The document, from a node that is started for it."""
    with tempfile.TemporaryDirectory(prefix="raftcache-api-") as name:
        nodes = anywhere(Path(name), 1)
        with LocalCluster(Path(name), nodes) as cluster:
            cluster.start(nodes[0].name)
            deadline_s = time.monotonic() + PATIENCE_S
            while True:
                try:
                    with urllib.request.urlopen(f"{nodes[0].url}/v1/openapi.json") as answer:
                        document: Json = json.load(answer)
                        return document
                except urllib.error.URLError:
                    if time.monotonic() > deadline_s:
                        raise SystemExit(cluster.log_tails(20)) from None
                    time.sleep(0.05)


if __name__ == "__main__":
    PAGE.write_text(page(served()))
