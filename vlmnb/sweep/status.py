"""What ``sweep --dry-run`` and ``status`` say: how far a sweep is, run by run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from vlmnb import paths
from vlmnb.spec.cell import told_apart, words
from vlmnb.stats import formatting
from vlmnb.sweep import preflight
from vlmnb.sweep.inventory import CellState, Job
from vlmnb.sweep.progress import Standing, duration
from vlmnb.sweep.scheduler import Wish

PAGES = {
    "current": "shows the records as they are now",
    "outdated": "records, the template or the code that shows them have changed; the sweep makes it again",
    "changed": "damaged, or saved by hand, since it was published; the sweep makes it again",
    "missing": "not made yet; the sweep makes it once its cells are measured",
    "failed": "the last attempt failed, see failures/ beside the pages; the sweep tries again",
}

MISSING = Wish()
"""What is missing, and no more."""

LEFT_OUT_SHOWN = 5
"""Files that are no records and not of the sweep which a terminal names; ``--json`` has all."""


def distinct(jobs: Sequence[Job]) -> list[CellState]:
    """The cells of a sweep, each once though several tables show it."""
    return list({state.path: state for job in jobs for state in job.cells}.values())


def failed(states: Sequence[CellState]) -> list[str]:
    """A line for each cell recorded as failed."""
    return [
        f"{state.cell.model}, {words(state.cell)}: {state.reason}"
        for state in states
        if state.status == "failed"
    ]


def damaged(states: Sequence[CellState]) -> list[str]:
    """A line for each cell whose record cannot be read."""
    return [
        f"{state.cell.model}, {words(state.cell)}: {state.problem}"
        for state in states
        if state.state == "damaged"
    ]


def kept(wanted: Iterable[CellState]) -> list[str]:
    """Of cells to be measured, a line for each file in their records' places that is none: where it goes."""
    return [
        f"damaged record: {state.problem}; its cell is measured again, and the file is kept as "
        f"{paths.damaged(state.path).name}"
        for state in wanted
        if state.problem
    ]


