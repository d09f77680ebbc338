"""Where tests run when two workers share them, as in scripts/test without arguments."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that compute go to one worker, then those of chaos; those with processes to another.

    The last wait more than they compute, and go one after the other, as they would disturb each
    other; chaos minds nobody.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByKind(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/integration/test_chaos"):
                return "chaos"
            return "processes" if nodeid.startswith("tests/integration/") else "computing"

    return ByKind(config, log)
