"""Named locks in one file, held by a process and let go by the system when it ends, however it ends.

POSIX byte-range locks (``fcntl(2)``, F_SETLK): one byte of the file per name. Unlike ``flock`` they are not
inherited by a child that outlives its parent, they work across NFS, and thousands of names need one file.
They do not separate threads of one process.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import time
from pathlib import Path

if sys.platform != "win32":
    import fcntl

POLL_S = 0.2
_FLOCK = "hhqqi" if sys.platform == "linux" else "qqihh"
"""``struct flock``: type, whence, start, length, pid on Linux; macOS puts start, length and pid first."""


class Locks:
    """The locks of one file. Keep the object: closing the file lets every lock of the process go."""

    def __init__(self, path: Path) -> None:
        """Open the file, making it where it is missing.

        Raises:
            OSError: The file cannot be made.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)

    def take(self, name: str) -> bool:
        """Take a lock if it is free; False where another process holds it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(name))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def wait(self, name: str) -> None:
        """Take a lock, waiting as long as another process holds it."""
        while not self.take(name):
            time.sleep(POLL_S)

    def release(self, name: str) -> None:
        """Let a lock go."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _offset(name))

    def holder(self, name: str) -> int | None:
        """Process that holds a lock; None where it is free or this process's own."""
        if sys.platform == "linux":
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _offset(name), 1, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
        else:
            asked = struct.pack(_FLOCK, _offset(name), 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
            _, _, pid, kind, _ = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else int(pid)


def _offset(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
