"""Counts the instructions of the interpreter that a node executes, by function.

CPython tells a tracer of every instruction (sys.settrace, frame.f_trace_opcodes). The same code on
the same input gives the same count, whatever else the machine does. What is written in C counts as
the one instruction that calls it: so the counts say how much Python runs, not how long it takes.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple, TypeAlias

NOT_COUNTED: Final = (
    *("asyncio", "contextlib", "heapq"),
    *("tests.costs.cluster", "tests.costs.counting", "tests.costs.ground"),
)
"""The ground, and its loop; in production that is uvloop's, in C."""

Trace: TypeAlias = Callable[[FrameType, str, Any], Any]


class Function(NamedTuple):
    """Whose instructions were counted."""

    module: str
    name: str


@dataclass
class Counts:
    """By place, and there by function."""

    by_place: dict[str, Counter[Function]] = field(default_factory=dict)

    def of(self, *places: str) -> Counter[Function]:
        """Of these together."""
        return sum((self.by_place.get(place, Counter()) for place in places), Counter[Function]())


class _Place:
    """The tracers of one place: one for each piece of code, which it counts by itself."""

    def __init__(self) -> None:
        self._cells: dict[CodeType, tuple[Function, list[int]]] = {}
        self._tracers: dict[CodeType, Trace | None] = {}

    def enter(self, frame: FrameType, event: str, arg: object) -> Trace | None:
        """What sys.settrace wants: how the frame is traced from now on."""
        code = frame.f_code
        try:
            tracer = self._tracers[code]
        except KeyError:
            tracer = self._tracers[code] = self._tracer(frame)
        if tracer is not None:
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return tracer

    def _tracer(self, frame: FrameType) -> Trace | None:
        module = str(frame.f_globals.get("__name__", "?"))
        if module.startswith(NOT_COUNTED):
            return None
        cell = [0]
        self._cells[frame.f_code] = Function(module, frame.f_code.co_qualname), cell

        def count(frame: FrameType, event: str, arg: object) -> Trace:
            if event == "opcode":
                cell[0] += 1
            return count

        return count

    def counts(self) -> Counter[Function]:
        counts = Counter[Function]()
        for function, (count,) in self._cells.values():
            counts[function] += count
        return counts


class Instructions:
    """Counts what happens within at(place)."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._places.setdefault(place, _Place()).enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def counts(self) -> Counts:
        return Counts({place: counted.counts() for place, counted in self._places.items()})


class Kept:
    """What stays of some work: blocks of the interpreter's allocator, and objects that its
    collector has to look at, which is what makes it run. While it is off, it only counts.

    Not begun right after a collection: that frees the lists of what is kept for the next use.
    """

    def __init__(self) -> None:
        assert not gc.isenabled()
        self.blocks, self.objects = sys.getallocatedblocks(), gc.get_count()[0]

    def end(self) -> None:
        objects = gc.get_count()[0]
        self.objects = objects - self.objects
        self.blocks = sys.getallocatedblocks() - self.blocks


@contextmanager
def no_collector() -> Iterator[None]:
    """It only counts."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
