"""Registers behind the Redis protocol: GET, SET, GETSET, and SET IFEQ with GET, through any node.

Values are unique. Whoever replaces a value says which one it was, so all but SET are reads, too;
each key must look as if all had happened one at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from chaos.history import Anomaly, Operation, Outcome, by_key
from chaos.linearizability import Call
from chaos.resp import Api, Work
from chaos.workloads.base import Client, Stage, Workload, of_each
from chaos.workloads.register import State, Word, unexplained

KEYS: Final = 8

Send = Callable[[Api, bytes, str], Awaitable[Any]]
"""Writes a value to a key."""


class RespRegister(Workload):
    name = "resp-register"
    about = "Redis: GET, SET, GETSET, SET IFEQ; linearizable per key"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._known: dict[tuple[int, str], str] = {}

    async def act(self, client: Client) -> None:
        key = f"{self.name}:{client.dice.randrange(KEYS)}"
        known = self._known.get((client.number, key))
        chance = client.dice.random()
        if chance < 0.4:
            await self._read(client, key)
        elif chance < 0.55:
            await self._write(client, "set", key, None, lambda api, real, v: api.set(real, v))
        elif chance < 0.75 or known is None:
            await self._write(client, "getset", key, None, lambda api, real, v: api.getset(real, v))
        else:
            await self._write(
                client,
                "ifeq",
                key,
                known,
                lambda api, *pair: api.execute_command(
                    "SET", *pair, "IFEQ", known, "GET", get=True
                ),
            )

    async def finish(self, readers: Sequence[Client]) -> None:
        for key in range(KEYS):
            for reader in readers:
                await self._read(reader, f"{self.name}:{key}")

    async def _read(self, client: Client, key: str) -> None:
        real = self.stage.real_key(key)
        await self._do(client, "get", key, None, lambda api: api.get(real))

    async def _write(
        self, client: Client, kind: str, key: str, expected: str | None, send: Send
    ) -> None:
        value, real = client.unique(), self.stage.real_key(key)
        pair = [expected, value]
        done = await self._do(client, kind, key, pair, lambda api: send(api, real, value))
        if done is not None and (kind != "ifeq" or done == expected):
            self._known[client.number, key] = value

    async def _do(
        self,
        client: Client,
        kind: str,
        key: str,
        argument: list[str | None] | None,
        send: Work[Any],
    ) -> str | None:
        """What it answered, "" for nil; None if it did not."""

        async def work() -> str:
            found = await client.redis.ask(send)
            return "" if found is None else str(found)

        answer = await client.attempt(kind, key, argument, work(), lambda found: found)
        if answer and kind != "set":
            self._known[client.number, key] = answer
        return answer

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        return of_each(by_key(operations), _judge_key)


# --- the model ----------------------------------------------------------------------------------


def step(state: State, word: Word) -> State | None:
    """See linearizability.Step; there are no revisions here."""
    if word.needs not in ("*", state[0]):
        return None
    return state if word.sets is None else word.sets


def calls_of(operations: Sequence[Operation]) -> list[Call[Word]]:
    """The history of one key. As in register.py: what nobody saw explains nothing here."""
    seen_ns: dict[str, int] = {}
    for op in operations:
        if op.ok and op.kind != "set":
            at_ns = op.completed_ns or 0
            seen_ns[op.result] = min(at_ns, seen_ns.get(op.result, at_ns))
    calls = (_call(op, seen_ns) for op in operations)
    return [call for call in calls if call is not None]


def _call(op: Operation, seen_ns: dict[str, int]) -> Call[Word] | None:
    if op.outcome is Outcome.FAIL or (op.kind == "get" and not op.ok):
        return None
    end_ns = op.completed_ns or 0
    expected, value = op.argument or (None, None)
    is_read = op.kind == "get" or (op.ok and op.kind == "ifeq" and op.result != expected)
    if is_read:
        return Call(Word(op, op.result, None, None), op.invoked_ns, end_ns, changes=False)
    needs = expected or "*"
    if op.ok and op.kind == "getset":
        needs = op.result
    if op.outcome is Outcome.UNKNOWN:
        if value not in seen_ns:
            return None
        end_ns = max(seen_ns[value], op.invoked_ns)
    return Call(Word(op, needs, None, (str(value), 0)), op.invoked_ns, end_ns)


# --- the verdict --------------------------------------------------------------------------------


def _judge_key(key: str, operations: Sequence[Operation]) -> Iterator[Anomaly]:
    yield from unexplained(
        key, calls_of(operations), step, lambda last: f"it cannot end with: {last.operation}"
    )
