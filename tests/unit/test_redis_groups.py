"""Consumer groups at the state: what random calls do not find (tests/differential)."""

from __future__ import annotations

import pytest

from raftcache.command.calls import CallsSince
from raftcache.command.limits import INTEGER_MAX
from raftcache.command.replies import CallsReply, Status
from raftcache.command.values import NIL_ARRAY, Entries, Failure, Value
from raftcache.command.words import SetQuota, Tick
from raftcache.errors import Corrupt
from raftcache.state import image, items
from raftcache.state.items import GROUPS_MAX
from raftcache.state.machine import Machine
from raftcache.state.redis import group_calls, group_reads
from raftcache.state.redis.group_calls import CLAIM_LOOKS_MAX
from raftcache.state.redis.parsing import WRONG_TYPE
from raftcache.state.redis.store import ELEMENTS_READ_MAX, ROWS_TOUCHED_MAX
from raftcache.state.redis.stream_groups import GIVEN_MAX, LOOK_COST
from raftcache.state.rows import ROWS_FREED_PER_ENTRY, Rows
from raftcache.state.state import State
from tests.unit.test_machine import do
from tests.unit.test_redis_core import copy
from tests.unit.test_redis_streams import FORMAT_AT, SIZE_MAX, filled, said, write

GIVE = "XREADGROUP GROUP g a COUNT 2 STREAMS s >"


def grouped(count: int) -> Machine:
    """Entries 1-0 to count-0, of which a group has been given none."""
    machine = filled(count)
    said(machine, "XGROUP CREATE s g 0")
    return machine


def given(machine: Machine, count: int) -> None:
    for start in range(0, count, GIVEN_MAX):
        part = min(GIVEN_MAX, count - start)
        said(machine, f"XREADGROUP GROUP g a COUNT {part} STREAMS s >")


def pending(machine: Machine, group: str = "g") -> Value:
    return said(machine, f"XPENDING s {group}")[0][0]


def ids(value: Value) -> list[bytes]:
    assert isinstance(value, Entries)
    return [entry[0] for _, entries in value.pairs for entry in entries]


def test_an_entry_is_given_once_and_told_again_to_its_consumer() -> None:
    machine = grouped(3)
    first, second = said(machine, GIVE, "XREADGROUP GROUP g b STREAMS s >")
    assert ids(first) == [b"1-0", b"2-0"]
    assert ids(second) == [b"3-0"]
    assert said(machine, GIVE) == [NIL_ARRAY]
    assert ids(said(machine, "XREADGROUP GROUP g a STREAMS s 0")[0]) == [b"1-0", b"2-0"]
    assert said(machine, "XACK s g 1-0 3-0 9-9", "XACK s g 1-0") == [2, 0]
    other = copy(machine)
    for each in (machine, other):
        assert ids(said(each, "XREADGROUP GROUP g a STREAMS s 0")[0]) == [b"2-0"]
        assert said(each, "XPENDING s g - + 9 a") == [[[b"2-0", b"a", 0, 3]]]
    assert machine.digest == other.digest


def test_times_are_cluster_times() -> None:
    machine = grouped(2)
    said(machine, GIVE, now_ms=5_000)
    [listed] = said(machine, "XPENDING s g - + 9", now_ms=7_500)
    assert listed == [[b"1-0", b"a", 2_500, 1], [b"2-0", b"a", 2_500, 1]]
    assert said(machine, "XPENDING s g IDLE 2501 - + 9", now_ms=7_500) == [[]]
    assert said(machine, "XAUTOCLAIM s g b 2501 0", now_ms=7_500) == [[b"0-0", [], []]]
    assert said(machine, "XCLAIM s g b 2500 1 JUSTID", now_ms=7_500) == [[b"1-0"]]
    assert said(machine, "XINFO CONSUMERS s g", now_ms=8_000) == [
        [
            {b"name": b"a", b"pending": 1, b"idle": 3_000},
            {b"name": b"b", b"pending": 1, b"idle": 500},
        ]
    ]


# Rows.


def rows(machine: Machine) -> int:
    return len(machine._state.rows)


