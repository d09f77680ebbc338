"""`member` and `leader`: who is in the cluster and who leads it; each call waits for its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from raftcache.cli import table
from raftcache.cli.options import echo_json, open_client, operator_options
from raftcache.cli.places import Parsed
from raftcache.client import Member, Members, NodeStatus, SyncClient
from raftcache.config.text import parse_name
from raftcache.errors import Conflict, NotFound, RaftcacheError, Refused, Unknown

POLL_S: Final = 0.5
"""Between two attempts at what the cluster does not allow yet."""

F = TypeVar("F", bound=Callable[..., Any])
Ask = Callable[[SyncClient], Members]

_NAME: Final = Parsed("name", parse_name)
name_argument = click.argument("name", type=_NAME)
if_version_option = click.option(
    "--if-version",
    type=click.IntRange(min=0),
    help="Only if the configuration still has this version; `member list` shows it.",
)
force_option = click.option(
    "--force", is_flag=True, help="Even if no majority of the voters would be alive."
)
http_option = click.option("--http", default="", help="host:port where clients reach it.")
resp_option = click.option("--resp", default="", help="host:port where Redis clients reach it.")


@click.group()
def member() -> None:
    """Who belongs to the cluster: show it, or change it by one member at a time."""


@member.command("list")
@operator_options
def list_(endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Show all members, and the version of the configuration."""
    with open_client(endpoints, timeout_s) as client:
        seen = client.members()
    _print(seen, as_json, _table(seen))


@member.command()
@name_argument
@click.option("--raft", required=True, help="host:port where the other members reach it.")
@http_option
@resp_option
@if_version_option
@operator_options
def add(
    name: str,
    raft: str,
    http: str,
    resp: str,
    if_version: int | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Add a learner, which then may start with `serve --name NAME --join URL`.

    Not needed before `serve --join`, which adds the node by itself.
    """
    seen = _reach(
        lambda client: client.add_member(name, raft, http, resp=resp, if_version=if_version),
        lambda m: m is not None and m.raft == raft,
        (name, endpoints, timeout_s),
    )
    _print(seen, as_json, f"{name} added as a learner, version {seen.version}")


@member.command()
@name_argument
@click.option("--no-wait", is_flag=True, help="Give up at once if it lacks too much.")
@force_option
@if_version_option
@operator_options
def promote(
    name: str,
    no_wait: bool,
    force: bool,
    if_version: int | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Let a learner vote, once it has almost everything that the leader has."""
    seen = _reach(
        lambda client: client.promote_member(name, if_version=if_version, force=force),
        lambda m: m is not None and m.voter,
        (name, endpoints, timeout_s),
        waits=not no_wait,
    )
    _print(seen, as_json, f"{name} is a voter, version {seen.version}")


@member.command()
@name_argument
@force_option
@if_version_option
@operator_options
def remove(
    name: str,
    force: bool,
    if_version: int | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Remove a member for good, dead or alive; a leader hands over first."""
    seen = _reach(
        lambda client: client.remove_member(name, if_version=if_version, force=force),
        lambda m: m is None,
        (name, endpoints, timeout_s),
    )
    _print(seen, as_json, f"{name} removed, version {seen.version}")


@member.command()
@name_argument
@click.option("--raft", default="", help="host:port where the other members reach it.")
@http_option
@resp_option
@if_version_option
@operator_options
def update(
    name: str,
    raft: str,
    http: str,
    resp: str,
    if_version: int | None,
    endpoints: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Change a member's addresses; it stays who it is."""
    if not (raft or http or resp):
        raise click.UsageError("say --raft, --http, --resp or more of them")
    asked = {"raft": raft, "http": http, "resp": resp}
    seen = _reach(
        lambda client: client.update_member(name, raft, http, resp=resp, if_version=if_version),
        lambda m: m is not None and all(v in ("", getattr(m, k)) for k, v in asked.items()),
        (name, endpoints, timeout_s),
    )
    _print(seen, as_json, f"{name} updated, version {seen.version}")


@click.group()
def leader() -> None:
    """Who leads: show it, or let another voter do so."""


@leader.command()
@operator_options
def show(endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Print the leader's name; exits with 3 if there is none."""
    with open_client(endpoints, timeout_s) as client:
        said = [s for s in client.statuses().values() if isinstance(s, NodeStatus)]
    knows = max((s for s in said if s.leader), key=lambda s: s.term, default=None)
    if knows is None:
        raise Refused("no node knows a leader" if said else "no node answered")
    name = str(knows.leader)
    _echo({"leader": name, "term": knows.term}, as_json, name)


@leader.command()
@click.argument("name", type=_NAME, required=False)
@operator_options
def transfer(name: str | None, endpoints: str | None, timeout_s: float, as_json: bool) -> None:
    """Let NAME lead, or whichever voter has most; no request in flight is refused."""
    with open_client(endpoints, timeout_s) as client:
        now = client.transfer_leadership(name or "")
    _echo({"leader": now}, as_json, f"{now} leads")


def _reach(
    ask: Ask,
    reached: Callable[[Member | None], bool],
    to: tuple[str, str | None, float],
    *,
    waits: bool = False,
) -> Members:
    """Ask until it is done or refused; a refusal that may pass is waited out if `waits`.

    to: the member's name, the endpoints, and the seconds all of it may take. After an attempt
    whose outcome is unknown, the member itself tells whether it happened.
    """
    name, endpoints, timeout_s = to
    deadline_s, maybe, said = time.monotonic() + timeout_s, False, ""
    while True:
        with open_client(endpoints, max(POLL_S, deadline_s - time.monotonic())) as client:
            try:
                return ask(client)
            except (Unknown, Conflict, NotFound) as error:
                maybe = maybe or isinstance(error, Unknown)
                seen = _committed(client) if maybe or waits else None
                if seen is not None and reached(seen.get(name)):
                    return seen
                again = isinstance(error, Unknown) or (waits and isinstance(error, Conflict))
                if not again or time.monotonic() + POLL_S > deadline_s:
                    raise
                if error.detail != said:
                    said = error.detail
                    click.echo(f"waiting: {said}", err=True)
        time.sleep(POLL_S)


def _committed(client: SyncClient) -> Members | None:
    """The members, if that is how they will stay."""
    try:
        seen = client.members()
    except RaftcacheError:
        return None
    return seen if seen.committed else None


def _table(seen: Members) -> str:
    serves_redis = any(m.resp for m in seen.members)
    heading = ("RESP",) if serves_redis else ()
    rows: list[tuple[str, ...]] = [("NAME", "KIND", "RAFT", "HTTP", *heading, "ID")]
    for m in seen.members:
        kind, resp = "voter" if m.voter else "learner", (m.resp or "-",) if serves_redis else ()
        rows.append((m.name, kind, m.raft, m.http or "?", *resp, m.id or "(not heard yet)"))
    state = "" if seen.committed else ", not committed yet"
    return f"cluster {seen.cluster_id}, version {seen.version}{state}\n{table.aligned(rows)}"


def _print(seen: Members, as_json: bool, text: str) -> None:
    members = [
        {
            "name": m.name,
            "id": m.id,
            "raft": m.raft,
            "http": m.http,
            "resp": m.resp,
            "voter": m.voter,
        }
        for m in seen.members
    ]
    head = {"cluster_id": seen.cluster_id, "version": seen.version, "committed": seen.committed}
    _echo({**head, "members": members}, as_json, text)


def _echo(fields: dict[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        echo_json(fields)
    else:
        click.echo(text)
