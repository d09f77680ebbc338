"""Clients that send odd calls and scripts through the Redis door: what it lets pass must apply.

python -m tests.model.odd_clients --seed 1 --pipelines 10000
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from typing import Final

from raftcache.command import codec
from raftcache.command.calls import Call
from raftcache.command.checks import check
from raftcache.command.limits import COMMAND_SIZE_BYTES_MAX
from raftcache.command.words import Command
from raftcache.errors import BadRequest, TooLarge
from raftcache.service.kv import Outcome
from tests.model.odd_calls import WORDS, OddCalls
from tests.support.fake_kv import FakeKv
from tests.support.redis_door import redis_door
from tests.support.resp_wire import packed

PATIENCE_S: Final = 60.0
READ_BYTES: Final = 1 << 20
STREAM_BYTES_MAX: Final = 1 << 26

SCRIPTS: Final = """
return redis.pcall(unpack(ARGV))
redis.setresp(3) return redis.pcall(unpack(ARGV))
redis.call(unpack(ARGV)) return redis.call(unpack(ARGV))
return {redis.pcall(unpack(ARGV)), {err = ARGV[1]}, {ok = ARGV[2]}, false, true, 1.5}
redis.call('SET', 'k1', 1) return redis.status_reply(ARGV[1])
redis.call('SET', 'k1', 1) return redis.error_reply(ARGV[1])
redis.call('SET', 'k1', 1) error(ARGV[1])
redis.call('INCR', 'n') redis.setresp(3) return {map = {[ARGV[1]] = {map = {a = 1}}}}
redis.call('INCR', 'n') redis.setresp(3) return {double = tonumber(ARGV[1])}
redis.call('INCR', 'n') return {big_number = ARGV[1]}
redis.call('INCR', 'n') return {verbatim_string = {format = 'txt', string = ARGV[1]}}
for place = 1, #ARGV do redis.pcall('SET', ARGV[place], ARGV[place]) end return ARGV
redis.call('INCR', 'n') return tonumber(ARGV[1])
redis.call('INCR', 'n') local deep = 1 for _ = 1, 130 do deep = {deep} end return deep
redis.call('SET', 'k1', cjson.encode(ARGV)) return cjson.decode(ARGV[1])
redis.call('SET', 'k1', cmsgpack.pack(ARGV)) return cmsgpack.unpack(ARGV[1])
return string.rep(ARGV[1], 300)
""".strip().splitlines()


class CheckingKv(FakeKv):
    """As the service: what is outside its limits, or too large, is not proposed."""

    def write(self, command: Command, done: Callable[[Outcome], None], width: int = 0) -> None:
        wrong = check(command)
        if wrong is not None:
            done(BadRequest(wrong))
            return
        encoded = codec.encode(command)
        if len(encoded) > COMMAND_SIZE_BYTES_MAX:
            done(TooLarge("more than an entry holds"))
            return
        assert codec.decode(codec.batch([encoded])) == [command], command
        super().write(command, done)


class OddClient:
    """One connection after the other; each awaits the answers to a pipeline."""

    def __init__(self, port: int, seed: int) -> None:
        self._dice = random.Random(seed)
        self._port, self._made = port, OddCalls(self._dice)
        self._writer: asyncio.StreamWriter | None = None
        self.calls = 0

    async def connect(self) -> None:
        """Again; it may speak another protocol then, or have numbers."""
        self.close()
        where = "127.0.0.1", self._port
        self._reader, self._writer = await asyncio.open_connection(*where, limit=STREAM_BYTES_MAX)
        if self._dice.random() < 0.5:
            self._writer.write(packed([b"HELLO", b"3"]))
        if self._dice.random() < 0.6:
            number = self._dice.randrange(1, 50)
            name = b"c%d" % self._dice.randrange(3)
            self._writer.write(packed([b"CLIENT", b"IDEMPOTENCY", name, b"%d" % number]))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    async def ask(self) -> bytes:
        """What a pipeline is answered, all of it."""
        assert self._writer is not None
        calls = self.pipeline()
        self.calls += len(calls)
        mark = b"%032x" % self._dice.getrandbits(128)
        self._writer.write(b"".join(map(packed, [*calls, (b"ECHO", mark)])))
        got = bytearray()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not got.endswith(mark + b"\r\n"):
                    piece = await self._reader.read(READ_BYTES)
                    assert piece, "the connection ended"
                    got += piece
        except (TimeoutError, AssertionError) as error:
            error.add_note(f"{calls!r:.3000}")
            raise
        assert b"internal error" not in got, (bytes(got), calls)
        return bytes(got)

    def pipeline(self) -> list[Call]:
        dice = self._dice
        count = 300 if dice.random() < 0.02 else dice.choice((1, 1, 2, 3, 8))
        calls = [self._call() for _ in range(count)]
        if count == 300 and dice.random() < 0.8:
            calls = calls[:1] * count
        if dice.random() < 0.3:
            calls = [(b"MULTI",), *calls, (b"EXEC",)]
        if dice.random() < 0.2:
            calls = [(b"WATCH", self._made.key(), self._made.key()), *calls]
        return calls

    def _call(self) -> Call:
        dice, call = self._dice, self._made.call()
        if dice.random() < 0.7:
            return call
        script = dice.choice(SCRIPTS).encode()
        keys = [self._made.key() for _ in range(dice.randrange(3))]
        arguments = call if dice.random() < 0.8 else [dice.choice(WORDS) for _ in range(3)]
        return (b"EVAL", script, b"%d" % len(keys), *keys, *arguments)


async def play(seed: int, pipelines: int) -> int:
    """How many calls were answered; fails with the seed and the pipeline."""
    async with redis_door(kv=CheckingKv()) as door:
        client = OddClient(door.port, seed)
        try:
            for number in range(pipelines):
                if number % 20 == 0:
                    await client.connect()
                await client.ask()
                door.kv.time_ms += (0, 0, 0, 1, 1000)[number % 5]
        except Exception as error:
            error.add_note(f"seed {seed}, pipeline {number}")
            raise
        finally:
            client.close()
        return client.calls


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pipelines", type=int, default=10_000)
    args = parser.parse_args(argv)
    print(f"{asyncio.run(play(args.seed, args.pipelines))} calls")
    return 0


if __name__ == "__main__":
    sys.exit(main())
