"""What a session makes of calls: who may call, transactions, replies, tokens; in Redis' words."""

from __future__ import annotations

import asyncio

import pytest

from raftcache.command.calls import LONG_MAX
from raftcache.command.values import Failure, Value
from raftcache.config import LostCalls
from raftcache.server.resp.client import Client
from raftcache.server.resp.encode import Pushes
from raftcache.server.resp.reference import Request
from raftcache.server.resp.session import STEPS_AT_ONCE, Session
from raftcache.server.resp.table import CallTable, Done
from raftcache.service.kv import Level, Want
from raftcache.service.wording import NOT_BEGUN
from tests.support.raw_http import run, until
from tests.support.raw_resp import RespClient, ServedResp, serving_resp
from tests.support.resp_wire import packed

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"


def pipeline(*calls: str) -> bytes:
    return b"".join(packed([word.encode() for word in call.split()]) for call in calls)


def error(text: str) -> bytes:
    return f"-{text}\r\n".encode()


# Transactions.


def test_exec_is_one_transaction() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            calls = pipeline("MULTI", "SET a 1", "PING", "incr a", "ECHO x", "EXEC", "GET a")
            answers = OK + QUEUED * 4 + b"*4\r\n+OK\r\n+PONG\r\n:2\r\n$1\r\nx\r\n$1\r\n2\r\n"
            await client.expect(calls, answers)
            data = [(b"SET", b"a", b"1"), (b"INCR", b"a")]
            assert served.redis.transactions == [(data, {}, b"")]
            await client.expect(pipeline("MULTI", "EXEC"), OK + b"*0\r\n")
            await client.expect(pipeline("MULTI", "PING", "EXEC"), OK + QUEUED + b"*1\r\n+PONG\r\n")

    run(test())


def test_a_long_transaction_of_the_doors_own_calls() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            calls = ["MULTI", *["PING"] * 1000, "EXEC"]
            answers = OK + QUEUED * 1000 + b"*1000\r\n" + b"+PONG\r\n" * 1000
            await client.expect(pipeline(*calls), answers)

    run(test())


def test_a_refused_call_breaks_a_transaction() -> None:
    async def test() -> None:
        aborted = error("EXECABORT Transaction discarded because of previous errors.")
        async with serving_resp() as served:
            client = await served.connect()
            wrong = error("ERR wrong number of arguments for 'get' command")
            await client.expect(pipeline("MULTI", "GET", "EXEC"), OK + wrong + aborted)
            unknown = error("ERR unknown command 'nothing', with args beginning with: 'a' ")
            calls = pipeline("MULTI", "nothing a", "SET a 1", "EXEC")
            await client.expect(calls, OK + unknown + QUEUED + aborted)
            assert served.redis.transactions == []
            # These do not break it.
            calls = pipeline("MULTI", "MULTI", "WATCH a", "SET a 1", "EXEC")
            nested = error("ERR MULTI calls can not be nested")
            watch = error("ERR WATCH inside MULTI is not allowed")
            await client.expect(calls, OK + nested + watch + QUEUED + b"*1\r\n+OK\r\n")

    run(test())


def test_words_of_a_transaction_outside_of_one() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.call("EXEC", answer=error("ERR EXEC without MULTI"))
            await client.call("DISCARD", answer=error("ERR DISCARD without MULTI"))
            await client.expect(
                pipeline("MULTI", "SET a 1", "DISCARD", "GET a"), OK + QUEUED + OK + b"$-1\r\n"
            )

    run(test())


