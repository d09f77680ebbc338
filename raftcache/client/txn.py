"""Transactions: compares, and two branches of operations; all or nothing, in one revision."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from raftcache.client.calling import Calling
from raftcache.client.paths import deleted_range_fields, escaped, range_fields
from raftcache.client.ranges import Entry, ItemBody
from raftcache.client.replies import Answer, decoded, refused
from raftcache.errors import BadRequest

TXN: Final = "/v1/txn"

Target: TypeAlias = Literal["revision", "create_revision", "version", "value", "exists", "lease"]
Relation: TypeAlias = Literal["=", "!=", "<", ">"]


class Branch:
    """Operations in order; each call adds one, and returns the branch."""

    def __init__(self) -> None:
        self.operations: list[dict[str, Any]] = []

    def put(
        self,
        key: bytes,
        value: bytes,
        *,
        ttl_ms: int | None = None,
        lease: int | None = None,
        content_type: str = "",
    ) -> Branch:
        """Set a key; with a lease that has ended the transaction is refused."""
        ttl = {} if ttl_ms is None else {"ttl": f"{ttl_ms}ms"}
        held = {} if lease is None else {"lease": lease}
        kind = {"content_type": content_type} if content_type else {}
        return self._add("put", key, value_base64=_base64(value), **ttl, **held, **kind)

    def delete(self, key: bytes) -> Branch:
        """Remove a key, if there is one."""
        return self._add("delete", key)

    def incr(self, key: bytes, by: int = 1) -> Branch:
        """Add to a counter; an absent one counts as 0."""
        return self._add("incr", key, by=by)

    def append(self, key: bytes, value: bytes) -> Branch:
        """Add bytes at the end; an absent value counts as empty."""
        return self._add("append", key, value_base64=_base64(value))

    def expire(self, key: bytes, ttl_ms: int) -> Branch:
        """Give an existing key a deadline; without the key the transaction is refused."""
        return self._add("expire", key, ttl=f"{ttl_ms}ms")

    def persist(self, key: bytes) -> Branch:
        """Take an existing key's deadline away."""
        return self._add("persist", key)

    def touch(self, key: bytes) -> Branch:
        """Note an access to an existing key."""
        return self._add("touch", key)

    def get(self, key: bytes) -> Branch:
        """Read a key, as those before it left it."""
        return self._add("get", key)

    def range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        limit: int | None = None,
        keys_only: bool = False,
    ) -> Branch:
        """Read the keys of a range in order."""
        fields: dict[str, Any] = dict(range_fields(prefix, start, end))
        if limit is not None:
            fields["limit"] = limit
        self.operations.append({"op": "range", "keys_only": keys_only, **fields})
        return self

    def count(
        self, *, prefix: bytes | None = None, start: bytes | None = None, end: bytes | None = None
    ) -> Branch:
        """Count the keys of a range."""
        fields = range_fields(prefix, start, end)
        self.operations.append({"op": "range", "count_only": True, **fields})
        return self

    def delete_range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        everything: bool = False,
    ) -> Branch:
        """Remove the keys of a range."""
        fields = deleted_range_fields(prefix, start, end, everything=everything)
        self.operations.append({"op": "delete_range", "all": everything, **fields})
        return self

    def _add(self, op: str, key: bytes, **fields: object) -> Branch:
        self.operations.append({"op": op, "key": escaped(key), **fields})
        return self


