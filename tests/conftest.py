"""Where tests run when two workers share them, as in scripts/test without arguments."""

from __future__ import annotations

from typing import Any

import pytest

_OF_PROCESSES = ("tests/integration/", "tests/differential/")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests with real processes go to one worker, one after the other; all others to the other one.

    The first wait more than they compute, and would disturb each other; the others only compute.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByKind(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "processes" if nodeid.startswith(_OF_PROCESSES) else "computing"

    return ByKind(config, log)
