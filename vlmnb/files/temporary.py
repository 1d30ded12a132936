"""Temporary folders that do not outlive their process for long, however it ended.

A process that is killed removes nothing. Each folder holds a file that its process has locked; a folder whose
lock is free belongs to nobody any more, and the next sweep removes it. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path

from vlmnb.files import locks

RUN, NODE, SOCKETS = "vlmnb-run-", "vlmnb-node-", "vk"
"""How the names of the folders begin: of a run, of a node of a cluster, of a kernel's sockets."""

_OWNER = ".owner"
_UNDER_WAY = ".vlmnb-"
_mine: set[Path] = set()


class Scratch:
    """A temporary folder, gone with its block or its process.

    Attributes:
        path: The folder.
        remove: Removes it; may be called again.
    """

    def __init__(self, kind: str, parent: Path | None = None) -> None:
        """Make a folder.

        Args:
            kind: How its name begins.
            parent: Where; left out: in the folder of temporary files.

        Raises:
            OSError: It cannot be made.
        """
        made = Path(tempfile.mkdtemp(prefix=_UNDER_WAY, dir=parent))
        owner = locks.Locks(made / _OWNER)
        with contextlib.suppress(OSError):  # a file system without locks: then nobody can tell who is gone
            owner.take(_OWNER)
        # Only what is locked gets a name under which others look.
        self.path = made.rename(made.with_name(kind + made.name.removeprefix(_UNDER_WAY)))
        _mine.add(self.path)
        self.remove = weakref.finalize(self, _remove, self.path, owner)

    def __enter__(self) -> Path:
        """The folder."""
        return self.path

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.remove()


def short() -> Path | None:
    """A folder for temporary files with a short path, as sockets need it; None where there is none."""
    return Path("/tmp") if os.path.isdir("/tmp") else None


def remove_left() -> int:
    """Remove the folders of this user whose processes have ended without removing them; how many."""
    removed = 0
    parents = {Path(tempfile.gettempdir()), short() or Path(tempfile.gettempdir())}
    for owner in [o for at in parents for kind in (RUN, NODE, SOCKETS) for o in at.glob(f"{kind}*/{_OWNER}")]:
        # Opening and closing a file of one's own would let its lock go.
        if owner.parent not in _mine:
            with contextlib.suppress(OSError), contextlib.closing(locks.Locks(owner)) as left:
                if left.take(_OWNER):
                    shutil.rmtree(owner.parent, ignore_errors=True)
                    removed += 1
    return removed


def _remove(path: Path, owner: locks.Locks) -> None:
    shutil.rmtree(path, ignore_errors=True)
    owner.close()
    _mine.discard(path)
