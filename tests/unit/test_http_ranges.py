"""GET and DELETE /v1/kv: pages of one revision, counts, range deletes, and what is refused."""

from __future__ import annotations

import asyncio
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from raftcache.command import codec
from raftcache.command.limits import PAGE_KEYS_MAX
from raftcache.command.words import Command, Delete, Put
from raftcache.errors import NotLeader
from raftcache.service import ranges
from raftcache.service.kv import Level
from tests.support.raw_http import Response, Served, run, serving, until

Test = Callable[[Served], Awaitable[None]]


def apply(served: Served, *commands: Command) -> None:
    machine = served.kv.machine
    machine.apply(served.kv.time_ms, codec.batch([codec.encode(c) for c in commands]))


def play(test: Test, *keys: bytes) -> None:
    """With these keys, each its own value, in order from revision 1."""

    async def inner() -> None:
        async with serving() as served:
            apply(served, *[Put(key, key) for key in keys])
            await test(served)

    run(inner())


async def get(served: Served, query: str = "") -> Response:
    return await served.ask("GET", "/v1/kv" + (query and f"?{query}"))


async def keys(served: Served, query: str = "") -> list[str]:
    answer = await get(served, query)
    assert answer.status == 200, answer.body
    return [item["key"] for item in answer.json["items"]]


async def rest(served: Served, query: str, answer: Response) -> list[str]:
    """The keys of all pages that follow."""
    found: list[str] = []
    while answer.json["more"]:
        answer = await get(served, f"{query}&after={answer.json['after']}")
        assert answer.status == 200, answer.body
        found += [item["key"] for item in answer.json["items"]]
    return found


def test_a_listing_shows_keys_in_order_with_all_that_is_kept() -> None:
    async def test(served: Served) -> None:
        apply(served, Put(b"b", b"\xff\0", "text/plain", 500), Put(b"a", b"2"))
        answer = await get(served)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        b = {"key": "b", "value_base64": "/wA=", "content_type": "text/plain", "revision": 2}
        a = {"key": "a", "value_base64": "Mg==", "content_type": None, "revision": 3}
        assert answer.json == {
            "revision": 3,
            "items": [
                a | {"create_revision": 1, "version": 2, "ttl_ms": None, "lease": None},
                b | {"create_revision": 2, "version": 1, "ttl_ms": 500, "lease": None},
            ],
            "more": False,
            "after": None,
        }
        bare = (await get(served, "keys_only=true")).json["items"]
        assert [item["key"] for item in bare] == ["a", "b"]
        assert all("value_base64" not in item for item in bare)

    play(test, b"a")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "a a/b aa b %FF"),
        ("prefix=a", "a a/b aa"),
        ("prefix=a/", "a/b"),
        ("prefix=", "a a/b aa b %FF"),
        ("prefix=%FF", "%FF"),
        ("prefix=%ff%FF", ""),
        ("start=aa", "aa b %FF"),
        ("end=b", "a a/b aa"),
        ("start=a%00&end=b", "a/b aa"),
        ("start=&end=", "a a/b aa b %FF"),
        ("start=c&end=d", ""),
        ("limit=2", "a a/b"),
        ("start=b&limit=1", "b"),
    ],
)
def test_a_range_is_a_prefix_or_an_interval(query: str, found: str) -> None:
    async def test(served: Served) -> None:
        assert await keys(served, query) == found.split()
        without_limit = query.replace("limit=2", "").replace("&limit=1", "")
        counted = await get(served, f"{without_limit}&count_only=true".lstrip("&"))
        if "limit" not in query:
            assert counted.json == {"revision": 5, "count": len(found.split())}

    play(test, b"aa", b"b", b"a/b", b"\xff", b"a")


@pytest.mark.parametrize("key", [b"a b", b".", b"..", b"?#&+%", b"\xc3\xa4", bytes(range(1, 256))])
def test_a_listed_key_can_be_pasted_into_a_url(key: bytes) -> None:
    async def test(served: Served) -> None:
        (shown,) = await keys(served)
        assert (await served.ask("GET", f"/v1/kv/{shown}")).body == key
        assert await keys(served, f"prefix={shown}") == [shown]

    play(test, key)


