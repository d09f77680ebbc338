"""Each command, told one at a time: what it answers and what it leaves."""

from __future__ import annotations

import pytest

from raftcache.command import checks, codec
from raftcache.command.limits import (
    EXPIRED_PER_ENTRY_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    REQUESTS_REMEMBERED_MS,
    TTL_MS_MAX,
)
from raftcache.command.replies import Item, Reply, Status
from raftcache.command.words import (
    ABSENT,
    PRESENT,
    Append,
    Command,
    Delete,
    Expire,
    Increment,
    Once,
    Persist,
    Put,
    Tick,
    Touch,
)
from raftcache.errors import Corrupt
from raftcache.ports import StateMachine
from raftcache.state.machine import Machine
from raftcache.state.table import TIME_MS_MAX

S = Status
K = b"key"


def at(machine: Machine, now_ms: int, *commands: Command) -> list[Reply]:
    """Apply one entry."""
    return machine.apply(now_ms, codec.batch([codec.encode(c) for c in commands]))


def do(machine: Machine, command: Command) -> Reply:
    """Apply one command without moving the time."""
    (reply,) = at(machine, 0, command)
    return reply


def unchanged_by(machine: Machine, command: Command) -> Reply:
    """Apply a command that must leave no trace at all."""
    before = machine.digest, b"".join(machine.dump())
    reply = do(machine, command)
    assert (machine.digest, b"".join(machine.dump())) == before
    return reply


@pytest.fixture
def machine() -> Machine:
    """Empty, at cluster time 1000."""
    machine = Machine()
    at(machine, 1000)
    return machine


@pytest.fixture
def holding(machine: Machine) -> Machine:
    """K holds b"v", text, written once at revision 1, until 1500."""
    do(machine, Put(K, b"v", "text/plain", 500))
    return machine


def test_it_is_a_state_machine(machine: Machine) -> None:
    shape: StateMachine = machine
    assert (shape.now_ms, machine.revision, machine.count, machine.size_bytes) == (1000, 0, 0, 0)


def test_a_batch_is_answered_in_order(machine: Machine) -> None:
    replies = at(machine, 1000, Put(K, b"1"), Increment(K), Delete(K), Tick())
    assert [r.status for r in replies] == [S.CREATED, S.CHANGED, S.DELETED, S.UNCHANGED]
    assert [r.revision for r in replies] == [1, 2, 3, 3]


def test_an_empty_batch_moves_only_the_time(machine: Machine) -> None:
    assert at(machine, 2000) == []
    assert (machine.now_ms, machine.revision) == (2000, 0)


def test_time_never_moves_back(machine: Machine) -> None:
    at(machine, 900, Put(K, b"v", ttl_ms=10))
    assert machine.now_ms == 1000
    assert machine.next_deadline_ms() == 1010


def test_what_is_no_batch_changes_nothing(holding: Machine) -> None:
    before = holding.digest
    with pytest.raises(Corrupt):
        holding.apply(5000, b"\x92" + codec.encode(Delete(K)) + b"\xc1")
    assert holding.digest == before


def test_time_beyond_measure_is_refused(holding: Machine) -> None:
    with pytest.raises(AssertionError):
        at(holding, TIME_MS_MAX)
    assert at(holding, TIME_MS_MAX - 1, Put(K, b"v", ttl_ms=TTL_MS_MAX))[0].status is S.CREATED
    assert holding.next_deadline_ms() == TIME_MS_MAX - 1 + TTL_MS_MAX


# Put and get.


def test_put_creates(machine: Machine) -> None:
    assert do(machine, Put(K, b"v")) == Reply(S.CREATED, 1, version=1)
    assert machine.get(K) == Item(b"v", "", 1, 1, 1, 0)
    assert machine.get(b"other") is None
    assert machine.count == 1
    assert machine.size_bytes > len(K) + 1


def test_put_replaces_everything(holding: Machine) -> None:
    assert do(holding, Put(K, b"w")) == Reply(S.CHANGED, 2, version=2)
    assert holding.get(K) == Item(b"w", "", 1, 2, 2, 0)
    assert holding.next_deadline_ms() is None


