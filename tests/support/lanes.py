"""Lanes without a thread: what is submitted is done when the test says so, or at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

Work = Callable[[], Any]
Done = Callable[..., None]


class PromptLane:
    """Work is done at once."""

    def submit(self, work: Work, done: Done) -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as e:
            error = e
        done(result, error)


class HeldLane(PromptLane):
    """Work waits until it is let through."""

    def __init__(self) -> None:
        self.jobs: deque[tuple[Work, Done]] = deque()

    def submit(self, work: Work, done: Done) -> None:
        self.jobs.append((work, done))

    def run_one(self) -> None:
        super().submit(*self.jobs.popleft())

    def run_all(self) -> None:
        """And what comes of it."""
        while self.jobs:
            self.run_one()
