"""Links between nodes, over real sockets on loopback; each test on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from dataclasses import replace
from typing import Any

import pytest

from raftcache.config import Address
from raftcache.errors import BadConfig
from raftcache.raft import dialling
from raftcache.raft.complaints import LOG_AGAIN_S
from raftcache.raft.doorkeeper import GUESTS_MAX
from raftcache.raft.frames import encode
from raftcache.raft.greetings import Refusal
from raftcache.raft.members import Configuration, Member
from raftcache.raft.messages import Message
from raftcache.raft.pace import Pace
from raftcache.raft.peer import PEER_BUFFER_SIZE_BYTES_MAX
from raftcache.raft.stock import Node
from raftcache.raft.transport import HALF_OPEN_MAX
from tests.unit.seats import (
    DEADLINE_S,
    HASTY,
    Wire,
    hello,
    introduce,
    linked,
    listener,
    met,
    on_both_loops,
    seat,
    started,
    until,
    wire,
)

# -- connecting ----------------------------------------------------------------------------------


@on_both_loops
async def test_three_nodes_connect_with_one_link_for_each_pair() -> None:
    seats = [seat(n) for n in ("n1", "n2", "n3")]
    async with linked(*seats):
        assert [one.counters.connects for one in seats] == [2, 2, 2]
        for one in seats:
            for other in seats:
                assert one is other or one.say(other.name, int(one.name[1:]))
        await until(lambda: all(len(one.received) == 2 for one in seats))
        assert seats[0].numbers("n2") == [2]
        assert seats[2].numbers("n1") == [1]


@on_both_loops
async def test_members_and_addresses_may_be_known_before_the_start() -> None:
    n1, n2 = seat("n1"), seat("n2")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        n2.knows(n1)
        assert not n2.links.ready
        assert not n2.say("n1", 1)
        async with started(n2):
            await until(lambda: n1.up and n2.up)
            assert n1.links.linked == {"n2"}
        await until(lambda: not n1.up)
        assert n1.links.linked == frozenset()


@on_both_loops
async def test_small_frames_do_not_wait_for_large_ones() -> None:
    n1, n2 = seat("n1"), seat("n2")
    async with linked(n1, n2):
        for one in (n1, n2):
            (connection,) = one.links._connections
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_both_loops
async def test_an_address_in_use_is_a_bad_configuration_that_names_it() -> None:
    n1 = seat("n1")
    async with started(n1):
        second = seat("n2", port=n1.address.port)
        with pytest.raises(BadConfig, match=str(n1.address)):
            await second.links.start()
        assert not second.links.ready
        await second.links.stop()


@on_both_loops
async def test_a_peer_that_is_not_there_is_dialled_until_it_is() -> None:
    n2, n1 = seat("n2"), seat("n1")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        address = n1.address
    async with started(n2):
        n2.links.addNode(Node("n1"))
        n2.links.set_address("n1", address)
        await until(lambda: n2.counters.dials_failed >= 3)
        n1 = seat("n1", port=address.port)
        n1.links.addNode(Node("n2"))
        async with started(n1):
            await until(lambda: n1.up and n2.up)


@on_both_loops
async def test_a_link_that_was_up_is_dialled_again_without_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def somebody_listens(address: Address) -> bool:
        return False

    monkeypatch.setattr(dialling, "nobody_listens", somebody_listens)  # would be a wire as well
    # Without a fresh start after each link the last wait would be a minute, past every deadline.
    n2, wires = seat("n2", pace=Pace(redial_min_s=0.001, redial_max_s=1000.0)), list[Wire]()
    async with listener(wires) as address, started(n2):
        n2.links.addNode(Node("n1"))
        n2.links.set_address("n1", address)
        for links in range(1, 18):
            await until(lambda: len(wires) == links)  # noqa: B023
            await wires[-1].greet(name="n1", to="n2")
            await until(lambda: n2.counters.connects == links)  # noqa: B023
            await wires[-1].close()


@on_both_loops
async def test_a_peer_whose_process_has_ended_is_said_to_be_gone_by_either_side() -> None:
    """Whoever's turn it is to dial; n1 is between them."""
    n1, n2, n0 = seat("n1"), seat("n2"), seat("n0")
    async with started(n1):
        async with started(n0, n2):
            n1.knows(n0, n2)
            n0.knows(n1)
            n2.knows(n1)
            await until(lambda: n1.up == {"n0", "n2"} and n0.up and n2.up)
            assert not n1.gone
        await until(lambda: n1.gone == {"n0", "n2"})