@pytest.mark.parametrize("text", ["UNKNOWN the outcome: who knows", "CLUSTERDOWN nobody leads"])
@pytest.mark.parametrize(
    "calls",
    ["GET a", "SET a 1", "INCR n", "GET a,GET b", "MULTI,INCR n,EXEC", "WATCH a"],
)
def test_a_call_without_an_answer_may_end_the_connection(text: str, calls: str) -> None:
    """As the death of a Redis does: libraries know how to live with that."""

    async def test() -> None:
        async with serving_resp(resp_lost_calls=LostCalls.CLOSE) as served:
            client, other = await served.connect(), await served.connect()
            sent = calls.split(",")
            for call in sent[:-1] if sent[0] == "MULTI" else ():
                await client.line(*call.split())
            served.redis.failure = Failure(text)
            await client.send(pipeline(*(sent[-1:] if sent[0] == "MULTI" else sent)))
            assert await client.is_closed()
            served.redis.failure = Failure("ERR a mistake")
            await other.expect(pipeline("GET a"), error("ERR a mistake"))

    run(test())


def test_watch() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            one, other = await served.connect(), await served.connect()
            await one.expect(pipeline("SET a 1", "WATCH a b"), OK + OK)
            await one.expect(pipeline("MULTI", "INCR a"), OK + QUEUED)
            await other.call("SET", "b", "1", answer=OK)
            await one.expect(pipeline("EXEC", "GET a"), b"*-1\r\n$1\r\n1\r\n")
            # EXEC has ended the watch.
            await one.expect(pipeline("MULTI", "INCR a", "EXEC"), OK + QUEUED + b"*1\r\n:2\r\n")
            # A key that is watched again keeps its first revision.
            await one.call("WATCH", "a", answer=OK)
            await other.call("SET", "a", "7", answer=OK)
            calls = pipeline("WATCH a", "MULTI", "PING", "EXEC")
            await one.expect(calls, OK + OK + QUEUED + b"*-1\r\n")
            # These end it, too.
            for end in ("UNWATCH", "DISCARD", "RESET"):
                await one.call("WATCH", "a", answer=OK)
                await other.call(
                    "INCR", "a", answer=b":%d\r\n" % (int(served.redis.data[b"a"]) + 1)
                )
                before = pipeline("MULTI", end) if end == "DISCARD" else pipeline(end)
                said = {"UNWATCH": OK, "DISCARD": OK + OK, "RESET": b"+RESET\r\n"}[end]
                calls = before + pipeline("MULTI", "PING", "EXEC")
                await one.expect(calls, said + OK + QUEUED + b"*1\r\n+PONG\r\n")

    run(test())


def test_a_watch_that_cannot_be_had() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            served.redis.failure = Failure("CLUSTERDOWN no leader")
            await client.call("WATCH", "a", answer=error("CLUSTERDOWN no leader"))
            calls = pipeline("MULTI", "SET a 1", "PING", "EXEC")
            await client.expect(calls, OK + QUEUED * 2 + error("CLUSTERDOWN no leader"))
            assert served.redis.transactions == [([(b"SET", b"a", b"1")], {}, b"")]

    run(test())


def test_a_transaction_has_a_limit() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.call("MULTI", answer=OK)
            value = b"x" * (1 << 20)
            for _ in range(5):
                await client.call(b"SET", b"a", value[:-100], answer=QUEUED)
            too_long = error("ERR the transaction is too long")
            await client.call(b"SET", b"a", value, answer=too_long)
            aborted = error("EXECABORT Transaction discarded because of previous errors.")
            await client.call("EXEC", answer=aborted)
            await client.call("PING", answer=b"+PONG\r\n")

    run(test())


def test_a_transaction_has_few_calls_that_take_long() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            for count, last in (
                (LONG_MAX, QUEUED),
                (LONG_MAX + 1, error(f"ERR a transaction has at most {LONG_MAX} LCS")),
            ):
                await client.call("MULTI", answer=OK)
                for _ in range(count - 1):
                    await client.call("lcs", "a", "b", answer=QUEUED)
                await client.call("LCS", "a", "b", answer=last)
                if last == QUEUED:
                    await client.call("DISCARD", answer=OK)
            aborted = error("EXECABORT Transaction discarded because of previous errors.")
            await client.call("EXEC", answer=aborted)

    run(test())


