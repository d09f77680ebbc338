"""Transactions behind the Redis protocol: WATCH, HGETALL, MULTI, HSET, EXEC.

Money moves between fields of two hashes. A transfer writes what follows from what it saw, and a
field of a ledger under its own id, if nothing it saw has changed. So in the end each account is
what it had at first and what the transfers of the ledger moved: whatever was lost, overwritten or
done twice would show; and every look, one transaction, sees the same sum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import RedisError, WatchError

from chaos.history import Anomaly, Operation, Outcome
from chaos.resp import Api, meaning
from chaos.workloads.base import Client, Workload
from raftcache.errors import RaftcacheError, Refused, Unknown

ACCOUNTS: Final = ("a0", "a1", "a2", "b0", "b1")
"""Those of the two hashes begin with a and b."""
OPENING: Final = 100
LOOKS: Final = 0.3
OPENING_TRIES_MAX: Final = 20

Balances = dict[str, int]


class RespTxn(Workload):
    name = "resp-txn"
    about = "Redis: WATCH, MULTI, EXEC between hashes; nothing lost, no update overwritten"

    @property
    def _key(self) -> str:
        """What its keys begin with, and what stands for them in histories."""
        return f"{self.name}:"

    def _hash(self, account: str) -> bytes:
        return self.stage.real_key(f"{self._key}{account[0]}")

    @property
    def _keys(self) -> tuple[bytes, bytes, bytes]:
        """Of the accounts, and of the ledger."""
        return self._hash("a"), self._hash("b"), self.stage.real_key(f"{self._key}ledger")

    async def begin(self, client: Client) -> None:
        async def open_all(api: Api) -> None:
            async with api.pipeline(transaction=True) as pipe:
                for account in ACCOUNTS:
                    pipe.hsetnx(self._hash(account).decode(), account, str(OPENING))
                await pipe.execute()

        for _ in range(OPENING_TRIES_MAX):
            work = client.redis.answer(open_all)
            if await client.attempt("open", self._key, None, work, lambda _: True) is not None:
                return
        raise Unknown("the accounts could not be opened")

    async def act(self, client: Client) -> None:
        if client.dice.random() < LOOKS:
            await self._look(client, "look")
        else:
            await self._transfer(client)

    async def finish(self, readers: Sequence[Client]) -> None:
        for reader in readers:
            await self._look(reader, "final")

    async def _look(self, client: Client, kind: str) -> None:
        """At everything, in one transaction; of the ledger only its length until the end."""
        one, other, ledger = self._keys

        async def look(api: Api) -> list[Any]:
            async with api.pipeline(transaction=True) as pipe:
                pipe.hgetall(one).hgetall(other)
                pipe.hgetall(ledger) if kind == "final" else pipe.hlen(ledger)
                a, b, lines = await pipe.execute()
                return [balances_of(a | b), lines]

        await client.attempt(kind, self._key, None, client.redis.answer(look), lambda seen: seen[0])

    async def _watched(self, api: Api, pipe: Api) -> Balances:
        """What is there now, watched from now on; whatever fails here has changed nothing."""
        one, other, _ = self._keys
        try:
            if not self.stage.blind_transfers:
                await pipe.watch(one, other)
                api = pipe
            return balances_of(await api.hgetall(one) | await api.hgetall(other))
        except RedisError as e:
            if isinstance(meant := meaning(e), RaftcacheError):
                raise Refused(meant.detail) from None
            raise

    async def _transfer(self, client: Client) -> None:
        """The operation begins with WATCH; what is lost before EXEC has certainly not happened."""
        source, target = client.dice.sample(ACCOUNTS, 2)
        argument: dict[str, Any] = {"id": client.unique(), "accounts": [source, target]}
        share = client.dice.random()

        async def move(api: Api) -> bool:
            async with api.pipeline(transaction=True) as pipe:
                had = await self._watched(api, pipe)
                amount = round(share * had[source])
                argument["amount"] = amount
                pipe.multi()
                pipe.hset(self._hash(source), source, str(had[source] - amount))
                pipe.hset(self._hash(target), target, str(had[target] + amount))
                pipe.hset(self._keys[2], argument["id"], f"{source}:{target}:{amount}")
                try:
                    await pipe.execute()
                except WatchError as e:
                    if "while watching" in str(e):
                        raise
                    return False
                return True

        work = client.redis.answer(move)
        await client.attempt("transfer", self._key, argument, work, lambda did: did[0])

    @staticmethod
    def judge(operations: Sequence[Operation]) -> list[Anomaly]:
        looks = [op for op in operations if op.kind in ("look", "final") and op.ok]
        transfers = [op for op in operations if op.kind == "transfer"]
        finals = [op for op in looks if op.kind == "final"]
        found = list(_sums(looks))
        for final in finals:
            found += [*_balance(final), *_ledger(final, transfers)]
        if finals:
            done = {line for final in finals for line in final.result[1]}
            happened = [op for op in transfers if op.argument["id"] in done]
            found += [*_lengths(looks, happened), *_too_late(transfers, happened)]
        return found


def balances_of(fields: Mapping[str, str]) -> Balances:
    """A hash of accounts, or both of them, as it was read."""
    return {account: int(balance) for account, balance in fields.items()}


# --- the verdict --------------------------------------------------------------------------------


def _sums(looks: Sequence[Operation]) -> Iterator[Anomaly]:
    total = OPENING * len(ACCOUNTS)
    for look in looks:
        balances = look.result[0].values()
        if sum(balances) != total:
            sentence = f"{sum(balances)} is there in all, and not {total}"
            yield Anomaly(look.key, sentence, (look,))
        if min(balances, default=0) < 0:
            yield Anomaly(look.key, "an account is negative", (look,))


def _balance(final: Operation) -> Iterator[Anomaly]:
    """Each account is what the ledger says."""
    balances, ledger = final.result
    due = Counter(dict.fromkeys(ACCOUNTS, OPENING))
    for line in ledger.values():
        source, target, amount = line.split(":")
        due[source] -= int(amount)
        due[target] += int(amount)
    if balances != dict(due):
        sentence = f"by the ledger the accounts are {dict(due)}: an update was lost"
        yield Anomaly(final.key, sentence, (final,))


def _ledger(final: Operation, transfers: Sequence[Operation]) -> Iterator[Anomaly]:
    left = set(final.result[1])
    for op in transfers:
        is_done, said = op.argument["id"] in left, op.ok and op.result
        left.discard(op.argument["id"])
        if said and not is_done:
            yield Anomaly(op.key, "a transfer was acknowledged, and is lost", (op, final))
        elif is_done and op.outcome is Outcome.FAIL:
            yield Anomaly(op.key, "a transfer was refused, and yet done", (op, final))
        elif is_done and op.ok and not said:
            sentence = "a transfer was told that a key had changed, and yet done"
            yield Anomaly(op.key, sentence, (op, final))
    for line in sorted(left):
        yield Anomaly(final.key, f"{line!r} is in the ledger, and nobody asked for it", (final,))


def _lengths(looks: Sequence[Operation], happened: Sequence[Operation]) -> Iterator[Anomaly]:
    """A look sees all transfers that were acknowledged before it, and none from after it."""
    ends = sorted(op.completed_ns or 0 for op in happened if op.ok)
    begins = sorted(op.invoked_ns for op in happened)
    for look in looks:
        lines = look.result[1] if look.kind == "look" else len(look.result[1])
        least = bisect_left(ends, look.invoked_ns)
        most = bisect_left(begins, look.completed_ns or 0)
        if not least <= lines <= most:
            sentence = f"it saw {lines} transfers; {least} were done before it, {most} begun"
            yield Anomaly(look.key, sentence, (look,))


def _too_late(transfers: Sequence[Operation], happened: Sequence[Operation]) -> Iterator[Anomaly]:
    """Who was told that a key had changed: somebody was changing it meanwhile."""
    for op in transfers:
        if not op.ok or op.result:
            continue
        if not any(_may_meet(other, op) for other in happened):
            sentence = "a transfer was told that a key had changed, and none had"
            yield Anomaly(op.key, sentence, (op,))


def _may_meet(other: Operation, op: Operation) -> bool:
    """Of unknown outcome: it may have been done at any time after its begin."""
    ends_ns = (other.completed_ns or 0) if other.ok else 1 << 63
    return other.invoked_ns <= (op.completed_ns or 0) and op.invoked_ns <= ends_ns