def test_all_pages_show_the_revision_of_the_first() -> None:
    async def test(served: Served) -> None:
        first = await get(served, "limit=2")
        assert [item["key"] for item in first.json["items"]] == ["a", "b"]
        apply(served, Delete(b"c"), Put(b"bb", b""), Put(b"d", b"new"), Put(b"e", b"e2"))
        served.kv.time_ms += 10
        second = await get(served, f"limit=2&after={first.json['after']}")
        assert second.json["revision"] == first.json["revision"] == 5
        values = {i["key"]: b64decode(i["value_base64"]) for i in second.json["items"]}
        assert values == {"c": b"c", "d": b"d"}
        assert await rest(served, "limit=2", second) == ["e"]
        assert await keys(served) == ["a", "b", "bb", "d", "e"]

    play(test, b"a", b"b", b"c", b"d", b"e")


def test_a_key_that_expires_while_it_is_listed_stays_in_the_listing() -> None:
    async def test(served: Served) -> None:
        apply(served, Put(b"x", b"", ttl_ms=5), Put(b"y", b"", ttl_ms=50))
        first = await get(served, "limit=1")
        served.kv.time_ms += 10
        assert await keys(served) == ["a", "y"], "an overdue key was removed first"
        assert await rest(served, "limit=1", first) == ["x", "y"]
        assert (await get(served, "count_only=true")).json["count"] == 2

    play(test, b"a")


def test_more_is_said_only_if_there_is_more() -> None:
    async def test(served: Served) -> None:
        first = await get(served, "limit=2")
        assert (first.json["more"], first.json["after"]) == (False, None)
        first = await get(served, "limit=1")
        assert first.json["more"] is True
        apply(served, *[Put(b"b%d" % i, b"") for i in range(1000)])
        second = await get(served, f"limit=1&after={first.json['after']}")
        assert ([i["key"] for i in second.json["items"]], second.json["more"]) == (["b"], False)

    play(test, b"a", b"b")


def test_a_page_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PAGE_SIZE_BYTES_MAX", 30)

    async def test(served: Served) -> None:
        first = await get(served)
        assert [item["key"] for item in first.json["items"]] == ["0" * 10, "1" * 10]
        assert first.json["more"] is True
        assert await rest(served, "limit=10", first) == [str(i) * 10 for i in range(2, 6)]
        assert len(await keys(served, "keys_only=true")) == 3

    play(test, *[b"%d" % i * 10 for i in range(6)])


def test_a_page_is_read_in_slices_with_turns_for_others_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranges, "SLICE_KEYS_MAX", 7)

    async def test(served: Served) -> None:
        page = await ranges.RangeService(served.kv, served.kv.machine).page(
            b"", b"", 100, ranges.LINEARIZABLE
        )
        sizes = []
        async for taken in page.slices():
            sizes.append(len(taken))
            apply(served, Delete(b"k99"), Put(b"k00", b"changed"), Put(b"k%d" % len(sizes), b""))
        assert sum(sizes) == 100
        assert max(sizes) == 7
        assert not page.more

    play(test, *[b"k%02d" % i for i in range(100)])


def test_a_bounded_number_of_pages_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PAGES_MAX", 1)

    async def test(served: Served) -> None:
        service = ranges.RangeService(served.kv, served.kv.machine)
        first, second = [
            (await service.page(b"", b"", 10, ranges.LINEARIZABLE)).slices() for _ in range(2)
        ]
        assert len(await anext(first)) == 2
        with pytest.raises(ranges.Overloaded, match="1 pages are being read already"):
            await anext(second)
        assert [taken async for taken in first] == []
        third = await service.page(b"", b"", 10, ranges.LINEARIZABLE)
        assert [len(taken) async for taken in third.slices()] == [2]

    play(test, b"a", b"b")


def test_a_listing_whose_changes_are_forgotten_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.history.HISTORY_EVENTS_MAX", 2)

    async def test(served: Served) -> None:
        first = await get(served, "limit=1")
        apply(served, Put(b"c", b""))
        apply(served, Put(b"c", b"2"), Put(b"c", b"3"))
        gone = await get(served, f"limit=1&after={first.json['after']}")
        assert gone.status == 410
        assert gone.json["title"] == "compacted"
        assert gone.json["oldest_revision"] == served.kv.machine.history.first_revision > 2
        assert "definite" not in gone.json

    play(test, b"a", b"b")


def test_a_node_that_must_not_answer_does_not_go_on_with_a_listing_either() -> None:
    """It may be out of the cluster, or its state found to be wrong."""

    async def test(served: Served) -> None:
        first = await get(served, "limit=1")
        served.kv.error = NotLeader("this node is out of the cluster")
        assert (await get(served, f"limit=1&after={first.json['after']}")).status == 503

    play(test, b"a", b"b")