def test_many_calls_of_the_door_let_others_have_their_turn() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            one, other = await served.connect(), await served.connect()
            await other.call("PING", answer=b"+PONG\r\n")
            count = 10 * STEPS_AT_ONCE
            turns = 0

            def turn() -> None:
                nonlocal turns
                turns += 1
                asyncio.get_running_loop().call_soon(turn)

            session = next(iter(served.clients))
            assert isinstance(session, Session)
            session.take([[b"PING"] for _ in range(count)])
            turn()
            assert await one.receive(7 * count) == b"+PONG\r\n" * count
            assert turns >= 9
            # Who goes in between is forgotten.
            session.take([[b"PING"] for _ in range(count)])
            one.writer.transport.abort()
            await until(lambda: len(served.clients) == 1)
            await other.call("PING", answer=b"+PONG\r\n")

    run(test())


# Rooms whose answers take time, or are several.


def odd_room(table: CallTable) -> None:
    waiting: list[Done] = []

    def wait(client: Client, call: Request, done: Done) -> None:
        waiting.append(done)

    def release(client: Client, call: Request) -> Value:
        for done in waiting:
            done(len(waiting))
        return len(waiting)

    def fail(client: Client, call: Request) -> Value:
        raise ZeroDivisionError

    def subscribe(client: Client, call: Request) -> Value:
        client.subscriptions += 1
        return Pushes([[b"subscribe", channel, 1] for channel in call[1:]])

    table.add_asking("WAIT", wait, within_multi=lambda client, call: b"at once")
    table.add("ROLE", release)
    table.add("DBSIZE", fail)
    table.add("SUBSCRIBE", subscribe, is_refused_in_multi=True)


def test_an_answer_that_takes_time_holds_up_its_own_connection_only() -> None:
    async def test() -> None:
        async with serving_resp(odd_room) as served:
            one, other = await served.connect(), await served.connect()
            await one.send(pipeline("PING", "WAIT 0 0", "SET a 1"))
            assert await one.receive(7) == b"+PONG\r\n"
            await other.call("GET", "a", answer=b"$-1\r\n")
            await other.call("ROLE", answer=b":1\r\n")
            await one.expect(b"", b":1\r\n+OK\r\n")
            calls = pipeline("MULTI", "WAIT 0 0", "EXEC")
            await one.expect(calls, OK + QUEUED + b"*1\r\n$7\r\nat once\r\n")

    run(test())


def test_an_answer_for_a_client_that_has_gone() -> None:
    async def test() -> None:
        async with serving_resp(odd_room) as served:
            one, other = await served.connect(), await served.connect()
            await one.send(pipeline("WAIT 0 0"))
            await until(lambda: len(served.clients) == 2)
            one.writer.transport.abort()
            await until(lambda: len(served.clients) == 1)
            await other.call("ROLE", answer=b":1\r\n")

    run(test())


def test_a_mistake_of_a_room_is_an_error() -> None:
    async def test() -> None:
        async with serving_resp(odd_room) as served:
            client = await served.connect()
            mistake = "ERR internal error: this node made a mistake; its log tells more"
            await client.expect(pipeline("DBSIZE", "PING"), error(mistake) + b"+PONG\r\n")

    run(test())


def test_who_listens_in_resp2_has_few_calls() -> None:
    async def test() -> None:
        async with serving_resp(odd_room) as served:
            client = await served.connect()
            calls = pipeline(
                "MULTI", "SUBSCRIBE c", "DISCARD", "SUBSCRIBE c d", "GET a", "PING", "PING x"
            )
            said = b"3\r\n$9\r\nsubscribe\r\n$1\r\n%b\r\n:1\r\n"
            refused = error(
                "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT /"
                " RESET are allowed in this context"
            )
            answers = (
                OK
                + error("ERR Command not allowed inside a transaction")
                + OK
                + b"*"
                + said % b"c"
                + b"*"
                + said % b"d"
                + refused
                + b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
                + b"*2\r\n$4\r\npong\r\n$1\r\nx\r\n"
            )
            await client.expect(calls, answers)

    run(test())


