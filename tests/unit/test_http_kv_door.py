"""/v1/kv/{key} without sockets: requests to commands, outcomes to answers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from raftcache.command.replies import Item, Reply, Status
from raftcache.command.words import (
    ABSENT,
    ANY,
    PRESENT,
    Append,
    Command,
    Delete,
    Expire,
    Increment,
    Persist,
    Put,
    Touch,
)
from raftcache.errors import NotLeader, Overloaded, RaftcacheError, TooLarge, Unknown
from raftcache.server.kv_door import KvDoor
from raftcache.server.replies import Answer
from raftcache.service.calls import IsHere
from raftcache.service.kv import Kv, Level, Outcome, ReadDone, Want
from raftcache.service.vivify import VivifyDone, Wish
from tests.support.fake_kv import FakeKv

VALUE_SIZE_BYTES_MAX = 100


def door_of(kv: Kv) -> KvDoor:
    return KvDoor(kv, NoVivifier(), "n1", VALUE_SIZE_BYTES_MAX)


class Here:
    """A client that stays."""

    is_left = False


HERE = Here()


class NoVivifier:
    def vivify(self, key: bytes, wish: Wish, is_here: IsHere, done: VivifyDone) -> None:
        raise AssertionError("nobody asked for it")


class Asked:
    """One door over one Kv; call it like a client."""

    def __init__(self, kv: Kv) -> None:
        self.door = door_of(kv)

    def __call__(
        self, method: str, target: str, body: bytes = b"", *headers: tuple[str, str]
    ) -> Answer:
        answers: list[Answer] = []
        target = "/v1/kv/" + target
        self.door.handle(HERE, method, target, CIMultiDict(headers), body, answers.append)
        (answer,) = answers
        return answer


def headers_of(answer: Answer) -> dict[str, str]:
    lines = answer.headers.decode().split("\r\n")
    assert lines.pop() == "", "every line is ended"
    return dict(line.split(": ", 1) for line in lines)  # type: ignore[misc]


def detail_of(answer: Answer) -> str:
    assert headers_of(answer)["Content-Type"] == "application/problem+json"
    body = orjson.loads(answer.body)
    assert body["status"] == answer.status
    detail: str = body["detail"]
    return detail


@pytest.fixture
def kv() -> FakeKv:
    return FakeKv()


@pytest.fixture
def ask(kv: FakeKv) -> Asked:
    return Asked(kv)


def put(key: bytes, value: bytes = b"", content_type: str = "", **more: Any) -> Put:
    return Put(key, value, content_type, **more)


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "command"),
    [
        ("PUT", "a", b"v", {}, put(b"a", b"v")),
        ("PUT", "a", b"", {}, put(b"a")),
        ("PUT", "a/b//c", b"", {}, put(b"a/b//c")),
        ("PUT", "a/../b/.", b"", {}, put(b"a/../b/.")),
        ("PUT", "%00%ff%2F%3f", b"", {}, put(b"\0\xff/?")),
        ("PUT", "a+b", b"", {}, put(b"a+b")),
        ("PUT", "a?ttl=30s", b"", {}, put(b"a", ttl_ms=30_000)),
        ("PUT", "a", b"", {"Content-Type": "text/x"}, put(b"a", content_type="text/x")),
        ("PUT", "a", b"", {"If-None-Match": "*"}, put(b"a", only=ABSENT)),
        ("PUT", "a", b"", {"If-Match": "*"}, put(b"a", only=PRESENT)),
        ("PUT", "a", b"", {"If-Match": '"17"'}, put(b"a", only=17)),
        ("PUT", "a", b"v", {"Content-Encoding": "identity"}, put(b"a", b"v")),
        ("PUT", "a", b"v", {"Transfer-Encoding": "Chunked"}, put(b"a", b"v")),
        ("DELETE", "a", b"", {}, Delete(b"a")),
        ("DELETE", "a", b"", {"If-Match": '"3"'}, Delete(b"a", 3)),
        ("POST", "a?op=incr", b"", {}, Increment(b"a", 1)),
        ("POST", "a?by=-5&op=incr", b"", {}, Increment(b"a", -5)),
        ("POST", "a?op=incr&by=9223372036854775807", b"", {}, Increment(b"a", 2**63 - 1)),
        ("POST", "a?op=incr", b"", {"If-None-Match": "*"}, Increment(b"a", 1, ABSENT)),
        ("POST", "a?op=append", b"v", {}, Append(b"a", b"v", VALUE_SIZE_BYTES_MAX)),
        ("POST", "a?op=expire&ttl=5m", b"", {}, Expire(b"a", 300_000)),
        ("POST", "a?op=persist", b"", {"If-Match": '"2"'}, Persist(b"a", 2)),
        ("POST", "a?op=touch", b"", {}, Touch(b"a", ANY)),
    ],
)
def test_what_a_write_means(
    kv: FakeKv,
    ask: Asked,
    method: str,
    target: str,
    body: bytes,
    headers: dict[str, str],
    command: Command,
) -> None:
    ask(method, target, body, *headers.items())
    assert kv.commands == [command]


BAD_REQUESTS = [
    ("PUT", "", b"", {}, 400, "empty"),
    ("PUT", "a%", b"", {}, 400, "broken percent-encoding: '%'"),
    ("GET", "a%4", b"", {}, 400, "broken percent-encoding: '%4'"),
    ("GET", "a%zz", b"", {}, 400, "broken percent-encoding: '%zz'"),
    ("GET", "a#b", b"", {}, 400, "must be percent-encoded"),
    ("GET", "k" * 1025, b"", {}, 414, "at most 1024 bytes, this one 1025"),
    ("PUT", "%41" * 1025, b"", {}, 414, "at most 1024 bytes, this one 1025"),
    ("GET", "a?b=1&c", b"", {}, 400, "unknown query parameter 'b', 'c'"),
    ("GET", "a?ttl=1s", b"", {}, 400, "unknown query parameter 'ttl'"),
    ("GET", "a?=", b"", {}, 400, "unknown query parameter ''"),
    ("PUT", "a?lease=0", b"", {}, 400, "lease='0' is no whole number from 1"),
    ("PUT", "a?lease=", b"", {}, 400, "lease='' is no whole number"),
    ("PUT", "a?lease=9223372036854775808", b"", {}, 400, "is no whole number from 1 to 92233"),
    ("PUT", "a?lease=1&ttl=1s", b"", {}, 400, "lease excludes ttl and vivify"),
    ("GET", "a?lease=1", b"", {}, 400, "unknown query parameter 'lease'"),
    ("PUT", "a?ttl=1s&ttl=1s", b"", {}, 400, "'ttl' is given twice"),
    ("PUT", "a?ttl=soon", b"", {}, 400, "ttl='soon'"),
    ("PUT", "a?ttl=1d", b"", {}, 400, "ttl='1d'"),
    ("PUT", "a?ttl=0s", b"", {}, 400, "ttl='0s'"),
    ("PUT", "a?ttl", b"", {}, 400, "ttl=''"),
    ("PUT", "a", b"", {"If-Match": "*", "If-None-Match": "*"}, 400, "exclude each other"),
    ("PUT", "a", b"", {"If-None-Match": '"1"'}, 400, "only with *"),
    ("PUT", "a", b"", {"If-Match": 'W/"1"'}, 400, "strong ETag"),
    ("PUT", "a", b"", {"If-Match": '"1", "2"'}, 400, "strong ETag"),
    ("PUT", "a", b"", {"If-Match": "1"}, 400, "strong ETag"),
    ("PUT", "a", b"", {"If-Match": '"0"'}, 400, "strong ETag"),
    ("PUT", "a", b"", {"If-Match": '"01"'}, 400, "strong ETag"),
    ("PUT", "a", b"", {"If-Match": '"9223372036854775808"'}, 400, "strong ETag"),
    ("PUT", "a", b"", {"If-Match": ""}, 400, "strong ETag"),
    ("PUT", "a", b"", {"Content-Type": "x" * 256}, 400, "at most 255"),
    ("PUT", "a", b"", {"Content-Type": "t\u00e9xt"}, 400, "printable ASCII"),
    ("PUT", "a", b"v", {"Content-Encoding": "gzip"}, 415, "'gzip'"),
    ("PUT", "a", b"v", {"Content-Range": "bytes 0-0/3"}, 400, "written as a whole"),
    ("POST", "a?op=append", b"v", {"Content-Range": "bytes 3-3/4"}, 400, "Content-Range"),
    ("PUT", "a", b"v", {"Transfer-Encoding": "gzip, chunked"}, 400, "only chunked"),
    ("GET", "a", b"", {"If-Match": '"1"'}, 400, "writes only"),
    ("PUT", "a", b"v" * 101, {}, 413, "at most 100 bytes"),
    ("PUT", "a", b"", {"Idempotency-Key": ""}, 400, "1 to 255 visible"),
    ("PUT", "a", b"", {"Idempotency-Key": "a b"}, 400, "1 to 255 visible"),
    ("PUT", "a", b"", {"Idempotency-Key": "\u00e9"}, 400, "1 to 255 visible"),
    ("PUT", "a", b"", {"Idempotency-Key": "k" * 256}, 400, "1 to 255 visible"),
    ("GET", "a", b"v", {}, 400, "takes no body"),
    ("DELETE", "a", b"v", {}, 400, "takes no body"),
    ("DELETE", "a?x", b"", {}, 400, "unknown query parameter 'x'"),
    ("DELETE", "a", b"", {"If-None-Match": "*"}, 400, "means nothing"),
    ("POST", "a", b"", {}, 400, "op='' is none of incr"),
    ("POST", "a?op=pop", b"", {}, 400, "op='pop' is none of incr"),
    ("POST", "a?op=incr&ttl=1s", b"", {}, 400, "unknown query parameter 'ttl'"),
    ("POST", "a?op=incr&by=1.5", b"", {}, 400, "by='1.5'"),
    ("POST", "a?op=incr&by=", b"", {}, 400, "by=''"),
    ("POST", "a?op=incr&by=1_0", b"", {}, 400, "by='1_0'"),
    ("POST", "a?op=incr&by=9223372036854775808", b"", {}, 400, "by="),
    ("POST", "a?op=incr", b"1", {}, 400, "takes no body"),
    ("POST", "a?op=expire", b"", {}, 400, "needs a ttl"),
    ("POST", "a?op=expire&ttl=x", b"", {}, 400, "ttl='x'"),
    ("POST", "a?op=touch", b"", {"If-None-Match": "*"}, 400, "means nothing"),
    ("GET", "a?consistency=strong", b"", {}, 400, "linearizable, lease, stale"),
    ("GET", "a?max_staleness=1s", b"", {}, 400, "consistency=stale only"),
    ("GET", "a?consistency=lease&max_staleness=1s", b"", {}, 400, "consistency=stale only"),
    ("GET", "a?consistency=stale&max_staleness=1", b"", {}, 400, "max_staleness='1'"),
    ("PATCH", "a", b"", {}, 405, "no such method"),
]


@pytest.mark.parametrize(("method", "target", "body", "headers", "status", "says"), BAD_REQUESTS)
def test_bad_requests_are_told_why_and_change_nothing(
    kv: FakeKv,
    ask: Asked,
    method: str,
    target: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    says: str,
) -> None:
    answer = ask(method, target, body, *headers.items())
    assert answer.status == status
    assert says in detail_of(answer)
    assert kv.commands == []
    assert kv.wants == []
    expected = None if method == "GET" else True
    assert orjson.loads(answer.body).get("definite") is expected


def test_the_longest_key_and_content_type_are_fine(kv: FakeKv, ask: Asked) -> None:
    content_type = "x" * 255
    assert ask("PUT", "%6b" * 1024, b"v", ("Content-Type", content_type)).status == 201
    answer = ask("GET", "k" * 1024)
    assert answer.body == b"v"
    assert headers_of(answer)["Content-Type"] == content_type


def test_405_says_what_is_allowed(ask: Asked) -> None:
    assert headers_of(ask("OPTIONS", "a"))["Allow"] == "GET, HEAD, PUT, POST, DELETE"


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("", Want()),
        ("?", Want()),
        ("?consistency=linearizable", Want()),
        ("?consistency=lease", Want(Level.LEASE)),
        ("?consistency=stale", Want(Level.STALE)),
        ("?max_staleness=2s&consistency=stale", Want(Level.STALE, 2000)),
    ],
)
def test_how_fresh_a_read_is(kv: FakeKv, ask: Asked, query: str, want: Want) -> None:
    assert ask("GET", "a" + query).status == 404
    assert kv.wants == [want]


def test_a_value_comes_back_as_it_was_stored(kv: FakeKv, ask: Asked) -> None:
    ask("PUT", "other", b"")
    put = ask("PUT", "a?ttl=30s", b"\0\xff\r\n", ("Content-Type", "image/x"))
    assert put.status == 201
    assert orjson.loads(put.body) == {"revision": 2, "version": 1}
    kv.time_ms += 1000
    answer = ask("GET", "a")
    assert answer.status == 200
    assert answer.body == b"\0\xff\r\n"
    assert headers_of(answer) == {
        "Content-Type": "image/x",
        "ETag": '"2"',
        "X-Raftcache-Create-Revision": "2",
        "X-Raftcache-Version": "1",
        "X-Raftcache-TTL-Ms": "29000",
        "X-Raftcache-Served-By": "n1",
    }


def test_a_follower_tells_where_the_leader_is(kv: FakeKv, ask: Asked) -> None:
    ask.door.show_leader("http://h:1")
    for method in ("GET", "PUT", "GET", "DELETE"):  # the first GET finds nothing
        assert headers_of(ask(method, "a"))["X-Raftcache-Leader"] == "http://h:1"
    ask.door.show_leader("")
    assert "X-Raftcache-Leader" not in headers_of(ask("GET", "a"))


def test_a_value_without_type_or_deadline(kv: FakeKv, ask: Asked) -> None:
    ask("PUT", "a", b"1")
    replaced = ask("PUT", "a", b"2")
    assert replaced.status == 200
    assert orjson.loads(replaced.body) == {"revision": 2, "version": 2}
    headers = headers_of(ask("GET", "a"))
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Raftcache-Create-Revision"] == "1"
    assert headers["X-Raftcache-Version"] == "2"
    assert "X-Raftcache-TTL-Ms" not in headers


def test_the_time_left_is_never_negative(kv: FakeKv, ask: Asked) -> None:
    ask("PUT", "a?ttl=1s")
    kv.time_ms += 5000  # no entry has said so yet, so the key is still there
    assert headers_of(ask("GET", "a"))["X-Raftcache-TTL-Ms"] == "0"


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ('"1"', 304),
        ('W/"1"', 304),
        ('"7", "1"', 304),
        ('"7",W/"1"', 304),
        ("*", 304),
        ('"7"', 200),
        ("1", 200),
        ('"11"', 200),
        ("", 200),
    ],
)
def test_if_none_match_on_reads(ask: Asked, tags: str, status: int) -> None:
    ask("PUT", "a", b"v")
    answer = ask("GET", "a", b"", ("If-None-Match", tags))
    assert answer.status == status
    assert headers_of(answer)["ETag"] == '"1"'
    assert answer.body == (b"v" if status == 200 else b"")
    assert ask("GET", "b", b"", ("If-None-Match", tags)).status == 404


def test_etags_in_several_lines_are_one_list(ask: Asked) -> None:
    ask("PUT", "a", b"v")
    lines = (("If-None-Match", '"7"'), ("If-None-Match", '"1"'))
    assert ask("GET", "a", b"", *lines).status == 304
    lines = (("If-Match", '"1"'), ("If-Match", '"1"'))
    assert ask("PUT", "a", b"w", *lines).status == 400


def test_preconditions(ask: Asked) -> None:
    absent, first = ("If-None-Match", "*"), ("If-Match", '"1"')
    assert ask("PUT", "a", b"1", first).status == 412
    assert ask("PUT", "a", b"1", absent).status == 201
    refused = ask("PUT", "a", b"2", absent)
    assert refused.status == 412
    assert headers_of(refused)["ETag"] == '"1"'
    body = orjson.loads(refused.body)
    assert (body["revision"], body["definite"]) == (1, True)
    assert ask("PUT", "a", b"2", first).status == 200
    assert ask("DELETE", "a", b"", first).status == 412
    assert orjson.loads(ask("DELETE", "a", b"", ("If-Match", "*")).body) == {
        "deleted": 1,
        "revision": 3,
    }
    gone = ask("DELETE", "a", b"", ("If-Match", "*"))
    assert gone.status == 412
    assert "ETag" not in headers_of(gone)
    assert orjson.loads(gone.body)["revision"] == 0


def test_deleting_nothing_is_no_error(ask: Asked) -> None:
    answer = ask("DELETE", "a")
    assert (answer.status, orjson.loads(answer.body)) == (200, {"deleted": 0, "revision": 0})
    assert "ETag" not in headers_of(answer)


def test_counters(ask: Asked) -> None:
    first = ask("POST", "a?op=incr&by=5")
    assert (first.status, orjson.loads(first.body)) == (200, {"value": 5, "revision": 1})
    assert orjson.loads(ask("POST", "a?op=incr&by=-7").body)["value"] == -2
    assert ask("GET", "a").body == b"-2"
    over = ask("POST", "a?op=incr&by=-9223372036854775808")
    assert (over.status, orjson.loads(over.body)["definite"]) == (409, True)
    ask("PUT", "b", b"no number")
    wrong = ask("POST", "b?op=incr")
    assert (wrong.status, "integer" in detail_of(wrong)) == (409, True)


def test_appending(ask: Asked) -> None:
    assert orjson.loads(ask("POST", "a?op=append", b"x" * 60).body) == {"size": 60, "revision": 1}
    assert ask("POST", "a?op=append", b"y" * 41).status == 413
    assert orjson.loads(ask("POST", "a?op=append", b"y" * 40).body) == {"size": 100, "revision": 2}


def test_deadlines(kv: FakeKv, ask: Asked) -> None:
    for op in ("expire&ttl=1s", "persist", "touch"):
        missing = ask("POST", f"a?op={op}")
        assert (missing.status, orjson.loads(missing.body)["definite"]) == (404, True)
    ask("PUT", "a")
    expire = ask("POST", "a?op=expire&ttl=2s")
    assert orjson.loads(expire.body) == {"revision": 2, "ttl_ms": 2000}
    kv.time_ms += 500
    assert orjson.loads(ask("POST", "a?op=touch").body) == {"revision": 2, "ttl_ms": 1500}
    assert orjson.loads(ask("POST", "a?op=persist").body) == {"revision": 3, "ttl_ms": None}
    again = ask("POST", "a?op=persist")
    assert orjson.loads(again.body) == {"revision": 3, "ttl_ms": None}
    assert "ETag" not in headers_of(again), "nothing changed, so the revision is not the key's"
    assert headers_of(again)["X-Raftcache-Revision"] == "3"


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PUT", "a", b"v"),
        ("PUT", "a?ttl=30s", b"v"),
        ("POST", "a?op=incr", b""),
        ("POST", "a?op=expire&ttl=5s", b""),
        ("DELETE", "a", b""),
        ("POST", "missing?op=persist", b""),
    ],
)
def test_a_repeated_request_gets_its_first_answer(
    kv: FakeKv, ask: Asked, method: str, target: str, body: bytes
) -> None:
    ask("PUT", "a", b"1")
    token = ("Idempotency-Key", "k" * 255)
    first = ask(method, target, body, token)
    assert "Idempotency-Replayed" not in headers_of(first)
    revision = kv.machine.revision
    kv.time_ms += 100
    again = ask(method, target, body, token)
    assert headers_of(again)["Idempotency-Replayed"] == "true"
    assert (again.status, again.body) == (first.status, first.body)
    assert kv.machine.revision == revision


@pytest.mark.parametrize(
    ("target", "body", "headers"),
    [
        ("b", b"v", {}),
        ("a?ttl=1s", b"v", {}),
        ("a", b"w", {}),
        ("a", b"v", {"Content-Type": "text/x"}),
        ("a", b"v", {"If-Match": "*"}),
        ("a", b"v", {"If-None-Match": "*"}),
    ],
)
def test_a_token_stands_for_one_request(
    ask: Asked, target: str, body: bytes, headers: dict[str, str]
) -> None:
    token = ("Idempotency-Key", "t")
    assert ask("PUT", "a", b"v", token).status == 201
    answer = ask("PUT", target, body, token, *headers.items())
    assert answer.status == 422
    assert orjson.loads(answer.body)["definite"] is True
    assert ask("DELETE", "a", b"", token).status == 422
    assert ask("PUT", "a", b"v", token, ("X-Trace", "another")).status == 201


def test_reads_need_no_token(ask: Asked) -> None:
    assert ask("GET", "a", b"", ("Idempotency-Key", "not even valid")).status == 404


class Fixed:
    """A Kv that always answers the same."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def write(self, command: Command, done: Any) -> None:
        done(self.outcome)

    read: Any = lambda self, key, want, done: done(self.outcome)

    def now_ms(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.MISSING, 404),
        (Status.PRECONDITION, 412),
        (Status.NOT_INTEGER, 409),
        (Status.OVERFLOW, 409),
        (Status.TOO_LARGE, 413),
        (Status.MISUSED, 422),
        (Status.FULL, 429),
        (Status.INVALID, 400),
    ],
)
def test_every_refusing_reply(status: Status, code: int) -> None:
    answer = Asked(Fixed(Reply(status, 5)))("PUT", "a", b"v")
    assert answer.status == code
    assert orjson.loads(answer.body)["definite"] is True
    assert ("Retry-After" in headers_of(answer)) is (code == 429)


