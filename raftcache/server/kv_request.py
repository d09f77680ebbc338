"""What a request for /v1/kv/{key} means: a key, and how fresh a read or which command.

Pure. Everything that cannot mean anything raises BadRequest, or a class below it.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy, istr

from raftcache.command.codec import fingerprint
from raftcache.command.limits import (
    CONTENT_TYPE_SIZE_BYTES_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    REFILL_MS_MAX,
    TOKEN_SIZE_BYTES_MAX,
)
from raftcache.command.words import (
    ABSENT,
    ANY,
    PRESENT,
    Append,
    Command,
    Delete,
    Expire,
    Increment,
    LeasedPut,
    Number,
    Once,
    Persist,
    Put,
    Refill,
    Touch,
)
from raftcache.errors import BadRequest, TooLarge
from raftcache.server.json_keys import parse_key
from raftcache.server.kv_routes import DELETE_KEY, GET_KEY, OPERATIONS, PREFIX, PUT_KEY
from raftcache.server.query import only_known, parse_duration_ms, parse_number, parse_query, shown
from raftcache.server.replies import UnsupportedEncoding
from raftcache.service.kv import LINEARIZABLE, Level, Want
from raftcache.service.vivify import Wish

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

_IDEMPOTENCY_KEY: Final = istr("Idempotency-Key")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_NUMBERED: Final = re.compile(
    "client=([1-9][0-9]{0,18}) number=([1-9][0-9]{0,18}) pending-from=([1-9][0-9]{0,18})"
)
_REVISION: Final = re.compile(r'"([1-9][0-9]{0,18})"')
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")


def read_key(path: str) -> bytes:
    """The key that a path below PREFIX names; BadRequest, KeyTooLong."""
    return parse_key(path[len(PREFIX) :])


def read_want(raw_query: str) -> Want:
    """The freshness that a read asks for."""
    if not raw_query:
        return LINEARIZABLE
    query = parse_query(raw_query)
    only_known(query, GET_KEY.known)
    if lonely := [name for name in ("early", "wait") if name in query]:
        raise BadRequest(f"{lonely[0]} goes with vivify only")
    return want_of(query)


def want_of(query: dict[str, str]) -> Want:
    """The freshness that these parameters ask for."""
    asked = query.get("consistency", Level.LINEARIZABLE)
    try:
        level = Level(asked)
    except ValueError:
        levels = ", ".join(Level)
        raise BadRequest(f"consistency={shown(asked)} is none of {levels}") from None
    if "max_staleness" not in query:
        return Want(level)
    if level is not Level.STALE:
        raise BadRequest("max_staleness goes with consistency=stale only")
    return Want(level, parse_duration_ms("max_staleness", query["max_staleness"]))


def read_wish(raw_query: str) -> Wish | None:
    """What a read says of refilling its key; None if it says nothing."""
    if "vivify" not in raw_query and "%" not in raw_query:
        return None  # at once: most reads ask for something else
    query = parse_query(raw_query)
    if "vivify" not in query:
        return None
    only_known(query, GET_KEY.known)
    if want_of(query).level is not Level.LINEARIZABLE:
        raise BadRequest("vivify goes with consistency=linearizable only")
    spans = {
        name: parse_duration_ms(name, query[name]) if name in query else 0
        for name in ("vivify", "early", "wait")
    }
    if not 1 <= spans["vivify"] <= REFILL_MS_MAX:
        raise BadRequest(f"vivify={shown(query['vivify'])} is not from 1ms to {REFILL_MS_MAX}ms")
    if spans["wait"] > REFILL_MS_MAX:
        raise BadRequest(f"wait={shown(query['wait'])} is more than {REFILL_MS_MAX}ms")
    return Wish(spans["vivify"], spans["early"], spans["wait"])


def read_command(
    method: str, target: str, headers: Headers, body: bytes, value_size_bytes_max: int
) -> Command:
    """The command that a PUT, POST or DELETE stands for.

    target: path and query as they came, undecoded.
    """
    path, _, raw_query = target.partition("?")
    key = read_key(path)
    if body:
        _check_body(headers, body, value_size_bytes_max)
    only = _only(headers)
    once = read_once(method, target, headers, body)
    query = parse_query(raw_query) if raw_query else {}
    if method == "PUT":
        return _put(key, query, headers, body, only, once)
    if method == "POST":
        return _operation(key, query, body, value_size_bytes_max, only, once)
    only_known(query, DELETE_KEY.known)
    _no_body("DELETE", body)
    _no_absence("DELETE", only)
    return Delete(key, only, once)


def _check_body(headers: Headers, body: bytes, value_size_bytes_max: int) -> None:
    if len(body) > value_size_bytes_max:
        raise TooLarge(f"a value has at most {value_size_bytes_max} bytes")
    encoding = headers.get(hdrs.CONTENT_ENCODING, "identity")
    if encoding.lower() != "identity":
        raise UnsupportedEncoding(
            f"Content-Encoding {shown(encoding)} would not be kept with the value"
        )
    if hdrs.CONTENT_RANGE in headers:  # RFC 9110, 14.5: a part would be taken for the whole
        raise BadRequest("Content-Range: a value is written as a whole")
    transfer = headers.get(hdrs.TRANSFER_ENCODING, "chunked")
    if transfer.lower() != "chunked":
        raise BadRequest(f"Transfer-Encoding {shown(transfer)}: only chunked is undone here")


def _put(
    key: bytes, query: dict[str, str], headers: Headers, body: bytes, only: int, once: Once | None
) -> Put | LeasedPut | Refill:
    only_known(query, PUT_KEY.known)
    if "lease" in query and len(query) > 1:
        raise BadRequest("lease excludes ttl and vivify: a key of a lease goes with it")
    ttl_ms = parse_duration_ms("ttl", query["ttl"]) if "ttl" in query else None
    content_type = headers.get(hdrs.CONTENT_TYPE, "")
    if len(content_type) > CONTENT_TYPE_SIZE_BYTES_MAX:
        raise BadRequest(f"a Content-Type has at most {CONTENT_TYPE_SIZE_BYTES_MAX} bytes")
    if not (content_type.isascii() and content_type.isprintable()):
        raise BadRequest("a Content-Type is printable ASCII")
    if "lease" in query:
        lease = parse_number("lease", query["lease"])
        return LeasedPut(key, body, lease, content_type, only, once)
    if "vivify" not in query:
        return Put(key, body, content_type, ttl_ms, only, once)
    if only != ANY:
        raise BadRequest("a refill is made for its token, not for If-Match or If-None-Match")
    token = parse_number("vivify", query["vivify"])
    return Refill(key, body, token, content_type, ttl_ms, once)


def _operation(
    key: bytes,
    query: dict[str, str],
    body: bytes,
    value_size_bytes_max: int,
    only: int,
    once: Once | None,
) -> Command:
    op = query.get("op", "")
    if op not in OPERATIONS:
        raise BadRequest(f"op={shown(op)} is none of {', '.join(OPERATIONS)}")
    only_known(query, OPERATIONS[op])
    if op == "append":
        return Append(key, body, value_size_bytes_max, only, once)
    _no_body(f"op={op}", body)
    if op == "incr":
        return Increment(key, _integer("by", query.get("by", "1")), only, once)
    _no_absence(f"op={op}", only)
    if op == "expire":
        if "ttl" not in query:
            raise BadRequest("op=expire needs a ttl")
        return Expire(key, parse_duration_ms("ttl", query["ttl"]), only, once)
    return Persist(key, only, once) if op == "persist" else Touch(key, only, once)


def list_header(headers: Headers, name: istr) -> str | None:
    """A header that is a list, its lines joined as RFC 9110 (5.3) has it; None without one."""
    if name not in headers:  # almost always, and the cheapest question
        return None
    return ", ".join(headers.getall(name))


def is_known(tag: str, tags: str) -> bool:
    """Whether If-None-Match names this ETag, compared weakly (RFC 9110, 13.1.2)."""
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in tags.split(","))


def _only(headers: Headers) -> int:
    """The precondition of a write, as `words` has it."""
    match = list_header(headers, hdrs.IF_MATCH)
    none_match = list_header(headers, hdrs.IF_NONE_MATCH)
    if match is None and none_match is None:
        return ANY
    if match is None:
        if none_match != "*":
            raise BadRequest("a write knows If-None-Match only with *")
        return ABSENT
    if none_match is not None:
        raise BadRequest("If-Match and If-None-Match exclude each other")
    if match == "*":
        return PRESENT
    tag = _REVISION.fullmatch(match)
    if tag is None or int(tag[1]) > INTEGER_MAX:
        raise BadRequest(f'If-Match {shown(match)} is neither * nor one strong ETag like "17"')
    return int(tag[1])


def check_unconditional(headers: Headers) -> None:
    """BadRequest where a condition would be ignored, and more be done than was asked for."""
    for name in (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH):
        if name in headers:
            raise BadRequest(f"{name} goes with a single key only; a transaction has compares")


def read_once(method: str, target: str, headers: Headers, body: bytes) -> Once | None:
    """The mark of a write with an Idempotency-Key, which may be a client's number.

    Its fingerprint covers all that the command is made of: method, target, preconditions, type
    and body.
    """
    token = list_header(headers, _IDEMPOTENCY_KEY)
    if token is None:
        return None
    mark = _mark(token)
    covered = (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH, hdrs.CONTENT_TYPE)
    lines = [f"{name}: {list_header(headers, name) or ''}" for name in covered]
    request = "\n".join((f"{method} {target}", *lines)).encode("utf-8", "surrogateescape")
    return Once(mark, fingerprint(request, body))


def _mark(token: str) -> bytes | Number:
    """What an Idempotency-Key is: a key, or a client's number, which has spaces.

    So a node that does not know numbers refuses them: it takes none for a key.
    """
    if numbered := _NUMBERED.fullmatch(token):
        return Number(*map(int, numbered.groups()))
    if len(token) > TOKEN_SIZE_BYTES_MAX or not _VISIBLE.fullmatch(token):
        raise BadRequest(
            f"an Idempotency-Key is 1 to {TOKEN_SIZE_BYTES_MAX} visible characters,"
            " or client=ID number=N pending-from=N"
        )
    return token.encode("ascii")


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or not INTEGER_MIN <= int(text) <= INTEGER_MAX:
        raise BadRequest(f"{name}={shown(text)} is no signed 64-bit decimal integer")
    return int(text)


def _no_body(what: str, body: bytes) -> None:
    if body:
        raise BadRequest(f"{what} takes no body")


def _no_absence(what: str, only: int) -> None:
    if only == ABSENT:
        raise BadRequest(f"{what} means nothing with If-None-Match: *")