def test_a_count_walks_while_too_many_keys_are_overdue() -> None:
    async def test(served: Served) -> None:
        for _ in range(3):
            apply(served, *[Put(b"%d" % i, b"", ttl_ms=1) for i in range(3000)])
        served.kv.time_ms += 5
        apply(served)
        assert served.kv.machine.count > 1002
        assert (await get(served, "count_only=true&consistency=stale")).json["count"] == 2

    play(test, b"a", b"b")


@pytest.mark.parametrize(
    ("query", "level", "staleness"),
    [
        ("", Level.LINEARIZABLE, None),
        ("consistency=lease", Level.LEASE, None),
        ("consistency=stale&max_staleness=2s", Level.STALE, 2000),
    ],
)
def test_a_listing_is_as_fresh_as_asked(query: str, level: Level, staleness: int | None) -> None:
    async def test(served: Served) -> None:
        await get(served, query)
        (want,) = served.kv.wants
        assert (want.level, want.max_staleness_ms) == (level, staleness)

    play(test)


def test_a_later_page_waits_for_its_revision() -> None:
    async def test(served: Served) -> None:
        packed = msgspec.msgpack.encode((3, 1000, b"a"))
        after = urlsafe_b64encode(packed).decode().rstrip("=")
        served.kv.holding = True
        asked = asyncio.ensure_future(get(served, f"after={after}"))
        await until(lambda: served.kv.held == 1)
        apply(served, Put(b"c", b""), Put(b"d", b""))
        served.kv.release()
        assert [item["key"] for item in (await asked).json["items"]] == ["b", "c"]
        never = await get(
            served, "after=" + urlsafe_b64encode(msgspec.msgpack.encode((99, 1000, b"a"))).decode()
        )
        assert (never.status, never.json["detail"]) == (400, "there is no revision 99 yet")

    play(test, b"a", b"b")


CURSOR = urlsafe_b64encode(msgspec.msgpack.encode((1, 1000, b"zz"))).decode()


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("perfix=a", "unknown query parameter 'perfix'"),
        ("prefix=a&prefix=b", "'prefix' is given twice"),
        ("prefix=a&start=b", "prefix excludes start and end"),
        ("prefix=a&end=b", "prefix excludes start and end"),
        ("start=b&end=a", "a range starts before its end"),
        ("start=b&end=b", "a range starts before its end"),
        ("prefix=%F", "prefix: broken percent-encoding"),
        ("end=" + "k" * 1025, "end has at most 1024 bytes, this one 1025"),
        ("limit=0", f"limit='0' is not from 1 to {PAGE_KEYS_MAX}"),
        (f"limit={PAGE_KEYS_MAX + 1}", "is not from 1 to"),
        ("limit=ten", "is not from 1 to"),
        ("keys_only", "keys_only must be true or false, not ''"),
        ("keys_only=1", "keys_only must be true or false, not '1'"),
        ("count_only=yes", "count_only must be true or false"),
        ("count_only=true&limit=5&keys_only=true", "count_only excludes limit and keys_only"),
        (f"count_only=true&after={CURSOR}", "count_only excludes after"),
        ("after=x", "after='x' is no cursor of a listing"),
        ("after=%FF", "no UTF-8"),
        ("after=" + urlsafe_b64encode(b"\x93\xff\x01\xc4\x01a").decode(), "no cursor of this"),
        (f"prefix=a&after={CURSOR}", "after is no cursor of this listing"),
        ("consistency=none", "is none of linearizable, lease, stale"),
        ("max_staleness=1s", "max_staleness goes with consistency=stale only"),
    ],
)
def test_what_no_listing_can_mean(query: str, why: str) -> None:
    async def test(served: Served) -> None:
        answer = await get(served, query)
        assert answer.status == 400, answer.body
        assert why in answer.json["detail"]

    play(test)


def test_a_listing_without_a_leader_is_refused() -> None:
    async def test(served: Served) -> None:
        served.kv.error = NotLeader("nobody")
        for query in ("", "count_only=true"):
            assert (await get(served, query)).status == 503

    play(test)


# Range deletes.


async def delete(served: Served, query: str, **headers: str) -> Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return await served.ask("DELETE", f"/v1/kv?{query}", headers=named)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("prefix=a", "b c"),
        ("start=aa", "a"),
        ("start=aa&end=c", "a c"),
        ("end=b", "b c"),
        ("all=true", ""),
        ("prefix=x", "a aa b c"),
    ],
)
def test_a_range_is_deleted(query: str, left: str) -> None:
    async def test(served: Served) -> None:
        answer = await delete(served, query)
        assert answer.status == 200
        count = 4 - len(left.split())
        assert answer.json == {"deleted": count, "revision": 5 if count else 4}
        assert await keys(served) == left.split()

    play(test, b"a", b"aa", b"b", b"c")


