"""The file in which a sweep reports how far it is, for ``vlmnb status`` in other terminals."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import socket
from pathlib import Path

import psutil

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.errors import UserError
from vlmnb.files import locks
from vlmnb.stats.formatting import counted
from vlmnb.types import Frozen

FOLDER, LOCK = ".sweeps", ".sweeps.lock"
"""Folder of these files in the results folder, and the file of their locks."""


class Current(Frozen):
    """What one device is doing, and for how long; no cell while a notebook starts or makes its page."""

    run: str
    cell: str
    seconds: float


class SweepProgress(Frozen):
    """How far a sweep was when it last wrote its file.

    Attributes:
        others: Sweep files beside ``spec``.
        done: Cells with a record; ``measured`` by this sweep; ``failed`` as they are recorded.
        remaining_s: Estimate of the time to measure the remaining cells, None before the first is measured.
            Waiting for a device is not part of it: how long other processes take is unknown.
        current: What each device is doing.
        ended: ``finished`` or ``stopped``; empty while the sweep goes on, and also if it was killed.
        threads: Threads that torch computes with.
        stopped_by: The error that ended it, or empty.
    """

    spec: str
    others: tuple[str, ...] = ()
    command: str
    pid: int
    host: str
    began_at: str
    elapsed_s: float
    total: int
    done: int
    measured: int
    failed: int
    remaining_s: float | None = None
    current: dict[str, Current] = {}
    ended: str = ""
    threads: int
    stopped_by: str = ""


class Heartbeat:
    """The file of the sweep in this process. Its lock shows other processes that the sweep is alive."""

    def __init__(self, results: Path, spec: str) -> None:
        """Remove what earlier sweeps of the same sweep file left, and take the lock."""
        for before, alive in read_all(results):
            if not alive and before.spec == spec:
                (results / FOLDER / f"{before.host}-{before.pid}.json").unlink(missing_ok=True)
        self._file = results / FOLDER / f"{socket.gethostname()}-{os.getpid()}.json"
        self._lock = locks.Locks(results / LOCK)
        self._lock.take(self._file.stem)

    def write(self, progress: SweepProgress) -> None:
        """Write the file, even if the disk is full.

        Raises:
            OSError: The results folder cannot be written to.
        """
        text = progress.model_dump_json(indent=1) + "\n"
        try:
            paths.write_atomic(self._file, text)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # A full disk has no room for a new file, but the old one can be overwritten.
            with self._file.open("r+", encoding="utf-8") as file:
                file.write(text)
                file.truncate()

    def end(self) -> None:
        """Release the lock."""
        self._lock.release(self._file.stem)


def read_all(results: Path) -> list[tuple[SweepProgress, bool]]:
    """Read what each sweep of a results folder wrote last, and whether it is still at work; newest last."""
    found = []
    for name in sorted(glob.glob(f"{FOLDER}/*.json", root_dir=results)):
        file = results / name
        with contextlib.suppress(OSError, ValueError):
            progress = SweepProgress.model_validate_json(file.read_text(encoding="utf-8"))
            found.append((progress, not progress.ended and _alive(results, file.stem, progress)))
    return sorted(found, key=lambda pair: (pair[1], pair[0].began_at))


def assume_threads(results: Path) -> str:
    """Match records for the thread count of the last sweep here, unless the environment sets one.

    Returns:
        A line for the user if a sweep without ``--threads`` would use another number, else an empty text.
    """
    found = read_all(results)
    if slots.given_threads() is not None or not found:
        return ""
    threads, usual = found[-1][0].threads, slots.default_threads()
    os.environ[slots.THREADS] = str(threads)
    if threads == usual:
        return ""
    return (
        f"Records are matched for {counted(threads, 'torch thread')}, as in the last sweep here. "
        f"Without --threads a new sweep would use {usual}."
    )


def _alive(results: Path, name: str, progress: SweepProgress) -> bool:
    try:
        return locks.Locks(results / LOCK).holder(name) is not None
    except (OSError, UserError):  # a folder that this user cannot write to, or without locks
        return progress.host == socket.gethostname() and psutil.pid_exists(progress.pid)
