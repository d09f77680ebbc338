"""Where tests run when workers share them, as in scripts/test without arguments."""

from __future__ import annotations

from typing import Any, Final

import pytest


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
