"""`lock` and `elect`: a command that runs only while a lock is held; `locks`: who holds them."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final

import click

from raftcache.cli.keys import Bytes
from raftcache.cli.options import (
    Duration,
    client_options,
    echo_json,
    open_async_client,
    open_client,
    run_until_interrupted,
)
from raftcache.client import BlockingHeld, HeldLock, LockState, escaped

KILL_AFTER_S: Final = 10.0
"""From SIGTERM, when the lock is lost, to SIGKILL."""

_name = click.argument("name", type=Bytes())
_command = click.argument("command", nargs=-1, type=click.UNPROCESSED)
_ttl = click.option(
    "--ttl",
    type=Duration(),
    default="15s",
    show_default=True,
    help="How long it stays held after the last sign of life.",
)


@click.command()
@_name
@_command
@_ttl
@click.option("--wait", type=Duration(), help="How long to wait for it; for ever, if left out.")
@click.option("--no-wait", is_flag=True, help="Do not wait at all.")
@click.option("--lock-delay", type=Duration(), help="How long nobody gets it if it runs out.")
@client_options
def lock(
    name: bytes,
    command: Sequence[str],
    ttl: float,
    wait: float | None,
    no_wait: bool,
    lock_delay: float | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Run COMMAND while the lock NAME is held; without COMMAND, print who holds it.

    COMMAND has the fencing token in RAFTCACHE_LOCK_TOKEN. When the lock is lost it gets SIGTERM,
    and SIGKILL 10 s later.
    """
    if wait is not None and no_wait:
        raise click.UsageError("--wait and --no-wait exclude each other")
    wait_ms = None if wait is None else round(wait * 1000)
    with open_client(endpoints, timeout_s) as client:
        if not command:
            _print(client.lock_state(name), as_json)
            return
        held = client.lock(
            name,
            round(ttl * 1000),
            wait_ms=0 if no_wait else wait_ms,
            delay_ms=0 if lock_delay is None else round(lock_delay * 1000),
        )
        _exit(_run(held, command))


@click.command()
@_name
@_command
@_ttl
@click.option("--value", type=Bytes(), default="", help="Shown to those who observe; an address.")
@click.option("--observe", is_flag=True, help="Print who leads, now and at every change.")
@client_options
def elect(
    name: bytes,
    command: Sequence[str],
    ttl: float,
    value: bytes,
    observe: bool,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Wait to be elected, and run COMMAND while this is the leader.

    It is a lock with a value; COMMAND gets the same as with `raftcache lock`.
    """
    if observe == bool(command):
        raise click.UsageError("give either a command or --observe")
    if observe:
        run_until_interrupted(_observe(name, endpoints, timeout_s, as_json))
        return
    with open_client(endpoints, timeout_s) as client:
        _exit(_run(client.elect(name, value, round(ttl * 1000)), command))


async def _observe(name: bytes, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    async with open_async_client(endpoints, timeout_s) as client:
        async for state in client.observe(name):
            _print(state, as_json)


@click.command()
@client_options
def locks(endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Print all locks that are not free: name as in a URL, holder's token, how many wait."""
    with open_client(endpoints, timeout_s) as client:
        for name, state in client.locks():
            if as_json:
                echo_json({"name": escaped(name), **_fields(state)})
            else:
                click.echo(f"{escaped(name)}  {_line(state)}")


def _run(held: BlockingHeld[HeldLock], command: Sequence[str]) -> int:
    """The exit code of the command; raises LockLost once it has ended, if the lock was lost."""
    with held:
        told = {"RAFTCACHE_LOCK_TOKEN": str(held.held.token)}
        try:
            process = subprocess.Popen(command, env={**os.environ, **told})
        except OSError as error:
            raise click.UsageError(f"{command[0]}: {error.strerror}") from None

        def end() -> None:
            process.terminate()
            try:
                process.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                process.kill()

        def pass_on(number: int, frame: FrameType | None) -> None:
            process.send_signal(number)

        held.on_lost = end
        if held.is_over:
            end()
        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on),
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *said: None),  # a terminal's: it has
        }
        try:
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        held.check()
    return code if code >= 0 else 128 - code


def _exit(code: int) -> None:
    if code:
        raise click.exceptions.Exit(code)


def _print(state: LockState, as_json: bool) -> None:
    if as_json:
        echo_json(_fields(state))
    else:
        click.echo(_line(state) if state.token else "nobody")


def _fields(state: LockState) -> dict[str, Any]:
    return {
        "token": state.token,
        "ttl_ms": state.ttl_ms,
        "waiting": state.waiting,
        "value_base64": base64.b64encode(state.value).decode() if state.token else None,
    }


def _line(state: LockState) -> str:
    holder = f"token {state.token}" if state.token else "nobody"
    value = state.value.decode(errors="backslashreplace")
    return f"{holder}, {state.waiting} waiting: {value}".rstrip(": ")