class Txn:
    """If all compares hold, `then` is done, else `otherwise`; to be given to RaftcacheClient.txn.

    txn = Txn().when(b"stock", "value", "!=", b"0")
    txn.then.incr(b"stock", -1).put(b"order:17", b"...")
    txn.otherwise.get(b"stock")
    """

    def __init__(self) -> None:
        self.compares: list[dict[str, Any]] = []
        self.then, self.otherwise = Branch(), Branch()

    def when(self, key: bytes, target: Target, op: Relation, value: bytes | int | bool) -> Txn:
        """One more compare: what the key has stands on the left, a bytes value only for "value".

        Of an absent key the numbers are 0, and no comparison of values holds.
        """
        if isinstance(value, bytes) != (target == "value"):
            raise BadRequest(f"{target} is not compared with {type(value).__name__}")
        said = {"value_base64": _base64(value)} if isinstance(value, bytes) else {"value": value}
        self.compares.append({"key": escaped(key), "target": target, "op": op, **said})
        return self

    @property
    def only_reads(self) -> bool:
        """Doing it twice is like doing it once."""
        operations = self.then.operations + self.otherwise.operations
        return all(operation["op"] in ("get", "range") for operation in operations)

    def body(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "compare": self.compares,
            "success": self.then.operations,
            "failure": self.otherwise.operations,
        }


class TxnResult(Struct, frozen=True):
    """What one operation of a transaction answered; each has some of it.

    number: a counter's new value, a value's new size, keys deleted, or keys counted.
    entries: of a range, or of a get, where there is one or none. more: the range has more keys.
    """

    number: int | None = None
    created: bool | None = None
    version: int | None = None
    ttl_ms: int | None = None
    entries: tuple[Entry, ...] = ()
    more: bool = False

    @property
    def entry(self) -> Entry | None:
        """What a get found."""
        return self.entries[0] if self.entries else None


class TxnDone(Struct, frozen=True):
    """A committed transaction: the branch that was done, and a result for each operation."""

    succeeded: bool
    revision: int
    results: tuple[TxnResult, ...]
    replayed: bool = False


class TxnText(Struct, frozen=True):
    """The answer to a transaction in JSON, as the server wrote it."""

    succeeded: bool
    text: str


class _ResultBody(Struct, frozen=True):
    created: bool | None = None
    version: int | None = None
    deleted: int | None = None
    value: int | None = None
    size: int | None = None
    count: int | None = None
    ttl_ms: int | None = None
    item: ItemBody | None = None
    items: tuple[ItemBody, ...] = ()
    more: bool = False

    def result(self) -> TxnResult:
        numbers = (self.deleted, self.value, self.size, self.count)
        items = self.items if self.item is None else (self.item,)
        return TxnResult(
            next((number for number in numbers if number is not None), None),
            self.created,
            self.version,
            self.ttl_ms,
            tuple(item.entry() for item in items),
            self.more,
        )


class _DoneBody(Struct, frozen=True):
    succeeded: bool
    revision: int
    results: tuple[_ResultBody, ...]


class TxnCalls(Calling):
    """A part of RaftcacheClient."""

    async def txn(
        self, txn: Txn, *, once: bool = True, idempotency_key: str | None = None
    ) -> TxnDone:
        """Do a transaction.

        An operation that cannot be done refuses all of it: NotFound, TooLarge or BadRequest, whose
        detail begins with its place.

        once: it carries an idempotency key, so that it is done once however often it is tried.
            Then what it reads may have TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX bytes together, for
            the cluster remembers the answer. One that only reads needs none, and carries none.
        """
        body = msgspec.json.encode(txn.body())
        if idempotency_key is not None or (once and not txn.only_reads):
            answer = await self._send("POST", TXN, idempotency_key, body)
        else:
            answer = await self._operate("POST", TXN, body)
        done = _done(answer)
        results = tuple(body.result() for body in done.results)
        return TxnDone(done.succeeded, done.revision, results, answer.is_replayed)

    async def txn_json(self, body: bytes, *, idempotency_key: str | None = None) -> TxnText:
        """The same, done once, from and to the JSON that docs/API.md describes."""
        answer = await self._send("POST", TXN, idempotency_key, body)
        return TxnText(_done(answer).succeeded, answer.body.decode())


def _done(answer: Answer) -> _DoneBody:
    if answer.status != 200:
        raise refused(answer)
    return decoded(answer, _DoneBody)


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")
