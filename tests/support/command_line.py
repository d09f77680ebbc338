"""The `raftcache` command, as a shell script would run it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tests.support.cluster import PATIENCE_S


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def raftcache(*args: object, stdin: bytes = b"") -> Ran:
    """Run it to its end."""
    command = [sys.executable, "-m", "raftcache", *map(str, args)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=2 * PATIENCE_S)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def succeeds(*args: object, stdin: bytes = b"") -> Ran:
    """Run it, and see that it did what it was asked."""
    ran = raftcache(*args, stdin=stdin)
    assert ran.code == 0, ran
    return ran
