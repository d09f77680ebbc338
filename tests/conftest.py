"""Where tests run when two workers share them, as in scripts/test without arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

_OF_PROCESSES = ("integration", "differential")


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with real processes go to one worker, one after the other; all others to the other one.

    The first wait more than they compute, and would disturb each other; the others only compute.
    """
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        group = "processes" if folder in _OF_PROCESSES else "computing"
        item.add_marker(pytest.mark.xdist_group(group))
