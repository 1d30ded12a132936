"""Progress a person can read: a live bar in a terminal, plain lines in a log, a file for other terminals."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from vlmnb import paths
from vlmnb.device import slots
from vlmnb.files import locks
from vlmnb.records import record
from vlmnb.spec.cell import words
from vlmnb.stats import formatting
from vlmnb.sweep.inventory import CellState, Job
from vlmnb.types import Frozen

QUIET_S = 30.0
"""In a log, a cell that takes longer is named again after this many seconds."""

WRITE_S = 1.0
"""How often the file for other terminals is written at most."""


class Current(Frozen):
    """What one device is doing.

    Attributes:
        cell: Words of the cell being measured; empty while a notebook starts or makes its page.
        seconds: Since when.
    """

    run: str
    cell: str
    seconds: float


class Standing(Frozen):
    """How a sweep stood when it last said so.

    Attributes:
        done: Cells with a record that answers for them.
        measured: Cells measured by this sweep.
        failed: Cells recorded as failed.
        remaining_s: Estimate of the time to measure what is left, from the cells measured so far, None before
            the first. Waiting for a device counts for nothing: nobody knows how long others take.
        ended: ``finished`` or ``stopped``; empty while it goes on, and for ever if it was killed.
        threads: That it computes with; None in what older code wrote.
        stopped_by: What ended it, where that was an error.
    """

    spec: str
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
    threads: int | None = None
    stopped_by: str = ""


class Progress:
    """Shows how far a sweep is; counts each cell of several runs once.

    Attributes:
        stopped_by: Why a run did not come to its end, by no fault of its notebook; empty where all did.
        measured: Cells recorded while the sweep was at work on them.
        without_number: Those of them whose record says why there is none.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        wanted: Sequence[CellState],
        console: Console,
        *,
        results: Path,
        spec: str = "",
        command: str = "",
    ) -> None:
        """Count what is there already.

        Args:
            jobs: All jobs of the sweep.
            wanted: The cells that it will measure.
            console: Where to show it.
            results: Folder of the records, in which other terminals look.
            spec: The sweep file.
            command: The command that continues the sweep.
        """
        self._console, self._spec, self._command = console, spec, command
        states = {state.path: state for job in jobs for state in job.cells}
        self._pending = {state.path: _signature(state.path) for state in wanted}
        self._failed = {p for p, state in states.items() if state.status == "failed"} - set(self._pending)
        self._short = {job.run.name: _told_apart(job) for job in jobs}
        self.total, self.measured, self.without_number = len(states), 0, 0
        self._began, self._began_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        self._current: dict[str, tuple[str, str, float]] = {}
        self._at_work: set[str] = set()
        self._work_s, self._work_since = 0.0, 0.0
        self._said, self._said_at, self._written_at = "", 0.0, 0.0
        self._told: set[str] = set()
        self.stopped_by = ""
        self._guard = threading.RLock()
        self._file = results / ".sweeps" / f"{socket.gethostname()}-{os.getpid()}.json"
        self._lock = locks.Locks(results / ".sweeps.lock")
        self._live: Bar | None = None
        if console.is_terminal:
            # On a narrow terminal what is being done is cut, not how much is left.
            count = Column(no_wrap=True, min_width=2 * len(str(self.total)) + 1)
            rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
            columns = (
                BarColumn(bar_width=12),
                MofNCompleteColumn(table_column=count),
                TextColumn("{task.description}", table_column=rest),
            )
            self._live = Bar(*columns, console=console, transient=True)
            self._task = self._live.add_task("starting", total=self.total, completed=self.done)

    @property
    def done(self) -> int:
        """Cells that need no measuring any more."""
        return self.total - len(self._pending)

    @property
    def failed(self) -> int:
        """Cells recorded as failed."""
        return len(self._failed)

    def __enter__(self) -> Progress:
        """Start showing."""
        _forget_ended(self._file.parent, self._spec)
        self._lock.take(self._file.stem)
        self._write("")
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing; what was the last word stays for other terminals."""
        if self._live:
            self._live.stop()
        self._count()
        with contextlib.suppress(OSError):
            self._write("stopped" if kind or self.stopped_by else "finished")
        self._lock.release(self._file.stem)

    def doing(self, where: str, run: str, cell: str) -> None:
        """A device is at work on a run, on a cell of it or (empty) on its notebook."""
        with self._guard:
            was = self._current.get(where)
            if was is None or was[:2] != (run, cell):
                self._current[where] = (run, cell, time.monotonic())
            self._count()
            self._works(where, not cell.startswith(slots.WAITING))
            self._show()

    def leave(self, where: str) -> None:
        """A device has nothing to do."""
        with self._guard:
            self._current.pop(where, None)
            self._count()
            self._works(where, False)

    def tell(self, line: str) -> None:
        """Say something once."""
        with self._guard:
            if line not in self._told:
                self._told.add(line)
                self._console.print(line, markup=False, highlight=False)

    def standing(self, ended: str = "") -> Standing:
        """Where the sweep stands."""
        now = time.monotonic()
        return Standing(
            spec=self._spec, command=self._command, pid=os.getpid(), host=socket.gethostname(),
            began_at=self._began_at, elapsed_s=now - self._began, total=self.total, done=self.done,
            measured=self.measured, failed=self.failed, remaining_s=self._remaining_s(), ended=ended,
            threads=slots.threads(), stopped_by=self.stopped_by,
            current={
                where: Current(run=run, cell=cell, seconds=now - since)
                for where, (run, cell, since) in self._current.items()
            },
        )  # fmt: skip

    def _remaining_s(self) -> float | None:
        if not self.measured:
            return None
        return self._worked_s() / self.measured * len(self._pending)

    def _works(self, where: str, at_work: bool) -> None:
        """Note whether a device is at work; the clock runs while any is."""
        worked_s, now = self._worked_s(), time.monotonic()
        (self._at_work.add if at_work else self._at_work.discard)(where)
        self._work_s, self._work_since = worked_s, now

    def _worked_s(self) -> float:
        return self._work_s + (time.monotonic() - self._work_since if self._at_work else 0.0)

    def _count(self) -> None:
        for path, was in list(self._pending.items()):
            if _signature(path) != was:
                del self._pending[path]
                ours = bool(self._at_work)  # while no device is, it was measured by others
                self.measured += ours
                with contextlib.suppress(ValueError):
                    status = record.read(path).status
                    self.without_number += ours and status != "ok"
                    if status == "failed":
                        self._failed.add(path)

    def _show(self) -> None:
        doing = "; ".join(f"{run}: {cell or 'notebook'}" for run, cell, _ in self._current.values())
        now = time.monotonic()
        if self._live:
            # What all cells of a run have in common would leave no room for what tells them apart.
            short = "; ".join(self._shortened(run, cell) for run, cell, _ in self._current.values())
            self._live.update(self._task, completed=self.done, description=f"{self._time()} | {short}")
        elif doing != self._said or now - self._said_at > QUIET_S:
            self._said, self._said_at = doing, now
            failed = f", {self.failed} failed" if self.failed else ""
            head = f"[{self.done}/{self.total} cells{failed}, {self.total - self.done} left, {self._time()}]"
            self._console.print(f"{head} {doing}", markup=False, highlight=False)
        if now - self._written_at > WRITE_S:
            self._written_at = now
            with contextlib.suppress(OSError):  # a full disk stops the records, not the progress
                self._write("")

    def _shortened(self, run: str, cell: str) -> str:
        if cell.startswith(slots.WAITING):
            return f"{cell} ({run})"
        return f"{run}: {self._short.get(run, {}).get(cell, cell) or 'notebook'}"

    def _time(self) -> str:
        elapsed, left = duration(time.monotonic() - self._began), self._remaining_s()
        return f"{elapsed}{f', about {duration(left)} left' if left else ''}"

    def _write(self, ended: str) -> None:
        text = self.standing(ended).model_dump_json(indent=1) + "\n"
        try:
            paths.write_atomic(self._file, text)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # No new file fits on a full disk, but what is written over the old one takes no room.
            with self._file.open("r+", encoding="utf-8") as file:
                file.write(text)
                file.truncate()


def standings(results: Path) -> list[tuple[Standing, bool]]:
    """Every sweep that has written into a folder lately, and whether it is at work now; newest last."""
    found = []
    for file in sorted((results / ".sweeps").glob("[!.]*.json")):
        with contextlib.suppress(OSError, ValueError):
            standing = Standing.model_validate(json.loads(file.read_text(encoding="utf-8")))
            found.append((standing, not standing.ended and _at_work(results, file.stem, standing)))
    return sorted(found, key=lambda pair: (pair[1], pair[0].began_at))


def assume_threads(results: Path) -> str:
    """Judge records by the threads of the sweep that was last at work here, unless the environment says.

    Returns:
        A line that says so, where a sweep without ``--threads`` would take another number; else nothing.
    """
    if slots.told_threads() is None:
        told = [standing.threads for standing, _ in standings(results) if standing.threads]
        if told:
            os.environ[slots.THREADS] = str(told[-1])
            usual = slots.default_threads()
            if told[-1] != usual:
                threads = formatting.counted(told[-1], "thread")
                return (
                    f"Judged for {threads}, with which the last sweep here computed; "
                    f"a sweep without --threads takes {usual}."
                )
    return ""


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(5), duration(200), duration(7500)
    ('5 s', '3 min 20 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _told_apart(job: Job) -> dict[str, str]:
    """Words of each cell of a job, and those of them that not all its cells share."""
    parts = {said: said.split(", ") for said in (words(state.cell) for state in job.cells)}
    common = set.intersection(*map(set, parts.values())) if len(parts) > 1 else set()
    return {said: ", ".join(part for part in of if part not in common) for said, of in parts.items()}


def _at_work(results: Path, name: str, standing: Standing) -> bool:
    try:
        return locks.Locks(results / ".sweeps.lock").holder(name) is not None
    except OSError:  # a folder that this user cannot write to
        return standing.host == socket.gethostname() and psutil.pid_exists(standing.pid)


def _forget_ended(folder: Path, spec: str) -> None:
    """Remove what earlier sweeps of the same file have said."""
    for standing, at_work in standings(folder.parent):
        if not at_work and standing.spec == spec:
            (folder / f"{standing.host}-{standing.pid}.json").unlink(missing_ok=True)


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns
