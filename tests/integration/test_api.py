"""The API's description against nodes that run: valid, written down, tried as printed, and true.

The last is schemathesis' part: it sends what the description allows, and what it does not, and
holds every answer against it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from raftcache.cli.local import HOST
from scripts.api_docs import PAGE, page
from tests.support.cluster import Cluster, running

pytestmark = pytest.mark.cluster

SEED = 20261126
EXAMPLES_MAX = 10
"""Of a call; those that walk the limits of its parameters come on top."""
TIME_S_MAX = 400.0
"""Only something that hangs takes so long: it is 15 seconds on two idle cores."""

UNTRIED = {
    "post_v1_cluster_members": "a learner that does not exist holds up the cluster's next changes",
    "post_v1_cluster_members_name": "changes the members' addresses, also to wrong ones",
    "delete_v1_cluster_members_name": "removes the node that answers",
    "post_v1_cluster_leader": "moves the leader away in the middle of other calls",
    "get_v1_snapshot": "streams a file, for which each call takes a snapshot",
}
"""What is not tried with invented data, by operation, and why."""

SETTINGS = f"""
seed = {SEED}
hooks = "tests.support.consistent"
request-timeout = 20.0
continue-on-failure = true

[checks]
not_a_server_error.expected-statuses = ["2XX", "3XX", "4XX", "503", "507"]  # if described
negative_data_rejection.expected-statuses = ["400", "405", "413", "414", "415"]
positive_data_acceptance.enabled = false  # OpenAPI cannot say which parameters exclude each other

[[operations]]  # a stream of events never ends, and nobody needs to wait long
include-path-regex = "/v1/(watch|locks/.*|kv/.*)$"
parameters = {{ "query.wait" = "20ms" }}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("api")
    # one second: a digest at an index that never comes is waited for as long
    with running(folder, "--request-timeout", "1s") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def document(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.call("n1", "GET", "/v1/openapi.json").json
    return found


def test_every_node_serves_the_same_valid_document(
    cluster: Cluster, document: dict[str, Any]
) -> None:
    assert not [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    bodies = {cluster.call(name, "GET", "/v1/openapi.json").body for name in cluster.nodes}
    assert len(bodies) == 1


def test_api_md_is_what_the_document_says(document: dict[str, Any]) -> None:
    assert PAGE.read_text() == page(document), "run scripts/api-docs"


def test_every_example_works_as_printed(cluster: Cluster, tmp_path: Path) -> None:
    """In the page's order and in one shell, as a reader would; a stream is left after a while."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 25
    script = "\n".join(["set -uE", CURL, *blocks])
    for place, node in enumerate(cluster.nodes.values(), start=1):
        script = script.replace(f"{HOST}:740{place}", f"{HOST}:{node.http_port}")
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert not re.findall(r"^FAILED.*$", done.stderr, re.MULTILINE), done.stderr + done.stdout
    assert len(re.findall(r"event: progress\nid: \d+", done.stdout)) >= 2
    assert (tmp_path / "backup.rcb").stat().st_size > 0


CURL = r"""
curl() {
    command curl --silent --show-error --fail-with-body --max-time 2 "$@"
    local code=$?
    [ $code = 28 ] && [[ "$*" == -N* ]] && return 0
    [ $code = 0 ] || echo "FAILED ($code): curl $*" >&2
    return $code
}
"""


def test_every_call_refuses_a_parameter_that_it_does_not_describe(
    cluster: Cluster, document: dict[str, Any]
) -> None:
    for path, methods in document["paths"].items():
        for method in methods:
            target = re.sub(r"\{\w+\}", "1", path) + "?nonsense=1"
            if (method, path) == ("post", "/v1/kv/{key}"):
                target += "&op=touch"
            answer = cluster.call("n1", method.upper(), target)
            assert answer.status == 400, (method, path)
            if method != "head":
                assert answer.json["detail"] == "unknown query parameter 'nonsense'"


def test_what_nodes_answer_is_what_the_document_says(
    cluster: Cluster, document: dict[str, Any], tmp_path: Path
) -> None:
    operations = [o for methods in document["paths"].values() for o in methods.values()]
    assert set(UNTRIED) <= {operation["operationId"] for operation in operations}
    strict = deepcopy(document)
    for path in strict["paths"].values():
        for operation in path.values():
            _close(operation["responses"])
    options = [part for name in UNTRIED for part in ("--exclude-operation-id", name)]
    code, said = _try(cluster, strict, tmp_path, options)
    tested = len(operations) - len(UNTRIED)
    assert code == 0
    assert re.search(rf"Tested: {tested}$", said, re.MULTILINE)
    assert cluster.settled()["role"]


@pytest.mark.parametrize("lie", ["a status", "a field", "a limit"])
def test_a_document_that_is_wrong_is_noticed(
    cluster: Cluster, document: dict[str, Any], tmp_path: Path, lie: str
) -> None:
    wrong = deepcopy(document)
    operation = wrong["paths"]["/v1/leases"]["get"]
    shown = operation["responses"]["200"]["content"]["application/json"]["schema"]
    if lie == "a status":
        del operation["responses"]["400"]
    elif lie == "a field":
        shown["properties"]["more"]["type"] = "string"
    else:
        (after,) = (p for p in operation["parameters"] if p["name"] == "after")
        after["schema"]["maximum"] = 1000
    code, said = _try(cluster, wrong, tmp_path, ["--include-operation-id", "get_v1_leases"])
    noticed = {"a status": "Undocumented", "a field": "violates schema", "a limit": "accepted"}
    assert code == 1
    assert noticed[lie] in said


def _try(
    cluster: Cluster, document: dict[str, Any], folder: Path, options: list[str]
) -> tuple[int, str]:
    """Let schemathesis hold a node against a document; its exit code and report."""
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "settings.toml").write_text(SETTINGS)
    print("seed", SEED)
    done = subprocess.run(
        ["schemathesis", "--config-file", "settings.toml", "run", "openapi.json"]
        + ["--url", cluster.nodes["n1"].url, "--phases", "coverage,fuzzing"]
        + ["--max-examples", str(EXAMPLES_MAX), "--generation-database", "none", "--no-color"]
        + options,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PAGE.parent.parent)},
        capture_output=True,
        text=True,
        timeout=TIME_S_MAX,
        check=False,
    )
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout


def _close(schema: Any) -> None:
    """Let answers have no field that is not described: to callers they may, some day."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            _close(part)
    elif isinstance(schema, list):
        for part in schema:
            _close(part)
