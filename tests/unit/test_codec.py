"""The codec's shape, its limits, and the bytes that must never change."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from raftcache.command import checks, codec
from raftcache.command.calls import Calls, CallsAnswered, CallsRehearsed, CallsSince
from raftcache.command.clients import ClientLeave, ClientRegister
from raftcache.command.leasing import (
    LeaseGrant,
    LeaseKeepAlive,
    LeaseRevoke,
    LockAcquire,
    LockKeepAlive,
    LockLeave,
    LockRelease,
    LockStay,
)
from raftcache.command.limits import (
    BATCH_COMMANDS_MAX,
    CONTENT_TYPE_SIZE_BYTES_MAX,
    ENTRY_SIZE_BYTES_MAX,
    EVICTED_PER_ENTRY_MAX,
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
    ABSENT,
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
from raftcache.errors import Corrupt

ONCE = Once(b"token", b"f" * 16)
NUMBERED = Once(Number(7, 9, 9), b"f" * 16)
KEY = b"k" * KEY_SIZE_BYTES_MAX
EXISTS = Compare(b"k", Target.EXISTS, Relation.EQUAL, 1)


def numbered(client: int, number: int, pending_from: int) -> Once:
    return Once(Number(client, number, pending_from), bytes(16))


WRITTEN: list[tuple[Command, str]] = [
    (Put(b"k", b"v"), "9701c4016bc40176a0c0ffc0"),
    (
        Put(b"k", b"v", "text/plain", 30_000, 7, ONCE),
        "9701c4016bc40176aa746578742f706c61696ecd75300792c405746f6b656ec41066666666666666666666"
        "666666666666",
    ),
    (Delete(b"k", PRESENT), "9402c4016bfec0"),
    (Increment(b"k", -5), "9503c4016bfbffc0"),
    (Append(b"k", b"v", 100), "9604c4016bc4017664ffc0"),
    (Expire(b"k", 250), "9505c4016bccfaffc0"),
    (Persist(b"k", ABSENT), "9406c4016b00c0"),
    (Touch(b"k"), "9407c4016bffc0"),
    (Tick(), "9108"),
    (
        Txn(
            (Compare(b"k", Target.VERSION, Relation.GREATER, 7),),
            (Delete(b"k"), Get(b"k"), Range(b"a", b"b", 5)),
            (DeleteRange(b"a", b""),),
            ONCE,
        ),
        "95099195c4016b030407c400939402c4016bffc09240c4016b9641c40161c4016205c2c291940ac40161c400"
        "c092c405746f6b656ec41066666666666666666666666666666666",
    ),
    (DeleteRange(b"a", b"b"), "940ac40161c40162c0"),
    (Evict(((b"a", 7), (b"b", 300))), "93149292c401610792c40162cd012cc0"),
    (LeasedPut(b"k", b"v", 7), "970bc4016bc4017607a0ffc0"),
    (LeaseGrant(30_000), "930ccd7530c0"),
    (LeaseKeepAlive(7), "930d07c0"),
    (LeaseRevoke(7), "930e07c0"),
    (LockAcquire(b"l", 30_000), "970fc4016ccd75300000c400c0"),
    (
        LockAcquire(b"l", 30_000, 5000, 100, b"me", ONCE),
        "970fc4016ccd7530cd138864c4026d6592c405746f6b656ec41066666666666666666666666666666666",
    ),
    (LockStay(b"l", 8), "9410c4016c08c0"),
    (LockLeave(b"l", 8, 2), "9511c4016c0802c0"),
    (LockKeepAlive(b"l", 9), "9412c4016c09c0"),
    (LockRelease(b"l", 9), "9413c4016c09c0"),
    (SetQuota(b"p", 10, None), "9515c401700ac0c0"),
    (
        SetQuota(b"", None, 1000, ONCE),
        "9515c400c0cd03e892c405746f6b656ec41066666666666666666666666666666666",
    ),
    (DeleteQuota(b"p"), "9316c40170c0"),
    (Vivify(b"k", 30_000, 5000), "9517c4016bcd7530cd1388c0"),
    (Refill(b"k", b"v", 7, "text/plain", 250), "9718c4016bc4017607aa746578742f706c61696eccfac0"),
    (
        Calls(((b"SET", b"k", b"v"),), 100, True, ((b"k", 7),), 9),
        "97199193c403534554c4016bc4017664c39192c4016b0709c0",
    ),
    (
        CallsSince(((b"SET", b"k", b"v"),), 100, True, ((b"k", 0),), 9, None, 6),
        "981a9193c403534554c4016bc4017664c39192c4016b0009c006",
    ),
    (
        CallsAnswered(((b"SET", b"k", b"v"),), 100, True, ((b"k", 0),), 9, ONCE, None, b"\x91\xc0"),
        "991b9193c403534554c4016bc4017664c39192c4016b000992c405746f6b656ec41066666666666666666666666666666666c0c40291c0",
    ),
    (
        CallsRehearsed(
            ((b"SET", b"k", b"v"),), 100, True, ((b"k", 0),), 9, None, None, b"", 1 << 63
        ),
        "9a1c9193c403534554c4016bc4017664c39192c4016b0009c0c0c400cf8000000000000000",
    ),
    (ClientRegister(), "921dc0"),
    (ClientLeave(7), "931e07c0"),
    (
        Put(b"k", b"v", once=NUMBERED),
        "9701c4016bc40176a0c0ff9293070909c41066666666666666666666666666666666",
    ),
]


@pytest.mark.parametrize(("command", "written"), WRITTEN)
def test_a_command_keeps_its_bytes(command: Command, written: str) -> None:
    assert codec.encode(command).hex() == written
    assert codec.decode(codec.batch([bytes.fromhex(written)])) == [command]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, BATCH_COMMANDS_MAX])
def test_a_batch_keeps_the_order_of_its_commands(count: int) -> None:
    commands: list[Command] = [Increment(b"k", i) for i in range(count)]
    assert codec.decode(codec.batch([codec.encode(c) for c in commands])) == commands


def test_a_batch_that_was_written_with_other_headers_is_read() -> None:
    tick = codec.encode(Tick())
    assert codec.decode(b"\x91" + tick) == [Tick()]
    assert codec.decode(b"\xdd\x00\x00\x00\x01" + tick) == [Tick()]


def test_a_field_of_a_later_version_is_passed_over() -> None:
    assert codec.decode(bytes.fromhex("919507c4016bffc0c0")) == [Touch(b"k")]


def test_a_field_of_a_later_version_may_be_missing() -> None:
    assert codec.decode(bytes.fromhex("919207c4016b")) == [Touch(b"k")]


TICK = codec.encode(Tick())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(TICK[:1], id="half"),
        pytest.param(TICK, id="a command that is no batch"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(b"\x81\x01\x02", id="a map"),
        pytest.param(b"\x92" + TICK, id="one command of two"),
        pytest.param(b"\x91" + TICK + b"\x00", id="a byte too many"),
        pytest.param(b"\x91\x91\x63", id="unknown tag"),
        pytest.param(b"\x91\x90", id="no tag"),
        pytest.param(b"\x91\x91\x01", id="required fields missing"),
        pytest.param(b"\x91\x94\x05\xc4\x01k\xa11\xff", id="a field of the wrong type"),
        pytest.param(b"\x91\x94\x01\xc4\x01k\xc4\x01v\xa1\x80", id="text that is no UTF-8"),
        pytest.param(b"\xdd\xff\xff\xff\xff" + TICK, id="four thousand million commands"),
        pytest.param(b"\x91\x97\x08" + b"\x91" * 100_000, id="nested without end"),
        pytest.param(b"\x91" * 100_000, id="a batch nested without end"),
        pytest.param(
            b"\xdc" + (BATCH_COMMANDS_MAX + 1).to_bytes(2, "big") + TICK * (BATCH_COMMANDS_MAX + 1),
            id="more commands than a batch may hold",
        ),
    ],
)
def test_what_is_no_batch_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        codec.decode(data)


def test_a_batch_over_its_limits_is_never_made() -> None:
    with pytest.raises(AssertionError):
        codec.batch([TICK] * (BATCH_COMMANDS_MAX + 1))
    with pytest.raises(AssertionError):
        codec.batch([bytes(ENTRY_SIZE_BYTES_MAX)])


def test_the_largest_commands_fit_an_entry() -> None:
    once = Once(b"t" * TOKEN_SIZE_BYTES_MAX, b"f" * 16)
    kind = "x" * CONTENT_TYPE_SIZE_BYTES_MAX
    largest = Put(
        b"k" * KEY_SIZE_BYTES_MAX, bytes(VALUE_SIZE_BYTES_MAX), kind, TTL_MS_MAX, INTEGER_MAX, once
    )
    assert checks.check(largest) is None
    assert codec.decode(codec.batch([codec.encode(largest)])) == [largest]


def test_the_largest_transaction_fits_an_entry() -> None:
    compare = Compare(KEY, Target.VALUE, Relation.EQUAL, 0, bytes(1000))
    put = Put(KEY, b"", "x" * CONTENT_TYPE_SIZE_BYTES_MAX, TTL_MS_MAX)
    puts: list[Operation] = [put] * TXN_OPERATIONS_MAX
    largest = Txn((compare,) * TXN_COMPARES_MAX, tuple(puts), (), Once(b"t" * 255, b"f" * 16))
    used = TXN_COMPARES_MAX * (len(KEY) + 1000) + TXN_OPERATIONS_MAX * (len(KEY) + 255)
    puts[-1] = Put(KEY, bytes(TXN_SIZE_BYTES_MAX - used), "x" * 255)
    largest = replace(largest, success=tuple(puts))
    assert checks.check(largest) is None
    assert codec.decode(codec.batch([codec.encode(largest)])) == [largest]
    puts[-1] = Put(KEY, bytes(TXN_SIZE_BYTES_MAX - used + 1), "x" * 255)
    why = checks.check(replace(largest, success=tuple(puts)))
    assert why == (
        f"a transaction has at most {TXN_SIZE_BYTES_MAX} bytes of keys, values and types,"
        f" this one {TXN_SIZE_BYTES_MAX + 1}"
    )


@pytest.mark.parametrize(
    "command",
    [
        *(command for command, _ in WRITTEN),
        Put(b"k" * KEY_SIZE_BYTES_MAX, b""),
        Put(b"k", bytes(VALUE_SIZE_BYTES_MAX)),
        Put(b"k", b"", "x" * CONTENT_TYPE_SIZE_BYTES_MAX),
        Put(b"k", b"", ttl_ms=1),
        Put(b"k", b"", ttl_ms=TTL_MS_MAX),
        Put(b"k", b"", only=INTEGER_MAX),
        Put(b"k", b"", once=Once(b"t" * TOKEN_SIZE_BYTES_MAX, bytes(16))),
        Put(b"k", b"", once=numbered(INTEGER_MAX, INTEGER_MAX, 1)),
        Increment(b"k", INTEGER_MIN),
        Increment(b"k", INTEGER_MAX),
        Append(b"k", b"", VALUE_SIZE_BYTES_MAX),
        Append(b"k", b"", 0),
        Expire(b"k", 0),
        Expire(b"k", -TTL_MS_MAX),
        Expire(b"k", TTL_MS_MAX),
        DeleteRange(b"", b""),
        Evict(()),
        SetQuota(b"", 0, None),
        SetQuota(KEY, INTEGER_MAX, INTEGER_MAX),
        DeleteQuota(KEY),
        Vivify(KEY, REFILL_MS_MAX, TTL_MS_MAX),
        Vivify(b"k", 1),
        Refill(KEY, bytes(VALUE_SIZE_BYTES_MAX), INTEGER_MAX, "", TTL_MS_MAX),
        Evict(((b"k", 1),) * EVICTED_PER_ENTRY_MAX),
        Evict(((KEY, INTEGER_MAX),) * 256),
        DeleteRange(KEY + b"\0", b"\xff" * (KEY_SIZE_BYTES_MAX + 1)),
        Txn(),
        Txn((Compare(b"k", Target.EXISTS, Relation.NOT_EQUAL, 1),)),
        LeasedPut(KEY, b"", INTEGER_MAX),
        LeaseGrant(LEASE_TTL_MS_MIN),
        LeaseGrant(LEASE_TTL_MS_MAX),
        LockAcquire(bytes(LOCK_NAME_SIZE_BYTES_MAX), LEASE_TTL_MS_MIN),
        LockAcquire(b"l", LEASE_TTL_MS_MAX, LOCK_WAIT_MS_MAX, LOCK_DELAY_MS_MAX),
        LockAcquire(b"l", 1000, value=bytes(LOCK_VALUE_SIZE_BYTES_MAX)),
        Txn((Compare(KEY, Target.REVISION, Relation.LESS, INTEGER_MAX),) * TXN_COMPARES_MAX),
        Txn((), (Touch(b"k"),) * TXN_OPERATIONS_MAX),
        Txn((), (Range(b"", b"", RANGE_KEYS_MAX), Range(b"", b"", 0, False, True))),
    ],
)
def test_a_command_at_its_limits_is_accepted(command: Command) -> None:
    assert checks.check(command) is None


@pytest.mark.parametrize(
    ("command", "about"),
    [
        (Put(b"", b"v"), "a key has 1 to 1024 bytes, this one 0"),
        (Delete(b"k" * (KEY_SIZE_BYTES_MAX + 1)), "a key has"),
        (Put(b"k", bytes(VALUE_SIZE_BYTES_MAX + 1)), "a value has at most"),
        (Put(b"k", b"", "x" * (CONTENT_TYPE_SIZE_BYTES_MAX + 1)), "a content type has at most"),
        (Put(b"k", b"", "text/plain\r\nSet-Cookie: x"), "printable ASCII"),
        (Put(b"k", b"", "é"), "printable ASCII"),
        (Put(b"k", b"", "\udcff"), "printable ASCII"),
        (Put(b"k", b"", ttl_ms=0), "a time to live is 1 to"),
        (Put(b"k", b"", ttl_ms=TTL_MS_MAX + 1), "a time to live is 1 to"),
        (Touch(b"k", only=-3), "a precondition is a revision"),
        (Persist(b"k", only=INTEGER_MAX + 1), "a precondition is a revision"),
        (Touch(b"k", once=Once(b"", bytes(16))), "an idempotency key has 1 to"),
        (Touch(b"k", once=Once(bytes(TOKEN_SIZE_BYTES_MAX + 1), bytes(16))), "an idempotency key"),
        (Touch(b"k", once=Once(b"t", bytes(15))), "a fingerprint has 16 bytes, not 15"),
        (Increment(b"k", INTEGER_MAX + 1), "an increment is a signed 64-bit"),
        (Increment(b"k", INTEGER_MIN - 1), "an increment is a signed 64-bit"),
        (Append(b"k", bytes(VALUE_SIZE_BYTES_MAX + 1), VALUE_SIZE_BYTES_MAX), "a value has"),
        (Append(b"k", b"", -1), "a value limit is 0 to"),
        (Append(b"k", b"", VALUE_SIZE_BYTES_MAX + 1), "a value limit is 0 to"),
        (Expire(b"k", TTL_MS_MAX + 1), "a time to live is at most"),
        (Expire(b"k", -TTL_MS_MAX - 1), "a time to live is at most"),
        (SetQuota(b"p"), "a quota limits keys or bytes, or both"),
        (SetQuota(b"p", -1), "a quota is 0 to"),
        (SetQuota(b"p", 1, INTEGER_MAX + 1), "a quota is 0 to"),
        (SetQuota(KEY + b"k", 1), "a prefix has at most 1024 bytes"),
        (SetQuota(b"p", 1, None, Once(b"", bytes(16))), "an idempotency key has 1 to"),
        (DeleteQuota(KEY + b"k"), "a prefix has at most 1024 bytes"),
        (Vivify(b"", 1), "a key has 1 to 1024 bytes"),
        (Vivify(b"k", 0), "a right to refill lasts 1 to"),
        (Vivify(b"k", REFILL_MS_MAX + 1), "a right to refill lasts 1 to"),
        (Vivify(b"k", 1, -1), "early is 0 to"),
        (Vivify(b"k", 1, TTL_MS_MAX + 1), "early is 0 to"),
        (Refill(b"", b"v", 1), "a key has 1 to 1024 bytes"),
        (Refill(b"k", b"v", 0), "the token of a right is 1 to"),
        (Refill(b"k", bytes(VALUE_SIZE_BYTES_MAX + 1), 1), "a value has at most"),
        (Refill(b"k", b"v", 1, "\n"), "a content type is printable"),
        (Refill(b"k", b"v", 1, "", 0), "a time to live is 1 to"),
        (Evict(((b"", 1),)), "a key has 1 to 1024 bytes"),
        (Evict(((KEY + b"k", 1),)), "a key has 1 to 1024 bytes"),
        (Evict(((b"k", 0),)), "0 is none"),
        (Evict(((b"k", INTEGER_MAX + 1),)), "is none"),
        (Evict(((b"k", 1),) * (EVICTED_PER_ENTRY_MAX + 1)), "at most 1000 keys are evicted"),
        (Evict(((KEY, 1),) * 257), "their names have at most 262144 bytes"),
        (DeleteRange(b"b", b"a"), "starts before its end"),
        (DeleteRange(b"b", b"b"), "starts before its end"),
        (DeleteRange(KEY + b"\0\0", b""), "an end of a range has at most 1025 bytes"),
        (DeleteRange(b"", KEY + b"\0\0"), "an end of a range has at most 1025 bytes"),
        (DeleteRange(b"", b"", Once(b"", bytes(16))), "an idempotency key has 1 to"),
        (Txn(once=Once(b"t", bytes(15))), "a fingerprint has 16 bytes, not 15"),
        (Txn((EXISTS,) * (TXN_COMPARES_MAX + 1)), "at most 128 compares, this one 129"),
        (Txn((), (Touch(b"k"),) * 65, (Touch(b"k"),) * 64), "at most 128 operations, this one 129"),
        (Txn((EXISTS, Compare(b"", Target.VALUE, Relation.LESS))), "compare[1]: a key has 1 to"),
        (Txn((Compare(b"k", Target.VALUE, Relation.LESS, 1),)), "compare[0]: a value is compared"),
        (Txn((Compare(b"k", Target.VERSION, Relation.LESS, 1, b"v"),)), "only a value is compared"),
        (
            Txn((Compare(b"k", Target.VERSION, Relation.LESS, -1),)),
            "revisions, versions and leases are 0",
        ),
        (Txn((Compare(b"k", Target.EXISTS, Relation.EQUAL, 2),)), "existence is compared by"),
        (Txn((Compare(b"k", Target.EXISTS, Relation.LESS, 1),)), "existence is compared by"),
        (Txn((), (Touch(b"k"), Touch(b""))), "success[1]: a key has 1 to"),
        (Txn((), (), (Get(b""),)), "failure[0]: a key has 1 to"),
        (Txn((), (Put(b"k", b"", only=ABSENT),)), "success[0]: an operation has no precondition"),
        (Txn((), (Put(b"k", b"", once=ONCE),)), "success[0]: an operation has no idempotency key"),
        (Txn((), (DeleteRange(b"", b"", ONCE),)), "an operation has no idempotency key"),
        (Txn((), (DeleteRange(b"b", b"a"),)), "success[0]: a range starts before its end"),
        (Txn((), (Range(b"b", b"a"),)), "success[0]: a range starts before its end"),
        (Txn((), (Range(b"", b"", -1),)), "success[0]: a limit is 1 to"),
        (Txn((), (Range(b"", b"", RANGE_KEYS_MAX + 1),)), "success[0]: a limit is 1 to"),
        (Txn((), (Range(b"", b"", 1, False, True),)), "a count has neither keys nor a limit"),
        (Txn((), (Range(b"", b"", 0, True, True),)), "a count has neither keys nor a limit"),
        (Txn((), (Increment(b"k", INTEGER_MAX + 1),)), "success[0]: an increment is"),
        (LeasedPut(b"k", b"", 0), "the id of a lease is 1 to"),
        (LeasedPut(b"", b"", 1), "a key has 1 to"),
        (LeasedPut(b"k", bytes(VALUE_SIZE_BYTES_MAX + 1), 1), "a value has at most"),
        (LeasedPut(b"k", b"", 1, "é"), "printable ASCII"),
        (LeaseGrant(LEASE_TTL_MS_MIN - 1), "a time to live here is 100 to"),
        (LeaseGrant(LEASE_TTL_MS_MAX + 1), "a time to live here is"),
        (LeaseGrant(1000, Once(b"", bytes(16))), "an idempotency key has 1 to"),
        (LeaseKeepAlive(0), "the id of a lease is"),
        (LeaseRevoke(INTEGER_MAX + 1), "the id of a lease is"),
        (LockAcquire(b"", 1000), "a lock's name has 1 to 255 bytes, this one 0"),
        (LockAcquire(bytes(LOCK_NAME_SIZE_BYTES_MAX + 1), 1000), "a lock's name has"),
        (LockAcquire(b"l", 99), "a time to live here is"),
        (LockAcquire(b"l", 1000, -1), "a wait is 0 to"),
        (LockAcquire(b"l", 1000, LOCK_WAIT_MS_MAX + 1), "a wait is 0 to"),
        (LockAcquire(b"l", 1000, 0, LOCK_DELAY_MS_MAX + 1), "a lock delay is 0 to"),
        (LockAcquire(b"l", 1000, 0, -1), "a lock delay is 0 to"),
        (LockAcquire(b"l", 1000, 0, 0, bytes(LOCK_VALUE_SIZE_BYTES_MAX + 1)), "a lock's value"),
        (LockStay(b"", 1), "a lock's name has"),
        (LockStay(b"l", 0), "a place is 1 to"),
        (LockLeave(b"l", 1, -1), "stays are 0 to"),
        (LockKeepAlive(b"l", 0), "a token is 1 to"),
        (LockRelease(b"", 1), "a lock's name has"),
        (Put(b"k", b"", once=numbered(0, 1, 1)), "the id of a client is 1 to"),
        (Put(b"k", b"", once=numbered(1, 0, 0)), "a client waits for the request that it sends"),
        (Put(b"k", b"", once=numbered(1, 7, 8)), "7 is none from 8"),
        (Txn(once=numbered(1, 7, 0)), "7 is none from 0"),
        (Delete(b"k", once=numbered(1, INTEGER_MAX + 1, 1)), "a client waits for"),
        (ClientRegister(ONCE), "clients come and go without"),
        (ClientLeave(7, NUMBERED), "clients come and go without"),
        (ClientLeave(0), "the id of a client is 1 to"),
    ],
)
def test_a_field_outside_its_limits_is_named(command: Command, about: str) -> None:
    why = checks.check(command)
    assert why is not None
    assert about in why


def test_every_command_has_its_bytes_written_down() -> None:
    assert {type(command) for command, _ in WRITTEN} == set(get_args(Command))


def test_a_fingerprint_tells_requests_apart() -> None:
    same = codec.fingerprint(b"PUT /v1/kv/k", b"body")
    assert len(same) == 16
    assert codec.fingerprint(b"PUT /v1/kv/k", b"body") == same
    assert codec.fingerprint(b"PUT /v1/kv/k", b"body2") != same
    assert codec.fingerprint(b"PUT /v1/kv/k2", b"body") != same
    assert codec.fingerprint(b"PUT /v1/kv/kb", b"ody") != same
