"""`get --vivify` and `set --vivify` against the real front door."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from raftcache.cli import exits
from tests.unit.test_cli import out, run
from tests.unit.test_client_ranges import served_aside


@pytest.fixture(autouse=True)
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with served_aside() as url:
        monkeypatch.setenv("RAFTCACHE_ENDPOINTS", url)
        yield


def test_one_wins_and_refills() -> None:
    won = run("get", "new", "--vivify", "30s")
    assert (won.exit_code, won.stdout) == (exits.NOT_SO, "")
    assert won.stderr == "won, token 6\nno such key\n"
    lost = run("get", "new", "--vivify", "30s", "--wait", "20ms")
    assert (lost.exit_code, lost.stdout) == (exits.NOT_SO, "")
    assert lost.stderr == "lost: somebody else is to refill it\nno such key\n"
    assert out("set", "new", "v", "--vivify", "6", "--ttl", "5s") == "created, revision 7\n"
    assert out("get", "new", "--vivify", "30s") == "v"
    again = run("set", "new", "v", "--vivify", "6")
    assert again.exit_code == exits.NOT_SO
    assert again.stderr == "the condition does not hold: it is at revision 7\n"
    early = run("get", "new", "--vivify", "30s", "--early", "5s")
    assert (early.exit_code, early.stdout, early.stderr) == (0, "v", "won, token 8\n")


def test_json() -> None:
    asked = ("get", "new", "--vivify", "30s", "--json")
    for said in ({"vivify": "won", "token": 6}, {"vivify": "lost", "token": None}):
        result = run(*asked)
        assert (result.exit_code, result.stderr) == (exits.NOT_SO, "")
        assert json.loads(result.stdout) == {"status": "missing"} | said
    out("set", "new", "v", "--vivify", "6")
    hit = json.loads(out(*asked))
    assert (hit["value"], hit["vivify"], hit["token"]) == ("v", "hit", None)


@pytest.mark.parametrize(
    "args",
    [
        ("get", "a", "--early", "5s"),
        ("get", "a", "--wait", "5s"),
        ("get", "a", "--vivify", "30"),
        ("get", "a", "--vivify", "11m"),
        ("get", "a", "--vivify", "30s", "--consistency", "stale"),
        ("set", "a", "v", "--vivify", "0"),
        ("set", "a", "v", "--vivify", "1", "--lease", "1"),
        ("set", "a", "v", "--vivify", "1", "--if-absent"),
        ("set", "a", "v", "--vivify", "1", "--if-revision", "1"),
    ],
)
def test_exit_2_usage(args: tuple[str, ...]) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (exits.USAGE, "")
    assert result.stderr
