"""Notice that a file was replaced."""

from __future__ import annotations

from pathlib import Path


def signature(path: Path) -> tuple[int, int] | None:
    """Return a value that changes whenever a file is replaced; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
