"""An open loop: requests are sent when they are due, whatever became of those before.

    python -m scripts.measuring.loads.openloop < spec.json      prints what was found, as JSON

A process of its own on one thread: epoll, sockets, and a timer of the kernel that wakes it when a
request is due (asyncio's timers are a millisecond coarse). A request that is due takes whichever
connection is free, or waits for one; one connection never has two under way. Latency counts from
when a request was *due*, so that a stall is paid by every request that fell into it ("coordinated
omission" avoided: Gil Tene, wrk2). How late this process itself was is measured beside it: from
when a request was due, or a connection became free for it, until it was sent.

Without a rate it is a closed loop: every connection asks again as soon as it was answered.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from scripts.measuring.loads.answers import HttpAnswer, RespAnswer
from scripts.measuring.loads.asks import Asks, requests
from scripts.measuring.loads.percentiles import percentile
from scripts.measuring.loads.schedule import NS_PER_S, Schedule

ROOT: Final = Path(__file__).parents[3]
PATIENCE_S: Final = 5.0
"""For the last answers; who has none by then counts with what it has waited."""
READ_SIZE_BYTES: Final = 1 << 18
LOADING_CONNECTIONS: Final = 32
LOADING_S_MAX: Final = 1800.0
CLOCK_MONOTONIC: Final = 1
TFD_TIMER_ABSTIME: Final = 1


@dataclass(frozen=True)
class Spec:
    """What is asked, where, and how often."""

    asks: Asks
    addresses: list[tuple[str, int]]
    """Host and port; the connections are spread over them."""
    connections: int
    seconds: float
    rate: float | None = None
    """Requests a second; a pipeline counts as one."""
    warmup_s: float = 0.0
    """What is due so early is sent, and not counted."""
    pid: int | None = None
    """Of the one that is asked: for `Found.stalls`, few requests, sent before everybody's work."""
    samples: str | None = None
    """A file for all requests: (due, latency), pairs of 64-bit nanoseconds of CLOCK_MONOTONIC."""


@dataclass(frozen=True)
class Spread:
    """Of latencies, in milliseconds; of none, all are 0."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class Found:
    """What came of it; failed requests are counted, and in nothing else."""

    rate: float
    """Good answers a second; a pipeline counts as one."""
    latency: Spread
    late: Spread
    """Of this process: no fault of those who are measured."""
    stalls: Spread
    """From sent to answered, without what the one that is asked (`Spec.pid`) waited for a
    processor meanwhile, and what this process came late: what remains is its own doing."""
    count: int
    failed: int
    unanswered: int
    cpu_us: float
    """What this process took for each request."""
    seconds: float
    """Until the last answer."""


class Running:
    """A loop in a process of its own, begun. Use it with `with`: nothing of it stays."""

    def __init__(self, spec: Spec) -> None:
        command = [sys.executable, "-m", "scripts.measuring.loads.openloop"]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for who began it, and ends it
        )
        assert self._process.stdin
        with self._process.stdin as told:
            told.write(json.dumps(asdict(spec)).encode())

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def stop(self) -> Found:
        """Before its seconds are over; what is under way is waited for."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> Found:
        """What came of it; raises RuntimeError if it failed."""
        assert self._process.stdout
        said = self._process.stdout.read()
        if self._process.wait() != 0:
            raise RuntimeError(f"the generator ended with {self._process.returncode}")
        return found_of(json.loads(said))


def run(spec: Spec) -> Found:
    """From its beginning to its end."""
    with Running(spec) as running:
        return running.wait()


def read(samples: Path) -> Iterator[tuple[int, int]]:
    """When each request was due, and its latency, as `Spec.samples` has them."""
    numbers = array("q", samples.read_bytes())
    return zip(numbers[::2], numbers[1::2], strict=True)


def load_all(asks: Asks, address: tuple[str, int]) -> float:
    """Put every key once; returns how many a second. Raises RuntimeError if one was not taken."""
    walk = replace(asks, operation="PUT", is_walk=True)
    found = run(Spec(walk, [address], LOADING_CONNECTIONS, LOADING_S_MAX))
    if found.failed or found.unanswered or found.count * asks.pipeline < asks.keys:
        raise RuntimeError(f"not all of {asks.keys} keys were taken: {found}")
    return found.rate * asks.pipeline


