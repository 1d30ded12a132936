"""Describe how far a sweep is, run by run, for ``sweep --dry-run`` and ``status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlmnb import paths
from vlmnb.spec.cell import told_apart, words
from vlmnb.stats.formatting import counted
from vlmnb.sweep import preflight
from vlmnb.sweep.heartbeat import SweepProgress
from vlmnb.sweep.inventory import NOTHING_AGAIN, RETRIED, CellState, Job, Remeasure
from vlmnb.sweep.progress import duration

PAGES = {
    "current": "up to date",
    "outdated": "the records, the template or the code that draws the page have changed; "
    "the sweep makes it again",
    "changed": "damaged, or saved by hand, since it was published; the sweep makes it again",
    "missing": "not made yet; the sweep makes it once its cells are measured",
    "failed": "the last attempt failed (see failures/ in the folder of the pages); the sweep tries again",
}

LEFT_OUT_SHOWN = 5
"""A terminal names this many damaged files that are not part of the sweep; ``--json`` names all."""


def distinct(jobs: Sequence[Job]) -> list[CellState]:
    """Return the cells of a sweep, each once even if several tables show it."""
    return list({state.path: state for job in jobs for state in job.cells}.values())


def failed(states: Sequence[CellState]) -> list[str]:
    """Return a line for each cell recorded as failed."""
    return [f"{_named(state)}: {state.reason}" for state in states if state.status == "failed"]


def damaged(states: Sequence[CellState]) -> list[str]:
    """Return a line for each cell whose record is damaged."""
    return [f"{_named(state)}: {state.problem}" for state in states if state.state == "damaged"]


def kept(wanted: Iterable[CellState]) -> list[str]:
    """Return a line for each damaged record that measuring these cells will replace."""
    return [
        f"damaged record: {state.problem}; its cell is measured again, and the file is kept as "
        f"{paths.damaged(state.path).name}"
        for state in wanted
        if state.problem
    ]


def report(
    jobs: Sequence[Job],
    sweeps: Sequence[tuple[SweepProgress, bool]],
    *,
    remeasure: Remeasure = NOTHING_AGAIN,
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Return for a program what :func:`lines` returns for people."""
    states = distinct(jobs)
    counts = Counter(state.state for state in states)
    named = told_apart(state.cell for state in states)
    known = preflight.known(_cells(jobs))
    wanted = [state.cell for state in states if state.wanted(remeasure)]
    return {
        "cells": len(states),
        "recorded": counts["recorded"] + counts["stale"],
        "stale": counts["stale"],
        "missing": counts["missing"] + counts["damaged"],
        "damaged": counts["damaged"],
        "to_measure": len(wanted),
        "cells_to_measure": [{"cell": named[cell], **known[cell]} for cell in wanted],
        "statuses": dict(Counter(state.status for state in states if state.status)),
        "failed_cells": failed(states),
        "damaged_cells": damaged(states),
        "left_out": list(left_out),
        "runs": [
            {
                "run": job.run.name,
                "cells": len(job.cells),
                "recorded": _recorded(job.cells),
                "stale": _stale(job.cells),
                "page": job.page,
                "missing": [named[state.cell] for state in job.wanted()],
                "to_measure": [named[state.cell] for state in job.wanted(remeasure)],
            }
            for job in jobs
        ],
        "sweeps": [progress.model_dump(mode="json") | {"at_work": alive} for progress, alive in sweeps],
    }


def lines(
    jobs: Sequence[Job],
    sweeps: Sequence[tuple[SweepProgress, bool]] = (),
    *,
    cells: bool = False,
    remeasure: Remeasure = NOTHING_AGAIN,
    left_out: Sequence[str] = (),
) -> list[str]:
    """Return the lines to print.

    Args:
        jobs: The sweep's jobs.
        sweeps: Progress of sweeps here, and whether each is still at work.
        cells: Whether to name every cell that will be measured.
        remeasure: What will be measured again.
        left_out: A message for each damaged file among the records that is not part of the sweep.
    """
    shown = [line for progress, alive in sweeps for line in _progress(progress, alive)]
    if shown:
        shown.append("")
    states = distinct(jobs)
    wanted = [state for state in states if state.wanted(remeasure)]
    known = preflight.known(_cells(jobs)) if cells else {}
    named = told_apart(state.cell for state in states) if cells else {}
    for job in jobs:
        stale = _stale(job.cells)
        shown.append(
            f"{job.run.name:32} {_recorded(job.cells):3} of {len(job.cells):<3} cells recorded"
            f"{f' ({stale} stale)' if stale else ''}; page {job.page}"
        )
        shown += [
            f"    to measure: {named[state.cell]}{_why(state)}{_remark(known[state.cell])}"
            for state in (job.wanted(remeasure) if cells else [])
        ]
    shown += ["", _total(jobs, states, wanted, remeasure)]
    shown += preflight.summary(_cells(jobs)) if cells else []
    shown += _hints(states, remeasure)
    shown += kept(wanted)
    others = [line for line in left_out if line not in {state.problem for state in wanted}]
    shown += [f"left out: {line}" for line in others[:LEFT_OUT_SHOWN]]
    if len(others) > LEFT_OUT_SHOWN:
        shown.append(f"and {len(others) - LEFT_OUT_SHOWN} more; `vlmnb audit --json` names all of them")
    if others:
        shown.append("Files that are left out are ignored everywhere: restore or delete them.")
    return shown + [f"page {name}: {PAGES[name]}" for name in PAGES if any(job.page == name for job in jobs)]


