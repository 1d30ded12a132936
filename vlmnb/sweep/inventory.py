"""Compare what a sweep asks for with what exists: cells on record or missing, pages up to date or not."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vlmnb import paths
from vlmnb.errors import UserError, one_line
from vlmnb.files import code_fingerprint, plain_yaml
from vlmnb.records import content_key, record_file, store, turns
from vlmnb.records.indexed_record import IndexedRecord, cell_digest, original_digest
from vlmnb.records.resolved import Resolved, resolve
from vlmnb.records.turns import Turns
from vlmnb.spec import axes, planning, sweep_file
from vlmnb.spec.cell import Cell
from vlmnb.spec.planning import Run
from vlmnb.sweep import notebook_template, page_stamp
from vlmnb.types import Frozen
from vlmnb.views.reasons import readable

State = Literal["recorded", "stale", "missing", "damaged"]
PageState = Literal["current", "outdated", "changed", "missing", "failed"]


RETRIED = ("failed", "out_of_memory", "unsupported")
"""Statuses that may change with the machine or with what is installed on it."""


class Remeasure(Frozen):
    """What a sweep measures again, in addition to the missing and damaged cells: stale and `RETRIED` ones.

    Attributes:
        disturbed: Digests of records that background load disturbed.
    """

    stale: bool = False
    retry_failed: bool = False
    disturbed: frozenset[str] = frozenset()


NOTHING_AGAIN = Remeasure()


class CellState(Frozen):
    """A cell of a sweep and its record, if there is one.

    Attributes:
        path: File of its exact record, which may not exist yet.
        state: ``recorded``: under its exact key; ``stale``: on this machine, but under another key;
            ``damaged``: the file is not a valid record.
        status: Status of the record that is shown for the cell, or empty.
        shown: Digest of that record, or empty.
        answer: File of that record.
        started_at: When that record was measured.
        problem: Why the file at ``path`` is not a valid record, or empty.
        older: What an older record of this machine is, which does not answer for the cell; or empty.
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
    older: str = ""

    @property
    def key(self) -> str:
        """Content key that the cell has on this machine with this code."""
        return self.path.stem

    def wanted(self, remeasure: Remeasure = NOTHING_AGAIN) -> bool:
        """Check whether a sweep measures this cell."""
        return (
            self.state in ("missing", "damaged")
            or (remeasure.stale and self.state == "stale")
            or (remeasure.retry_failed and self.status in RETRIED)
            or (self.state == "recorded" and self.shown in remeasure.disturbed)
        )


