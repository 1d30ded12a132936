"""Progress a person can read: a live bar in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vlmnb.launch import CellState, Job
from vlmnb.spec import Cell

QUIET_S = 20.0
"""In a log, a cell that takes longer is named again after this many seconds."""


class SweepProgress:
    """Shows done, total and current cell of a sweep; counts each cell of several runs once."""

    def __init__(self, jobs: Sequence[Job], console: Console) -> None:
        """Count what is there already."""
        self._paths = {state.path for job in jobs for state in job.cells}
        self._console = console
        self._last = ("", 0.0)
        self._began = time.monotonic()
        self._live: Progress | None = None
        if console.is_terminal:
            columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
                       TextColumn("{task.description}"))  # fmt: skip
            self._live = Progress(*columns, console=console, transient=True)
            self._task = self._live.add_task("starting", total=len(self._paths), completed=self.done)

    @property
    def done(self) -> int:
        """Cells with a record."""
        return sum(path.exists() for path in self._paths)

    @property
    def total(self) -> int:
        """Distinct cells of the sweep."""
        return len(self._paths)

    def __enter__(self) -> SweepProgress:
        """Start drawing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        if self._live:
            self._live.stop()

    def __call__(self, job: Job, current: CellState | None) -> None:
        """Show where the sweep stands."""
        doing = f"{job.run.name}: {words(current.cell) if current else 'making the page'}"
        if self._live:
            self._live.update(self._task, completed=self.done, description=doing)
            return
        text, at = self._last
        now = time.monotonic()
        if doing != text or now - at > QUIET_S:
            self._last = (doing, now)
            done, elapsed = self.done, now - self._began
            self._console.print(
                f"[{done}/{self.total} cells, {self.total - done} left, {elapsed:.0f} s] {doing}",
                markup=False,
            )


def words(cell: Cell) -> str:
    """A cell in a few words."""
    return (
        f"{cell.dataset}, {cell.device}, {cell.optimization}, batch {cell.batch_size}, "
        f"image {cell.image_size}, prompt {cell.seq_len}"
    )
