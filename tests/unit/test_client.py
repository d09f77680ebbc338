"""The client against fakes: typed answers, failing over, and the three outcomes of a write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import pytest
from aiohttp import web

from raftcache.client import (
    NO_DEADLINE,
    Found,
    NodeStatus,
    RaftcacheClient,
    Status,
    Txn,
    Written,
    calling,
    endpoints_from,
)
from raftcache.client.attempts import Request, attempt_at, new_session
from raftcache.client.calling import TIMEOUT_S_MAX
from raftcache.errors import (
    BadConfig,
    BadRequest,
    Misused,
    NotLeader,
    Overloaded,
    QuotaExceeded,
    RaftcacheError,
    Refused,
    TooLarge,
    TooManyKeys,
    Unknown,
)
from tests.support.fake_node import (
    FakeNode,
    Mood,
    acts_and_breaks_off,
    babbles,
    breaks_off,
    fake_cluster,
    hangs,
    problem,
    says,
)

NO_LEADER = says(503, "no leader", definite=True, headers={"Retry-After": "1"})
UNKNOWN = says(503, "outcome unknown", definite=False)


class FixedDice:
    """No chance at all; tokens count up."""

    def __init__(self) -> None:
        self.thrown = 0

    def random(self) -> float:
        return 0.5

    def token(self, size_bytes: int) -> bytes:
        self.thrown += 1
        return self.thrown.to_bytes(size_bytes, "big")


@asynccontextmanager
async def cluster(
    size: int = 3, timeout_s: float = 5.0
) -> AsyncIterator[tuple[RaftcacheClient, list[FakeNode]]]:
    async with fake_cluster(size) as nodes:
        urls = [n.url for n in nodes]
        async with RaftcacheClient(urls, timeout_s=timeout_s, dice=FixedDice()) as client:
            yield client, nodes


def run(
    scenario: Callable[[RaftcacheClient, list[FakeNode]], Awaitable[None]],
    size: int = 3,
    timeout_s: float = 5.0,
) -> None:
    async def main() -> None:
        async with cluster(size, timeout_s) as (client, nodes):
            await scenario(client, nodes)

    asyncio.run(main())


NOBODY = "http://127.0.0.1:1"
"""A port that nobody listens on: it takes privileges, and its service died out long ago."""


# --- answers ----------------------------------------------------------------------------------


def test_every_call_and_its_typed_answer() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        assert await client.get(b"a") is None
        assert await client.ttl(b"a") is None
        assert await client.put(b"a", b"1") == Written(Status.CREATED, 1)
        assert await client.put(b"a", b"2", ttl_ms=1500) == Written(Status.CHANGED, 2)
        assert await client.get(b"a") == Found(b"2", "text/x-test", 2, 1, 2, 1500, "n1")
        assert await client.head(b"a") == Found(b"", "text/x-test", 2, 1, 2, 1500, "n1")
        assert await client.ttl(b"a") == 1500
        assert await client.persist(b"a") == Written(Status.CHANGED, 3)
        assert await client.ttl(b"a") == NO_DEADLINE
        assert await client.persist(b"a") == Written(Status.UNCHANGED, 3)
        assert await client.expire(b"a", 60_000) == Written(Status.CHANGED, 4)
        assert await client.ttl(b"a") == 60_000
        assert await client.incr(b"a", 40) == Written(Status.CHANGED, 5, 42)
        assert await client.append(b"a", b"!") == Written(Status.CHANGED, 6, 3)
        assert await client.delete(b"a") == Written(Status.DELETED, 6)
        assert await client.delete(b"a") == Written(Status.MISSING, 6)
        assert await client.expire(b"a", 1) == Written(Status.MISSING)
        assert await client.persist(b"a") == Written(Status.MISSING)

    run(scenario)


def test_conditions_that_do_not_hold_are_answers_with_the_current_revision() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        assert (await client.put(b"a", b"1", only_if_absent=True)).applied
        failed = Written(Status.PRECONDITION, 1)
        assert await client.put(b"a", b"2", only_if_absent=True) == failed
        assert await client.put(b"a", b"2", only_if_revision=7) == failed
        assert await client.delete(b"a", only_if_revision=7) == failed
        assert not failed.applied
        assert (await client.put(b"a", b"2", only_if_revision=1)).revision == 2

    run(scenario)


def test_keys_and_values_are_any_bytes() -> None:
    everything = bytes(range(256))

    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        for key in (everything, b"a/b?c#d%41", b".", b"..", b"\xff", b"\0", b"+ &="):
            await client.put(key, key + everything)
            got = await client.get(key)
            assert got is not None
            assert got.value == key + everything
        assert len(nodes[0].store.values) == 7

    run(scenario)


def test_keys_outside_the_limits_are_refused_before_anything_is_sent() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        with pytest.raises(BadRequest, match="must not be empty"):
            await client.get(b"")
        with pytest.raises(TooLarge, match="1025 bytes is over the limit of 1024"):
            await client.put(b"k" * 1025, b"")
        assert not any(n.seen for n in nodes)

    run(scenario)


def test_reads_say_how_fresh_they_want_to_be() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await client.get(b"a")
        await client.get(b"a", consistency="stale", max_staleness_ms=20)
        assert [dict(r.query) for r in nodes[0].seen] == [
            {"consistency": "linearizable"},
            {"consistency": "stale", "max_staleness": "20ms"},
        ]

    run(scenario)


def test_cluster_status_is_typed() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        got = await client.cluster()
        assert (got.node, got.role, got.leader, got.term) == ("n1", "leader", "n1", 3)
        assert (got.commit_index, got.applied_index, got.digest) == (10, 9, "00ff")
        assert got.members[0].lag == 1

    run(scenario)


def test_statuses_ask_every_endpoint_itself_and_once() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[1].always, nodes[2].always = NO_LEADER, babbles
        client.endpoints.append(NOBODY)
        got = list((await client.statuses()).values())
        assert isinstance(got[0], NodeStatus)
        assert isinstance(got[1], NotLeader)
        assert isinstance(got[2], Unknown)
        assert "like no raftcache node" in str(got[2])
        assert isinstance(got[3], Refused)
        assert "cannot be reached" in str(got[3])
        assert [len(n.seen) for n in nodes] == [1, 1, 1]

    run(scenario)


# --- failing over -----------------------------------------------------------------------------


@pytest.mark.parametrize("mood", [NO_LEADER, UNKNOWN, breaks_off, acts_and_breaks_off])
def test_reads_and_writes_move_on_to_the_next_endpoint(mood: object) -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = mood  # type: ignore[assignment]
        assert (await client.put(b"a", b"1")).revision == 1
        got = await client.get(b"a")
        assert got is not None
        assert got.served_by == "n2"
        assert nodes[0].store.applied == 1

    run(scenario)


def test_an_endpoint_that_nobody_listens_on_is_left_out() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        client.endpoints.insert(0, NOBODY)
        assert await client.put(b"a", b"1") == Written(Status.CREATED, 1)

    run(scenario, size=1)


def test_a_pause_that_took_too_long_does_not_hide_why_nobody_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def oversleep(pause_s: float) -> None:
        await asyncio.sleep(pause_s + 0.2)

    loop = SimpleNamespace(get_running_loop=asyncio.get_running_loop, sleep=oversleep)
    monkeypatch.setattr(calling, "asyncio", loop)

    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = says(503, "no leader", definite=True)
        with pytest.raises(NotLeader):
            await client.get(b"a")

    run(scenario, size=1, timeout_s=0.2)


def test_a_silent_node_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "Request", partial(Request, attempt_timeout_s=0.05))

    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = hangs
        assert await client.put(b"a", b"1") == Written(Status.CREATED, 1)
        assert nodes[0].store.applied == 1

    run(scenario)


@pytest.mark.parametrize("left_s", [0.0, -0.1])
def test_an_attempt_without_time_ends_and_is_definite(left_s: float) -> None:
    async def test() -> None:
        async with fake_cluster(1) as (node,), new_session() as http:
            node.always = hangs
            got = await attempt_at(http, node.url, Request("PUT", "/v1/kv/k"), left_s)
            assert isinstance(got, Refused)

    asyncio.run(asyncio.wait_for(test(), 20.0))


def test_the_endpoint_that_answered_is_asked_first_the_next_time() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].moods = [NO_LEADER]
        await client.get(b"a")
        await client.get(b"a")
        assert [len(n.seen) for n in nodes] == [1, 2, 0]

    run(scenario)


def test_a_write_is_repeated_with_the_same_idempotency_key_and_applied_once() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].moods = [acts_and_breaks_off]
        nodes[1].moods = [UNKNOWN]
        assert await client.incr(b"n") == Written(Status.CHANGED, 1, 1, replayed=True)
        await client.incr(b"n")
        tokens = [r.headers["Idempotency-Key"] for n in nodes for r in n.seen]
        assert len(tokens) == 4
        assert len(set(tokens)) == 2
        assert nodes[0].store.values[b"n"][0] == b"2"

    run(scenario)


def test_the_caller_may_bring_the_idempotency_key() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        assert not (await client.incr(b"n", idempotency_key="mine")).replayed
        assert (await client.incr(b"n", idempotency_key="mine")).replayed
        assert nodes[0].store.applied == 1

    run(scenario)


def test_an_idempotency_key_that_is_empty_is_not_taken_for_none() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await client.put(b"a", b"1", idempotency_key="")
        assert nodes[0].seen[0].headers["Idempotency-Key"] == ""  # which a real node refuses

    run(scenario)


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\ud800"])
def test_what_no_header_can_say_is_a_mistake_and_never_sent(text: str) -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        with pytest.raises(BadRequest):
            await client.put(b"a", b"1", idempotency_key=text)
        with pytest.raises(BadRequest):
            await client.put(b"a", b"1", content_type=text)
        assert not nodes[0].seen
        assert (await client.put(b"a", b"1")).revision == 1, "it serves on"

    run(scenario)


def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="not open: use it within `with`"):
        asyncio.run(RaftcacheClient([NOBODY]).get(b"a"))


def test_retries_go_round_until_a_leader_is_there() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        for node in nodes:
            node.moods = [NO_LEADER] * 3
        assert await client.put(b"a", b"1") == Written(Status.CREATED, 1)
        assert sum(len(n.seen) for n in nodes) == 10

    run(scenario)


# --- outcomes ---------------------------------------------------------------------------------


def test_refusals_alone_end_as_the_last_refusal() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        for node in nodes:
            node.always = NO_LEADER
        with pytest.raises(NotLeader):
            await client.put(b"a", b"1")
        with pytest.raises(NotLeader):
            await client.get(b"a")

    run(scenario, timeout_s=0.2)


def test_nobody_there_is_a_refusal() -> None:
    async def main() -> None:
        async with RaftcacheClient([NOBODY], timeout_s=0.2) as client:
            with pytest.raises(Refused, match="cannot be reached"):
                await client.put(b"a", b"1")

    asyncio.run(main())


@pytest.mark.parametrize("status", [200, 204, 302, 404, 409, 410, 412, 422])
@pytest.mark.parametrize(
    "body", ["<html>", "{}", '{"revision":7}', '{"type":"about:blank","title":"x"}']
)
def test_no_other_server_is_believed(status: int, body: str) -> None:
    """One that has come to listen where a node was: its 404 does not say that there is no key."""

    async def stranger(node: FakeNode, request: web.Request) -> web.Response:
        return web.Response(status=status, text=body if status != 204 else "")

    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        await client.put(b"a", b"1")
        nodes[0].always = stranger
        got = await client.get(b"a")
        assert got is not None
        assert got.value == b"1"
        assert (await client.head(b"a")) is not None
        nodes[1].always = nodes[2].always = stranger
        with pytest.raises(Refused, match="answers like no raftcache node"):
            await client.within(0.1).get(b"a")
        for write in (client.within(0.1).put(b"a", b"2"), client.within(0.1).delete(b"a")):
            with pytest.raises(Unknown, match="answers like no raftcache node"):
                await write

    run(scenario)


@pytest.mark.parametrize("mood", [UNKNOWN, breaks_off, hangs, babbles, says(500, "oh")])
def test_one_unknown_attempt_makes_a_write_unknown(mood: object) -> None:
    """Even when every later attempt is refused: the first may have been done, or may be yet."""

    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = mood  # type: ignore[assignment]
        nodes[1].always = nodes[2].always = NO_LEADER
        with pytest.raises(Unknown):
            await client.put(b"a", b"1")

    run(scenario, timeout_s=0.2)


def test_a_read_is_never_unknown() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        for node in nodes:
            node.always = UNKNOWN
        with pytest.raises(Refused):
            await client.get(b"a")

    run(scenario, timeout_s=0.2)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (409, BadRequest), (413, TooLarge), (414, TooLarge), (422, Misused)],
)
def test_mistakes_are_not_repeated(status: int, kind: type[RaftcacheError]) -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = says(status, "mend it", definite=True)
        with pytest.raises(RaftcacheError, match="mend it") as caught:
            await client.put(b"a", b"1")
        assert type(caught.value) is kind
        assert [len(n.seen) for n in nodes] == [1, 0, 0]

    run(scenario)


def test_a_mistake_found_after_an_unknown_attempt_is_unknown() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = UNKNOWN
        nodes[1].always = says(413, "too large", definite=True)
        with pytest.raises(Unknown):
            await client.put(b"a", b"1")

    run(scenario)


@pytest.mark.parametrize("first", [None, UNKNOWN, breaks_off])
def test_a_quota_that_is_reached_is_said_at_once(first: Mood | None) -> None:
    """It is remembered with the idempotency key: whoever asks again hears it again."""

    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        full = says(507, "quota exceeded", definite=True, quota="a")
        nodes[0].always, nodes[1].always = first or full, full
        with pytest.raises(QuotaExceeded, match="quota exceeded"):
            await client.put(b"a", b"1")
        assert [len(n.seen) for n in nodes[1:]] == [0 if first is None else 1, 0]

    run(scenario)


def test_without_a_key_an_attempt_before_may_have_used_up_the_quota() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = breaks_off
        nodes[1].always = says(507, "quota exceeded", definite=True, quota="a")
        txn = Txn()
        txn.then.put(b"a", b"1")
        with pytest.raises(Unknown):
            await client.txn(txn, once=False)

    run(scenario)


def test_room_in_memory_is_waited_for() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].moods = [says(507, "out of memory", definite=True)]
        assert (await client.put(b"a", b"1")).status is Status.CREATED

    run(scenario)


def test_quotas_are_changed_once_however_often_it_is_tried() -> None:
    """Without a key a late first attempt would undo what was set after its second."""

    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = breaks_off
        nodes[1].always = says(200, "", created=True, deleted=1)
        await client.set_quota(b"a", keys_max=1)
        assert await client.delete_quota(b"a")
        keys = [[seen.headers["Idempotency-Key"] for seen in n.seen] for n in nodes[:2]]
        assert keys[0][0] == keys[1][0] != keys[1][1]

    run(scenario)


class Full:
    """A node of a cluster that can remember no more keys; `lost`: writes without get no answer."""

    def __init__(self, *, lost: bool = False) -> None:
        self.lost = lost

    async def __call__(self, node: FakeNode, request: web.Request) -> web.StreamResponse:
        if "Idempotency-Key" in request.headers:
            return problem(429, "too many idempotency keys", definite=True)
        if self.lost:
            return await breaks_off(node, request)
        served = {"X-Raftcache-Served-By": node.name}
        return web.json_response({"revision": 1, "version": 1}, status=201, headers=served)


def keys_of(node: FakeNode) -> list[bool]:
    return ["Idempotency-Key" in seen.headers for seen in node.seen]


def test_what_the_cluster_cannot_remember_is_sent_without_a_key() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = Full()
        for _ in range(2):
            assert (await client.put(b"a", b"1")).status is Status.CREATED
        assert keys_of(nodes[0]) == [True, False, False], "it is not asked again at once"
        client._place.full_until_s = 0.0
        nodes[0].always = None
        assert (await client.put(b"a", b"1")).status is Status.CREATED
        assert keys_of(nodes[0])[3:] == [True]

    run(scenario)


@pytest.mark.parametrize("call", ["put", "delete", "append"])
def test_and_then_only_once(call: str) -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = Full(lost=True)
        with pytest.raises(Unknown):
            await getattr(client, call)(b"a", *([b"1"] if call != "delete" else []))
        assert keys_of(nodes[0]) == [True, False]
        assert nodes[1].seen == []

    run(scenario)


def test_what_was_refused_without_a_key_is_sent_again() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].moods = [Full(), NO_LEADER]
        nodes[1].always = Full()
        assert (await client.put(b"a", b"1")).status is Status.CREATED
        assert [keys_of(node) for node in nodes[:2]] == [[True, False], [False]]

    run(scenario)


def test_a_key_of_the_callers_own_is_never_left_out() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        for node in nodes:
            node.always = Full()
        with pytest.raises(TooManyKeys):
            await client.put(b"a", b"1", idempotency_key="mine")
        assert all(all(keys_of(node)) for node in nodes)

    run(scenario, timeout_s=0.3)


def test_after_an_unknown_attempt_the_key_is_needed() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        nodes[0].always = breaks_off
        nodes[1].always = nodes[2].always = Full()
        with pytest.raises(Unknown):
            await client.put(b"a", b"1")
        assert all(all(keys_of(node)) for node in nodes)

    run(scenario, timeout_s=0.3)


def test_overload_is_waited_out_as_told() -> None:
    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        overloaded = says(429, "too many requests", definite=True, headers={"Retry-After": "60"})
        nodes[0].moods = [overloaded]
        with pytest.raises(Overloaded) as caught:  # 60 s are more than it has left
            await client.put(b"a", b"1")
        assert caught.value.retry_after_s == 60
        nodes[0].moods = [says(429, "too many requests", headers={"Retry-After": "0"})]
        assert (await client.put(b"a", b"1")).status is Status.CREATED

    run(scenario)


@pytest.mark.parametrize("timeout_s", [0, -1, TIMEOUT_S_MAX + 1, float("nan")])
def test_a_timeout_ends_while_attempts_are_remembered(timeout_s: float) -> None:
    with pytest.raises(BadRequest, match="a timeout must be"):
        RaftcacheClient(["http://127.0.0.1:1"], timeout_s=timeout_s)


# --- endpoints --------------------------------------------------------------------------------


def test_endpoints_come_from_the_argument_the_environment_or_the_demo() -> None:
    environ = {"RAFTCACHE_ENDPOINTS": "http://b:2, https://c:3/"}
    assert endpoints_from("http://a:1", environ) == ["http://a:1"]
    assert endpoints_from(None, environ) == ["http://b:2", "https://c:3"]
    assert endpoints_from(None, {}) == [f"http://127.0.0.1:740{i}" for i in (1, 2, 3)]


@pytest.mark.parametrize(
    "said",
    [
        *("127.0.0.1:7401", "http://a:1,", "http://a/x", "ftp://a:1"),
        *("http://a:99999", "http://a:0", "http://[::1:7401", "http://:7401"),
    ],
)
def test_endpoints_that_are_none_are_named(said: str) -> None:
    with pytest.raises(BadConfig, match="must be the URL of a node"):
        endpoints_from(said, {})
    with pytest.raises(BadConfig, match="must be the URL of a node"):
        RaftcacheClient(said.split(","))


def test_a_slash_at_the_end_of_an_endpoint_is_not_the_begin_of_a_path() -> None:
    assert RaftcacheClient(["http://a:1/", "http://[::1]:2"]).endpoints == [
        "http://a:1",
        "http://[::1]:2",
    ]


def test_a_backup_that_is_refused_never_has_an_unknown_outcome() -> None:
    """It is a read; a node need not say that it certainly did not happen."""

    async def scenario(client: RaftcacheClient, nodes: list[FakeNode]) -> None:
        for node in nodes:
            node.always = says(503, "refused")
        with pytest.raises(Refused, match="refused"):
            await client.backup(lambda piece, size_bytes: None)
        assert [len(node.seen) for node in nodes] == [1, 1, 1]

    run(scenario)
