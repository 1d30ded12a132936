"""Named locks in one file, which the system releases when their process ends, however it ends.

They are POSIX byte-range locks (``fcntl(2)``, F_SETLK): one byte of the file per name. Unlike ``flock``, and
so unlike filelock, they are not inherited by a child that outlives its parent, they work across NFS, they
name the process that holds them, and thousands of names need one file. They do not separate threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

from vlmnb.errors import UserError

if sys.platform != "win32":
    import fcntl

POLL_S = 0.2
_FLOCK = "hhqqi" if sys.platform == "linux" else "qqihh"
"""``struct flock``: type, whence, start, length, pid on Linux; macOS puts start, length and pid first."""

PLACES = 256
"""How many processes can wait in a line; the next one waits until there is a place."""

LOCKS = "VLMNB_LOCKS"
"""Folder of lock files: of the device's, and of those whose own folder is on a file system without locks."""


class Locks:
    """The locks of one file. It stays open: closing it would release every lock of the process."""

    def __init__(self, path: Path, *, everybody: bool = False) -> None:
        """Open the file, or one for it in ``VLMNB_LOCKS``, and make it if it is missing.

        Args:
            path: The file.
            everybody: Let every user of the machine lock with it, whoever made it, and whatever their umask.

        Raises:
            OSError: The file cannot be made or opened.
            UserError: Its file system gives no locks, such as NFS without lockd.
        """
        self._folder, self._file = path.parent, _opened(path, everybody)
        try:
            self.take("")
        except UserError:
            if not (named := os.environ.get(LOCKS)):
                raise
            self._folder = Path(named)
            self._file = _opened(Path(named) / f"{_offset(os.path.abspath(path))}.lock", everybody)
            self.take("")
        self.release("")

    def take(self, name: str) -> bool:
        """Take a lock if it is free; return False if another process holds it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(name))
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            raise UserError(
                f"the file system of {self._folder} gives no locks ({error.strerror}); keep this folder on a "
                f"local disk, or set {LOCKS} to a folder there"
            ) from None
        return True

    def wait(self, name: str) -> None:
        """Take a lock, waiting as long as another process holds it."""
        while not self.take(name):
            time.sleep(POLL_S)

    def release(self, name: str) -> None:
        """Release a lock."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _offset(name))

    def holder(self, name: str) -> int | None:
        """Return the process that holds a lock; None if it is free or this process's own."""
        if sys.platform == "linux":
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _offset(name), 1, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
        else:
            asked = struct.pack(_FLOCK, _offset(name), 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
            _, _, pid, kind, _ = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else int(pid)


class Line:
    """A lock that processes get in the order in which they asked; who asks again is last.

    Each place in the line is a lock of its own, and place 0 is the lock itself. A process takes the place
    behind the last, and moves up by taking the place ahead before it releases its own. So nobody overtakes,
    and the place of a process that ends, however it ends, is free.
    """

    def __init__(self, locks: Locks, name: str) -> None:
        self._locks, self._name = locks, name
        self._place: int | None = None

    def take(self) -> bool:
        """Get in line or move up; return whether this process has the lock. Call it until it has."""
        if self._place is None:
            self._place = self._last()
        while self._place and self._locks.take(self._lock(self._place - 1)):
            self._locks.release(self._lock(self._place))
            self._place -= 1
        return self._place == 0

    def leave(self) -> None:
        """Release the lock, or the place in the line."""
        if self._place is not None:
            self._locks.release(self._lock(self._place))
            self._place = None

    def holder(self) -> int | None:
        """Return the process that has the lock; None if it is free or this process's own."""
        return self._locks.holder(self._name)

    def awaited(self) -> bool:
        """Return whether another process waits in line."""
        return self._locks.holder(self._lock(1)) is not None

    def _last(self) -> int | None:
        """Take the place behind everybody; return None if there is none."""
        while True:
            # From the end: those in line move the other way, so that none is missed.
            held = (p for p in range(PLACES, -1, -1) if self._locks.holder(self._lock(p)) is not None)
            place = next(held, -1) + 1
            if place > PLACES:
                return None
            if self._locks.take(self._lock(place)):
                return place

    def _lock(self, place: int) -> str:
        return f"{self._name} {place}" if place else self._name


def _opened(path: Path, everybody: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0)
    if not everybody:
        return os.open(path, flags | os.O_CREAT, 0o666)
    if not os.path.lexists(path):  # it appears with its permissions or not at all
        handle, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            os.fchmod(handle, 0o666)
            with contextlib.suppress(FileExistsError):
                os.link(made, path)
        finally:
            os.close(handle)
            os.unlink(made)
    # Without O_CREAT: Linux refuses that for another user's file in a folder such as /tmp.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _offset(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
