"""Commands that touch many keys in one revision: all that they do, or nothing of it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, get_args

from msgspec.structs import astuple

from raftcache.command.limits import (
    RANGE_KEYS_MAX,
    RESULT_SIZE_BYTES,
    TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX,
    TXN_RESULTS_SIZE_BYTES_MAX,
)
from raftcache.command.ranges import is_within
from raftcache.command.replies import (
    Collection,
    Found,
    Item,
    Reply,
    Result,
    Status,
    Stopped,
    TxnReply,
    Wrote,
)
from raftcache.command.words import (
    Compare,
    DeleteRange,
    Get,
    Keyed,
    Operation,
    Range,
    Relation,
    Target,
    Txn,
)
from raftcache.state.changes import Changes
from raftcache.state.history import Kind
from raftcache.state.items import read, read_header, read_without_value
from raftcache.state.notes import Flushed
from raftcache.state.operations import Operations

_KEYED: Final = get_args(Keyed)

_REFUSED: Final = frozenset(
    (
        Status.MISSING,
        Status.NOT_INTEGER,
        Status.OVERFLOW,
        Status.TOO_LARGE,
        Status.TOO_MANY_KEYS,
        Status.NO_LEASE,
        Status.LIMIT,
        Status.OVER_KEYS_QUOTA,
        Status.OVER_SIZE_QUOTA,
        Status.WRONG_TYPE,
    )
)
"""An operation that answers so has not been done, and ends its transaction."""

_RELATIONS: Final[dict[Relation, Callable[[Any, Any], bool]]] = {
    Relation.EQUAL: operator.eq,
    Relation.NOT_EQUAL: operator.ne,
    Relation.LESS: operator.lt,
    Relation.GREATER: operator.gt,
}


class Transactions:
    """Txn and DeleteRange over one state."""

    def __init__(self, changes: Changes, operations: Operations) -> None:
        self._changes, self._state, self._operations = changes, changes.state, operations

    def execute(self, txn: Txn) -> Reply:
        """Do the branch that the compares choose; overdue keys that it writes are removed first."""
        held = all(self._holds(compare) for compare in txn.compares)
        status, branch = (Status.SUCCEEDED, txn.success) if held else (Status.FAILED, txn.failure)
        for operation in branch:
            if isinstance(operation, _KEYED):
                self._changes.find(operation.key)
        run = _Run(self._changes, self._operations, _results_size_bytes_max(txn))
        self._changes.begin()
        results: list[Result] = []
        for place, operation in enumerate(branch):
            result = run.step(operation)
            if isinstance(result, Reply):
                self._changes.undo()
                why = Reply(result.status, self._state.revision, number=result.number)
                stopped = Stopped(status, place, why)
                return TxnReply(Status.ABORTED, self._state.revision, results=(stopped,))
            results.append(result)
        self._changes.commit()
        return TxnReply(status, self._state.revision, results=tuple(results))

    def delete_range(self, command: DeleteRange) -> Reply:
        """Remove the keys of the range; RANGE_KEYS_MAX at most."""
        self._changes.begin()
        reply, _ = delete_range(self._changes, command, RANGE_KEYS_MAX)
        self._changes.commit()
        return reply

    def _holds(self, compare: Compare) -> bool:
        item = self._state.keyspace.get(compare.key, self._state.now_ms)
        holds = _RELATIONS[compare.relation]
        if compare.target is Target.VALUE:
            if item is None or isinstance(item, Collection):
                return False
            return holds(item.value, compare.value)
        return holds(_number(compare.target, item), compare.number)


def _number(target: Target, item: Item | None) -> int:
    if item is None:
        return 0
    match target:
        case Target.REVISION:
            return item.mod_revision
        case Target.CREATE_REVISION:
            return item.create_revision
        case Target.VERSION:
            return item.version
        case Target.EXISTS:
            return 1
        case Target.LEASE:
            return item.lease
        case Target.VALUE:
            raise AssertionError("a value is no number")


def _results_size_bytes_max(txn: Txn) -> int:
    if txn.once is None:
        return TXN_RESULTS_SIZE_BYTES_MAX
    return TXN_RESULTS_REMEMBERED_SIZE_BYTES_MAX


class _Run:
    """The operations of one branch, and what they may still touch and answer."""

    def __init__(self, changes: Changes, operations: Operations, size_bytes_left: int) -> None:
        self._changes, self._state, self._operations = changes, changes.state, operations
        self._size_bytes_left = size_bytes_left
        self._keys_left = RANGE_KEYS_MAX

    def step(self, operation: Operation) -> Result | Reply:
        """Do one operation. A Reply says why it was not done: the caller undoes all before it."""
        result = self._do(operation)
        if isinstance(result, Wrote) and result.reply.status in _REFUSED:
            return result.reply
        self._size_bytes_left -= _size_bytes(result)
        if self._size_bytes_left < 0:
            return Reply(Status.REPLY_TOO_LARGE, self._state.revision)
        return result

    def _do(self, operation: Operation) -> Result:
        match operation:
            case Get():
                item = self._state.keyspace.get(operation.key, self._state.now_ms)
                if isinstance(item, Collection):
                    return Wrote(Reply(Status.WRONG_TYPE, self._state.revision))
                entries = () if item is None else ((operation.key, item),)
                return Found(entries, len(entries))
            case Range():
                return self._range(operation)
            case DeleteRange():
                reply, touched = delete_range(self._changes, operation, self._keys_left)
                self._keys_left -= touched
                return Wrote(reply)
            case _:
                return Wrote(self._operations.execute(operation))

    def _range(self, asked: Range) -> Result:
        if asked.count_only:
            return self._count(asked)
        keyspace, now_ms = self._state.keyspace, self._state.now_ms
        read_item = read_without_value if asked.keys_only else read
        entries: list[tuple[bytes, Item]] = []
        size_bytes = 0
        for key, packed in keyspace.span(asked.start, asked.end):
            item = keyspace.leases.seen(read_item(packed, now_ms), now_ms)
            if item is not None and len(entries) == asked.limit > 0:
                return Found(tuple(entries), len(entries), more=True)
            self._keys_left -= 1
            if self._keys_left < 0:
                return Wrote(Reply(Status.TOO_MANY_KEYS, self._state.revision))
            if item is None:
                continue
            if isinstance(item, Collection):
                if not asked.keys_only:
                    return Wrote(Reply(Status.WRONG_TYPE, self._state.revision))
                item = Item(*astuple(item)[:-1])  # as it is remembered
            entries.append((key, item))
            size_bytes += _entry_size_bytes(key, item)
            if size_bytes > self._size_bytes_left:
                break  # `step` refuses it; no need to read on
        return Found(tuple(entries), len(entries))

    def _count(self, asked: Range) -> Result:
        keyspace, now_ms = self._state.keyspace, self._state.now_ms
        absent = keyspace.gone(now_ms, self._keys_left + 1)
        self._keys_left -= len(absent)
        if self._keys_left < 0:
            return Wrote(Reply(Status.TOO_MANY_KEYS, self._state.revision))
        gone = sum(is_within(key, asked.start, asked.end) for key in absent)
        return Found((), keyspace.count_span(asked.start, asked.end) - gone)


def delete_range(changes: Changes, command: DeleteRange, keys_max: int) -> tuple[Reply, int]:
    """Remove the keys of the range, all or, with more than keys_max, none; and how many.

    Overdue ones go with them, as expired, and are not counted in the reply.
    """
    state = changes.state
    span = list(islice(state.keyspace.span(command.start, command.end), keys_max + 1))
    if len(span) > keys_max:
        return Reply(Status.TOO_MANY_KEYS, state.revision), 0
    if state.refills.by_key:
        changes.settle(command.start, command.end)
    count = 0
    for key, packed in span:
        stored = read_header(packed)
        overdue = state.keyspace.is_overdue(stored, state.now_ms)
        changes.remove(key, stored, Kind.EXPIRE if overdue else Kind.DELETE)
        count += not overdue
    if not (command.start or command.end):
        changes.notes.pending.append(Flushed())
    return Reply(Status.DELETED, state.revision, count=count), len(span)


def _size_bytes(result: Result) -> int:
    """An upper bound of a result's part in a remembered reply."""
    if isinstance(result, Found):
        entries = sum(_entry_size_bytes(key, item) for key, item in result.entries)
        return RESULT_SIZE_BYTES + entries
    return RESULT_SIZE_BYTES


def _entry_size_bytes(key: bytes, item: Item) -> int:
    return len(key) + len(item.value) + len(item.content_type) + RESULT_SIZE_BYTES
