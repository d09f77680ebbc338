"""Which events each call is told of: the notifications of both sides, call by call."""

from __future__ import annotations

import contextlib
from typing import Final

from tests.differential import judge
from tests.differential.play import LOOKER, POPULATIONS, Differs, Side, Step
from tests.differential.search import Example, Pair
from tests.support.resp_wire import Reply, RespWire

EVENTS: Final = b"__keyevent@0__:*"
EXPIRED: Final = ("$", b"__keyevent@0__:expired")
"""Told when a server finds out, so not compared."""

MARK: Final = b"mark"
"""A channel: what is published there comes behind the events of the calls before."""


class Listening(Pair):
    """A Pair that compares events instead of replies; picks by chance are left out."""

    def play(self, example: Example) -> Differs | None:
        steps = tuple(step for step in example.steps if step.call[0].upper() not in POPULATIONS)
        told = [_told(side, steps, example.protocol) for side in self]
        for place, ((reply, redis), (our_reply, ours)) in enumerate(zip(*told, strict=True)):
            if judge.meant(steps[place].call, reply, our_reply) is not None:
                return None
            if redis != ours:
                return Differs(steps[:place], steps[place], redis, ours)
        return None


def _told(side: Side, steps: tuple[Step, ...], protocol: int) -> list[tuple[Reply, Reply]]:
    """The reply to each step, and its events."""
    side.begin(1, protocol)
    with contextlib.closing(RespWire(side.address)) as listener:
        listener.call(b"SUBSCRIBE", MARK)
        listener.call(b"PSUBSCRIBE", EVENTS)
        return [_told_of(side, step, listener) for step in steps]


def _told_of(side: Side, step: Step, listener: RespWire) -> tuple[Reply, Reply]:
    reply = side.call(step)
    side.ask(LOOKER, (b"PUBLISH", MARK, b""))
    events: list[Reply] = []
    while (message := listener.read())[1][1] != ("$", MARK):
        if EXPIRED not in message[1]:
            events.append(("*", message[1][2:]))
    return reply, ("events", events)
