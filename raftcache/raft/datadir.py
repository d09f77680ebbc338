"""The data directory: whose it is, what is where, and that only one process uses it.

    lock            held (flock) by the process that runs on it
    meta            cluster id, node name, format version, incarnation; with a checksum
    wal/            the log (wal.py)
    snapshots/      images of the state machine (snapshots.py)

A node that lost part of what it acknowledged must not vote under its old identity. So whatever is
damaged or does not fit is refused, and the way out is to join the cluster anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from xxhash import xxh3_64_hexdigest

from raftcache.command import versions
from raftcache.errors import BadConfig, Corrupt
from raftcache.ports import Disk, File

WAL_FOLDER: Final = "wal"
SNAPSHOTS_FOLDER: Final = "snapshots"

REJOIN: Final = (
    "this node cannot go on with its data: remove the contents of the data directory,"
    " and let the node join the cluster again as a new member"
)
"""What an operator can do about a Corrupt file."""

_META: Final = "meta"
_META_TEMPORARY: Final = "meta.tmp"
_META_SIZE_BYTES_MAX: Final = 1 << 16


class Identity(msgspec.Struct, frozen=True):
    """Whose data this is.

    member_id: of this data, made with the directory; a member whose data was lost gets another.
    incarnation: how often a node was started on it, this time included; request ids carry it, so
    that a late answer to an earlier process is not taken for one to this.
    """

    cluster_id: str
    node: str
    incarnation: int
    member_id: str
    format_version: int = versions.DATA_DIR


class _Version(msgspec.Struct):
    format_version: int


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The file: the identity as it was encoded, and the xxh3 of these bytes, in hex."""

    identity: msgspec.Raw
    check: str


def cluster_id_of(members: Mapping[str, object]) -> str:
    """The id of a cluster bootstrapped with these members (name -> address), 16 hex digits.

    All of them derive the same one from the same list, in any order, without talking.
    """
    lines = sorted(f"{name}={address}\n" for name, address in members.items())
    return xxh3_64_hexdigest("".join(lines).encode())


def read_identity(disk: Disk) -> Identity | None:
    """Whose directory this is, or None if it is fresh; changes nothing.

    Raises Corrupt if it is damaged or incomplete, BadConfig if a newer raftcache wrote it.
    """
    if not disk.exists(_META):
        for folder in (WAL_FOLDER, SNAPSHOTS_FOLDER):
            if disk.names(folder):
                raise Corrupt(_META, 0, f"missing, though {folder}/ has files; {REJOIN}")
        return None
    return _read(disk)


def open_data_dir(disk: Disk, node: str, cluster_id: str | None, new_member_id: str) -> Identity:
    """Claim the directory for one more run of this node; the new incarnation is durable on return.

    cluster_id: None takes what is stored, for a node that joined earlier. A fresh directory needs
    one, and is given new_member_id. Raises BadConfig if the directory is another node's or another
    cluster's, or written by a newer raftcache; Corrupt if it is damaged; OSError if the disk fails.
    A refusal changes nothing.
    """
    stored = read_identity(disk)
    if stored is None:
        if cluster_id is None:
            raise BadConfig("the data directory is empty, and no cluster id is known")
        stored = Identity(cluster_id, node, 0, new_member_id)
    if stored.node != node:
        raise BadConfig(
            f"the data directory belongs to node {stored.node!r}, this is node {node!r}"
        )
    if cluster_id not in (None, stored.cluster_id):
        raise BadConfig(
            f"the data directory belongs to cluster {stored.cluster_id},"
            f" this node is to be in cluster {cluster_id}"
        )
    identity = msgspec.structs.replace(
        stored, incarnation=stored.incarnation + 1, format_version=versions.DATA_DIR
    )
    _write(disk, identity)
    return identity


def _read(disk: Disk) -> Identity:
    file = disk.open(_META)
    try:
        data = file.read_at(0, _META_SIZE_BYTES_MAX)
    finally:
        file.close()
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


def _write(disk: Disk, identity: Identity) -> None:
    encoded = msgspec.json.encode(identity)
    envelope = _Envelope(msgspec.Raw(encoded), xxh3_64_hexdigest(encoded))
    disk.make_folder("")
    file: File = disk.create(_META_TEMPORARY)
    try:
        file.write_at(0, msgspec.json.encode(envelope))
        file.sync()
    finally:
        file.close()
    disk.replace(_META_TEMPORARY, _META)
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
