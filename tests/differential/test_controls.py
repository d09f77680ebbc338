"""The differential test, tested: quiet between two redis-servers, loud when one of them lies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.differential.events import Listening
from tests.differential.families import FAMILIES
from tests.differential.peers import REDIS_OPTIONS
from tests.differential.play import Side, Step
from tests.differential.search import Pair, search, signs_of
from tests.support.redis_server import redis_server
from tests.support.resp_wire import Reply, RespWire

SEED: Final = 7
EXAMPLES: Final = 25
LIE_EXAMPLES: Final = 600

Lie = Callable[[Step, Reply], Reply]


class Liar(Side):
    """A redis-server with one thing wrong."""

    def __init__(self, address: Path, lie: Lie, deaf_to: bytes = b"") -> None:
        super().__init__(address)
        self._lie = lie
        self._deaf_to = deaf_to

    def call(self, step: Step) -> Reply:
        return self.pipeline([step])[0] if step.who == 0 else super().call(step)

    def pipeline(self, steps: Sequence[Step]) -> list[Reply]:
        heard = [self._heard(step) for step in steps]
        replies = [super(Liar, self).call(step) for step in heard]
        return [self._lie(step, reply) for step, reply in zip(steps, replies, strict=True)]

    def _heard(self, step: Step) -> Step:
        deaf = step.call[0] == self._deaf_to and len(step.call) == 3
        return Step(step.who, (b"ECHO", b"OK")) if deaf else step


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    one, other = (tmp_path_factory.mktemp("redis") for _ in range(2))
    with redis_server(one, *REDIS_OPTIONS) as left, redis_server(other, *REDIS_OPTIONS) as right:
        yield left, right


@pytest.mark.parametrize("name", FAMILIES)
def test_two_redis_servers_say_the_same(addresses: tuple[Path, Path], name: str) -> None:
    left, right = addresses
    with contextlib.closing(Pair(Side(left), Side(right))) as pair:
        family = FAMILIES[name]
        count = round(EXAMPLES * min(family.weight, 1))
        found = search(pair, family, count, SEED)
    assert not found.differences, str(found)
    assert found.examples == count
    assert not found.meant


def named(name: bytes, change: Callable[[Reply], Reply]) -> Lie:
    """A change of the replies to one command that are no errors."""

    def lie(step: Step, reply: Reply) -> Reply:
        return change(reply) if step.call[0] == name and reply[0] != "-" else reply

    return lie


def inside_exec(reply: Reply) -> Reply:
    sign, content = reply
    return (sign, [*content[:-1], ("$", b"lie")]) if content else reply


LIES: dict[str, tuple[str, Lie, bytes]] = {
    "a number is one more": ("strings", named(b"STRLEN", lambda r: (r[0], r[1] + 1)), b""),
    "a null has another sign": (
        "strings",
        named(b"GET", lambda r: ("*", None) if r[1] is None else r),
        b"",
    ),
    "an error has other words": (
        "lists",
        lambda _, reply: ("-", reply[1] + b".") if reply[0] == "-" else reply,
        b"",
    ),
    "a write is lost and acknowledged": (
        "strings",
        lambda _, reply: ("+", b"OK") if reply == ("$", b"OK") else reply,
        b"SET",
    ),
    "a member is left out": ("sets", named(b"SMEMBERS", lambda r: (r[0], r[1][1:])), b""),
    "a pick comes from nowhere": (
        "sets",
        named(b"SRANDMEMBER", lambda r: ("$", b"lie") if r[0] == "$" and r[1] else r),
        b"",
    ),
    "a scan ends too early": ("hashes", named(b"HSCAN", lambda r: (r[0], r[1][1:])), b""),
    "a double comes as text": (
        "sorted-sets",
        named(b"ZSCORE", lambda r: ("$", r[1]) if r[0] == "," else r),
        b"",
    ),
    "a transaction tells something else": ("transactions", named(b"EXEC", inside_exec), b""),
    "time stands still": (
        "keys",
        named(b"PTTL", lambda r: (r[0], r[1] + 60_000) if r[1] > 0 else r),
        b"",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_noticed(addresses: tuple[Path, Path], lie: str) -> None:
    left, right = addresses
    family, change, deaf_to = LIES[lie]
    with contextlib.closing(Pair(Side(left), Liar(right, change, deaf_to))) as pair:
        found = search(pair, FAMILIES[family], LIE_EXAMPLES, SEED)
    assert found.differences, f"nobody noticed that {lie}"


def test_an_event_that_is_missing_is_noticed(addresses: tuple[Path, Path]) -> None:
    left, right = addresses
    strings = FAMILIES["strings"]
    with (
        contextlib.closing(Listening(Side(left), Side(right))) as pair,
        contextlib.closing(RespWire(right)) as wire,
    ):
        assert not search(pair, strings, EXAMPLES, SEED).differences
        for events, is_noticed in ((b"KEg", True), (b"KEA", False)):
            wire.call(b"CONFIG", b"SET", b"notify-keyspace-events", events)
            assert bool(search(pair, strings, EXAMPLES, SEED).differences) == is_noticed


def test_a_difference_is_told_in_few_steps(addresses: tuple[Path, Path]) -> None:
    left, right = addresses
    lie = named(b"INCR", lambda r: (r[0], r[1] + 1))
    with contextlib.closing(Pair(Side(left), Liar(right, lie))) as pair:
        found = search(pair, FAMILIES["strings"], LIE_EXAMPLES, SEED)
    [differs] = found.differences.values()
    assert signs_of(differs) == ("INCR", ":", ":")
    assert len(differs.before) <= 1
