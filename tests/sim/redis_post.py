"""Parcels in a stream: each is given to one consumer of a group, who may acknowledge it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from raftcache.command.values import Entries, Failure
from tests.sim.redis_keys import GROUP, PARCELS
from tests.sim.redis_ledger import Ledger
from tests.sim.redis_steps import UNKNOWN, Script, Step

if TYPE_CHECKING:
    import random


ANSWERS_LOST: Final = 0.1
"""Of those to consumers: what they were given is pending."""


class Post:
    """Scripts for all clients of one run. unique: makes names of parcels."""

    def __init__(
        self, ledger: Ledger, chance: random.Random, unique: Callable[[], tuple[bytes, ...]]
    ) -> None:
        self._ledger, self._chance, self._unique = ledger, chance, unique

    def next(self) -> Script:
        chance = self._chance
        match chance.randrange(7):
            case 0 | 1:
                return self._hand_in()
            case 2 | 3 | 4:
                return self._give(*chance.choice(((), (b"COUNT", b"2"), (b"BLOCK", b"0"))))
            case 5:
                return self._hand_over()
            case _:
                return self._hand_out()

    def _consumer(self) -> bytes:
        return b"driver%d" % self._chance.randrange(3)

    def _hand_in(self) -> Script:
        ledger, things = self._ledger.things["parcel"], self._unique()
        ledger.put(things)
        call = (b"XADD", PARCELS, b"*", b"thing", *things)
        (value,) = yield Step((call,), is_once=self._is_lucky())
        ledger.was_put(things, 1 if isinstance(value, bytes) else value)

    def _give(self, *options: bytes) -> Script:
        """What is new; without a count, all of it. At times the answer is lost on its way."""
        ledger, count_max = self._ledger.things["parcel"], 2 if b"COUNT" in options else 1000
        ledger.take(count_max)
        head = (b"XREADGROUP", b"GROUP", GROUP, self._consumer(), *options)
        call = (*head, b"STREAMS", PARCELS, b">")
        (value,) = yield Step((call,), is_once=self._is_lucky())
        if self._chance.random() < ANSWERS_LOST:
            value = UNKNOWN
        entries = _entries(value)
        ledger.was_taken(count_max, [thing for _, thing in entries], value)
        if isinstance(value, Failure) and value.text.startswith("NOGROUP"):
            yield Step(((b"XGROUP", b"CREATE", PARCELS, GROUP, b"0", b"MKSTREAM"),))
        elif entries and self._is_lucky():
            acknowledge = (b"XACK", PARCELS, GROUP, *[id for id, _ in entries])
            (count,) = yield Step((acknowledge,), is_once=self._is_lucky())
            if isinstance(count, int):
                self._ledger.acknowledged.update(thing for _, thing in entries)

    def _hand_out(self) -> Script:
        """What a consumer has, though it may not have been told so; and nothing acknowledged."""
        ledger, consumer = self._ledger, self._consumer()
        book, before = ledger.acknowledged, set(ledger.acknowledged)
        call = (b"XREADGROUP", b"GROUP", GROUP, consumer, b"COUNT", b"3", b"STREAMS", PARCELS, b"0")
        (value,) = yield Step((call,), is_once=self._is_lucky())
        told = [thing for _, thing in _entries(value)]
        self._ledger.world.count["parcels told again"] += len(told)
        if book is ledger.acknowledged and not before.isdisjoint(told):
            self._ledger.world.fail(
                "an acknowledged parcel was told again", f"{told} to {consumer!r}"
            )

    def _hand_over(self) -> Script:
        """Some of those that were given, from whoever has them."""
        call = (b"XAUTOCLAIM", PARCELS, GROUP, self._consumer(), b"0", b"0", b"COUNT", b"3")
        yield Step((call,), is_once=self._is_lucky())

    def _is_lucky(self) -> bool:
        return self._chance.random() < 0.5


def _entries(value: Any) -> list[tuple[bytes, bytes]]:
    """The ids of parcels, and the parcels, as XREADGROUP tells them of the one stream."""
    if not isinstance(value, Entries):
        return []
    return [(id, fields[1]) for _, entries in value.pairs for id, fields in entries]
