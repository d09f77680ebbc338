"""Lua scripts behind the Redis protocol: the transfers of resp_txn, each decided within a script.

A script reads the account, moves a share of it, and writes a field of the ledger; a look is a
script, too. What was lost, overwritten or done twice would show as there. Nobody is ever told that
a key has changed: the node sees to that.
"""

from __future__ import annotations

from typing import Any, Final

from chaos.resp import Api
from chaos.workloads.base import Client
from chaos.workloads.resp_txn import ACCOUNTS, RespTxn, balances_of

LOOK: Final = """
local one, other = redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])
local ledger = ARGV[1] == 'final' and redis.call('HGETALL', KEYS[3])
return {one, other, ledger or redis.call('HLEN', KEYS[3])}
"""

MOVE: Final = """
local source, target, share, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local had = tonumber(ARGV[5] or redis.call('HGET', KEYS[1], source))
local amount = math.floor(share * had)
redis.call('HSET', KEYS[1], source, had - amount)
redis.call('HINCRBY', KEYS[2], target, amount)
redis.call('HSET', KEYS[3], id, source .. ':' .. target .. ':' .. amount)
return amount
"""


class RespScript(RespTxn):
    name = "resp-script"
    about = "Redis: Lua scripts between hashes; nothing lost, no update overwritten"

    async def _look(self, client: Client, kind: str) -> None:
        async def look(api: Api) -> list[Any]:
            one, other, ledger = await api.eval(LOOK, 3, *self._keys, kind)
            lines = _pairs(ledger) if kind == "final" else ledger
            return [balances_of(_pairs(one) | _pairs(other)), lines]

        await client.attempt(kind, self._key, None, client.redis.answer(look), lambda did: did[0])

    async def _transfer(self, client: Client) -> None:
        source, target = client.dice.sample(ACCOUNTS, 2)
        argument: dict[str, Any] = {"id": client.unique(), "accounts": [source, target]}
        keys = self._hash(source), self._hash(target), self._keys[2]
        words = [source, target, str(client.dice.random()), argument["id"]]

        async def move(api: Api) -> bool:
            had = [await api.hget(keys[0], source)] if self.stage.blind_transfers else []
            argument["amount"] = await api.eval(MOVE, 3, *keys, *words, *had)
            return True

        work = client.redis.answer(move)
        await client.attempt("transfer", self._key, argument, work, lambda did: did[0])


def _pairs(flat: list[str]) -> dict[str, str]:
    """A hash as scripts have it: names and values by turns."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