# Who is there.


def test_the_password() -> None:
    async def test() -> None:
        async with serving_resp(password="secret") as served:
            client = await served.connect()
            no_auth = error("NOAUTH Authentication required.")
            wrong = error("WRONGPASS invalid username-password pair or user is disabled.")
            hello = error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the"
                " HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client"
                " and select the RESP protocol version at the same time"
            )
            await client.expect(
                pipeline("GET a", "PING", "GET"),
                no_auth * 2 + error("ERR wrong number of arguments for 'get' command"),
            )
            await client.expect(
                pipeline("AUTH x", "AUTH secret x", "AUTH a b c"),
                wrong * 2 + error("ERR syntax error"),
            )
            await client.expect(pipeline("HELLO 3", "HELLO 3 AUTH default x"), hello + wrong)
            await client.expect(pipeline("MULTI"), no_auth)
            keys = " ".join("k" * 20)
            await client.expect(pipeline("AUTH secret", f"DEL {keys}"), OK + b":0\r\n")
            await client.expect(pipeline("RESET", "GET a"), b"+RESET\r\n" + no_auth)
            await client.expect(pipeline("HELLO 3 AUTH default secret")[:-1], b"")
            await client.send(b"\n")
            assert (await client.reader.readuntil(b"\r\n")) == b"%7\r\n"

    run(test())


def test_no_password() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            none = (
                "ERR AUTH <password> called without any password configured for the default user."
                " Are you sure your configuration is correct?"
            )
            await client.call("AUTH", "x", answer=error(none))
            await client.call("AUTH", "default", "x", answer=OK)
            wrong = "WRONGPASS invalid username-password pair or user is disabled."
            await client.call("AUTH", "other", "x", answer=error(wrong))

    run(test())


def test_hello() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            body = (
                b"$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n"
                b"$5\r\nproto\r\n:%d\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
                b"$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
            )
            await client.call("HELLO", answer=b"*14\r\n" + body % 2)
            calls = pipeline("GET a", "HELLO 3 SETNAME me", "GET a")
            await client.expect(calls, b"$-1\r\n%7\r\n" + body % 3 + b"_\r\n")
            await client.call("CLIENT", "GETNAME", answer=b"$2\r\nme\r\n")
            await client.call("HELLO", answer=b"%7\r\n" + body % 3)
            for call, text in (
                ("HELLO x", "ERR Protocol version is not an integer or out of range"),
                ("HELLO 4", "NOPROTO unsupported protocol version"),
                ("HELLO 3 AUTH x", "ERR Syntax error in HELLO option 'AUTH'"),
                ("HELLO 2 setname", "ERR Syntax error in HELLO option 'setname'"),
                ("SELECT 1", "ERR DB index is out of range"),
                ("SELECT x", "ERR value is not an integer or out of range"),
            ):
                await client.expect(pipeline(call), error(text))
            await client.expect(pipeline("SELECT 0", "READONLY", "READWRITE"), OK * 3)
            await client.expect(pipeline("RESET", "GET a"), b"+RESET\r\n$-1\r\n")
            await client.call("CLIENT", "GETNAME", answer=b"$-1\r\n")

    run(test())


# Replies.


def test_client_reply() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            calls = pipeline(
                "CLIENT REPLY SKIP", "SET a 1", "GET a", "CLIENT REPLY SKIP", "nothing"
            )
            await client.expect(calls, b"$1\r\n1\r\n")
            calls = pipeline("CLIENT REPLY OFF", "SET a 2", "PING", "nothing", "CLIENT REPLY ON")
            await client.expect(calls + pipeline("GET a"), OK + b"$1\r\n2\r\n")
            assert [len(stage) for stage in served.redis.stages] == [1, 1, 1, 1]
            await client.call("CLIENT", "REPLY", "x", answer=error("ERR syntax error"))

    run(test())