def test_put_with_a_time_to_live(holding: Machine) -> None:
    assert do(holding, Put(K, b"w", "a/b", 20)) == Reply(S.CHANGED, 2, 2, deadline_ms=1020)
    assert holding.get(K) == Item(b"w", "a/b", 1, 2, 2, 1020)
    assert holding.next_deadline_ms() == 1020


# Delete.


def test_delete_removes(holding: Machine) -> None:
    assert do(holding, Delete(K)) == Reply(S.DELETED, 2, count=1)
    assert holding.get(K) is None
    assert (holding.count, holding.size_bytes, holding.next_deadline_ms()) == (0, 0, None)


def test_delete_of_nothing_takes_no_revision(machine: Machine) -> None:
    assert unchanged_by(machine, Delete(K)) == Reply(S.DELETED, 0, count=0)


def test_a_key_made_again_begins_anew(holding: Machine) -> None:
    do(holding, Delete(K))
    assert do(holding, Put(K, b"w")) == Reply(S.CREATED, 3, version=1)
    assert holding.get(K) == Item(b"w", "", 3, 3, 1, 0)


# Increment.


def test_increment_of_nothing_counts_from_zero(machine: Machine) -> None:
    assert do(machine, Increment(K, -5)) == Reply(S.CREATED, 1, 1, number=-5)
    assert machine.get(K) == Item(b"-5", "", 1, 1, 1, 0)


def test_increment_keeps_deadline_and_content_type(machine: Machine) -> None:
    do(machine, Put(K, b"41", "text/plain", 500))
    assert do(machine, Increment(K)) == Reply(S.CHANGED, 2, 2, number=42, deadline_ms=1500)
    assert machine.get(K) == Item(b"42", "text/plain", 1, 2, 2, 1500)


@pytest.mark.parametrize(
    "value",
    [b"", b"-", b"-0", b"007", b"+1", b" 1", b"1 ", b"1\n", b"1_0", b"1.0", b"x", b"\xff", b"0x1"]
    + [b"\xd9\xa1", b"9223372036854775808", b"-9223372036854775809", b"1" * 5000],
)
def test_increment_takes_only_canonical_integers(machine: Machine, value: bytes) -> None:
    do(machine, Put(K, value, ttl_ms=500))
    reply = unchanged_by(machine, Increment(K))
    assert reply == Reply(S.NOT_INTEGER, 1, version=1, deadline_ms=1500)


@pytest.mark.parametrize(
    ("value", "by", "sum_"),
    [
        (INTEGER_MAX - 1, 1, INTEGER_MAX),
        (INTEGER_MIN + 1, -1, INTEGER_MIN),
        (INTEGER_MIN, INTEGER_MAX, -1),
        (0, INTEGER_MIN, INTEGER_MIN),
        (7, 0, 7),
    ],
)
def test_increment_reaches_both_ends(machine: Machine, value: int, by: int, sum_: int) -> None:
    do(machine, Put(K, b"%d" % value))
    assert do(machine, Increment(K, by)).number == sum_
    item = machine.get(K)
    assert item is not None
    assert item.value == b"%d" % sum_


@pytest.mark.parametrize(("value", "by"), [(INTEGER_MAX, 1), (INTEGER_MIN, -1)])
def test_increment_beyond_the_ends_overflows(machine: Machine, value: int, by: int) -> None:
    do(machine, Put(K, b"%d" % value))
    assert unchanged_by(machine, Increment(K, by)) == Reply(S.OVERFLOW, 1, version=1)


# Append.


def test_append_to_nothing_creates(machine: Machine) -> None:
    assert do(machine, Append(K, b"ab", 2)) == Reply(S.CREATED, 1, 1, number=2)
    assert machine.get(K) == Item(b"ab", "", 1, 1, 1, 0)


def test_append_keeps_deadline_and_content_type(holding: Machine) -> None:
    reply = do(holding, Append(K, b"wx", 3))
    assert reply == Reply(S.CHANGED, 2, 2, number=3, deadline_ms=1500)
    assert holding.get(K) == Item(b"vwx", "text/plain", 1, 2, 2, 1500)