def report(
    jobs: Sequence[Job],
    standings: Sequence[tuple[Standing, bool]],
    *,
    wish: Wish = MISSING,
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """What :func:`lines` says, for a program."""
    states = distinct(jobs)
    counts = Counter(state.state for state in states)
    named = told_apart(state.cell for state in states)
    known = preflight.known({job.run.name: [state.cell for state in job.cells] for job in jobs})
    return {
        "cells": len(states),
        "recorded": counts["recorded"] + counts["stale"],
        "stale": counts["stale"],
        "missing": counts["missing"] + counts["damaged"],
        "damaged": counts["damaged"],
        "to_measure": len(_wanted(states, wish)),
        "cells_to_measure": [
            {"cell": named[state.cell], **known[state.cell]} for state in _wanted(states, wish)
        ],
        "statuses": dict(Counter(state.status for state in states if state.status)),
        "failed_cells": failed(states),
        "damaged_cells": damaged(states),
        "left_out": list(left_out),
        "runs": [
            {
                "run": job.run.name,
                "cells": len(job.cells),
                "recorded": sum(state.state in ("recorded", "stale") for state in job.cells),
                "stale": sum(state.state == "stale" for state in job.cells),
                "page": job.page,
                "missing": [named[state.cell] for state in job.wanted()],
                "to_measure": [named[state.cell] for state in _wanted(job.cells, wish)],
            }
            for job in jobs
        ],
        "sweeps": [
            standing.model_dump(mode="json") | {"at_work": at_work} for standing, at_work in standings
        ],
    }


def lines(
    jobs: Sequence[Job],
    standings: Sequence[tuple[Standing, bool]] = (),
    *,
    cells: bool = False,
    wish: Wish = MISSING,
    left_out: Sequence[str] = (),
) -> list[str]:
    """The lines for a person.

    Args:
        jobs: The sweep's jobs.
        standings: What sweeps at work, and interrupted ones, have said.
        cells: Name every cell that is to be measured.
        wish: What is to be measured beyond what is missing.
        left_out: A message for each file among the records that is none, and not of the sweep.
    """
    said = [line for standing, at_work in standings for line in _standing(standing, at_work)]
    if said:
        said.append("")
    asked = {job.run.name: [state.cell for state in job.cells] for job in jobs}
    told = preflight.remarks(asked) if cells else {}
    states = distinct(jobs)
    named = told_apart(state.cell for state in states) if cells else {}
    for job in jobs:
        here = sum(state.state in ("recorded", "stale") for state in job.cells)
        stale = sum(state.state == "stale" for state in job.cells)
        extra = f" ({stale} stale)" if stale else ""
        said.append(
            f"{job.run.name:32} {here:3} of {len(job.cells):<3} cells recorded{extra}; page {job.page}"
        )
        said += [
            f"    to measure: {named[state.cell]}{_why(state)}{told[state.cell]}"
            for state in (_wanted(job.cells, wish) if cells else [])
        ]
    said += ["", _total(jobs, states, wish)]
    said += preflight.summary(asked) if cells else []
    said += _remarks(states, wish)
    wanted = _wanted(states, wish)
    said += kept(wanted)
    others = [line for line in left_out if line not in {state.problem for state in wanted}]
    said += [f"left out: {line}" for line in others[:LEFT_OUT_SHOWN]]
    if len(others) > LEFT_OUT_SHOWN:
        said.append(f"and {len(others) - LEFT_OUT_SHOWN} more; `vlmnb audit --json` names all of them")
    if others:
        said.append("What is left out counts nowhere: restore such a file, or delete it.")
    said += [f"page {name}: {PAGES[name]}" for name in PAGES if any(job.page == name for job in jobs)]
    return said


def _wanted(states: Iterable[CellState], wish: Wish) -> list[CellState]:
    return [state for state in states if state.wanted(**wish.model_dump())]


def _kind(state: CellState, wish: Wish) -> str:
    """Why a cell is to be measured, in a word."""
    if state.state == "recorded" or (state.state == "stale" and not wish.stale):
        return state.status.replace("_", " ")
    return state.state


def _why(state: CellState) -> str:
    """In brackets what is there of a cell that is to be measured all the same."""
    parts: list[str] = [state.state] if state.state in ("stale", "damaged") else []
    parts += [state.status.replace("_", " ")] if state.status not in ("", "ok") else []
    return f" ({', '.join(parts)})" if parts else ""


def _total(jobs: Sequence[Job], states: Sequence[CellState], wish: Wish) -> str:
    recorded = sum(state.state in ("recorded", "stale") for state in states)
    shared = sum(len(job.cells) for job in jobs) - len(states)
    total = f"{formatting.counted(len(states), 'cell')} in all"
    total += f" (tables share some: {shared} need not be measured twice)" if shared else ""
    wanted = _wanted(states, wish)
    kinds = Counter(_kind(state, wish) for state in wanted)
    closed = sum(preflight.verdict(state.cell) is not None for state in wanted)
    beforehand = f", {closed} of them without a number, as is known beforehand" if closed else ""
    parts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    parts = f" ({parts})" if set(kinds) - {"missing"} else ""
    return f"{total}: {recorded} recorded, {sum(kinds.values())} to measure{parts}{beforehand}."


def _remarks(states: Sequence[CellState], wish: Wish) -> list[str]:
    """What records are like that need a word: statuses, stale and failed ones."""
    said = []
    statuses = Counter(state.status for state in states if state.status)
    if set(statuses) - {"ok"}:
        counted = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in statuses.most_common())
        said.append(f"Recorded as: {counted}.")
    stale = sum(state.state == "stale" for state in states)
    if stale:
        again = "" if wish.stale else "; `vlmnb sweep SPEC --stale` measures them again"
        said.append(
            f"{formatting.counted(stale, 'stale cell')}: measured on this machine by other code, packages or "
            f"settings. Pages show them and say so{again}."
        )
    said += [f"failed cell: {line}" for line in failed(states)]
    if any(state.status in ("failed", "out_of_memory") for state in states) and not wish.retry_failed:
        said.append("`vlmnb sweep SPEC --retry-failed` tries failed and out-of-memory cells again.")
    return said


def _standing(standing: Standing, at_work: bool) -> list[str]:
    counted = f"{standing.done} of {standing.total} cells done, {standing.failed} failed"
    time = duration(standing.elapsed_s)
    if standing.ended == "finished":
        return []
    if not at_work:
        how = "was stopped" if standing.ended else "was killed"
        why = f" ({standing.stopped_by})" if standing.stopped_by else ""
        return [
            f"The sweep of {standing.spec} {how} after {time}{why}: {counted}. "
            f"Continue with: {standing.command}"
        ]
    left = f", about {duration(standing.remaining_s)} left" if standing.remaining_s else ""
    said = [
        f"At work on {standing.spec}: process {standing.pid} on {standing.host} since {standing.began_at}",
        f"  {counted}; {time} so far{left}",
    ]
    for where, current in standing.current.items():
        what = current.cell or "notebook starting or making its page"
        said.append(f"  now on {where}: {current.run}: {what} (for {duration(current.seconds)})")
    return said