# What is raftcache's own.


def test_idempotency_numbers_writes_and_transactions() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            calls = pipeline(
                "CLIENT IDEMPOTENCY me 7",
                "SET a 1",
                "GET a",
                "INCR a",
                "SET a",
                "MULTI",
                "INCR a",
                "EXEC",
                "INCR a",
                "CLIENT IDEMPOTENCY OFF",
                "INCR a",
            )
            wrong = error("ERR wrong number of arguments for 'set' command")
            answers = (
                OK
                + OK
                + b"$1\r\n1\r\n:2\r\n"
                + wrong
                + OK
                + QUEUED
                + b"*1\r\n:3\r\n:4\r\n"
                + OK
                + b":5\r\n"
            )
            await client.expect(calls, answers)
            redis = served.redis
            assert redis.tokens == [[b"me:7", b"", b"me:8"], [b"me:10"], None]
            assert [token for _, _, token in redis.transactions] == [b"me:9"]
            await client.expect(
                pipeline("CLIENT IDEMPOTENCY b", "GET a", "SET a 1"), OK + b"$1\r\n5\r\n" + OK
            )
            assert redis.tokens[3:] == [[b"", b"b:1"]]

    run(test())


def test_calls_that_were_not_begun_are_the_next_stage_under_the_same_numbers() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client, redis = await served.connect(), served.redis
            redis.at_once_max = 2
            calls, plain = ["INCR a", "GET a", "SET b 1", "GET b", "INCR a"], b":2\r\n$1\r\n2\r\n"
            numbered = pipeline("CLIENT IDEMPOTENCY me 7", *calls, "INCR a", "PING", "INCR a")
            first = b":1\r\n$1\r\n1\r\n+OK\r\n$1\r\n1\r\n"
            await client.expect(numbered, OK + first + b":2\r\n:3\r\n+PONG\r\n:4\r\n")
            tokens = [number for stage in redis.tokens for number in (stage or ())[:2]]
            assert tokens == [b"me:7", b"", b"me:8", b"", b"me:9", b"me:10", b"me:11"]
            # Of all kinds: the usual ones, those that are taken quickly, and more than one stage.
            await client.expect(pipeline("CLIENT IDEMPOTENCY OFF", "SET a 1"), OK + OK)
            await client.expect(pipeline("INCR a", "GET a", "INCR a"), plain + b":3\r\n")
            await client.expect(pipeline(*["GET a"] * 7), b"$1\r\n3\r\n" * 7)
            many = pipeline(*["INCR n"] * 1100)
            await client.expect(many, b"".join(b":%d\r\n" % each for each in range(1, 1101)))
            await client.expect(pipeline("CLIENT REPLY OFF", *calls, "CLIENT REPLY ON"), OK)
            await client.expect(pipeline("GET a"), b"$1\r\n5\r\n")

    run(test())