@on_both_loops
async def test_a_peer_whose_link_was_cut_is_not_gone() -> None:
    n1, n2 = seat("n1"), seat("n2")
    async with started(n1, n2):
        introduce(n1, n2)
        for links in range(1, 5):
            await until(lambda: n1.up and n2.up and n1.counters.connects == links)  # noqa: B023
            for connection in list(n2.links._connections):
                connection.abort("cut by the test")
                n2.links._part(connection, "cut by the test")
            await until(lambda: n1.counters.disconnects == links)  # noqa: B023
        await until(lambda: n1.up and n2.up)
        await until(lambda: n1.links._peers["n2"].probing is None)
        assert not n1.gone
        assert n1.counters.peers_gone == 0


@pytest.mark.parametrize("turns", range(12))
@on_both_loops
async def test_stopping_and_dropping_end_the_dialling_at_every_moment(turns: int) -> None:
    n1, n2, n3 = seat("n1"), seat("n2"), seat("n3")
    async with started(n1, n2, n3):
        for one in (n2, n3):
            one.knows(n1)
            n1.links.addNode(Node(one.name))
        for _ in range(turns):
            await asyncio.sleep(0)
        n3.links.dropNode(Node("n1"))
        await until(lambda: not n3.links._connections and not n3.links._dialler._tasks)
        async with asyncio.timeout(DEADLINE_S):
            await n2.links.stop()
        assert not n2.links._connections
        assert not n2.links._dialler._tasks


@pytest.mark.parametrize("change", ["dropped", "moved"])
@on_both_loops
async def test_a_link_that_is_not_greeted_yet_ends_with_its_dialling(change: str) -> None:
    n2, wires = seat("n2", pace=Pace(handshake_timeout_s=1000.0)), list[Wire]()
    async with listener(wires) as address, started(n2):
        n2.links.addNode(Node("n1"))
        n2.links.set_address("n1", address)
        await until(lambda: wires)
        assert (await wires[0].next())["type"] == "hello"
        if change == "dropped":
            n2.links.dropNode(Node("n1"))
        else:
            n2.links.set_address("n1", Address(address.host, 1))
        await wires[0].ends()
        assert n2.events == []


# -- messages ------------------------------------------------------------------------------------