def test_append_beyond_the_limit_is_too_large(holding: Machine) -> None:
    reply = unchanged_by(holding, Append(K, b"wx", 2))
    assert reply == Reply(S.TOO_LARGE, 1, version=1, deadline_ms=1500)
    assert unchanged_by(holding, Append(b"new", b"wx", 1)) == Reply(S.TOO_LARGE, 1)


# Expire, Persist, Touch.


@pytest.mark.parametrize("ttl_ms", [1, 499, 501, TTL_MS_MAX])
def test_expire_sets_the_deadline(holding: Machine, ttl_ms: int) -> None:
    reply = do(holding, Expire(K, ttl_ms))
    assert reply == Reply(S.CHANGED, 2, 2, deadline_ms=1000 + ttl_ms)
    assert holding.get(K) == Item(b"v", "text/plain", 1, 2, 2, 1000 + ttl_ms)
    assert holding.next_deadline_ms() == 1000 + ttl_ms


@pytest.mark.parametrize("ttl_ms", [0, -1, -TTL_MS_MAX])
def test_expire_in_the_past_removes(holding: Machine, ttl_ms: int) -> None:
    assert do(holding, Expire(K, ttl_ms)) == Reply(S.DELETED, 2, count=1)
    assert holding.count == 0


def test_persist_takes_the_deadline(holding: Machine) -> None:
    assert do(holding, Persist(K)) == Reply(S.CHANGED, 2, version=2)
    assert holding.get(K) == Item(b"v", "text/plain", 1, 2, 2, 0)
    assert holding.next_deadline_ms() is None
    assert unchanged_by(holding, Persist(K)) == Reply(S.UNCHANGED, 2, version=2)


def test_touch_changes_nothing(holding: Machine) -> None:
    reply = unchanged_by(holding, Touch(K))
    assert reply == Reply(S.UNCHANGED, 1, version=1, deadline_ms=1500)


@pytest.mark.parametrize("command", [Expire(K, 10), Expire(K, 0), Persist(K), Touch(K)])
def test_what_needs_a_key_misses_it(machine: Machine, command: Command) -> None:
    assert unchanged_by(machine, command) == Reply(S.MISSING, 0)


# Preconditions.


def keyed(only: int) -> list[Command]:
    return [
        Put(K, b"w", only=only),
        Delete(K, only=only),
        Increment(K, only=only),
        Append(K, b"w", 10, only=only),
        Expire(K, 10, only=only),
        Persist(K, only=only),
        Touch(K, only=only),
    ]


@pytest.mark.parametrize("command", [*keyed(ABSENT), *keyed(2), *keyed(INTEGER_MAX)])
def test_a_precondition_that_fails_on_a_key(holding: Machine, command: Command) -> None:
    do(holding, Put(b"other", b""))
    do(holding, Put(b"other", b""))
    reply = unchanged_by(holding, command)
    assert reply == Reply(S.PRECONDITION, 1, version=1, deadline_ms=1500)


@pytest.mark.parametrize("command", [*keyed(PRESENT), *keyed(1)])
def test_a_precondition_that_fails_without_a_key(machine: Machine, command: Command) -> None:
    do(machine, Put(b"other", b""))
    assert unchanged_by(machine, command) == Reply(S.PRECONDITION, 0)


@pytest.mark.parametrize("command", [*keyed(PRESENT), *keyed(1)])
def test_a_precondition_that_holds_on_a_key(holding: Machine, command: Command) -> None:
    assert do(holding, command).status in (S.CHANGED, S.DELETED, S.NOT_INTEGER, S.UNCHANGED)


@pytest.mark.parametrize("command", keyed(ABSENT))
def test_a_precondition_that_holds_without_a_key(machine: Machine, command: Command) -> None:
    assert do(machine, command).status in (S.CREATED, S.DELETED, S.MISSING)


# Deadlines.


def test_a_key_is_gone_at_its_deadline_and_not_before(holding: Machine) -> None:
    at(holding, 1499)
    assert holding.get(K) is not None
    at(holding, 1500)
    assert holding.get(K) is None
    assert (holding.count, holding.revision, holding.next_deadline_ms()) == (0, 2, None)