class Job(Frozen):
    """A run with the state of its cells and of its page.

    Attributes:
        inputs: What the page is made from beside the cells, one line each: for a page without cells its
            inputs, for one of A/A repeats the first measurement of each cell; the turns that cells took with
            one another, on this page or another.
        windows: What the noise floor is taken from, one line for each record. A page depends on it if it
            shows the noise floor.
    """

    run: Run
    cells: tuple[CellState, ...]
    page: PageState
    inputs: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()

    def wanted(self, remeasure: Remeasure = NOTHING_AGAIN) -> list[CellState]:
        """Return the cells to measure, in table order."""
        return [cell for cell in self.cells if cell.wanted(remeasure)]

    @property
    def of_repeats(self) -> bool:
        """Whether its cells are A/A repeats."""
        return bool(self.cells) and all(state.cell.repeat for state in self.cells)

    @property
    def early(self) -> Run:
        """The run with the first half of its repeats, which a sweep measures minutes before the others."""
        numbers = sorted({state.cell.repeat for state in self.cells})
        parameters = {**self.run.parameters, "repeats": numbers[: len(numbers) // 2]}
        return Run(model=self.run.model, axis=self.run.axis, parameters=parameters)

    def needs_work(self, remeasure: Remeasure = NOTHING_AGAIN) -> bool:
        """Check whether there are cells to measure or a page to make."""
        return self.page != "current" or bool(self.wanted(remeasure))

    def stamp(self) -> str:
        """Describe what the page would be made from now: template, code that draws it, records."""
        template = hashlib.sha256(paths.notebook(self.run.axis).read_bytes()).hexdigest()
        code = code_fingerprint.of(content_key.CARD if self.run.plan.axis.own else content_key.SHOWING)
        shown = (f"{state.key} {state.state} {state.shown}" for state in self.cells)
        return "\n".join([template, code, *shown, *self.inputs]) + "\n"

    def noise_floor(self) -> str:
        """Describe what the noise floor of the page would be taken from now."""
        return "\n".join(["noise floor", *self.windows]) + "\n"


def load(path: Path) -> tuple[Run, ...]:
    """Read the runs of a sweep file."""
    sweep = sweep_file.load_sweep(path)
    try:
        runs = planning.runs(sweep)
    except UserError as error:
        raise plain_yaml.located(path, error) from None
    for axis in dict.fromkeys(run.axis for run in runs):
        notebook_template.require(paths.notebook(axis))
    return runs


def jobs(runs: Iterable[Run], results: Path, pages: Path) -> list[Job]:
    """Look up every run, as the records are now."""
    return look(runs, results, pages).jobs


class Looked(NamedTuple):
    """The runs of a sweep, and what there is beside them.

    Attributes:
        left_out: A message for each damaged file that belongs to none of them.
        others: By model, how many records there are of cells that none of them asks for; empty unless asked.
    """

    jobs: list[Job]
    left_out: list[str]
    others: dict[str, int]


def look(runs: Iterable[Run], results: Path, pages: Path, *, others: bool = False) -> Looked:
    """Look up every run, as the records are now, and with ``others`` the records of other cells."""
    planned = list(runs)
    asked = resolve((cell for run in planned for cell in run.plan.cells), results)
    with store.Index(results) as index:
        states = _states(asked, index)
        windows = [(f"window {e.path} {e.digest}", e) for e in index.windows().values()]
        usable = index.records(having="gpu").values() if any(run.plan.axis.own for run in planned) else ()
        problems = [entry.problem for entry in index.records(having="problem").values()]
        beside = index.others(cell_digest(cell, "", "") for cell in asked) if others else {}
    made, taken = [], functools.cache(functools.partial(turns.read, results))
    for run in planned:
        plan = run.plan
        if plan.axis.own:
            from vlmnb.fit import page_inputs

            inputs = page_inputs.of(plan.model, plan.parameters, usable)
        else:
            repeated = {original_digest(cell) for cell in plan.cells if cell.repeat}
            inputs = tuple(line for line, entry in windows if entry.asked in repeated)
        cells = tuple(states[cell] for cell in plan.cells)
        inputs += _turns(cells, taken(plan.model))
        machines = {f"{state.path.parts[-3]}/" for state in cells}
        of_machine = tuple(line for line, entry in windows if entry.path.startswith(tuple(machines)))
        job = Job(run=run, cells=cells, page="missing", inputs=inputs, windows=of_machine)
        made.append(job.model_copy(update={"page": _page(job, pages)}))
    own = {state.problem for state in states.values() if state.state == "damaged"}
    models = {record_file.read(results / one).cell.model: count for one, count in beside.items()}
    return Looked(made, [problem for problem in problems if problem not in own], models)


def disturbed(jobs: Iterable[Job], paths: Container[Path]) -> frozenset[str]:
    """Return the digests of those records at some paths whose times background load disturbed.

    Those count as well whose own window was quiet, but not the turns that a page shows of them: measured
    again, they take turns again.
    """
    found: set[str] = set()
    for job in jobs:
        states = [one for one in job.cells if one.state == "recorded" and one.status == "ok"]
        if not any(state.path in paths for state in states):
            continue
        records = [record_file.read(state.path) for state in states]
        known = turns.read(states[0].path.parents[2], states[0].cell.model)
        shown = turns.shown(records, known)
        for state, own, page in zip(states, records, shown, strict=True):
            window = own.timing is None and own.window_under_load
            if state.path in paths and (window or own.batches_under_load or page.batches_under_load):
                found.add(state.shown)
    return frozenset(found)


def mark_page(job: Job, pages: Path) -> None:
    """Note what the page just published was made from."""
    page = paths.executed(pages, job.run.model, job.run.axis)
    shows = page_stamp.shows(page, axes.NOISE_FLOOR)
    page_stamp.mark(page, job.stamp() + job.noise_floor() * shows)


def _turns(cells: Sequence[CellState], known: Sequence[Turns]) -> tuple[str, ...]:
    """Return a line for each of the turns that a page shows: those of two of its records or more."""
    keys = {state.answer.stem for state in cells if state.answer}
    taken = [one for one in known if len(keys & one.timings.keys()) > 1]
    return tuple(f"turns {one.name} {one.started_at}" for one in taken)


def _states(asked: Mapping[Cell, Resolved], index: store.Index) -> dict[Cell, CellState]:
    names = {cell: "/".join(resolved.path.parts[-3:]) for cell, resolved in asked.items()}
    exact = index.at(names.values())
    unanswered = [cell for cell, name in names.items() if name not in exact or exact[name].problem]
    newest = index.newest() if unanswered else {}
    inputs = {cell: (asked[cell].revisions.weights, asked[cell].revisions.data) for cell in unanswered}
    others = {cell: name for cell, own in inputs.items() if (name := newest.get(cell_digest(cell, *own)))}
    stale = index.at(others.values())
    found = {
        cell: _state(cell, one.path, exact.get(names[cell]), stale.get(others.get(cell, "")), index.results)
        for cell, one in asked.items()
    }
    known = index.asked() if unanswered else {}
    missing = [cell for cell, state in found.items() if state.state == "missing"]
    older = {cell: known[name] for cell in missing if (name := cell_digest(cell, "", "")) in known}
    return found | {
        cell: found[cell].model_copy(update={"older": _why_not(asked[cell], index.results / name)})
        for cell, name in older.items()
    }


def _why_not(resolved: Resolved, path: Path) -> str:
    """Say what a record of the same cell is that does not answer for it."""
    found, own = record_file.read(path), resolved.revisions
    other = [("weights", found.provenance.weights, own.weights), ("data", found.provenance.data, own.data)]
    differing = [f"other {name}" for name, then, now in other if then != now]
    if differing:
        return f"of {' and '.join(differing)}"
    return f"{found.status.replace('_', ' ')} then: {one_line(readable(found.reason), 200)}"


def _state(
    cell: Cell, path: Path, exact: IndexedRecord | None, stale: IndexedRecord | None, results: Path
) -> CellState:
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


def _page(job: Job, pages: Path) -> PageState:
    if paths.failure(pages, job.run.model, job.run.axis).exists():
        return "failed"
    page = paths.executed(pages, job.run.model, job.run.axis)
    return page_stamp.state(page, job.stamp(), job.noise_floor())