@pytest.mark.parametrize(
    ("error", "code", "definite"),
    [
        (NotLeader("nobody leads"), 503, True),
        (Overloaded("full", retry_after_s=2.5), 429, True),
        (TooLarge("too much"), 413, True),
        (Unknown("who knows"), 503, False),
    ],
)
def test_every_error(error: RaftcacheError, code: int, definite: bool) -> None:
    ask = Asked(Fixed(error))
    write, read = ask("PUT", "a", b"v"), ask("GET", "a")
    assert write.status == read.status == code
    assert detail_of(write) == detail_of(read) == error.detail
    assert orjson.loads(write.body)["definite"] is definite
    assert "definite" not in orjson.loads(read.body)
    wait_s = headers_of(write).get("Retry-After")
    assert wait_s == {429: "3", 503: "1"}.get(code)


def test_a_mistake_of_ours_is_a_500_without_its_story() -> None:
    class Broken(Fixed):
        def write(self, command: Command, done: Any) -> None:
            raise ZeroDivisionError("secret")

    for ask in (Asked(Broken(None)), Asked(Fixed("no reply"))):
        answer = ask("PUT", "a", b"v")
        assert answer.status == 500
        assert orjson.loads(answer.body)["definite"] is False, "it may have been written"
        assert b"secret" not in answer.body
    assert Asked(Fixed(1))("GET", "a").status == 500


def test_the_answer_waits_for_the_outcome(kv: FakeKv) -> None:
    kv.holding = True
    answers: list[Answer] = []
    door = door_of(kv)
    door.handle(HERE, "PUT", "/v1/kv/a", CIMultiDict(), b"v", answers.append)
    assert answers == []
    kv.release()
    assert [answer.status for answer in answers] == [201]


def test_fake_kv_is_a_kv() -> None:
    kv: Kv = FakeKv()
    outcomes: list[Outcome] = []
    found: list[Item | RaftcacheError | None] = []
    read: ReadDone = found.append
    kv.write(Put(b"a", b"v"), outcomes.append)
    kv.read(b"a", Want(), read)
    assert isinstance(outcomes[0], Reply)
    assert isinstance(found[0], Item)
