"""The data directory: whose it is, what is where, and that only one process uses it.

    lock            held (flock) by the process that runs on it
    meta            cluster id, node name, format version, incarnation; with a checksum
    wal/            the log (wal.py)
    snapshots/      images of the state machine (snapshots.py)
    fenced          why this data must not be used any more, if that was found out

A node that lost part of what it acknowledged must not vote under its old identity. So whatever is
damaged or does not fit is refused, and the way out is to join the cluster anew.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from xxhash import xxh3_64_hexdigest

from raftcache.command import versions
from raftcache.errors import BadConfig, Corrupt, Fatal
from raftcache.ports import Disk, File

WAL_FOLDER: Final = "wal"
SNAPSHOTS_FOLDER: Final = "snapshots"

REJOIN: Final = (
    "this node cannot go on with its data: remove the contents of the data directory,"
    " and let the node join the cluster again as a new member"
)
"""What an operator can do about a Corrupt file."""

REBUILD: Final = (
    "give this node its data anew from the others:"
    " raftcache rebuild --data-dir DIR --from URL-OF-ANOTHER-NODE"
)
"""What an operator can do about a replica that differs from the others."""

_FILES: Final = {
    WAL_FOLDER: re.compile(r"[0-9]{16}\.seg|new\.tmp"),
    SNAPSHOTS_FOLDER: re.compile(r"[0-9]{16}-[0-9]{16}\.snap|(own|received)\.tmp"),
}
"""What a node has in its folders."""

NEW_SEGMENT: Final = f"{WAL_FOLDER}/new.tmp"
OWN_SNAPSHOT: Final = f"{SNAPSHOTS_FOLDER}/own.tmp"
RECEIVED_SNAPSHOT: Final = f"{SNAPSHOTS_FOLDER}/received.tmp"
"""What a process is making of these, until it is whole."""

_META: Final = "meta"
_FENCED: Final = "fenced"
_SMALL_FILE_SIZE_BYTES_MAX: Final = 1 << 16


class Identity(msgspec.Struct, frozen=True):
    """Whose data this is.

    member_id: of this data, made with the directory; a member whose data was lost gets another.
    incarnation: how often a node was started on it, this time included; request ids carry it, so
    that a late answer to an earlier process is not taken for one to this.
    joined: whether it joined a running cluster: then it must never begin one.
    origin: which older data the cluster began with, "" if with none; the cluster's id tells it too.
    """

    cluster_id: str
    node: str
    incarnation: int
    member_id: str
    format_version: int = versions.DATA_DIR
    origin: str = ""
    joined: bool = False


class _Version(msgspec.Struct):
    format_version: int


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The file: the identity as it was encoded, and the xxh3 of these bytes, in hex."""

    identity: msgspec.Raw
    check: str


def cluster_id_of(members: Mapping[str, object], origin: str = "") -> str:
    """The id of a cluster bootstrapped with these members (name -> address), 16 hex digits.

    All of them derive the same one from the same list, in any order, without talking.
    origin: of the data they begin with, so that nobody with other data, or none, is one of them.
    """
    lines = sorted(f"{name}={address}\n" for name, address in members.items())
    lines += [f"origin {origin}\n"] if origin else []
    return xxh3_64_hexdigest("".join(lines).encode())


def read_identity(disk: Disk) -> Identity | None:
    """Whose directory this is, or None if it is fresh; changes nothing.

    Raises Corrupt if it is damaged or incomplete, BadConfig if a newer raftcache wrote it, or
    another program did.
    """
    if not disk.exists(_META):
        for folder, ours in _FILES.items():
            names = disk.names(folder)
            for name in names:  # others have folders of these names, and are told to remove nothing
                if not ours.fullmatch(name):
                    raise BadConfig(
                        f"the data directory holds {folder}/{name}, which is no file of raftcache:"
                        " is it another program's?"
                    )
            if names:
                raise Corrupt(_META, 0, f"missing, though {folder}/ has files; {REJOIN}")
        return None
    return _read(disk)


