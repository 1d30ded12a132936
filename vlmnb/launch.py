"""A sweep's runs one after the other: what is missing, what is being measured, how many are left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import filelock

from vlmnb import axes, execute, identity, paths
from vlmnb.errors import UserError
from vlmnb.execute import Outcome
from vlmnb.spec import Cell, Frozen, Run, Sweep


class CellState(Frozen):
    """A cell of a sweep and whether its record is there."""

    cell: Cell
    path: Path

    @property
    def recorded(self) -> bool:
        """Whether the record file exists."""
        return self.path.exists()


class Job(Frozen):
    """A run with its cells."""

    run: Run
    cells: tuple[CellState, ...]

    def missing(self) -> list[CellState]:
        """Cells without a record, in the order in which they are measured."""
        return [state for state in self.cells if not state.recorded]

    def page_is_current(self, runs: Path) -> bool:
        """Whether the published notebook is younger than all that it shows."""
        page = paths.executed(runs, self.run.model, self.run.axis)
        if self.missing() or not page.exists():
            return False
        inputs = [*(state.path for state in self.cells), paths.notebook(self.run.axis)]
        newest = max(path.stat().st_mtime for path in inputs)
        return page.stat().st_mtime >= newest and _stamp(self, page) == _stamp_file(page)


def jobs(sweep: Sweep, results: Path) -> list[Job]:
    """The jobs of a sweep, each cell with the place of its record."""
    made = []
    for run in axes.runs(sweep):
        plan = axes.plan(run.axis, run.parameters)
        cells = (CellState(cell=cell, path=identity.record_path(cell, results)) for cell in plan.cells)
        made.append(Job(run=run, cells=tuple(cells)))
    return made


def sweep(
    todo: Sequence[Job],
    results: Path,
    runs: Path,
    *,
    on_progress: Callable[[Job, CellState | None], None],
) -> list[Outcome]:
    """Execute every job whose cells or page are missing, one at a time.

    One sweep at a time works on a results folder: measurements would disturb each other.

    Args:
        todo: The jobs.
        results: Folder of the records.
        runs: Folder of the executed notebooks.
        on_progress: Called often, with the job and the cell being measured (None: the page is made).

    Raises:
        UserError: Another sweep is at work on the same folder.
    """
    results.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(results / ".sweep.lock", timeout=0)
    try:
        with lock:
            return [_one(job, results, runs, on_progress) for job in todo if not job.page_is_current(runs)]
    except filelock.Timeout:
        raise UserError(
            f"another sweep is measuring into {results}; wait for it (vlmnb status), or give another "
            "folder with --results"
        ) from None


def _one(
    job: Job, results: Path, runs: Path, on_progress: Callable[[Job, CellState | None], None]
) -> Outcome:
    def poll() -> None:
        missing = job.missing()
        on_progress(job, missing[0] if missing else None)

    outcome = execute.execute(job.run, results, runs, on_poll=poll)
    poll()
    if not outcome.error:
        page = paths.executed(runs, job.run.model, job.run.axis)
        paths.write_atomic(page.with_suffix(".stamp"), _stamp(job, page))
    return outcome


def _stamp(job: Job, page: Path) -> str:
    """What a published page was made from: its cells' keys and its template."""
    template = hashlib.sha256(paths.notebook(job.run.axis).read_bytes()).hexdigest()
    return "\n".join([template, *(state.path.stem for state in job.cells)]) + "\n"


def _stamp_file(page: Path) -> str:
    stamp = page.with_suffix(".stamp")
    return stamp.read_text(encoding="utf-8") if stamp.exists() else ""
