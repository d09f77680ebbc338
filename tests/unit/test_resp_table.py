"""Who answers which call, and what is said of calls that nobody answers."""

from __future__ import annotations

from typing import cast

import pytest

from raftcache.command.call_table import SPECS
from raftcache.command.values import Failure
from raftcache.server.resp import helps
from raftcache.server.resp.client import Client
from raftcache.server.resp.table import CallTable, Entry


def table() -> CallTable:
    table = CallTable()
    table.add("PING", lambda client, call: "PONG")
    table.add("CLIENT|ID", lambda client, call: 1)
    table.add("COMMAND", lambda client, call: [])
    table.add("COMMAND|COUNT", lambda client, call: 0)
    return table


def entry_of(*call: bytes) -> Entry:
    entry = table().find(list(call))
    assert isinstance(entry, Entry)
    return entry


@pytest.mark.parametrize("name", [b"GET", b"get", b"gEt"])
def test_a_call_of_data(name: bytes) -> None:
    call = [name, b"k"]
    entry = table().find(call)
    assert isinstance(entry, Entry)
    assert entry.is_data
    assert call == [b"GET", b"k"]


def test_calls_of_rooms() -> None:
    assert entry_of(b"ping").answer is not None
    assert entry_of(b"client", b"id").spec.name == "client|id"
    assert entry_of(b"command").spec.name == "command"
    assert entry_of(b"command", b"count").spec.name == "command|count"
    assert entry_of(b"object", b"encoding", b"k").is_data


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ([b"GET"], "ERR wrong number of arguments for 'get' command"),
        ([b"nothing", b"a"], "ERR unknown command 'nothing', with args beginning with: 'a' "),
        ([b"client"], "ERR wrong number of arguments for 'client' command"),
        ([b"client", b"id", b"x"], "ERR wrong number of arguments for 'client|id' command"),
        ([b"command", b"nothing"], "ERR unknown subcommand 'nothing'. Try COMMAND HELP."),
        # Known, and served by no room of this table.
        ([b"echo", b"a"], "ERR unknown command 'echo', with args beginning with: 'a' "),
        ([b"config", b"get", b"a"], "ERR unknown subcommand 'get'. Try CONFIG HELP."),
    ],
)
def test_calls_that_nobody_answers(call: list[bytes], text: str) -> None:
    assert table().find(call) == Failure(text)


def test_plain_shapes() -> None:
    plain = CallTable().plain
    assert {(b"GET", 2), (b"SET", 3), (b"SET", 5), (b"DEL", 2)} <= plain
    assert not {(b"GET", 1), (b"GET", 3), (b"get", 2), (b"OBJECT", 3), (b"PING", 1)} & plain


def test_a_room_may_take_a_call_of_data() -> None:
    table = CallTable()
    table.add("GET", lambda client, call: b"mine")
    assert (b"GET", 2) not in table.plain
    entry = table.find([b"GET", b"k"])
    assert isinstance(entry, Entry)
    assert not entry.is_data


@pytest.mark.parametrize("container", [b"OBJECT", b"MEMORY"])
def test_help_tells_of_every_subcommand(container: bytes) -> None:
    table = CallTable()
    helps.add_to(table)
    entry = table.find([container, b"help"])
    assert isinstance(entry, Entry)
    assert entry.answer is not None
    first, *lines = entry.answer(cast("Client", None), [container, b"HELP"])
    assert first.startswith(container.decode())
    told = {line.split()[0].encode() for line in lines if not line.startswith(" ")}
    assert told == set(SPECS[container].subcommands)