@pytest.mark.parametrize("calls", [("INCR a",), ("MULTI", "INCR a", "EXEC")])
def test_numbered_writes_behind_one_without_an_answer_wait_for_its_number(
    calls: tuple[str, ...],
) -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client, redis = await served.connect(), served.redis
            queued = len(calls) > 1
            first = OK + QUEUED if queued else b""
            await client.expect(pipeline("CLIENT IDEMPOTENCY me 7"), OK)
            redis.failure = Failure("UNKNOWN the outcome: who knows")
            await client.expect(pipeline(*calls), first + error("UNKNOWN the outcome: who knows"))
            redis.failure = None
            held = error(NOT_BEGUN.text)
            await client.expect(pipeline("SET a 1", "GET a"), held + b"$-1\r\n")
            await client.expect(pipeline("MULTI", "SET a 1", "EXEC"), OK + QUEUED + held)
            done = b"*1\r\n:1\r\n" if queued else b":1\r\n"
            await client.expect(pipeline("CLIENT IDEMPOTENCY me 7", *calls), OK + first + done)
            await client.expect(pipeline("SET a 5"), OK)
            assert redis.tokens[-1] == [b"me:8"]

    run(test())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (["IDEMPOTENCY", "x" * 236], "ERR an idempotency id has 1 to 235 bytes"),
        (["IDEMPOTENCY", ""], "ERR an idempotency id has 1 to 235 bytes"),
        (["IDEMPOTENCY", "a", "x"], "ERR value is not an integer or out of range"),
        (["IDEMPOTENCY", "a", "-1"], "ERR value is not an integer or out of range"),
        (["IDEMPOTENCY", "a", "1", "2"], "ERR syntax error"),
        (["CONSISTENCY", "strong"], "ERR syntax error"),
        (["CONSISTENCY", "lease", "5"], "ERR syntax error"),
        (["CONSISTENCY", "stale", "-1"], "ERR value is not an integer or out of range"),
    ],
)
def test_ours_refused(call: list[str], text: str) -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.call("CLIENT", *call, answer=error(text))

    run(test())


def test_consistency() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            for words, want in (
                ("lease", Want(Level.LEASE)),
                ("STALE", Want(Level.STALE)),
                ("stale 50", Want(Level.STALE, 50)),
                ("linearizable", Want()),
            ):
                await client.expect(
                    pipeline(f"CLIENT CONSISTENCY {words}", "GET a"), OK + b"$-1\r\n"
                )
                assert served.redis.wants[-1] == want
            await client.expect(
                pipeline("CLIENT CONSISTENCY stale", "RESET", "GET a"), OK + b"+RESET\r\n$-1\r\n"
            )
            assert served.redis.wants[-1] == Want()

    run(test())


# CLIENT, CONFIG, COMMAND.


async def two(served: ServedResp) -> tuple[RespClient, RespClient]:
    one, other = await served.connect(), await served.connect()
    await one.call("PING", answer=b"+PONG\r\n")
    await other.call("PING", answer=b"+PONG\r\n")
    return one, other


def test_names_and_lists() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            one, other = await two(served)
            await one.call("CLIENT", "SETNAME", "me", answer=OK)
            await one.call("CLIENT", "SETINFO", "lib-name", "lib", answer=OK)
            await one.call("CLIENT", "SETINFO", "LIB-VER", "1.2", answer=OK)
            await one.call("CLIENT", "ID", answer=b":1\r\n")
            await other.call("MULTI", answer=OK)
            served.clock.now_s += 5
            lines = (await one.bulk("CLIENT", "LIST")).decode().splitlines()
            facts = [dict(fact.split("=", 1) for fact in line.split(" ")) for line in lines]
            assert [each["id"] for each in facts] == ["1", "2"]
            assert [each["name"] for each in facts] == ["me", ""]
            assert [each["flags"] for each in facts] == ["N", "x"]
            assert [each["multi"] for each in facts] == ["-1", "0"]
            assert [each["cmd"] for each in facts] == ["client", "multi"]
            assert (facts[0]["lib-name"], facts[0]["lib-ver"]) == ("lib", "1.2")
            assert facts[1]["idle"] == "5"
            assert facts[0]["laddr"] == f"127.0.0.1:{served.server.listening.port}"
            assert (await one.bulk("CLIENT", "INFO")).startswith(b"id=1 ")
            assert (await one.bulk("CLIENT", "LIST", "ID", "2", "9")).startswith(b"id=2 ")
            assert len((await one.bulk("CLIENT", "LIST", "TYPE", "normal")).splitlines()) == 2
            assert await one.bulk("CLIENT", "LIST", "TYPE", "pubsub") == b""

    run(test())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("LIST x", "ERR syntax error"),
        ("LIST TYPE x", "ERR Unknown client type 'x'"),
        ("LIST ID x", "ERR Invalid client ID"),
        ("KILL 1.2.3.4:5", "ERR No such client"),
        ("KILL ID x", "ERR client-id should be greater than 0"),
        ("KILL ID 0", "ERR client-id should be greater than 0"),
        ("KILL TYPE x", "ERR Unknown client type 'x'"),
        ("KILL USER x", "ERR No such user 'x'"),
        ("KILL ID 1 SKIPME x", "ERR syntax error"),
        ("KILL ID 1 ADDR", "ERR syntax error"),
        ("UNBLOCK x", "ERR value is not an integer or out of range"),
        ("UNBLOCK 1 x", "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        ("SETNAME a\nb", "ERR Client names cannot contain spaces, newlines or special characters."),
        ("SETINFO x y", "ERR Unrecognized option 'x'"),
        (
            "SETINFO LIB-NAME \x7f",
            "ERR lib-name cannot contain spaces, newlines or special characters.",
        ),
        ("NO-EVICT x", "ERR syntax error"),
    ],
)
def test_client_refused(call: str, text: str) -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.call("CLIENT", *call.split(" "), answer=error(text))

    run(test())


