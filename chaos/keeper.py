"""Removes network namespaces when whoever made them ends, however that comes.

    python -m chaos.keeper LINK NAME...

Waits for the end of its standard input, which the maker holds; then ends what still runs in the
namespaces of these names, and removes them and the link of this name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress


def main() -> None:
    link, *names = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the maker; its end is what counts
    sys.stdin.buffer.read()
    remove(link, names)


def remove(link: str, names: Sequence[str]) -> None:
    """Of these, what is there."""
    for name in names:
        for pid in _ip("netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "delete", name)
    _ip("link", "delete", link)


def _ip(*words: str) -> str:
    """What it prints; nothing if it fails."""
    return subprocess.run(["ip", *words], capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