def test_a_range_delete_is_done_once() -> None:
    async def test(served: Served) -> None:
        first = await delete(served, "prefix=a", Idempotency_Key="t")
        apply(served, Put(b"a", b"back"))
        again = await delete(served, "prefix=a", Idempotency_Key="t")
        assert again.json == first.json == {"deleted": 1, "revision": 2}
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        assert (await delete(served, "prefix=b", Idempotency_Key="t")).status == 422
        assert await keys(served) == ["a"]

    play(test, b"a")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "prefix, start or end must say which keys"),
        ("prefix=", "prefix is empty"),
        ("start=", "start is empty"),
        ("start=a&end=", "end is empty"),
        ("all=false", "prefix, start or end must say which keys"),
        ("all=true&prefix=a", "all=true excludes prefix"),
        ("all=yes", "all must be true or false"),
        ("limit=5", "unknown query parameter 'limit'"),
        ("start=b&end=a", "a range starts before its end"),
    ],
)
def test_nobody_deletes_by_a_mistake(query: str, why: str) -> None:
    async def test(served: Served) -> None:
        answer = await delete(served, query)
        assert (answer.status, answer.json["definite"]) == (400, True)
        assert why in answer.json["detail"]
        body = await served.ask("DELETE", "/v1/kv?prefix=a", b"body")
        assert "takes no body" in body.json["detail"]
        assert await keys(served) == ["a"]

    play(test, b"a")


def test_too_large_a_range_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.transactions.RANGE_KEYS_MAX", 1)

    async def test(served: Served) -> None:
        answer = await delete(served, "all=true")
        assert answer.status == 413
        assert answer.json["title"] == "too many keys"
        assert "more than 10000 keys" in answer.json["detail"]
        assert answer.json["definite"] is True
        assert await keys(served) == ["a", "b"]

    play(test, b"a", b"b")


def test_a_turn_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be done when its retry, which was done elsewhere, is long forgotten."""
    monkeypatch.setattr(ranges, "TURN_S", 0.05)

    async def test(served: Served) -> None:
        served.kv.holding = True
        first = asyncio.create_task(served.ask("DELETE", "/v1/kv?prefix=a"))
        await until(lambda: served.kv.held == 1)
        late = await served.ask("DELETE", "/v1/kv?prefix=b")
        assert (late.status, late.json["definite"]) == (429, True)
        served.kv.release()
        assert (await first).status == 200
        assert (await served.ask("DELETE", "/v1/kv?prefix=c")).status == 200
        assert [command.start for command in served.kv.commands] == [b"a", b"c"]  # type: ignore[union-attr]

    play(test)


def test_commands_over_ranges_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "WIDE_WAITING_MAX", 2)

    async def test(served: Served) -> None:
        served.kv.holding = True
        asked = [asyncio.ensure_future(delete(served, f"prefix={p}")) for p in "ab"]
        await until(lambda: served.kv.held == 1 and len(served.clients) == 2)
        refused = await delete(served, "prefix=c")
        assert (refused.status, refused.json["definite"]) == (429, True)
        assert served.kv.held == 1, "the second waits for the first"
        served.kv.release()
        assert [(await one).status for one in asked] == [200, 200]
        assert await keys(served) == ["c"]

    play(test, b"a", b"b", b"c")


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_no_condition_is_ignored(header: str) -> None:
    """Else more would go than was asked for (RFC 9110, 13.1)."""

    async def test(served: Served) -> None:
        gone = await delete(served, "prefix=a", **{header: '"1"'})
        done = await served.ask("POST", "/v1/txn", b"{}", {header: "*"})
        for answer in (gone, done):
            assert (answer.status, answer.json["definite"]) == (400, True)
            assert answer.json["detail"].startswith(f"{header} goes with a single key only")
        assert await keys(served) == ["a"]

    play(test, b"a")


def test_other_methods_are_refused() -> None:
    async def test(served: Served) -> None:
        for method in ("PUT", "POST"):
            assert (await served.ask(method, "/v1/kv")).status == 405
        head = await served.ask("HEAD", "/v1/kv")
        assert head.status == 200

    play(test)
