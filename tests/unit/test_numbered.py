"""Clients that number their requests, at the state machine: each rule once, and their images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from raftcache.command import codec
from raftcache.command.calls import Calls
from raftcache.command.clients import ClientLeave, ClientRegister
from raftcache.command.limits import (
    CLIENT_IDLE_MS,
    CLIENT_REQUESTS_MAX,
    CLIENT_SPARED_MS,
    REVISION_BUMP,
)
from raftcache.command.replies import Reply, TxnReply
from raftcache.command.replies import Status as S
from raftcache.command.words import Append, Command, Get, Increment, Number, Once, Put, Txn
from raftcache.errors import BadConfig, Corrupt
from raftcache.state.clients import Client
from raftcache.state.machine import Machine
from raftcache.state.remembered import encode
from tests.support.images import image_of, restored

K = b"n"
START_MS = 1000


def once(number: int, pending_from: int = 1, client: int = 1, fingerprint: bytes = b"f") -> Once:
    return Once(Number(client, number, pending_from), fingerprint * 16)


def add(number: int, pending_from: int = 1, client: int = 1) -> Increment:
    return Increment(K, once=once(number, pending_from, client))


def do(machine: Machine, *commands: Command, at_ms: int = START_MS) -> Reply:
    """The reply to the last one."""
    batch = codec.batch([codec.encode(command) for command in commands])
    return machine.apply(at_ms, batch)[-1]


@pytest.fixture
def machine() -> Machine:
    """With client 1."""
    machine = Machine()
    assert do(machine, ClientRegister()).number == 1
    return machine


def test_an_id_is_the_revision_of_the_registration() -> None:
    machine = Machine()
    do(machine, Put(b"a", b""), Put(b"b", b""))
    reply = do(machine, ClientRegister())
    assert reply == Reply(S.CREATED, 3, number=3, deadline_ms=START_MS + CLIENT_IDLE_MS)
    assert do(machine, ClientRegister()).number == 4, "also if it is the same who asks"


def test_a_number_is_done_once(machine: Machine) -> None:
    assert do(machine, add(1)).number == 1
    again = do(machine, add(1))
    assert (again.number, again.replayed, machine.revision) == (1, True, 2)
    assert do(machine, add(2)).number == 2
    assert do(machine, add(1)).replayed


def test_numbers_come_in_any_order(machine: Machine) -> None:
    assert [do(machine, add(n)).number for n in (3, 1, 2)] == [1, 2, 3]
    assert [do(machine, add(n)).number for n in (3, 1, 2)] == [1, 2, 3]


def test_what_is_not_waited_for_is_forgotten_and_refused(machine: Machine) -> None:
    do(machine, add(1), add(2), add(3))
    assert machine.numbered_count == 3
    do(machine, add(4, 3))
    assert machine.numbered_count == 2
    assert do(machine, add(1)) == Reply(S.ANSWERED, 5)
    assert do(machine, add(2, 2)).status is S.ANSWERED
    assert do(machine, add(3)).replayed, "a lower pending_from, which comes late, changes nothing"


def test_what_never_came_is_refused_too(machine: Machine) -> None:
    """It still waits somewhere: its client has given up, and says so with the next one."""
    do(machine, add(2, 2))
    assert do(machine, add(1)).status is S.ANSWERED
    assert do(machine, Increment(K)).number == 2


def test_another_request_with_the_number_is_refused(machine: Machine) -> None:
    do(machine, add(1))
    assert do(machine, Increment(K, once=once(1, fingerprint=b"g"))).status is S.MISUSED


@pytest.mark.parametrize("client", [2, 999])
def test_who_is_not_known_is_refused(machine: Machine, client: int) -> None:
    assert do(machine, add(1, client=client)) == Reply(S.FORGOTTEN, 1)
    assert machine.get(K) is None


def test_who_has_left_is_refused_for_ever(machine: Machine) -> None:
    do(machine, add(1))
    assert do(machine, ClientLeave(1)) == Reply(S.DELETED, 2, count=1)
    assert do(machine, ClientLeave(1)) == Reply(S.DELETED, 2, count=0)
    assert do(machine, add(1)).status is S.FORGOTTEN
    assert (machine.client_count, machine.numbered_count) == (0, 0)


def test_who_is_silent_is_forgotten_and_who_speaks_is_not(machine: Machine) -> None:
    do(machine, ClientRegister())
    half_ms = START_MS + CLIENT_IDLE_MS // 2
    assert do(machine, add(1), at_ms=half_ms).number == 1
    end_ms = START_MS + CLIENT_IDLE_MS
    assert do(machine, add(1, client=2), at_ms=end_ms).status is S.FORGOTTEN
    assert machine.client_count == 1
    assert do(machine, add(1), at_ms=end_ms).replayed
    assert do(machine, add(2), at_ms=end_ms + CLIENT_IDLE_MS).status is S.FORGOTTEN


def test_no_jump_of_time_does_anything_again(machine: Machine) -> None:
    """As after a cold start with a wall clock that is far ahead: a key would be new again."""
    do(machine, add(1))
    for at_ms in (1 << 40, 1 << 50):
        assert do(machine, add(1), at_ms=at_ms).status is S.FORGOTTEN
    assert do(machine, ClientRegister(), at_ms=1 << 50).number == 3
    assert do(machine, add(1), at_ms=1 << 50).status is S.FORGOTTEN
    item = machine.get(K)
    assert item is not None
    assert item.value == b"1"


def test_a_lost_id_is_not_given_again(machine: Machine) -> None:
    """A cluster that begins with a backup knows nothing of who registered after that."""
    backup = restored(image_of(machine))
    lost = do(machine, ClientRegister()).number
    backup.raise_revision(REVISION_BUMP)
    assert do(backup, add(1, client=lost)).status is S.FORGOTTEN
    assert do(backup, ClientRegister()).number > lost + 1000
    assert do(backup, add(1)).number == 1, "who is in the backup goes on"


def test_so_far_above_the_lowest_a_client_may_go(machine: Machine) -> None:
    assert do(machine, add(CLIENT_REQUESTS_MAX)).number == 1
    assert do(machine, add(CLIENT_REQUESTS_MAX + 1)).status is S.TOO_MANY_PENDING
    assert do(machine, add(CLIENT_REQUESTS_MAX + 1, 2)).number == 2, "it was not remembered"
    assert do(machine, add(10**18, 10**18)).number == 3
    assert machine.numbered_count == 1


def test_the_table_of_all_answers_is_bounded(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.clients.REQUESTS_NUMBERED_MAX", 2)
    assert do(machine, ClientRegister()).number == 2
    do(machine, add(1), add(1, client=2))
    assert do(machine, add(2)).status is S.FULL
    assert do(machine, add(2, 2)).number == 3, "its own answer made room"
    later_ms = START_MS + CLIENT_SPARED_MS + 1000
    assert do(machine, add(3, 2), at_ms=later_ms - 1).status is S.FULL
    assert do(machine, add(3, 2), at_ms=later_ms).number == 4, "client 2 is silent, and gives way"
    assert do(machine, add(1, client=2), at_ms=later_ms).status is S.FORGOTTEN


def test_the_bytes_of_all_answers_are_bounded(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(machine, Put(b"v", b"v" * 9000))
    read = Txn((), (Get(b"v"),), (), once(1))
    assert isinstance(do(machine, read), TxnReply)
    assert do(machine, read).replayed
    monkeypatch.setattr("raftcache.state.clients.RECORDS_SIZE_BYTES_MAX", 17_000)
    assert do(machine, Increment(K, once=once(2))).status is S.FULL
    assert do(machine, Increment(K, once=once(2, 2))).number == 1


def test_the_table_of_clients_is_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.state.clients.CLIENTS_MAX", 2)
    do(machine, ClientRegister())
    assert do(machine, ClientRegister()).status is S.FULL
    later_ms = START_MS + CLIENT_SPARED_MS + 1000
    do(machine, add(1), at_ms=later_ms - 1)
    assert do(machine, ClientRegister(), at_ms=later_ms).status is S.CREATED
    assert do(machine, add(1, client=2), at_ms=later_ms).status is S.FORGOTTEN
    assert do(machine, add(1), at_ms=later_ms).replayed


def test_what_another_attempt_may_be_answered_otherwise_is_not_remembered(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.state.lease_commands.LEASES_MAX", 0)
    from raftcache.command.leasing import LeaseGrant

    grant = LeaseGrant(1000, once(1))
    assert do(machine, grant).status is S.LIMIT
    monkeypatch.undo()
    assert do(machine, grant).status is S.CREATED


def test_a_refusal_by_the_state_is_an_answer_like_others(machine: Machine) -> None:
    put = Put(K, b"v", only=7, once=once(1))
    assert do(machine, put).status is S.PRECONDITION
    do(machine, Put(K, b"w"))
    again = do(machine, put)
    assert (again.status, again.replayed) == (S.PRECONDITION, True)


def test_keys_and_numbers_do_not_know_of_each_other(machine: Machine) -> None:
    keyed = Increment(K, once=Once(b"t", b"f" * 16))
    assert [do(machine, each).number for each in (keyed, add(1), keyed, add(1))] == [1, 2, 1, 2]


def test_calls_may_have_numbers(machine: Machine) -> None:
    calls = Calls(((b"APPEND", K, b"x"),), 100, once=once(1))
    do(machine, calls)
    assert do(machine, calls).replayed
    assert do(restored(image_of(machine)), calls).replayed


# Images.


@pytest.fixture
def full(machine: Machine) -> Machine:
    """Two clients, three answers."""
    do(machine, ClientRegister())
    do(machine, add(2, 2), add(1, client=2), Append(b"a", b"x", 9, once=once(3, 2, 2)))
    do(machine, Txn((), (Get(K),), (), once(4, 2)))
    return machine


def test_an_image_has_clients_and_their_answers(full: Machine) -> None:
    image = image_of(full)
    loaded = restored(image)
    assert image[8] == 6
    assert image_of(loaded) == image
    assert (loaded.digest, loaded.client_count) == (full.digest, 2)
    assert loaded.memory_size_bytes == full.memory_size_bytes
    for machine in (full, loaded):
        assert do(machine, add(2)).replayed
        assert do(machine, add(1)).status is S.ANSWERED
        assert do(machine, Txn((), (Get(K),), (), once(4, 2))).replayed


def test_older_nodes_read_it_again_when_all_have_left(full: Machine) -> None:
    do(full, ClientLeave(1), ClientLeave(2))
    assert image_of(full)[8] == 1
    assert full.memory_size_bytes == restored(image_of(full)).memory_size_bytes


def test_consumer_groups_and_clients_have_a_format_together(full: Machine) -> None:
    from raftcache.command.calls import CallsSince

    group = CallsSince(((b"XGROUP", b"CREATE", b"s", b"g", b"$", b"MKSTREAM"),), 100)
    do(full, group)
    image = image_of(full)
    assert image[8] == 7
    loaded = restored(image)
    assert image_of(loaded) == image
    do(loaded, ClientLeave(1), ClientLeave(2))
    assert image_of(loaded)[8] == 5


def test_every_flipped_bit_is_noticed(full: Machine) -> None:
    image = image_of(full)
    for at in range(8, len(image)):
        damaged = bytearray(image)
        damaged[at] ^= 1 << at % 8
        with pytest.raises((Corrupt, BadConfig)):
            restored(bytes(damaged))


def _token(client: int, number: int) -> bytes:
    return client.to_bytes(8, "big") + number.to_bytes(8, "big")


REPLY = Reply(S.CHANGED, 1)


@pytest.mark.parametrize(
    ("record", "about"),
    [
        (b"", "truncated"),
        (encode(b"t", b"f" * 16, 0, REPLY), "a record of no number"),
        (encode(_token(1, 7), b"f" * 16, 5, REPLY), "a record of no number"),
        (encode(_token(1, 4), b"f" * 16, 0, REPLY), "records out of order"),
        (encode(_token(9, 7), b"f" * 16, 0, REPLY), "client 9, who does not wait"),
        (encode(_token(2, 2 + CLIENT_REQUESTS_MAX), b"f" * 16, 0, REPLY), "does not wait for it"),
    ],
)
def test_what_can_be_no_answer_is_told(full: Machine, record: bytes, about: str) -> None:
    clients = restored(image_of(full))._state.clients
    clients._last = _token(1, 4)
    why = clients.load_record(record, 10)
    assert why is not None
    assert about in why


def test_what_can_be_no_client_is_told(machine: Machine) -> None:
    from raftcache.state.clients import Clients
    from raftcache.state.records import pack

    clients, client = Clients(), Client(3, START_MS, 1)
    assert clients.load(pack(replace(client, pending_from=0)), 5) == "a client that waits from 0 on"
    assert "record 3 after 3" in str(clients.load(pack(client), 5))


def test_every_field_counts_in_the_digest(machine: Machine) -> None:
    def digest(change: Callable[[Machine], object]) -> int:
        other = restored(image_of(machine))
        change(other)
        return other.digest

    clients = [
        digest(lambda m: None),
        digest(lambda m: m._state.clients.table.put(Client(1, 7, 1))),
        digest(lambda m: m._state.clients.table.put(Client(1, START_MS + CLIENT_IDLE_MS, 2))),
        digest(lambda m: m._state.clients.remember(once(1), REPLY)),
        digest(lambda m: m._state.clients.remember(once(2), REPLY)),
    ]
    assert len(set(clients)) == 5
