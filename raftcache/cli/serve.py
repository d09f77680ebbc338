"""`serve`: one node, until it is told to stop. Every setting of the node is an option."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from raftcache import config
from raftcache.config.settings import SETTINGS, Setting

F = TypeVar("F", bound=Callable[..., Any])


def _settings_options(command: F) -> F:
    """An option for each setting, in the table's order; config.load reads what they say."""
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[[F], F]:
    if setting.is_switch:
        return click.option(f"--{setting.name}", setting.key, flag_value="true", help=setting.help)
    shown = "" if setting.default is None else f" [default: {setting.show(setting.default)}]"
    return click.option(f"--{setting.name}", setting.key, metavar="", help=setting.help + shown)


@click.command()
@click.option("--config", metavar="FILE", help="A TOML file with any of these settings.")
@_settings_options
@click.pass_context
def serve(ctx: click.Context, /, **said: str | None) -> None:
    """Run one node of a cluster.

    Each option may also come from the environment (RAFTCACHE_DATA_DIR for --data-dir) or from the
    file; options win over the environment, and that over the file.
    """
    flags = {name.replace("_", "-"): value for name, value in said.items()}
    settings = config.load(flags, os.environ)
    for line in config.advice(settings, os.environ):
        click.echo(f"raftcache: {line}", err=True)
    gc.disable()  # until the node runs: what is made before stays, see collector.py
    from raftcache import node  # here, so that the other commands start without a server's parts

    ctx.exit(node.run(settings))
