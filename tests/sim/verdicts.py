"""What an error of a node means: the disk failed it, or something is wrong."""

from __future__ import annotations

import errno
import itertools

from raftcache.errors import BadConfig, Fatal

DISK_ERRORS = (errno.EIO, errno.ENOSPC)


def is_of_the_disk(error: BaseException | None) -> bool:
    """A disk that fails, as the nemesis lets it, ends the process."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error is not None and error.errno in DISK_ERRORS


def is_of_its_age(error: BaseException | None) -> bool:
    """A node found that the cluster uses more than it knows; it says that it must be upgraded."""
    while error is not None and not isinstance(error, BadConfig):
        error = error.__cause__
    return error is not None and "run the newer raftcache" in str(error)


def kind_of(error: Exception) -> str:
    """A short name for what went wrong, so that failures can be counted by kind."""
    causes = itertools.takewhile(lambda e: e is not None, (error, error.__cause__))
    last = list(causes)[-1]
    return "node stopped itself" if isinstance(last, Fatal) else f"{type(last).__name__}"