@on_both_loops
async def test_messages_keep_their_order_under_load_both_ways() -> None:
    n1, n2 = seat("n1"), seat("n2")
    async with linked(n1, n2):
        count = 3000
        for number in range(count):
            for one, other in ((n1, "n2"), (n2, "n1")):
                if number % 100 == 0:  # large ones in between
                    command = {"type": "apply_command", "command": bytes(1 << 17)}
                    assert one.links.send(Node(other), command | {"request_id": number})
                assert one.links.send(Node(other), {"type": "term", "term": number})
                if number % 7 == 0:
                    one.links.flush()
            if number % 500 == 0:
                await asyncio.sleep(0)
        n1.links.flush()
        n2.links.flush()
        await until(lambda: len(n1.received) == len(n2.received) == count + count // 100)
        for one, other in ((n1, "n2"), (n2, "n1")):
            numbers = [m.get("term", m.get("request_id")) for _, m in one.received]
            assert numbers == sorted(numbers)
            assert {name for name, _ in one.received} == {other}
            assert 0 < one.activity <= len(one.received)
            assert one.counters.frames_received >= len(one.received)
            assert one.counters.bytes_received > count // 100 * (1 << 17)


@on_both_loops
async def test_nothing_leaves_before_the_flush() -> None:
    n1 = seat("n1")
    async with met(n1) as n2:
        before = n1.counters.frames_sent
        assert n1.links.send(Node("n2"), {"type": "term", "term": 1})
        assert n1.links.send(Node("n2"), {"type": "term", "term": 2})
        assert n1.counters.frames_sent == before
        n1.links.flush()
        assert n1.counters.frames_sent == before + 2
        assert (await n2.next())["type"] == "hello"
        assert [(await n2.next())["term"], (await n2.next())["term"]] == [1, 2]


@on_both_loops
async def test_sending_to_nobody_is_false() -> None:
    n1 = seat("n1")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        assert n1.links.send(Node("n2"), {"type": "term", "term": 1}) is False
        assert n1.links.send(Node("n9"), {"type": "term", "term": 1}) is False


@on_both_loops
async def test_what_is_passed_on_goes_only_to_who_speaks_its_protocol() -> None:
    n1, told = seat("n1"), list[object]()
    n1.links.passed_on["accesses"] = lambda *said: told.append(said)
    report = {"type": "accesses", "keys": [(b"key", 3)]}
    async with started(n1):
        for version in (1, 2):
            n1.links.addNode(Node("n2"))
            async with wire(n1.address) as n2:
                await n2.greet(version_max=version)
                assert (await n2.next())["type"] == "hello"
                await until(lambda: bool(n1.up))
                assert n1.links.pass_on("n2", report) is (version == 2)
                assert not n1.links.pass_on("n9", report)
                assert not n1.links.pass_on("n2", {"type": "subscribers_ask", "id": 1})
                n1.links.send(Node("n2"), {"type": "term", "term": 1})
                n1.links.flush()
                if version == 2:
                    assert await n2.next() == report
                assert (await n2.next())["type"] == "term"
                n1.links.dropNode(Node("n2"))
        assert not told


@on_both_loops
async def test_what_is_passed_on_goes_to_who_asked_for_it_and_not_to_the_engine() -> None:
    n1, n2, told = seat("n1"), seat("n2"), list[object]()
    n1.links.passed_on["accesses"] = lambda *said: told.append(said)
    report = {"type": "accesses", "keys": [(b"a", 1), (b"b", 2)]}
    async with linked(n1, n2):
        assert n2.links.pass_on("n1", report)
        assert n2.links.pass_on("n1", {"type": "subscribers_reply", "id": 1, "counts": None})
        assert n2.say("n1", 7)
        await until(lambda: len(n1.received) == 1)
        assert told == [("n2", report)], "nobody takes the other one here"


# -- strangers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version_min": 90, "version_max": 99}, Refusal.VERSION),
        ({"cluster_id": "dead"}, Refusal.CLUSTER),
        ({"name": "n1"}, Refusal.ITSELF),
        ({"to": "n3"}, Refusal.ADDRESSEE),
        ({"name": "n4"}, Refusal.UNKNOWN),
    ],
    ids=lambda v: v.name if isinstance(v, Refusal) else "",
)
@on_both_loops
async def test_a_stranger_is_told_why_it_is_refused(
    changes: dict[str, Any], reason: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    n1 = seat("n1")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        for _ in range(3):
            async with wire(n1.address) as stranger:
                await stranger.greet(**changes)
                refused = await stranger.next()
                assert refused["type"] == "refused"
                assert refused["reason"] == reason
                with pytest.raises(EOFError):
                    await stranger.next()
        assert n1.counters.refused == 3
        assert n1.events == []
    logged = [r for r in caplog.records if r.getMessage() == "link refused"]
    assert [(r.levelno, vars(r)["reason"]) for r in logged] == [(logging.WARNING, reason)]


@on_both_loops
async def test_a_complaint_is_logged_again_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    n1 = seat("n1")
    async with started(n1):
        for expected, later_s in ((1, 0.0), (1, LOG_AGAIN_S / 2), (2, LOG_AGAIN_S / 2)):
            n1.clock.now_s += later_s
            async with wire(n1.address) as stranger:
                await stranger.greet()
                await stranger.ends()
            assert len(caplog.records) == expected


@on_both_loops
async def test_the_one_who_dials_checks_who_answers() -> None:
    n2, wires = seat("n2"), list[Wire]()
    async with listener(wires) as address, started(n2):
        n2.links.addNode(Node("n1"))
        n2.links.set_address("n1", address)
        await until(lambda: wires)
        assert (await wires[0].next()) == hello(name="n2", to="n1")
        await wires[0].greet(name="n3", to="n2")
        assert (await wires[0].next())["reason"] == Refusal.ADDRESSEE
        await until(lambda: len(wires) >= 2)  # it tries again
        await wires[1].greet(name="n1", to="n2")
        await until(lambda: n2.up)
        assert n2.events == [("up", "n1")]


@on_both_loops
async def test_a_node_that_dials_itself_refuses_itself() -> None:
    n2 = seat("n2")
    async with started(n2):
        n2.links.addNode(Node("n1"))
        n2.links.set_address("n1", n2.address)
        await until(lambda: n2.counters.refused and n2.counters.refused_by_peer)
        assert n2.events == []


@on_both_loops
async def test_nodes_of_two_clusters_stay_apart() -> None:
    n1, n2 = seat("n1"), seat("n2", cluster="other")
    async with started(n1, n2):
        introduce(n1, n2)
        await until(lambda: n1.counters.refused >= 2 and n2.counters.refused_by_peer >= 2)
        assert n1.events == n2.events == []


# -- bad bytes and bad manners -------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: n1\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"\x02\x00\x00\x00\xff\xff",
        (4097).to_bytes(4, "little"),
        encode({"type": "term", "term": 99}),
    ],
    ids=["http", "empty", "garbage", "hello too large", "message before hello"],
)
@on_both_loops
async def test_a_stranger_that_does_not_greet_is_cut_off(data: bytes) -> None:
    n1 = seat("n1")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as stranger:
            await stranger.write(data)
            await stranger.ends()
        assert n1.counters.bad_frames == 1
        assert n1.events == []
        assert n1.received == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x02\x00\x00\x00\xff\xff",
        ((16 << 20) + 1).to_bytes(4, "little"),
        encode(hello()),
    ],
    ids=["garbage", "oversized", "second hello"],
)
@on_both_loops
async def test_a_peer_that_sends_a_bad_frame_is_cut_off_and_may_come_back(data: bytes) -> None:
    n1 = seat("n1")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        for round_ in (1, 2):
            async with wire(n1.address) as n2:
                await n2.greet()
                await n2.write(encode({"type": "term", "term": round_}))
                await until(lambda: len(n1.received) == round_)  # noqa: B023
                await n2.write(data)
                await n2.ends()
            assert n1.counters.bad_frames == round_
        assert n1.events == [("up", "n2"), ("down", "n2")] * 2


