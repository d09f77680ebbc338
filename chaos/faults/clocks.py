"""Wall clocks that jump, by libfaketime (Debian: apt-get install faketime)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from chaos.cluster import OwnCluster
from chaos.faults.base import Fault, Field

LIBRARY: Final = "libfaketimeMT.so.1"
FOLDERS: Final = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt")
JUMPS_S: Final = (-86_400, -3600, -5, 5, 3600, 86_400)


def library() -> Path | None:
    for folder in FOLDERS:
        for found in sorted(Path(folder).glob(f"**/faketime/{LIBRARY}")):
            return found
    return None


def missing() -> str | None:
    return None if library() else f"libfaketime is not installed ({LIBRARY})"


def _offset_file(cluster: OwnCluster, name: str) -> Path:
    return cluster.folder(name) / "faketime"


def _set_offset(cluster: OwnCluster, name: str, offset_s: int) -> None:
    """Replaced as a whole: a node may be reading it."""
    path = _offset_file(cluster, name)
    path.with_suffix(".new").write_text(f"{offset_s:+d}s\n")
    path.with_suffix(".new").replace(path)


@contextmanager
def prepare(cluster: OwnCluster) -> Iterator[None]:
    """Every node reads its wall clock through the library; the monotonic clock stays true."""
    found = library()
    assert found is not None
    for name in cluster.places:
        cluster.folder(name).mkdir(parents=True, exist_ok=True)
        _set_offset(cluster, name, 0)
        preload = os.environ.get("LD_PRELOAD")
        cluster.environ[name] |= {
            "LD_PRELOAD": f"{found}:{preload}" if preload else str(found),
            "FAKETIME_TIMESTAMP_FILE": str(_offset_file(cluster, name)),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # otherwise every timed wait takes ages
        }
    yield


@asynccontextmanager
async def jump(field: Field) -> AsyncIterator[str]:
    names = field.dice.sample(field.names, field.dice.randint(1, len(field.names)))
    offset_s = field.dice.choice(JUMPS_S)
    for name in names:
        _set_offset(field.cluster, name, offset_s)
    try:
        yield f"clocks jump by {offset_s} s: {' '.join(sorted(names))}"
    finally:
        for name in names:
            _set_offset(field.cluster, name, 0)


FAULTS: Final = (
    Fault(
        "clock",
        "wall clocks jump by seconds, an hour or a day, either way",
        jump,
        missing=missing,
        prepare=prepare,
    ),
)
