"""Processes that a measurement starts: their logs, what they use, and their end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

STOP_TIMEOUT_S = 15.0
READY_TIMEOUT_S = 60.0


class Processes:
    """Started by `start`, each with a log in the folder; all ended by `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> int:
        """Returns its id. In a session of its own: Ctrl-C reaches the benchmark, which stops it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{name}.log").open("ab") as log, uninterrupted():
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL; on return it is gone, and may be started again."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """SIGTERM to all, SIGKILL to those that remain; then nothing of it runs."""
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def cpu_s(self) -> float:
        return sum(cpu_s(process.pid) for process in self._running.values())

    def rss_bytes(self) -> int:
        return sum(rss_bytes(process.pid) for process in self._running.values())


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back until the block ends: a process that has been started must be
    noted, too, or nobody ends it. Other threads than the main one are never interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda number, _: held.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far, user and system, to a hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) << 10  # type: ignore[index]


def free_ports(count: int) -> list[int]:
    """All different; below those that the system gives to outgoing connections there is no race,
    here there is a small one: whoever loses it does not start, and says so."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def until(look: Callable[[], T | None], what: str, timeout_s: float = READY_TIMEOUT_S) -> T:
    """What `look` finds, as soon as it is true; raises RuntimeError after the timeout."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if found := look():
            return found
        time.sleep(0.05)
    raise RuntimeError(f"{what}: not in {timeout_s:g} s")