def test_overdue_keys_go_before_the_commands(holding: Machine) -> None:
    (reply,) = at(holding, 1500, Put(K, b"w", only=ABSENT))
    assert reply == Reply(S.CREATED, 3, version=1)


def test_a_renewed_key_stays(holding: Machine) -> None:
    do(holding, Expire(K, 1000))
    at(holding, 1999)
    assert holding.get(K) is not None
    at(holding, 2000)
    assert holding.get(K) is None


def crowd(machine: Machine) -> list[bytes]:
    """More keys than one entry removes; the last is due first, then the others in order."""
    keys = [b"%06d" % i for i in range(EXPIRED_PER_ENTRY_MAX + 2)]
    at(machine, 0, *(Put(key, b"", ttl_ms=10) for key in reversed(keys[:-1])))
    at(machine, 0, Put(keys[-1], b"", ttl_ms=9))
    return [keys[-1], *keys[:-1]]


def test_one_entry_removes_a_bounded_number_in_order(machine: Machine) -> None:
    keys = crowd(machine)
    written = machine.revision
    at(machine, 1010)
    assert machine.count == 2
    assert machine.revision == written + EXPIRED_PER_ENTRY_MAX
    assert machine.next_deadline_ms() == 1010
    image = b"".join(machine.dump())
    assert [key in image for key in keys] == [False] * EXPIRED_PER_ENTRY_MAX + [True] * 2
    assert [machine.get(key) for key in keys] == [None] * len(keys)
    at(machine, 1010)
    assert (machine.count, machine.revision) == (0, written + EXPIRED_PER_ENTRY_MAX + 2)


def test_an_overdue_key_still_held_is_absent_to_commands(machine: Machine) -> None:
    key = crowd(machine)[-1]
    at(machine, 1010)
    revision = machine.revision
    touched = do_without_removals(machine, Touch(key))
    assert touched == Reply(S.MISSING, revision + 1)
    assert machine.revision == revision + 1, "the command removed it first"


def do_without_removals(machine: Machine, command: Command) -> Reply:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raftcache.state.machine.EXPIRED_PER_ENTRY_MAX", 0)
        return do(machine, command)


# Bad fields.


@pytest.mark.parametrize(
    "command",
    [
        Put(b"", b""),
        Put(K, b"", ttl_ms=0),
        Put(K, b"", "\n"),
        Increment(K, 1 << 63),
        Append(K, b"", -1),
        Touch(K, only=-3),
        Delete(K, once=Once(b"", bytes(16))),
    ],
)
def test_a_field_outside_its_limits_changes_nothing(holding: Machine, command: Command) -> None:
    assert checks.check(command) is not None
    assert unchanged_by(holding, command) == Reply(S.INVALID, 1)


# Requests applied once.


def once(token: bytes = b"t", fingerprint: bytes = b"f" * 16) -> Once:
    return Once(token, fingerprint)


def test_a_retry_gets_the_first_reply(machine: Machine) -> None:
    first = do(machine, Increment(K, once=once()))
    do(machine, Increment(K))
    again = unchanged_by(machine, Increment(K, once=once()))
    assert first == Reply(S.CREATED, 1, 1, number=1)
    assert again == Reply(S.CREATED, 1, 1, number=1, replayed=True)


def test_a_retry_in_the_same_batch_gets_the_first_reply(machine: Machine) -> None:
    replies = at(machine, 0, Increment(K, once=once()), Increment(K, once=once()))
    assert [r.replayed for r in replies] == [False, True]
    assert machine.revision == 1


def test_a_token_of_another_request_is_misused(machine: Machine) -> None:
    do(machine, Put(K, b"v", once=once()))
    reply = unchanged_by(machine, Put(K, b"w", once=once(fingerprint=b"g" * 16)))
    assert reply == Reply(S.MISUSED, 1)
    assert do(machine, Put(K, b"v", once=once())).replayed


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (Put(K, b"", only=PRESENT, once=once()), S.PRECONDITION),
        (Persist(K, once=once()), S.MISSING),
        (Delete(K, once=once()), S.DELETED),
        (Append(K, b"long", 1, once=once()), S.TOO_LARGE),
    ],
)
def test_a_refusal_is_remembered_too(machine: Machine, command: Command, status: Status) -> None:
    assert do(machine, command).status is status
    do(machine, Put(K, b""))
    again = do(machine, command)
    assert (again.status, again.replayed) == (status, True)