@on_both_loops
async def test_nothing_behind_a_bad_frame_is_delivered() -> None:
    n1 = seat("n1")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as n2:
            good = encode({"type": "term", "term": 1})
            await n2.write(encode(hello()))
            await until(lambda: n1.up)
            await n2.write(b"\x01\x00\x00\x00\xc1" + good)
            with contextlib.suppress(ConnectionError):
                await n2.write(good)
            await n2.ends()
        await until(lambda: not n1.up)
        assert n1.received == []


@on_both_loops
async def test_half_open_connections_are_bounded_and_do_not_keep_peers_out() -> None:
    n1 = seat("n1")
    async with started(n1), contextlib.AsyncExitStack() as stack:
        n1.links.addNode(Node("n2"))
        strangers = [wire(n1.address) for _ in range(HALF_OPEN_MAX + 10)]
        silent = [await stack.enter_async_context(stranger) for stranger in strangers]
        await until(lambda: n1.counters.half_open_evictions == 10)
        await asyncio.gather(*(one.ends() for one in silent[:10]))
        n2 = await stack.enter_async_context(wire(n1.address))
        await n2.greet()
        await until(lambda: n1.up)
        await until(lambda: len(n1.links._half_open) == HALF_OPEN_MAX - 1)


@on_both_loops
async def test_a_greeting_byte_by_byte_ends_in_time() -> None:
    n1 = seat("n1", pace=HASTY)
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as slow:
            with contextlib.suppress(ConnectionError):
                for byte in encode(hello()):
                    await slow.write(bytes([byte]))
                    await asyncio.sleep(HASTY.beat_s)
            await slow.ends()
        assert n1.counters.silences == 1
        assert n1.events == []


