"""WAIT and WAITAOF: told at once where nothing more will be known, waited for where it may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from raftcache.cluster.group import Copies
from raftcache.command.values import Failure, Value
from raftcache.server.resp.client import Client
from raftcache.server.resp.waiting import Waits


class Copied:
    """A node that learns of copies as the test says."""

    def __init__(self, copies: Copies, is_durable: bool = True) -> None:
        self.is_durable, self.applied_index, self.now = is_durable, 7, copies
        self.asked: list[int] = []

    def copies(self, index: int) -> Copies:
        self.asked.append(index)
        return self.now


LEADER = Copies(here=True, others=1, is_final=False)
FOLLOWER = Copies(here=True, others=1, is_final=True)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


def someone() -> Client:
    outlet: Any = None
    return Client(outlet, 1, "", "")


async def asked(copied: Copied, *words: str) -> tuple[list[Value], Client]:
    """The answers so far, and who waits for them."""
    answers: list[Value] = []
    waits, client = Waits(copied, asyncio.get_running_loop()), someone()
    waits.wait(client, [word.encode() for word in words], answers.append)
    return answers, client


async def until(holds: Callable[[], Any]) -> None:
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("copies", "words", "answer"),
    [
        (LEADER, "WAIT 1 0", 1),
        (LEADER, "wait 0 0", 1),
        (LEADER, "WAIT -1 0", 1),
        (FOLLOWER, "WAIT 5 0", 1),
        (LEADER, "WAITAOF 1 1 0", [1, 1]),
        (FOLLOWER, "waitaof 0 5 0", [1, 1]),
    ],
)
def test_what_is_so_is_told_at_once(copies: Copies, words: str, answer: Value) -> None:
    async def test() -> None:
        answers, client = await asked(Copied(copies), *words.split())
        assert (answers, client.at_end) == ([answer], [])

    run(test)


def test_a_leader_waits_for_more_copies_of_what_was_applied_when_it_was_asked() -> None:
    async def test() -> None:
        copied = Copied(LEADER)
        answers, client = await asked(copied, "WAIT", "2", "0")
        copied.applied_index = 9
        await until(lambda: len(copied.asked) > 2)
        assert answers == []
        copied.now = Copies(here=True, others=2, is_final=False)
        await until(lambda: answers)
        assert (answers, client.at_end) == ([2], [])
        assert set(copied.asked) == {7}

    run(test)


def test_a_leader_that_leads_no_more_tells_what_is_certain() -> None:
    async def test() -> None:
        copied = Copied(LEADER)
        answers, _ = await asked(copied, "WAIT", "2", "0")
        copied.now = FOLLOWER
        await until(lambda: answers)
        assert answers == [1]

    run(test)


def test_its_own_disk_is_waited_for() -> None:
    async def test() -> None:
        copied = Copied(Copies(here=False, others=1, is_final=True))
        answers, _ = await asked(copied, "WAITAOF", "1", "1", "0")
        assert answers == []
        copied.now = FOLLOWER
        await until(lambda: answers)
        assert answers == [[1, 1]]

    run(test)


def test_the_time_is_over_and_what_is_so_is_told() -> None:
    async def test() -> None:
        answers, _ = await asked(Copied(LEADER), "WAIT", "2", "1")
        await until(lambda: answers)
        assert answers == [1]

    run(test)


def test_who_has_gone_is_not_waited_for() -> None:
    async def test() -> None:
        copied = Copied(LEADER)
        answers, client = await asked(copied, "WAIT", "2", "0")
        client.end()
        copied.now = Copies(here=True, others=2, is_final=False)
        seen = len(copied.asked)
        later, _ = await asked(Copied(LEADER), "WAIT", "2", "20")
        await until(lambda: later)
        assert (answers, len(copied.asked)) == ([], seen)

    run(test)


def test_within_a_transaction_nothing_is_waited_for() -> None:
    async def test() -> None:
        waits = Waits(Copied(LEADER), asyncio.get_running_loop())
        assert waits.now(someone(), [b"WAIT", b"2", b"0"]) == 1
        assert waits.now(someone(), [b"WAITAOF", b"1", b"2", b"0"]) == [1, 1]
        assert waits.now(someone(), [b"WAIT", b"x", b"0"]) == Failure(
            "ERR value is not an integer or out of range"
        )

    run(test)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("WAIT x 0", "value is not an integer or out of range"),
        ("WAIT 1 x", "timeout is not an integer or out of range"),
        ("WAIT 1 -1", "timeout is negative"),
        (f"WAIT 1 {1 << 62}", "timeout is out of range"),
        ("WAITAOF 2 1 0", "value is out of range, value must between 0 and 1"),
        ("WAITAOF -1 1 0", "value is out of range, value must between 0 and 1"),
        ("WAITAOF 0 -1 0", "value is out of range, must be positive"),
        ("WAITAOF 0 x 0", "value is not an integer or out of range"),
    ],
)
def test_what_makes_no_sense_is_refused_in_the_words_of_redis(words: str, refusal: str) -> None:
    async def test() -> None:
        answers, _ = await asked(Copied(LEADER), *words.split())
        assert answers == [Failure(f"ERR {refusal}")]

    run(test)


def test_without_fsync_nothing_is_on_a_disk_for_sure() -> None:
    async def test() -> None:
        copied = Copied(FOLLOWER, is_durable=False)
        answers, _ = await asked(copied, "WAITAOF", "1", "1", "0")
        (refusal,) = answers
        assert "appendonly is disabled" in refusal.text
        answers, _ = await asked(copied, "WAITAOF", "0", "1", "1")
        await until(lambda: answers)
        assert answers == [[0, 0]]
        answers, _ = await asked(copied, "WAIT", "1", "0")
        assert answers == [1]

    run(test)