def test_an_invalid_command_is_not_remembered(machine: Machine) -> None:
    assert do(machine, Put(K, b"", ttl_ms=0, once=once())).status is S.INVALID
    assert do(machine, Put(K, b"", ttl_ms=1, once=once())).status is S.CREATED


def test_a_reply_is_kept_for_its_time_and_no_longer(machine: Machine) -> None:
    do(machine, Increment(K, once=once()))
    (late,) = at(machine, 1000 + REQUESTS_REMEMBERED_MS - 1, Increment(K, once=once()))
    assert late.replayed
    (too_late,) = at(machine, 1000 + REQUESTS_REMEMBERED_MS, Increment(K, once=once()))
    assert too_late == Reply(S.CHANGED, 2, 2, number=2)


def test_dead_records_leave_the_image(machine: Machine) -> None:
    do(machine, Touch(K, once=once(b"a token of its own")))
    assert b"a token of its own" in b"".join(machine.dump())
    at(machine, 1000 + REQUESTS_REMEMBERED_MS)
    assert b"a token of its own" not in b"".join(machine.dump())


def test_a_full_table_refuses_new_tokens_and_answers_old_ones(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.sessions.REQUESTS_REMEMBERED_MAX", 2)
    monkeypatch.setattr("raftcache.state.sessions.REQUESTS_FORGOTTEN_PER_ENTRY_MAX", 0)
    do(machine, Increment(K, once=once(b"1")))
    at(machine, 1001, Increment(K, once=once(b"2")))
    assert unchanged_by(machine, Increment(K, once=once(b"3"))) == Reply(S.FULL, 2)
    assert do(machine, Increment(K, once=once(b"1"))).replayed
    assert do(machine, Increment(K)).status is S.CHANGED, "without a token nothing is refused"
    # One record dies: its place can be taken, though nothing has dropped it yet.
    at(machine, 1000 + REQUESTS_REMEMBERED_MS)
    assert do(machine, Increment(K, once=once(b"3"))).number == 4
    assert do(machine, Increment(K, once=once(b"4"))).status is S.FULL
    assert do(machine, Increment(K, once=once(b"2"))).replayed


# Images, as far as they are the machine's own business; see test_image.py.


def test_an_installed_image_replaces_everything(holding: Machine) -> None:
    other = Machine()
    at(other, 70, *(Put(b"%d" % i, b"") for i in range(20)))
    image = b"".join(holding.dump())
    loader = other.loader()
    loader.feed(image)
    assert other.count == 20, "beside the old state until installed"
    loader.install()
    assert (other.get(K), other.count) == (holding.get(K), 1)
    assert (other.digest, other.now_ms, other.revision) == (holding.digest, 1000, 1)
    assert b"".join(other.dump()) == image


def test_a_dump_goes_on_while_another_image_is_installed(
    holding: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.image.SLICE_KEYS_MAX", 1)
    do(holding, Put(b"second", b""))
    expected = b"".join(holding.dump())
    dump = holding.dump()
    slices = [next(dump), next(dump)]
    loader = holding.loader()
    loader.feed(b"".join(Machine().dump()))
    loader.install()
    at(holding, 0, Put(b"third", b""))
    assert b"".join([*slices, *dump]) == expected
    assert holding.count == 1


def test_a_digest_tells_states_apart(machine: Machine) -> None:
    digests = {machine.digest}
    for command in (Put(K, b"v"), Put(K, b"v"), Touch(K, once=once()), Delete(K)):
        do(machine, command)
        digests.add(machine.digest)
    at(machine, 1001)
    digests.add(machine.digest)
    assert len(digests) == 6
    assert all(0 <= digest < 1 << 64 for digest in digests)
