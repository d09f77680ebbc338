"""What a run was measured on, and with: without it no number means anything to anyone else."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from scripts.measuring.systems import KINDS

SYNCS = 200
SYNC_BYTES = 4096


def described(folder: Path, systems: Iterable[str]) -> dict[str, str]:
    """Words for the report; the disk is that of the folder."""
    versions = [KINDS[name].version() for name in systems if KINDS[name].missing() is None]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()} ({_processor()}), {os.cpu_count()} cores,"
        f" {_memory_gib():.0f} GiB, fdatasync of {SYNC_BYTES // 1024} KiB"
        f" {sync_ms(folder):.2f} ms in the median",
        "system": f"{_distribution()}, Linux {platform.release()}",
        "versions": ", ".join(dict.fromkeys(versions)),
        "commit": _commit(),
    }


def sync_ms(folder: Path) -> float:
    """What it takes to append to a file and have it on the disk."""
    took_s = []
    path = folder / "sync"
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            begun_s = time.perf_counter()
            file.write(bytes(SYNC_BYTES))
            os.fdatasync(file.fileno())
            took_s.append(time.perf_counter() - begun_s)
    path.unlink()
    return statistics.median(took_s) * 1000


def _processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _distribution() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")


def _commit() -> str:
    """Of this tree; with a mark where it has changes that are in no commit."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
