"""The clock by which promises end."""

from __future__ import annotations

import time
from typing import Any

from raftcache.system import SystemClock


def test_the_clock_counts_the_time_that_a_machine_is_suspended() -> None:
    """A lease is over by then: the others did not wait. No test can suspend its machine."""
    steady: Any = SystemClock().monotonic_s
    assert steady.args == (time.CLOCK_BOOTTIME,)
    assert steady() <= steady()