def _cells(jobs: Sequence[Job]) -> preflight.Runs:
    return {job.run.name: job.run.plan.cells for job in jobs}


def _named(state: CellState) -> str:
    return f"{state.cell.model}, {words(state.cell)}"


def _recorded(states: Sequence[CellState]) -> int:
    return sum(state.state in ("recorded", "stale") for state in states)


def _stale(states: Sequence[CellState]) -> int:
    return sum(state.state == "stale" for state in states)


def _kind(state: CellState, remeasure: Remeasure) -> str:
    """Return in a word why a cell is measured."""
    if state.state == "recorded" or (state.state == "stale" and not remeasure.stale):
        return state.status.replace("_", " ")
    return state.state


def _why(state: CellState) -> str:
    """Return in brackets what is recorded of a cell that is measured nevertheless."""
    parts: list[str] = [state.state] if state.state in ("stale", "damaged") else []
    parts += [state.status.replace("_", " ")] if state.status not in ("", "ok") else []
    return f" ({', '.join(parts)})" if parts else ""


def _remark(known: Mapping[str, Any]) -> str:
    """Return in brackets the status of a cell that is known in advance, and the runs that share it."""
    parts = [f"{known['status'].replace('_', ' ')}: {known['reason']}"] if known["status"] else []
    parts += [f"shared by {', '.join(known['runs'])}"] if len(known["runs"]) > 1 else []
    return f" [{'; '.join(parts)}]" if parts else ""


def _total(
    jobs: Sequence[Job], states: Sequence[CellState], wanted: Sequence[CellState], remeasure: Remeasure
) -> str:
    shared = sum(len(job.cells) for job in jobs) - len(states)
    total = f"{counted(len(states), 'cell')} in all"
    total += f" (tables share some: {shared} need not be measured twice)" if shared else ""
    kinds = Counter(_kind(state, remeasure) for state in wanted)
    parts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    parts = f" ({parts})" if set(kinds) - {"missing"} else ""
    closed = sum(preflight.verdict(state.cell) is not None for state in wanted)
    numberless = f"; {closed} of them cannot give a number, as is known in advance" if closed else ""
    return f"{total}: {_recorded(states)} recorded, {len(wanted)} to measure{parts}{numberless}."


def _hints(states: Sequence[CellState], remeasure: Remeasure) -> list[str]:
    """Return lines on statuses other than ``ok``, and on stale and failed cells."""
    shown = []
    statuses = Counter(state.status for state in states if state.status)
    if set(statuses) - {"ok"}:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in statuses.most_common())
        shown.append(f"Recorded as: {counts}.")
    if stale := _stale(states):
        again = "" if remeasure.stale else " `vlmnb sweep SPEC --stale` measures them again."
        shown.append(
            f"{counted(stale, 'stale cell')}: measured on this machine, but with other code, packages or "
            f"settings. Pages show and mark them.{again}"
        )
    shown += [f"failed cell: {line}" for line in failed(states)]
    if any(state.status in RETRIED for state in states) and not remeasure.retry_failed:
        shown.append("`vlmnb sweep SPEC --retry-failed` tries failed and out-of-memory cells again.")
    return shown


def _progress(progress: SweepProgress, alive: bool) -> list[str]:
    if progress.ended == "finished":
        return []
    counts = f"{progress.done} of {progress.total} cells done, {progress.failed} failed"
    time = duration(progress.elapsed_s)
    if not alive:
        how = "was stopped" if progress.ended else "was killed"
        why = f" ({progress.stopped_by})" if progress.stopped_by else ""
        return [
            f"The sweep of {progress.spec} {how} after {time}{why}: {counts}. "
            f"Continue with: {progress.command}"
        ]
    left = f", about {duration(progress.remaining_s)} left" if progress.remaining_s else ""
    return [
        f"At work on {progress.spec}: process {progress.pid} on {progress.host} since {progress.began_at}",
        f"  {counts}; {time} so far{left}",
        *(
            f"  now on {where}: {current.run}: {current.cell or 'notebook starting or making its page'} "
            f"(for {duration(current.seconds)})"
            for where, current in progress.current.items()
        ),
    ]
