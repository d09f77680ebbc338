"""What the body of POST /v1/txn means: JSON read strictly, and turned into a transaction.

Pure. Whatever cannot mean anything raises BadRequest, with the place of the field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from raftcache.command.checks import check, check_counts
from raftcache.command.limits import RANGE_KEYS_MAX
from raftcache.command.words import (
    Append,
    Compare,
    Delete,
    DeleteRange,
    Expire,
    Get,
    Increment,
    LeasedPut,
    Once,
    Operation,
    Persist,
    Put,
    Range,
    Relation,
    Target,
    Touch,
    Txn,
)
from raftcache.errors import BadRequest
from raftcache.server.json_keys import (
    parse_json,
    parse_key,
    parse_range,
    parse_range_to_delete,
    parse_value,
)
from raftcache.server.query import parse_duration_ms
from raftcache.server.shapes import DURATION, ESCAPED_BOUND, ESCAPED_KEY, INTEGER, POSITIVE

S = TypeVar("S")
T = TypeVar("T")

TARGETS: Final = {target.name.lower(): target for target in Target}
RELATIONS: Final = {
    "=": Relation.EQUAL,
    "!=": Relation.NOT_EQUAL,
    "<": Relation.LESS,
    ">": Relation.GREATER,
}


# What the schema tells of the fields; msgspec checks none of it: a mistake is worded below.
_Target = Annotated[str, Meta(extra_json_schema={"enum": list(TARGETS)})]
_Relation = Annotated[str, Meta(extra_json_schema={"enum": list(RELATIONS)})]
_Key = Annotated[str, Meta(extra_json_schema=dict(ESCAPED_KEY))]
_Bound = Annotated[str, Meta(extra_json_schema=dict(ESCAPED_BOUND))]
_Duration = Annotated[str, Meta(extra_json_schema=dict(DURATION))]
_Integer = Annotated[int, Meta(extra_json_schema=dict(INTEGER))]
_Limit = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": RANGE_KEYS_MAX})]
_Lease = Annotated[int, Meta(extra_json_schema=dict(POSITIVE))]


class _Strict(Struct, forbid_unknown_fields=True, frozen=True):
    """A JSON object without any field that is not named."""


class _Compare(_Strict, frozen=True):
    key: _Key
    target: _Target
    op: _Relation
    value: str | int | bool | None = None
    value_base64: str | None = None


class _Keyed(_Strict, frozen=True, tag_field="op"):
    key: _Key


class _Put(_Keyed, frozen=True, tag="put"):
    value: str | None = None
    value_base64: str | None = None
    content_type: str = ""
    ttl: _Duration | None = None
    lease: _Lease | None = None

    def word(self, size_bytes_max: int) -> Operation:
        value = parse_value(self.value, self.value_base64)
        if self.lease is not None:
            if self.ttl is not None:
                raise BadRequest("ttl and lease exclude each other")
            return LeasedPut(parse_key(self.key), value, self.lease, self.content_type)
        ttl_ms = None if self.ttl is None else parse_duration_ms("ttl", self.ttl)
        return Put(parse_key(self.key), value, self.content_type, ttl_ms)


class _Append(_Keyed, frozen=True, tag="append"):
    value: str | None = None
    value_base64: str | None = None

    def word(self, size_bytes_max: int) -> Operation:
        value = parse_value(self.value, self.value_base64)
        return Append(parse_key(self.key), value, size_bytes_max)


class _Incr(_Keyed, frozen=True, tag="incr"):
    by: _Integer = 1

    def word(self, size_bytes_max: int) -> Operation:
        return Increment(parse_key(self.key), self.by)


class _Expire(_Keyed, frozen=True, tag="expire", kw_only=True):
    ttl: _Duration

    def word(self, size_bytes_max: int) -> Operation:
        return Expire(parse_key(self.key), parse_duration_ms("ttl", self.ttl))


class _Delete(_Keyed, frozen=True, tag="delete"):
    def word(self, size_bytes_max: int) -> Operation:
        return Delete(parse_key(self.key))


class _Persist(_Keyed, frozen=True, tag="persist"):
    def word(self, size_bytes_max: int) -> Operation:
        return Persist(parse_key(self.key))


class _Touch(_Keyed, frozen=True, tag="touch"):
    def word(self, size_bytes_max: int) -> Operation:
        return Touch(parse_key(self.key))


class _Get(_Keyed, frozen=True, tag="get"):
    def word(self, size_bytes_max: int) -> Operation:
        return Get(parse_key(self.key))


class _Spanning(_Strict, frozen=True, tag_field="op"):
    prefix: _Bound | None = None
    start: _Bound | None = None
    end: _Bound | None = None


class _Range(_Spanning, frozen=True, tag="range"):
    limit: _Limit | None = None
    keys_only: bool = False
    count_only: bool = False

    def word(self, size_bytes_max: int) -> Operation:
        start, end = parse_range(self.prefix, self.start, self.end)
        if self.limit == 0:
            raise BadRequest("limit must be 1 or more; leave it out for all")
        return Range(start, end, self.limit or 0, self.keys_only, self.count_only)


class _DeleteRange(_Spanning, frozen=True, tag="delete_range"):
    all: bool = False

    def word(self, size_bytes_max: int) -> Operation:
        return DeleteRange(
            *parse_range_to_delete(self.prefix, self.start, self.end, everything=self.all)
        )


_Operation: TypeAlias = (
    _Put | _Append | _Incr | _Expire | _Delete | _Persist | _Touch | _Get | _Range | _DeleteRange
)


class Transaction(_Strict, frozen=True):
    """The body."""

    compare: tuple[_Compare, ...] = ()
    success: tuple[_Operation, ...] = ()
    failure: tuple[_Operation, ...] = ()


_decoder = msgspec.json.Decoder(Transaction)


def read_txn(body: bytes, once: Once | None, value_size_bytes_max: int) -> Txn:
    """The transaction; value_size_bytes_max: what this node lets values grow to."""
    asked = parse_json(body, _decoder, "a transaction in JSON")
    # Here as well, for a body has room for 40,000 of them, and each is read slowly.
    if why := check_counts(len(asked.compare), len(asked.success) + len(asked.failure)):
        raise BadRequest(why)

    def operation(one: _Operation) -> Operation:
        return one.word(value_size_bytes_max)

    txn = Txn(
        _each("compare", _compare, asked.compare),
        _each("success", operation, asked.success),
        _each("failure", operation, asked.failure),
        once,
    )
    if why := check(txn):
        raise BadRequest(why)
    return txn


def _each(part: str, read: Callable[[S], T], asked: tuple[S, ...]) -> tuple[T, ...]:
    words = []
    for place, one in enumerate(asked):
        try:
            words.append(read(one))
        except BadRequest as error:
            raise BadRequest(f"{part}[{place}]: {error.detail}") from None
    return tuple(words)


def _compare(asked: _Compare) -> Compare:
    key = parse_key(asked.key)
    if asked.target not in TARGETS:
        raise BadRequest(f"target must be one of {', '.join(TARGETS)}")
    if asked.op not in RELATIONS:
        raise BadRequest(f"op must be one of {', '.join(RELATIONS)}")
    target, relation, value = TARGETS[asked.target], RELATIONS[asked.op], asked.value
    if target is Target.VALUE:
        if isinstance(value, int):
            raise BadRequest("a value is compared with text, or with value_base64")
        return Compare(key, target, relation, 0, parse_value(value, asked.value_base64))
    wanted = bool if target is Target.EXISTS else int
    if type(value) is not wanted or asked.value_base64 is not None:
        kind = "true or false" if wanted is bool else "a number"
        raise BadRequest(f"{asked.target} is compared with a value that is {kind}")
    return Compare(key, target, relation, int(value))