def test_kill() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            one, other = await two(served)
            await one.call("CLIENT", "KILL", "ID", "2", "USER", "default", answer=b":1\r\n")
            assert await other.is_closed()
            await one.call("CLIENT", "KILL", "ID", "1", answer=b":0\r\n")
            await one.call("CLIENT", "KILL", "ID", "1", "SKIPME", "no", answer=b":1\r\n")
            assert await one.is_closed()
            one, other = await two(served)
            (address,) = [client.address for client in served.clients if client.id == 4]
            await one.call("CLIENT", "KILL", address, answer=OK)
            assert await other.is_closed()

    run(test())


def test_unblock() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            one, other = await two(served)
            for how, answer in (
                ([], b"*-1\r\n"),
                (["ERROR"], error("UNBLOCKED client unblocked via CLIENT UNBLOCK")),
            ):
                await other.send(pipeline("BLPOP l 0", "PING"))
                await until(lambda: served.redis.held == 1)
                assert b" flags=b " in await one.bulk("CLIENT", "LIST", "ID", "2")
                await one.call("CLIENT", "UNBLOCK", "2", *how, answer=b":1\r\n")
                await other.expect(b"", answer + b"+PONG\r\n")
                assert served.redis.held == 0
            await one.call("CLIENT", "UNBLOCK", "2", answer=b":0\r\n")
            await one.call("CLIENT", "UNBLOCK", "9", answer=b":0\r\n")

    run(test())


def test_config() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            await client.call(
                "CONFIG",
                "GET",
                "DATABASES",
                "data*",
                answer=b"*2\r\n$9\r\ndatabases\r\n$1\r\n1\r\n",
            )
            await client.call(
                "CONFIG", "GET", "appendonly", answer=b"*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n"
            )
            await client.call("CONFIG", "GET", "nothing", answer=b"*0\r\n")
            unknown = "ERR Unknown option or number of arguments for CONFIG SET - 'nothing'"
            await client.call("CONFIG", "SET", "nothing", "1", answer=error(unknown))
            fixed = (
                "ERR CONFIG SET failed (possibly related to argument 'port')"
                " - can't set immutable config"
            )
            await client.call("CONFIG", "SET", "port", "1", answer=error(fixed))
            await client.call("TIME", answer=b"*2\r\n$10\r\n1800000000\r\n$6\r\n123000\r\n")
            await client.call("CONFIG", "RESETSTAT", answer=OK)
            assert served.counters.since_reset("connections_accepted") == 0
            assert served.counters.connections_open == 1

    run(test())


