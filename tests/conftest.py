"""Where tests run when two workers share them, as in scripts/test without arguments."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that compute go to one worker, those with processes to another; then those of chaos.

    Those with processes wait more than they compute, and go one after the other, as they would
    disturb each other. Chaos minds nobody: each of its tests goes to whoever is free.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByKind(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/integration/test_chaos"):
                return nodeid
            return "processes" if nodeid.startswith("tests/integration/") else "computing"

    return ByKind(config, log)
