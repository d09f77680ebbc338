"""How `demo` prints: ticks for steps, a live table on a terminal, JSON lines when asked."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

import click

from raftcache.cli import table
from raftcache.cli.local import LocalCluster
from raftcache.cli.options import echo_json
from raftcache.client import NodeStatus


class Show:
    """Prints to stdout. On a terminal the status is redrawn in place, below the introduction."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._redraws = not as_json and sys.stdout.isatty()
        self._introduction = ""
        self._notes: deque[str] = deque(maxlen=5)
        self._shape: object = None  # of the status printed last, where it cannot be redrawn

    def step(self, text: str, **numbers: Any) -> None:  # noqa: ANN401 - as many as there are steps
        """A step that held."""
        self._line("✓", text, {"ok": True, "step": text, **numbers})

    def failure(self, text: str, log_tails: str) -> None:
        """The step that did not hold, and what the nodes wrote last."""
        self._line("✗", text, {"ok": False, "step": text})
        click.echo(log_tails, err=True)

    def note(self, text: str) -> None:
        """Something that happened meanwhile."""
        self._notes.append(text)
        if not self._redraws:
            self._line("-", text, {"note": text})

    def introduce(self, cluster: LocalCluster) -> None:
        """Where the nodes are, and three lines that can be pasted into a shell."""
        nodes = list(cluster.nodes.values())
        urls = [nodes[i % len(nodes)].url for i in range(3)]
        lines = [f"{n.name}  {n.url}  {n.redis_url}  data and log in {n.folder}" for n in nodes]
        lines += [
            "",
            f"curl -X PUT {urls[0]}/v1/kv/greeting -d hello",
            f"curl {urls[1]}/v1/kv/greeting",
            f"curl {urls[2]}/v1/cluster",
            "",
            "Ctrl-C stops all of it.",
        ]
        self._introduction = "\n".join(lines)
        if self._as_json:
            echo_json({"endpoints": cluster.urls, "redis": [n.redis_url for n in nodes]})
        elif not self._redraws:
            click.echo(self._introduction)

    def status(self, statuses: table.Statuses) -> None:
        """The cluster as it is: drawn in place, or printed when something changed."""
        if self._redraws:
            click.clear()
            parts = (self._introduction, table.render(statuses), "\n".join(self._notes))
            click.echo("\n\n".join(parts))
        elif (shape := _shape(statuses)) != self._shape:
            self._shape = shape
            if self._as_json:
                echo_json(table.as_fields(statuses))
            else:
                click.echo("\n" + table.render(statuses))

    def _line(self, mark: str, text: str, fields: dict[str, Any]) -> None:
        if self._as_json:
            echo_json(fields)
            return
        try:
            mark.encode(sys.stdout.encoding or "ascii")
        except UnicodeEncodeError:
            mark = {"✓": "ok", "✗": "FAILED"}[mark]
        click.echo(f"{mark} {text}")


def _shape(statuses: table.Statuses) -> object:
    """What makes a status worth another print: who is there, in which role and term."""
    return [
        (s.node, s.role, s.term) if isinstance(s, NodeStatus) else None for s in statuses.values()
    ]
