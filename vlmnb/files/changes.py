"""Notice that a file changed or was replaced."""

from __future__ import annotations

import os
from pathlib import Path

Signature = tuple[int, int, int]
"""Time of the last change (ctime, in ns), size in bytes and inode number."""


def signature(file: Path | str) -> Signature | None:
    """Return the signature of a file; of a link that leads nowhere the link's own; None if there is no file.

    The time of modification is no part of it: it can be set, and would then hide an edit.
    """
    try:
        return of(os.stat(file))
    except OSError:
        try:
            return of(os.lstat(file))
        except OSError:
            return None


def of(found: os.stat_result) -> Signature:
    """Return the signature of a file from what the system says of it."""
    return found.st_ctime_ns, found.st_size, found.st_ino
