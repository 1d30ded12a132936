"""What a sweep asks for and how much of it is there: recorded, stale, missing; pages current or not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from vlmnb import paths
from vlmnb.errors import UserError, nearest
from vlmnb.files import code_fingerprint, plain_yaml
from vlmnb.records import content_key, store
from vlmnb.records.index_entries import Entry, cell_digest
from vlmnb.spec import axes, sweep_file
from vlmnb.spec.cell import Cell, Run
from vlmnb.sweep import page_stamp
from vlmnb.types import Frozen

State = Literal["recorded", "stale", "missing", "damaged"]
PageState = Literal["current", "outdated", "changed", "missing", "failed"]

RETRIED = ("failed", "out_of_memory")
"""Statuses that ``--retry-failed`` measures again."""


class CellState(Frozen):
    """A cell of a sweep and what is recorded of it.

    Attributes:
        path: Where its exact record lies, or will lie.
        state: ``recorded`` under its exact key; ``stale``: on this machine under another key only;
            ``damaged``: the file is no record.
        status: Status of the record that answers for the cell, or empty.
        shown: Digest of that record, or empty.
        answer: Its file.
        started_at: When it was measured.
        problem: Why the file at ``path`` is no record, or empty.
    """

    cell: Cell
    path: Path
    state: State
    status: str = ""
    reason: str = ""
    shown: str = ""
    answer: Path | None = None
    started_at: str = ""
    problem: str = ""

    @property
    def key(self) -> str:
        """Content key of the cell here and now."""
        return self.path.stem

    def wanted(self, *, stale: bool, retry_failed: bool) -> bool:
        """Whether a sweep measures this cell."""
        if self.state in ("missing", "damaged"):
            return True
        return (stale and self.state == "stale") or (retry_failed and self.status in RETRIED)


class Job(Frozen):
    """A run with its cells and its page.

    Attributes:
        inputs: What a page without cells is made from, a line each.
        repeats: The A/A repeats on record, a line each: they say which differences a page may tell.
    """

    run: Run
    cells: tuple[CellState, ...]
    page: PageState
    inputs: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()

    def wanted(self, *, stale: bool = False, retry_failed: bool = False) -> list[CellState]:
        """Cells to measure, in their order."""
        return [cell for cell in self.cells if cell.wanted(stale=stale, retry_failed=retry_failed)]

    def stamp(self) -> str:
        """What a page of the job as it is now is made from: template, showing code, records."""
        template = hashlib.sha256(paths.notebook(self.run.axis).read_bytes()).hexdigest()
        code = code_fingerprint.of(content_key.CARD if self.inputs else content_key.SHOWING)
        shown = (f"{state.key} {state.state} {state.shown}" for state in self.cells)
        return "\n".join([template, code, *shown, *self.inputs, *self.repeats]) + "\n"


def load(path: Path) -> tuple[Run, ...]:
    """The runs of a sweep file.

    Raises:
        UserError: The file asks for something that cannot be; the message names file, line and nearest name.
    """
    sweep = sweep_file.load_sweep(path)
    try:
        return axes.runs(sweep)
    except UserError as error:
        raise plain_yaml.located(path, error) from None


def only(runs: Sequence[Run], names: Collection[str]) -> tuple[Run, ...]:
    """The runs of these names, all of them where no name is given.

    Raises:
        UserError: There is no run of a name.
    """
    known = [run.name for run in runs]
    for name in names:
        if name not in known:
            raise UserError(f"the sweep has no run {name!r}; {nearest(name, known)}")
    return tuple(run for run in runs if not names or run.name in names)


def jobs(runs: Iterable[Run], results: Path, pages: Path) -> list[Job]:
    """What is there of every run, as the records are now."""
    return look(runs, results, pages)[0]


def look(runs: Iterable[Run], results: Path, pages: Path) -> tuple[list[Job], list[str]]:
    """What is there of every run, and a message for each other file among the records that is no record."""
    planned = [(run, axes.plan(run.axis, run.parameters)) for run in runs]
    places = content_key.record_paths((cell for _, plan in planned for cell in plan.cells), results)
    with store.Index(results) as index:
        states = _states(places, index)
        repeats = tuple(f"repeat {e.path} {e.digest}" for e in index.entries(having="repeat").values())
        usable = index.entries(having="gpu").values() if any(plan.axis.own for _, plan in planned) else ()
        problems = [entry.problem for entry in index.entries(having="problem").values()]
    made = []
    for run, plan in planned:
        inputs = _inputs(plan, usable) if plan.axis.own else ()
        told = () if plan.axis.own or plan.source == "reports" else repeats
        cells = tuple(states[cell] for cell in plan.cells)
        job = Job(run=run, cells=cells, page="missing", inputs=inputs, repeats=told)
        made.append(job.model_copy(update={"page": _page(job, pages)}))
    own = {state.problem for state in states.values() if state.state == "damaged"}
    return made, [problem for problem in problems if problem not in own]


def mark_page(job: Job, pages: Path) -> None:
    """Note what the page just published was made from."""
    page_stamp.mark(_page_file(job, pages), job.stamp())


def _states(places: Mapping[Cell, Path], index: store.Index) -> dict[Cell, CellState]:
    names = {cell: "/".join(path.parts[-3:]) for cell, path in places.items()}
    exact = index.at(names.values())
    open_ = [cell for cell, name in names.items() if name not in exact or exact[name].problem]
    newest = content_key.stale_paths(index) if open_ else {}
    others = {cell: name for cell in open_ if newest and (name := newest.get(cell_digest(cell)))}
    stale = index.at(others.values())
    return {
        cell: _state(cell, path, exact.get(names[cell]), stale.get(others.get(cell, "")), index.results)
        for cell, path in places.items()
    }


def _state(cell: Cell, path: Path, exact: Entry | None, stale: Entry | None, results: Path) -> CellState:
    found = stale or exact
    if found is None:
        return CellState(cell=cell, path=path, state="missing")
    if found.problem:
        return CellState(cell=cell, path=path, state="damaged", problem=found.problem)
    return CellState(
        cell=cell, path=path, state="stale" if stale else "recorded", status=found.status,
        reason=found.reason, shown=found.digest, answer=results / stale.path if stale else path,
        started_at=found.started_at, problem=exact.problem if exact else "",
    )  # fmt: skip


def _inputs(plan: axes.Plan, usable: Iterable[Entry]) -> tuple[str, ...]:
    from vlmnb.fit import page_inputs

    return page_inputs.of(plan.model, plan.parameters, usable)


def _page(job: Job, pages: Path) -> PageState:
    if paths.failure(pages, job.run.model, job.run.axis).exists():
        return "failed"
    return page_stamp.state(_page_file(job, pages), job.stamp())


def _page_file(job: Job, pages: Path) -> Path:
    return paths.executed(pages, job.run.model, job.run.axis)