def found_of(words: dict[str, Any]) -> Found:
    latency, late, stalls = (Spread(**words.pop(name)) for name in ("latency", "late", "stalls"))
    return Found(latency=latency, late=late, stalls=stalls, **words)


def spread(latencies_ns: Iterable[int]) -> Spread:
    ordered = sorted(latencies_ns)
    if not ordered:
        return Spread(0.0, 0.0, 0.0, 0.0)
    return Spread(*(percentile(ordered, percent) / 1e6 for percent in (50, 99, 99.9, 100)))


# -- connections -----------------------------------------------------------------------------------


class Connection:
    """A socket, and the request that is under way on it."""

    def __init__(self, address: tuple[str, int], asks: Asks) -> None:
        self.address, self._asks = address, asks
        self.due_ns = 0
        """Of the request that is under way; 0 if there is none."""
        self.sent_ns = self.free_ns = 0
        """Since when there is none."""
        self.waited_ns = 0
        """By the one that is asked, for a processor, until it was sent."""
        self.left: bytes | memoryview = b""
        """What the socket did not take yet."""
        self.answer: HttpAnswer | RespAnswer
        self.socket: socket.socket

    def open(self) -> None:
        self.answer = RespAnswer(self._asks) if self._asks.wire == "resp" else HttpAnswer()
        self.socket = socket.create_connection(self.address, PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def send(self, data: bytes | memoryview) -> None:
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        self.left = memoryview(data)[sent:] if sent < len(data) else b""


class Timer:
    """A descriptor of the kernel that is readable whenever a period is over."""

    def __init__(self, first_ns: int, period_ns: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK)
        both = (*divmod(period_ns, NS_PER_S), *divmod(first_ns, NS_PER_S))  # struct itimerspec
        spec = (ctypes.c_long * 4)(*both)
        if self.fd < 0 or libc.timerfd_settime(self.fd, TFD_TIMER_ABSTIME, spec, None) < 0:
            raise OSError(ctypes.get_errno(), "no timer of the kernel")

    def rewind(self) -> None:
        os.read(self.fd, 8)


# -- the loop --------------------------------------------------------------------------------------


class OpenLoop:
    """Use it once."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._requests = requests(spec.asks)
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._free: deque[Connection] = deque()
        self._due_ns, self._latency_ns, self._late_ns = array("q"), array("q"), array("q")
        self._stall_ns = array("q")
        self._failed = 0
        self._read = memoryview(bytearray(READ_SIZE_BYTES))

    def run(self) -> Found:
        spec = self._spec
        for i in range(spec.connections):
            self._open(Connection(spec.addresses[i % len(spec.addresses)], spec.asks))
        gc.disable()
        if spec.pid:
            hurry()
        used_s = _cpu_s()
        first_ns = time.monotonic_ns()
        count = spec.asks.keys // spec.asks.pipeline if spec.asks.is_walk else None
        self._schedule = schedule = Schedule(first_ns, spec.seconds, spec.rate, count)
        signal.signal(signal.SIGTERM, lambda *_: schedule.stop())
        self._go_on(schedule)
        ended_ns = time.monotonic_ns()
        cpu_us = (_cpu_s() - used_s) * 1e6 / max(1, schedule.taken)
        unanswered = self._give_up(schedule, ended_ns)
        if spec.samples:
            pairs = array("q", bytes(16 * len(self._due_ns)))
            pairs[::2], pairs[1::2] = self._due_ns, self._latency_ns
            Path(spec.samples).write_bytes(pairs)
        return self._found(first_ns, ended_ns, unanswered, cpu_us)

    def _go_on(self, schedule: Schedule) -> None:
        """Until all is answered, or there is no more patience."""
        timer = Timer(schedule.first_ns, schedule.period_ns) if schedule.period_ns else None
        if timer:
            self._epoll.register(timer.fd, select.EPOLLIN)
        deadline_ns = schedule.end_ns + int(PATIENCE_S * NS_PER_S)
        now_ns = time.monotonic_ns()
        while now_ns < deadline_ns:
            if schedule.is_over(now_ns) and len(self._free) == len(self._by_fd):
                return
            while self._free and (due_ns := schedule.take(now_ns)) is not None:
                self._send(self._free.popleft(), due_ns)
            for fd, events in self._epoll.poll(0.1):
                if connection := self._by_fd.get(fd):
                    self._look(connection, fd, events)
                elif timer:
                    timer.rewind()
            now_ns = time.monotonic_ns()

    def _send(self, connection: Connection, due_ns: int) -> None:
        if self._spec.pid:
            connection.waited_ns = waited_ns(self._spec.pid)
        connection.due_ns, connection.sent_ns = due_ns, time.monotonic_ns()
        self._late_ns.append(connection.sent_ns - max(due_ns, connection.free_ns))
        connection.send(next(self._requests))
        if connection.left:
            self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _look(self, connection: Connection, fd: int, events: int) -> None:
        if events & select.EPOLLOUT and connection.left:
            connection.send(connection.left)
            if not connection.left:
                self._epoll.modify(fd, select.EPOLLIN)
        if not events & ~select.EPOLLOUT:
            return
        try:
            data = bytes(self._read[: connection.socket.recv_into(self._read)])
        except BlockingIOError:
            return
        except OSError:
            data = b""
        is_good = connection.answer.feed(data) if data else False
        if is_good is None:
            return
        connection.free_ns = time.monotonic_ns()
        if is_good:
            self._note(connection.due_ns, connection.free_ns)
            if self._spec.pid:
                away_ns = waited_ns(self._spec.pid) - connection.waited_ns
                away_ns += self._schedule.late_ns(connection.free_ns)
                taken_ns = connection.free_ns - connection.sent_ns
                self._stall_ns.append(max(0, taken_ns - away_ns))
        elif connection.due_ns:
            self._failed += 1
        connection.due_ns = 0
        if data:
            self._free.append(connection)
        else:
            self._open_again(connection, fd)

    def _note(self, due_ns: int, now_ns: int) -> None:
        self._due_ns.append(due_ns)
        self._latency_ns.append(now_ns - due_ns)

    def _open(self, connection: Connection) -> None:
        connection.open()
        self._by_fd[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)
        self._free.append(connection)

    def _open_again(self, connection: Connection, fd: int) -> None:
        """If it cannot be, go on with those that remain."""
        del self._by_fd[fd]
        connection.socket.close()
        try:
            self._open(connection)
        except OSError:
            if not self._by_fd:
                raise

    def _give_up(self, schedule: Schedule, now_ns: int) -> int:
        """What is under way, and what waited in vain for a connection, counts as answered now."""
        waiting = [c.due_ns for c in self._by_fd.values() if c.due_ns]
        if schedule.period_ns:
            while (due_ns := schedule.take(now_ns)) is not None:
                waiting.append(due_ns)
        for due_ns in waiting:
            self._note(due_ns, now_ns)
        return len(waiting)

    def _found(self, first_ns: int, ended_ns: int, unanswered: int, cpu_us: float) -> Found:
        from_ns = first_ns + int(self._spec.warmup_s * NS_PER_S)
        counted = [
            latency_ns
            for due_ns, latency_ns in zip(self._due_ns, self._latency_ns, strict=True)
            if due_ns >= from_ns
        ]
        seconds = (ended_ns - from_ns) / NS_PER_S
        return Found(
            rate=(len(counted) - unanswered) / seconds,
            latency=spread(counted),
            late=spread(self._late_ns),
            stalls=spread(self._stall_ns),
            count=len(counted),
            failed=self._failed,
            unanswered=unanswered,
            cpu_us=cpu_us,
            seconds=seconds,
        )


def waited_ns(pid: int) -> int:
    """How long a main thread that could have run had no processor, since it began."""
    return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[1])


def hurry() -> None:
    """Before everybody else, from now on, where that is allowed: for who hardly does anything."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    words = json.load(sys.stdin)
    addresses = [(host, port) for host, port in words.pop("addresses")]
    spec = Spec(asks=Asks(**words.pop("asks")), addresses=addresses, **words)
    json.dump(asdict(OpenLoop(spec).run()), sys.stdout)


if __name__ == "__main__":
    main()
