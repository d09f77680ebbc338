"""The `raftcache` command: its groups in one place; errors become one line and an exit code."""

from __future__ import annotations

import sys
from typing import Any

import click

from raftcache.cli import exits
from raftcache.cli.check import check
from raftcache.cli.demo import demo
from raftcache.cli.keys import KEY_COMMANDS
from raftcache.cli.leases import lease
from raftcache.cli.locks import elect, lock, locks
from raftcache.cli.members import leader, member
from raftcache.cli.quotas import quota
from raftcache.cli.ranges import range_
from raftcache.cli.recover import rebuild, recover
from raftcache.cli.serve import serve
from raftcache.cli.snapshot import snapshot
from raftcache.cli.status import status
from raftcache.cli.transfer import TRANSFER_COMMANDS
from raftcache.cli.txn import txn
from raftcache.cli.wal import wal
from raftcache.cli.watch import watch
from raftcache.errors import RaftcacheError


class _Root(click.Group):
    def main(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 (as click has it)
        """Around everything: what prints help, or the version, invokes no command."""
        try:
            return super().main(*args, **options)
        except RaftcacheError as e:
            click.echo(f"raftcache: {e.title}: {e.detail}", err=True)
            sys.exit(exits.exit_code(e))
        except OSError as e:  # but for a broken pipe: who reads has seen enough, and click exits
            where = "" if e.filename is None else f"{e.filename}: "
            click.echo(f"raftcache: {where}{e.strerror or e}", err=True)
            sys.exit(exits.FILES)


@click.group(cls=_Root, epilog=exits.__doc__)
@click.version_option(package_name="raftcache")
def main() -> None:
    """A strongly consistent, Raft-replicated key-value cache."""


for command in (
    *(serve, demo, status),
    *(member, leader),
    *(snapshot, wal, check, recover, rebuild),
    *KEY_COMMANDS,
    *(lease, lock, locks, elect),
    *(range_, txn),
    *TRANSFER_COMMANDS,
    watch,
    quota,
):
    main.add_command(command)
