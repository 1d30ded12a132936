"""What ``sweep --dry-run`` and ``status`` say: how far a sweep is, run by run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from vlmnb import foregone
from vlmnb.launch import CellState, Job
from vlmnb.progress import Standing, duration
from vlmnb.spec import words

PAGES = {
    "current": "shows the records as they are now",
    "outdated": "records, the template or the code that shows them have changed; the sweep makes it again",
    "missing": "not made yet; the sweep makes it once its cells are measured",
    "failed": "the last attempt failed, see runs/failures/; the sweep tries again",
}


def distinct(jobs: Sequence[Job]) -> list[CellState]:
    """The cells of a sweep, each once though several tables show it."""
    return list({state.path: state for job in jobs for state in job.cells}.values())


def failed(states: Sequence[CellState]) -> list[str]:
    """A line for each cell recorded as failed, and each record that cannot be read."""
    return [
        f"{state.cell.model}, {words(state.cell)}: {state.reason}"
        for state in states
        if state.status == "failed" or state.state == "damaged"
    ]


def report(jobs: Sequence[Job], standings: Sequence[tuple[Standing, bool]]) -> dict[str, Any]:
    """The same for a program."""
    states = distinct(jobs)
    counts = Counter(state.state for state in states)
    known = foregone.known({job.run.name: [state.cell for state in job.cells] for job in jobs})
    return {
        "cells": len(states),
        "recorded": counts["recorded"] + counts["stale"],
        "stale": counts["stale"],
        "missing": counts["missing"] + counts["damaged"],
        "statuses": dict(Counter(state.status for state in states if state.status)),
        "failed_cells": failed(states),
        "runs": [
            {
                "run": job.run.name,
                "cells": len(job.cells),
                "recorded": sum(state.state in ("recorded", "stale") for state in job.cells),
                "stale": sum(state.state == "stale" for state in job.cells),
                "page": job.page,
                "missing": [words(cell.cell) for cell in job.wanted()],
                "to_measure": [known[cell.cell] for cell in job.wanted()],
            }
            for job in jobs
        ],
        "sweeps": [
            standing.model_dump(mode="json") | {"at_work": at_work} for standing, at_work in standings
        ],
    }


def lines(
    jobs: Sequence[Job], standings: Sequence[tuple[Standing, bool]] = (), *, cells: bool = False
) -> list[str]:
    """The lines for a person.

    Args:
        jobs: The sweep's jobs.
        standings: What sweeps at work, and interrupted ones, have said.
        cells: Name every cell that is to be measured.
    """
    said = [line for standing, at_work in standings for line in _standing(standing, at_work)]
    if said:
        said.append("")
    asked = {job.run.name: [state.cell for state in job.cells] for job in jobs}
    told = foregone.remarks(asked) if cells else {}
    for job in jobs:
        here = sum(state.state in ("recorded", "stale") for state in job.cells)
        stale = sum(state.state == "stale" for state in job.cells)
        extra = f" ({stale} stale)" if stale else ""
        said.append(
            f"{job.run.name:32} {here:3} of {len(job.cells):<3} cells recorded{extra}; page {job.page}"
        )
        wanted = job.wanted() if cells else []
        said += [f"    to measure: {words(state.cell)}{told[state.cell]}" for state in wanted]
    states = distinct(jobs)
    counts = Counter(state.state for state in states)
    recorded = counts["recorded"] + counts["stale"]
    shared = sum(len(job.cells) for job in jobs) - len(states)
    total = f"{len(states)} cells in all"
    total += f" (tables share some: {shared} need not be measured twice)" if shared else ""
    closed = sum(
        foregone.verdict(state.cell) is not None for state in states if state.state in ("missing", "damaged")
    )
    beforehand = f", {closed} of them without a number, as is known beforehand" if cells and closed else ""
    said += ["", f"{total}: {recorded} recorded, {len(states) - recorded} to measure{beforehand}."]
    said += foregone.summary(asked) if cells else []
    statuses = Counter(state.status for state in states if state.status)
    if set(statuses) - {"ok"}:
        counted = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in statuses.most_common())
        said.append(f"Recorded as: {counted}.")
    if counts["stale"]:
        said.append(
            f"{counts['stale']} are stale: measured on this machine by other code, packages or settings. "
            "Pages show them and say so; `vlmnb sweep --stale` measures them again."
        )
    said += [f"failed cell: {line}" for line in failed(states)]
    if any(state.status in ("failed", "out_of_memory") for state in states):
        said.append("`vlmnb sweep --retry-failed` tries failed and out-of-memory cells again.")
    said += [f"page {name}: {PAGES[name]}" for name in PAGES if any(job.page == name for job in jobs)]
    return said


def _standing(standing: Standing, at_work: bool) -> list[str]:
    counted = f"{standing.done} of {standing.total} cells done, {standing.failed} failed"
    time = duration(standing.elapsed_s)
    if standing.ended == "finished":
        return []
    if not at_work:
        how = "was stopped" if standing.ended else "was killed"
        return [
            f"The sweep of {standing.spec} {how} after {time}: {counted}. Continue with: {standing.command}"
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
