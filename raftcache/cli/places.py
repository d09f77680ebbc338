"""Options of the commands that work on a node's data directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from raftcache.command.limits import REVISION_BUMP, REVISION_BUMPED_MAX
from raftcache.config.text import parse_members, parse_name


class Parsed(click.ParamType[Any]):
    """An option that is read as the setting of the same kind is."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # noqa: ANN401 - as many types as settings
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as e:
            self.fail(f"{value!r} {e}", param, ctx)


MEMBERS: Final = Parsed("members", parse_members)

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Of the node, as its --data-dir says.",
)
existing_data_dir_option = click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Of the node, as its --data-dir says.",
)
name_option = click.option(
    "--name", type=Parsed("name", parse_name), required=True, help="Of the node."
)
members_option = click.option(
    "--cluster",
    "members",
    type=MEMBERS,
    required=True,
    help="All members of the new cluster: n1=host:port,n2=host:port,...",
)
bump_option = click.option(
    "--bump-revision",
    "bump",
    metavar="N",
    type=click.IntRange(0, REVISION_BUMPED_MAX),
    default=REVISION_BUMP,
    show_default=True,
    help="Raise the revision by N, so that no revision, ETag or lock's token of a lost write is"
    " given again; 0 only if nothing was lost.",
)
