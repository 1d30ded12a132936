"""Temporary folders that the next sweep removes if their process was killed.

Each folder holds a file that its process has locked. The system releases the lock when the process ends,
however it ends; a folder whose lock is free belongs to nobody.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path

import filelock

RUN, NODE, SOCKETS = "vlmnb-run-", "vlmnb-node-", "vk"
"""How the names of folders begin: for a run, for a node of a cluster, for a Jupyter kernel's sockets."""

_OWNER = ".owner"
_UNLOCKED = ".vlmnb-"
"""How the name of a folder begins until it is locked, so that nobody removes it."""


class Scratch:
    """A temporary folder, ``path``, that is removed at the end of its block or process, or by ``remove``."""

    def __init__(self, kind: str, parent: Path | None = None) -> None:
        """Make a folder whose name begins with its kind, in the folder of temporary files or another."""
        made = Path(tempfile.mkdtemp(prefix=_UNLOCKED, dir=parent))
        owner = filelock.FileLock(made / _OWNER, thread_local=False)
        with contextlib.suppress(OSError):  # without locks in the file system, nobody removes what is left
            owner.acquire(blocking=False)
        self.path = made.rename(made.with_name(kind + made.name.removeprefix(_UNLOCKED)))
        self.remove = weakref.finalize(self, _remove, self.path, owner)

    def __enter__(self) -> Path:
        """Return the folder."""
        return self.path

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.remove()


def short() -> Path | None:
    """Return a folder for temporary files with a short path, as sockets need it; None if there is none."""
    return Path("/tmp") if os.path.isdir("/tmp") else None


def remove_left() -> int:
    """Remove the folders whose processes ended without removing them, and return how many."""
    removed = 0
    parents = {Path(tempfile.gettempdir()), short() or Path(tempfile.gettempdir())}
    for owner in [o for at in parents for kind in (RUN, NODE, SOCKETS) for o in at.glob(f"{kind}*/{_OWNER}")]:
        with contextlib.suppress(OSError), filelock.FileLock(owner).acquire(blocking=False):
            shutil.rmtree(owner.parent, ignore_errors=True)
            removed += 1
    return removed


def _remove(path: Path, owner: filelock.BaseFileLock) -> None:
    shutil.rmtree(path, ignore_errors=True)
    owner.release()
