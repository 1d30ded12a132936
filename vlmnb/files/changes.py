"""Notice that a file changed or was replaced."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

Signature = tuple[int, int, int]
"""Time of the last change (ctime, in ns), size in bytes and inode number."""


def signature(file: Path | str) -> Signature | None:
    """Return the signature of a file; of a link that leads nowhere the link's own; None if there is no file.

    The time of modification is no part of it: it can be set, and would then hide an edit.
    """
    for follow in (True, False):
        with contextlib.suppress(OSError):
            found = os.stat(file, follow_symlinks=follow)
            return found.st_ctime_ns, found.st_size, found.st_ino
    return None