@on_both_loops
async def test_a_peer_that_does_not_read_is_cut_off_and_memory_stays_bounded() -> None:
    n1 = seat("n1")
    async with met(n1) as n2:
        (connection,) = n1.links._connections
        n2.writer.transport.pause_reading()
        message = {"type": "apply_command", "command": bytes(1 << 20), "request_id": 1}
        sent = 0
        while n1.links.send(Node("n2"), message):
            n1.links.flush()
            waiting = connection._transport.get_write_buffer_size()
            assert waiting <= PEER_BUFFER_SIZE_BYTES_MAX
            sent += 1
            assert sent < 200
            await asyncio.sleep(0)
        assert sent * len(encode(message)) > PEER_BUFFER_SIZE_BYTES_MAX / 2
        assert n1.up, "sending never calls back"
        assert n1.counters.slow_peers == 1
        await until(lambda: not n1.up)
        assert n1.events == [("up", "n2"), ("down", "n2")]


@on_both_loops
async def test_what_is_queued_in_one_turn_is_bounded_too() -> None:
    n1 = seat("n1")
    async with met(n1):
        message = {"type": "apply_command", "command": bytes(1 << 20), "request_id": 1}
        sent = [n1.links.send(Node("n2"), message) for _ in range(40)]
        assert sent.count(True) == PEER_BUFFER_SIZE_BYTES_MAX // len(encode(message))
        assert sent == sorted(sent, reverse=True)
        n1.links.flush()
        await until(lambda: not n1.up)


# -- silence -------------------------------------------------------------------------------------


@on_both_loops
async def test_idle_links_are_kept_alive() -> None:
    n1, n2 = seat("n1", pace=HASTY), seat("n2", pace=HASTY)
    async with linked(n1, n2):
        # Many times the silence after which a link is cut.
        await until(lambda: n1.counters.frames_received > 40 and n2.counters.frames_received > 40)
        assert n1.events == [("up", "n2")]
        assert n1.received == n2.received == []
        assert n1.activity == 0


@on_both_loops
async def test_a_silent_peer_is_cut_off() -> None:
    n1 = seat("n1", pace=HASTY)
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as n2:
            await n2.greet()
            await until(lambda: ("down", "n2") in n1.events)
            await n2.ends()
        assert n1.counters.silences == 1
        assert n1.events == [("up", "n2"), ("down", "n2")]


@on_both_loops
async def test_a_pause_of_this_process_is_no_silence_of_its_peers() -> None:
    n1, n2 = seat("n1", pace=HASTY), seat("n2", pace=HASTY)
    async with linked(n1, n2):
        before = n1.counters.frames_received
        time.sleep(3 * HASTY.silence_timeout_s)  # noqa: ASYNC251  # the loop stands still
        await until(lambda: n1.counters.frames_received > before + 10)
        assert n1.events == [("up", "n2")]
        assert n2.events == [("up", "n1")]


@on_both_loops
async def test_who_accepts_but_never_greets_is_dialled_again() -> None:
    n2, wires = seat("n2", pace=HASTY), list[Wire]()
    async with listener(wires) as address, started(n2):
        n2.links.addNode(Node("n1"))
        n2.links.set_address("n1", address)
        await until(lambda: len(wires) >= 3)
        assert n2.counters.silences >= 2
        assert n2.events == []


