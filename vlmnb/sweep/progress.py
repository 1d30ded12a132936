"""Show how far a sweep is: a live bar in a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from vlmnb.device import slots
from vlmnb.files.changes import signature
from vlmnb.records import record_file
from vlmnb.spec.cell import line as line_of
from vlmnb.stats.formatting import duration
from vlmnb.sweep.heartbeat import Current, Heartbeat, SweepProgress
from vlmnb.sweep.inventory import CellState, Job

QUIET_S = 30.0
"""A log names a cell again after this many seconds."""

WRITE_S = 1.0
"""The file for other terminals is written at most this often."""


class Progress:
    """Counts the cells of a sweep, each once though several runs share it, and shows how far it is.

    Attributes:
        stopped_by: Why a run was not completed, if that was not its notebook's fault; else empty.
        measured: Cells recorded while the sweep was at work on them.
        without_number: Those whose record has a reason instead of numbers.
    """

    def __init__(
        self, jobs: Sequence[Job], wanted: Sequence[CellState], console: Console, *, results: Path,
        spec: str = "", others: Sequence[str] = (), command: str = "",
    ) -> None:  # fmt: skip
        """Count what exists already; ``command`` continues this sweep of the file ``spec`` and others."""
        self._console, self._results, self._spec, self._command = console, results, spec, command
        self._others = tuple(others)
        states = {state.path: state for job in jobs for state in job.cells}
        self._pending = {state.path: signature(state.path) for state in wanted}
        self._failed = {p for p, state in states.items() if state.status == "failed"} - set(self._pending)
        self._short = {job.run.name: _differing_words(job) for job in jobs}
        self.total, self.measured, self.without_number = len(states), 0, 0
        self.stopped_by = ""
        self._began, self._began_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        self._current: dict[str, tuple[str, str, float]] = {}
        self._worked_s, self._ticked = 0.0, 0.0
        self._logged, self._logged_at, self._written_at = "", 0.0, 0.0
        self._announced: set[str] = set()
        self._guard = threading.RLock()
        self._heartbeat: Heartbeat | None = None
        self._live: Bar | None = None
        if console.is_terminal:
            # A narrow terminal cuts the description, not the count.
            count = Column(no_wrap=True, min_width=2 * len(str(self.total)) + 1)
            rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
            self._live = Bar(
                BarColumn(bar_width=12), MofNCompleteColumn(table_column=count),
                TextColumn("{task.description}", table_column=rest), console=console, transient=True,
            )  # fmt: skip
            self._task = self._live.add_task("starting", total=self.total, completed=self.done)

    @property
    def done(self) -> int:
        """Return the number of cells that need no measuring any more."""
        return self.total - len(self._pending)

    def __enter__(self) -> Progress:
        """Start showing."""
        self._heartbeat = Heartbeat(self._results, self._spec)
        self._heartbeat.write(self.now())
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop showing; the last report stays for other terminals."""
        if self._live:
            self._live.stop()
        self._count()
        assert self._heartbeat
        with contextlib.suppress(OSError):
            self._heartbeat.write(self.now("stopped" if kind or self.stopped_by else "finished"))
        self._heartbeat.end()

    def doing(self, where: str, run: str, cell: str) -> None:
        """Note that a device works on a cell of a run, or (``cell`` empty) on its notebook."""
        with self._guard:
            self._count()
            if self._current.get(where, ())[:2] != (run, cell):
                self._current[where] = (run, cell, time.monotonic())
            self._show()

    def leave(self, where: str) -> None:
        """Note that a device has nothing to do."""
        with self._guard:
            self._count()
            self._current.pop(where, None)

    def announce(self, line: str) -> None:
        """Print a line, unless it was printed before."""
        with self._guard:
            if line not in self._announced:
                self._announced.add(line)
                self._console.print(line, markup=False, highlight=False)

    def now(self, ended: str = "") -> SweepProgress:
        """Return how far the sweep is."""
        now = time.monotonic()
        return SweepProgress(
            spec=self._spec, others=self._others, command=self._command, pid=os.getpid(),
            host=socket.gethostname(), began_at=self._began_at, elapsed_s=now - self._began,
            total=self.total, done=self.done, measured=self.measured, failed=len(self._failed),
            remaining_s=self._remaining_s(), ended=ended, threads=slots.threads(),
            stopped_by=self.stopped_by,
            current={
                where: Current(run=run, cell=cell, seconds=now - since)
                for where, (run, cell, since) in self._current.items()
            },
        )  # fmt: skip

    def _remaining_s(self) -> float | None:
        """Estimate the remaining time; unlike rich's estimate it leaves out the time spent waiting."""
        self._tick()
        return self._worked_s / self.measured * len(self._pending) if self.measured else None

    def _tick(self) -> bool:
        """Let the clock of work go on if any device is at work, and return that."""
        now = time.monotonic()
        at_work = any(not cell.startswith(slots.WAITING) for _, cell, _ in self._current.values())
        self._worked_s += now - self._ticked if at_work else 0.0
        self._ticked = now
        return at_work

    def _count(self) -> None:
        """Count the records of the time before this call."""
        ours = self._tick()  # else another process measured them
        for path, was in list(self._pending.items()):
            if signature(path) != was:
                del self._pending[path]
                self.measured += ours
                with contextlib.suppress(ValueError):
                    status = record_file.read(path).status
                    self.without_number += ours and status != "ok"
                    if status == "failed":
                        self._failed.add(path)

    def _show(self) -> None:
        now, left = time.monotonic(), self._remaining_s()
        time_ = duration(now - self._began) + (f", about {duration(left)} left" if left else "")
        if self._live:
            # There is no room for the words that all cells of a run have in common.
            short = "; ".join(
                f"{cell} ({run})"
                if cell.startswith(slots.WAITING)
                else f"{run}: {self._short.get(run, {}).get(cell, cell) or 'notebook'}"
                for run, cell, _ in self._current.values()
            )
            self._live.update(self._task, completed=self.done, description=f"{time_} | {short}")
        else:
            doing = "; ".join(f"{run}: {cell or 'notebook'}" for run, cell, _ in self._current.values())
            if doing != self._logged or now - self._logged_at > QUIET_S:
                self._logged, self._logged_at = doing, now
                failed = f", {len(self._failed)} failed" if self._failed else ""
                head = f"[{self.done}/{self.total} cells{failed}, {self.total - self.done} left, {time_}]"
                self._console.print(f"{head} {doing}", markup=False, highlight=False)
        if self._heartbeat and now - self._written_at > WRITE_S:
            self._written_at = now
            with contextlib.suppress(OSError):  # a full disk stops the records, not the progress
                self._heartbeat.write(self.now())


def _differing_words(job: Job) -> dict[str, str]:
    """Map the description of each cell of a job to the part that not all its cells share."""
    parts = {line: line.split(", ") for line in (line_of(state.cell) for state in job.cells)}
    common = set.intersection(*map(set, parts.values())) if len(parts) > 1 else set()
    return {line: ", ".join(part for part in own if part not in common) for line, own in parts.items()}
