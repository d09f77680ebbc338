"""Where tests run when workers share them, as in scripts/test without arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import pytest

from raftcache.cli import local

PORTS_MIN: Final = 8_000
PORTS_EACH: Final = 4_000
"""Of each of three workers, below the ports that demos and chaos choose from."""


@pytest.fixture(scope="session", autouse=True)
def ports_of_its_own() -> Iterator[None]:
    """Workers choose from ports that do not meet: a node that is down would lose its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 3
    first = PORTS_MIN + PORTS_EACH * worker
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "PORT_MIN", first)
        patch.setattr(local, "PORT_MAX", first + PORTS_EACH)
        yield


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests with processes go to two workers, what computes file by file to whoever is free.

    The former wait more than they compute, so that three workers keep two cores busy; and more
    than two of their clusters at a time would disturb each other.
    """
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False  # but as they are collected: see below

    class ByKind(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _kind(nodeid) or nodeid.partition("::")[0]

    return ByKind(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest from begin to end comes first."""
    items.sort(key=lambda item: KINDS.index(_kind(item.nodeid)))


KINDS: Final = ("processes, a to c", "processes, d to z", "")
"""By the names of files; the first have chaos among them, and take somewhat longer."""


def _kind(nodeid: str) -> str:
    """One of KINDS; nothing for what only computes."""
    if not nodeid.startswith("tests/integration/"):
        return ""
    return KINDS[nodeid >= "tests/integration/test_d"]