# -- changes -------------------------------------------------------------------------------------


@on_both_loops
async def test_a_peer_that_restarts_is_connected_again() -> None:
    n1, n2 = seat("n1"), seat("n2")
    n1.links.addNode(Node("n2"))
    async with started(n2):
        async with started(n1):
            port = n1.address.port
            n2.knows(n1)
            await until(lambda: n1.up and n2.up)
            assert n2.say("n1", 1)
            await until(lambda: n1.numbers("n2") == [1])
        await until(lambda: not n2.up)
        assert not n2.say("n1", 2)
        again = seat("n1", incarnation=2, port=port)
        again.links.addNode(Node("n2"))
        async with started(again):
            await until(lambda: again.up and n2.up)
            assert n2.say("n1", 3)
            await until(lambda: again.received)
            assert again.numbers("n2") == [3]
        assert n2.events[:3] == [("up", "n1"), ("down", "n1"), ("up", "n1")]


@pytest.mark.parametrize("incarnation", [5, 6], ids=["equal", "newer"])
@on_both_loops
async def test_a_second_link_replaces_the_first(incarnation: int) -> None:
    n1 = seat("n1")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as old, wire(n1.address) as new:
            await old.greet(incarnation=5)
            await until(lambda: n1.up)
            assert n1.links.send(Node("n2"), {"type": "term", "term": 1})  # not flushed
            await new.greet(incarnation=incarnation)
            await until(lambda: len(n1.events) == 3)
            assert n1.events == [("up", "n2"), ("down", "n2"), ("up", "n2")]
            with contextlib.suppress(ConnectionError):
                await old.write(encode({"type": "term", "term": 66}))
            await old.ends()
            await new.write(encode({"type": "term", "term": 2}))
            await until(lambda: n1.received)
            assert n1.numbers("n2") == [2]
            assert n1.say("n2", 3)
            assert (await new.next())["type"] == "hello"
            assert (await new.next())["term"] == 3, "nothing of the old link"


@on_both_loops
async def test_an_earlier_life_does_not_replace_a_later_one() -> None:
    n1 = seat("n1")
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as new, wire(n1.address) as old:
            await new.greet(incarnation=5)
            await until(lambda: n1.up)
            await old.greet(incarnation=4)
            assert (await old.next())["reason"] == Refusal.STALE
            assert n1.events == [("up", "n2")]


@on_both_loops
async def test_a_changed_address_is_for_the_next_link() -> None:
    n2, first, second = seat("n2"), seat("n1"), seat("n1", incarnation=2)
    for one in (first, second):
        one.links.addNode(Node("n2"))
    async with started(n2, second):
        async with started(first):
            n2.knows(first)
            await until(lambda: first.up and n2.up)
            n2.links.set_address("n1", second.address)
            assert n2.up
            assert not second.up
        await until(lambda: second.up and n2.up)
        assert n2.events == [("up", "n1"), ("down", "n1"), ("up", "n1")]


@on_both_loops
async def test_a_member_is_looked_for_elsewhere_too() -> None:
    """It moved with all others, so that nobody could write down where it is."""
    n1, never = seat("n1"), seat("n9")
    async with started(n1, never):
        n1.links.addNode(Node("n2"))
        n2 = seat("n2", elsewhere={"n1": n1.address, "n7": n1.address})
        async with started(n2):
            n2.links.set_address("n1", never.address)
            n2.links.addNode(Node("n1"))
            await until(lambda: n1.up and n2.up)
        await until(lambda: not n1.up)
        n2 = seat("n2", elsewhere={"n1": never.address}, incarnation=2)
        async with started(n2):
            n2.links.set_address("n1", n1.address)
            n2.links.addNode(Node("n1"))
            await until(lambda: n1.up and n2.up)


