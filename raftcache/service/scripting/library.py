"""The scripts that this node knows, by the SHA-1 of their source."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from raftcache.command.values import Failure
from raftcache.service.scripting.answers import as_text

SCRIPT_SIZE_BYTES_MAX: Final = 256 << 10
"""Read in 10 ms. The same of what a script loads."""

SCRIPTS_MAX: Final = 1000
SCRIPTS_SIZE_BYTES_MAX: Final = 16 << 20
"""Those used last are kept; whoever names another is told that it is not known."""

FLAGS: Final = frozenset(
    (b"no-writes", b"allow-oom", b"allow-stale", b"no-cluster", b"allow-cross-slot-keys")
)
"""That the first line of a script may have; no-writes alone means something here."""

TOO_LARGE: Final = Failure(f"ERR a script has at most {SCRIPT_SIZE_BYTES_MAX} bytes")


class Script(Struct, eq=False):
    """One of them. body: what is read, without a first line that says how it is run.

    may_write: what that line says; None if there is none. needs_round: whether its answer needed
        a fresh state when somebody looked, since nothing in the log would guard it; a hint.
    """

    sha: str
    body: bytes
    may_write: bool | None = None
    needs_round: bool = False


class Library:
    """Bounded; the script that was used longest ago goes first."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._size_bytes = 0

    def find(self, sha: bytes) -> Script | None:
        """A script by its name, in whatever letters; it counts as used."""
        name = sha.decode("latin-1").lower()
        script = self._scripts.pop(name, None)
        if script is not None:
            self._scripts[name] = script
        return script

    def knows(self, sha: bytes) -> bool:
        """Whether it is here; which is no use of it."""
        return sha.decode("latin-1").lower() in self._scripts

    def add(self, script: Script) -> None:
        """Keep it; it counts as used."""
        old = self._scripts.pop(script.sha, None)
        self._size_bytes += len(script.body) - (0 if old is None else len(old.body))
        self._scripts[script.sha] = script
        while len(self._scripts) > SCRIPTS_MAX or self._size_bytes > SCRIPTS_SIZE_BYTES_MAX:
            gone = self._scripts.pop(next(iter(self._scripts)))
            self._size_bytes -= len(gone.body)

    def flush(self) -> None:
        """Forget all."""
        self._scripts.clear()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._scripts)


def script_of(source: bytes, sha: str) -> Script | Failure:
    """A script, whose first line may be `#!lua flags=...`; or what is wrong with it."""
    if len(source) > SCRIPT_SIZE_BYTES_MAX:
        return TOO_LARGE
    if not source.startswith(b"#!"):
        return Script(sha, source)
    line, newline, rest = source.partition(b"\n")
    if not newline:
        return Failure("ERR Invalid script shebang")
    engine, *options = line.split()
    if engine != b"#!lua":
        return Failure(f"ERR Unexpected engine in script shebang: {as_text(engine)}")
    flags = set[bytes]()
    for option in options:
        name, _, value = option.partition(b"=")
        if name != b"flags":
            return Failure(f"ERR Unknown lua shebang option: {as_text(option)}")
        flags.update(flag for flag in value.split(b",") if flag)
    for flag in flags - FLAGS:
        return Failure(f"ERR Unexpected flag in script shebang: {as_text(flag)}")
    return Script(sha, b"\n" + rest, b"no-writes" not in flags)