def open_data_dir(
    disk: Disk, node: str, cluster_id: str | None, new_member_id: str, *, joins: bool = False
) -> Identity:
    """Claim the directory for one more run of this node; the new incarnation is durable on return.

    cluster_id: None takes what is stored, for a node that joined earlier. A fresh directory needs
    one, and is given new_member_id and whether it joins. Raises BadConfig if the directory is
    another node's or another cluster's, or written by a newer raftcache; Corrupt if it is damaged;
    OSError if the disk fails.
    A refusal changes nothing.
    """
    stored = read_identity(disk)
    if stored is None:
        if cluster_id is None:
            raise BadConfig("the data directory is empty, and no cluster id is known")
        stored = Identity(cluster_id, node, 0, new_member_id, joined=joins)
    if stored.node != node:
        raise BadConfig(
            f"the data directory belongs to node {stored.node!r}, this is node {node!r}"
        )
    if cluster_id not in (None, stored.cluster_id):
        raise BadConfig(
            f"the data directory belongs to cluster {stored.cluster_id},"
            f" this node is to be in cluster {cluster_id}: say the --cluster that it began with,"
            " or --join"
        )
    for path in (NEW_SEGMENT, OWN_SNAPSHOT, RECEIVED_SNAPSHOT):  # may have taken the last room
        if disk.exists(path):
            disk.remove(path)
    identity = msgspec.structs.replace(
        stored, incarnation=stored.incarnation + 1, format_version=versions.DATA_DIR
    )
    write_identity(disk, identity)
    return identity


def fence(disk: Disk, why: str) -> None:
    """Let no process start on this data again; durable on return."""
    _write_file(disk, _FENCED, why.encode())


def refuse_fenced(disk: Disk) -> None:
    """Raise Fatal, with the reason and the way out, if this data was fenced."""
    if disk.exists(_FENCED):
        why = _read_file(disk, _FENCED).decode(errors="replace")
        raise Fatal(f"this node's data is fenced: {why}; {REBUILD}")


def wipe(disk: Disk) -> None:
    """Remove a node's identity, log, snapshots and fence; a crash half way leaves no usable part.

    The identity goes first: without it the rest is refused, while it without the rest could vote.
    """
    _remove(disk, "", (_META, f"{_META}.tmp"))
    for folder in (WAL_FOLDER, SNAPSHOTS_FOLDER):
        _remove(disk, folder, disk.names(folder))
    _remove(disk, "", (_FENCED, f"{_FENCED}.tmp"))


def _remove(disk: Disk, folder: str, names: Iterable[str]) -> None:
    for name in names:
        path = f"{folder}/{name}" if folder else name
        if disk.exists(path):
            disk.remove(path)
    if not folder or disk.exists(folder):
        disk.sync_folder(folder)


def _read(disk: Disk) -> Identity:
    data = _read_file(disk, _META)
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Corrupt(_META, 0, f"damaged: {e}; {REJOIN}") from e
    if envelope.check != xxh3_64_hexdigest(envelope.identity):
        raise Corrupt(_META, 0, f"damaged: its checksum does not match; {REJOIN}")
    try:
        version = msgspec.json.decode(envelope.identity, type=_Version).format_version
        versions.refuse_newer("the data directory", version, versions.DATA_DIR)
        return msgspec.json.decode(envelope.identity, type=Identity)
    except msgspec.MsgspecError as e:
        raise Corrupt(_META, 0, f"not what raftcache writes: {e}; {REJOIN}") from e


def write_identity(disk: Disk, identity: Identity) -> None:
    """Say whose directory this is; durable on return, whole or not at all."""
    encoded = msgspec.json.encode(identity)
    envelope = _Envelope(msgspec.Raw(encoded), xxh3_64_hexdigest(encoded))
    _write_file(disk, _META, msgspec.json.encode(envelope))


def _read_file(disk: Disk, name: str) -> bytes:
    file: File = disk.open(name)
    try:
        return file.read_at(0, _SMALL_FILE_SIZE_BYTES_MAX)
    finally:
        file.close()


def _write_file(disk: Disk, name: str, data: bytes) -> None:
    temporary = f"{name}.tmp"
    disk.make_folder("")
    file: File = disk.create(temporary)
    try:
        file.write_at(0, data)
        file.sync()
    finally:
        file.close()
    disk.replace(temporary, name)
    disk.sync_folder("")


class DirectoryLock:
    """Keeps a second process away from a data directory, until release() or the process's end."""

    def __init__(self, path: Path) -> None:
        """Make the directory if need be and lock it. Raises BadConfig if another process has it."""
        path.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise BadConfig(f"{path} is in use by another process (pid {holder})") from e
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others in. The file stays: removing it could let two in at once."""
        os.close(self._fd)
