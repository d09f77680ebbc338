"""Disks that are full, slow, or do not hold what was written."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from chaos.cluster import OwnCluster
from chaos.faults.base import Busy, Fault, Field
from chaos.faults.processes import TINY_SNAPSHOTS, put_large_values, revive
from chaos.waiting import until

DISK_SIZE: Final = "160m"
"""Holds a log with the options below several times over."""

SMALL_LOG: Final = ("--segment-size", "8MiB", "--snapshot-log-size", "16MiB")
FILLER: Final = "filler"
FSYNC_DELAYS_MS: Final = (10, 50, 200)


# --- full ---------------------------------------------------------------------------------------


def missing_mount() -> str | None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "only root can mount a small file system"
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    return "this machine lets nobody mount" if probe.returncode else None


@contextmanager
def small_disks(cluster: OwnCluster) -> Iterator[None]:
    """Every node's data on a small file system of its own, in memory."""
    with ExitStack() as stack:
        for name in cluster.places:
            folder = cluster.folder(name) / "data"
            folder.mkdir(parents=True)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "chaos", str(folder)]
            subprocess.run(mount, check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        yield


@asynccontextmanager
async def full(field: Field) -> AsyncIterator[str]:
    """The node must stop once its log needs room, for which large values see.

    With room again it must come back.
    """
    name = field.dice.choice(field.names)
    with field.claim([name]):
        field.cluster.may_end(name)
        filler = field.cluster.folder(name) / "data" / FILLER
        await asyncio.to_thread(_fill, filler)
        await put_large_values(field.cluster.urls[field.names[field.names.index(name) - 1]])
        try:
            yield f"a disk is full: {name}"
        finally:
            filler.unlink()
            await revive(field, [name])


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))


# --- slow ---------------------------------------------------------------------------------------


def missing_strace() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "10"]) as probe:
        tracer = ["timeout", "0.5", "strace", "-qq", "-p", str(probe.pid)]
        said = subprocess.run(tracer, capture_output=True, text=True).stderr
        probe.kill()
    return "strace may not attach to processes here" if "not permitted" in said else None


@asynccontextmanager
async def slow(field: Field) -> AsyncIterator[str]:
    """Every fdatasync takes longer; the tracing makes everything else a bit slower too."""
    name, delay_ms = field.dice.choice(field.names), field.dice.choice(FSYNC_DELAYS_MS)
    with field.claim([name]):
        command = ["strace", "-qq", "-f", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]
        command += ["-e", f"inject=fdatasync,fsync:delay_exit={delay_ms * 1000}"]
        tracer = await asyncio.create_subprocess_exec(
            *command,
            *("-p", str(field.cluster.pid(name))),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"every fdatasync takes {delay_ms} ms longer: {name}"
        finally:
            with suppress(ProcessLookupError):
                tracer.terminate()  # it lets go of the node
            await tracer.wait()


# --- flipped bits -------------------------------------------------------------------------------


@asynccontextmanager
async def flip(field: Field) -> AsyncIterator[str]:
    """A bit changes on the disk of a node that is down. It must refuse to start, or lose nothing.

    Always the same node: more than a minority must not be damaged. One that refuses gets its file
    back, as a copy from a backup of the very moment would do.
    """
    name = field.names[0]
    with field.claim([name]):
        field.cluster.kill(name)
        files = _data_files(field.cluster.folder(name) / "data")
        if not files:
            field.cluster.start(name)
            raise Busy
        path = field.dice.choice(files)
        before = path.read_bytes()
        bit = field.dice.randrange(_used_bytes(before) * 8)
        with path.open("r+b") as file:
            file.seek(bit // 8)
            file.write(bytes([before[bit // 8] ^ 1 << bit % 8]))
        field.cluster.start(name)
        field.cluster.may_end(name)
        refused = await _refuses(field, name)
        try:
            what = "refuses to start" if refused else "starts"
            yield f"a flipped bit, and the node {what}: {name}, {path.name}, bit {bit}"
        finally:
            if refused:
                path.write_bytes(before)
                await revive(field, [name])


def _data_files(data: Path) -> list[Path]:
    """Every segment and snapshot several times, for they hold more than `meta` does."""
    found = [*data.glob("wal/*"), *data.glob("snapshots/*")] * 3 + [data / "meta"]
    return sorted(path for path in found if path.is_file() and path.stat().st_size)


def _used_bytes(content: bytes) -> int:
    """Without the zeros at the end: segments are made larger than what is in them yet."""
    return len(content.rstrip(b"\0")) or len(content)


async def _refuses(field: Field, name: str) -> bool:
    """Waits until the node serves, or has ended."""

    async def decided() -> bool | None:
        return not field.cluster.is_running(name) or await _serves(field, name) or None

    await until(decided, f"{name} neither started nor refused to")
    return not field.cluster.is_running(name)


async def _serves(field: Field, name: str) -> bool:
    statuses = await field.client.statuses()
    return getattr(statuses[field.cluster.urls[name]], "node", None) == name


FAULTS: Final = (
    Fault(
        "disk-full",
        "no room on the disk of a node; it stops, and is started again with room",
        full,
        options=SMALL_LOG,
        missing=missing_mount,
        prepare=small_disks,
    ),
    Fault("disk-slow", "fdatasync takes 10 to 200 ms longer", slow, missing=missing_strace),
    Fault(
        "bit-flip",
        "a bit flips in the files of a node that is down",
        flip,
        holds=False,
        options=TINY_SNAPSHOTS,
    ),
)