@on_both_loops
async def test_a_node_that_nobody_dials_dials_itself() -> None:
    """n2 should dial, but does not know where n1 is now."""
    n1, n2 = seat("n1", pace=replace(HASTY, lonely_after_s=0.05)), seat("n2")
    async with started(n1, n2):
        n2.links.addNode(Node("n1"))
        n1.knows(n2)
        await until(lambda: n1.up and n2.up)
        assert n1.say("n2", 1)
        await until(lambda: n2.numbers("n1") == [1])


@on_both_loops
async def test_against_the_rule_of_who_dials_there_is_no_second_link() -> None:
    n1, n2 = seat("n1"), seat("n2")
    async with linked(n1, n2):
        async with wire(n2.address) as again:
            await again.greet(name="n1", to="n2")
            assert (await again.next())["reason"] == Refusal.DIRECTION
        assert n2.events == [("up", "n1")]


@on_both_loops
async def test_a_lost_node_takes_guests_while_their_links_last() -> None:
    n1 = seat("n1")
    lost = [True]
    n1.links.takes_guests = lambda: lost[0]
    async with started(n1):
        async with wire(n1.address) as guest:
            await guest.greet(name="n7")
            assert (await guest.next())["type"] == "hello"
            assert n1.up == {"n7"}
            async with wire(n1.address) as again:
                await again.greet(name="n7", incarnation=2)
                assert (await again.next())["type"] == "hello"
                await guest.ends()
                assert n1.say("n7", 5)
                assert (await again.next())["term"] == 5
        await until(lambda: not n1.up)
        assert not n1.say("n7", 6)
        lost[0] = False
        async with wire(n1.address) as stranger:
            await stranger.greet(name="n7")
            assert (await stranger.next())["reason"] == Refusal.UNKNOWN


@on_both_loops
async def test_guests_are_bounded_and_removed_data_is_no_guest() -> None:
    n1 = seat("n1")
    n1.links.takes_guests = lambda: True
    n1.links.set_removed(["gone"])
    async with started(n1), contextlib.AsyncExitStack() as stack:
        for i in range(GUESTS_MAX):
            guest = await stack.enter_async_context(wire(n1.address))
            await guest.greet(name=f"m{i}")
            assert (await guest.next())["type"] == "hello"
        async with wire(n1.address) as stranger:
            await stranger.greet(name="n7")
            assert (await stranger.next())["reason"] == Refusal.UNKNOWN
        async with wire(n1.address) as removed:
            await removed.greet(name="m0", member_id="gone")
            assert (await removed.next())["reason"] == Refusal.REMOVED


@on_both_loops
async def test_a_guest_that_becomes_a_member_stays_linked_and_is_introduced() -> None:
    n1 = seat("n1")
    said: list[str] = []
    n1.links.takes_guests = lambda: True
    n1.links.greeted = lambda member: said.append(member.raft)
    async with started(n1), wire(n1.address) as guest:
        await guest.greet(name="n7", raft="h:7")
        assert (await guest.next())["type"] == "hello"
        assert said == []
        n1.links.addNode(Node("n7"))
        assert said == ["h:7"]
        assert n1.events == [("up", "n7")]
        await guest.close()
        await until(lambda: not n1.up)
        assert "n7" in n1.links._peers


def knowing(member_id: str, version: int = 5) -> Configuration:
    """n2 has this data, at this version of the configuration."""
    return Configuration(version, (Member("n2", member_id, "127.0.0.1:1", "", True),))


@on_both_loops
async def test_other_data_under_a_known_name_is_refused() -> None:
    n1 = seat("n1")
    async with started(n1), wire(n1.address) as n2:
        n1.links.addNode(Node("n2"))
        n1.links.set_members(knowing("old"))
        await n2.greet(member_id="new", members_version=5)
        assert (await n2.next())["reason"] == Refusal.OTHER_DATA
        assert n1.events == []