def test_command() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            get = (
                b"*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
                b"*3\r\n+@fast\r\n+@read\r\n+@string\r\n*0\r\n*0\r\n*0\r\n"
            )
            await client.call(
                "COMMAND", "INFO", "GET", "nothing", answer=b"*2\r\n" + get + b"*-1\r\n"
            )
            count = int((await client.line("COMMAND", "COUNT"))[1:])
            assert await client.line("COMMAND") == b"*%d" % count
            await client.close()
            client = await served.connect()
            assert await client.line("COMMAND", "DOCS") == b"*%d" % (2 * count), "of all"
            await client.close()
            client = await served.connect()
            keys = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"
            await client.call("COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2", answer=keys)
            for call, text in (
                ("GETKEYS PING", "ERR The command has no key arguments"),
                ("GETKEYS nothing a", "ERR Invalid command specified"),
                ("LIST FILTERBY x", "ERR syntax error"),
            ):
                words = ["COMMAND", *call.split()]
                if call == "GETKEYS PING":
                    words.append("x")
                await client.call(*words, answer=error(text))
            answer = b"*2\r\n$4\r\nmget\r\n$4\r\nmset\r\n"
            await client.call("COMMAND", "LIST", "FILTERBY", "PATTERN", "m?et", answer=answer)
            words = [b"ping", b"summary", b"Ping the server", b"since", b"1.0.0", b"group"]
            words += [b"connection", b"complexity", b"O(1)"]
            bulks = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
            docs = b"*2\r\n" + bulks[0] + b"*8\r\n" + b"".join(bulks[1:])
            await client.call("COMMAND", "DOCS", "ping", "nothing", answer=docs)

    run(test())


# What takes long.


def test_long_answers_of_the_door_have_a_turn_each() -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client, other = await served.connect(), await served.connect()
            count = 20
            await other.expect(pipeline("PING"), b"+PONG\r\n")
            await client.send(pipeline(*["COMMAND"] * count))
            await other.expect(pipeline("PING"), b"+PONG\r\n")
            sessions = [connection.session for connection in served.port.connections]
            assert [session.is_busy for session in sessions] == [True, False]
            assert sessions[0]._at < count

    run(test())


def test_a_list_of_many_clients_is_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.server.resp.people.LINES_AT_ONCE", 2)

    async def test() -> None:
        async with serving_resp() as served:
            clients = [await served.connect() for _ in range(5)]
            for client in clients:
                await client.line("CLIENT", "ID")
            first = clients[0]
            listed = (await first.bulk("CLIENT", "LIST")).splitlines()
            assert [line.split()[0] for line in listed] == [b"id=%d" % id for id in range(1, 6)]
            chosen = await first.bulk("CLIENT", "LIST", "ID", "4", "2", "77", "4", "3")
            ids = [line.split()[0] for line in chosen.splitlines()]
            assert ids == [b"id=4", b"id=2", b"id=4", b"id=3"]
            await first.expect(pipeline("MULTI", "CLIENT LIST", "PING", "EXEC"), OK + QUEUED * 2)
            assert (await first.reader.readline(), (await first.reader.readline())[:1]) == (
                b"*2\r\n",
                b"$",
            )
            await first.reader.readuntil(b"+PONG\r\n")
            # Who goes in the middle of it is told nothing more, and nobody else minds.
            await first.send(pipeline("CLIENT LIST"))
            await first.close()
            await clients[1].line("CLIENT", "LIST", "ID", "1")

    run(test())


@pytest.mark.parametrize("call", ["COMMAND INFO", "COMMAND DOCS", "CONFIG GET"])
def test_names_that_are_asked_for_are_not_without_end(call: str) -> None:
    async def test() -> None:
        async with serving_resp() as served:
            client = await served.connect()
            words = call.split() + ["get"] * 1001
            assert b" at most 1000 " in await client.line(*words)
            assert (await client.line(*words[:-1]))[:1] == b"*"

    run(test())
