"""What all commands have in common, and that the exit codes are written down in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from raftcache.cli import exits
from raftcache.cli.root import main
from raftcache.node import EXIT_FATAL, EXIT_STOPPED

WITHOUT_JSON = {"serve", "snapshot export"}
"""A server's log has a format of its own; an export is JSON lines anyway."""


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, set[str], str]]:
    """The name of each command, its options and its help."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            options = {option for param in command.params for option in param.opts}
            yield path + name, options, command.help or ""


def test_every_command_speaks_json() -> None:
    without = {name for name, options, _ in commands(main) if "--json" not in options}
    assert without == WITHOUT_JSON


def test_who_asks_a_cluster_is_told_where_and_for_how_long() -> None:
    for name, options, said in commands(main):
        assert ("--endpoints" in options) <= ("--timeout" in options), name
        assert said, name


def test_every_exit_code_is_in_the_table() -> None:
    assert exits.__doc__
    codes = {value for name, value in vars(exits).items() if name.isupper()}
    codes |= {EXIT_STOPPED, EXIT_FATAL}
    assert {int(code) for code in re.findall(r"^(\d+) ", exits.__doc__, re.M)} == codes
    assert main.epilog == exits.__doc__
