"""/v1/kv/{key}, without IO: asks the service what a request means, and words its outcome.

Nothing is decided here but what HTTP says: whether a write happens is the service's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import hdrs
from msgspec.structs import replace

from raftcache.command.replies import Collection, Item, Reply, Status
from raftcache.command.words import (
    Append,
    Command,
    Delete,
    Expire,
    Increment,
    LeasedPut,
    Persist,
    Put,
    Refill,
    Touch,
)
from raftcache.errors import BadRequest, RaftcacheError
from raftcache.server.json_keys import quota_of
from raftcache.server.kv_request import (
    Headers,
    is_known,
    list_header,
    read_command,
    read_key,
    read_want,
    read_wish,
)
from raftcache.server.kv_routes import KEY_ROUTES
from raftcache.server.replies import (
    REASONS,
    REFUSED,
    WRITES,
    Answer,
    answer_error,
    http_refusal,
    problem,
    refusal,
    reply_problem,
)
from raftcache.service.kv import Kv, Outcome
from raftcache.service.vivify import Role, Vivified, Vivifier, Wish

DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"
_READ_METHODS: Final = ("GET", "HEAD")
_WRITE_METHODS: Final = ("PUT", "POST", "DELETE")
_PUTS: Final = (Put, LeasedPut, Refill)
_CREATED: Final = Status.CREATED  # found at once: a member of an Enum is looked up slowly
_CHANGED: Final = Status.CHANGED
_ALLOW: Final = f"Allow: {', '.join(_READ_METHODS + _WRITE_METHODS)}\r\n".encode()

assert {route.method for route in KEY_ROUTES} == {"GET", *_WRITE_METHODS}

Send = Callable[[Answer], None]


class Caller(Protocol):
    """A connection, to the door."""

    @property
    def is_left(self) -> bool:
        """Whether the client is gone, or has said that it will send no more."""
        ...


class KvDoor:
    """Answers requests for keys; node is the name that answers show."""

    def __init__(self, kv: Kv, vivifier: Vivifier, node: str, value_size_bytes_max: int) -> None:
        self.kv, self._vivifier = kv, vivifier
        self._value_size_bytes_max = value_size_bytes_max
        self._node = node
        self._leader_url: str | None = None
        self.show_leader("")

    def show_leader(self, url: str) -> None:
        """From now on answers say that another node leads, and where; "" for this one, or none."""
        if url == self._leader_url:
            return
        self._leader_url = url
        served_by = f"X-Raftcache-Served-By: {self._node}\r\n"
        hint = f"X-Raftcache-Leader: {url}\r\n" if url else ""
        self.served_by = (served_by + hint).encode("ascii")
        # Built once: a cache is asked for much that it does not have.
        missing = REFUSED[Status.MISSING]
        self._missing = problem(*missing, REASONS[Status.MISSING], headers=self.served_by)

    def handle(
        self, caller: Caller, method: str, target: str, headers: Headers, body: bytes, send: Send
    ) -> None:
        """Answer one request; send is called exactly once, later or at once, on the loop.

        target: path and query as they came, undecoded. Raises nothing.
        """
        try:
            if method in _READ_METHODS:
                self._read(caller, method, target, headers, body, send)
            elif method in _WRITE_METHODS:
                self._write(method, target, headers, body, send)
            else:
                write = method in WRITES
                send(http_refusal(405, "a key has no such method", write=write, headers=_ALLOW))
        except Exception as error:
            send(answer_error(error, write=method in WRITES))

    # The plain ones, parsed by nobody: see refrains.py. What they answer is worded below, too.

    def put(self, put: Put, done: Callable[[Outcome], None]) -> None:
        """A write; `written` words its outcome."""
        self.kv.write(put, done)

    def found(self, found: Item | RaftcacheError | None) -> Answer:
        """What came of a plain read. Raises nothing."""
        try:
            return self._found(found, None)
        except Exception as error:
            return answer_error(error, write=False)

    def written(self, put: Put, outcome: Outcome) -> Answer:
        """What came of a `put`. Raises nothing."""
        try:
            return self._written(put, outcome)
        except Exception as error:
            return answer_error(error, write=True)

    def _read(
        self, caller: Caller, method: str, target: str, headers: Headers, body: bytes, send: Send
    ) -> None:
        path, _, query = target.partition("?")
        key = read_key(path)
        if body:
            raise BadRequest("a read takes no body")
        if hdrs.IF_MATCH in headers:  # not to be ignored: RFC 9110, 13.1.1
            raise BadRequest("If-Match goes with writes only")
        known = list_header(headers, hdrs.IF_NONE_MATCH)
        if query and (wish := read_wish(query)) is not None:
            if method != "GET":
                raise BadRequest("vivify goes with GET only: who wins must see what there is")
            self._vivify(key, wish, known, caller, send)
            return
        want = read_want(query)

        def done(found: Item | RaftcacheError | None) -> None:
            try:
                answer = self._found(found, known)
            except Exception as error:
                answer = answer_error(error, write=False)
            send(answer)

        self.kv.read(key, want, done)

    def _vivify(
        self, key: bytes, wish: Wish, known: str | None, caller: Caller, send: Send
    ) -> None:
        def done(outcome: Vivified | RaftcacheError) -> None:
            try:
                if isinstance(outcome, RaftcacheError):
                    answer = refusal(outcome, write=False)
                else:
                    answer = self._found(outcome.item, known)
                    answer = replace(answer, headers=_role_lines(outcome) + answer.headers)
            except Exception as error:
                answer = answer_error(error, write=False)
            send(answer)

        self._vivifier.vivify(key, wish, lambda: not caller.is_left, done)

    def _write(self, method: str, target: str, headers: Headers, body: bytes, send: Send) -> None:
        command = read_command(method, target, headers, body, self._value_size_bytes_max)

        def done(outcome: Outcome) -> None:
            try:
                answer = self._written(command, outcome)
            except Exception as error:
                answer = answer_error(error, write=True)
            send(answer)

        self.kv.write(command, done)

    # What outcomes look like.

    def _found(self, found: Item | RaftcacheError | None, known: str | None) -> Answer:
        if found is None:
            return self._missing
        if isinstance(found, RaftcacheError):
            return refusal(found, write=False)
        if type(found) is not Item:
            return self._typed(found)
        if known is not None and is_known(f'"{found.mod_revision}"', known):
            lines = b'ETag: "%d"\r\n' % found.mod_revision
            return Answer(304, lines + self.served_by)
        lines = (
            b'Content-Type: %b\r\nETag: "%d"\r\nX-Raftcache-Create-Revision: %d\r\n'
            b"X-Raftcache-Version: %d\r\n%b%b%b"
        ) % (
            (found.content_type or DEFAULT_CONTENT_TYPE).encode("ascii"),
            found.mod_revision,
            found.create_revision,
            found.version,
            self._ttl_line(found.deadline_ms) if found.deadline_ms else b"",
            b"X-Raftcache-Lease: %d\r\n" % found.lease if found.lease else b"",
            self.served_by,
        )
        return Answer(200, lines, found.value)

    def _typed(self, found: Item) -> Answer:
        """The key holds no string: what is in it, the commands of its type tell."""
        assert isinstance(found, Collection)
        detail = f"the key holds a {found.type}: read it with the commands of the Redis protocol"
        status, title = REFUSED[Status.WRONG_TYPE]
        return problem(status, title, detail, headers=self.served_by, value_type=found.type)

    def _ttl_line(self, deadline_ms: int) -> bytes:
        return b"X-Raftcache-TTL-Ms: %d\r\n" % self._left_ms(deadline_ms)

    def _left_ms(self, deadline_ms: int) -> int:
        return max(0, deadline_ms - self.kv.now_ms())

    def _written(self, command: Command, outcome: Outcome) -> Answer:
        if isinstance(outcome, RaftcacheError):
            return refusal(outcome, write=True)
        if outcome.status in REFUSED:
            return self._refused(command, outcome)
        created = outcome.status is _CREATED
        lines = b"Content-Type: application/json\r\n%bX-Raftcache-Revision: %d\r\n%b%b%b" % (
            b'ETag: "%d"\r\n' % outcome.revision if created or outcome.status is _CHANGED else b"",
            outcome.revision,
            self._ttl_line(outcome.deadline_ms) if outcome.deadline_ms else b"",
            b"Idempotency-Replayed: true\r\n" if outcome.replayed else b"",
            self.served_by,
        )
        if isinstance(command, _PUTS):  # first, and no other kind of command: most writes
            body = b'{"revision":%d,"version":%d}' % (outcome.revision, outcome.version)
            return Answer(201 if created else 200, lines, body)
        return Answer(200, lines, self._body(command, outcome))

    def _body(self, command: Command, reply: Reply) -> bytes:
        match command:
            case Delete():
                return b'{"deleted":%d,"revision":%d}' % (reply.count, reply.revision)
            case Increment():
                return b'{"value":%d,"revision":%d}' % (reply.number, reply.revision)
            case Append():
                return b'{"size":%d,"revision":%d}' % (reply.number, reply.revision)
            case Expire():
                # The span that was asked for, not what is left: a replay says the same.
                return b'{"revision":%d,"ttl_ms":%d}' % (reply.revision, command.ttl_ms)
            case Persist() | Touch():
                left = b"%d" % self._left_ms(reply.deadline_ms) if reply.deadline_ms else b"null"
                return b'{"revision":%d,"ttl_ms":%b}' % (reply.revision, left)
            case _:
                raise AssertionError(f"no request for a key means {type(command).__name__}")

    def _refused(self, command: Command, reply: Reply) -> Answer:
        if reply.status not in _WITH_REVISION:
            more = quota_of(reply, getattr(command, "key", b""))
            return reply_problem(reply, None, self.served_by, **more)
        revision, detail = reply.revision, None
        if reply.status is Status.PRECONDITION:
            detail = f"the key is at revision {revision}" if revision else "there is no such key"
        lines = (b'ETag: "%d"\r\n' % revision if revision else b"") + self.served_by
        return reply_problem(reply, detail, lines, revision=revision)


_WITH_REVISION: Final = (Status.PRECONDITION, Status.RIGHT_OVER)
"""Refusals that tell the key's revision, 0 if there is no key."""


def _role_lines(vivified: Vivified) -> bytes:
    if vivified.role is Role.HIT:
        return b""
    if vivified.role is Role.LOST:
        return b"X-Raftcache-Vivify: lost\r\n"
    return b"X-Raftcache-Vivify: won\r\nX-Raftcache-Vivify-Token: %d\r\n" % vivified.token
