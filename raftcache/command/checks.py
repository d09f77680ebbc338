"""The limits of every command's fields: what is outside them gets a reply, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from raftcache.command.calls import Calls
from raftcache.command.checks_of_calls import CHECKS_OF_CALLS
from raftcache.command.clients import ClientLeave, ClientRegister, Registering
from raftcache.command.leasing import (
    LeaseGrant,
    LeaseKeepAlive,
    LeaseRevoke,
    Leasing,
    LockAcquire,
    Locking,
    LockKeepAlive,
    LockLeave,
    LockRelease,
    LockStay,
)
from raftcache.command.limits import (
    CONTENT_TYPE_SIZE_BYTES_MAX,
    EVICTED_PER_ENTRY_MAX,
    EVICTED_PER_ENTRY_SIZE_BYTES_MAX,
    FINGERPRINT_SIZE_BYTES,
    INTEGER_MAX,
    INTEGER_MIN,
    KEY_SIZE_BYTES_MAX,
    LEASE_TTL_MS_MAX,
    LEASE_TTL_MS_MIN,
    LOCK_DELAY_MS_MAX,
    LOCK_NAME_SIZE_BYTES_MAX,
    LOCK_VALUE_SIZE_BYTES_MAX,
    LOCK_WAIT_MS_MAX,
    RANGE_KEYS_MAX,
    REFILL_MS_MAX,
    TOKEN_SIZE_BYTES_MAX,
    TTL_MS_MAX,
    TXN_COMPARES_MAX,
    TXN_OPERATIONS_MAX,
    TXN_SIZE_BYTES_MAX,
    VALUE_SIZE_BYTES_MAX,
)
from raftcache.command.words import (
    ANY,
    PRESENT,
    Append,
    Command,
    Compare,
    Delete,
    DeleteQuota,
    DeleteRange,
    Evict,
    Expire,
    Get,
    Increment,
    Keeping,
    LeasedPut,
    Number,
    Once,
    Operation,
    Persist,
    Put,
    Range,
    Refill,
    Relation,
    SetQuota,
    Target,
    Tick,
    Touch,
    Txn,
    Vivify,
)


def check(command: Command) -> str | None:
    """Which field is outside its limits, as a sentence; None if none is."""
    check_more = _CHECKS.get(type(command))
    word: Any = command  # about one key, if there is such a check: asked for each command applied
    if check_more is None:
        return None if isinstance(command, Tick) else _check_keyless(word)
    if not 1 <= len(word.key) <= KEY_SIZE_BYTES_MAX:
        return _KEY_SIZE % len(word.key)  # as _check_key, without the call
    if not PRESENT <= word.only <= INTEGER_MAX:
        return f"a precondition is a revision, {word.only} is none"
    if word.once is not None and (why := _check_once(word.once)):
        return why
    return check_more(word)


_VALUE_SIZE: Final = f"a value has at most {VALUE_SIZE_BYTES_MAX} bytes, this one %d"
_KEY_SIZE: Final = f"a key has 1 to {KEY_SIZE_BYTES_MAX} bytes, this one %d"


def _check_keyless(
    command: Txn | DeleteRange | Keeping | Leasing | Locking | Calls | Registering,
) -> str | None:
    if command.once is not None and (why := _check_once(command.once)):
        return why
    return _KEYLESS_CHECKS[type(command)](command)


def _check_key(key: bytes) -> str | None:
    return None if 1 <= len(key) <= KEY_SIZE_BYTES_MAX else _KEY_SIZE % len(key)


def _check_once(once: Once) -> str | None:
    token = once.token
    if isinstance(token, Number):
        if why := _check_request(token):
            return why
    elif not 1 <= len(token) <= TOKEN_SIZE_BYTES_MAX:
        return f"an idempotency key has 1 to {TOKEN_SIZE_BYTES_MAX} bytes, this one {len(token)}"
    if len(once.fingerprint) != FINGERPRINT_SIZE_BYTES:
        return f"a fingerprint has {FINGERPRINT_SIZE_BYTES} bytes, not {len(once.fingerprint)}"
    return None


def _check_request(request: Number) -> str | None:
    if not 1 <= request.pending_from <= request.number <= INTEGER_MAX:
        return (
            f"a client waits for the request that it sends: {request.number} is none from"
            f" {request.pending_from}, which is 1 or more, to {INTEGER_MAX}"
        )
    return _check_client(request)


def _check_unmarked(command: Registering) -> str | None:
    return None if command.once is None else "clients come and go without an idempotency key"


def _check_client(word: Number | ClientLeave) -> str | None:
    return _check_number("the id of a client", word.client)


def _check_put(command: Put | Refill) -> str | None:
    if command.ttl_ms is not None and not 1 <= command.ttl_ms <= TTL_MS_MAX:
        return f"a time to live is 1 to {TTL_MS_MAX} ms, not {command.ttl_ms}"
    if len(command.value) > VALUE_SIZE_BYTES_MAX:  # as _check_value, without the call
        return _VALUE_SIZE % len(command.value)
    return check_content_type(command.content_type) if command.content_type else None


def _check_leased_put(command: LeasedPut) -> str | None:
    return _check_number("the id of a lease", command.lease) or _check_value(command)


def _check_value(command: LeasedPut) -> str | None:
    if len(command.value) > VALUE_SIZE_BYTES_MAX:
        return _VALUE_SIZE % len(command.value)
    return check_content_type(command.content_type) if command.content_type else None


def check_content_type(content_type: str) -> str | None:
    """As check."""
    if len(content_type) > CONTENT_TYPE_SIZE_BYTES_MAX:
        return f"a content type has at most {CONTENT_TYPE_SIZE_BYTES_MAX} bytes"
    if not (content_type.isascii() and content_type.isprintable()):
        return "a content type is printable ASCII"
    return None


def _check_increment(command: Increment) -> str | None:
    if not INTEGER_MIN <= command.by <= INTEGER_MAX:
        return f"an increment is a signed 64-bit integer, {command.by} is none"
    return None


def _check_append(command: Append) -> str | None:
    if not 0 <= command.size_bytes_max <= VALUE_SIZE_BYTES_MAX:
        return f"a value limit is 0 to {VALUE_SIZE_BYTES_MAX} bytes, not {command.size_bytes_max}"
    if len(command.value) > VALUE_SIZE_BYTES_MAX:
        return f"a value has at most {VALUE_SIZE_BYTES_MAX} bytes, this one {len(command.value)}"
    return None


def _check_expire(command: Expire) -> str | None:
    if abs(command.ttl_ms) > TTL_MS_MAX:
        return f"a time to live is at most {TTL_MS_MAX} ms, not {command.ttl_ms}"
    return None


def _check_span(command: DeleteRange | Range) -> str | None:
    # One byte more than a key: the first that follows it is the key and a zero.
    if max(len(command.start), len(command.end)) > KEY_SIZE_BYTES_MAX + 1:
        return f"an end of a range has at most {KEY_SIZE_BYTES_MAX + 1} bytes"
    if command.end and command.start >= command.end:
        return "a range starts before its end"
    return None


def _check_evict(command: Evict) -> str | None:
    if len(command.victims) > EVICTED_PER_ENTRY_MAX:
        return f"at most {EVICTED_PER_ENTRY_MAX} keys are evicted at once"
    if sum(len(key) for key, _ in command.victims) > EVICTED_PER_ENTRY_SIZE_BYTES_MAX:
        return f"their names have at most {EVICTED_PER_ENTRY_SIZE_BYTES_MAX} bytes"
    for key, revision in command.victims:
        if why := _check_key(key):
            return why
        if not 1 <= revision <= INTEGER_MAX:
            return f"a key was changed at a revision, {revision} is none"
    return None


def _check_quota(command: SetQuota) -> str | None:
    limits = (command.keys_max, command.size_bytes_max)
    if limits == (None, None):
        return "a quota limits keys or bytes, or both"
    for limit in limits:
        if limit is not None and not 0 <= limit <= INTEGER_MAX:
            return f"a quota is 0 to {INTEGER_MAX}, not {limit}"
    return _check_prefix(command)


def _check_prefix(command: SetQuota | DeleteQuota) -> str | None:
    if len(command.prefix) > KEY_SIZE_BYTES_MAX:
        return f"a prefix has at most {KEY_SIZE_BYTES_MAX} bytes, this one {len(command.prefix)}"
    return None


def _check_vivify(command: Vivify) -> str | None:
    if not 1 <= command.right_ms <= REFILL_MS_MAX:
        return f"a right to refill lasts 1 to {REFILL_MS_MAX} ms, not {command.right_ms}"
    if not 0 <= command.early_ms <= TTL_MS_MAX:
        return f"early is 0 to {TTL_MS_MAX} ms, not {command.early_ms}"
    return _check_key(command.key)


def _check_refill(command: Refill) -> str | None:
    if not 1 <= command.token <= INTEGER_MAX:
        return f"the token of a right is 1 to {INTEGER_MAX}, not {command.token}"
    return _check_key(command.key) or _check_put(command)


def _check_range(command: Range) -> str | None:
    if not 0 <= command.limit <= RANGE_KEYS_MAX:
        return f"a limit is 1 to {RANGE_KEYS_MAX} keys, or 0 for all; not {command.limit}"
    if command.count_only and (command.keys_only or command.limit):
        return "a count has neither keys nor a limit"
    return _check_span(command)


def check_counts(compares: int, operations: int) -> str | None:
    """Why a transaction may not have so many of them; None if it may."""
    if operations > TXN_OPERATIONS_MAX:
        return f"a transaction has at most {TXN_OPERATIONS_MAX} operations, this one {operations}"
    if compares > TXN_COMPARES_MAX:
        return f"a transaction has at most {TXN_COMPARES_MAX} compares, this one {compares}"
    return None


def _check_txn(txn: Txn) -> str | None:
    if why := check_counts(len(txn.compares), len(txn.success) + len(txn.failure)):
        return why
    size_bytes = 0
    for place, compare in enumerate(txn.compares):
        size_bytes += len(compare.key) + len(compare.value)
        if why := _check_compare(compare):
            return f"compare[{place}]: {why}"
    for name, branch in (("success", txn.success), ("failure", txn.failure)):
        for place, operation in enumerate(branch):
            size_bytes += _operation_size_bytes(operation)
            if why := _check_operation(operation):
                return f"{name}[{place}]: {why}"
    if size_bytes > TXN_SIZE_BYTES_MAX:
        return (
            f"a transaction has at most {TXN_SIZE_BYTES_MAX} bytes of keys, values and types,"
            f" this one {size_bytes}"
        )
    return None


def _check_compare(compare: Compare) -> str | None:
    if why := _check_key(compare.key):
        return why
    if compare.target is Target.VALUE:
        return "a value is compared with bytes" if compare.number else None
    if compare.value:
        return "only a value is compared with bytes"
    if not 0 <= compare.number <= INTEGER_MAX:
        return f"revisions, versions and leases are 0 to {INTEGER_MAX}, not {compare.number}"
    if compare.target is Target.EXISTS and (
        compare.number > 1 or compare.relation not in (Relation.EQUAL, Relation.NOT_EQUAL)
    ):
        return "existence is compared by = and != with true and false"
    return None


def _check_operation(operation: Operation) -> str | None:
    match operation:
        case Get():
            return _check_key(operation.key)
        case Range():
            return _check_range(operation)
        case DeleteRange():
            pass
        case _ if operation.only != ANY:
            return "an operation has no precondition: the transaction has compares"
    if operation.once is not None:
        return "an operation has no idempotency key: the transaction has one"
    return check(operation)


def _operation_size_bytes(operation: Operation) -> int:
    match operation:
        case Put() | LeasedPut():
            return len(operation.key) + len(operation.value) + len(operation.content_type)
        case Append():
            return len(operation.key) + len(operation.value)
        case Range() | DeleteRange():
            return len(operation.start) + len(operation.end)
        case _:
            return len(operation.key)


def _check_number(what: str, number: int) -> str | None:
    fits = 1 <= number <= INTEGER_MAX
    return None if fits else f"{what} is 1 to {INTEGER_MAX}, not {number}"


def _check_lease_ttl(ttl_ms: int) -> str | None:
    if not LEASE_TTL_MS_MIN <= ttl_ms <= LEASE_TTL_MS_MAX:
        return f"a time to live here is {LEASE_TTL_MS_MIN} to {LEASE_TTL_MS_MAX} ms, not {ttl_ms}"
    return None


def _check_lease(command: LeaseKeepAlive | LeaseRevoke) -> str | None:
    return _check_number("the id of a lease", command.lease)


def _check_lock_name(name: bytes) -> str | None:
    if not 1 <= len(name) <= LOCK_NAME_SIZE_BYTES_MAX:
        return f"a lock's name has 1 to {LOCK_NAME_SIZE_BYTES_MAX} bytes, this one {len(name)}"
    return None


def _check_acquire(command: LockAcquire) -> str | None:
    if why := _check_lock_name(command.name) or _check_lease_ttl(command.ttl_ms):
        return why
    if not 0 <= command.wait_ms <= LOCK_WAIT_MS_MAX:
        return f"a wait is 0 to {LOCK_WAIT_MS_MAX} ms, not {command.wait_ms}"
    if not 0 <= command.delay_ms <= LOCK_DELAY_MS_MAX:
        return f"a lock delay is 0 to {LOCK_DELAY_MS_MAX} ms, not {command.delay_ms}"
    if len(command.value) > LOCK_VALUE_SIZE_BYTES_MAX:
        return (
            f"a lock's value has at most {LOCK_VALUE_SIZE_BYTES_MAX} bytes, this one"
            f" {len(command.value)}"
        )
    return None


def _check_place(command: LockStay | LockLeave) -> str | None:
    if isinstance(command, LockLeave) and not 0 <= command.stays <= INTEGER_MAX:
        return f"stays are 0 to {INTEGER_MAX}, not {command.stays}"
    return _check_lock_name(command.name) or _check_number("a place", command.place)


def _check_token(command: LockKeepAlive | LockRelease) -> str | None:
    return _check_lock_name(command.name) or _check_number("a token", command.token)


def _nothing_more(command: object) -> str | None:
    return None


_CHECKS: Final[dict[type, Callable[[Any], str | None]]] = {
    Put: _check_put,
    Delete: _nothing_more,
    Increment: _check_increment,
    Append: _check_append,
    Expire: _check_expire,
    Persist: _nothing_more,
    Touch: _nothing_more,
    LeasedPut: _check_leased_put,
}
"""What is left to check of commands about one key."""

_KEYLESS_CHECKS: Final[dict[type, Callable[[Any], str | None]]] = {
    Txn: _check_txn,
    DeleteRange: _check_span,
    Evict: _check_evict,
    LeaseGrant: lambda command: _check_lease_ttl(command.ttl_ms),
    LeaseKeepAlive: _check_lease,
    LeaseRevoke: _check_lease,
    LockAcquire: _check_acquire,
    LockStay: _check_place,
    LockLeave: _check_place,
    LockKeepAlive: _check_token,
    LockRelease: _check_token,
    SetQuota: _check_quota,
    DeleteQuota: _check_prefix,
    Vivify: _check_vivify,
    Refill: _check_refill,
    ClientRegister: _check_unmarked,
    ClientLeave: lambda command: _check_unmarked(command) or _check_client(command),
    **CHECKS_OF_CALLS,
}
