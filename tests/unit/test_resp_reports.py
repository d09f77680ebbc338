"""What tools ask for when they start: users, logs, modules; beside Redis: tests/differential."""

from __future__ import annotations

import hashlib
from typing import cast

from raftcache.command.call_table import SPECS
from raftcache.command.values import Failure, Members, Value
from raftcache.server.resp import reports
from raftcache.server.resp.client import Client
from raftcache.server.resp.server import Room
from raftcache.server.resp.table import CallTable
from raftcache.server.resp.users import CATEGORIES, Users
from tests.support.raw_http import run
from tests.support.raw_resp import serving_resp

NOBODY = cast("Client", None)


def answered(room: Room, line: str) -> Value:
    table = CallTable()
    room(table)
    call = line.encode().split()
    entry = table.find(call)
    if isinstance(entry, Failure):
        return entry
    assert entry.answer is not None
    return entry.answer(NOBODY, call)


def test_there_is_one_user() -> None:
    room = Users("").add_to
    assert answered(room, "ACL WHOAMI") == b"default"
    assert answered(room, "ACL LIST") == [b"user default on nopass ~* &* +@all"]
    assert answered(room, "ACL GETUSER nobody") is None
    listed = answered(room, "ACL CAT Geo")
    assert b"geoadd" in listed
    assert b"get" not in listed
    assert answered(room, "ACL HELP")[-1] == "    Prints this help."
    assert isinstance(answered(room, "ACL SETUSER x"), Failure)


def test_the_password_is_told_as_its_digest() -> None:
    room, digest = Users("secret").add_to, hashlib.sha256(b"secret").hexdigest().encode()
    assert answered(room, "ACL LIST") == [b"user default on #%b ~* &* +@all" % digest]
    told = answered(room, "ACL GETUSER default")
    assert told[b"passwords"] == [digest]
    assert told[b"flags"] == Members([b"on"])


def test_every_category_is_one_that_redis_has() -> None:
    specs = [each for spec in SPECS.values() for each in (spec, *spec.subcommands.values())]
    assert {name.encode() for spec in specs for name in spec.categories} <= set(CATEGORIES)


def test_what_is_not_recorded_is_told_to_be_switched_off() -> None:
    room = reports.add_to
    assert answered(room, "SLOWLOG GET 10") == answered(room, "LATENCY LATEST") == []
    assert answered(room, "SLOWLOG LEN") == 0
    assert answered(room, "LATENCY HISTOGRAM get") == {}
    for name in (b"LATENCY", b"MODULE", b"SLOWLOG"):
        assert answered(room, f"{name.decode()} HELP")[-1] == "    Prints this help."

    async def test() -> None:
        async with serving_resp(room) as served:
            client = await served.connect()
            told = b"*2\r\n$23\r\nslowlog-log-slower-than\r\n$2\r\n-1\r\n"
            await client.call("CONFIG", "GET", "slowlog-log*", answer=told)
            told = b"*2\r\n$25\r\nlatency-monitor-threshold\r\n$1\r\n0\r\n"
            await client.call("CONFIG", "GET", "latency-mon*", answer=told)

    run(test())