def freed(machine: Machine) -> int:
    """Rows there are when all that may go has gone."""
    for _ in range(rows(machine) // ROWS_FREED_PER_ENTRY + 3):
        do(machine, Tick())
    return rows(machine)


@pytest.mark.parametrize(
    "line", ["DEL s", "SET s x", "PEXPIRE s 0", "RENAME t s", "COPY t s REPLACE", "FLUSHALL"]
)
def test_what_belongs_to_a_key_goes_with_it(line: str) -> None:
    machine = grouped(20)
    given(machine, 20)
    said(machine, "XGROUP CREATE s h $", "SET t x", line)
    assert freed(machine) == 0
    assert machine._state.rows.digest == 0


def test_a_group_of_any_size_goes_at_once() -> None:
    count = ROWS_TOUCHED_MAX + 5_000
    machine = grouped(count)
    given(machine, count)
    said(machine, "XGROUP CREATE s h 0")
    assert pending(machine) == count
    assert rows(machine) == count + 2 + 2 * count + 2
    assert said(machine, "XGROUP DESTROY s g", "XGROUP DESTROY s g") == [1, 0]
    assert freed(machine) == count + 1
    assert said(machine, "XINFO GROUPS s")[0][0][b"name"] == b"h"
    assert said(machine, "XTRIM s MAXLEN 3", "XLEN s") == [count - 3, 3]
    assert said(machine, "XREADGROUP GROUP h c COUNT 1 STREAMS s >")[0].pairs[0][1][0][0] == (
        b"%d-0" % (count - 2)
    )
    assert freed(machine) == 3 + 1 + 4
    copy(machine)


def test_an_acknowledgement_costs_what_it_costs_in_a_small_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing but the rows of the entry, the consumer, the group and the key is written."""
    machine = grouped(6_000)
    given(machine, 6_000)
    written: list[bytes] = []
    put, remove = Rows.put, Rows.remove

    def noting_put(rows: Rows, name: bytes, value: bytes) -> bytes | None:
        written.append(name)
        return put(rows, name, value)

    def noting_remove(rows: Rows, name: bytes) -> bytes | None:
        written.append(name)
        return remove(rows, name)

    monkeypatch.setattr(Rows, "put", noting_put)
    monkeypatch.setattr(Rows, "remove", noting_remove)
    assert said(machine, "XACK s g 3000") == [1]
    assert len(written) == 4


def test_a_copy_has_groups_of_its_own() -> None:
    machine = grouped(3)
    said(machine, GIVE, "COPY s t", "XACK s g 1 2", "XGROUP CREATECONSUMER t g z")
    assert pending(machine) == 0
    assert said(machine, "XPENDING t g") == [[2, b"1-0", b"2-0", [[b"a", b"2"]]]]
    assert said(machine, "DEL s", "XACK t g 1", "RENAME t s") == [1, 1, "OK"]
    assert pending(machine) == 1
    assert [each[b"name"] for each in said(machine, "XINFO CONSUMERS s g")[0]] == [b"a", b"z"]
    copy(machine)
    assert freed(machine) == 3 + 1 + 2 * 1 + 2 * 2


def test_what_a_call_that_fails_has_done_is_undone() -> None:
    machine = grouped(3)
    before = b"".join(machine.dump())
    calls = tuple(tuple(line.encode().split()) for line in (GIVE, "XGROUP DESTROY s g", "GET s"))

    def play(rehearsal: object) -> None:
        for call in calls:
            rehearsal.call(call, is_write=True)  # type: ignore[attr-defined]

    machine.rehearse(play, 0, SIZE_MAX, 0)
    assert b"".join(machine.dump()) == before
    assert said(machine, "XREADGROUP GROUP g a STREAMS s none > >")[0] == Failure(
        "NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with GROUP option"
    )
    assert b"".join(machine.dump()) == before
    assert ids(said(machine, GIVE)[0]) == [b"1-0", b"2-0"]


def test_quotas_and_memory_count_what_is_pending() -> None:
    machine = grouped(100)
    usage = said(machine, "MEMORY USAGE s")[0]
    used = machine.memory_size_bytes
    given(machine, 100)
    grown = said(machine, "MEMORY USAGE s")[0] - usage
    assert grown == machine.memory_size_bytes - used
    said(machine, "XACK s g " + " ".join(map(str, range(1, 101))), "XGROUP DELCONSUMER s g a")
    assert said(machine, "MEMORY USAGE s") == [usage]
    do(machine, SetQuota(b"s", size_bytes_max=1))
    said(machine, "XGROUP SETID s g 0")
    assert said(machine, GIVE)[0].text.startswith("OOM the quota")
    assert pending(machine) == 0


# Limits.


def test_how_much_one_call_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = grouped(GIVEN_MAX + 10)
    assert len(ids(said(machine, "XREADGROUP GROUP g a STREAMS s >")[0])) == GIVEN_MAX
    assert len(ids(said(machine, "XREADGROUP GROUP g a COUNT 99999 STREAMS s >")[0])) == 10
    assert len(ids(said(machine, "XREADGROUP GROUP g a STREAMS s 0")[0])) == GIVEN_MAX
    assert len(ids(said(machine, f"XREADGROUP GROUP g a STREAMS s {GIVEN_MAX}")[0])) == 10
    said(machine, f"XGROUP SETID s g {GIVEN_MAX - 5}", "XGROUP CREATE t g 0 MKSTREAM")
    said(machine, *[f"XADD t {number} f v" for number in range(1, 13)])
    monkeypatch.setattr(group_reads, "GIVEN_MAX", 10)
    found = [said(machine, "XREADGROUP GROUP g b STREAMS s t > >")[0] for _ in range(4)]
    assert [len(ids(each)) for each in found[:3]] == [10, 10, 7]
    assert [[key for key, _ in each.pairs] for each in found[:3]] == [[b"s"], [b"s", b"t"], [b"t"]]
    assert found[3] is NIL_ARRAY
    monkeypatch.setattr(group_reads, "GIVEN_SIZE_BYTES", 8)
    said(machine, "XGROUP SETID s g 0")
    assert len(ids(said(machine, "XREADGROUP GROUP g b STREAMS s >")[0])) == 4
    assert len(ids(said(machine, "XREADGROUP GROUP g b STREAMS s 0")[0])) == 4


def test_how_much_one_call_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = grouped(GIVEN_MAX + 10)
    given(machine, GIVEN_MAX + 10)
    [[cursor, claimed, _]] = said(machine, "XAUTOCLAIM s g b 0 - COUNT 99999")
    assert (cursor, len(claimed)) == (b"%d-0" % (GIVEN_MAX + 1), GIVEN_MAX)
    assert len(said(machine, f"XAUTOCLAIM s g b 0 {cursor.decode()} COUNT 99999")[0][1]) == 10
    monkeypatch.setattr(group_calls, "GIVEN_SIZE_BYTES", 8)
    [[cursor, claimed, _]] = said(machine, "XAUTOCLAIM s g a 0 - COUNT 100")
    assert (cursor, len(claimed)) == (b"5-0", 4)


def test_a_consumer_with_too_much_is_not_deleted_at_once() -> None:
    count = ROWS_TOUCHED_MAX + 10
    machine = grouped(count)
    given(machine, count)
    whole = Failure(f"ERR one call changes at most {ROWS_TOUCHED_MAX} elements")
    assert said(machine, "XGROUP DELCONSUMER s g a") == [whole]
    assert pending(machine) == count
    assert said(machine, "XAUTOCLAIM s g b 0 0 COUNT 100 JUSTID")[0][0] == b"101-0"
    assert said(machine, "XGROUP DELCONSUMER s g a", "XGROUP DELCONSUMER s g b") == [
        count - 100,
        100,
    ]
    assert freed(machine) == count + 1


def test_limits_of_names_and_numbers() -> None:
    machine = Machine()
    said(machine, "XGROUP CREATE s g0 0 MKSTREAM")
    lines = [f"XGROUP CREATE s g{n} 0" for n in range(1, GROUPS_MAX)]
    assert said(machine, *lines) == ["OK"] * (GROUPS_MAX - 1)
    assert said(machine, "XGROUP CREATE s more 0") == [
        Failure(f"ERR a stream has at most {GROUPS_MAX} consumer groups")
    ]
    long = b"n" * 65537
    of = "ERR the name of a {} has at most 65536 bytes"
    assert write(machine, b"XGROUP", b"CREATE", b"t", long, b"0", b"MKSTREAM") == Failure(
        of.format("group")
    )
    assert said(machine, "EXISTS t") == [0]
    assert write(machine, b"XGROUP", b"CREATECONSUMER", b"s", b"g1", long) == Failure(
        of.format("consumer")
    )
    assert said(copy(machine), "XINFO STREAM s")[0][b"groups"] == GROUPS_MAX


def test_counters_wrap_as_in_redis() -> None:
    machine = grouped(2)
    said(machine, f"XGROUP SETID s g 0 ENTRIESREAD {INTEGER_MAX}", GIVE)
    assert said(machine, "XINFO GROUPS s")[0][0][b"entries-read"] == -INTEGER_MAX
    said(machine, f"XCLAIM s g a 0 1 RETRYCOUNT {INTEGER_MAX}", "XCLAIM s g a 0 1")
    assert said(machine, "XPENDING s g - + 1")[0][0][3] == -INTEGER_MAX - 1


def test_types_are_told_apart() -> None:
    machine = Machine()
    said(machine, "SET k v")
    for line in (
        "XGROUP CREATE k g 0 MKSTREAM",
        "XREADGROUP GROUP g a STREAMS k >",
        "XACK k g 1",
        "XPENDING k g",
        "XCLAIM k g a 0 1",
        "XAUTOCLAIM k g a 0 0",
        "XINFO GROUPS k",
    ):
        assert said(machine, line) == [Failure(WRONG_TYPE)]


# Versions.


def test_an_image_with_a_group_is_of_format_5() -> None:
    machine = filled(2)
    said(machine, "XPENDING s g", GIVE)
    assert b"".join(machine.dump())[FORMAT_AT] == 4
    said(machine, "XGROUP CREATE s g 0")
    assert b"".join(machine.dump())[FORMAT_AT] == image.GROUPS_SINCE == 5
    said(machine, GIVE)
    assert ids(said(copy(machine), "XREADGROUP GROUP g a STREAMS s 0")[0]) == [b"1-0", b"2-0"]


def test_an_older_image_has_none() -> None:
    state = State(revision=1)
    state.tombstones.keep(1)
    end = bytes(items.STREAM_END_SIZE_BYTES + items.GROUPS_END_SIZE_BYTES)
    ids = [state.rows.take_id() for _ in range(2)]
    described = items.Descriptor(ids[0], 0, 0, end + ids[1].to_bytes(8, "big"))
    packed = items.pack(1, 1, 0, 1, b"", described.pack(), kind=items.STREAM)
    assert items.fault(packed, 1) is None
    assert items.collections_of(packed) == tuple(ids)
    state.keyspace.put(b"s", packed, 0, None)
    data = b"".join(image.dump(state))
    with pytest.raises(Corrupt, match="a consumer group in an image of format 4"):
        Machine().loader().feed(data)
    state.has_groups = True
    Machine().loader().feed(b"".join(image.dump(state)))


@pytest.mark.parametrize("more", [1, 8, 16, 17, 16 + 8 * (GROUPS_MAX + 1)])
def test_what_describes_no_group_is_refused(more: int) -> None:
    end = bytes(items.STREAM_END_SIZE_BYTES + more)
    packed = items.pack(1, 1, 0, 1, b"", items.Descriptor(1, 0, 0, end).pack(), kind=items.STREAM)
    assert items.fault(packed, 1) == "a collection that is not described"


def test_calls_that_older_nodes_know_do_not_know_groups() -> None:
    machine = Machine()
    reply = do(machine, CallsSince(((b"XACK", b"s", b"g", b"1"),), SIZE_MAX, since=0))
    assert isinstance(reply, CallsReply)
    assert (reply.status, reply.values) == (Status.SUCCEEDED, (0,))


def test_one_call_looks_at_so_many_that_are_pending() -> None:
    """A walk for what is idle goes on where it ended, and is not refused for good."""
    most = ELEMENTS_READ_MAX // (LOOK_COST + 1)
    count = max(most, CLAIM_LOOKS_MAX) + 1
    machine = grouped(count)
    given(machine, count)
    [[at, *claimed]] = said(machine, f"XAUTOCLAIM s g b 1 0 COUNT {count} JUSTID")
    assert (at, claimed) == (b"%d-0" % (CLAIM_LOOKS_MAX + 1), [[], []])
    [[at, *claimed]] = said(machine, f"XAUTOCLAIM s g b 1 {at.decode()} COUNT {count} JUSTID")
    assert (at, claimed) == (b"0-0", [[], []])
    refused = said(
        machine,
        f"XPENDING s g - + {count}",
        "XPENDING s g IDLE 1 - + 1",
        "XACK s g " + "0-1 " * (ELEMENTS_READ_MAX // LOOK_COST + 1),
        "XCLAIM s g b 1 " + "1-0 " * (ELEMENTS_READ_MAX // LOOK_COST + 1),
    )
    assert [type(each) for each in refused] == [Failure] * 4
    assert len(said(machine, "XPENDING s g - + 10000")[0]) == 10_000