@on_both_loops
async def test_other_data_is_let_in_by_who_knows_less_but_does_not_count() -> None:
    n1 = seat("n1")
    async with started(n1), wire(n1.address) as n2:
        n1.links.addNode(Node("n2"))
        n1.links.set_members(knowing("old"))
        await n2.greet(member_id="new", members_version=6)
        hello = await n2.next()
        assert (hello["type"], hello["members_version"]) == ("hello", 5)
        await until(lambda: n1.up)
        assert n1.links.is_other(Node("n2"))
        n1.links.set_members(knowing("new", 6))
        assert not n1.links.is_other(Node("n2"))
        assert n1.events == [("up", "n2")]


@on_both_loops
async def test_a_link_ends_when_its_peers_data_no_longer_counts() -> None:
    """As of a process that was only suspended while other data took its name."""
    n1 = seat("n1")
    async with started(n1), wire(n1.address) as n2:
        n1.links.addNode(Node("n2"))
        n1.links.set_members(knowing("old", 5))
        await n2.greet(member_id="old", members_version=5)
        await until(lambda: n1.up)
        n1.links.set_members(knowing("new", 6))
        assert n1.events == [("up", "n2"), ("down", "n2")]
        assert not n1.say("n2", 1)


@pytest.mark.parametrize("reason", [Refusal.REMOVED, Refusal.OTHER_DATA, Refusal.UNKNOWN])
@on_both_loops
async def test_a_node_hears_that_it_is_out_of_the_cluster(reason: Refusal) -> None:
    n1 = seat("n1")
    why: list[str] = []
    async with started(n1), wire(n1.address) as n2:
        n1.links.removed = why.append
        n1.links.addNode(Node("n2"))
        await n2.greet()
        assert (await n2.next())["type"] == "hello"
        await n2.write(encode({"type": "refused", "reason": reason, "detail": ""}))
        await until(lambda: n1.events == [("up", "n2"), ("down", "n2")])
        # That one does not know it, yet or any more, is no reason to give up.
        assert why == ([] if reason is Refusal.UNKNOWN else [reason])


@on_both_loops
async def test_a_dropped_member_is_disconnected_and_refused() -> None:
    n1, n2 = seat("n1"), seat("n2")
    async with linked(n1, n2):
        n1.links.dropNode(Node("n2"))
        assert n1.events == [("up", "n2"), ("down", "n2")]
        assert not n1.say("n2", 1)
        await until(lambda: n1.counters.refused >= 2)
        n2.links.dropNode(Node("n1"))
        n1.links.addNode(Node("n2"))
        n2.links.addNode(Node("n1"))  # its address is still known
        await until(lambda: n1.up and n2.up)


@pytest.mark.parametrize("takes_it_back", [False, True])
@on_both_loops
async def test_a_handler_may_drop_the_sender_in_the_middle_of_a_batch(takes_it_back: bool) -> None:
    n1 = seat("n1")

    def drop(node: Node, message: Message) -> None:
        n1.on_message(node, message)
        n1.links.dropNode(node)
        if takes_it_back:  # then it starts afresh: the rest of the batch is not from now on
            n1.links.addNode(node)

    n1.links.setOnMessageReceivedCallback(drop)
    async with started(n1):
        n1.links.addNode(Node("n2"))
        async with wire(n1.address) as n2:
            frames = [encode({"type": "term", "term": i}) for i in range(5)]
            await n2.write(encode(hello()) + b"".join(frames))
            await n2.ends()
        assert n1.numbers("n2") == [0]
        assert n1.events == [("up", "n2"), ("down", "n2")]


@on_both_loops
async def test_destroy_calls_nobody_back() -> None:
    n1, n2 = seat("n1"), seat("n2")
    async with started(n2):
        await n1.links.start()
        introduce(n1, n2)
        await until(lambda: n1.up and n2.up)
        n1.links.destroy()
        assert not n1.links.ready
        await n1.links.stop()
        assert n1.events == [("up", "n2")]
        await until(lambda: not n2.up)
